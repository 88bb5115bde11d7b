//! `coracle volume VERB`: directories with names that outlive containers. podman-volume(1).

mod create;
mod exists;
mod export;
mod import;
mod inspect;
mod ls;
mod prune;
mod rm;

use clap::Subcommand;

use super::{Failure, Global};

/// Manage volumes
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Create(create::Args),
    Exists(exists::Args),
    Export(export::Args),
    Import(import::Args),
    Inspect(inspect::Args),
    #[command(visible_alias = "list")]
    Ls(ls::Args),
    Prune(prune::Args),
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    match &args.verb {
        Verb::Create(a) => create::exec(global, a),
        Verb::Exists(a) => exists::exec(global, a),
        Verb::Export(a) => export::exec(global, a),
        Verb::Import(a) => import::exec(global, a),
        Verb::Inspect(a) => inspect::exec(global, a),
        Verb::Ls(a) => ls::exec(global, a),
        Verb::Prune(a) => prune::exec(global, a),
        Verb::Rm(a) => rm::exec(global, a),
    }
}
