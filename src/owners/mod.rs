//! Owners, device numbers and xattrs that the file system cannot hold for an ordinary user: the formats
//! in which they rest, and who wins where layers are stacked. No policy, no namespace, no tar.
//!
//! Written by `layer` (unpacking) and by whoever emulates identities in a container; read by the same
//! and by all that shows or exports owners.
//!
//! # On the inode
//!
//! A file or directory whose owner is not 0:0, and the empty file that stands for a device, carries the
//! xattr [`XATTR`] in the format of containers/storage and fuse-overlayfs: `UID:GID:MODE:TYPE`, ids
//! decimal, mode octal with at least four digits, type `file`, `dir`, `char-MAJOR-MINOR`,
//! `block-MAJOR-MINOR` (here also `symlink`, `pipe`, `socket`, in sidecars only). No such xattr means
//! 0:0. **The mode in it informs only**: permission bits are those of the inode, since a later chmod(2)
//! does not touch the xattr.
//!
//! # In a sidecar
//!
//! What cannot be on the inode: owners of symlinks, fifos and sockets (which take no user xattrs),
//! owners on a file system without user xattrs, every xattr outside `user.*`, and those inside it that
//! mean something to overlay or to us. A layer has a sealed sidecar beside its tree, a container a
//! journal beside its upper directory; both are described in [`sidecar`].
//!
//! # Which record counts
//!
//! [`View`] answers that for a running container: see there for the rules of overlay.

pub mod acl;
mod give;
mod record;
pub mod sidecar;
mod view;

use std::io;
use std::path::{Path, PathBuf};

pub use give::{give, take_back};
pub use record::{FileType, Node, Owner, Record};
pub use sidecar::{Journal, Owners, Writer};
pub use view::{Layer, View};

/// The extended attribute that holds the capabilities of a program. Writing to a file takes it away.
pub const CAPABILITY: &str = "security.capability";

/// The extended attribute that holds an owner.
pub const XATTR: &str = "user.containers.override_stat";

/// Why a sidecar could not be used. The path is absolute, or as it was given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It could not be written or read.
    #[error("cannot use the owner file {path:?}")]
    Sidecar {
        /// The sidecar.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Its content is damaged, incomplete, or of another version.
    #[error("the owner file {path:?} is not valid: line {line}: {what}")]
    Format {
        /// The sidecar.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A file of a layer could not be looked at.
    #[error("cannot look up {path:?} in {tree:?}")]
    Lookup {
        /// Path in the layer.
        path: PathBuf,
        /// The layer's tree.
        tree: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl Error {
    fn sidecar(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Sidecar {
            path: path.to_owned(),
            source,
        }
    }
}
