//! `coracle save [-o FILE] IMAGE...`

use std::path::PathBuf;

use clap::ValueEnum;

use super::output::Output;
use super::{Failure, Global, progress, text};
use crate::ops::save;

/// Save images to an archive
///
/// Writes what docker save writes: an archive that is a docker archive and an OCI archive at once, for
/// coracle load, docker load, podman load, skopeo and umoci. An image keeps its id. A layer whose compressed form was
/// not kept when the image was pulled is compressed anew, which may change the digest of its blob and of the manifest.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// File to write, or directory with --format oci-dir and docker-dir [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// What to write; both archives are the same
    #[arg(long, value_name = "FORMAT", default_value = "oci-archive")]
    format: Format,
    /// Print nothing but errors
    #[arg(short, long)]
    quiet: bool,
    /// Accepted for podman's sake: several images always go into one archive
    #[arg(short, long)]
    multi_image_archive: bool,
    /// Names or ids of the images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// An OCI layout in a tar
    OciArchive,
    /// The same, which docker's manifest is part of
    DockerArchive,
    /// An OCI layout directory
    OciDir,
    /// A directory with docker's manifest and the blobs, as skopeo's dir: has it; for one image
    DockerDir,
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    let progress = progress::new(true);
    let write = |output| save::save(&store, &args.images, output, &*progress);
    let saved = match (args.format, &args.output) {
        (Format::OciDir, Some(dir)) => write(save::Output::OciDir(dir.clone()))?,
        (Format::DockerDir, Some(dir)) => write(save::Output::DockerDir(dir.clone()))?,
        (Format::OciDir | Format::DockerDir, None) => {
            return Err(Failure::usage(
                "this --format needs a directory: --output DIR",
            ));
        }
        (_, path) => {
            let output = Output::open(path.as_deref())?;
            let saved = write(save::Output::Archive(output.file().try_clone()?))?;
            output.keep();
            saved
        }
    };
    for image in saved.iter().filter(|s| !args.quiet && s.id != s.saved_id) {
        text::stderr(&format!(
            "coracle: warning: layers of {} were packed anew, since an older version of coracle did not record how \
             they were packed: where it is loaded its id is {}, and not {}; remove it and pull it again to avoid that",
            text::printable(&image.name),
            image.saved_id.short(),
            image.id.short(),
        ));
    }
    Ok(0)
}
