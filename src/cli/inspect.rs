//! `coracle inspect IMAGE...`

use std::io::{self, IsTerminal as _};

use serde::Serialize as _;
use serde_json::Value;

use super::intake::RegistryArgs;
use super::progress;
use super::{Failure, Global, format, report, text};
use crate::oci::Platform;
use crate::ops::{self, inspect};

/// Show all that is known about images, as JSON
///
/// IMAGE is a name or an id, or where an image is that need not be pulled: docker://NAME (a registry), oci:DIR[:TAG],
/// oci-archive:FILE[:TAG], docker-archive:FILE[:NAME] or dir:DIR.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print with a Go-like template, or "json"
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Kind of object
    #[arg(long, value_name = "TYPE", default_value = "image", value_parser = ["image"])]
    r#type: String,
    /// Print the manifest, or the index that the name stands for, byte for byte
    #[arg(long, conflicts_with = "format")]
    raw: bool,
    /// Platform to choose from an image index
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<String>,
    #[command(flatten)]
    registry: RegistryArgs,
    /// Name or id of an image, or where it is
    #[arg(required = true, value_name = "IMAGE")]
    names: Vec<String>,
}

impl Args {
    fn options(&self) -> Result<inspect::Options, ops::Error> {
        let platform = self.platform.as_deref().map(str::parse::<Platform>);
        Ok(inspect::Options {
            access: self.registry.access(),
            platform: platform.transpose()?,
        })
    }
}

/// As it is for a file or a program; a terminal gets no control characters of a stranger's.
fn print_raw(bytes: &[u8]) -> Result<u8, Failure> {
    text::stdout(|out| match io::stdout().is_terminal() {
        true => {
            let document = String::from_utf8_lossy(bytes);
            writeln!(out, "{}", text::json_printable(&document))
        }
        false => out.write_all(bytes),
    })?;
    Ok(0)
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let options = args.options()?;
    let store = global.store()?;
    let progress = progress::new(true);
    if args.raw {
        let [name] = &args.names[..] else {
            return Err(Failure::usage(
                "--raw is for one image: two documents in a row are none",
            ));
        };
        return print_raw(&inspect::raw(&store, name, &options, &*progress)?);
    }
    let mut code = 0;
    let mut found = Vec::new();
    for name in &args.names {
        match inspect::inspect(&store, name, &options, &*progress) {
            Ok(value) => found.push(value),
            // The others are shown all the same, as docker does.
            Err(e) => code = report::failure(&e.into()),
        }
    }
    match &args.format {
        Some(format) => format::records(format, &found)?,
        None => {
            print_pretty(&Value::Array(found))?;
        }
    }
    Ok(code)
}

/// A document for people to read.
pub(super) fn print_pretty(value: &Value) -> Result<u8, Failure> {
    let json = pretty(value)?;
    let json = text::json_printable(&json);
    text::stdout(|out| writeln!(out, "{json}"))?;
    Ok(0)
}

/// Four spaces, as docker and podman have it.
fn pretty(value: &Value) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, indent);
    value.serialize(&mut serializer).map_err(io::Error::from)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
