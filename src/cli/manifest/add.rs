//! `coracle manifest add LIST IMAGE`

use super::{AccessArgs, SaysArgs, print};
use crate::cli::{Failure, Global, progress};
use crate::ops::list;

/// Add an image to a list
///
/// IMAGE is a name or id of the store, else a name of a registry, or docker://NAME. An entry for the same manifest
/// is replaced. Prints the list's id.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Of an index add all images, not the one for this machine
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    says: SaysArgs,
    #[command(flatten)]
    access: AccessArgs,
    /// Name or id of the list
    list: String,
    /// Image to add
    image: String,
}

pub(in crate::cli) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    let options = list::Options {
        access: args.access.access(),
        all: args.all,
        amend: false,
    };
    let (says, progress) = (args.says.says(), progress::new(true));
    print(&list::add(
        &store,
        &args.list,
        &args.image,
        &says,
        &options,
        &*progress,
    )?)
}
