//! `coracle volume inspect NAME...`

use serde_json::Value;

use crate::cli::inspect::print_pretty;
use crate::cli::{Failure, Global, format, report};
use crate::ops::volume::{self, Volume};

/// Show all that is known about volumes, as JSON
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Show all volumes
    #[arg(short, long, conflicts_with = "names")]
    all: bool,
    /// Print with a Go-like template, or "json"
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Name of a volume
    #[arg(required_unless_present = "all", value_name = "VOLUME")]
    names: Vec<String>,
}

pub(in crate::cli) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    let mut code = 0;
    let mut found: Vec<Volume> = Vec::new();
    if args.all {
        found = volume::list(&store, &[])?;
    }
    for name in &args.names {
        match volume::find(&store, name) {
            Ok(volume) => found.push(volume),
            // The others are shown all the same, as docker does.
            Err(e) => code = report::failure(&e.into()),
        }
    }
    let records: Vec<Value> = found.iter().map(volume::document).collect();
    match &args.format {
        Some(format) => format::records(format, &records)?,
        None => drop(print_pretty(&Value::Array(records))?),
    }
    Ok(code)
}
