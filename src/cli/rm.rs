//! `coracle rm NAME...`

use std::path::PathBuf;

use super::ps::filter;
use super::which::Which;
use super::{Failure, Global, report, text};
use crate::ops::ps::Filter;
use crate::ops::{self, Store, rm, rmi};
use crate::store;

/// As podman-rm(1): a container was not found.
const EXIT_NO_SUCH_CONTAINER: u8 = 1;
/// A container runs.
const EXIT_RUNNING: u8 = 2;

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
    #[arg(long = "filter", value_name = "KEY=VALUE", value_parser = filter)]
    filters: Vec<Filter>,
    /// End a container that runs; do not complain about one that is not there
    #[arg(short, long)]
    force: bool,
    /// Do not complain about a container that is not there
    #[arg(short, long)]
    ignore: bool,
    /// Remove the youngest container
    #[arg(short, long, conflicts_with_all = ["containers", "cidfiles", "filters"])]
    latest: bool,
    /// Seconds to let a container end by itself, with --force
    #[arg(
        short,
        long,
        value_name = "SECONDS",
        requires = "force",
        allow_negative_numbers = true
    )]
    time: Option<i64>,
    /// Remove their anonymous volumes too
    #[arg(short, long)]
    volumes: bool,
    /// Name or id of the container
    #[arg(required_unless_present_any = ["all", "cidfiles", "filters", "latest"], value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Args {
    /// Which containers, by name or id.
    fn names(&self, store: &Store, how: &rm::How) -> Result<Vec<String>, Failure> {
        if self.all && self.filters.is_empty() {
            return Ok(rm::all(store, how)?);
        }
        let which = Which {
            all: self.all,
            latest: self.latest,
            cidfile: self.cidfiles.clone(),
            filters: self.filters.clone(),
            ignore: self.ignore || self.force,
            containers: self.containers.clone(),
        };
        which.names(store, |c| how.force || !c.auto_remove)
    }
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    let how = rm::How {
        force: args.force,
        timeout: args.time,
        volumes: args.volumes,
    };
    let names = args.names(&store, &how)?;
    let ignore = args.force || args.ignore || args.all || !args.filters.is_empty();
    let mut code = 0;
    let mut orphans = false;
    for name in &names {
        match rm::remove(&store, name, &how) {
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
