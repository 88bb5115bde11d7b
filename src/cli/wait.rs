//! `coracle wait CONTAINER...`

use std::time::Duration;

use super::which::Which;
use super::{Failure, Global, report, run::time, text};
use crate::ops::stop::{self, Until};

/// Wait until containers have ended; prints their exit codes
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to wait for: stopped, running, healthy or unhealthy
    #[arg(long, value_name = "STATE", value_parser = until)]
    condition: Option<Until>,
    /// How often to look, where nobody tells
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "250ms")]
    interval: Duration,
    #[command(flatten)]
    which: Which,
}

fn until(s: &str) -> Result<Until, String> {
    Ok(match s {
        "stopped" | "exited" | "not-running" | "next-exit" => Until::Stopped,
        "running" => Until::Running,
        "healthy" => Until::Healthy,
        "unhealthy" => Until::Unhealthy,
        _ => return Err("want stopped, running, healthy or unhealthy".to_owned()),
    })
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    let mut code = 0;
    for name in args.which.names(&store, |c| c.state.is_live())? {
        let ended = match args.condition {
            None | Some(Until::Stopped) => stop::wait(&store, &name),
            Some(until) => stop::wait_until(&store, &name, until, args.interval),
        };
        match ended {
            // Whoever could have told was killed: docker has -1 for it.
            Ok(ended) => text::stdout(|out| match ended {
                Some(ended) => writeln!(out, "{ended}"),
                None => writeln!(out, "-1"),
            })?,
            Err(e) if args.which.is_forgiven(&e) => text::stdout(|out| writeln!(out, "-1"))?,
            Err(e) => code = report::failure(&e.into()),
        }
    }
    Ok(code)
}
