//! A tree on disk, and what its sidecar says about a file of it.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use rustix::fs::{CWD, Mode, OFlags, Stat, openat};

use super::Error;
use crate::owners::{Node, Owners, Record};

/// A directory and the sidecar beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    dir: PathBuf,
    sidecar: Option<PathBuf>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Layer,
    Container,
}

impl Tree {
    /// An unpacked layer, with the sidecar that unpacking wrote.
    pub fn layer(dir: PathBuf, sidecar: PathBuf) -> Self {
        Self {
            dir,
            sidecar: Some(sidecar),
            kind: Kind::Layer,
        }
    }

    /// What a container wrote, with a sidecar that need not exist.
    pub fn container(dir: PathBuf, sidecar: PathBuf) -> Self {
        Self {
            dir,
            sidecar: Some(sidecar),
            kind: Kind::Container,
        }
    }

    /// A directory without a sidecar.
    pub fn bare(dir: PathBuf) -> Self {
        Self {
            dir,
            sidecar: None,
            kind: Kind::Container,
        }
    }

    /// Open the tree and read its sidecar.
    pub(super) fn open(&self) -> Result<Opened, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, &self.dir, flags, Mode::empty())
            .map_err(Error::sys("open", self.dir.as_os_str().as_bytes()))?;
        let owners = match (&self.sidecar, self.kind) {
            (Some(sidecar), Kind::Layer) => Owners::read(sidecar)?,
            (Some(sidecar), Kind::Container) => Owners::read_journal(sidecar)?.0,
            (None, _) => Owners::default(),
        };
        Ok(Opened {
            root,
            owners,
            kind: self.kind,
            first_names: OnceCell::new(),
        })
    }
}

/// A tree that is being packed.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) root: OwnedFd,
    owners: Owners,
    kind: Kind,
    first_names: OnceCell<HashMap<u64, Vec<u8>>>,
}

impl Opened {
    /// What a container wrote, as opposed to a layer.
    pub(super) fn is_container(&self) -> bool {
        self.kind == Kind::Container
    }

    /// What the sidecar says of an open file (`O_PATH` will do).
    pub(super) fn record(
        &self,
        path: &[u8],
        file: impl AsFd,
        stat: &Stat,
    ) -> Result<Option<&Record>, Error> {
        if self.owners.is_empty() {
            return Ok(None);
        }
        if self.kind == Kind::Container {
            let node = Node::of_fd(file).map_err(Error::sys("statx", path))?;
            return Ok(self.owners.of(path, node));
        }
        let record = self.owners.get(path);
        let is_dir = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir();
        if record.is_some() || stat.st_nlink < 2 || is_dir {
            return Ok(record);
        }
        // Recorded under the name that came first in the tar.
        let names = match self.first_names.get() {
            Some(names) => names,
            None => {
                let names = self.owners.first_names(&self.root);
                let names = names.map_err(Error::sys("openat2", path))?;
                self.first_names.get_or_init(|| names)
            }
        };
        let first = names.get(&stat.st_ino);
        Ok(first.and_then(|path| self.owners.get(path)))
    }
}
