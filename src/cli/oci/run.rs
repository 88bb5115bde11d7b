//! `coracle-oci run`

use super::create::Making;
use super::{Context, Problem};
use crate::ops::oci::run::{self, After};

/// Create a container and start it
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    making: Making,
    /// Do not wait for its end
    #[arg(short, long)]
    detach: bool,
    /// Do not delete it when it has ended
    #[arg(long)]
    keep: bool,
    /// Accepted, and without effect: no orphans are adopted
    #[arg(long)]
    no_subreaper: bool,
}

pub(super) fn exec(c: &Context<'_>, args: &Args) -> Result<u8, Problem> {
    let after = After {
        detach: args.detach,
        keep: args.keep,
    };
    Ok(run::run(&c.runtime, &args.making.options(), after)?)
}
