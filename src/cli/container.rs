//! `coracle container VERB`: docker's noun. Most verbs are also commands of their own.

mod exists;
mod prune;

use clap::Subcommand;

use super::{
    Failure, Global, attach, commit, cp, create, diff, exec, export, inspect, kill, logs, pause,
    ps, rename, rm, run, start, stop, top, update, wait,
};

/// Manage containers
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Attach(attach::Args),
    Commit(commit::Args),
    Cp(cp::Args),
    Create(Box<create::Args>),
    Diff(diff::Args),
    Exec(Box<exec::Args>),
    Exists(exists::Args),
    Export(export::Args),
    Inspect(inspect::Args),
    Kill(kill::Args),
    Logs(logs::Args),
    #[command(visible_aliases = ["list", "ps"])]
    Ls(ps::Args),
    Pause(pause::Args),
    Prune(prune::Args),
    Rename(rename::Args),
    Restart(stop::RestartArgs),
    Rm(rm::Args),
    Run(Box<run::Args>),
    Start(start::Args),
    Stop(stop::Args),
    Top(top::Args),
    Unpause(pause::UnpauseArgs),
    Update(update::Args),
    Wait(wait::Args),
}

pub(super) fn exec(global: &Global, args: Args) -> Result<u8, Failure> {
    match args.verb {
        Verb::Attach(a) => attach::exec(global, &a),
        Verb::Commit(a) => commit::exec(global, &a),
        Verb::Cp(a) => cp::exec(global, &a),
        Verb::Create(a) => create::exec(global, *a),
        Verb::Diff(a) => diff::exec(global, &a),
        Verb::Exec(a) => exec::exec(global, *a),
        Verb::Exists(a) => exists::exec(global, &a),
        Verb::Export(a) => export::exec(global, &a),
        Verb::Inspect(a) => inspect::container(global, a),
        Verb::Kill(a) => kill::exec(global, &a),
        Verb::Logs(a) => logs::exec(global, &a),
        Verb::Ls(a) => ps::exec(global, &a),
        Verb::Pause(a) => pause::pause(global, &a),
        Verb::Prune(a) => prune::exec(global, &a),
        Verb::Rename(a) => rename::exec(global, &a),
        Verb::Restart(a) => stop::restart(global, &a),
        Verb::Rm(a) => rm::exec(global, &a),
        Verb::Run(a) => run::exec(global, *a),
        Verb::Start(a) => start::exec(global, &a),
        Verb::Stop(a) => stop::exec(global, &a),
        Verb::Top(a) => top::exec(global, &a),
        Verb::Unpause(a) => pause::unpause(global, &a),
        Verb::Update(a) => update::exec(global, &a),
        Verb::Wait(a) => wait::exec(global, &a),
    }
}
