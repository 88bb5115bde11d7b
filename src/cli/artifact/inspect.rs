//! `coracle artifact inspect NAME`

use serde_json::json;

use crate::cli::inspect::print_pretty;
use crate::cli::intake::RegistryArgs;
use crate::cli::{Failure, progress};
use crate::ops::artifact;

/// Show the manifest of an artifact, as JSON
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    registry: RegistryArgs,
    /// [REGISTRY/]REPOSITORY[:TAG|@DIGEST]
    name: String,
}

pub(in crate::cli) fn exec(args: &Args) -> Result<u8, Failure> {
    let progress = progress::new(true);
    let found = artifact::inspect(&args.registry.access(), &args.name, &*progress)?;
    print_pretty(&json!({
        "Name": found.name.to_string(),
        "Digest": found.digest,
        "ArtifactType": found.artifact_type,
        "Manifest": found.manifest,
    }))
}
