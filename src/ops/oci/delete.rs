//! `delete ID`: forget a container that has ended; with force, end it first.

use super::container::Container;
use super::{Error, Runtime, Status, kill, start, state};

/// Delete it. Returns what went wrong on the way and did not keep it from going.
pub fn delete(runtime: &Runtime, id: &str, force: bool) -> Result<Vec<Error>, Error> {
    let container = match runtime.containers.open(id) {
        // Gone is what was asked for.
        Err(Error::NotFound(_)) if force => return Ok(Vec::new()),
        other => other?,
    };
    let record = container.record();
    let status = match &record {
        Ok(record) => state::current(&container, record.as_ref()),
        // Broken, and then nobody knows of a process.
        Err(_) => Status::Stopped,
    };
    if status != Status::Stopped {
        if !force {
            return Err(Error::Status {
                verb: "delete",
                id: id.to_owned(),
                status: status.word(),
            });
        }
        if let Ok(Some(record)) = &record {
            kill::end(record);
        }
    }
    container.lock()?;
    gone(&container)
}

/// The rest of it, when its first process has ended.
pub(super) fn gone(container: &Container) -> Result<Vec<Error>, Error> {
    let mut failed = Vec::new();
    if let Ok(Some(record)) = container.record() {
        // What it left running without a pid namespace.
        kill::end(&record);
        if let Some(cgroup) = &record.cgroup {
            crate::cgroup::remove(cgroup, &record.cgroup_made);
        }
        // Their failures are told, and stop nothing (runtime-spec, "Poststop").
        match container.config() {
            Ok(config) => {
                for hook in &config.hooks().poststop {
                    let one = std::slice::from_ref(hook);
                    failed.extend(start::hooks(one, &record, "stopped").err());
                }
            }
            Err(e) => failed.push(e),
        }
    }
    container.remove()?;
    Ok(failed)
}
