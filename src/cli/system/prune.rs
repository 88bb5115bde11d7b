//! `coracle system prune`

use crate::cli::filters::PruneArgs;
use crate::cli::{Failure, Global, human, rmi, text};
use crate::ops::prune;

/// Remove all that is not in use
///
/// Containers that do not run, images without a name (with --all: every image that no container was made
/// from), and what interrupted downloads left.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Also images that have a name, if no container was made from them
    #[arg(short, long)]
    all: bool,
    /// Also volumes, if no container was made with them
    #[arg(long)]
    volumes: bool,
    #[command(flatten)]
    prune: PruneArgs,
}

pub(in crate::cli) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let images = match args.all {
        true => "all images that no container was made from",
        false => "all images without a name",
    };
    let mut what = vec![
        "all containers that do not run",
        images,
        "what interrupted downloads left",
    ];
    if args.volumes {
        what.push("all volumes not used by at least one container");
    }
    let Some(mut wanted) = args.prune.wanted(&what, args.all)? else {
        return Ok(0);
    };
    wanted.volumes = args.volumes;
    let store = global.store()?;
    let pruned = prune::prune_system(&store, &wanted)?;
    text::stdout(|out| {
        for id in &pruned.containers {
            writeln!(out, "{id}")?;
        }
        for name in &pruned.volumes {
            writeln!(out, "{name}")?;
        }
        for removed in &pruned.images {
            rmi::print(out, removed)?;
        }
        writeln!(out, "Total reclaimed space: {}", human::size(pruned.bytes))
    })?;
    Ok(0)
}
