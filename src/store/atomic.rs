//! Drafts: what is under way lives in `tmp/`, locked, until a rename publishes it.
//!
//! The one rule: an entry of `tmp/` whose lock can be taken is garbage (its maker is dead), with the
//! exception of `partial-*`, see [`blobs`](super::blobs). So a draft is locked before anything is
//! written to it, and a maker whose draft was swept in the instant before that makes another.

use std::fs::{self, File};
use std::io::Write as _;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, RawDir};
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::io;
use super::lock::{self, Kind};
use super::{Error, Store, remove_tree};

/// A locked file in `tmp/` that is removed on drop unless it was published.
#[derive(Debug)]
pub(super) struct DraftFile {
    file: File,
    path: PathBuf,
    published: bool,
}

impl DraftFile {
    /// A new empty file, mode 0600.
    pub(super) fn new(tmp: &Path, prefix: &str) -> Result<Self, Error> {
        loop {
            let path = tmp.join(format!("{prefix}-{}", random_name()?));
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let fd = match rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR) {
                Ok(fd) => fd,
                Err(Errno::EXIST) => continue,
                Err(e) => return Err(io("create", &path)(e)),
            };
            if claim(&fd, &path)? {
                return Ok(Self {
                    file: File::from(fd),
                    path,
                    published: false,
                });
            }
        }
    }

    /// Append `bytes`.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(io("write", &self.path))
    }

    /// Take the name away: a file that ends with its descriptor.
    pub(super) fn into_unnamed(mut self) -> Result<File, Error> {
        fs::remove_file(&self.path).map_err(io("remove", &self.path))?;
        self.published = true;
        self.file.try_clone().map_err(io("duplicate", &self.path))
    }

    /// Give the file its final name, replacing what has it now. Content first, then the name: after a
    /// power cut there is the old file or the new one, whole.
    pub(super) fn publish(self, store: &Store, to: &Path) -> Result<(), Error> {
        if store.shared_with().is_some() {
            store.open_up(&self.file, &self.path)?;
        }
        self.publish_private(to)
    }

    /// The same of a file that nobody else may read, whoever reads the store.
    pub(super) fn publish_private(mut self, to: &Path) -> Result<(), Error> {
        rustix::fs::fdatasync(&self.file).map_err(io("sync", &self.path))?;
        fs::rename(&self.path, to).map_err(io("rename a draft to", to))?;
        self.published = true;
        if let Some(parent) = to.parent() {
            let dir = open_dir(parent)?;
            rustix::fs::fsync(dir).map_err(io("sync", parent))?;
        }
        Ok(())
    }
}

impl Drop for DraftFile {
    fn drop(&mut self) {
        if !self.published {
            // If it fails, the next sweep does it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A locked directory in `tmp/` that is removed with all it holds on drop unless it was published.
#[derive(Debug)]
pub(super) struct DraftDir {
    fd: OwnedFd,
    path: PathBuf,
    published: bool,
}

impl DraftDir {
    /// A new empty directory, mode 0700.
    pub(super) fn new(tmp: &Path, prefix: &str) -> Result<Self, Error> {
        loop {
            let path = tmp.join(format!("{prefix}-{}", random_name()?));
            match rustix::fs::mkdir(&path, Mode::RWXU) {
                Ok(()) => {}
                Err(Errno::EXIST) => continue,
                Err(e) => return Err(io("create the directory", &path)(e)),
            }
            let fd = match rustix::fs::open(&path, DIR_FLAGS, Mode::empty()) {
                Ok(fd) => fd,
                Err(Errno::NOENT) => continue,
                Err(e) => return Err(io("open", &path)(e)),
            };
            if claim(&fd, &path)? {
                return Ok(Self {
                    fd,
                    path,
                    published: false,
                });
            }
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Give the directory its final name. `Ok(false)` and no draft any more when somebody else has
    /// published a directory of that name.
    pub(super) fn publish(mut self, to: &Path) -> Result<bool, Error> {
        match rustix::fs::rename(&self.path, to) {
            Ok(()) => {
                self.published = true;
                Ok(true)
            }
            // rename(2) replaces an empty directory only, and ours are never empty.
            Err(Errno::EXIST | Errno::NOTEMPTY) => Ok(false),
            Err(e) => Err(io("rename a draft to", to)(e)),
        }
    }
}

impl Drop for DraftDir {
    fn drop(&mut self) {
        if !self.published {
            // If it fails, the next sweep does it.
            let _ = remove_tree(&self.path);
        }
    }
}

pub(super) const DIR_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Open a directory of the store.
pub(super) fn open_dir(path: &Path) -> Result<OwnedFd, Error> {
    rustix::fs::open(path, DIR_FLAGS, Mode::empty()).map_err(io("open", path))
}

/// Lock what we just made. `false` when a sweeper was faster; what it removes is not ours any more.
fn claim(fd: &OwnedFd, path: &Path) -> Result<bool, Error> {
    Ok(
        lock::try_lock(fd, Kind::Exclusive).map_err(io("lock", path))?
            && lock::still_named(fd, path),
    )
}

/// Sixteen random hex digits.
pub(super) fn random_name() -> Result<String, Error> {
    let mut bytes = [0u8; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(io("read random bytes for a name in", Path::new("tmp")))?;
    Ok(base16ct::lower::encode_string(&bytes))
}

/// Write a JSON document by draft and rename.
pub(super) fn write_json<T: Serialize>(store: &Store, to: &Path, value: &T) -> Result<(), Error> {
    let mut bytes = serde_json::to_vec(value).map_err(|source| Error::Record {
        path: to.to_owned(),
        source,
    })?;
    bytes.push(b'\n');
    let mut draft = DraftFile::new(&store.tmp(), "file")?;
    draft.write(&bytes)?;
    draft.publish(store, to)
}

/// Read a JSON document; `None` when there is no such file.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    read_file(path)?.map(|json| parse(path, &json)).transpose()
}

/// All JSON documents in a directory of ours, in no particular order; one that goes meanwhile is left out. Three
/// system calls each: there may be many, and they are small.
pub(super) fn read_all_json<T: DeserializeOwned>(dir: &Path) -> Result<Vec<T>, Error> {
    let fd = match rustix::fs::open(dir, DIR_FLAGS, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(Vec::new()),
        Err(e) => return Err(io("list", dir)(e)),
    };
    let names = names_in(&fd).map_err(io("list", dir))?;
    let mut all = Vec::with_capacity(names.len());
    let mut buffer = vec![0u8; 16 << 10];
    for name in names {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&fd, &name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => continue,
            Err(e) => return Err(io("read", &dir.join(name))(e)),
        };
        let mut filled = 0;
        // A file that has no more gives less than was asked for: no need to ask what size it has, nor for its end.
        loop {
            let asked = buffer.len() - filled;
            match rustix::io::read(&file, &mut buffer[filled..]) {
                Ok(n) => {
                    filled += n;
                    if n < asked {
                        break;
                    }
                    buffer.resize(2 * buffer.len(), 0);
                }
                Err(Errno::INTR) => {}
                Err(e) => return Err(io("read", &dir.join(name))(e)),
            }
        }
        let record = serde_json::from_slice(&buffer[..filled]);
        all.push(record.map_err(|source| Error::Record {
            path: dir.join(name),
            source,
        })?);
    }
    Ok(all)
}

/// What a file of ours says.
pub(super) fn parse<T: DeserializeOwned>(path: &Path, json: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(json).map_err(|source| Error::Record {
        path: path.to_owned(),
        source,
    })
}

/// The content of a file of ours; `None` when there is no such file.
pub(super) fn read_file(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(io("read", path)(e)),
    }
}

/// Make a directory, mode 0700; one that is there already is fine.
pub(super) fn make_dir(path: &Path) -> Result<(), Error> {
    match rustix::fs::mkdir(path, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(e) => Err(io("create the directory", path)(e)),
    }
}

/// Remove a file; one that is gone already is fine.
pub(super) fn unlink(path: &Path) -> Result<(), Error> {
    match rustix::fs::unlink(path) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(io("remove", path)(e)),
    }
}

/// Names in a directory of ours, in no particular order; empty when there is no such directory. Names
/// that are not UTF-8 are never ours and are left alone.
pub(super) fn names(path: &Path) -> Result<Vec<String>, Error> {
    match rustix::fs::open(path, DIR_FLAGS, Mode::empty()) {
        Ok(dir) => names_in(&dir).map_err(io("list", path)),
        Err(Errno::NOENT) => Ok(Vec::new()),
        Err(e) => Err(io("list", path)(e)),
    }
}

/// The same of an open directory. Each `run` lists a few that are empty: a small buffer, where
/// `std::fs::read_dir` takes 32 KiB from the heap.
pub(super) fn names_in(dir: &OwnedFd) -> Result<Vec<String>, Errno> {
    let mut buffer = [const { MaybeUninit::<u8>::uninit() }; 2048];
    let mut entries = RawDir::new(dir, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        match entry?.file_name().to_str() {
            Ok("." | "..") | Err(_) => {}
            Ok(name) => names.push(name.to_owned()),
        }
    }
    Ok(names)
}
