//! The verbs of an OCI runtime, one a file: runtime-spec, runtime.md, and what runc(8) and crun(1) made of it. They
//! know bundles and their own directory of state, and nothing of the store.

mod container;
pub mod create;
pub mod delete;
mod error;
pub mod events;
pub mod exec;
pub mod features;
pub mod kill;
pub mod list;
pub mod pause;
pub mod processes;
pub mod run;
pub mod spec;
pub mod start;
pub mod state;
pub mod update;

use std::path::{Path, PathBuf};

pub use container::Status;
pub use error::Error;

pub use crate::runtime::bundle::Changes;

use self::container::Containers;
use crate::config::{Env, oci_state_dir};

/// A runtime: where its state is, and what it may use.
#[derive(Debug)]
pub struct Runtime {
    containers: Containers,
    /// Whether control groups are made.
    cgroups: bool,
}

impl Runtime {
    /// With its state below `root`, or where it is by default.
    pub fn new(root: Option<&Path>, cgroups: bool) -> Result<Self, Error> {
        let root: PathBuf = match root {
            Some(root) => std::path::absolute(root).map_err(|e| Error::file("find", root, e))?,
            None => oci_state_dir(Env::process())?,
        };
        Ok(Self {
            containers: Containers::new(root),
            cgroups,
        })
    }
}
