//! Unpacked layers, named by diff_id (the digest of the plain tar). A layer is written in a draft and
//! appears by one rename, complete; afterwards it never changes, since any number of containers may
//! have it as an overlay's lower directory.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use serde::{Deserialize, Serialize};

use super::atomic::{self, DraftDir};
use super::error::io;
use super::{Error, Store};
use crate::oci::Digest;
use crate::owners;

const DIFF: &str = "diff";
const OWNERS: &str = "owners";
const INFO: &str = "info.json";
const TAR: &str = "tar";
const REPLACED: &str = "replaced";

/// View of the store's layers.
#[derive(Debug, Clone, Copy)]
pub struct Layers<'a> {
    pub(super) store: &'a Store,
}

/// What is worth knowing about a layer without walking it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerInfo {
    /// Its diff_id.
    pub diff_id: Digest,
    /// Bytes of all regular files.
    pub size: u64,
    /// Entries in the tar.
    pub entries: u64,
    /// Bytes of the plain tar.
    pub tar_bytes: u64,
    /// The blob that it was unpacked from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packed: Option<Packed>,
}

/// A layer's blob, as far as it helps to make the same one again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packed {
    /// Its digest.
    pub blob: Digest,
    /// Its first bytes in hex: they tell what compressed it.
    pub head: String,
    /// `registry/repository` that it was pulled from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

impl Layers<'_> {
    /// The layer's directory, which holds `diff/`, the owners and the info.
    pub(super) fn path(&self, diff_id: &Digest) -> PathBuf {
        self.store.path("layers").join(diff_id.hex())
    }

    /// Is it there? What is there is complete.
    pub fn has(&self, diff_id: &Digest) -> bool {
        rustix::fs::stat(self.path(diff_id)).is_ok()
    }

    /// The sidecar that `layer` wrote: owners and all that the tree cannot hold.
    pub fn owners(&self, diff_id: &Digest) -> PathBuf {
        self.path(diff_id).join(OWNERS)
    }

    /// What its tar has beside its files, in the form that `layer` gives it, and the directory of what the tar
    /// itself replaced; `None` for a layer that has none, being older or of our own making.
    pub fn recipe(&self, diff_id: &Digest) -> Option<(PathBuf, PathBuf)> {
        let path = self.path(diff_id);
        let file = path.join(TAR);
        (rustix::fs::stat(&file).is_ok()).then(|| (file, path.join(REPLACED)))
    }

    /// Sizes of a layer; `None` when it is not there.
    pub fn info(&self, diff_id: &Digest) -> Result<Option<LayerInfo>, Error> {
        atomic::read_json(&self.path(diff_id).join(INFO))
    }

    /// All of them: directory, and the digest's hexadecimal digits as its name has them.
    pub(super) fn entries(&self) -> Result<Vec<(PathBuf, String)>, Error> {
        let dir = self.store.path("layers");
        let names = atomic::names(&dir)?;
        Ok(names.into_iter().map(|n| (dir.join(&n), n)).collect())
    }

    /// Start to unpack a layer. Two drafts of the same layer do not disturb each other.
    pub fn begin(&self, diff_id: &Digest) -> Result<LayerDraft, Error> {
        let draft = DraftDir::new(&self.store.tmp(), "layer")?;
        // The mode of a container's `/` when the layer does not say; the 0700 above it guards it.
        let mode = Mode::from_raw_mode(0o755);
        rustix::fs::mkdirat(draft.fd(), DIFF, mode)
            .map_err(io("create the directory", draft.path()))?;
        let diff = rustix::fs::openat(draft.fd(), DIFF, atomic::DIR_FLAGS, Mode::empty())
            .map_err(io("open", draft.path()))?;
        // mkdir obeys the umask, the image must not.
        rustix::fs::fchmod(&diff, mode).map_err(io("set the mode of", draft.path()))?;
        Ok(LayerDraft {
            target: self.path(diff_id),
            diff_id: diff_id.clone(),
            diff,
            draft,
        })
    }
}

/// A layer that is being unpacked; dropped unpublished, it is removed.
#[derive(Debug)]
pub struct LayerDraft {
    diff_id: Digest,
    target: PathBuf,
    diff: OwnedFd,
    draft: DraftDir,
}

impl LayerDraft {
    /// The empty directory to unpack into.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.diff.as_fd()
    }

    /// Where the sidecar belongs.
    pub fn sidecar(&self) -> PathBuf {
        self.draft.path().join(OWNERS)
    }

    /// The tree and its sidecar, as they are so far.
    pub fn layer(&self) -> owners::Layer {
        owners::Layer {
            tree: self.draft.path().join(DIFF),
            sidecar: self.sidecar(),
        }
    }

    /// Where the recipe of its tar belongs, and what the tar itself replaces: [`Layers::recipe`].
    pub fn recipe(&self) -> (PathBuf, PathBuf) {
        let path = self.draft.path();
        (path.join(TAR), path.join(REPLACED))
    }

    /// Make it visible, if it is what it was meant to be: `info.diff_id` is what unpacking computed.
    /// A layer that somebody else published meanwhile is as good.
    pub fn publish(self, info: &LayerInfo) -> Result<(), Error> {
        if info.diff_id != self.diff_id {
            return Err(Error::WrongDigest {
                digest: self.diff_id,
                actual: info.diff_id.clone(),
            });
        }
        let mut bytes = serde_json::to_vec(info).map_err(|source| Error::Record {
            path: self.target.clone(),
            source,
        })?;
        bytes.push(b'\n');
        let path = self.draft.path().join(INFO);
        std::fs::write(&path, &bytes).map_err(io("write", &path))?;
        self.draft.publish(&self.target)?;
        Ok(())
    }
}

impl Store {
    /// Size as recorded, for a layer that is there.
    pub(super) fn size_at(&self, layer: &Path) -> u64 {
        match atomic::read_json::<LayerInfo>(&layer.join(INFO)) {
            Ok(Some(info)) => info.size,
            _ => 0,
        }
    }
}
