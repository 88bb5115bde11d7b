//! Directories to tar streams: a layer from what a container wrote, or from an unpacked layer; a whole
//! root file system from a stack.
//!
//! The tar is what a real root build would have written. [`owners`](crate::owners) says where the truth is
//! that the inodes cannot tell.
//!
//! | on disk | in the tar |
//! |---|---|
//! | owner record on the inode or in the sidecar | uid, gid; device type and numbers |
//! | mode bits of the inode, size, link target | the same |
//! | mtime | whole seconds, rounded down, as docker, buildah and containerd do; clamped if asked |
//! | several names of one inode | the first is the file, the others are hard links to it |
//! | `security.capability` with our root (version 3) | the same for everybody's root (version 2) |
//! | `system.posix_acl_*`, `user.*` but overlay's and ours | the same, ids as the container sees them |
//! | xattrs of the sidecar | the same, ACLs with the mode bits of the inode |
//! | whiteouts in any form that [`super`] lists | `.wh.NAME`, empty, of 1970, before the other entries |
//! | `user.overlay.opaque` | `.wh..wh..opq`, empty, first in the directory |
//! | holes of a mebibyte or more in total | a sparse file (GNU 1.0, which Go, GNU tar and libarchive read) |
//! | sockets | nothing, and a note |
//!
//! Owner and group of the inode count for nothing: there is one id. A container that makes a file called
//! `.wh.NAME` has made a whiteout, as with docker: the format has no other meaning for that name.
//!
//! # Order
//!
//! A directory comes before what is in it; its files come in the order of their bytes, then its
//! directories, in that order as well. So the same tree gives the same bytes, and the compressed blob
//! too, which has neither name nor time.
//!
//! # How it is done
//!
//! Files may shut out their owner (mode 000), which only root of a user namespace overcomes: a forked
//! child enters one, walks, and writes the tar to a pipe; the caller hashes and compresses. So two
//! processors are busy, and memory is bounded by the largest directory. Where there are no user namespaces
//! the caller walks by itself, and such a file is an error.
//!
//! A container may run meanwhile. Its tree is hostile: each name is opened by itself, without following
//! links. A file that shrinks is filled up with zeros, one that vanishes is left out; both are noted.

pub(super) mod archive;
mod attrs;
mod changes;
mod child;
mod compose;
pub(super) mod content;
mod files;
mod tree;
mod walk;

use std::io::{self, Write};
use std::path::PathBuf;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

pub use super::compress::Compression;
pub use changes::{Change, Written};
pub use compose::{Accepts, Component, Composition, Piece, compose};
pub use files::Files;
pub use tree::Tree;

use tree::Opened;
use walk::Wanted;

use super::compress::{Sink, Sums};
use super::name::path_buf;
use crate::oci::Digest;
use crate::sys::fork::Failed;

/// What to pack.
#[derive(Clone, Debug)]
pub enum What {
    /// One tree as a layer, with its whiteouts.
    Layer {
        /// The tree.
        tree: Tree,
        /// For what a container wrote: the tree below it. The root directory is an entry only if it
        /// differs from that one's, since it is there whether or not the container touched it.
        below: Option<Tree>,
    },
    /// What shows of a stack, the topmost tree first.
    Whole(Vec<Tree>),
    /// The changes of a tree that began as a copy of a stack, as a layer.
    Changes {
        /// The tree.
        tree: Tree,
        /// The stack, the topmost tree first.
        below: Vec<Tree>,
    },
}

/// How to pack.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Compression of the blob.
    pub compression: Compression,
    /// The latest mtime, in seconds since 1970: later ones become this one (`SOURCE_DATE_EPOCH`).
    pub clamp: Option<i64>,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// Digest of the tar.
    pub diff_id: Digest,
    /// Bytes of the tar.
    pub tar_bytes: u64,
    /// Digest of what was written.
    pub blob: Digest,
    /// Bytes written.
    pub blob_size: u64,
    /// As of [`Sums`](super::Sums).
    pub annotations: Option<super::chunked::Annotations>,
    /// Entries of the tar.
    pub entries: u64,
    /// What the tar does not say.
    pub notes: Notes,
}

impl Packed {
    fn of(sums: Sums, done: walk::Done) -> Self {
        Self {
            diff_id: sums.diff_id,
            tar_bytes: sums.tar_bytes,
            blob: sums.blob,
            blob_size: sums.blob_size,
            annotations: sums.annotations,
            entries: done.entries,
            notes: done.notes,
        }
    }
}

/// What could not be packed as it was. No errors: the rest is right.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notes {
    /// The first of them, with their paths.
    pub first: Vec<(Vec<u8>, Note)>,
    /// How many there are.
    pub total: u64,
}

/// Why something is not in the tar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Note {
    /// A socket, which no tar can hold.
    Socket,
    /// It was there, and then it was not.
    Vanished,
    /// It became shorter while it was read.
    Shrank,
    /// An xattr whose name the format cannot hold.
    XattrName,
    /// An xattr that cannot be set where it goes.
    Xattr,
    /// A device, for which there is no room.
    Device,
    /// It may not be read.
    Unreadable,
}

impl Note {
    /// In words that follow the path.
    pub fn text(self) -> &'static str {
        match self {
            Self::Socket => "is a socket, which no tar can hold: it is left out",
            Self::Vanished => "was removed meanwhile: it is left out",
            Self::Shrank => "became shorter while it was read: it is filled up with zeros",
            Self::XattrName => {
                "has an extended attribute whose name contains an equals sign: it is left out"
            }
            Self::Xattr => {
                "has an extended attribute that cannot be set where it goes: it is left out"
            }
            Self::Device => "is a device, which only root can make: it is left out",
            Self::Unreadable => "may not be read: it is left out",
        }
    }
}

/// Most notes that are kept with their paths.
const NOTES_MAX: usize = 20;

impl Notes {
    pub(super) fn add(&mut self, path: &[u8], note: Note) {
        self.total += 1;
        if self.first.len() < NOTES_MAX {
            self.first.push((path.to_vec(), note));
        }
    }
}

/// Why a tree could not be packed. Paths are relative to its root.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call on something in the tree failed.
    #[error("{call} {path:?} failed")]
    Sys {
        /// The system call.
        call: String,
        /// What it was called on.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: Errno,
    },
    /// Something that no layer can say.
    #[error("{path:?} cannot be packed: {why}")]
    Refused {
        /// Which.
        path: PathBuf,
        /// Why.
        why: Refusal,
    },
    /// A sidecar.
    #[error(transparent)]
    Owners(#[from] crate::owners::Error),
    /// The tar could not be written.
    #[error("cannot write the tar")]
    Output(#[source] io::Error),
    /// The child that walks did not end as it should.
    #[error("cannot read the tree: the process that does it: {0}")]
    Child(#[from] Failed),
}

/// Why a file cannot be packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// `user.overlay.redirect`, `user.overlay.metacopy`: half of the file is elsewhere.
    #[error("overlay keeps a part of it in another layer (redirect_dir or metacopy)")]
    Elsewhere,
    /// A uid that the namespace does not map.
    #[error("it belongs to another user of this machine")]
    Foreign,
    /// An owner record that nobody of ours wrote.
    #[error("its owner record is malformed")]
    Record,
    /// More than a PAX header can hold.
    #[error("its extended attributes have more than a mebibyte")]
    TooManyXattrs,
    /// More than PATH_MAX.
    #[error("its path is too long")]
    PathTooLong,
    /// A source of `COPY`.
    #[error("there is no such file to copy, or it is ignored")]
    NoSource,
    /// A file would stand where a directory is.
    #[error("it is a directory, and no file can take its place")]
    OverDirectory,
    /// A directory would stand where a file is.
    #[error("it is a file, and no directory can take its place")]
    OverFile,
    /// More than 40 on the way.
    #[error("too many symbolic links")]
    Loop,
    /// Of the caller's own files.
    #[error("it is a device")]
    Device,
    /// A tar that is none.
    #[error("it is not a tar that can be read")]
    Tar,
    /// In a tar.
    #[error("an entry of it has a name that leads out of the directory")]
    Escapes,
    /// In a tar.
    #[error("it has a sparse file of a kind that ADD does not read")]
    Sparse,
    /// Of a tar.
    #[error(
        "it is compressed with bzip2 or xz, which ADD does not read: use gzip or zstd, or unpack it in a RUN"
    )]
    Compression,
}

impl Error {
    fn sys(call: &'static str, path: &[u8]) -> impl FnOnce(Errno) -> Self {
        move |source| Self::Sys {
            call: call.to_owned(),
            path: path_buf(path),
            source,
        }
    }

    fn refused(path: &[u8], why: Refusal) -> Self {
        Self::Refused {
            path: path_buf(path),
            why,
        }
    }

    /// What the user can do about it, if we know.
    pub fn hint(&self) -> Option<String> {
        let errno = match self {
            Self::Sys { source, .. } => *source,
            Self::Output(e) => Errno::from_io_error(e)?,
            _ => return None,
        };
        let text = match errno {
            Errno::NOSPC | Errno::DQUOT => "free some space, for instance by removing images",
            Errno::ACCESS => {
                "a file that shuts out its owner can only be read where user namespaces are allowed: see `coracle doctor`"
            }
            _ => return None,
        };
        Some(text.to_owned())
    }
}

/// Write a tar of `what` to `out`.
///
/// A child is forked; see [`sys::fork`](crate::sys::fork) for callers of several threads.
pub fn pack(what: &What, out: impl Write, options: &Options) -> Result<Packed, Error> {
    // Here, where a failure needs no way back from a child.
    let (trees, wanted) = match what {
        What::Layer { tree, below } => {
            let below = below.as_ref().map(Tree::open).transpose()?;
            (vec![tree.open()?], Wanted::Layer { below })
        }
        What::Whole(trees) => (open(trees)?, Wanted::Whole),
        What::Changes { tree, below } => {
            (open(std::iter::once(tree).chain(below))?, Wanted::Changes)
        }
    };
    let mut sink = Sink::new(out, options.compression).map_err(Error::Output)?;
    let done = child::walk_as_root(&trees, &wanted, options, &mut sink)?;
    let sums = sink.finish().map_err(Error::Output)?;
    Ok(Packed::of(sums, done))
}

/// What `tree` changes of the stack `below` it (the topmost tree first): paths in the order of their
/// bytes. A directory in which something changed is one of them.
///
/// The caller has one thread: a child is forked.
pub fn changes(
    tree: &Tree,
    below: &[Tree],
    written: Written,
) -> Result<Vec<(Vec<u8>, Change)>, Error> {
    let trees = open(std::iter::once(tree).chain(below))?;
    let mut list = Vec::new();
    let wanted = Wanted::List(written);
    child::walk_as_root(&trees, &wanted, &Options::default(), &mut list)?;
    let mut changes = Vec::new();
    for line in list.split(|b| *b == 0) {
        let change = match line.first() {
            Some(b'A') => Change::Added,
            Some(b'D') => Change::Deleted,
            Some(_) => Change::Changed,
            None => continue,
        };
        changes.push((line[1..].to_vec(), change));
    }
    changes.sort();
    Ok(changes)
}

fn open<'t>(trees: impl IntoIterator<Item = &'t Tree>) -> Result<Vec<Opened>, Error> {
    trees.into_iter().map(Tree::open).collect()
}
