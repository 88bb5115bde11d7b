//! `coracle history IMAGE`

use serde_json::json;

use super::listing::Listing;
use super::table::Table;
use super::{Failure, Global, format, human, text};
use crate::ops::history;

/// Characters of a command that fit a line, as docker has it.
const COMMAND_WIDTH: usize = 45;
const MISSING: &str = "<missing>";

/// Show the steps that made an image
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    listing: Listing,
    /// Name or id of the image
    image: String,
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    let steps = history::history(&store, &args.image)?;
    let id = |step: &history::Step| match &step.id {
        Some(id) if args.listing.no_trunc => id.to_string(),
        Some(id) => id.short().to_owned(),
        None => MISSING.to_owned(),
    };
    let command = |step: &history::Step| match args.listing.no_trunc {
        true => step.created_by.clone(),
        false => shorten(&step.created_by),
    };
    if let Some(template) = args.listing.template() {
        let records: Vec<_> = steps
            .iter()
            .map(|step| {
                json!({
                    "ID": id(step),
                    "CreatedSince": human::ago(step.created.as_deref()),
                    "CreatedAt": human::at(step.created.as_deref()),
                    "CreatedBy": command(step),
                    "Size": human::size(step.size),
                    "Comment": step.comment,
                })
            })
            .collect();
        format::records(template, &records)?;
        return Ok(0);
    }
    let mut out = String::new();
    if args.listing.quiet {
        for step in &steps {
            out.push_str(&id(step));
            out.push('\n');
        }
    } else {
        let mut table = Table::new(&["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"]);
        for step in &steps {
            table.row(vec![
                id(step),
                human::ago(step.created.as_deref()),
                command(step),
                human::size(step.size),
                step.comment.clone(),
            ]);
        }
        out = table.render();
    }
    text::stdout(|w| w.write_all(out.as_bytes()))?;
    Ok(0)
}

fn shorten(command: &str) -> String {
    let command = command.replace('\t', " ");
    if command.chars().count() <= COMMAND_WIDTH {
        return command;
    }
    let mut short: String = command.chars().take(COMMAND_WIDTH - 1).collect();
    short.push('…');
    short
}
