//! `coracle export [-o FILE] CONTAINER`

use std::path::PathBuf;

use super::output::Output;
use super::{Failure, Global, progress};
use crate::ops::export;

/// Write the files of a container as a tar
///
/// Packs all that the container sees, the image and what the container wrote, with the owners, modes,
/// devices and extended attributes that they have in the image. Volumes and what is mounted over the root
/// file system are not part of it. The container may run.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// File to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Name or id of the container
    container: String,
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    let output = Output::open(args.output.as_deref())?;
    export::export(
        &store,
        &args.container,
        output.file(),
        &*progress::new(true),
    )?;
    output.keep();
    Ok(0)
}
