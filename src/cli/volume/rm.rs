//! `coracle volume rm NAME...`

use crate::cli::{Failure, Global, report, text};
use crate::ops::{self, volume};
use crate::store;

/// As podman-volume-rm(1): a volume was not found.
const EXIT_NO_SUCH_VOLUME: u8 = 1;
/// A container was made with it.
const EXIT_IN_USE: u8 = 2;

/// Remove volumes
///
/// Ends with 1 if a volume was not found, with 2 if a container was made with one, whether or not it runs.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Remove all volumes
    #[arg(short, long, conflicts_with = "names")]
    all: bool,
    /// Remove the containers that were made with it first; do not complain about a volume that is not there
    #[arg(short, long)]
    force: bool,
    /// Seconds to let their containers end by themselves, with --force
    #[arg(
        short,
        long,
        value_name = "SECONDS",
        requires = "force",
        allow_negative_numbers = true
    )]
    time: Option<i64>,
    /// Name of a volume, or the start of one
    #[arg(required_unless_present = "all", value_name = "VOLUME")]
    names: Vec<String>,
}

pub(in crate::cli) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    let names = match args.all {
        true => {
            let all = volume::list(&store, &[])?;
            all.into_iter().map(|v| v.record.name).collect()
        }
        false => args.names.clone(),
    };
    let mut code = 0;
    for name in &names {
        match volume::remove(&store, name, args.force, args.time) {
            Ok(name) => text::stdout(|out| writeln!(out, "{name}"))?,
            // With --all: somebody else was faster.
            Err(ops::Error::Store(store::Error::NoSuchVolume(_))) if args.force || args.all => {}
            // The others shall go all the same.
            Err(e) => {
                let this = match &e {
                    ops::Error::Store(store::Error::NoSuchVolume(_)) => EXIT_NO_SUCH_VOLUME,
                    ops::Error::Store(store::Error::VolumeInUse { .. }) => EXIT_IN_USE,
                    e => e.exit_code(),
                };
                report::failure(&e.into());
                code = code.max(this);
            }
        }
    }
    Ok(code)
}
