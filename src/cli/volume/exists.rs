//! `coracle volume exists NAME`

use crate::cli::{Failure, Global};
use crate::ops;
use crate::store;

/// As podman-volume-exists(1).
const EXIT_NO_SUCH_VOLUME: u8 = 1;

/// Tell by the exit code whether there is a volume
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Name of the volume
    #[arg(value_name = "VOLUME")]
    name: String,
}

pub(in crate::cli) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    match ops::volume::find(&store, &args.name) {
        // The start of a name is none.
        Ok(volume) if volume.record.name == args.name => Ok(0),
        Ok(_)
        | Err(ops::Error::Store(
            store::Error::NoSuchVolume(_) | store::Error::AmbiguousVolume { .. },
        )) => Ok(EXIT_NO_SUCH_VOLUME),
        Err(e) => Err(e.into()),
    }
}
