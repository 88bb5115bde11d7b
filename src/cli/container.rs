//! `coracle container VERB`: docker's noun. Most verbs are also commands of their own.

mod exists;
mod prune;

use clap::Subcommand;

use super::{Failure, Global, commit, diff, export, inspect, ps, rm, run};

/// Manage containers
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Commit(commit::Args),
    Diff(diff::Args),
    Exists(exists::Args),
    Export(export::Args),
    Inspect(inspect::Args),
    #[command(visible_aliases = ["list", "ps"])]
    Ls(ps::Args),
    Prune(prune::Args),
    Rm(rm::Args),
    Run(Box<run::Args>),
}

pub(super) fn exec(global: &Global, args: Args) -> Result<u8, Failure> {
    match args.verb {
        Verb::Commit(a) => commit::exec(global, &a),
        Verb::Diff(a) => diff::exec(global, &a),
        Verb::Exists(a) => exists::exec(global, &a),
        Verb::Export(a) => export::exec(global, &a),
        Verb::Inspect(a) => inspect::container(global, a),
        Verb::Ls(a) => ps::exec(global, &a),
        Verb::Prune(a) => prune::exec(global, &a),
        Verb::Rm(a) => rm::exec(global, &a),
        Verb::Run(a) => run::exec(global, *a),
    }
}
