//! `coracle top CONTAINER [DESCRIPTOR...]`

use super::table::Table;
use super::{Failure, Global, text};
use crate::ops::top::{self, Column};

/// Show the processes of a container
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name or id of the container
    container: String,
    /// What to show, as podman's descriptors, or -ef, aux, -o LIST as ps(1)
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    descriptors: Vec<String>,
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let columns = Column::parse(&args.descriptors).map_err(|e| Failure::usage(e.to_string()))?;
    let (headings, columns): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    let mut table = Table::new(&headings);
    for row in top::top(&global.store()?, &args.container, &columns)? {
        table.row(row);
    }
    text::stdout(|out| out.write_all(table.render().as_bytes()))?;
    Ok(0)
}
