//! `coracle-oci ps`

use super::super::text;
use super::list::Format;
use super::{Context, Problem, state};
use crate::ops::oci::processes;

/// List the processes of a container
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name of the container
    id: String,
    /// Form of the list: what ps(1) says, or process ids
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    /// Options for ps(1) [default: -ef]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

pub(super) fn exec(c: &Context<'_>, args: &Args) -> Result<u8, Problem> {
    if args.format == Format::Json {
        let pids = processes::pids(&c.runtime, &args.id)?;
        return state::print(&pids.into());
    }
    let table = processes::table(&c.runtime, &args.id, &args.options)?;
    text::stdout(|out| {
        table
            .lines()
            .try_for_each(|line| writeln!(out, "{}", text::printable(line)))
    })?;
    Ok(0)
}
