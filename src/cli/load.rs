//! `coracle load [-i FILE | FILE | DIR]`

use std::io::IsTerminal as _;
use std::path::PathBuf;

use super::intake::IntakeArgs;
use super::{Failure, Global, progress, text};
use crate::ops::load;

/// Load images from an archive or an OCI layout directory
///
/// Reads what docker save, podman save, skopeo and buildah write: docker archives and OCI archives,
/// plain or compressed with gzip or zstd, and OCI layout directories.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// File to read, - for standard input
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Print nothing but errors
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    intake: IntakeArgs,
    /// File or directory to read [default: standard input]
    #[arg(value_name = "PATH", conflicts_with = "input")]
    path: Option<PathBuf>,
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let input = match args.input.as_ref().or(args.path.as_ref()) {
        Some(path) if path.as_os_str() != "-" => load::Input::Path(path.clone()),
        _ if std::io::stdin().is_terminal() => {
            return Err(Failure::usage("cannot read an archive from a terminal")
                .with_hint("give a file with --input, or redirect standard input"));
        }
        _ => load::Input::Stdin,
    };
    let request = load::Request {
        input,
        tag: None,
        options: args.intake.options()?,
    };
    let store = global.store()?;
    let progress = progress::new(args.quiet);
    let loaded = load::load(&store, &request, &*progress)?;
    drop(progress);
    if args.quiet {
        return Ok(0);
    }
    text::stdout(|out| {
        for image in &loaded {
            for name in &image.names {
                writeln!(out, "Loaded image: {name}")?;
            }
            if image.names.is_empty() {
                writeln!(out, "Loaded image ID: {}", image.image.id)?;
            }
        }
        Ok(())
    })?;
    Ok(0)
}
