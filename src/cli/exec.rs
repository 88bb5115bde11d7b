//! `coracle exec`: docker's options, docker's meaning.

use std::path::PathBuf;

use super::run_values as values;
use super::{Failure, Global, text};
use crate::ops::exec::{self, Options};
use crate::ops::run::EnvVar;
use crate::ops::start::{Keys, Left};

/// Run one more program in a container that runs
#[derive(Debug, Default, clap::Args)]
#[command(
    after_help = "Exit status: that of the program; 125 if coracle failed, 126 if the program cannot be executed, 127 if it was not found, 128+n if signal n ended it."
)]
pub(super) struct Args {
    /// Leave it in the background
    #[arg(short, long)]
    detach: bool,
    /// Keys that leave it running behind [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS", value_parser = values::keys)]
    detach_keys: Option<Keys>,
    /// Set a variable: NAME=VALUE, or NAME to take the caller's
    #[arg(short, long, value_name = "NAME[=VALUE]", value_parser = values::env)]
    env: Vec<EnvVar>,
    /// Read variables from a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Keep standard input open
    #[arg(short, long)]
    interactive: bool,
    /// Hand on so many descriptors beyond 0 to 2, from 3 on
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,
    /// All capabilities (over the container's own namespaces), no filter
    #[arg(long)]
    privileged: bool,
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
    /// User the program sees itself as: USER[:GROUP], names or numbers
    #[arg(short, long)]
    user: Option<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR", value_parser = values::absolute)]
    workdir: Option<PathBuf>,

    /// Container, and the program with its arguments
    #[arg(required = true, trailing_var_arg = true, value_names = ["CONTAINER", "PROGRAM"], num_args = 2..)]
    container_and_command: Vec<String>,
}

pub(super) fn exec(global: &Global, args: Args) -> Result<u8, Failure> {
    let options = options(args)?;
    if options.tty
        && options.interactive
        && !options.detach
        && !rustix::termios::isatty(rustix::stdio::stdin())
    {
        text::stderr(
            "warning: standard input is not a terminal: keys and window size have nowhere to come from",
        );
    }
    match exec::exec(&global.store()?, &options)? {
        Left::Ended(code) => Ok(code),
        Left::Detached | Left::Lost => Ok(0),
    }
}

fn options(a: Args) -> Result<Options, Failure> {
    let mut words = a.container_and_command.into_iter();
    let container = words.next().unwrap_or_default();
    let mut env = Vec::new();
    for file in &a.env_file {
        env.extend(values::env_file(file)?);
    }
    env.extend(a.env);
    if a.detach && a.interactive && !a.tty {
        return Err(Failure::usage(
            "--detach and --interactive exclude each other: what runs in the background reads nothing",
        ));
    }
    Ok(Options {
        container,
        command: words.collect(),
        interactive: a.interactive,
        tty: a.tty,
        detach: a.detach,
        env,
        user: a.user,
        workdir: a.workdir,
        privileged: a.privileged,
        keys: a.detach_keys.unwrap_or_default(),
        preserve_fds: a.preserve_fds,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::cli::{App, Command};

    #[test]
    fn what_stands_after_the_container_belongs_to_the_program() {
        for (line, want) in [
            (
                &["-itu", "root", "x", "sh", "-d"][..],
                &["x", "sh", "-d"][..],
            ),
            (
                &["-e", "A=b", "x", "env", "--help"],
                &["x", "env", "--help"],
            ),
            (&["--", "x", "sh", "-c", "-e"], &["x", "sh", "-c", "-e"]),
        ] {
            let line = ["coracle", "exec"].iter().chain(line);
            let Command::Exec(args) = App::try_parse_from(line).unwrap().command else {
                panic!();
            };
            assert_eq!(args.container_and_command, want);
        }
        let alone = ["coracle", "exec", "x"];
        assert!(App::try_parse_from(alone).is_err(), "no program");
    }
}
