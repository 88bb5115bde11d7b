//! `coracle volume prune`

use super::ls::filter;
use crate::cli::{Failure, Global, ask, text};
use crate::ops::volume::{self, Filter};

/// Remove volumes that no container was made with
///
/// Prints their names. Also those that have names: what a container that has gone left in them goes.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Also volumes with names, which is what it does in any case (docker's word)
    #[arg(short, long)]
    all: bool,
    /// Only volumes of which this is true, as for `ls`
    #[arg(long = "filter", value_name = "KEY=VALUE", value_parser = filter)]
    filters: Vec<Filter>,
}

pub(in crate::cli) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let what = "all volumes not used by at least one container";
    if !args.force && !ask::confirm(&[what])? {
        return Ok(0);
    }
    let store = global.store()?;
    let (names, _) = volume::prune(&store, &args.filters)?;
    text::stdout(|out| names.iter().try_for_each(|name| writeln!(out, "{name}")))?;
    Ok(0)
}
