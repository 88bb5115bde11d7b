//! The command line: clap definitions, one file a verb. A verb turns its arguments into an options
//! struct, calls one use case in [`ops`](crate::ops) and prints what comes back.

mod artifact;
mod ask;
mod attach;
mod commit;
mod container;
mod copy;
mod cp;
mod create;
mod creds;
mod defaults;
mod diff;
mod doctor;
mod events;
mod exec;
mod export;
mod filters;
mod flags;
mod format;
mod generate;
mod global;
mod history;
mod human;
mod image;
mod images;
mod import;
mod info;
mod inspect;
mod intake;
mod kill;
mod listing;
mod load;
mod logging;
mod login;
mod logout;
mod logs;
mod manifest;
mod oci;
mod output;
mod pause;
mod port;
mod progress;
mod prompt;
mod ps;
mod pull;
mod push;
mod rename;
mod report;
mod rm;
mod rmi;
mod run;
mod run_values;
mod save;
mod search;
mod sign;
mod start;
mod stats;
mod stop;
mod system;
mod table;
mod tag;
mod tags;
mod template;
mod text;
mod top;
mod unsupported;
mod untag;
mod update;
mod verbs;
mod verify;
mod version;
mod volume;
mod wait;
mod which;
mod yaml;

use std::ffi::{CString, OsString};
use std::path::Path;

use clap::{CommandFactory as _, FromArgMatches as _, Parser};

pub use global::Global;
pub use report::Failure;
use verbs::Command;

use crate::ops;

/// Pull and run OCI images without root, setuid helpers, subordinate ids or a daemon.
#[derive(Debug, Parser)]
#[command(
    name = "coracle",
    version,
    propagate_version = false,
    disable_version_flag = true,
    disable_help_subcommand = true
)]
#[command(arg_required_else_help = true, subcommand_required = true)]
pub struct App {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
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
    let name = std::env::args_os().next().unwrap_or_default();
    if name == ops::INIT_NAME {
        let args: Vec<_> = args
            .by_ref()
            .skip(1)
            .filter_map(|a| CString::new(a.into_encoded_bytes()).ok())
            .collect();
        return ops::init_main(&args);
    }
    if name == ops::COPIER_NAME {
        return ops::copier_main(args.skip(1));
    }
    if name == ops::MONITOR_NAME {
        return ops::monitor_main(args.skip(1));
    }
    let args: Vec<OsString> = args.collect();
    match args.first() {
        Some(name) if is_oci(name) => oci::main(&args),
        _ => run(args),
    }
}

/// Whether this program is called by the name that makes it an OCI runtime: by any path.
fn is_oci(name: &OsString) -> bool {
    Path::new(name)
        .file_name()
        .is_some_and(|name| name == oci::NAME)
}

fn run(args: impl IntoIterator<Item = OsString>) -> u8 {
    let args: Vec<OsString> = args.into_iter().collect();
    let app = match parse(&args) {
        Ok(app) => app,
        Err(Wrong::Usage(e)) => {
            let reason = match verb(&args) {
                Some("run") => unsupported::explain(&e),
                // Options that are the same ones, and not there for the same reasons.
                Some("update") => unsupported::reason_of(&e),
                _ => None,
            };
            return match global::explain(&e).or(reason) {
                Some(failure) => report::failure(&failure),
                None => report::usage(&e),
            };
        }
        Err(Wrong::Value(failure)) => return report::failure(&failure),
    };
    let global = &app.global;
    logging::start(global.log_level());
    let result = app.command.exec(global);
    match result {
        Ok(code) => code,
        Err(failure) => report::failure(&failure),
    }
}

/// Why a command line is not followed.
enum Wrong {
    /// It cannot be understood.
    Usage(clap::Error),
    /// A value in it is none, or one that a file puts before it.
    Value(Failure),
}

/// Of clap's definitions only those of the verb are built; for `run`, whose start-up counts, the usual is read without
/// any. Whatever is wrong is said by the whole.
fn parse(args: &[OsString]) -> Result<App, Wrong> {
    let verb = verb(args);
    if verb == Some("run")
        && let Some(app) = run::parse_quickly(args)
    {
        return Ok(app);
    }
    if let Some(command) = verb.and_then(only)
        && let Ok(app) = parse_by(leak(command), args)
    {
        return app;
    }
    parse_by(leak(App::command()), args).map_err(Wrong::Usage)?
}

/// The outer result is about the user's words, the inner one about values in them and in a file.
fn parse_by(
    command: &mut clap::Command,
    args: &[OsString],
) -> Result<Result<App, Wrong>, clap::Error> {
    let (plain, mut matches) = match matches(command, args)? {
        Ok(found) => found,
        Err(failure) => return Ok(Err(Wrong::Value(failure))),
    };
    let (args, off) = match &plain {
        Some(plain) => (plain.words.as_slice(), plain.off.as_slice()),
        None => (args, &[][..]),
    };
    let changed = match defaults::apply(args, off, command, &matches) {
        Ok(changed) => changed,
        Err(failure) => return Ok(Err(Wrong::Value(failure))),
    };
    if let Some(line) = changed {
        matches = match command.try_get_matches_from_mut(line) {
            Ok(matches) => matches,
            Err(e) => {
                let text = e.to_string();
                let first = text.lines().next().unwrap_or_default();
                let failure =
                    Failure::usage(format!("the file that CONTAINERS_CONF names: {first}"));
                return Ok(Err(Wrong::Value(failure)));
            }
        };
    }
    App::from_arg_matches_mut(&mut matches).map(Ok)
}

type Matches = (Option<flags::Plain>, clap::ArgMatches);

/// What clap makes of the words, or else of them without values of flags. The outer result is clap's, the inner one
/// about such a value.
fn matches(
    command: &mut clap::Command,
    args: &[OsString],
) -> Result<Result<Matches, Failure>, clap::Error> {
    let e = match command.try_get_matches_from_mut(args) {
        Ok(matches) => return Ok(Ok((None, matches))),
        Err(e) => e,
    };
    if !flags::may_explain(&e) {
        return Err(e);
    }
    match flags::plain(command, args) {
        Ok(None) => Err(e),
        Ok(Some(plain)) => {
            let matches = command.try_get_matches_from_mut(&plain.words)?;
            Ok(Ok((Some(plain), matches)))
        }
        Err(failure) => Ok(Err(failure)),
    }
}

/// It is needed once, and the process ends soon: taking it apart would be work for nothing.
fn leak(command: clap::Command) -> &'static mut clap::Command {
    Box::leak(Box::new(command))
}

/// The program with one verb.
fn only(verb: &str) -> Option<clap::Command> {
    let verb = Command::alone(verb)?;
    let name = clap::Command::new("coracle")
        .disable_version_flag(true)
        .disable_help_subcommand(true);
    Some(<Global as clap::Args>::augment_args(name.version(version::NUMBER)).subcommand(verb))
}

/// The first word that is no option of ours.
fn verb(args: &[OsString]) -> Option<&str> {
    args.get(verb_at(args)?)?.to_str()
}

fn verb_at(args: &[OsString]) -> Option<usize> {
    let mut at = 1;
    loop {
        match args.get(at)?.to_str()? {
            word if global::takes_value(word) => at += 2,
            word if word.starts_with('-') => at += 1,
            _ => return Some(at),
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
    use clap::error::ErrorKind;

    #[test]
    fn the_verb_is_found_behind_options() {
        for (line, want) in [
            ("coracle run -d x", Some("run")),
            ("coracle --root run --root=x pull -d", Some("pull")),
            (
                "coracle --runroot a --log-level run -D --storage-opt=x pull",
                Some("pull"),
            ),
            ("coracle --root", None),
            ("coracle", None),
        ] {
            let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert_eq!(super::verb(&args), want, "{line}");
        }
    }

    #[test]
    fn a_verb_alone_is_parsed_like_the_whole() {
        for line in [
            "exec x y",
            "--root /r exec -it -e A=B x y --root z",
            "exec --root /r -u a:b --no-such x y",
            "run x",
            "--root /r run --rm -it -e A=B x y --root z",
            "run --root /r x -- y",
            "run --root=/r -v a:b --no-such x",
            "ps -aq --filter name=x",
            "volume create --label a=b x",
            "container ls --root /r",
            "no-such",
        ] {
            let args = ["coracle"].into_iter().chain(line.split(' '));
            let args: Vec<OsString> = args.map(OsString::from).collect();
            let show = |command: clap::Command| {
                command
                    .try_get_matches_from(&args)
                    .and_then(|mut m| super::App::from_arg_matches_mut(&mut m))
                    .map(|app| format!("{app:?}"))
                    .map_err(|e| e.kind())
            };
            let Some(only) = super::verb(&args).and_then(super::only) else {
                assert_eq!(show(super::command()), Err(ErrorKind::InvalidSubcommand));
                continue;
            };
            assert_eq!(show(only), show(super::command()), "{line}");
        }
    }

    #[test]
    fn each_verb_is_the_same_alone() {
        let mut whole = super::command();
        whole.build();
        for verb in whole.get_subcommands_mut() {
            let name = verb.get_name().to_owned();
            let mut only = super::only(&name).unwrap();
            only.build();
            let alone = only.find_subcommand_mut(&name).unwrap();
            assert_eq!(
                alone.render_long_help().to_string(),
                verb.render_long_help().to_string(),
                "{name}"
            );
        }
    }

    #[test]
    fn verify_app() {
        super::command().debug_assert();
    }
}
