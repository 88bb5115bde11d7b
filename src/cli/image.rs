//! `coracle image VERB`: docker's noun. Most verbs are also commands of their own.

mod exists;
mod prune;
mod tree;

use clap::Subcommand;

use super::{
    Failure, Global, copy, diff, history, images, import, inspect, load, pull, push, rmi, save,
    search, sign, tag, tags, untag, verify,
};

/// Manage images
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Copy(copy::Args),
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
    Push(push::Args),
    #[command(visible_alias = "remove")]
    Rm(rmi::Args),
    Save(save::Args),
    Search(search::Args),
    Sign(sign::Args),
    Tag(tag::Args),
    Tags(tags::Args),
    Tree(tree::Args),
    Untag(untag::Args),
    Verify(verify::Args),
}

pub(super) fn exec(global: &Global, args: Args) -> Result<u8, Failure> {
    match args.verb {
        Verb::Copy(a) => copy::exec(global, &a),
        Verb::Diff(a) => diff::exec(global, &a),
        Verb::Exists(a) => exists::exec(global, &a),
        Verb::History(a) => history::exec(global, &a),
        Verb::Import(a) => import::exec(global, &a),
        Verb::Inspect(a) => inspect::image(global, a),
        Verb::Load(a) => load::exec(global, &a),
        Verb::Ls(a) => images::exec(global, &a),
        Verb::Prune(a) => prune::exec(global, &a),
        Verb::Pull(a) => pull::exec(global, &a),
        Verb::Push(a) => push::exec(global, &a),
        Verb::Rm(a) => rmi::exec(global, &a),
        Verb::Save(a) => save::exec(global, &a),
        Verb::Search(a) => search::exec(global, &a),
        Verb::Sign(a) => sign::exec(global, &a),
        Verb::Tag(a) => tag::exec(global, &a),
        Verb::Tags(a) => tags::exec(global, &a),
        Verb::Tree(a) => tree::exec(global, &a),
        Verb::Untag(a) => untag::exec(global, &a),
        Verb::Verify(a) => verify::exec(global, &a),
    }
}
