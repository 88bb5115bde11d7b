//! `coracle update CONTAINER...`

use super::run::restart;
use super::{Failure, Global, report, text};
use crate::ops::run::Restart;
use crate::ops::update;

/// Change when containers are started again
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Start them again when they end: no, on-failure[:MAX], always or unless-stopped
    #[arg(long, value_name = "POLICY", value_parser = restart)]
    restart: Restart,
    /// Name or id of the container
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    let mut code = 0;
    for name in &args.containers {
        match update::update(&store, name, args.restart) {
            Ok(()) => text::stdout(|out| writeln!(out, "{name}"))?,
            // The others shall be changed all the same.
            Err(e) => code = report::failure(&e.into()),
        }
    }
    Ok(code)
}
