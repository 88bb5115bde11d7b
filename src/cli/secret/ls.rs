//! `coracle secret ls`

use serde_json::{Value, json};

use crate::cli::table::Table;
use crate::cli::{Failure, Global, format, human, text};
use crate::ops::secret;

/// List secrets
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Print with a Go-like template, "table TEMPLATE", or "json"
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Print no line of headings
    #[arg(short, long)]
    noheading: bool,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
}

pub(in crate::cli) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let list = secret::list(&global.store()?)?;
    if args.quiet {
        text::stdout(|out| list.iter().try_for_each(|s| writeln!(out, "{}", s.id)))?;
        return Ok(0);
    }
    let ago = |time: &str| human::ago(Some(time));
    if let Some(template) = format::wanted(args.format.as_deref()) {
        let records: Vec<Value> = (list.iter())
            .map(|s| {
                json!({
                    "ID": s.id, "Name": s.name, "Driver": "file", "Labels": s.labels,
                    "CreatedAt": ago(&s.created_at), "UpdatedAt": ago(&s.created_at),
                })
            })
            .collect();
        format::records(template, &records)?;
        return Ok(0);
    }
    let mut table = Table::new(&["ID", "NAME", "DRIVER", "CREATED", "UPDATED"]);
    for s in &list {
        let when = ago(&s.created_at);
        let (id, name) = (s.id.clone(), s.name.clone());
        table.row(vec![id, name, "file".to_owned(), when.clone(), when]);
    }
    let table = table.render();
    let skipped = usize::from(args.noheading);
    text::stdout(|out| {
        let mut lines = table.lines().skip(skipped);
        lines.try_for_each(|line| writeln!(out, "{line}"))
    })?;
    Ok(0)
}
