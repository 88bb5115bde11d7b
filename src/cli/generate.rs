//! `coracle generate`

mod systemd;

use super::{Failure, Global};

/// Make files for other programs
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Systemd(systemd::Args),
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    match &args.command {
        Command::Systemd(a) => systemd::exec(global, a),
    }
}
