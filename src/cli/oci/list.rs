//! `coracle-oci list`

use clap::ValueEnum;

use super::super::table::Table;
use super::super::text;
use super::{Context, Problem, state};
use crate::ops::oci::list;

/// List the containers
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print names only
    #[arg(short, long)]
    quiet: bool,
    /// Form of the list
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Table,
    Json,
}

pub(super) fn exec(c: &Context<'_>, args: &Args) -> Result<u8, Problem> {
    let all = list::list(&c.runtime)?;
    if args.quiet && args.format == Format::Table {
        text::stdout(|out| all.iter().try_for_each(|a| writeln!(out, "{}", a.state.id)))?;
        return Ok(0);
    }
    if args.format == Format::Json {
        let json = if args.quiet {
            all.iter().map(|a| a.state.id.as_str()).collect()
        } else {
            serde_json::to_value(&all).unwrap_or_default()
        };
        return state::print(&json);
    }
    let mut table = Table::new(&["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    for a in all {
        table.row(vec![
            a.state.id,
            a.state.pid.unwrap_or(0).to_string(),
            a.state.status,
            a.state.bundle.display().to_string(),
            a.created,
            a.owner,
        ]);
    }
    text::stdout(|out| write!(out, "{}", table.render()))?;
    Ok(0)
}
