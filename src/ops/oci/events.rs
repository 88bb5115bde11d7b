//! `events ID`: what a container uses.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Error, Runtime, Status, state};

/// Its numbers now, as runc has them.
pub fn stats(runtime: &Runtime, id: &str) -> Result<Value, Error> {
    let container = runtime.containers.open(id)?;
    let record = container.known()?;
    if state::current(&container, Some(&record)) == Status::Stopped {
        return Err(Error::NotRunning(id.to_owned()));
    }
    let group = record.cgroup.as_deref();
    let group = group.ok_or_else(|| Error::NoCgroup(id.to_owned(), "events"))?;
    Ok(json!({ "type": "stats", "id": id, "data": crate::cgroup::stats(group) }))
}

/// Again and again, until it has ended.
pub fn follow(
    runtime: &Runtime,
    id: &str,
    interval: Duration,
    tell: &mut dyn FnMut(&Value) -> std::io::Result<()>,
) -> Result<std::io::Result<()>, Error> {
    loop {
        match stats(runtime, id) {
            Ok(event) => {
                if let Err(e) = tell(&event) {
                    return Ok(Err(e));
                }
            }
            Err(Error::NotRunning(_) | Error::NotFound(_)) => return Ok(Ok(())),
            Err(e) => return Err(e),
        }
        std::thread::sleep(interval);
    }
}
