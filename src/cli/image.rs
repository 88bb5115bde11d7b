//! `coracle image VERB`: docker's noun. Most verbs are also commands of their own.

mod exists;
mod prune;
mod tree;

use clap::Subcommand;

use super::{Failure, Global, diff, history, images, import, inspect, load, pull, rmi, save, tag};

/// Manage images
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Diff(diff::Args),
    Exists(exists::Args),
    History(history::Args),
    Import(import::Args),
    Inspect(inspect::Args),
    Load(load::Args),
    #[command(visible_alias = "list")]
    Ls(images::Args),
    Prune(prune::Args),
    Pull(pull::Args),
    #[command(visible_alias = "remove")]
    Rm(rmi::Args),
    Save(save::Args),
    Tag(tag::Args),
    Tree(tree::Args),
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    match &args.verb {
        Verb::Diff(a) => diff::exec(global, a),
        Verb::Exists(a) => exists::exec(global, a),
        Verb::History(a) => history::exec(global, a),
        Verb::Import(a) => import::exec(global, a),
        Verb::Inspect(a) => inspect::exec(global, a),
        Verb::Load(a) => load::exec(global, a),
        Verb::Ls(a) => images::exec(global, a),
        Verb::Prune(a) => prune::exec(global, a),
        Verb::Pull(a) => pull::exec(global, a),
        Verb::Rm(a) => rmi::exec(global, a),
        Verb::Save(a) => save::exec(global, a),
        Verb::Tag(a) => tag::exec(global, a),
        Verb::Tree(a) => tree::exec(global, a),
    }
}
