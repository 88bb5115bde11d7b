//! `coracle artifact VERB`: files in a registry that are no image. podman-artifact(1), oras(1).

mod inspect;
mod ls;
mod pull;
mod push;
mod referrers;

use clap::Subcommand;

use super::{Failure, Global};

/// Manage files in a registry that are no image, and what refers to an image
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Inspect(inspect::Args),
    Ls(ls::Args),
    Pull(pull::Args),
    Push(push::Args),
    #[command(visible_alias = "discover")]
    Referrers(referrers::Args),
}

pub(super) fn exec(_: &Global, args: &Args) -> Result<u8, Failure> {
    match &args.verb {
        Verb::Inspect(a) => inspect::exec(a),
        Verb::Ls(a) => ls::exec(a),
        Verb::Pull(a) => pull::exec(a),
        Verb::Push(a) => push::exec(a),
        Verb::Referrers(a) => referrers::exec(a),
    }
}
