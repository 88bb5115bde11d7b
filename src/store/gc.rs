//! Clean-up: the sweep of what dead processes left, and the collection of what nothing refers to.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::atomic::{self, DraftFile};
use super::error::io;
use super::lock::{self, Kind};
use super::{Error, Guard, Store, remove_tree};
use crate::oci::Digest;

const PARTIAL: &str = "partial-";
const LEASE: &str = "lease-";

/// How long an interrupted fetch can be resumed.
const PARTIAL_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Digests that stay although no image refers to them yet: from before a pull looks for what is there
/// until its image is stored. A process that dies loses it.
#[derive(Debug)]
pub struct Lease {
    _file: DraftFile,
}

/// What [`Store::gc`] removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Unpacked layers.
    pub layers: u64,
    /// Blobs.
    pub blobs: u64,
    /// Bytes, by the recorded sizes.
    pub bytes: u64,
}

impl Store {
    /// Keep `digests` (of layers and blobs) until the lease is dropped.
    pub fn lease<'d>(&self, digests: impl IntoIterator<Item = &'d Digest>) -> Result<Lease, Error> {
        let _guard = self.shared()?;
        let mut file = DraftFile::new(&self.tmp(), LEASE.trim_end_matches('-'))?;
        for digest in digests {
            file.write(format!("{digest}\n").as_bytes())?;
        }
        Ok(Lease { _file: file })
    }

    /// Remove what dead processes left: `--rm` containers and drafts. Costs two reads of directories
    /// that are empty as a rule.
    pub fn sweep(&self) -> Result<(), Error> {
        // The second also when the first failed: an error is told, and stops nothing.
        let containers = self.containers().sweep();
        containers.and(self.sweep_tmp(PARTIAL_AGE))
    }

    /// Remove every layer and blob that no image, container or lease refers to, and none of `in_use`.
    /// Takes the exclusive lock: do not call it with a guard in hand.
    pub fn gc(&self, in_use: &[Digest]) -> Result<Collected, Error> {
        let (collected, trash) = {
            let guard = self.exclusive()?;
            self.containers().sweep_unfinished(&guard)?;
            let roots = self.roots(in_use)?;
            self.drop_unreferenced(&roots)?
        };
        for (_lock, path) in trash {
            remove_tree(&path)?;
        }
        Ok(collected)
    }

    /// As [`Store::gc`], and partial fetches go, too, however young they are.
    pub fn prune(&self, in_use: &[Digest]) -> Result<Collected, Error> {
        self.sweep_tmp(Duration::ZERO)?;
        self.gc(in_use)
    }

    fn roots(&self, in_use: &[Digest]) -> Result<HashSet<String>, Error> {
        let mut roots: HashSet<String> = in_use.iter().map(|d| d.hex().to_owned()).collect();
        let images = self.images().list()?.into_iter();
        for image in images.chain(self.builds().list()?) {
            roots.extend(image.roots().map(|d| d.hex().to_owned()));
        }
        let containers = self.containers();
        for entry in containers.list()? {
            if let Some(image) = containers.image(&entry)? {
                roots.extend(image.roots().map(|d| d.hex().to_owned()));
            }
            let mounted = containers.mounts(&entry)?.into_iter();
            for image in mounted.filter_map(|m| m.image) {
                roots.extend(image.roots().map(|d| d.hex().to_owned()));
            }
        }
        let tmp = self.tmp();
        for name in atomic::names(&tmp)? {
            if !name.starts_with(LEASE) {
                continue;
            }
            // Complete, since leases are written under the shared lock. Those of dead processes
            // count as well; the next sweep removes them.
            let lease = atomic::read_file(&tmp.join(name))?.unwrap_or_default();
            for line in String::from_utf8_lossy(&lease).lines() {
                roots.extend(line.parse::<Digest>().map(|d| d.hex().to_owned()));
            }
        }
        Ok(roots)
    }

    /// What [`Store::gc`] would remove. Only for display: it may change at once.
    pub fn garbage(&self) -> Result<Collected, Error> {
        let _guard = self.shared()?;
        let roots = self.roots(&[])?;
        let mut found = Collected::default();
        for (path, name) in self.layers().entries()? {
            if !roots.contains(&name) {
                found.layers += 1;
                found.bytes += self.size_at(&path);
            }
        }
        for (path, name) in self.blobs().entries()? {
            if !roots.contains(&name) {
                found.blobs += 1;
                found.bytes += file_size(&path);
            }
        }
        Ok(found)
    }

    /// Returns the layers as locked trash, renamed out of the way.
    fn drop_unreferenced(
        &self,
        roots: &HashSet<String>,
    ) -> Result<(Collected, Vec<(OwnedFd, PathBuf)>), Error> {
        let mut collected = Collected::default();
        let mut trash = Vec::new();
        for (path, name) in self.layers().entries()? {
            if roots.contains(&name) {
                continue;
            }
            let bytes = self.size_at(&path);
            let lock = atomic::open_dir(&path)?;
            if !lock::try_lock(&lock, Kind::Exclusive).map_err(io("lock", &path))? {
                continue;
            }
            let to = self.tmp().join(format!("trash-{}", atomic::random_name()?));
            rustix::fs::rename(&path, &to).map_err(io("remove", &path))?;
            collected.layers += 1;
            collected.bytes += bytes;
            trash.push((lock, to));
        }
        for (path, name) in self.blobs().entries()? {
            if roots.contains(&name) {
                continue;
            }
            collected.bytes += file_size(&path);
            atomic::unlink(&path)?;
            collected.blobs += 1;
        }
        Ok((collected, trash))
    }

    /// Remove the garbage in `tmp/`; see [`atomic`](super::atomic) for what is garbage.
    fn sweep_tmp(&self, partial_age: Duration) -> Result<(), Error> {
        let tmp = self.tmp();
        let mut result = Ok(());
        for name in atomic::names(&tmp)? {
            let path = tmp.join(&name);
            if name.starts_with(PARTIAL) && !older(&path, partial_age) {
                continue;
            }
            result = result.and(sweep_one(&path));
        }
        result
    }
}

/// Remove one entry of `tmp/` if nobody holds its lock.
fn sweep_one(path: &Path) -> Result<(), Error> {
    let Some((_lock, is_dir)) = lock_garbage(path)? else {
        return Ok(());
    };
    if is_dir {
        remove_tree(path)
    } else {
        atomic::unlink(path)
    }
}

fn lock_garbage(path: &Path) -> Result<Option<(Guard, bool)>, Error> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(None),
        Err(e) => return Err(io("open", path)(e)),
    };
    if !lock::try_lock(&fd, Kind::Exclusive).map_err(io("lock", path))?
        || !lock::still_named(&fd, path)
    {
        return Ok(None);
    }
    let stat = rustix::fs::fstat(&fd).map_err(io("stat", path))?;
    let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    Ok(Some((Guard::holding(fd), is_dir)))
}

fn file_size(path: &Path) -> u64 {
    rustix::fs::lstat(path).map_or(0, |s| u64::try_from(s.st_size).unwrap_or(0))
}

fn older(path: &Path, age: Duration) -> bool {
    std::fs::symlink_metadata(path)
        .and_then(|m| m.modified())
        .ok()
        .and_then(|t| t.elapsed().ok())
        .is_some_and(|elapsed| elapsed >= age)
}
