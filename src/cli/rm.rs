//! `coracle rm NAME...`

use std::path::{Path, PathBuf};

use super::{Failure, Global, ps as list, report, text};
use crate::ops::ps::{self, Filter, Wanted};
use crate::ops::{self, Store, rm, rmi};
use crate::store;

/// As podman-rm(1): a container was not found.
const EXIT_NO_SUCH_CONTAINER: u8 = 1;
/// A container runs.
const EXIT_RUNNING: u8 = 2;
/// More than any id has.
const CIDFILE_MAX: u64 = 4096;

/// Remove containers
///
/// Removes containers that have ended: what they wrote, their configuration and their name. Ends with 1
/// if a container was not found, with 2 if one is running.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Remove all containers that were kept
    #[arg(short, long, conflicts_with_all = ["containers", "cidfiles", "latest"])]
    all: bool,
    /// Remove the container whose id is in this file
    #[arg(long = "cidfile", value_name = "FILE")]
    cidfiles: Vec<PathBuf>,
    /// Remove those that depend on it, too (accepted for podman's sake: none does)
    #[arg(long)]
    depend: bool,
    /// Remove those of which this is true; see coracle-ps(1)
    #[arg(long = "filter", value_name = "KEY=VALUE", value_parser = list::filter)]
    filters: Vec<Filter>,
    /// Do not complain about a container that is not there. One that runs is refused all the same
    #[arg(short, long)]
    force: bool,
    /// Do not complain about a container that is not there
    #[arg(short, long)]
    ignore: bool,
    /// Remove the youngest container
    #[arg(short, long, conflicts_with_all = ["containers", "cidfiles", "filters"])]
    latest: bool,
    /// Seconds that a container has to end, with --force
    #[arg(
        short,
        long,
        value_name = "SECONDS",
        requires = "force",
        allow_negative_numbers = true
    )]
    time: Option<i32>,
    /// Remove anonymous volumes too (accepted for docker's sake: there are none)
    #[arg(short, long)]
    volumes: bool,
    /// Name or id of the container
    #[arg(required_unless_present_any = ["all", "cidfiles", "filters", "latest"], value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Args {
    /// Which containers, by name or id.
    fn names(&self, store: &Store) -> Result<Vec<String>, Failure> {
        let mut names = self.containers.clone();
        for file in &self.cidfiles {
            names.extend(read(file, self.ignore)?);
        }
        if self.all && self.filters.is_empty() {
            names = rm::all(store)?;
        } else if self.all || self.latest || !self.filters.is_empty() {
            let wanted = Wanted {
                all: true,
                filters: self.filters.clone(),
                last: self.latest.then_some(1),
            };
            let found = ps::ps(store, &wanted)?.into_iter();
            names.extend(found.filter(|c| !c.auto_remove).map(|c| c.id));
        }
        Ok(names)
    }
}

/// The id in a file of `--cidfile`; none if there is no file and that is to be ignored.
fn read(file: &Path, ignore: bool) -> Result<Option<String>, Failure> {
    use std::io::Read as _;
    let mut text = String::new();
    let opened = std::fs::File::open(file);
    match opened.and_then(|f| f.take(CIDFILE_MAX).read_to_string(&mut text)) {
        Ok(_) => Ok(Some(text.trim().to_owned())),
        Err(e) if ignore && e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Failure::io(format!("--cidfile {}: {e}", file.display()))),
    }
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    let names = args.names(&store)?;
    let ignore = args.force || args.ignore || args.all;
    let mut code = 0;
    let mut orphans = false;
    for name in &names {
        match rm::remove(&store, name) {
            Ok(removed) => {
                orphans |= removed.orphans;
                text::stdout(|out| writeln!(out, "{name}"))?;
            }
            // With --all: somebody else was faster.
            Err(ops::Error::Store(store::Error::NoSuchContainer(_))) if ignore => {}
            // The others shall go all the same.
            Err(e) => {
                let this = match &e {
                    ops::Error::Store(store::Error::NoSuchContainer(_)) => EXIT_NO_SUCH_CONTAINER,
                    ops::Error::RemoveContainer(_) => EXIT_RUNNING,
                    e => e.exit_code(),
                };
                report::failure(&e.into());
                code = code.max(this);
            }
        }
    }
    if orphans {
        rmi::collect(&store)?;
    }
    Ok(code)
}
