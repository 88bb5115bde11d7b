//! `coracle container prune`

use crate::cli::filters::PruneArgs;
use crate::cli::{Failure, Global, human, text};
use crate::ops::prune;

/// Remove all containers that do not run
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    prune: PruneArgs,
}

pub(in crate::cli) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let Some(wanted) = args
        .prune
        .wanted(&["all containers that do not run"], false)?
    else {
        return Ok(0);
    };
    let store = global.store()?;
    let pruned = prune::prune_containers(&store, &wanted)?;
    text::stdout(|out| {
        for id in &pruned.containers {
            writeln!(out, "{id}")?;
        }
        writeln!(out, "Total reclaimed space: {}", human::size(pruned.bytes))
    })?;
    Ok(0)
}
