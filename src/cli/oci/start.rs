//! `coracle-oci start`

use super::{Context, Problem};
use crate::ops::oci::start;

/// Start a created container
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name of the container
    id: String,
}

pub(super) fn exec(c: &Context<'_>, args: &Args) -> Result<u8, Problem> {
    start::start(&c.runtime, &args.id)?;
    Ok(0)
}
