//! `coracle secret rm NAME...`

use crate::cli::{Failure, Global, report, text};
use crate::ops::secret;

/// Remove secrets
///
/// Containers that were made with one keep the files that they have of it.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Remove all secrets
    #[arg(short, long, conflicts_with = "names")]
    all: bool,
    /// Name or id of a secret
    #[arg(required_unless_present = "all", value_name = "SECRET")]
    names: Vec<String>,
}

pub(in crate::cli) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    let names = match args.all {
        true => secret::list(&store)?.into_iter().map(|s| s.name).collect(),
        false => args.names.clone(),
    };
    let mut code = 0;
    for name in &names {
        match secret::remove(&store, name) {
            Ok(id) => text::stdout(|out| writeln!(out, "{id}"))?,
            // The others shall go all the same.
            Err(e) => code = report::failure(&e.into()),
        }
    }
    Ok(code)
}
