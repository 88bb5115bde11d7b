//! Reading the files of a container, which may run, end or be removed meanwhile.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use super::containers::open_entry;
use super::error::io;
use super::lock::{self, Kind};
use super::{ContainerEntry, Containers, Error};

/// A container whose files are being read. One that had ended stays until this is dropped: its lock is
/// shared by any number of readers, and nobody who would remove it gets it. One that runs is free to
/// change, to end, and to be removed: [`Hold::is_there`].
#[derive(Debug)]
pub struct Hold {
    fd: OwnedFd,
    path: PathBuf,
}

impl Containers<'_> {
    /// Hold on to a container.
    pub fn hold(&self, entry: &ContainerEntry) -> Result<Hold, Error> {
        let Some(fd) = open_entry(entry)? else {
            return Err(Error::NoSuchContainer(entry.id.clone()));
        };
        let _ended = lock::try_lock(&fd, Kind::Shared).map_err(io("lock", &entry.path))?;
        let hold = Hold {
            fd,
            path: entry.path.clone(),
        };
        if !hold.is_there() {
            return Err(Error::NoSuchContainer(entry.id.clone()));
        }
        Ok(hold)
    }
}

impl Hold {
    /// Whether nobody has removed it: what was read until now is all there was.
    pub fn is_there(&self) -> bool {
        lock::still_named(&self.fd, &self.path)
    }
}
