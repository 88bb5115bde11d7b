//! `coracle attach CONTAINER`

use super::{Failure, Global, run_values as values, start::left};
use crate::ops::start::{self, Attach, Keys};

/// Take part in the streams of a container that runs
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Do not send our standard input
    #[arg(long)]
    no_stdin: bool,
    /// Keys that leave it alone, with a terminal [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS", value_parser = values::keys)]
    detach_keys: Option<Keys>,
    /// Hand signals on
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", value_parser = super::filters::truth, action = clap::ArgAction::Set)]
    sig_proxy: bool,
    /// Name or id of the container
    #[arg(value_name = "CONTAINER")]
    container: String,
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    let attach = Attach {
        input: !args.no_stdin,
        keys: args.detach_keys.clone().unwrap_or_default(),
        signals: args.sig_proxy,
    };
    left(start::attach(&store, &args.container, &attach)?)
}
