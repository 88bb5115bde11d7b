//! `coracle secret inspect NAME...`

use serde_json::Value;

use crate::cli::inspect::print_pretty;
use crate::cli::{Failure, Global, format, report};
use crate::ops::secret;

/// Show what is known about secrets but their content, as JSON
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Print with a Go-like template, or "json"
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Name or id of a secret
    #[arg(required = true, value_name = "SECRET")]
    names: Vec<String>,
}

pub(in crate::cli) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    let mut code = 0;
    let mut records: Vec<Value> = Vec::new();
    for name in &args.names {
        match secret::find(&store, name) {
            Ok(secret) => records.push(secret::document(&secret)),
            // The others are shown all the same.
            Err(e) => code = report::failure(&e.into()),
        }
    }
    match &args.format {
        Some(format) => format::records(format, &records)?,
        None => drop(print_pretty(&Value::Array(records))?),
    }
    Ok(code)
}
