//! `coracle-oci spec`

use std::path::PathBuf;

use super::Problem;
use crate::ops::oci::spec;

/// Write a config.json to begin with
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Directory of the bundle
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// For a user namespace of the one id that the caller has
    #[arg(long)]
    rootless: bool,
}

pub(super) fn exec(args: &Args) -> Result<u8, Problem> {
    spec::write(&args.bundle, args.rootless, super::SPEC)?;
    Ok(0)
}
