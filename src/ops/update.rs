//! `update`: what can be changed of a container that is there. docker-update(1).

use super::events::{self, Action};
use super::run::Restart;
use super::{Error, Store, live, start};
use crate::store::{ContainerDir, ContainerEntry};

/// Start it again by this policy, from now on. Whoever has its lock writes it down: the monitor of one that runs, or we.
pub fn update(store: &Store, name: &str, policy: Restart) -> Result<(), Error> {
    let entry = store.containers().find(name)?;
    if start::options(store, &entry)?.remove && policy != Restart::No {
        return Err(Error::RemovesItself(name.to_owned()));
    }
    match live::connect(store, &entry) {
        Ok(live) => live.restart(policy)?,
        Err(Error::NotRunning(_)) => {
            let container = store.containers().lock_ended(&entry)?;
            write(store, &entry, &container, policy)?;
        }
        Err(e) => return Err(e),
    }
    events::happened(store, &entry, Action::Update);
    Ok(())
}

/// What its next start reads, too.
pub(super) fn write(
    store: &Store,
    entry: &ContainerEntry,
    container: &ContainerDir,
    policy: Restart,
) -> Result<(), Error> {
    let mut o = start::options(store, entry)?;
    o.keep.restart = policy;
    let json = serde_json::to_vec(&o).map_err(|e| Error::Spec(e.to_string()))?;
    Ok(container.write_options(&json)?)
}
