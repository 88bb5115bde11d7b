//! What can this machine do? Asks every probe of [`host`].

use std::path::PathBuf;

use crate::host;
pub use crate::host::{Finding, Group, Outcome, Report, Rungs};

/// What to look at.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the store is, or will be.
    pub data_root: PathBuf,
}

/// Ask every probe. Changes nothing and cannot fail: what does not work is in the report.
pub fn doctor(options: &Options) -> Report {
    host::probe(&options.data_root)
}
