//! `coracle copy SOURCE DESTINATION`

use super::intake::RegistryArgs;
use super::{Failure, Global, creds, progress, text};
use crate::oci::Platform;
use crate::ops;
use crate::ops::copy::{self, Place};

/// Copy an image from one place to another, without unpacking it
///
/// Places are docker://NAME (a registry), oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME] (only
/// from there, and to there from the store), dir:DIR, and NAME (the store). Every digest stays what it is. Prints
/// the digest of the manifest.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Copy an index with the images of all platforms
    #[arg(short, long, conflicts_with = "platform")]
    all: bool,
    /// Platform to choose from an image index
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<String>,
    /// Print nothing but the digest
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    registry: RegistryArgs,
    /// Login for the registry that SOURCE is in, in place of the one that is kept
    #[arg(long, value_name = "USER[:PASSWORD]")]
    src_creds: Option<String>,
    /// Login for the registry that DESTINATION is in
    #[arg(long, value_name = "USER[:PASSWORD]")]
    dest_creds: Option<String>,
    /// Where it is
    source: String,
    /// Where it goes
    destination: String,
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let (from, to): (Place, Place) = (args.source.parse()?, args.destination.parse()?);
    let platform = args.platform.as_deref().map(str::parse::<Platform>);
    let mut access = args.registry.access();
    let ends = [
        (&from, &args.src_creds, "--src-creds: SOURCE"),
        (&to, &args.dest_creds, "--dest-creds: DESTINATION"),
    ];
    for (place, given, what) in ends {
        match place {
            Place::Registry(reference) => {
                creds::add(&mut access, given.as_deref(), reference.registry())?;
            }
            _ if given.is_some() => {
                return Err(Failure::usage(format!("{what} is in no registry")));
            }
            _ => {}
        }
    }
    if access.logins.len() == 2 && access.logins[0].0 == access.logins[1].0 {
        return Err(Failure::usage(
            "--src-creds and --dest-creds are for the same registry: one is enough",
        ));
    }
    let options = copy::Options {
        access,
        all: args.all,
        platform: platform.transpose().map_err(ops::Error::from)?,
    };
    let store = global.store()?;
    let progress = progress::new(args.quiet);
    let digest = copy::copy(&store, &from, &to, &options, &*progress)?;
    drop(progress);
    text::stdout(|out| writeln!(out, "{digest}"))?;
    Ok(0)
}
