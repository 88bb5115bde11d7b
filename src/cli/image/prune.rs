//! `coracle image prune`

use crate::cli::filters::PruneArgs;
use crate::cli::{Failure, Global, human, rmi, text};
use crate::ops::prune;

/// Remove images that nothing uses
///
/// Those without a name, or with --all every image that no container was made from; and every layer and blob
/// that nothing refers to.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Also images that have a name, if no container was made from them
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    prune: PruneArgs,
}

pub(in crate::cli) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let what = match args.all {
        true => "all images that no container was made from",
        false => "all images without a name that no container was made from",
    };
    let Some(wanted) = args.prune.wanted(&[what], args.all)? else {
        return Ok(0);
    };
    let store = global.store()?;
    let pruned = prune::prune_images(&store, &wanted)?;
    text::stdout(|out| {
        for removed in &pruned.images {
            rmi::print(out, removed)?;
        }
        writeln!(out, "Total reclaimed space: {}", human::size(pruned.bytes))
    })?;
    Ok(0)
}
