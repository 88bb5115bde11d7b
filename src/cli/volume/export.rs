//! `coracle volume export [-o FILE] NAME`

use std::path::PathBuf;

use crate::cli::output::Output;
use crate::cli::{Failure, Global, progress};
use crate::ops::volume;

/// Write the files of a volume as a tar
///
/// With the owners, modes, devices and extended attributes that containers see.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// File to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Name of the volume
    #[arg(value_name = "VOLUME")]
    name: String,
}

pub(in crate::cli) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    let output = Output::open(args.output.as_deref())?;
    volume::export(&store, &args.name, output.file(), &*progress::new(true))?;
    output.keep();
    Ok(0)
}
