//! `coracle manifest VERB`: lists of images, one for each platform. podman-manifest(1), docker-manifest(1).

mod add;
mod annotate;
mod create;
mod exists;
mod inspect;
mod push;
mod remove;
mod rm;

use std::collections::BTreeMap;

use clap::Subcommand;

use super::intake::RegistryArgs;
use super::{Failure, Global, rmi, text};
use crate::oci::Digest;
use crate::ops::Access;
use crate::ops::list::Says;

/// Manage lists of images, which give each machine the image that it can run
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Add(add::Args),
    Annotate(annotate::Args),
    Create(create::Args),
    Exists(exists::Args),
    Inspect(inspect::Args),
    Push(push::Args),
    Remove(remove::Args),
    Rm(rm::Args),
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    match &args.verb {
        Verb::Add(a) => add::exec(global, a),
        Verb::Annotate(a) => annotate::exec(global, a),
        Verb::Create(a) => create::exec(global, a),
        Verb::Exists(a) => exists::exec(global, a),
        Verb::Inspect(a) => inspect::exec(global, a),
        Verb::Push(a) => push::exec(global, a),
        Verb::Remove(a) => remove::exec(global, a),
        Verb::Rm(a) => rm::exec(global, a),
    }
}

/// How registries are reached, in podman's words and docker's.
#[derive(Debug, clap::Args)]
struct AccessArgs {
    #[command(flatten)]
    registry: RegistryArgs,
    /// As --tls-verify=false (docker's word)
    #[arg(long, conflicts_with = "tls_verify")]
    insecure: bool,
}

impl AccessArgs {
    fn access(&self) -> Access {
        let mut access = self.registry.access();
        if self.insecure {
            access.tls_verify = Some(false);
        }
        access
    }
}

/// What is said of an entry.
#[derive(Debug, clap::Args)]
struct SaysArgs {
    /// Architecture, in place of what the image says
    #[arg(long, value_name = "ARCH", value_parser = word)]
    arch: Option<String>,
    /// Operating system
    #[arg(long, value_name = "OS", value_parser = word)]
    os: Option<String>,
    /// Variant of the architecture
    #[arg(long, value_name = "VARIANT", value_parser = word)]
    variant: Option<String>,
    /// Version of the operating system
    #[arg(long, value_name = "VERSION", value_parser = word)]
    os_version: Option<String>,
    /// What the operating system must have
    #[arg(long, value_name = "FEATURE", value_delimiter = ',', value_parser = word)]
    os_features: Vec<String>,
    /// What the machine must have
    #[arg(long, value_name = "FEATURE", value_delimiter = ',', value_parser = word)]
    features: Vec<String>,
    /// An annotation
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = annotation)]
    annotations: Vec<(String, String)>,
}

impl SaysArgs {
    fn says(&self) -> Says {
        Says {
            arch: self.arch.clone(),
            os: self.os.clone(),
            variant: self.variant.clone(),
            os_version: self.os_version.clone(),
            os_features: self.os_features.clone(),
            features: self.features.clone(),
            annotations: map(&self.annotations),
        }
    }
}

/// A word of a platform.
fn word(s: &str) -> Result<String, String> {
    let ok = !s.is_empty() && s.bytes().all(|b| b.is_ascii_graphic());
    match ok {
        true => Ok(s.to_owned()),
        false => Err("want letters, digits and signs, without spaces".to_owned()),
    }
}

/// `KEY=VALUE`.
pub(super) fn annotation(s: &str) -> Result<(String, String), String> {
    match s.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("want KEY=VALUE".to_owned()),
    }
}

pub(super) fn map(pairs: &[(String, String)]) -> BTreeMap<String, String> {
    pairs.iter().cloned().collect()
}

/// The id of a list, after it was changed.
fn print(id: &Digest) -> Result<u8, Failure> {
    text::stdout(|out| writeln!(out, "{id}"))?;
    Ok(0)
}
