//! `coracle untag IMAGE [NAME...]`

use super::{Failure, Global};
use crate::ops::tag;

/// Take names away from an image; the image stays
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name or id of the image
    image: String,
    /// Names to take away [default: all that it has]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    tag::untag(&store, &args.image, &args.names)?;
    Ok(0)
}
