//! `coracle artifact ls NAME`

use serde_json::json;

use crate::cli::intake::RegistryArgs;
use crate::cli::table::Table;
use crate::cli::{Failure, format, human, progress, text};
use crate::ops::artifact::{self, Entry};

/// List the files of an artifact
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Print with a Go-like template, "table TEMPLATE", or "json"
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    #[command(flatten)]
    registry: RegistryArgs,
    /// [REGISTRY/]REPOSITORY[:TAG|@DIGEST]
    name: String,
}

pub(in crate::cli) fn exec(args: &Args) -> Result<u8, Failure> {
    let progress = progress::new(true);
    let found = artifact::inspect(&args.registry.access(), &args.name, &*progress)?;
    let name = |e: &Entry| e.title.clone().unwrap_or_else(|| "<none>".to_owned());
    if let Some(template) = format::wanted(args.format.as_deref()) {
        let records = found.entries.iter().map(|e| {
            json!({
                "Name": name(e),
                "MediaType": e.media_type,
                "Digest": e.digest,
                "Size": e.size,
            })
        });
        format::records(template, &records.collect::<Vec<_>>())?;
        return Ok(0);
    }
    let mut table = Table::new(&["NAME", "TYPE", "SIZE", "DIGEST"]);
    for entry in &found.entries {
        table.row(vec![
            name(entry),
            entry.media_type.clone(),
            human::size(entry.size),
            entry.digest.to_string(),
        ]);
    }
    text::stdout(|out| out.write_all(table.render().as_bytes()))?;
    Ok(0)
}
