//! Named and anonymous volumes: directories that outlive the containers that mount them.
//!
//! ```text
//! volumes/NAME/
//!   volume.json      what it was made with, and what its first use still has to do; replaced by rename
//!   _data/           what containers see
//!   owners           sidecar ([`crate::owners`]) of what inodes of `_data` cannot carry
//!   filling/         a copy of an image's files that is under way; garbage once nobody has the lock
//!   filling.owners   its sidecar
//!   filled/          the same, complete: what of it is not in `_data` yet
//! ```
//!
//! # Invariants
//!
//! - A directory under `volumes/` is complete: it is made in `tmp/` and published by rename, so of two makers one
//!   makes it.
//! - **In use** is a volume that the configuration of a container names ([`MOUNTS_ANNOTATION`]), whether or not it
//!   runs. A container writes its configuration under the shared lock of the store, and then makes what volumes
//!   are missing; volumes are removed under the exclusive one, after a look at all configurations. So nothing is
//!   removed that somebody is about to mount, and a volume whose container was never complete is not even made.
//! - Its content changes by the containers that mount it. What else writes to it (the first use, `import`) holds
//!   its lock, a flock on its directory, which comes after that of a container's directory.

mod uses;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::Mode;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

pub use uses::{MOUNTS_ANNOTATION, MountKind, Mounted, volumes_of};

use super::atomic::{self, DraftDir};
use super::error::io;
use super::lock::{self, Guard, Kind};
use super::{Error, Store, remove_tree};
use crate::owners::Layer;

const VOLUMES: &str = "volumes";
const RECORD: &str = "volume.json";
const DATA: &str = "_data";
const OWNERS: &str = "owners";
/// As for containers: the longest that all file systems take, with room for a suffix.
const NAME_MAX: usize = 200;

/// View of the store's volumes.
#[derive(Debug, Clone, Copy)]
pub struct Volumes<'a> {
    pub(super) store: &'a Store,
}

/// What is known of a volume. Its keys are those of podman-volume-inspect(1), in the case of our other records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeRecord {
    /// Its name.
    pub name: String,
    /// RFC 3339.
    pub created_at: String,
    /// The user's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// `-o`, as they were given.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// It was made for a container, without a name, and goes with it.
    #[serde(default)]
    pub anonymous: bool,
    /// Nobody has mounted it: its directory gets the owner and mode that the first container has at its place.
    #[serde(default)]
    pub needs_chown: bool,
    /// Nobody has written to it: it gets what the image of the first container has at its place.
    #[serde(default)]
    pub needs_copy_up: bool,
}

/// A volume that exists, as it was when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeEntry {
    /// What is known of it.
    pub record: VolumeRecord,
    path: PathBuf,
}

impl VolumeEntry {
    /// What containers see.
    pub fn data(&self) -> PathBuf {
        self.path.join(DATA)
    }

    /// The sidecar of that, which need not exist.
    pub fn owners(&self) -> PathBuf {
        self.path.join(OWNERS)
    }
}

/// A volume, locked by us.
#[derive(Debug)]
pub struct VolumeDir {
    store: Store,
    /// As it is now.
    pub entry: VolumeEntry,
    _lock: OwnedFd,
}

impl Volumes<'_> {
    fn dir(&self) -> PathBuf {
        self.store.path(VOLUMES)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// Make it. `false` if there is one of this name, which stays as it is.
    pub fn create(&self, record: &VolumeRecord) -> Result<bool, Error> {
        check_name(&record.name)?;
        let path = self.path(&record.name);
        if rustix::fs::lstat(&path).is_ok() {
            return Ok(false);
        }
        // Stores of earlier versions have none.
        atomic::make_dir(&self.dir())?;
        let draft = DraftDir::new(&self.store.tmp(), "volume")?;
        let data = draft.path().join(DATA);
        let mode = Mode::from_raw_mode(0o755);
        rustix::fs::mkdir(&data, mode).map_err(io("create the directory", &data))?;
        // Whatever the umask: containers see it.
        rustix::fs::chmod(&data, mode).map_err(io("change the mode of", &data))?;
        atomic::write_json(self.store, &draft.path().join(RECORD), record)?;
        draft.publish(&path)
    }

    /// The volume of this very name.
    pub fn get(&self, name: &str) -> Result<Option<VolumeEntry>, Error> {
        check_name(name)?;
        let path = self.path(name);
        let record = atomic::read_json(&path.join(RECORD))?;
        Ok(record.map(|record| VolumeEntry { record, path }))
    }

    /// The content of a volume and its sidecar, whether or not it is there.
    pub fn layer(&self, name: &str) -> Result<Layer, Error> {
        check_name(name)?;
        let path = self.path(name);
        Ok(Layer {
            tree: path.join(DATA),
            sidecar: path.join(OWNERS),
        })
    }

    /// The volume that is meant: by its whole name, or by a start that fits one only.
    pub fn find(&self, name: &str) -> Result<VolumeEntry, Error> {
        let none = || Error::NoSuchVolume(name.to_owned());
        // What can be no name is none.
        if check_name(name).is_err() {
            return Err(none());
        }
        if let Some(volume) = self.get(name)? {
            return Ok(volume);
        }
        let names = atomic::names(&self.dir())?;
        let mut fits: Vec<String> = names.into_iter().filter(|n| n.starts_with(name)).collect();
        match fits.len() {
            0 => Err(none()),
            1 => self.get(&fits.swap_remove(0))?.ok_or_else(none),
            _ => Err(Error::AmbiguousVolume {
                prefix: name.to_owned(),
                matches: fits,
            }),
        }
    }

    /// All of them, in the order of their names. One that cannot be read is an error.
    pub fn list(&self) -> Result<Vec<VolumeEntry>, Error> {
        let mut names = atomic::names(&self.dir())?;
        names.sort();
        let mut all = Vec::with_capacity(names.len());
        for name in names {
            // Not one that went meanwhile.
            all.extend(self.get(&name)?);
        }
        Ok(all)
    }

    /// Lock a volume, to be the only one who does more to it than containers do.
    pub fn lock(&self, name: &str) -> Result<VolumeDir, Error> {
        check_name(name)?;
        let path = self.path(name);
        loop {
            let dir = match rustix::fs::open(&path, atomic::DIR_FLAGS, Mode::empty()) {
                Ok(dir) => dir,
                Err(Errno::NOENT) => return Err(Error::NoSuchVolume(name.to_owned())),
                Err(e) => return Err(io("open", &path)(e)),
            };
            // As long as whoever has it writes, free space is not what it was.
            let alive = || rustix::fs::statvfs(&path).map_or(0, |s| s.f_bfree);
            lock::wait(&dir, &path, Kind::Exclusive, self.store.timeout, alive)?;
            if !lock::still_named(&dir, &path) {
                continue;
            }
            let entry = self.get(name)?;
            return Ok(VolumeDir {
                store: self.store.clone(),
                entry: entry.ok_or_else(|| Error::NoSuchVolume(name.to_owned()))?,
                _lock: dir,
            });
        }
    }

    /// Remove a volume that no container names.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        let alone = self.store.exclusive()?;
        if let Some(container) = self.users(name)?.into_iter().next() {
            return Err(Error::VolumeInUse {
                name: name.to_owned(),
                container,
            });
        }
        let Some((lock, trash)) = self.discard(name, &alone)? else {
            return Err(Error::NoSuchVolume(name.to_owned()));
        };
        drop(alone);
        let removed = remove_tree(&trash);
        drop(lock);
        removed
    }

    /// Remove the anonymous ones among `names` that no container but `gone` names. To be called before that
    /// container goes, so that whoever is killed in between leaves one that names them.
    pub fn remove_anonymous(&self, names: &[String], gone: &str) -> Result<Vec<String>, Error> {
        let alone = self.store.exclusive()?;
        let trash = self.discard_anonymous(names, gone, &alone)?;
        drop(alone);
        let mut removed = Vec::new();
        for (name, _lock, path) in trash {
            remove_tree(&path)?;
            removed.push(name);
        }
        Ok(removed)
    }

    /// The same, out of sight only.
    pub(super) fn discard_anonymous(
        &self,
        names: &[String],
        gone: &str,
        alone: &Guard,
    ) -> Result<Vec<(String, OwnedFd, PathBuf)>, Error> {
        let mut trash = Vec::new();
        for name in names {
            let of_its_own = match self.get(name) {
                Ok(volume) => volume.is_some_and(|v| v.record.anonymous),
                // A name that is none, or a record that cannot be read, is for its owner to look at.
                Err(_) => false,
            };
            if of_its_own && self.users(name)?.iter().all(|id| id == gone) {
                let found = self.discard(name, alone)?;
                trash.extend(found.map(|(lock, path)| (name.clone(), lock, path)));
            }
        }
        Ok(trash)
    }

    /// Out of sight, into `tmp/`, locked; `None` if there is none. Under the exclusive lock of the store.
    fn discard(&self, name: &str, _alone: &Guard) -> Result<Option<(OwnedFd, PathBuf)>, Error> {
        check_name(name)?;
        let path = self.path(name);
        let dir = match rustix::fs::open(&path, atomic::DIR_FLAGS, Mode::empty()) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(io("open", &path)(e)),
        };
        if !lock::try_lock(&dir, Kind::Exclusive).map_err(io("lock", &path))? {
            return Err(Error::VolumeBusy(name.to_owned()));
        }
        let to = self
            .store
            .tmp()
            .join(format!("trash-{}", atomic::random_name()?));
        rustix::fs::rename(&path, &to).map_err(io("remove", &path))?;
        Ok(Some((dir, to)))
    }
}

impl VolumeDir {
    /// Replace what is known of it.
    pub fn write(&mut self, record: VolumeRecord) -> Result<(), Error> {
        atomic::write_json(&self.store, &self.entry.path.join(RECORD), &record)?;
        self.entry.record = record;
        Ok(())
    }

    /// Where a copy that is under way stands, and its sidecar.
    pub fn filling(&self) -> (PathBuf, PathBuf) {
        let path = &self.entry.path;
        (path.join("filling"), path.join("filling.owners"))
    }

    /// Where a copy stands that is complete.
    pub fn filled(&self) -> PathBuf {
        self.entry.path.join("filled")
    }

    /// Remove what somebody who was killed left of a copy.
    pub fn clear_filling(&self) -> Result<(), Error> {
        let (tree, sidecar) = self.filling();
        if rustix::fs::lstat(&tree).is_ok() {
            remove_tree(&tree)?;
        }
        atomic::unlink(&sidecar)
    }
}

/// podman's rule for names, which makes them safe file names, too.
fn check_name(name: &str) -> Result<(), Error> {
    let mut bytes = name.bytes();
    let good = name.len() <= NAME_MAX
        && bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    match good {
        true => Ok(()),
        false => Err(Error::BadVolumeName(name.to_owned())),
    }
}

/// Whether this is the name of a volume, rather than a path.
pub fn is_volume_name(name: &str) -> bool {
    check_name(name).is_ok()
}
