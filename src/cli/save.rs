//! `coracle save [-o FILE] IMAGE`

use std::path::PathBuf;

use clap::ValueEnum;

use super::output::Output;
use super::{Failure, Global, progress, text};
use crate::ops::{self, save};

/// Save an image to an archive
///
/// Writes what docker save writes: an archive that is a docker archive and an OCI archive at once, for
/// coracle load, docker load, podman load, skopeo and umoci. A layer whose compressed form was not kept when
/// the image was pulled is packed anew, which changes its digest and the image's id; pull with --keep-blobs
/// to avoid that.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// File to write, or directory with --format oci-dir [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// What to write; both archives are the same
    #[arg(long, value_name = "FORMAT", default_value = "oci-archive")]
    format: Format,
    /// Print nothing but errors
    #[arg(short, long)]
    quiet: bool,
    /// Name or id of the image
    image: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// An OCI layout in a tar
    OciArchive,
    /// The same, which docker's manifest is part of
    DockerArchive,
    /// An OCI layout directory
    OciDir,
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = ops::open_store(global.root.as_deref())?;
    let progress = progress::new(true);
    let saved = match (args.format, &args.output) {
        (Format::OciDir, Some(dir)) => save::save(
            &store,
            &args.image,
            save::Output::Dir(dir.clone()),
            &*progress,
        )?,
        (Format::OciDir, None) => {
            return Err(Failure::usage(
                "--format oci-dir needs a directory: --output DIR",
            ));
        }
        (_, path) => {
            let output = Output::open(path.as_deref())?;
            let archive = save::Output::Archive(output.file().try_clone()?);
            let saved = save::save(&store, &args.image, archive, &*progress)?;
            output.keep();
            saved
        }
    };
    if !args.quiet && saved.id != saved.saved_id {
        text::stderr(&format!(
            "coracle: warning: layers of {} were packed anew, since their compressed form was not kept: \
             where it is loaded its id is {}, and not {}; `coracle pull --keep-blobs` keeps it",
            text::printable(&args.image),
            saved.saved_id.short(),
            saved.id.short(),
        ));
    }
    Ok(0)
}
