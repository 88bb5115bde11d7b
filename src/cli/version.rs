//! `coracle version`: podman's keys, and docker's. There is no server: where scripts ask for one, it is this
//! program, since it does what a server would.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::inspect::print_pretty;
use super::{Failure, Global, format, text};
use crate::oci::Platform;

pub(super) const NUMBER: &str = env!("CARGO_PKG_VERSION");
/// Of the runtime specification that configurations are written by.
const SPECIFICATION: &str = "1.2.0";

/// Show the version
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print with a Go-like template, or "json"
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

pub(super) fn exec(_: &Global, args: &Args) -> Result<u8, Failure> {
    let client = document();
    let Some(f) = args.format.as_deref().filter(|f| !f.is_empty()) else {
        let lines = [
            ("Client:", "Coracle"),
            ("Version:", NUMBER),
            ("API Version:", NUMBER),
            ("OS/Arch:", &platform().to_string()),
        ];
        text::stdout(|out| {
            lines
                .iter()
                .try_for_each(|(name, value)| writeln!(out, "{name:<13} {value}"))
        })?;
        return Ok(0);
    };
    if format::is_json(f) {
        return print_pretty(&json!({ "Client": client }));
    }
    let mut both = json!({ "Client": client, "Server": server() });
    if let (Some(all), Value::Object(own)) = (both.as_object_mut(), client) {
        all.extend(own);
    }
    format::records(f, &[both])?;
    Ok(0)
}

/// What podman says of itself.
pub(super) fn document() -> Value {
    json!({
        "APIVersion": NUMBER,
        "Version": NUMBER,
        "GoVersion": "",
        "GitCommit": "",
        "BuiltTime": "",
        "Built": 0,
        "OsArch": platform().to_string(),
        "Os": "linux",
        "Arch": platform().architecture,
    })
}

/// docker's keys of a server, with podman's.
fn server() -> Value {
    let mut all = document();
    all["Platform"] = json!({ "Name": "Coracle" });
    all["MinAPIVersion"] = NUMBER.into();
    all["Engine"] = json!({ "Version": NUMBER });
    all["Components"] = json!([{ "Name": "Engine", "Version": NUMBER }]);
    all
}

/// What a runtime says of itself, as crun and runc have it.
pub(super) fn words() -> String {
    format!("coracle version {NUMBER}\nspec: {SPECIFICATION}")
}

/// Where this program is.
pub(super) fn program() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| "coracle".into())
}

/// This machine's, in the words of images.
pub(super) fn platform() -> Platform {
    Platform::host()
}
