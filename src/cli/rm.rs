//! `coracle rm NAME...`

use super::{Failure, Global, report, text};
use crate::ops::{self, rm, rmi};
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
    #[arg(short, long, conflicts_with = "containers")]
    all: bool,
    /// Do not complain about a container that is not there. One that runs is refused all the same
    #[arg(short, long)]
    force: bool,
    /// Remove their anonymous volumes too
    #[arg(short, long)]
    volumes: bool,
    /// Name or id of the container
    #[arg(required_unless_present = "all", value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    let names = match args.all {
        true => rm::all(&store)?,
        false => args.containers.clone(),
    };
    let mut code = 0;
    let mut orphans = false;
    for name in &names {
        match rm::remove(&store, name, args.volumes) {
            Ok(removed) => {
                orphans |= removed.orphans;
                text::stdout(|out| writeln!(out, "{name}"))?;
            }
            // With --all: somebody else was faster.
            Err(ops::Error::Store(store::Error::NoSuchContainer(_))) if args.force || args.all => {}
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
