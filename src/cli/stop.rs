//! `coracle stop CONTAINER...`

use super::which::Which;
use super::{Failure, Global};
use crate::ops::ps::State;
use crate::ops::stop::{self, Stop};

/// How long a container may take to end
#[derive(Debug, clap::Args)]
struct Patience {
    /// Seconds until SIGKILL [default: the container's own, else 10]
    #[arg(
        short,
        long = "time",
        visible_alias = "timeout",
        value_name = "SECONDS",
        allow_negative_numbers = true
    )]
    time: Option<i64>,
}

/// Ask containers to end, and end those that do not
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    patience: Patience,
    /// Signal that asks for the end [default: the container's own, else SIGTERM]
    #[arg(short, long, value_name = "SIGNAL", value_parser = signal)]
    signal: Option<rustix::process::Signal>,
    #[command(flatten)]
    which: Which,
}

/// A signal by name or number.
pub(super) fn signal(s: &str) -> Result<rustix::process::Signal, String> {
    stop::signal_named(s).ok_or_else(|| format!("there is no signal {s:?}"))
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    let how = Stop {
        timeout: args.patience.time,
        signal: args.signal,
    };
    // Asked for by name, one that has ended already is as wished.
    args.which.each(
        &store,
        |c| c.state.is_live(),
        |name| stop::stop(&store, name, &how).map(|_| ()),
    )
}

/// Stop containers and start them again
#[derive(Debug, clap::Args)]
pub(super) struct RestartArgs {
    #[command(flatten)]
    patience: Patience,
    /// With --all, only those that run
    #[arg(long)]
    running: bool,
    #[command(flatten)]
    which: Which,
}

pub(super) fn restart(global: &Global, args: &RestartArgs) -> Result<u8, Failure> {
    let store = global.store()?;
    let how = Stop {
        timeout: args.patience.time,
        signal: None,
    };
    let progress = super::progress::new(false);
    args.which.each(
        &store,
        |c| !args.running || c.state == State::Running,
        |name| {
            stop::stop(&store, name, &how)?;
            crate::ops::start::start(&store, name, &*progress).map(|_| ())
        },
    )
}
