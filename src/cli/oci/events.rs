//! `coracle-oci events`

use std::time::Duration;

use super::super::text;
use super::{Context, Problem};
use crate::ops::oci::events;

/// Print what a container uses, one JSON document a line
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name of the container
    id: String,
    /// Once, and not until it ends
    #[arg(long)]
    stats: bool,
    /// Time between two lines: 5s, 500ms
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = interval)]
    interval: Duration,
}

fn interval(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 0.001),
        None => match text.strip_suffix('m') {
            Some(number) => (number, 60.0),
            None => (text.strip_suffix('s').unwrap_or(text), 1.0),
        },
    };
    let seconds: f64 = number.parse().map_err(|_| format!("{text:?} is no time"))?;
    match Duration::try_from_secs_f64(seconds * unit) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err(format!("{text:?} is no time to wait")),
    }
}

pub(super) fn exec(c: &Context<'_>, args: &Args) -> Result<u8, Problem> {
    let mut print = |event: &serde_json::Value| text::stdout(|out| writeln!(out, "{event}"));
    if args.stats {
        print(&events::stats(&c.runtime, &args.id)?)?;
    } else {
        events::follow(&c.runtime, &args.id, args.interval, &mut print)??;
    }
    Ok(0)
}
