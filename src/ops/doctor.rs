//! What can this machine do? Asks every probe of [`host`].

use std::path::Path;

use super::Error;
use crate::config::{Env, data_root};
use crate::host;
pub use crate::host::{Finding, Group, Outcome, Report, Rungs};

/// Ask every probe, for a store at `root` or where it is by default. Changes nothing; what does not
/// work is in the report.
pub fn doctor(root: Option<&Path>) -> Result<Report, Error> {
    Ok(host::probe(&data_root(root, Env::process())?))
}
