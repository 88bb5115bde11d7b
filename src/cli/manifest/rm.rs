//! `coracle manifest rm LIST...`

use super::rmi;
use crate::cli::{Failure, Global};
use crate::ops::{self, list};

/// Remove lists; the images stay that have a name of their own
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Do not complain about a list that is not there
    #[arg(short, long)]
    ignore: bool,
    /// Name or id of the list
    #[arg(required = true, value_name = "LIST")]
    lists: Vec<String>,
}

pub(in crate::cli) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    // All are looked at before the first one goes.
    for name in &args.lists {
        match list::check(&store, name) {
            Err(ops::Error::Store(crate::store::Error::NoSuchImage { .. })) => {}
            checked => checked?,
        }
    }
    let (code, deleted) = rmi::remove(&args.lists, args.ignore, |name| {
        ops::rmi::remove(&store, name, false)
    })?;
    if deleted {
        ops::rmi::collect(&store)?;
    }
    Ok(code)
}
