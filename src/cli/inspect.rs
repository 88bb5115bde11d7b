//! `coracle inspect IMAGE...`

use std::io::{self, IsTerminal as _};

use serde::Serialize as _;
use serde_json::Value;

use super::intake::RegistryArgs;
use super::progress;
use super::{Failure, Global, format, report, text};
use crate::oci::Platform;
use crate::ops;
use crate::ops::inspect::{self, Kind};

/// Show all that is known about containers, images and volumes, as JSON
///
/// NAME is that of a container, else of an image, else of a volume: a name or an id, or where an image is that need not be pulled: docker://NAME (a registry), oci:DIR[:TAG],
/// oci-archive:FILE[:TAG], docker-archive:FILE[:NAME] or dir:DIR.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print with a Go-like template, or "json"
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Kind of object: container, image, volume or all
    #[arg(short, long, value_name = "TYPE", default_value = "all", value_parser = kind)]
    r#type: Kind,
    /// Count the bytes that a container has written
    #[arg(short, long)]
    size: bool,
    /// Show the youngest container
    #[arg(short, long, conflicts_with = "names")]
    latest: bool,
    /// Print the manifest, or the index that the name stands for, byte for byte
    #[arg(long, conflicts_with = "format")]
    raw: bool,
    /// Platform to choose from an image index
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<String>,
    #[command(flatten)]
    registry: RegistryArgs,
    /// Name or id of a container, image or volume, or where an image is
    #[arg(required_unless_present = "latest", value_name = "NAME")]
    names: Vec<String>,
}

fn kind(s: &str) -> Result<Kind, String> {
    Ok(match s {
        "all" => Kind::Any,
        "container" => Kind::Container,
        "image" => Kind::Image,
        "volume" => Kind::Volume,
        _ => return Err("want container, image, volume or all".to_owned()),
    })
}

/// As `image inspect`.
pub(super) fn image(global: &Global, mut args: Args) -> Result<u8, Failure> {
    args.r#type = Kind::Image;
    exec(global, &args)
}

/// As `container inspect`.
pub(super) fn container(global: &Global, mut args: Args) -> Result<u8, Failure> {
    args.r#type = Kind::Container;
    exec(global, &args)
}

impl Args {
    fn options(&self) -> Result<inspect::Options, ops::Error> {
        let platform = self.platform.as_deref().map(str::parse::<Platform>);
        Ok(inspect::Options {
            access: self.registry.access(),
            platform: platform.transpose()?,
            kind: self.r#type,
            size: self.size,
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
    let mut names = args.names.clone();
    if args.latest {
        names.push(inspect::latest(&store)?);
    }
    if args.raw {
        let [name] = &names[..] else {
            return Err(Failure::usage(
                "--raw is for one image: two documents in a row are none",
            ));
        };
        return print_raw(&inspect::raw(&store, name, &options, &*progress)?);
    }
    let mut code = 0;
    let mut found = Vec::new();
    for name in &names {
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
