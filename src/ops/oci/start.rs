//! `start ID`: let a created container run.

use std::os::fd::AsFd as _;

use super::container::{Container, Record};
use super::{Error, Runtime, Status, state};
use crate::runtime::bundle::{self, Config, Hook};

/// Start it; returns when its program runs.
pub fn start(runtime: &Runtime, id: &str) -> Result<(), Error> {
    let container = runtime.containers.open(id)?;
    // Nobody else starts or deletes it meanwhile.
    container.lock()?;
    let config = container.config()?;
    go(&container, &config)
}

pub(super) fn go(container: &Container, config: &Config) -> Result<(), Error> {
    let mut record = container.known()?;
    let not_created = |status: Status| Error::Status {
        verb: "start",
        id: container.id().to_owned(),
        status: status.word(),
    };
    match state::current(container, Some(&record)) {
        Status::Created => {}
        other => return Err(not_created(other)),
    }
    if !bundle::start(&record.program, container.as_fd())? {
        return Err(not_created(Status::Stopped));
    }
    record.state.status = "running".to_owned();
    container.write(&record)?;
    // A hook that fails here ends the container (runtime-spec 1.2, "Lifecycle" 10).
    if let Err(e) = hooks(&config.hooks().poststart, &record, "running") {
        super::kill::end(&record);
        return Err(e);
    }
    Ok(())
}

/// Run hooks of the host's side, until one fails.
pub(super) fn hooks(list: &[Hook], record: &Record, status: &str) -> Result<(), Error> {
    let told = record
        .state
        .json(status, record.state.pid.filter(|_| status != "stopped"));
    for hook in list {
        bundle::run_hook(hook, &told).map_err(|e| Error::Hook(hook.path.clone(), e))?;
    }
    Ok(())
}
