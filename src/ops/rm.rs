//! `rm`: remove containers that have ended. docker-rm(1).

use rustix::process::Signal;

use super::events::{self, Action};
use super::state::State;
use super::stop::{self, Stop};
use super::{Error, live, volume};
use crate::store::{self, Store, volumes_of};

/// Why a container stays.
#[derive(Debug, thiserror::Error)]
pub enum RemoveContainerError {
    /// It runs, and nobody may pull its files from under it.
    #[error("container {0} is running")]
    Running(String),
    /// It runs on another machine, which alone can end it.
    #[error("container {0} is running on {1}")]
    Elsewhere(String, String),
}

impl RemoveContainerError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Running(name) => {
                format!("coracle stop {name} first, or coracle rm --force {name}")
            }
            Self::Elsewhere(_, host) => {
                format!("remove it there; if {host} is no more, --force removes it here")
            }
        })
    }
}

/// How to remove.
#[derive(Clone, Copy, Debug, Default)]
pub struct How {
    /// End it first if it runs.
    pub force: bool,
    /// Seconds until SIGKILL then, in place of none.
    pub timeout: Option<i64>,
    /// Also its anonymous volumes, but for those that another container has.
    pub volumes: bool,
}

/// What became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Its image had been removed before it, so that there is something for
    /// [`rmi::collect`](super::rmi::collect) to free.
    pub orphans: bool,
}

/// Remove the container of this name, or whose id starts like this.
pub fn remove(store: &Store, name: &str, how: &How) -> Result<Removed, Error> {
    let containers = store.containers();
    let entry = containers.find(name)?;
    let image = containers.image(&entry)?;
    if let Some(state) = State::read(store, &entry)?
        && state.is_live()
        && state.is_elsewhere(store)
        && !how.force
    {
        return Err(RemoveContainerError::Elsewhere(name.to_owned(), state.host).into());
    }
    if how.force {
        let stop = Stop {
            timeout: Some(how.timeout.unwrap_or(0)),
            signal: how.timeout.is_none().then_some(Signal::KILL),
        };
        match stop::stop_entry(store, &entry, &stop, live::FORCED) {
            Err(Error::NoAnswer(_)) => {
                live::end_monitor(store, &entry)?;
                stop::settled(store, &entry)?;
            }
            stopped => drop(stopped?),
        }
    }
    let event = events::of_container(store, &entry, Action::Remove);
    let gone = |id: &crate::oci::Digest| store.images().find(&id.to_string()).is_err();
    let removed = containers.lock_ended(&entry).and_then(|dir| {
        if how.volumes {
            // While it is there: whoever is killed in between leaves one that names them.
            volume::remove_unused(store, &volumes_of(containers.mounts(&entry)?), &entry.id)?;
        }
        dir.remove()
    });
    match removed {
        Ok(()) => events::record(store, &event),
        // It was one that removes itself.
        Err(store::Error::NoSuchContainer(_)) if how.force => {}
        Err(store::Error::ContainerBusy(_)) => {
            return Err(RemoveContainerError::Running(name.to_owned()).into());
        }
        Err(e) => return Err(e.into()),
    }
    Ok(Removed {
        orphans: image.is_some_and(|i| gone(&i.id)),
    })
}

/// The ids of all containers; of those that remove themselves only if they shall be ended.
pub fn all(store: &Store, how: &How) -> Result<Vec<String>, Error> {
    let list = store.containers().list()?;
    Ok(list
        .into_iter()
        .filter(|e| how.force || !e.ephemeral)
        .map(|e| e.id)
        .collect())
}
