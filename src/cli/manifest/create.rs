//! `coracle manifest create LIST [IMAGE...]`

use super::{AccessArgs, annotation, map, print};
use crate::cli::{Failure, Global, progress};
use crate::ops::list;

/// Make a list of images
///
/// IMAGE is a name or id of the store, else a name of a registry, or docker://NAME. Prints the list's id.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Of an index add all images, not the one for this machine
    #[arg(long)]
    all: bool,
    /// Add to the list if there is one of that name
    #[arg(short, long)]
    amend: bool,
    /// An annotation of the list
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = annotation)]
    annotations: Vec<(String, String)>,
    #[command(flatten)]
    access: AccessArgs,
    /// Name of the list
    list: String,
    /// Images to begin with
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
}

pub(in crate::cli) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    let options = list::Options {
        access: args.access.access(),
        all: args.all,
        amend: args.amend,
    };
    let annotations = map(&args.annotations);
    let progress = progress::new(true);
    print(&list::create(
        &store,
        &args.list,
        &args.images,
        &annotations,
        &options,
        &*progress,
    )?)
}
