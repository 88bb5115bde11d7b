//! `coracle diff CONTAINER|IMAGE`

use serde_json::json;

use super::{Failure, Global, format, text};
use crate::ops::diff::{self, Change};

/// Show what a container changed
///
/// One line a path: A for added, C for changed, D for deleted. Of an image, what its last layer changes of
/// those below. A directory in which something changed is changed, too.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print with a Go-like template, "table TEMPLATE", or "json"
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Name or id of the container or image
    name: String,
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    let changes = diff::diff(&store, &args.name)?;
    if args.format.as_deref() == Some("json") {
        // One object with three lists, as podman's.
        let of = |which| {
            let paths = changes.iter().filter(|(_, c)| *c == which);
            let paths = paths.map(|(p, _)| String::from_utf8_lossy(p).into_owned());
            paths.collect::<Vec<_>>()
        };
        let all = json!({
            "changed": of(Change::Changed),
            "added": of(Change::Added),
            "deleted": of(Change::Deleted),
        });
        text::stdout(|out| writeln!(out, "{}", text::json_printable(&all.to_string())))?;
        return Ok(0);
    }
    if let Some(template) = format::wanted(args.format.as_deref()) {
        let record = |(path, change): &diff::Changed| {
            json!({
                "Kind": change.letter().to_string(),
                "Path": String::from_utf8_lossy(path),
            })
        };
        let records: Vec<_> = changes.iter().map(record).collect();
        format::records(template, &records)?;
        return Ok(0);
    }
    text::stdout(|out| {
        for (path, change) in &changes {
            let path = String::from_utf8_lossy(path);
            writeln!(out, "{} {}", change.letter(), text::printable(&path))?;
        }
        Ok(())
    })?;
    Ok(0)
}
