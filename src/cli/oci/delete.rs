//! `coracle-oci delete`

use super::{Context, Problem};
use crate::ops::oci::delete;

/// Forget a container that has ended
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name of the container
    id: String,
    /// End it first, if it runs; what is not there is deleted
    #[arg(short, long)]
    force: bool,
}

pub(super) fn exec(c: &Context<'_>, args: &Args) -> Result<u8, Problem> {
    for problem in delete::delete(&c.runtime, &args.id, args.force)? {
        c.warn(&problem.to_string());
    }
    Ok(0)
}
