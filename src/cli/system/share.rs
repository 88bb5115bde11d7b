//! `coracle system share`

use crate::cli::{Failure, Global, text};
use crate::ops::share::{self, Share};

/// Let others read the images of the store
///
/// Names, configurations and compressed layers, which are kept from now on; nothing else can be read. Others name the
/// store with --additional-store or in CORACLE_ADDITIONAL_STORES.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Only the group of the store's directory, and not everybody
    #[arg(short, long)]
    group: bool,
    /// Nobody else any more
    #[arg(long, conflicts_with = "group")]
    stop: bool,
}

pub(in crate::cli) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let mut store = global.store()?;
    let with = match (args.stop, args.group) {
        (true, _) => None,
        (false, true) => Some(Share::Group),
        (false, false) => Some(Share::All),
    };
    let incomplete = share::share(&mut store, with)?;
    if incomplete > 0 {
        text::stderr(&format!(
            "coracle: of {incomplete} images the compressed layers were not kept: pull them again, so that others can have them"
        ));
    }
    Ok(0)
}
