//! `coracle kill CONTAINER...`

use super::which::Which;
use super::{Failure, Global, stop::signal};
use crate::ops::stop;

/// Send a signal to containers
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Signal, by name or number
    #[arg(short, long, value_name = "SIGNAL", value_parser = signal, default_value = "KILL")]
    signal: rustix::process::Signal,
    #[command(flatten)]
    which: Which,
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    args.which.each(
        &store,
        |c| c.state.is_live(),
        |name| stop::kill(&store, name, args.signal),
    )
}
