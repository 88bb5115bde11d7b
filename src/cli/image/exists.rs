//! `coracle image exists IMAGE`

use crate::cli::{Failure, Global};
use crate::ops;
use crate::store;

/// As podman-image-exists(1).
const EXIT_NO_SUCH_IMAGE: u8 = 1;

/// Tell by the exit code whether an image is in the store
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Name or id of the image
    image: String,
}

pub(in crate::cli) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    match ops::images::find(&store, &args.image) {
        Ok(_) => Ok(0),
        Err(ops::Error::Store(store::Error::NoSuchImage { .. })) => Ok(EXIT_NO_SUCH_IMAGE),
        Err(e) => Err(e.into()),
    }
}
