//! `rm`: remove containers that have ended. docker-rm(1).

use super::{Error, volume};
use crate::store::{self, MountKind, Store};

/// Why a container stays.
#[derive(Debug, thiserror::Error)]
pub enum RemoveContainerError {
    /// It runs, and nobody may pull its files from under it.
    #[error("container {0} is running")]
    Running(String),
}

impl RemoveContainerError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        let Self::Running(_) = self;
        Some(
            "end its program, or the `coracle run` that waits for it, first; this version has no `kill`, so --force cannot do that"
                .to_owned(),
        )
    }
}

/// What became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Its image had been removed before it, so that there is something for
    /// [`rmi::collect`](super::rmi::collect) to free.
    pub orphans: bool,
}

/// Remove the container of this name, or whose id starts like this; with `volumes` also its anonymous volumes, but for
/// those that another container has.
pub fn remove(store: &Store, name: &str, volumes: bool) -> Result<Removed, Error> {
    let containers = store.containers();
    let entry = containers.find(name)?;
    let image = containers.image(&entry)?;
    let dir = containers.lock_ended(&entry).map_err(|e| match e {
        store::Error::ContainerBusy(_) => RemoveContainerError::Running(name.to_owned()).into(),
        e => Error::from(e),
    })?;
    if volumes {
        let mounts = containers.mounts(&entry)?.into_iter();
        let names: Vec<String> = mounts
            .filter(|m| m.kind == MountKind::Volume)
            .map(|m| m.name)
            .collect();
        volume::remove_unused(store, &names, &entry.id)?;
    }
    dir.remove()?;
    let gone = |id: &crate::oci::Digest| store.images().find(&id.to_string()).is_err();
    Ok(Removed {
        orphans: image.is_some_and(|i| gone(&i.id)),
    })
}

/// The ids of all containers but those that remove themselves.
pub fn all(store: &Store) -> Result<Vec<String>, Error> {
    let list = store.containers().list()?;
    Ok(list
        .into_iter()
        .filter(|e| !e.ephemeral)
        .map(|e| e.id)
        .collect())
}
