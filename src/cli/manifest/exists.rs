//! `coracle manifest exists LIST`

use crate::cli::{Failure, Global};
use crate::ops::list;

/// As podman-manifest-exists(1).
const EXIT_NO_SUCH_LIST: u8 = 1;

/// Tell by the exit code whether a list is in the store
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Name or id of the list
    list: String,
}

pub(in crate::cli) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    Ok(match list::exists(&store, &args.list)? {
        true => 0,
        false => EXIT_NO_SUCH_LIST,
    })
}
