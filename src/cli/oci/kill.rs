//! `coracle-oci kill`

use super::{Context, Problem};
use crate::ops::oci::kill;

/// Send a signal to a container
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name of the container
    id: String,
    /// Name or number
    #[arg(default_value = "SIGTERM", allow_hyphen_values = true)]
    signal: String,
    /// To all its processes, and not to the first alone
    #[arg(short, long)]
    all: bool,
}

pub(super) fn exec(c: &Context<'_>, args: &Args) -> Result<u8, Problem> {
    kill::kill(&c.runtime, &args.id, &args.signal, args.all)?;
    Ok(0)
}
