//! Stores that somebody else shares: their images and compressed layers can be read, and nothing else of them.
//! podman calls that additionalimagestores (containers-storage.conf(5)).
//!
//! Nothing is written there, no lock is taken, and none is needed: every file that is read is there whole or not at
//! all, what is read of blobs is checked against its digest, and an open file outlives its name. So an owner who
//! prunes meanwhile costs the reader a download and nothing else.
//!
//! The owner is a stranger, although one whom the user chose. What is believed of the store is which digest an image
//! name stands for; so a store that anybody may write to is refused. Files are opened beneath its root, by a path
//! without links, and only regular ones, none of which is larger than it may be.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use serde::de::DeserializeOwned;

use super::error::io;
use super::images::{ImageSummary, pick, tag_name};
use super::{Error, ImageRecord, META, Meta, VERSION, atomic, blobs};
use crate::oci::{Digest, Reference};

/// Largest record of an image: one of a thousand layers has a quarter of it.
const RECORD_MAX: u64 = 1 << 20;
/// Most names of images in one store.
const NAMES_MAX: usize = 20_000;
/// May be written by anybody.
const WORLD_WRITABLE: u32 = 0o002;

/// A store to read from.
#[derive(Clone, Debug)]
pub struct Additional {
    root: PathBuf,
}

impl Additional {
    /// The one at `root`. Nothing is looked at yet.
    pub fn new(root: &Path) -> Result<Self, Error> {
        let root = std::path::absolute(root).map_err(io("resolve", root))?;
        Ok(Self { root })
    }

    /// Its directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The image that the user means, as [`Images::find`](super::Images::find) has it.
    pub fn find(&self, name: &str) -> Result<Option<ImageRecord>, Error> {
        let root = self.open()?;
        if let Ok(reference) = name.parse::<Reference>() {
            let path = Path::new("images").join(tag_name(&reference));
            if let Some(record) = self.record::<ImageRecord>(&root, &path)? {
                return Ok(Some(record));
            }
        }
        pick(self.records(&root)?, name)
    }

    /// What there is, for a list.
    pub fn summaries(&self) -> Result<Vec<ImageSummary>, Error> {
        self.records(&self.open()?)
    }

    /// A document, checked, of at most `max` bytes.
    pub fn document(&self, digest: &Digest, max: u64) -> Result<Option<Vec<u8>>, Error> {
        let Some(mut file) = self.blob(digest)? else {
            return Ok(None);
        };
        let path = self.root.join(blobs::relative(digest));
        let size = file.metadata().map_err(io("stat", &path))?.len();
        if size > max {
            let digest = digest.clone();
            return Err(Error::BlobTooLarge { digest, size, max });
        }
        let mut bytes = Vec::new();
        let read = file.by_ref().take(max).read_to_end(&mut bytes);
        read.map_err(io("read", &path))?;
        // The file may have changed since it was hashed.
        match Digest::like(digest, &bytes) == *digest {
            true => Ok(Some(bytes)),
            false => Ok(None),
        }
    }

    /// Is the blob there, right or wrong?
    pub fn has(&self, digest: &Digest) -> Result<bool, Error> {
        let file = self.file(&self.open()?, &blobs::relative(digest))?;
        Ok(file.is_some())
    }

    /// A blob from its start, if it is there and what it should be. It may still change while it is read: whoever
    /// makes something of it checks it again.
    pub fn blob(&self, digest: &Digest) -> Result<Option<File>, Error> {
        let root = self.open()?;
        let relative = blobs::relative(digest);
        let path = self.root.join(&relative);
        let Some(mut file) = self.file(&root, &relative)? else {
            return Ok(None);
        };
        let actual = blobs::hash_file(&file, digest).map_err(io("read", &path))?;
        if actual != *digest {
            log::warn!(
                "{} has the digest {actual}, and is not used",
                path.display()
            );
            return Ok(None);
        }
        file.rewind().map_err(io("read", &path))?;
        Ok(Some(file))
    }

    /// The root, if it is a store that can be used.
    fn open(&self) -> Result<OwnedFd, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&self.root, flags, Mode::empty())
            .map_err(io("open the additional store", &self.root))?;
        self.trust(&root, &self.root)?;
        let path = self.root.join(META);
        let Some(json) = self.bytes(&root, Path::new(META), 4096)? else {
            return Err(Error::NotShared(self.root.clone()));
        };
        let meta: Meta = atomic::parse(&path, &json)?;
        if meta.version != VERSION {
            return Err(Error::Version {
                path: self.root.clone(),
                found: meta.version,
            });
        }
        for dir in ["images", "blobs", "blobs/sha256"] {
            let path = self.root.join(dir);
            match beneath(&root, Path::new(dir), OFlags::PATH | OFlags::DIRECTORY) {
                Ok(fd) => self.trust(&fd, &path)?,
                Err(Errno::ACCESS) => return Err(Error::NotShared(self.root.clone())),
                Err(e) => return Err(io("open", &path)(e)),
            }
        }
        Ok(root)
    }

    /// Nobody but its owner, or the owner's group, puts things there.
    fn trust(&self, dir: &OwnedFd, path: &Path) -> Result<(), Error> {
        let stat = rustix::fs::fstat(dir).map_err(io("stat", path))?;
        match stat.st_mode & WORLD_WRITABLE {
            0 => Ok(()),
            _ => Err(Error::AnybodysStore(path.to_owned())),
        }
    }

    fn records<T: DeserializeOwned>(&self, root: &OwnedFd) -> Result<Vec<T>, Error> {
        let path = self.root.join("images");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let dir = match beneath(root, Path::new("images"), flags) {
            Ok(dir) => dir,
            Err(Errno::ACCESS) => return Err(Error::NotShared(self.root.clone())),
            Err(e) => return Err(io("list", &path)(e)),
        };
        let names = atomic::names_in(&dir).map_err(io("list", &path))?;
        let mut all = Vec::new();
        for name in names.into_iter().take(NAMES_MAX) {
            let path = Path::new("images").join(name);
            all.extend(self.record(root, &path)?);
        }
        Ok(all)
    }

    /// One that cannot be used is as if it were not there: it is not ours to put right.
    fn record<T: DeserializeOwned>(&self, root: &OwnedFd, path: &Path) -> Result<Option<T>, Error> {
        let Some(json) = self.bytes(root, path, RECORD_MAX)? else {
            return Ok(None);
        };
        match serde_json::from_slice(&json) {
            Ok(record) => Ok(Some(record)),
            Err(e) => {
                log::warn!("{}: {e}", self.root.join(path).display());
                Ok(None)
            }
        }
    }

    fn bytes(&self, root: &OwnedFd, path: &Path, max: u64) -> Result<Option<Vec<u8>>, Error> {
        let Some(file) = self.file(root, path)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let read = file.take(max).read_to_end(&mut bytes);
        read.map_err(io("read", &self.root.join(path)))?;
        Ok(Some(bytes))
    }

    /// A regular file that may be read. What is a link, a pipe or closed to us is not there.
    fn file(&self, root: &OwnedFd, path: &Path) -> Result<Option<File>, Error> {
        // Not blocking: a pipe must not hold us up.
        let fd = match beneath(root, path, OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::LOOP | Errno::XDEV | Errno::ACCESS | Errno::NXIO) => {
                return Ok(None);
            }
            Err(e) => return Err(io("open", &self.root.join(path))(e)),
        };
        let stat = rustix::fs::fstat(&fd).map_err(io("stat", &self.root.join(path)))?;
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        Ok(regular.then(|| File::from(fd)))
    }
}

/// Open what is beneath `root`, by a path without links.
fn beneath(root: &OwnedFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(
        root.as_fd(),
        path,
        flags | OFlags::CLOEXEC,
        Mode::empty(),
        resolve,
    )
}
