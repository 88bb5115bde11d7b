//! `coracle manifest annotate LIST IMAGE`

use super::{SaysArgs, print};
use crate::cli::{Failure, Global};
use crate::ops::list::{self, Part, Says};

/// Say something of an entry of a list, or with --index of the list itself
///
/// What is not given stays as it is. Prints the list's id.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Annotate the list itself
    #[arg(long, conflicts_with = "image")]
    index: bool,
    #[command(flatten)]
    says: SaysArgs,
    /// Name or id of the list
    list: String,
    /// Entry: the digest of its manifest, or the name of its image
    #[arg(required_unless_present = "index")]
    image: Option<String>,
}

pub(in crate::cli) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let says = args.says.says();
    let part = match &args.image {
        Some(image) => Part::Entry(image.clone()),
        None => Part::Whole,
    };
    let only_annotations = Says {
        annotations: says.annotations.clone(),
        ..Says::default()
    };
    if part == Part::Whole && says != only_annotations {
        return Err(Failure::usage(
            "a list has no platform: with --index there is only --annotation",
        ));
    }
    if says == Says::default() {
        return Err(Failure::usage("there is nothing to say of it")
            .with_hint("give --annotation KEY=VALUE, --arch, --os, --variant or the like"));
    }
    let store = global.store()?;
    print(&list::annotate(&store, &args.list, &part, &says)?)
}
