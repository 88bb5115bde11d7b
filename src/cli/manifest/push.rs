//! `coracle manifest push LIST [DESTINATION]`

use std::path::PathBuf;

use super::AccessArgs;
use crate::cli::push::{Format, report};
use crate::cli::{Failure, Global, progress, text};
use crate::oci::Reference;
use crate::ops::commit;
use crate::ops::{self, list, push};

/// Upload a list with its images to a registry
///
/// DESTINATION is [docker://][REGISTRY/]REPOSITORY[:TAG]; without one the list goes where its name says. Prints the
/// digest of the list there.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Upload the images, too, not only the list [default: true]
    #[arg(
        long,
        value_name = "BOOL",
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        value_parser = crate::cli::filters::truth,
        action = clap::ArgAction::Set
    )]
    all: Option<bool>,
    /// Documents of which kind: an OCI index or docker's list, and the images of the store likewise
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Write the digest to a file as well
    #[arg(long, value_name = "FILE")]
    digestfile: Option<PathBuf>,
    /// Remove the list from the store once it is there
    #[arg(long, visible_alias = "purge", short_alias = 'p')]
    rm: bool,
    /// Print nothing but the digest
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    access: AccessArgs,
    /// Name or id of the list
    list: String,
    /// Where it goes
    destination: Option<String>,
}

pub(in crate::cli) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let plain = |name: &String| -> Result<Reference, ops::Error> {
        Ok(name.strip_prefix("docker://").unwrap_or(name).parse()?)
    };
    let destination = args.destination.as_ref().map(plain).transpose()?;
    let store = global.store()?;
    list::check(&store, &args.list)?;
    let options = push::Options {
        access: args.access.access(),
        format: args.format.map(commit::Format::from),
        bare: args.all == Some(false),
        ..push::Options::default()
    };
    if !args.quiet {
        let to = args.destination.as_ref().unwrap_or(&args.list);
        text::stderr(&format!("Pushing to {}", text::printable(to)));
    }
    let progress = progress::new(args.quiet);
    let pushed = push::push(
        &store,
        &args.list,
        destination.as_ref(),
        &options,
        &*progress,
    )?;
    drop(progress);
    let code = report(args.digestfile.as_deref(), &pushed.digest)?;
    if args.rm {
        ops::rmi::remove(&store, &args.list, false)?;
        ops::rmi::collect(&store)?;
    }
    Ok(code)
}
