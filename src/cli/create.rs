//! `coracle create`

use super::{Failure, Global, progress, run, text};
use crate::ops::create;

/// Make a container without starting it; prints its id
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
#[group(skip)]
pub(super) struct Args {
    #[command(flatten)]
    run: run::Args,
}

pub(super) fn exec(global: &Global, args: Args) -> Result<u8, Failure> {
    let progress = progress::new(args.run.is_quiet());
    let mut options = run::options(args.run)?;
    options.driver = options.driver.or_else(|| global.driver_of(&options.what));
    // Whoever starts it decides whether to look on.
    options.keep.detached = true;
    let store = global.store()?;
    let id = create::create(&store, &options, &*progress)?;
    text::stdout(|out| writeln!(out, "{id}"))?;
    Ok(0)
}
