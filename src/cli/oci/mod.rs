//! `coracle oci VERB`, and the same under the name `coracle-oci`: an OCI runtime, with the options of runc(8).

mod create;
mod delete;
mod events;
mod exec;
mod features;
mod kill;
mod list;
mod pause;
mod ps;
mod report;
mod resume;
mod run;
mod spec;
mod start;
mod state;
mod update;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

use super::Failure;
use crate::ops::oci::{self, Runtime};

/// argv[0] by which the program is this runtime.
pub(super) const NAME: &str = "coracle-oci";

/// The specification whose properties are known.
pub(super) const SPEC: &str = "1.2.0";

/// Run bundles of the Open Container Initiative
#[derive(Debug, Parser)]
#[command(
    name = NAME,
    version = concat!("version ", env!("CARGO_PKG_VERSION"), "\nspec: 1.2.0"),
    disable_version_flag = true,
    disable_help_subcommand = true,
    arg_required_else_help = true,
    subcommand_required = true
)]
struct App {
    /// Directory of the containers' state [default: $XDG_RUNTIME_DIR/coracle-oci, or /run/coracle-oci]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Print version
    #[arg(short, long, visible_short_alias = 'V', action = clap::ArgAction::Version)]
    version: (),
    #[command(flatten)]
    args: Args,
}

/// Run bundles, as an OCI runtime does: for podman, containerd and others who drive one
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// Options that stand before the verb.
#[derive(Debug, clap::Args)]
struct Global {
    /// File for what goes wrong, besides standard error
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Form of what is written there
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// Least weight of what is written there: everything that is written is an error or a warning
    #[arg(long, value_name = "LEVEL", hide = true)]
    log_level: Option<String>,
    /// Accepted, and without effect
    #[arg(long)]
    debug: bool,
    /// cgroupsPath has systemd's form; groups are made without it
    #[arg(long)]
    systemd_cgroup: bool,
    /// Who makes control groups
    #[arg(long, value_name = "MANAGER", default_value = "cgroupfs")]
    cgroup_manager: CgroupManager,
    /// Accepted, and without effect: it is found out
    #[arg(long, value_name = "BOOL|auto", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    rootless: Option<String>,
    /// Accepted, and without effect: nothing is checkpointed
    #[arg(long, value_name = "PROGRAM", hide = true)]
    criu: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CgroupManager {
    /// This program
    Cgroupfs,
    /// Nobody
    Disabled,
    /// This program, at the place that systemd would choose
    Systemd,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Create(create::Args),
    Delete(delete::Args),
    Events(events::Args),
    Exec(Box<exec::Args>),
    Features(features::Args),
    Kill(kill::Args),
    List(list::Args),
    Pause(pause::Args),
    Ps(ps::Args),
    Resume(resume::Args),
    Run(run::Args),
    Spec(spec::Args),
    Start(start::Args),
    State(state::Args),
    Update(Box<update::Args>),
}

/// Why a verb failed.
#[derive(Debug)]
enum Problem {
    Oci(oci::Error),
    Other(Failure),
}

impl From<oci::Error> for Problem {
    fn from(e: oci::Error) -> Self {
        Self::Oci(e)
    }
}

impl From<Failure> for Problem {
    fn from(e: Failure) -> Self {
        Self::Other(e)
    }
}

impl From<std::io::Error> for Problem {
    fn from(e: std::io::Error) -> Self {
        Self::Other(e.into())
    }
}

/// What a verb works with.
struct Context<'a> {
    runtime: Runtime,
    global: &'a Global,
}

impl Context<'_> {
    /// Something went wrong that stopped nothing.
    fn warn(&self, message: &str) {
        report::write(self.global, "warning", message);
    }
}

/// Under its own name.
pub(super) fn main(args: &[OsString]) -> u8 {
    let mut command = App::command();
    let parsed = super::matches(&mut command, args).and_then(|found| match found {
        Ok((_, mut matches)) => App::from_arg_matches_mut(&mut matches).map(Ok),
        Err(failure) => Ok(Err(failure)),
    });
    match parsed {
        Ok(Ok(app)) => exec(app.root.as_deref(), &app.args),
        Ok(Err(failure)) => {
            super::report::failure(&failure);
            1
        }
        Err(e) => {
            let _ = e.print();
            u8::from(e.use_stderr())
        }
    }
}

/// Do it; returns the exit code, which is 1 for whatever goes wrong, as runc's.
pub(super) fn exec(root: Option<&Path>, args: &Args) -> u8 {
    let global = &args.global;
    let cgroups = global.cgroup_manager != CgroupManager::Disabled;
    let context = Runtime::new(root, cgroups).map(|runtime| Context { runtime, global });
    let result = context
        .map_err(Problem::from)
        .and_then(|c| verb(&c, &args.verb));
    match result {
        Ok(code) => code,
        Err(problem) => {
            report::write(global, "error", &report::message(&problem));
            match args.verb {
                // As runc: else it could not be told from the program's own.
                Verb::Exec(_) => 255,
                _ => 1,
            }
        }
    }
}

fn verb(c: &Context<'_>, verb: &Verb) -> Result<u8, Problem> {
    match verb {
        Verb::Create(a) => create::exec(c, a),
        Verb::Delete(a) => delete::exec(c, a),
        Verb::Events(a) => events::exec(c, a),
        Verb::Exec(a) => exec::exec(c, a),
        Verb::Features(a) => features::exec(a),
        Verb::Kill(a) => kill::exec(c, a),
        Verb::List(a) => list::exec(c, a),
        Verb::Pause(a) => pause::exec(c, a),
        Verb::Ps(a) => ps::exec(c, a),
        Verb::Resume(a) => resume::exec(c, a),
        Verb::Run(a) => run::exec(c, a),
        Verb::Spec(a) => spec::exec(a),
        Verb::Start(a) => start::exec(c, a),
        Verb::State(a) => state::exec(c, a),
        Verb::Update(a) => update::exec(c, a),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn verify_app() {
        super::App::command().debug_assert();
    }
}
