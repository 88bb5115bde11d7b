//! `coracle volume create [NAME]`

use crate::cli::{Failure, Global, run_values as values, text};
use crate::ops::volume;

/// Make a volume
///
/// Prints its name. Without NAME it gets a random one.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Driver; there is one
    #[arg(short, long, value_name = "DRIVER", default_value = "local", value_parser = ["local"])]
    driver: String,
    /// Label it: NAME[=VALUE]
    #[arg(short, long, value_name = "NAME[=VALUE]", value_parser = values::label)]
    label: Vec<(String, String)>,
    /// Option of the driver: device=DIR with o=bind (and type=none) for a directory of the host; o=ro,nosuid,nodev,noexec,noatime; nocopy
    #[arg(short, long = "opt", value_name = "NAME[=VALUE]", value_parser = values::label)]
    opt: Vec<(String, String)>,
    /// Take the one that is there already
    #[arg(long)]
    ignore: bool,
    /// Its name
    name: Option<String>,
}

pub(in crate::cli) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    let options = volume::Options {
        name: args.name.clone(),
        labels: args.label.clone(),
        options: args.opt.clone(),
        ignore: args.ignore,
    };
    let name = volume::create(&store, &options)?;
    text::stdout(|out| writeln!(out, "{name}"))?;
    Ok(0)
}
