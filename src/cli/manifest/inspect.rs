//! `coracle manifest inspect LIST`

use serde_json::Value;

use super::AccessArgs;
use crate::cli::inspect::print_pretty;
use crate::cli::{Failure, Global, progress};
use crate::oci::ManifestError;
use crate::ops::{self, list};

/// Show a list, or the manifest or index that an image has: of the store, else of a registry
///
/// `coracle inspect --raw` prints it byte for byte.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    access: AccessArgs,
    /// Name or id of the list
    list: String,
}

pub(in crate::cli) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    let (access, progress) = (args.access.access(), progress::new(true));
    let bytes = list::inspect(&store, &args.list, &access, &*progress)?;
    let document: Value =
        serde_json::from_slice(&bytes).map_err(|e| ops::Error::from(ManifestError::from(e)))?;
    print_pretty(&document)
}
