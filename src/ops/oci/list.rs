//! `list`: all containers of a directory of state.

use super::state::{self, Answer};
use super::{Error, Runtime};

/// What is known of each, by name. One that is being made, or goes meanwhile, is left out.
pub fn list(runtime: &Runtime) -> Result<Vec<Answer>, Error> {
    let names = runtime.containers.names()?;
    Ok(names
        .iter()
        .filter_map(|name| state::state(runtime, name).ok())
        .collect())
}
