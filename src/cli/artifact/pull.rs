//! `coracle artifact pull NAME`

use std::path::PathBuf;

use crate::cli::intake::RegistryArgs;
use crate::cli::{Failure, progress, text};
use crate::ops::artifact::{self, Wanted};

/// Bytes of one artifact, unless the user says otherwise.
const MAX_SIZE: u64 = 10 << 30;

/// Write the files of an artifact to a directory
///
/// Prints the name of each.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Directory to write to; made if it is not there
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    output: PathBuf,
    /// Replace files that are there
    #[arg(long)]
    overwrite: bool,
    /// Refuse an artifact with more than this
    #[arg(long, value_name = "BYTES", default_value_t = MAX_SIZE)]
    max_size: u64,
    /// Print nothing but the names
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    registry: RegistryArgs,
    /// [REGISTRY/]REPOSITORY[:TAG|@DIGEST]
    name: String,
}

pub(in crate::cli) fn exec(args: &Args) -> Result<u8, Failure> {
    let wanted = Wanted {
        access: args.registry.access(),
        directory: args.output.clone(),
        overwrite: args.overwrite,
        max_size: args.max_size,
    };
    let progress = progress::new(args.quiet);
    let pulled = artifact::pull(&args.name, &wanted, &*progress)?;
    drop(progress);
    text::stdout(|out| {
        for file in &pulled {
            writeln!(out, "{}", text::printable(&file.path.to_string_lossy()))?;
        }
        Ok(())
    })?;
    Ok(0)
}
