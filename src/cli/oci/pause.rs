//! `coracle-oci pause`

use super::{Context, Problem};
use crate::ops::oci::pause;

/// Stop all processes of a container
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name of the container
    id: String,
}

pub(super) fn exec(c: &Context<'_>, args: &Args) -> Result<u8, Problem> {
    pause::pause(&c.runtime, &args.id)?;
    Ok(0)
}
