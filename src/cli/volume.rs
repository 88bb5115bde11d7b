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
use serde_json::{Value, json};

use super::{Failure, Global};
use crate::ops::volume::Volume;

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

/// The keys that docker and podman have in common, and those of podman's that say something here.
fn record(v: &Volume) -> Value {
    let mut record = json!({
        "Name": v.record.name,
        "Driver": "local",
        "Mountpoint": v.mountpoint,
        "CreatedAt": v.record.created_at,
        "Labels": v.record.labels,
        "Scope": "local",
        "Options": v.record.options,
        "MountCount": v.containers.len(),
    });
    for (name, is_so) in [
        ("Anonymous", v.record.anonymous),
        ("NeedsCopyUp", v.record.needs_copy_up),
        ("NeedsChown", v.record.needs_chown),
    ] {
        if is_so {
            record[name] = Value::Bool(true);
        }
    }
    record
}
