//! `state.json`: what later verbs show of a container. Written by whoever has the container's lock.

use serde::{Deserialize, Serialize};

use super::Error;
use crate::host::is_network_file_system;
use crate::monitor::HealthState;

pub use crate::monitor::HealthStatus;
use crate::store::{ContainerDir, ContainerEntry, Store};

/// What it was doing when that was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It has never run.
    Created,
    /// Its program runs.
    Running,
    /// Its processes are stopped.
    Paused,
    /// It has ended, and its monitor will start it again.
    Restarting,
    /// It has ended.
    #[default]
    Exited,
}

/// All of it. Its keys are those of the state in docker-inspect(1), in the case of the OCI runtime specification.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct State {
    /// What it is doing.
    pub status: Status,
    /// The first process, while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// As docker-run(1) counts: 128 + n for signal n.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
    /// Why it did not start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How many times its monitor has started it again.
    #[serde(skip_serializing_if = "is_zero")]
    pub restarts: u32,
    /// Somebody wished for its end.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
    /// Whether it lives, if there is a test for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthState>,
    /// The machine that it ran on.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// The process that watches it, while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitor: Option<i32>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's wish")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// RFC 3339, this moment.
pub(super) fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// The name of this machine.
pub(super) fn host() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

impl State {
    /// Of a container that was just made.
    pub(super) fn created() -> Self {
        Self {
            status: Status::Created,
            host: host(),
            ..Self::default()
        }
    }

    /// Its program has just begun.
    pub(super) fn begin(&mut self, pid: i32) {
        *self = Self {
            status: Status::Running,
            pid: Some(pid),
            started_at: Some(now()),
            restarts: self.restarts,
            host: host(),
            monitor: Some(rustix::process::getpid().as_raw_nonzero().get()),
            ..Self::default()
        };
    }

    /// Its program has just ended.
    pub(super) fn end(&mut self, exit_code: u8) {
        self.status = Status::Exited;
        self.exit_code = Some(exit_code);
        self.finished_at = Some(now());
        self.pid = None;
        self.monitor = None;
        self.host = host();
    }

    /// Its record is of a container that runs, or will again.
    pub(super) fn is_live(&self) -> bool {
        matches!(
            self.status,
            Status::Running | Status::Paused | Status::Restarting
        )
    }

    /// It was written by another machine, and the store is on a file system of which locks may not reach so far.
    pub(super) fn is_elsewhere(&self, store: &Store) -> bool {
        !self.host.is_empty()
            && self.host != host()
            && rustix::fs::statfs(store.root())
                .is_ok_and(|s| is_network_file_system(s.f_type as u64))
    }

    /// What was recorded of a container.
    pub(super) fn read(store: &Store, entry: &ContainerEntry) -> Result<Option<Self>, Error> {
        Ok(store.containers().state(entry)?)
    }

    /// Record it.
    pub(super) fn write(&self, container: &ContainerDir) -> Result<(), Error> {
        let json = serde_json::to_vec(self).map_err(|e| Error::Spec(e.to_string()))?;
        Ok(container.write_state(&json)?)
    }
}
