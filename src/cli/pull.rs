//! `coracle pull NAME...`

use super::intake::{IntakeArgs, RegistryArgs};
use super::{Failure, Global, creds, progress, run_values, text};
use crate::ops;
use crate::ops::pull::{self, PullPolicy};
use crate::store::ImageRecord;

/// Download images from a registry
///
/// NAME is [REGISTRY/]REPOSITORY[:TAG|@DIGEST]; a short name is one of docker.io, if registries.conf
/// does not say otherwise, and no tag means latest. oci:DIR[:TAG], oci-archive:FILE[:TAG] and
/// docker-archive:FILE read local images. Prints the id of each image. An interrupted download is
/// resumed by the next one.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print only the image id
    #[arg(short, long)]
    quiet: bool,
    /// Pull every tag of the repository
    #[arg(short, long, conflicts_with = "policy")]
    all_tags: bool,
    /// When to ask the registry: always, missing, newer or never
    #[arg(long, value_name = "POLICY", default_value = "always", value_parser = run_values::pull)]
    policy: PullPolicy,
    #[command(flatten)]
    registry: RegistryArgs,
    /// Login for the registry of NAME, in place of the one that is kept
    #[arg(long, value_name = "USER[:PASSWORD]")]
    creds: Option<String>,
    #[command(flatten)]
    intake: IntakeArgs,
    /// Image to pull
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let mut options = pull::Options {
        access: args.registry.access(),
        intake: args.intake.options()?,
    };
    let origins: Vec<pull::Origin> = args
        .names
        .iter()
        .map(|name| name.parse())
        .collect::<Result<_, _>>()
        .map_err(ops::Error::from)?;
    if args.creds.is_some() {
        let registry = one_registry(&origins)?;
        creds::add(&mut options.access, args.creds.as_deref(), registry)?;
    }
    if args.all_tags {
        return all_tags(global, args, &options);
    }
    let store = global.store()?;
    for (origin, name) in origins.iter().zip(&args.names) {
        if !args.quiet && args.policy == PullPolicy::Always {
            text::stderr(&format!("Pulling {}", text::printable(name)));
        }
        let progress = progress::new(args.quiet);
        let images = match origin {
            pull::Origin::Registry(reference) if args.policy != PullPolicy::Always => {
                let name = reference.to_string();
                vec![pull::ensure(
                    &store,
                    &name,
                    args.policy,
                    &options,
                    &*progress,
                )?]
            }
            pull::Origin::Short(name) if args.policy != PullPolicy::Always => {
                vec![pull::ensure(
                    &store,
                    name,
                    args.policy,
                    &options,
                    &*progress,
                )?]
            }
            origin => pull::pull(&store, origin, &options, &*progress)?,
        };
        drop(progress);
        text::stdout(|out| {
            for image in images {
                writeln!(out, "{}", image.id.hex())?;
            }
            Ok(())
        })?;
    }
    Ok(0)
}

/// The one that a login is for: it is shown to no registry that the user has not named.
fn one_registry(origins: &[pull::Origin]) -> Result<&str, Failure> {
    fn registry(origin: &pull::Origin) -> Option<&str> {
        match origin {
            pull::Origin::Registry(reference) => Some(reference.registry()),
            _ => None,
        }
    }
    let mut all = origins.iter().map(registry);
    let first = all.next().flatten();
    first
        .filter(|_| all.all(|other| other == first))
        .ok_or_else(|| {
            Failure::usage("--creds is for one registry, which each NAME must begin with")
        })
}

fn all_tags(global: &Global, args: &Args, options: &pull::Options) -> Result<u8, Failure> {
    let store = global.store()?;
    for name in &args.names {
        let progress = progress::new(args.quiet);
        let mut written = Ok(());
        let mut done = |image: &ImageRecord| {
            let line = text::stdout(|out| writeln!(out, "{}", image.id.hex()));
            if written.is_ok() {
                written = line;
            }
        };
        pull::all_tags(&store, name, options, &*progress, &mut done)?;
        written?;
    }
    Ok(0)
}
