//! `coracle-oci exec`

use std::path::PathBuf;

use super::{Context, Problem};
use crate::ops::oci::Changes;
use crate::ops::oci::exec::{self, Options};

/// Run a further program in a container
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name of the container
    id: String,
    /// Program and arguments
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required_unless_present = "process"
    )]
    command: Vec<String>,
    /// File with a process, as in config.json; what else is said of one has no effect then
    #[arg(short, long, value_name = "FILE")]
    process: Option<PathBuf>,
    /// Working directory
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// Set a variable: NAME=VALUE
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// User and group, by number
    #[arg(short, long, value_name = "UID[:GID]", value_parser = user)]
    user: Option<(u32, Option<u32>)>,
    /// One more group, by number
    #[arg(short = 'g', long, value_name = "GID")]
    additional_gids: Vec<u32>,
    /// One more capability
    #[arg(short, long, value_name = "CAPABILITY")]
    cap: Vec<String>,
    /// With a terminal
    #[arg(short, long)]
    tty: bool,
    /// Do not wait for its end
    #[arg(short, long)]
    detach: bool,
    /// Write its process id there
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Unix socket to which the terminal is sent
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Hand on this many open descriptors, from 3
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,
    /// It gains no privileges by exec
    #[arg(long)]
    no_new_privs: bool,
    /// Label for SELinux
    #[arg(long, value_name = "LABEL")]
    process_label: Option<String>,
    /// Profile of AppArmor
    #[arg(long, value_name = "PROFILE")]
    apparmor: Option<String>,
    /// A paused container is no error; the program waits
    #[arg(long)]
    ignore_paused: bool,
    /// Accepted, and without effect: no orphans are adopted
    #[arg(long, hide = true)]
    no_subreaper: bool,
}

fn user(text: &str) -> Result<(u32, Option<u32>), String> {
    let number = |n: &str| n.parse().map_err(|_| format!("{n:?} is not a number"));
    match text.split_once(':') {
        Some((uid, gid)) => Ok((number(uid)?, Some(number(gid)?))),
        None => Ok((number(text)?, None)),
    }
}

pub(super) fn exec(c: &Context<'_>, args: &Args) -> Result<u8, Problem> {
    let options = Options {
        id: args.id.clone(),
        process: args.process.clone(),
        changes: Changes {
            args: args.command.clone(),
            cwd: args.cwd.clone(),
            env: args.env.clone(),
            user: args.user,
            groups: args.additional_gids.clone(),
            caps: args.cap.clone(),
            no_new_privileges: args.no_new_privs,
            terminal: args.tty,
            apparmor: args.apparmor.clone(),
            label: args.process_label.clone(),
        },
        detach: args.detach,
        console_socket: args.console_socket.clone(),
        pid_file: args.pid_file.clone(),
        preserve_fds: args.preserve_fds,
        ignore_paused: args.ignore_paused,
    };
    Ok(exec::exec(&c.runtime, &options)?)
}
