//! `coracle volume import NAME [FILE]`

use std::fs::File;
use std::io;
use std::path::PathBuf;

use crate::cli::{Failure, Global};
use crate::layer::Limits;
use crate::ops::volume;

/// Unpack a tar into a volume
///
/// Files of the tar replace files of the volume that have their names. A tar that is not whole, or tries to get
/// out, leaves the volume as it was.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Name of the volume
    #[arg(value_name = "VOLUME")]
    name: String,
    /// The tar, compressed with gzip or zstd or not; - is standard input
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
}

pub(in crate::cli) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    let limits = Limits::default();
    if args.file.as_os_str() == "-" {
        volume::import(&store, &args.name, io::stdin(), &limits)?;
        return Ok(0);
    }
    let file = File::open(&args.file)
        .map_err(|e| Failure::io(format!("cannot open {}: {e}", args.file.display())))?;
    volume::import(&store, &args.name, file, &limits)?;
    Ok(0)
}
