//! `coracle rmi NAME...`

use super::{Failure, Global, report, text};
use crate::ops::{self, rmi};
use crate::store;

/// As podman-rmi(1): an image was not found.
const EXIT_NO_SUCH_IMAGE: u8 = 1;
/// An image is used by a container.
const EXIT_IN_USE: u8 = 2;

/// Remove images
///
/// Takes a name away from an image; when it was the last one, the image goes, and every layer that
/// no other image or container needs. Ends with 1 if an image was not found, with 2 if one is in use.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Remove an image that has several names, or that a stopped container was made from, and do not
    /// complain about one that is not there
    #[arg(short, long)]
    force: bool,
    /// Remove all images
    #[arg(short, long, conflicts_with = "images")]
    all: bool,
    /// Do not complain about an image that is not there
    #[arg(short, long)]
    ignore: bool,
    /// Keep images without a name that it was made from (accepted for docker's sake: there are none)
    #[arg(long)]
    no_prune: bool,
    /// Name or id of the image
    #[arg(required_unless_present = "all", value_name = "IMAGE")]
    images: Vec<String>,
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    let names = match args.all {
        true => rmi::all(&store)?,
        false => args.images.clone(),
    };
    let how = match args.all {
        true => rmi::remove_whole,
        false => rmi::remove,
    };
    let ignore = args.force || args.ignore || args.all;
    let (code, deleted) = remove(&names, ignore, |name| how(&store, name, args.force))?;
    if deleted {
        rmi::collect(&store)?;
    }
    Ok(code)
}

/// Remove each by `how`, and say what went. `ignore`: one that is not there is no error. Returns the exit code,
/// and whether there is something to collect.
pub(super) fn remove(
    names: &[String],
    ignore: bool,
    how: impl Fn(&str) -> Result<rmi::Removed, ops::Error>,
) -> Result<(u8, bool), Failure> {
    let mut code = 0;
    let mut deleted = false;
    for name in names {
        let removed = match how(name) {
            Ok(removed) => removed,
            Err(ops::Error::Store(store::Error::NoSuchImage { .. })) if ignore => continue,
            // The others shall go all the same.
            Err(e) => {
                let this = match &e {
                    ops::Error::Store(store::Error::NoSuchImage { .. }) => EXIT_NO_SUCH_IMAGE,
                    ops::Error::Remove(_) => EXIT_IN_USE,
                    e => e.exit_code(),
                };
                report::failure(&e.into());
                code = code.max(this);
                continue;
            }
        };
        deleted |= removed.deleted.is_some();
        text::stdout(|out| print(out, &removed))?;
    }
    Ok((code, deleted))
}

/// What went, in docker's words.
pub(super) fn print(out: &mut dyn std::io::Write, removed: &rmi::Removed) -> std::io::Result<()> {
    for name in &removed.untagged {
        writeln!(out, "Untagged: {name}")?;
    }
    if let Some(id) = &removed.deleted {
        writeln!(out, "Deleted: {id}")?;
    }
    Ok(())
}
