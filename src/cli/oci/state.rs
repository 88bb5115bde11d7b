//! `coracle-oci state`

use super::super::text;
use super::{Context, Problem};
use crate::ops::oci::state;

/// Print what a container is, as JSON
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name of the container
    id: String,
}

pub(super) fn exec(c: &Context<'_>, args: &Args) -> Result<u8, Problem> {
    let answer = state::state(&c.runtime, &args.id)?;
    print(&serde_json::to_value(&answer).unwrap_or_default())
}

/// A document, as it is meant for programs and people.
pub(super) fn print(document: &serde_json::Value) -> Result<u8, Problem> {
    let json = format!("{document:#}");
    text::stdout(|out| writeln!(out, "{}", text::json_printable(&json)))?;
    Ok(0)
}
