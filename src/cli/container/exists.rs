//! `coracle container exists CONTAINER`

use crate::cli::{Failure, Global};
use crate::ops;
use crate::store;

/// As podman-container-exists(1).
const EXIT_NO_SUCH_CONTAINER: u8 = 1;

/// Tell by the exit code whether there is a container
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Name or id of the container
    container: String,
}

pub(in crate::cli) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    match ops::ps::find(&store, &args.container) {
        Ok(_) => Ok(0),
        Err(ops::Error::Store(store::Error::NoSuchContainer(_))) => Ok(EXIT_NO_SUCH_CONTAINER),
        Err(e) => Err(e.into()),
    }
}
