//! `coracle manifest remove LIST IMAGE`

use super::print;
use crate::cli::{Failure, Global};
use crate::ops::list;

/// Take an entry out of a list
///
/// Prints the list's id.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Name or id of the list
    list: String,
    /// Entry: the digest of its manifest, or the name of its image
    image: String,
}

pub(in crate::cli) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    print(&list::remove(&store, &args.list, &args.image)?)
}
