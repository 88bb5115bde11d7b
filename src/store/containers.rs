//! Container directories: identity, name, liveness. What stands in them is `runtime`'s and `ops`'
//! business, except one annotation of `config.json`, which pins the image against garbage collection.
//!
//! Liveness is a flock on the directory, held through an open descriptor by whoever runs or changes
//! the container: it ends with the last process that has the descriptor, however that dies. Take a
//! shared [`Guard`](super::Guard) before looking up the image, and keep it until
//! [`ContainerDir::write_config`] has returned.

mod sweep;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::Mode;
use rustix::io::Errno;
use serde::de::DeserializeOwned;

use super::atomic;
use super::error::io;
use super::lock::{self, Guard, Kind};
use super::{Error, ImageRecord, Store, remove_tree, spare};

/// The OCI runtime configuration. A container without one is not complete.
pub(super) const CONFIG: &str = "config.json";
/// What its files have that the upper directory cannot hold.
pub const OWNERS: &str = "owners";
/// What the container is doing, or how it ended.
const STATE: &str = "state.json";
/// The same while it is being written.
const STATE_DRAFT: &str = ".state.json";
/// What it was asked for, so that it can be started again.
const OPTIONS: &str = "options.json";
const OPTIONS_DRAFT: &str = ".options.json";
/// What its program said.
const LOG: &str = "log";
/// Annotation of the configuration that holds the [`ImageRecord`], as JSON: it pins the image's layers
/// and blobs. One file for both, since making files is a good part of the cost of a start.
pub const IMAGE_ANNOTATION: &str = "io.coracle.image";
/// Directories of containers that stay, and of those that go with their process (`--rm`).
const KEPT: &str = "containers";
const EPHEMERAL: &str = "ephemeral";
const NAMES: &str = ".names";
/// The writable layer, and the scratch space of the overlay.
pub(super) const UPPER: &str = "upper";
pub(super) const WORK: &str = "work";
const NAME_MAX: usize = 200;
/// How long somebody who only looks at a container may hold its lock.
const GLANCE: Duration = Duration::from_millis(200);

/// View of the store's containers.
#[derive(Debug, Clone, Copy)]
pub struct Containers<'a> {
    pub(super) store: &'a Store,
}

/// A container that exists, as [`Containers::list`] saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerEntry {
    /// Its id.
    pub id: String,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Its directory.
    pub path: PathBuf,
    /// It goes with its process (`--rm`): once nobody holds its lock, it is garbage.
    pub ephemeral: bool,
}

impl ContainerEntry {
    /// Its writable layer, if an overlay makes its root.
    pub fn upper(&self) -> PathBuf {
        self.path.join(UPPER)
    }

    /// Its sidecar ([`crate::owners`]), which need not exist.
    pub fn owners(&self) -> PathBuf {
        self.path.join(OWNERS)
    }

    /// The log of its program, which need not exist.
    pub fn log(&self) -> PathBuf {
        self.path.join(LOG)
    }
}

/// A container's directory, locked by us.
#[derive(Debug)]
pub struct ContainerDir {
    store: Store,
    id: String,
    name: Option<String>,
    path: PathBuf,
    fd: OwnedFd,
    /// Made from what another left: see [`spare`].
    reused: bool,
}

impl Containers<'_> {
    fn dir(&self) -> PathBuf {
        self.store.path(KEPT)
    }

    fn ephemeral(&self) -> PathBuf {
        self.store.path(EPHEMERAL)
    }

    fn names_dir(&self) -> PathBuf {
        self.dir().join(NAMES)
    }

    fn exists(&self, id: &str) -> bool {
        [self.dir(), self.ephemeral()]
            .iter()
            .any(|dir| rustix::fs::lstat(dir.join(id)).is_ok())
    }

    /// Make the directory of a new container, 0700 and locked. `autoremove`: once nobody holds its
    /// lock, any coracle process may remove it (`--rm`, also after kill -9). The caller holds the
    /// shared lock of the store until the container is complete.
    pub fn create(
        &self,
        id: &str,
        name: Option<&str>,
        autoremove: bool,
    ) -> Result<ContainerDir, Error> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if !(12..=64).contains(&id.len()) || !id.bytes().all(hex) {
            return Err(Error::BadContainerId(id.to_owned()));
        }
        if let Some(name) = name
            && !is_name(name)
        {
            return Err(Error::BadContainerName(name.to_owned()));
        }
        let parent = if autoremove {
            self.ephemeral()
        } else {
            self.dir()
        };
        let path = parent.join(id);
        let reused = autoremove && spare::take(&parent, &path);
        if !reused {
            match rustix::fs::mkdir(&path, Mode::RWXU) {
                Ok(()) => {}
                Err(Errno::EXIST) => {
                    return Err(Error::NameTaken {
                        name: id.to_owned(),
                        id: id.to_owned(),
                    });
                }
                Err(e) => return Err(io("create the directory", &path)(e)),
            }
        }
        let fd = atomic::open_dir(&path)?;
        // Others lock it only to look whether it lives, or under the exclusive lock.
        lock::wait(&fd, &path, Kind::Exclusive, self.store.timeout, || 0)?;
        let mut container = ContainerDir {
            store: self.store.clone(),
            id: id.to_owned(),
            name: None,
            path,
            fd,
            reused,
        };
        // After the directory, so that a name without one is always stale.
        if let Some(name) = name {
            if let Err(e) = self.claim(name, id) {
                // The first failure is the one to tell.
                let _ = container.remove();
                return Err(e);
            }
            container.name = Some(name.to_owned());
        }
        Ok(container)
    }

    fn claim(&self, name: &str, id: &str) -> Result<(), Error> {
        let link = self.names_dir().join(name);
        loop {
            match rustix::fs::symlink(id, &link) {
                Ok(()) => return Ok(()),
                Err(Errno::EXIST) => {}
                Err(e) => return Err(io("create the name", &link)(e)),
            }
            // Taken, or left behind by a process that died while it removed the container. Names go
            // away only under this lock, so what we judge is what we unlink.
            let _names = self.lock_names()?;
            let Some(owner) = self.owner(name)? else {
                continue;
            };
            // Our own directory is new: a link to it is from a container of the same id, long gone.
            if owner != id && self.exists(&owner) {
                return Err(Error::NameTaken {
                    name: name.to_owned(),
                    id: owner,
                });
            }
            atomic::unlink(&link)?;
        }
    }

    fn lock_names(&self) -> Result<Guard, Error> {
        lock::lock_dir(&self.names_dir(), Kind::Exclusive, self.store.timeout)
    }

    /// Id that a name belongs to.
    fn owner(&self, name: &str) -> Result<Option<String>, Error> {
        let link = self.names_dir().join(name);
        match std::fs::read_link(&link) {
            Ok(target) => Ok(target.into_os_string().into_string().ok()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(io("read", &link)(e)),
        }
    }

    /// All containers, in the order of their ids.
    pub fn list(&self) -> Result<Vec<ContainerEntry>, Error> {
        let mut names = std::collections::HashMap::new();
        for name in atomic::names(&self.names_dir())? {
            if let Some(id) = self.owner(&name)? {
                names.insert(id, name);
            }
        }
        let mut entries: Vec<ContainerEntry> = Vec::new();
        for (dir, ephemeral) in [(self.dir(), false), (self.ephemeral(), true)] {
            let ids = atomic::names(&dir)?.into_iter().filter(|name| is_id(name));
            entries.extend(ids.map(|id| ContainerEntry {
                name: names.remove(&id),
                path: dir.join(&id),
                id,
                ephemeral,
            }));
        }
        entries.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(entries)
    }

    /// The container that is meant: by its whole id, a name, or the start of an id, in this order, so that a
    /// container that is called like another one's id does not stand in for it.
    pub fn find(&self, name: &str) -> Result<ContainerEntry, Error> {
        let all = self.list()?;
        let by_id = all.iter().find(|e| e.id == name);
        let named = || all.iter().find(|e| e.name.as_deref() == Some(name));
        if let Some(entry) = by_id.or_else(named) {
            return Ok(entry.clone());
        }
        let mut fits: Vec<ContainerEntry> = all
            .into_iter()
            .filter(|e| !name.is_empty() && e.id.starts_with(name))
            .collect();
        match fits.len() {
            0 => Err(Error::NoSuchContainer(name.to_owned())),
            1 => Ok(fits.swap_remove(0)),
            _ => Err(Error::AmbiguousContainer {
                prefix: name.to_owned(),
                matches: fits
                    .iter()
                    .map(|e| e.id.chars().take(12).collect())
                    .collect(),
            }),
        }
    }

    /// Lock an existing container; `None` while another process has it: while it lives, or for the
    /// moment that a sweep or a listing looks at it.
    pub fn try_lock(&self, entry: &ContainerEntry) -> Result<Option<ContainerDir>, Error> {
        let gone = || Error::NoSuchContainer(entry.id.clone());
        let Some(fd) = open_entry(entry)? else {
            return Err(gone());
        };
        if !lock::try_lock(&fd, Kind::Exclusive).map_err(io("lock", &entry.path))? {
            return Ok(None);
        }
        if !lock::still_named(&fd, &entry.path) {
            return Err(gone());
        }
        Ok(Some(self.adopt(entry, fd)))
    }

    /// The container whose lock came to us with this descriptor, from a process that had it.
    pub fn adopt(&self, entry: &ContainerEntry, fd: OwnedFd) -> ContainerDir {
        ContainerDir {
            store: self.store.clone(),
            id: entry.id.clone(),
            name: entry.name.clone(),
            path: entry.path.clone(),
            fd,
            reused: false,
        }
    }

    /// Open a container's directory, without a lock.
    pub fn open(&self, entry: &ContainerEntry) -> Result<OwnedFd, Error> {
        open_entry(entry)?.ok_or_else(|| Error::NoSuchContainer(entry.id.clone()))
    }

    /// Give a container another name.
    pub fn rename(&self, entry: &ContainerEntry, name: &str) -> Result<(), Error> {
        if !is_name(name) {
            return Err(Error::BadContainerName(name.to_owned()));
        }
        if entry.name.as_deref() == Some(name) {
            return Ok(());
        }
        // It has two names for a moment, and never none.
        self.claim(name, &entry.id)?;
        self.release(&entry.id, Some(name))
    }

    /// Take all names of a container away but this.
    fn release(&self, id: &str, but: Option<&str>) -> Result<(), Error> {
        let _names = self.lock_names()?;
        for name in atomic::names(&self.names_dir())? {
            if Some(name.as_str()) != but && self.owner(&name)?.as_deref() == Some(id) {
                atomic::unlink(&self.names_dir().join(name))?;
            }
        }
        Ok(())
    }

    /// Does some process hold the container's lock? Only for display: it may change at once. Any
    /// number of processes may ask at the same time.
    pub fn is_locked(&self, entry: &ContainerEntry) -> Result<bool, Error> {
        match open_entry(entry)? {
            Some(fd) => lock::try_lock(&fd, Kind::Shared)
                .map(|free| !free)
                .map_err(io("lock", &entry.path)),
            None => Ok(false),
        }
    }

    /// The container's OCI runtime configuration, or the part of it that `T` has; `None` while the
    /// container is not complete.
    pub fn config<T: DeserializeOwned>(&self, entry: &ContainerEntry) -> Result<Option<T>, Error> {
        let path = entry.path.join(CONFIG);
        match atomic::read_file(&path)? {
            Some(json) if json.first() != Some(&spare::SPOILED) => {
                whole(atomic::parse(&path, &json).map(Some))
            }
            _ => Ok(None),
        }
    }

    /// What the container was asked for; `None` of one that nobody can start again.
    pub fn options<T: DeserializeOwned>(&self, entry: &ContainerEntry) -> Result<Option<T>, Error> {
        whole(atomic::read_json(&entry.path.join(OPTIONS)))
    }

    /// When the configuration was written, which is when the container was made; `None` while it has
    /// none.
    pub fn created(&self, entry: &ContainerEntry) -> Option<SystemTime> {
        let stat = std::fs::metadata(entry.path.join(CONFIG));
        stat.and_then(|m| m.modified()).ok()
    }

    /// What was recorded when the container ended; `None` when it has not, or nobody was left to.
    pub fn state<T: DeserializeOwned>(&self, entry: &ContainerEntry) -> Result<Option<T>, Error> {
        whole(atomic::read_json(&entry.path.join(STATE)))
    }

    /// What the container's configuration has in an annotation.
    pub fn annotation(&self, entry: &ContainerEntry, name: &str) -> Result<Option<String>, Error> {
        #[derive(serde::Deserialize)]
        struct Config {
            #[serde(default)]
            annotations: std::collections::HashMap<String, String>,
        }
        let config: Option<Config> = self.config(entry)?;
        Ok(config.and_then(|mut c| c.annotations.remove(name)))
    }

    /// The image that a container was made from; `None` when it was made from none.
    pub fn image(&self, entry: &ContainerEntry) -> Result<Option<ImageRecord>, Error> {
        self.annotation(entry, IMAGE_ANNOTATION)?
            .map(|json| {
                serde_json::from_str(&json).map_err(|source| Error::Record {
                    path: entry.path.join(CONFIG),
                    source,
                })
            })
            .transpose()
    }

    /// Remove a container that does not live.
    pub fn remove(&self, entry: &ContainerEntry) -> Result<(), Error> {
        self.lock_ended(entry)?.remove()
    }

    /// Lock a container that does not live.
    pub fn lock_ended(&self, entry: &ContainerEntry) -> Result<ContainerDir, Error> {
        let until = Instant::now() + GLANCE;
        loop {
            match self.try_lock(entry)? {
                Some(dir) => return Ok(dir),
                None if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
                None => return Err(Error::ContainerBusy(entry.id.clone())),
            }
        }
    }
}

impl ContainerDir {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its name, if it has one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Absolute path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its sidecar ([`crate::owners`]), which need not exist.
    pub fn owners(&self) -> PathBuf {
        self.path.join(OWNERS)
    }

    /// Write the configuration, which makes the container complete. With [`IMAGE_ANNOTATION`] in it
    /// the image's layers and blobs stay as long as the container, also after `rmi -f`.
    pub fn write_config(&self, json: &[u8]) -> Result<(), Error> {
        let path = self.path.join(CONFIG);
        if self.reused {
            spare::write_config(&path, json)
        } else {
            std::fs::write(&path, json)
        }
        .map_err(io("write", &path))
    }

    /// Where the container's writable layer is, or shall be made.
    pub fn upper(&self) -> PathBuf {
        self.path.join(UPPER)
    }

    /// The same for the scratch space that an overlay needs beside it.
    pub fn work(&self) -> PathBuf {
        self.path.join(WORK)
    }

    /// Record what the container is doing. Readers see the old record or the new one; a power cut may leave none.
    pub fn write_state(&self, json: &[u8]) -> Result<(), Error> {
        let (draft, path) = (self.path.join(STATE_DRAFT), self.path.join(STATE));
        std::fs::write(&draft, json).map_err(io("write", &draft))?;
        std::fs::rename(&draft, &path).map_err(io("write", &path))
    }

    /// Keep what the container was asked for. Readers see the old or the new.
    pub fn write_options(&self, json: &[u8]) -> Result<(), Error> {
        let (draft, path) = (self.path.join(OPTIONS_DRAFT), self.path.join(OPTIONS));
        std::fs::write(&draft, json).map_err(io("write", &draft))?;
        std::fs::rename(&draft, &path).map_err(io("write", &path))
    }

    /// The log of its program, which need not exist.
    pub fn log(&self) -> PathBuf {
        self.path.join(LOG)
    }

    /// Remove the container. One that others may list goes at once, then the slow part; an ephemeral
    /// one goes in place, since whatever is left of it is garbage.
    pub fn remove(self) -> Result<(), Error> {
        let ephemeral = self.store.containers().ephemeral();
        if self.path.starts_with(&ephemeral) {
            self.release_name()?;
            if spare::keep(&ephemeral, &self.path, &self.fd) {
                return Ok(());
            }
            return remove_tree(&self.path);
        }
        let (_lock, trash) = self.discard()?;
        remove_tree(&trash)
    }

    /// Out of sight, into `tmp/`. The lock moves along, so nobody sweeps the trash under our feet.
    fn discard(self) -> Result<(OwnedFd, PathBuf), Error> {
        let trash = self
            .store
            .tmp()
            .join(format!("trash-{}", atomic::random_name()?));
        rustix::fs::rename(&self.path, &trash).map_err(io("remove", &self.path))?;
        self.release_name()?;
        Ok((self.fd, trash))
    }

    fn release_name(&self) -> Result<(), Error> {
        let Some(name) = &self.name else {
            return Ok(());
        };
        let containers = self.store.containers();
        if containers.owner(name)?.as_deref() == Some(&self.id) {
            let _names = containers.lock_names()?;
            if containers.owner(name)?.as_deref() == Some(&self.id) {
                return atomic::unlink(&containers.names_dir().join(name));
            }
        }
        // Somebody has given it another.
        containers.release(&self.id, None)
    }
}

/// The descriptor that carries the lock. It is close-on-exec: a process that shall keep the container
/// alive needs a duplicate that is not.
impl AsFd for ContainerDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A file that ends too early is being written, or its writer was killed: as if it were not there.
fn whole<T>(read: Result<Option<T>, Error>) -> Result<Option<T>, Error> {
    match read {
        Err(Error::Record { source, .. }) if source.is_eof() => Ok(None),
        other => other,
    }
}

/// Other entries start with a dot.
fn is_id(name: &str) -> bool {
    !name.starts_with('.')
}

/// `None` when it is gone.
pub(super) fn open_entry(entry: &ContainerEntry) -> Result<Option<OwnedFd>, Error> {
    match rustix::fs::open(&entry.path, atomic::DIR_FLAGS, Mode::empty()) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(io("open", &entry.path)(e)),
    }
}

/// `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, as docker has it. So it is a safe file name, too.
fn is_name(s: &str) -> bool {
    let mut bytes = s.bytes();
    s.len() <= NAME_MAX
        && bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}
