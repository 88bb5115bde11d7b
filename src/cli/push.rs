//! `coracle push IMAGE [DESTINATION]`

use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::intake::RegistryArgs;
use super::{Failure, Global, creds, progress, text};
use crate::oci::{Digest, Reference};
use crate::ops::copy::{self, Place};
use crate::ops::{self, commit, push};

/// Upload an image to a registry
///
/// DESTINATION is [docker://][REGISTRY/]REPOSITORY[:TAG]; without one the image goes where its name says. It may
/// also be oci:DIR, oci-archive:FILE, docker-archive:FILE or dir:DIR. What the registry has already is not sent. An image that was pulled keeps its digests as long as the registry that it came from
/// has its layers, or with pull --keep-blobs; a warning says so if it does not. Prints the digest of the manifest.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Push all tags of the repository that IMAGE names
    #[arg(short, long, conflicts_with = "destination")]
    all_tags: bool,
    /// Compress layers that are not compressed like this
    #[arg(long, visible_alias = "compression", value_name = "FORMAT")]
    compression_format: Option<Compression>,
    /// Level of the compression, also for layers that have its format already: 0 to 9 for gzip, 1 to 22 for zstd
    #[arg(long, value_name = "LEVEL", requires = "compression_format")]
    compression_level: Option<i32>,
    /// Compress layers anew that have the format already
    #[arg(long, requires = "compression_format")]
    force_compression: bool,
    /// Write the digest of the manifest to a file as well
    #[arg(long, value_name = "FILE", conflicts_with = "all_tags")]
    digestfile: Option<PathBuf>,
    /// Documents of which kind the image has there; what it has here if not given
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Print nothing but the digest
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    registry: RegistryArgs,
    /// Login for the registry, in place of the one that is kept
    #[arg(long, value_name = "USER[:PASSWORD]")]
    creds: Option<String>,
    /// Name or id of the image
    image: String,
    /// Where it goes
    destination: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Compression {
    /// What every tool reads
    Gzip,
    /// Smaller and faster to read; not in docker's format
    Zstd,
    /// The same with a table of contents, for pulls that fetch only what is missing
    #[value(name = "zstd:chunked")]
    ZstdChunked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// OCI image-spec
    Oci,
    /// Docker schema 2
    #[value(alias = "v2s2")]
    Docker,
}

impl From<Format> for commit::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Oci => Self::Oci,
            Format::Docker => Self::Docker,
        }
    }
}

impl Args {
    fn options(&self) -> Result<push::Options, Failure> {
        let range = match self.compression_format {
            Some(Compression::Zstd | Compression::ZstdChunked) => 1..=22,
            _ => 0..=9,
        };
        if let Some(level) = self.compression_level.filter(|l| !range.contains(l)) {
            return Err(Failure::usage(format!(
                "--compression-level {level}: want {} to {}",
                range.start(),
                range.end()
            )));
        }
        Ok(push::Options {
            access: self.registry.access(),
            format: self.format.map(commit::Format::from),
            compression: self.compression_format.map(|c| match c {
                Compression::Gzip => push::Kind::Gzip,
                Compression::Zstd => push::Kind::Zstd,
                Compression::ZstdChunked => push::Kind::ZstdChunked,
            }),
            level: self.compression_level,
            force: self.force_compression,
            bare: false,
        })
    }
}

fn copied(global: &Global, args: &Args, to: &Place) -> Result<u8, Failure> {
    if args.compression_format.is_some() || args.format.is_some() {
        return Err(Failure::usage(
            "--format and --compression-format are for registries",
        ));
    }
    let store = global.store()?;
    let from = Place::Store(args.image.clone());
    let options = copy::Options {
        access: args.registry.access(),
        all: false,
        platform: None,
    };
    let progress = progress::new(args.quiet);
    let digest = copy::copy(&store, &from, to, &options, &*progress)?;
    drop(progress);
    report(args.digestfile.as_deref(), &digest)
}

/// Print the digest, and write it to a file if that is wanted.
pub(super) fn report(file: Option<&Path>, digest: &Digest) -> Result<u8, Failure> {
    if let Some(path) = file {
        let written = std::fs::write(path, digest.to_string());
        written.map_err(|e| Failure::io(format!("cannot write {}: {e}", path.display())))?;
    }
    text::stdout(|out| writeln!(out, "{digest}"))?;
    Ok(0)
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let mut options = args.options()?;
    let reference = |name: &str| -> Result<Reference, ops::Error> {
        Ok(name.strip_prefix("docker://").unwrap_or(name).parse()?)
    };
    // Elsewhere than to a registry it is a copy.
    let destination = match args.destination.as_deref().map(str::parse).transpose()? {
        None => None,
        Some(Place::Registry(reference)) => Some(reference),
        Some(Place::Store(name)) => Some(reference(&name)?),
        Some(_) if args.creds.is_some() => {
            return Err(Failure::usage("--creds is for registries"));
        }
        Some(place) => return copied(global, args, &place),
    };
    if args.creds.is_some() {
        let to = destination
            .clone()
            .map_or_else(|| reference(&args.image), Ok)?;
        creds::add(&mut options.access, args.creds.as_deref(), to.registry())?;
    }
    let store = global.store()?;
    if !args.quiet {
        let to = args.destination.as_ref().unwrap_or(&args.image);
        text::stderr(&format!("Pushing to {}", text::printable(to)));
    }
    let progress = progress::new(args.quiet);
    if args.all_tags {
        let name = reference(&args.image)?;
        let pushed = push::push_all(&store, &name, &options, &*progress)?;
        drop(progress);
        text::stdout(|out| {
            for image in &pushed {
                writeln!(out, "{} {}", image.reference, image.digest)?;
            }
            Ok(())
        })?;
        return Ok(0);
    }
    let pushed = push::push(
        &store,
        &args.image,
        destination.as_ref(),
        &options,
        &*progress,
    )?;
    drop(progress);
    report(args.digestfile.as_deref(), &pushed.digest)
}
