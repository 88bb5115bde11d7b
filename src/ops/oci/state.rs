//! `state ID`: what a container is.

use std::path::PathBuf;

use serde::Serialize;

use super::container::{Container, Record};
use super::{Error, Runtime, Status};
use crate::runtime::bundle::State;

/// The specification's, and what runc adds.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    /// The specification's.
    #[serde(flatten)]
    pub state: State,
    /// Root file system.
    pub rootfs: PathBuf,
    /// When it was made.
    pub created: String,
    /// Who made it: a name, if there is one.
    pub owner: String,
}

/// Look.
pub fn state(runtime: &Runtime, id: &str) -> Result<Answer, Error> {
    let container = runtime.containers.open(id)?;
    let record = container.record()?;
    answer(&container, record)
}

pub(super) fn answer(container: &Container, record: Option<Record>) -> Result<Answer, Error> {
    let status = current(container, record.as_ref());
    let Some(record) = record else {
        return Err(Error::Creating(container.id().to_owned()));
    };
    let ended = status == Status::Stopped;
    Ok(Answer {
        state: State {
            status: status.word().to_owned(),
            // runc's and crun's callers read a number in any case.
            pid: Some(if ended {
                0
            } else {
                record.state.pid.unwrap_or(0)
            }),
            ..record.state
        },
        rootfs: record.rootfs,
        created: record.created,
        owner: record.owner.to_string(),
    })
}

/// Its status, with that of its control group.
pub(super) fn current(container: &Container, record: Option<&Record>) -> Status {
    let status = container.status(record);
    let frozen = || {
        record
            .and_then(|r| r.cgroup.as_deref())
            .is_some_and(crate::cgroup::is_frozen)
    };
    if status == Status::Running && frozen() {
        return Status::Paused;
    }
    status
}
