//! `coracle start CONTAINER...`

use super::{Failure, Global, progress, report, run_values as values, text};
use crate::ops::start::{self, Attach, Keys, Left};

/// Start containers that were made, or have ended
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Look on: show its output, hand signals on, and end with its exit code
    #[arg(short, long)]
    attach: bool,
    /// Send it our standard input, if it was made with --interactive
    #[arg(short, long)]
    interactive: bool,
    /// Start all whose restart policy asks for it, as after a reboot
    #[arg(long, conflicts_with_all = ["containers", "attach", "interactive"])]
    all: bool,
    /// Keys that leave it alone [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS", value_parser = values::keys)]
    detach_keys: Option<Keys>,
    /// Hand signals on, with --attach
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", value_parser = super::filters::truth, action = clap::ArgAction::Set)]
    sig_proxy: bool,
    /// Name or id of the container
    #[arg(required_unless_present = "all", value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    let progress = progress::new(false);
    if args.attach || args.interactive {
        let [name] = &args.containers[..] else {
            return Err(Failure::usage("one can look on at one container at a time"));
        };
        let attach = Attach {
            input: args.interactive,
            keys: args.detach_keys.clone().unwrap_or_default(),
            signals: args.sig_proxy,
        };
        return left(start::start_attached(&store, name, &attach, &*progress)?);
    }
    let names = match args.all {
        true => start::wanted(&store)?,
        false => args.containers.clone(),
    };
    let mut code = 0;
    for name in &names {
        match start::start(&store, name, &*progress) {
            Ok(_) => text::stdout(|out| writeln!(out, "{name}"))?,
            Err(e) => code = report::failure(&e.into()),
        }
    }
    Ok(code)
}

/// The exit code after looking on.
pub(super) fn left(left: Left) -> Result<u8, Failure> {
    match left {
        Left::Ended(code) => Ok(code),
        Left::Detached => Ok(0),
        Left::Lost => Err(Failure::io(
            "the monitor of the container was killed, and the container with it",
        )),
    }
}
