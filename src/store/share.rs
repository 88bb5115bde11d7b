//! A store whose images others may read: names, documents and compressed layers, and nothing else. See
//! [`additional`](super::additional) for who reads them.
//!
//! Unpacked layers stay closed. They hold set-id files, which are the owner's: whoever could execute one would become
//! the owner. And they would be of little use, since to the reader's user namespace the owner is nobody
//! (docs/design.md).

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Gid, Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::error::io;
use super::{Error, META, Meta, Store, VERSION, atomic};

/// Who may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Share {
    /// Everybody.
    All,
    /// The group of the store's directory.
    Group,
}

/// Directories that others list or pass through.
const OPEN: [&str; 4] = ["images", "blobs", "blobs/sha256", "blobs/sha512"];

impl Store {
    /// Who may read its images, if anybody else.
    pub fn shared_with(&self) -> Option<Share> {
        self.share
    }

    /// Let others read the images, now and in future, or (`None`) no longer.
    pub fn share(&mut self, share: Option<Share>) -> Result<(), Error> {
        let _alone = self.exclusive()?;
        self.share = share;
        let meta = Meta {
            version: VERSION,
            share,
        };
        atomic::write_json(self, &self.path(META), &meta)?;
        for dir in OPEN {
            let path = self.path(dir);
            for name in atomic::names(&path)? {
                let path = path.join(name);
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let fd =
                    rustix::fs::open(&path, flags, Mode::empty()).map_err(io("open", &path))?;
                let stat = rustix::fs::fstat(&fd).map_err(io("stat", &path))?;
                if stat.st_mode & libc::S_IFMT == libc::S_IFREG {
                    self.open_up(&fd, &path)?;
                }
            }
            self.set(&atomic::open_dir(&path)?, &path, 0o755)?;
        }
        // Last: until now nobody gets in. It need not be listed.
        self.set(&atomic::open_dir(&self.root)?, &self.root, 0o711)
    }

    /// Give a file of ours the mode that others need who may read it. Before it gets its name.
    pub(super) fn open_up(&self, file: impl AsFd, path: &Path) -> Result<(), Error> {
        self.set(file, path, 0o644)
    }

    /// `mode`: for everybody.
    fn set(&self, file: impl AsFd, path: &Path, mode: u32) -> Result<(), Error> {
        let mode = match self.share {
            Some(Share::All) => mode,
            Some(Share::Group) => mode & 0o770,
            None => mode & 0o700,
        };
        if self.share == Some(Share::Group) {
            let root = rustix::fs::stat(&self.root).map_err(io("stat", &self.root))?;
            let group = Gid::from_raw(root.st_gid);
            rustix::fs::fchown(&file, None, Some(group))
                .map_err(io("change the group of", path))?;
        }
        let mode = Mode::from_raw_mode(mode);
        rustix::fs::fchmod(&file, mode).map_err(io("change the mode of", path))
    }
}
