//! The truth on disk: blobs, unpacked layers, images, containers, and the locks between processes.
//! Called by `ops`, and `containers` also by `monitor`; calls nothing above it, and of its
//! neighbours only `layer::remove_tree`.
//!
//! # The tree
//!
//! ```text
//! ROOT/                          0700: images hold set-id files that would be the user's
//!   meta.json                    {"version":1}; another version is refused; "share": who may read the images
//!   events, events.1             journal: a line of JSON for each thing that happened
//!   lock                         flock: shared to add or to look and use, exclusive to delete
//!   lock.wanted                  there and locked while somebody waits for the exclusive one
//!   blobs/sha256/HEX             manifests and configs; compressed layers where they are kept;
//!                                immutable, named by content
//!   layers/HEX/                  HEX of the diff_id; immutable, published by rename
//!     diff/                      the tree
//!     owners                     sidecar of `layer`: owners, devices, xattrs that the tree cannot hold
//!     tar                        recipe of `layer`: with the tree it makes the same tar again
//!     replaced/N                 what the tar has and the tree not, where it replaces its own files
//!     info.json                  sizes
//!   images/tag-HEX.json          one image name; HEX = sha256 of the name; atomic rename
//!   images/id-HEX.json           an image that lost its last name; HEX = its id. A list (an index that was
//!                                made here) is an image whose record holds those of its images
//!   builds/HEX.json              the image after a step of a build; HEX = the key of that step: a cache
//!   containers/ID/               one container; its directory is flocked while somebody runs it
//!     config.json                OCI runtime configuration; an annotation of it holds the image as
//!                                it was at the start, which pins layers and blobs
//!     owners                     sidecar of the upper directory, where identities are emulated
//!   containers/.names/NAME       symlink to ID: claimed by symlink(2), which is exclusive
//!   ephemeral/ID/                the same for `--rm`: garbage once nobody holds its lock
//!   ephemeral/.spare/            what an empty one left, for the next to take
//!   volumes/NAME/                a volume: what containers see, and what is known of it; see `volumes`
//!   secrets/NAME.json            a secret, closed to everybody else even where the store is shared; see `secrets`
//!   quarantine/                  what `system check --repair` found broken; only ever written to
//!   mountpoint/                  empty; every container mounts its root over it, in its own namespace
//!   skeleton/                    lowest layer of all: mount points that an image may lack
//!   tmp/                         drafts and trash, each locked by its maker
//!     partial-ALGORITHM-HEX      blob that is being fetched; kept a day when its fetch dies
//!     fetch-ALGORITHM-HEX        lock of a fetch that keeps no blob
//!     lease-*                    digests that a pull under way is about to need
//! ```
//!
//! # Invariants
//!
//! - Whatever has its final name is complete. All else is in `tmp/`, and an entry of `tmp/` whose lock
//!   can be taken is garbage (`partial-*` only after a day). So a process may die anywhere.
//! - Garbage collection starts from `images/*`, `builds/*`, `containers/*/config.json`, `ephemeral/*/config.json`, and leases that are locked.
//! - An image is written last, after its blobs and layers.
//! - Nothing is deleted in place: it is renamed into `tmp/` under the exclusive lock, and the slow
//!   removal happens after the lock is gone.
//!
//! # Lock order
//!
//! `lock` → directory `images` or `containers/.names` (short, only to change names) → one container's
//! directory → one volume's directory → one blob. A lock further left is never awaited while one further right is held,
//! with one exception: who has a container's lock may wait for `lock`, to take its volumes along, since others only
//! try that of a container. Long
//! work (a download) holds a lease and its blob's lock, and never `lock`.
//!
//! What is not promised: unpacked layers and large blobs are not synced one by one, so after a power
//! cut (not: a killed process) the youngest layers may lack data; blobs are checked when read.

mod additional;
mod atomic;
mod blobs;
mod builds;
mod check;
mod containers;
mod error;
mod gc;
mod hold;
mod images;
mod journal;
mod layers;
mod lock;
mod secrets;
mod share;
mod spare;
mod volumes;

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

pub use additional::Additional;
pub use blobs::{BlobIngest, Blobs, IngestReader, Keep, PULSE};
pub use builds::Builds;
pub use check::{Named, ReadContainer, ReadImage};
pub use containers::{ContainerDir, ContainerEntry, Containers, IMAGE_ANNOTATION, OWNERS};
pub use error::Error;
pub use gc::{Collected, Lease};
pub use hold::Hold;
pub use images::{ImageLayer, ImageRecord, ImageSummary, Images, Member};
pub use journal::{Journal, Reader as JournalReader};
pub use layers::{LayerDraft, LayerInfo, Layers, Packed};
pub use lock::Guard;
pub use secrets::{Hidden, Secret, Secrets};
pub use share::Share;
pub use volumes::{
    MOUNTS_ANNOTATION, MountKind, Mounted, VolumeDir, VolumeEntry, VolumeRecord, Volumes,
    is_volume_name, volumes_of,
};

use crate::oci::Digest;
use crate::owners;
use error::io as failed;
use lock::StoreLock;

/// The version of the format above.
const VERSION: u64 = 1;

const META: &str = "meta.json";
const LOCK: &str = "lock";
const WANTED: &str = "lock.wanted";
const DIRS: [&str; 17] = [
    "tmp",
    "blobs",
    "blobs/sha256",
    "blobs/sha512",
    "layers",
    "images",
    "builds",
    "containers",
    "containers/.names",
    "ephemeral",
    "volumes",
    "mountpoint",
    "skeleton",
    "skeleton/dev",
    "skeleton/etc",
    "skeleton/proc",
    "skeleton/sys",
];

/// Files that `run` mounts over.
const SKELETON_FILES: [&str; 3] = ["hosts", "hostname", "resolv.conf"];

#[derive(Serialize, Deserialize)]
struct Meta {
    version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    share: Option<Share>,
}

/// An open store. Cheap to make (three system calls), and holds no lock by itself.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    timeout: Duration,
    share: Option<Share>,
    additional: Vec<Additional>,
}

impl Store {
    /// Open the store at `root`, and make it there if the directory is empty or missing.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let root = std::path::absolute(root).map_err(failed("resolve", root))?;
        let mut store = Self {
            timeout: lock::timeout()?,
            root,
            share: None,
            additional: Vec::new(),
        };
        match store.meta()? {
            Some(meta) => store.share = meta.share,
            None => store.create()?,
        }
        Ok(store)
    }

    /// The same store, with others to look for images in that it has not, in this order.
    pub fn with_additional(mut self, additional: Vec<Additional>) -> Self {
        self.additional = additional;
        self
    }

    /// Other stores to read from.
    pub fn additional(&self) -> &[Additional] {
        &self.additional
    }

    /// Absolute path of the store's root.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Hold off deletions: for looking something up and using it, and for adding. Keep it short.
    pub fn shared(&self) -> Result<Guard, Error> {
        self.lock().shared()
    }

    /// Be alone: for deleting. Keep it short.
    pub fn exclusive(&self) -> Result<Guard, Error> {
        self.lock().exclusive()
    }

    /// The same if it can be had at once.
    fn try_exclusive(&self) -> Result<Option<Guard>, Error> {
        self.lock().try_exclusive()
    }

    fn lock(&self) -> StoreLock {
        StoreLock {
            path: self.path(LOCK),
            wanted: self.path(WANTED),
            timeout: self.timeout,
        }
    }

    /// The empty directory over which a container mounts its root, in its own mount namespace.
    pub fn mountpoint(&self) -> PathBuf {
        self.path("mountpoint")
    }

    /// The lowest layer of every container: `/dev`, `/proc`, `/sys` and the files of `/etc` that are
    /// mounted over, for images that lack them. Docker has the same in its init layer.
    pub fn skeleton(&self) -> PathBuf {
        self.path("skeleton")
    }

    /// The images by name and id.
    pub fn images(&self) -> Images<'_> {
        Images { store: self }
    }

    /// What builds have made so far.
    pub fn builds(&self) -> Builds<'_> {
        Builds { store: self }
    }

    /// The blobs by digest.
    pub fn blobs(&self) -> Blobs<'_> {
        Blobs { store: self }
    }

    /// The unpacked layers by diff_id.
    pub fn layers(&self) -> Layers<'_> {
        Layers { store: self }
    }

    /// What happened to all of them.
    pub fn journal(&self) -> Journal<'_> {
        Journal { store: self }
    }

    /// The containers by id and name.
    pub fn containers(&self) -> Containers<'_> {
        Containers { store: self }
    }

    /// The secrets by name.
    pub fn secrets(&self) -> Secrets<'_> {
        Secrets { store: self }
    }

    /// The volumes by name.
    pub fn volumes(&self) -> Volumes<'_> {
        Volumes { store: self }
    }

    /// Directory of the unpacked layer, whether or not it is there.
    pub fn layer_path(&self, diff_id: &Digest) -> PathBuf {
        self.layers().path(diff_id).join("diff")
    }

    /// The tree of a layer ([`Store::layer_path`]) with the sidecar beside it.
    pub fn layer_owners(&self, tree: &Path) -> owners::Layer {
        owners::Layer {
            tree: tree.to_owned(),
            sidecar: tree.with_file_name("owners"),
        }
    }

    /// Is the layer unpacked and complete?
    pub fn has_layer(&self, diff_id: &Digest) -> bool {
        self.layers().has(diff_id)
    }

    /// An unnamed file in the store's file system, for data that has to be read more than once. It is
    /// gone when it is closed.
    pub fn spool(&self) -> Result<File, Error> {
        atomic::DraftFile::new(&self.tmp(), "spool")?.into_unnamed()
    }

    /// The error for a write to a [`Store::spool`] that failed.
    pub fn spool_failed(&self, e: io::Error) -> Error {
        failed("write a temporary file in", &self.tmp())(e)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn tmp(&self) -> PathBuf {
        self.path("tmp")
    }

    /// What `meta.json` says, if there is one and it is of our version.
    fn meta(&self) -> Result<Option<Meta>, Error> {
        let path = self.path(META);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(e) => {
                return match Errno::from_io_error(&e) {
                    Some(Errno::NOENT) => Ok(None),
                    _ => Err(failed("open", &path)(e)),
                };
            }
        };
        // On the way of every `run`: one read, where fs::read would make four calls.
        let mut buffer = [0u8; 256];
        let n = file.read(&mut buffer).map_err(failed("read", &path))?;
        let meta: Meta =
            serde_json::from_slice(&buffer[..n]).map_err(|source| Error::Meta { path, source })?;
        if meta.version != VERSION {
            return Err(Error::Version {
                path: self.root.clone(),
                found: meta.version,
            });
        }
        Ok(Some(meta))
    }

    /// Any number of processes may do this at once; `meta.json` comes last and says it is complete.
    fn create(&self) -> Result<(), Error> {
        std::os::unix::fs::DirBuilderExt::mode(std::fs::DirBuilder::new().recursive(true), 0o700)
            .create(&self.root)
            .map_err(failed("create the directory", &self.root))?;
        for name in atomic::names(&self.root)? {
            if ![META, LOCK, WANTED].contains(&name.as_str()) && !DIRS.contains(&name.as_str()) {
                return Err(Error::NotAStore {
                    path: self.root.clone(),
                    stranger: name,
                });
            }
        }
        for dir in DIRS {
            atomic::make_dir(&self.path(dir))?;
        }
        self.create_skeleton()?;
        let meta = Meta {
            version: VERSION,
            share: None,
        };
        atomic::write_json(self, &self.path(META), &meta)
    }
}

impl Store {
    /// With the modes that an image would give them, whatever the umask: containers see them.
    fn create_skeleton(&self) -> Result<(), Error> {
        let set = |path: &Path, mode| {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            std::fs::set_permissions(path, mode).map_err(failed("change the mode of", path))
        };
        for name in SKELETON_FILES {
            let path = self.path("skeleton/etc").join(name);
            File::create(&path).map_err(failed("create", &path))?;
            set(&path, 0o644)?;
        }
        for dir in DIRS.iter().filter(|d| d.starts_with("skeleton")) {
            set(&self.path(dir), 0o755)?;
        }
        Ok(())
    }
}

/// Remove a tree that a stranger made, and that may shut out its owner.
fn remove_tree(path: &Path) -> Result<(), Error> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(());
    };
    let parent = atomic::open_dir(parent)?;
    crate::layer::remove_tree(parent.as_fd(), name).map_err(|source| Error::RemoveTree {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;
