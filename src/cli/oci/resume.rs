//! `coracle-oci resume`

use super::{Context, Problem};
use crate::ops::oci::pause;

/// Let the processes of a paused container go on
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name of the container
    id: String,
}

pub(super) fn exec(c: &Context<'_>, args: &Args) -> Result<u8, Problem> {
    pause::resume(&c.runtime, &args.id)?;
    Ok(0)
}
