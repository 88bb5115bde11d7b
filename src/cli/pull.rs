//! `coracle pull NAME...`

use super::intake::{IntakeArgs, RegistryArgs};
use super::{Failure, Global, progress, text};
use crate::ops::{self, pull};

/// Download images from a registry
///
/// NAME is [REGISTRY/]REPOSITORY[:TAG|@DIGEST]; a short name means docker.io/library, no tag means
/// latest. oci:DIR[:TAG], oci-archive:FILE[:TAG] and docker-archive:FILE read local images. Prints
/// the id of each image. An interrupted download is resumed by the next one.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print only the image id
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    intake: IntakeArgs,
    /// Image to pull
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let options = pull::Options {
        tls_verify: args.registry.tls_verify,
        intake: args.intake.options()?,
    };
    let origins: Vec<pull::Origin> = args
        .names
        .iter()
        .map(|name| name.parse())
        .collect::<Result<_, _>>()
        .map_err(ops::Error::from)?;
    let store = ops::open_store(global.root.as_deref())?;
    for (origin, name) in origins.iter().zip(&args.names) {
        if !args.quiet {
            text::stderr(&format!("Pulling {}", text::printable(name)));
        }
        let progress = progress::new(args.quiet);
        let images = pull::pull(&store, origin, &options, &*progress)?;
        drop(progress);
        text::stdout(|out| {
            for image in images {
                writeln!(out, "{}", image.id.hex())?;
            }
            Ok(())
        })?;
    }
    Ok(0)
}
