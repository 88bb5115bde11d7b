//! `coracle tag SOURCE NAME...`

use super::{Failure, Global};
use crate::ops::tag;

/// Give an image another name
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name or id of the image
    source: String,
    /// New name
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    for name in &args.names {
        tag::tag(&store, &args.source, name)?;
    }
    Ok(0)
}
