//! `coracle pause CONTAINER...` and `coracle unpause CONTAINER...`

use super::which::Which;
use super::{Failure, Global};
use crate::ops::ps::State;
use crate::ops::stop;

/// Stop all processes of containers where they are
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
}

/// Let paused containers go on
#[derive(Debug, clap::Args)]
pub(super) struct UnpauseArgs {
    #[command(flatten)]
    which: Which,
}

pub(super) fn pause(global: &Global, args: &Args) -> Result<u8, Failure> {
    change(global, &args.which, true)
}

pub(super) fn unpause(global: &Global, args: &UnpauseArgs) -> Result<u8, Failure> {
    change(global, &args.which, false)
}

fn change(global: &Global, which: &Which, paused: bool) -> Result<u8, Failure> {
    let store = global.store()?;
    let from = match paused {
        true => State::Running,
        false => State::Paused,
    };
    which.each(
        &store,
        |c| c.state == from,
        |name| stop::pause(&store, name, paused),
    )
}
