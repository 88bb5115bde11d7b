//! `coracle inspect IMAGE...`

use serde::Serialize as _;
use serde_json::Value;

use super::{Failure, Global, format, report, text};
use crate::ops::inspect;

/// Show all that is known about images, as JSON
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print with a Go-like template, or "json"
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Kind of object
    #[arg(long, value_name = "TYPE", default_value = "image", value_parser = ["image"])]
    r#type: String,
    /// Name or id of an image
    #[arg(required = true, value_name = "IMAGE")]
    names: Vec<String>,
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    let mut code = 0;
    let mut found = Vec::new();
    for name in &args.names {
        match inspect::inspect(&store, name) {
            Ok(value) => found.push(value),
            // The others are shown all the same, as docker does.
            Err(e) => code = report::failure(&e.into()),
        }
    }
    match &args.format {
        Some(format) => format::records(format, &found)?,
        None => {
            let json = pretty(&Value::Array(found))?;
            let json = text::json_printable(&json);
            text::stdout(|out| writeln!(out, "{json}"))?;
        }
    }
    Ok(code)
}

/// Four spaces, as docker and podman have it.
fn pretty(value: &Value) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, indent);
    value
        .serialize(&mut serializer)
        .map_err(std::io::Error::from)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
