//! `coracle secret exists NAME`

use crate::cli::{Failure, Global};
use crate::ops::{self, secret};
use crate::store;

/// As podman-secret-exists(1).
const EXIT_NO_SUCH_SECRET: u8 = 1;

/// Tell by the exit code whether there is a secret
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Name or id of the secret
    #[arg(value_name = "SECRET")]
    name: String,
}

pub(in crate::cli) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    match secret::find(&global.store()?, &args.name) {
        Ok(_) => Ok(0),
        Err(ops::Error::Store(store::Error::NoSuchSecret(_))) => Ok(EXIT_NO_SUCH_SECRET),
        Err(e) => Err(e.into()),
    }
}
