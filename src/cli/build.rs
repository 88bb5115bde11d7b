//! `coracle build [CONTEXT]`

use std::net::IpAddr;
use std::path::PathBuf;

use clap::ValueEnum;

use super::intake::{IntakeArgs, RegistryArgs};
use super::run_values as values;
use super::{Failure, Global, progress, text};
use crate::oci::{Digest, Reference};
use crate::ops;
use crate::ops::build::{self, Options, Said};
use crate::ops::commit;
use crate::ops::pull::{self, PullPolicy};
use crate::ops::run::{IdentityChoice, Network, Ulimit};
use crate::rootfs::Driver;

/// Build an image from a Containerfile
///
/// The Containerfile (or Dockerfile) says what is in the image, the context is the directory from which it copies
/// files. Each RUN is a container with emulated users and owners: packages install as they do for root.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Read this file; - is standard input [default: Containerfile, else Dockerfile, of the context]
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Name of the image; without one it is used by its id
    #[arg(short, long, value_name = "NAME")]
    tag: Vec<String>,
    /// Build this stage rather than the last one, and those that it needs
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Value of an ARG; without one, that of the variable of this name
    #[arg(long, value_name = "NAME[=VALUE]", value_parser = build_arg)]
    build_arg: Vec<(String, Option<String>)>,
    /// Label the image: NAME[=VALUE]
    #[arg(long, value_name = "NAME[=VALUE]", value_parser = values::label)]
    label: Vec<(String, String)>,
    /// Carry out every step, whatever earlier builds have made
    #[arg(long)]
    no_cache: bool,
    /// When to pull base images: missing, always, newer or never
    #[arg(
        long,
        value_name = "POLICY",
        num_args = 0..=1,
        require_equals = true,
        default_value = "missing",
        default_missing_value = "always",
        value_parser = pull_policy
    )]
    pull: PullPolicy,
    /// Documents of which kind the image has
    #[arg(long, value_name = "FORMAT", default_value = "oci")]
    format: Format,
    /// Nothing in the image is younger than this, in seconds since 1970, nor depends on when it was built
    #[arg(
        long,
        value_name = "SECONDS",
        env = "SOURCE_DATE_EPOCH",
        hide_env_values = true
    )]
    timestamp: Option<i64>,
    /// Write the id of the image to a file
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
    /// Print the id of the image and nothing else
    #[arg(short, long)]
    quiet: bool,
    /// How to show what happens: plain lines are all there is
    #[arg(long, value_name = "KIND", default_value = "auto")]
    progress: Shown,
    /// Network of each RUN: the caller's (host, default), or loopback only (none)
    #[arg(long, value_name = "MODE", default_value = "host", value_parser = network)]
    network: Network,
    /// Add a line to /etc/hosts of each RUN: NAME:ADDRESS
    #[arg(long, value_name = "NAME:ADDRESS", value_parser = values::add_host)]
    add_host: Vec<(String, IpAddr)>,
    /// Resource limit of each RUN: NAME=SOFT[:HARD]
    #[arg(long, value_name = "NAME=SOFT[:HARD]", value_parser = values::ulimit)]
    ulimit: Vec<Ulimit>,
    /// Users and owners in each RUN: full, strict, ids or off [default: full]
    #[arg(long, value_name = "MODE", value_parser = values::identity)]
    identity: Option<IdentityChoice>,
    /// Root file system of each RUN: overlay, fuse-overlayfs or copy [default: the first that works]
    #[arg(long, value_name = "DRIVER", value_parser = values::driver)]
    storage_driver: Option<Driver>,
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    intake: IntakeArgs,
    /// Directory that files are copied from
    #[arg(default_value = ".")]
    context: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// OCI image-spec
    Oci,
    /// Docker schema 2
    Docker,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shown {
    /// Plain
    Auto,
    /// A line a step, and what its program prints
    Plain,
}

/// `NAME=VALUE`, or `NAME` for the caller's own.
fn build_arg(text: &str) -> Result<(String, Option<String>), String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    match name.is_empty() {
        true => Err("want NAME=VALUE or NAME".to_owned()),
        false => Ok((name.to_owned(), value)),
    }
}

/// `default` is docker's word for what we do.
fn network(text: &str) -> Result<Network, String> {
    match text {
        "default" => Ok(Network::Host),
        text => values::network(text),
    }
}

/// docker's `--pull` has no value, podman's may have true or false.
fn pull_policy(text: &str) -> Result<PullPolicy, String> {
    match text {
        "true" => Ok(PullPolicy::Always),
        "false" => Ok(PullPolicy::Missing),
        text => values::pull(text),
    }
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    refuse_what_is_no_directory(&args.context)?;
    let names = args.tag.iter().map(|t| t.parse::<Reference>());
    let options = Options {
        context: args.context.clone().into(),
        file: args.file.clone(),
        names: names.collect::<Result<_, _>>().map_err(ops::Error::from)?,
        target: args.target.clone(),
        args: args.build_arg.clone(),
        labels: args.label.clone(),
        no_cache: args.no_cache,
        pull: args.pull,
        pulling: pull::Options {
            access: args.registry.access(),
            intake: args.intake.options()?,
        },
        format: match args.format {
            Format::Oci => commit::Format::Oci,
            Format::Docker => commit::Format::Docker,
        },
        timestamp: args.timestamp,
        network: args.network,
        hosts: args.add_host.clone(),
        ulimits: args.ulimit.clone(),
        identity: args.identity,
        driver: args.storage_driver.or_else(|| global.driver()),
        quiet: args.quiet,
        iidfile: args.iidfile.clone(),
    };
    let store = global.store()?;
    let say = |said: Said<'_>| {
        if !args.quiet {
            // Before the output of the program, which goes to the same place; not being able to is told at the end.
            let _ = text::stdout(|out| writeln!(out, "{}", line(said)));
        }
    };
    let progress = progress::new(args.quiet);
    let image = build::build(&store, &options, &say, &*progress)?;
    text::stdout(|out| writeln!(out, "{}", image.id))?;
    Ok(0)
}

/// What docker takes as well.
fn refuse_what_is_no_directory(context: &str) -> Result<(), Failure> {
    let what = match context {
        "-" => "a context from standard input",
        c if c.starts_with("http://") || c.starts_with("https://") => "a context from an address",
        c if c.starts_with("git@") || c.starts_with("git://") || c.starts_with("ssh://") => {
            "a context from a git repository"
        }
        _ => return Ok(()),
    };
    Err(Failure::usage(format!("{what} is not supported yet"))
        .with_hint("unpack it, and name the directory"))
}

/// In podman's form.
fn line(said: Said<'_>) -> String {
    let short = Digest::short;
    match said {
        Said::Step {
            stage,
            step,
            of,
            text,
        } => {
            let stage = stage.map(|(n, of)| format!("[{n}/{of}] "));
            let stage = stage.unwrap_or_default();
            format!("{stage}STEP {step}/{of}: {}", text::printable(text))
        }
        Said::Made(id) => format!("--> {}", short(id)),
        Said::Cached(id) => format!("--> Using cache {}", short(id)),
        Said::Named(name) => format!("Successfully tagged {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_shown_as_podman_shows_them() {
        let said = |stage| Said::Step {
            stage,
            step: 2,
            of: 3,
            text: "RUN x\u{1b}[2J",
        };
        assert_eq!(
            line(said(None)),
            format!("STEP 2/3: RUN {}", text::printable("x\u{1b}[2J"))
        );
        assert!(line(said(Some((1, 2)))).starts_with("[1/2] STEP 2/3: "));
    }

    #[test]
    fn values() {
        assert_eq!(build_arg("a"), Ok(("a".into(), None)));
        assert_eq!(build_arg("a=b=c"), Ok(("a".into(), Some("b=c".into()))));
        assert!(build_arg("=b").is_err());
        assert_eq!(pull_policy("true"), Ok(PullPolicy::Always));
        assert_eq!(pull_policy("never"), Ok(PullPolicy::Never));
        assert!(
            refuse_what_is_no_directory("-").is_err() && refuse_what_is_no_directory("a-").is_ok()
        );
    }
}
