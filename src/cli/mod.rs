//! The command line: clap definitions, one file a verb. A verb turns its arguments into an options
//! struct, calls one use case in [`ops`](crate::ops) and prints what comes back.

mod artifact;
mod ask;
mod commit;
mod container;
mod copy;
mod diff;
mod doctor;
mod export;
mod filters;
mod format;
mod history;
mod human;
mod image;
mod images;
mod import;
mod inspect;
mod intake;
mod listing;
mod load;
mod login;
mod logout;
mod manifest;
mod output;
mod progress;
mod prompt;
mod ps;
mod pull;
mod push;
mod report;
mod rm;
mod rmi;
mod run;
mod run_values;
mod save;
mod search;
mod sign;
mod system;
mod table;
mod tag;
mod tags;
mod template;
mod text;
mod unsupported;
mod untag;
mod verify;
mod volume;

use std::ffi::{CString, OsString};
use std::path::PathBuf;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

pub use report::Failure;

use crate::ops;

/// Pull and run OCI images without root, setuid helpers, subordinate ids or a daemon.
#[derive(Debug, Parser)]
#[command(
    name = "coracle",
    version,
    propagate_version = false,
    disable_help_subcommand = true
)]
#[command(arg_required_else_help = true, subcommand_required = true)]
pub struct App {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options that stand before the verb.
#[derive(Debug, Default, clap::Args)]
pub struct Global {
    /// Directory for images and containers [default: $CORACLE_ROOT, else $XDG_DATA_HOME/coracle]
    #[arg(long, value_name = "DIR", global = true)]
    pub root: Option<PathBuf>,
    /// Store of somebody else to take images from, which is only read; several may be given
    #[arg(
        long = "additional-store",
        value_name = "DIR",
        global = true,
        env = "CORACLE_ADDITIONAL_STORES",
        hide_env_values = true,
        value_delimiter = ':'
    )]
    pub additional: Vec<PathBuf>,
}

impl Global {
    /// The user's store, or what the options make of it.
    fn store(&self) -> Result<ops::Store, ops::Error> {
        // A variable that is set to nothing is not set.
        let named = self.additional.iter().filter(|d| !d.as_os_str().is_empty());
        let additional: Vec<PathBuf> = named.cloned().collect();
        ops::open_store(self.root.as_deref(), &additional)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    Artifact(artifact::Args),
    Commit(commit::Args),
    Completion(completion::Args),
    Container(Box<container::Args>),
    Copy(copy::Args),
    Diff(diff::Args),
    Doctor(doctor::Args),
    Export(export::Args),
    History(history::Args),
    Image(image::Args),
    Images(images::Args),
    Import(import::Args),
    Inspect(inspect::Args),
    Load(load::Args),
    Login(login::Args),
    Logout(logout::Args),
    Manifest(manifest::Args),
    Ps(ps::Args),
    Pull(pull::Args),
    Push(push::Args),
    Rm(rm::Args),
    Rmi(rmi::Args),
    Run(Box<run::Args>),
    Save(save::Args),
    Search(search::Args),
    Sign(sign::Args),
    System(system::Args),
    Tag(tag::Args),
    Tags(tags::Args),
    Untag(untag::Args),
    Verify(verify::Args),
    Volume(volume::Args),
}

mod completion {
    //! `coracle completion SHELL`

    use clap::CommandFactory as _;

    use super::{App, Failure, Global, text};

    /// Print a completion script for a shell
    #[derive(Debug, clap::Args)]
    pub(super) struct Args {
        /// Shell to write for
        shell: clap_complete::Shell,
    }

    pub(super) fn exec(_: &Global, args: &Args) -> Result<u8, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(args.shell, &mut App::command(), "coracle", &mut script);
        text::stdout(|out| out.write_all(&script))?;
        Ok(0)
    }
}

/// Parse the arguments, do what they say, and return the exit code.
pub fn main() -> u8 {
    let mut args = std::env::args_os();
    if std::env::args_os()
        .next()
        .is_some_and(|name| name == ops::INIT_NAME)
    {
        let args: Vec<_> = args
            .by_ref()
            .skip(1)
            .filter_map(|a| CString::new(a.into_encoded_bytes()).ok())
            .collect();
        return ops::init_main(&args);
    }
    run(args)
}

fn run(args: impl IntoIterator<Item = OsString>) -> u8 {
    let args: Vec<OsString> = args.into_iter().collect();
    let app = match parse(&args) {
        Ok(app) => app,
        Err(e) => {
            let reason = (verb(&args) == Some("run")).then(|| unsupported::explain(&e));
            return match reason.flatten() {
                Some(failure) => report::failure(&failure),
                None => report::usage(&e),
            };
        }
    };
    let global = &app.global;
    let result = match app.command {
        Command::Artifact(a) => artifact::exec(global, &a),
        Command::Commit(a) => commit::exec(global, &a),
        Command::Completion(a) => completion::exec(global, &a),
        Command::Container(a) => container::exec(global, *a),
        Command::Copy(a) => copy::exec(global, &a),
        Command::Diff(a) => diff::exec(global, &a),
        Command::Doctor(a) => doctor::exec(global, &a),
        Command::Export(a) => export::exec(global, &a),
        Command::History(a) => history::exec(global, &a),
        Command::Image(a) => image::exec(global, &a),
        Command::Images(a) => images::exec(global, &a),
        Command::Import(a) => import::exec(global, &a),
        Command::Inspect(a) => inspect::exec(global, &a),
        Command::Load(a) => load::exec(global, &a),
        Command::Login(a) => login::exec(global, &a),
        Command::Logout(a) => logout::exec(global, &a),
        Command::Manifest(a) => manifest::exec(global, &a),
        Command::Ps(a) => ps::exec(global, &a),
        Command::Pull(a) => pull::exec(global, &a),
        Command::Push(a) => push::exec(global, &a),
        Command::Rm(a) => rm::exec(global, &a),
        Command::Rmi(a) => rmi::exec(global, &a),
        Command::Run(a) => run::exec(global, *a),
        Command::Save(a) => save::exec(global, &a),
        Command::Search(a) => search::exec(global, &a),
        Command::Sign(a) => sign::exec(global, &a),
        Command::System(a) => system::exec(global, &a),
        Command::Tag(a) => tag::exec(global, &a),
        Command::Tags(a) => tags::exec(global, &a),
        Command::Untag(a) => untag::exec(global, &a),
        Command::Verify(a) => verify::exec(global, &a),
        Command::Volume(a) => volume::exec(global, &a),
    };
    match result {
        Ok(code) => code,
        Err(failure) => report::failure(&failure),
    }
}

/// For `run`, whose start-up counts, the usual is read without clap, and of clap's definitions only its own are
/// built. Whatever is wrong is said by the whole.
fn parse(args: &[OsString]) -> Result<App, clap::Error> {
    let quick = match verb(args) {
        Some("run") => match run::parse_quickly(args) {
            Some(app) => return Ok(app),
            None => leak(run_only()).try_get_matches_from_mut(args).ok(),
        },
        _ => None,
    };
    let mut matches = match quick {
        Some(matches) => matches,
        None => leak(App::command()).try_get_matches_from_mut(args)?,
    };
    App::from_arg_matches_mut(&mut matches)
}

/// It is needed once, and the process ends soon: taking it apart would be work for nothing.
fn leak(command: clap::Command) -> &'static mut clap::Command {
    Box::leak(Box::new(command))
}

fn run_only() -> clap::Command {
    let run = <run::Args as clap::Args>::augment_args(clap::Command::new("run"));
    <Global as clap::Args>::augment_args(clap::Command::new("coracle")).subcommand(run)
}

/// The first word that is no option of ours.
fn verb(args: &[OsString]) -> Option<&str> {
    let mut words = args.iter().skip(1);
    loop {
        match words.next()?.to_str()? {
            "--root" => {
                words.next();
            }
            word if word.starts_with('-') => {}
            word => return Some(word),
        }
    }
}

/// The whole command tree, for the man pages and the tests.
pub fn command() -> clap::Command {
    App::command()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::FromArgMatches as _;

    #[test]
    fn the_verb_is_found_behind_options() {
        for (line, want) in [
            ("coracle run -d x", Some("run")),
            ("coracle --root run --root=x pull -d", Some("pull")),
            ("coracle --root", None),
            ("coracle", None),
        ] {
            let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert_eq!(super::verb(&args), want, "{line}");
        }
    }

    #[test]
    fn run_alone_is_parsed_like_the_whole() {
        for line in [
            "run x",
            "--root /r run --rm -it -e A=B x y --root z",
            "run --root /r x -- y",
            "run --root=/r -v a:b --no-such x",
        ] {
            let args = || ["coracle"].into_iter().chain(line.split(' '));
            let show = |command: clap::Command| {
                command
                    .try_get_matches_from(args())
                    .and_then(|mut m| super::App::from_arg_matches_mut(&mut m))
                    .map(|app| format!("{app:?}"))
                    .map_err(|e| e.kind())
            };
            assert_eq!(show(super::run_only()), show(super::command()), "{line}");
        }
    }

    #[test]
    fn verify_app() {
        super::command().debug_assert();
    }
}
