//! `coracle secret VERB`: what containers get to know and images do not. podman-secret(1).

mod create;
mod exists;
mod inspect;
mod ls;
mod rm;

use clap::Subcommand;

use super::{Failure, Global};

/// Manage secrets
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Create(create::Args),
    Exists(exists::Args),
    Inspect(inspect::Args),
    #[command(visible_alias = "list")]
    Ls(ls::Args),
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    match &args.verb {
        Verb::Create(a) => create::exec(global, a),
        Verb::Exists(a) => exists::exec(global, a),
        Verb::Inspect(a) => inspect::exec(global, a),
        Verb::Ls(a) => ls::exec(global, a),
        Verb::Rm(a) => rm::exec(global, a),
    }
}
