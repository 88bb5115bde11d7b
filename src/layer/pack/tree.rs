//! A tree on disk, and what its sidecar says about a file of it.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, openat};
use rustix::io::Errno;

use super::Error;
use crate::owners::{self, Layer, Node, Owners, Record, View};

/// A directory and the sidecar beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    dir: PathBuf,
    sidecar: Option<PathBuf>,
    kind: Kind,
    /// Of what its files may be copies, the topmost first.
    copied_from: Vec<Layer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Layer,
    Container,
    Volume,
}

impl Tree {
    /// An unpacked layer, with the sidecar that unpacking wrote.
    pub fn layer(dir: PathBuf, sidecar: PathBuf) -> Self {
        Self {
            dir,
            sidecar: Some(sidecar),
            kind: Kind::Layer,
            copied_from: Vec::new(),
        }
    }

    /// What a container wrote, with a sidecar that need not exist.
    pub fn container(dir: PathBuf, sidecar: PathBuf) -> Self {
        Self {
            dir,
            sidecar: Some(sidecar),
            kind: Kind::Container,
            copied_from: Vec::new(),
        }
    }

    /// What is in a volume, likewise.
    pub fn volume(dir: PathBuf, sidecar: PathBuf) -> Self {
        Self {
            kind: Kind::Volume,
            ..Self::container(dir, sidecar)
        }
    }

    /// What a container wrote over some layers, the topmost first, while a supervisor watched over what is
    /// new in it: the rest has the records of the layers ([`View`]).
    pub fn over(mut self, layers: &[Self]) -> Self {
        let layer = |tree: &Self| {
            Some(Layer {
                tree: tree.dir.clone(),
                sidecar: tree.sidecar.clone()?,
            })
        };
        self.copied_from = layers.iter().filter_map(layer).collect();
        self
    }

    /// A directory without a sidecar.
    pub fn bare(dir: PathBuf) -> Self {
        Self {
            dir,
            sidecar: None,
            kind: Kind::Container,
            copied_from: Vec::new(),
        }
    }

    /// Open the tree and read its sidecar.
    pub(super) fn open(&self) -> Result<Opened, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, &self.dir, flags, Mode::empty())
            .map_err(Error::sys("open", self.dir.as_os_str().as_bytes()))?;
        let records = match (&self.sidecar, self.kind) {
            (Some(sidecar), Kind::Layer) => Records::Layer(Owners::read(sidecar)?),
            (Some(sidecar), kind) => {
                let upper = Layer {
                    tree: self.dir.clone(),
                    sidecar: sidecar.clone(),
                };
                let view = match kind {
                    Kind::Volume => View::of_volume(upper),
                    _ => View::new(self.copied_from.clone(), upper),
                };
                // Reads them.
                match view.is_empty()? {
                    true => Records::None,
                    false => Records::Container(Box::new(view)),
                }
            }
            (None, _) => Records::None,
        };
        Ok(Opened {
            root,
            records,
            kind: self.kind,
            first_names: OnceCell::new(),
        })
    }
}

/// A tree that is being packed.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) root: OwnedFd,
    records: Records,
    kind: Kind,
    first_names: OnceCell<HashMap<u64, Vec<u8>>>,
}

#[derive(Debug)]
enum Records {
    Layer(Owners),
    Container(Box<View>),
    None,
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
    ) -> Result<Option<Cow<'_, Record>>, Error> {
        let is_dir = FileType::from_raw_mode(stat.st_mode).is_dir();
        let linked = stat.st_nlink > 1 && !is_dir;
        let owners = match &self.records {
            Records::None => return Ok(None),
            Records::Layer(owners) => owners,
            Records::Container(view) => {
                let node = Node::of_fd(file).map_err(Error::sys("statx", path))?;
                return view.get(path, node, linked).map_err(|e| match e {
                    owners::Error::Lookup { path, source, .. } => Error::Sys {
                        call: "openat2".to_owned(),
                        path,
                        source: Errno::from_io_error(&source).unwrap_or(Errno::IO),
                    },
                    e => e.into(),
                });
            }
        };
        let record = owners.get(path);
        if record.is_some() || !linked {
            return Ok(record.map(Cow::Borrowed));
        }
        // Recorded under the name that came first in the tar.
        let names = match self.first_names.get() {
            Some(names) => names,
            None => {
                let names = owners.first_names(&self.root);
                let names = names.map_err(Error::sys("openat2", path))?;
                self.first_names.get_or_init(|| names)
            }
        };
        let first = names.get(&stat.st_ino);
        Ok(first.and_then(|path| owners.get(path)).map(Cow::Borrowed))
    }
}
