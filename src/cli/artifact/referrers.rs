//! `coracle artifact referrers NAME`

use serde_json::json;

use crate::cli::intake::RegistryArgs;
use crate::cli::table::Table;
use crate::cli::{Failure, format, human, progress, text};
use crate::ops::artifact;

/// List what refers to an image or artifact: signatures, lists of parts and the like
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Only what is of this type
    #[arg(long = "type", visible_alias = "artifact-type", value_name = "TYPE")]
    artifact_type: Option<String>,
    /// Print with a Go-like template, "table TEMPLATE", or "json"
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Print names only, by which each can be pulled
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    registry: RegistryArgs,
    /// [REGISTRY/]REPOSITORY[:TAG|@DIGEST]
    name: String,
}

pub(in crate::cli) fn exec(args: &Args) -> Result<u8, Failure> {
    let (access, progress) = (args.registry.access(), progress::new(true));
    let wanted = args.artifact_type.as_deref();
    let (name, found) = artifact::referrers(&access, &args.name, wanted, &*progress)?;
    if args.quiet {
        text::stdout(|out| {
            for referrer in &found {
                writeln!(out, "{}", name.with_digest(referrer.digest.clone()))?;
            }
            Ok(())
        })?;
        return Ok(0);
    }
    if let Some(template) = format::wanted(args.format.as_deref()) {
        let records = found.iter().map(|r| {
            json!({
                "Name": name.with_digest(r.digest.clone()).to_string(),
                "Digest": r.digest,
                "ArtifactType": r.artifact_type,
                "MediaType": r.media_type,
                "Size": r.size,
                "Annotations": r.annotations,
            })
        });
        format::records(template, &records.collect::<Vec<_>>())?;
        return Ok(0);
    }
    let mut table = Table::new(&["DIGEST", "TYPE", "SIZE", "ANNOTATIONS"]);
    for referrer in &found {
        let annotations = referrer.annotations.iter();
        let annotations: Vec<String> = annotations.map(|(k, v)| format!("{k}={v}")).collect();
        table.row(vec![
            referrer.digest.to_string(),
            (referrer.artifact_type.clone()).unwrap_or_else(|| referrer.media_type.clone()),
            human::size(referrer.size),
            annotations.join(","),
        ]);
    }
    text::stdout(|out| out.write_all(table.render().as_bytes()))?;
    Ok(0)
}
