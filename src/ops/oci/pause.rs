//! `pause ID` and `resume ID`: by the freezer of its control group, since nothing else stops a process that minds.

use std::path::PathBuf;

use super::{Error, Runtime, Status, state};

/// Stop it.
pub fn pause(runtime: &Runtime, id: &str) -> Result<(), Error> {
    let group = group(runtime, id, "pause", &[Status::Running, Status::Created])?;
    Ok(crate::cgroup::freeze(&group, true)?)
}

/// Let it go on.
pub fn resume(runtime: &Runtime, id: &str) -> Result<(), Error> {
    let group = group(runtime, id, "resume", &[Status::Paused])?;
    Ok(crate::cgroup::freeze(&group, false)?)
}

/// Its group, if it is one of these.
fn group(
    runtime: &Runtime,
    id: &str,
    verb: &'static str,
    from: &[Status],
) -> Result<PathBuf, Error> {
    let container = runtime.containers.open(id)?;
    container.lock()?;
    let record = container.known()?;
    let status = state::current(&container, Some(&record));
    if !from.contains(&status) {
        return Err(Error::Status {
            verb,
            id: id.to_owned(),
            status: status.word(),
        });
    }
    record
        .cgroup
        .ok_or_else(|| Error::NoCgroup(id.to_owned(), verb))
}
