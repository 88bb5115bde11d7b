//! `coracle rename CONTAINER NAME`

use super::{Failure, Global};
use crate::ops::start;

/// Give a container another name
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name or id of the container
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// The new name
    #[arg(value_name = "NAME")]
    name: String,
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    start::rename(&global.store()?, &args.container, &args.name)?;
    Ok(0)
}
