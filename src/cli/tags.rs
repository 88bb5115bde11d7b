//! `coracle tags NAME`

use super::intake::RegistryArgs;
use super::{Failure, Global, progress, text};
use crate::ops::find;

/// List the tags of a repository
///
/// One a line, in the registry's order.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// At most so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    #[command(flatten)]
    registry: RegistryArgs,
    /// Repository: [REGISTRY/]REPOSITORY
    name: String,
}

pub(super) fn exec(_: &Global, args: &Args) -> Result<u8, Failure> {
    let limit = args.limit.map(|n| n as usize);
    let progress = progress::new(true);
    let access = args.registry.access();
    let (_, tags) = find::tags(&access, &args.name, limit, &*progress)?;
    text::stdout(|out| {
        for tag in tags {
            writeln!(out, "{}", text::printable(&tag))?;
        }
        Ok(())
    })?;
    Ok(0)
}
