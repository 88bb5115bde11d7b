//! `coracle system VERB`: the store as a whole.

mod check;
mod df;
mod prune;
mod share;

use clap::Subcommand;

use super::{Failure, Global, events, info};

/// Manage the store: its size, its soundness, what nobody needs
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Check(check::Args),
    Df(df::Args),
    Events(events::Args),
    Info(info::Args),
    Prune(prune::Args),
    Share(share::Args),
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    match &args.verb {
        Verb::Check(a) => check::exec(global, a),
        Verb::Df(a) => df::exec(global, a),
        Verb::Events(a) => events::exec(global, a),
        Verb::Info(a) => info::exec(global, a),
        Verb::Prune(a) => prune::exec(global, a),
        Verb::Share(a) => share::exec(global, a),
    }
}
