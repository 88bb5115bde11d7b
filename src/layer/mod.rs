//! Tar streams to directories and back: safe unpack, decompression, the same tar again, removal.
//!
//! [`apply`] turns one compressed layer blob into one directory, as an ordinary user and without any
//! namespace, in one pass: a thread reads and inflates into recycled buffers, the caller's thread
//! hashes the tar and makes the files straight from those buffers.
//!
//! # What is on disk afterwards
//!
//! What a kernel overlay with `userxattr` reads as a lower directory (kernel
//! Documentation/filesystems/overlayfs.rst):
//!
//! | in the tar | on disk |
//! |---|---|
//! | `.wh.NAME` | char device 0:0 called NAME; where mknod is refused, an empty file with `user.overlay.whiteout` in a directory with `user.overlay.opaque=x` (kernel 6.7); where there are no user xattrs either, a file `.wh.NAME`, which fuse-overlayfs and our own copy understand |
//! | `.wh..wh..opq` | `user.overlay.opaque=y` on the directory; without user xattrs, a file `.wh..wh..opq` |
//! | other `.wh..wh.*` | nothing (aufs bookkeeping) |
//! | `.wh.NAME` and a directory NAME, in any order | an opaque directory NAME: a whiteout hides what is below the layer, never what is in it (OCI image-spec, layer.md) |
//! | file, directory, symlink, fifo, hard link | the same, with mode, mtime and content |
//! | character or block device | an empty file, with the type and numbers as owner record |
//! | owner other than 0:0 | owner record: see [`owners`](crate::owners) |
//! | `user.*` xattr | the same xattr, except the names that mean something to us or to overlay |
//! | other xattrs, and those reserved names | sidecar, see [`owners`](crate::owners) |
//!
//! # Invariants
//!
//! - Nothing outside `dest` and the sidecar is ever written. Names are split into components; each
//!   directory is opened by one name below an open directory with `O_NOFOLLOW`, so no path of
//!   several components is ever given to the kernel, and the last component is only ever made
//!   (`O_EXCL`), linked or unlinked.
//! - A name with a `..` component is refused. A leading `/` is dropped, as docker and tar(1) do.
//! - A parent that is a symlink of this same layer is followed *inside* `dest`, as docker and
//!   containers/storage do in their chroot: the link is read and its target walked by the rules
//!   above, where `..` stops at the root and at most 40 links are followed. What the target lacks is
//!   made as a plain directory. A hard-link target's parent is resolved in the same way; the target
//!   itself is never followed.
//! - A later entry replaces an earlier one of the same name; a directory over a directory merges.
//! - Memory is bounded by [`Limits`], not by the blob.
//!
//! `dest` itself gets the mode of the layer's root entry, which may be read-only, and a read-only
//! directory cannot be renamed to another parent: publish a layer by renaming the parent of `dest`.
//! Nothing is synced; that is the store's business.
//!
//! [`chunked`] makes a tar of parts of a blob and of files that are here; it goes the same way.
//!
//! Used by `ops` (pull, load) and `store` (removal). Uses `oci` for digests only.

mod attic;
pub mod chunked;
mod compress;
mod dirs;
mod entry;
mod error;
mod header;
mod inflate;
mod metadata;
mod name;
pub mod pack;
mod pax;
pub mod plain;
mod rebuild;
mod recipe;
mod remove;
mod sparse;
mod stream;
mod unpack;
mod whiteout;

use std::io::Read;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use compress::{Compression, Sink, Sums};
pub use error::Error;
pub use rebuild::{Error as RebuildError, rebuild};
pub use recipe::Recipe;
pub use remove::remove_tree;

use crate::oci::Digest;

/// Bounds on what one layer may make us do. All are inclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most tar headers, including those that only describe the next one.
    pub max_entries: u64,
    /// Most bytes of tar after inflation, and most bytes that all files together may claim as their
    /// size (sparse files claim more than they hold).
    pub max_bytes: u64,
    /// Longest path or link target, in bytes.
    pub max_path: usize,
    /// Most bytes of one PAX header, or of the memory for one sparse map.
    pub max_pax: usize,
}

impl Default for Limits {
    /// Five million entries are ten times the largest layers seen. 1 TiB: the public registries
    /// take blobs of at most 200 GiB, and real layers shrink to about a quarter; what inflates to
    /// more is no file tree. A full disk or a quota ends a bomb sooner. 4096 is PATH_MAX. 1 MiB is
    /// also what Go's archive/tar, and so every builder, accepts as a PAX header.
    fn default() -> Self {
        Self {
            max_entries: 5_000_000,
            max_bytes: 1 << 40,
            max_path: 4096,
            max_pax: 1 << 20,
        }
    }
}

/// What [`apply`] found and made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// SHA-256 of the tar, to be compared with the image configuration's `rootfs.diff_ids`.
    pub diff_id: Digest,
    /// Entries of the tar, without headers that only describe the next entry.
    pub entries: u64,
    /// Bytes of file content stored.
    pub size: u64,
    /// Length of the tar in bytes.
    pub tar_bytes: u64,
    /// Whether a recipe was written: the tree and it make the same tar again.
    pub recorded: bool,
}

/// Unpack a layer blob (gzip, zstd or plain tar, told by its first bytes) in `dest`, an open empty
/// directory, and write what the file system cannot hold to a new file `sidecar` ([`owners`](crate::owners)).
///
/// The blob is read to its end, so that a reader that checks a digest sees every byte. An error
/// that the reader itself returns comes back as [`Error::Read`] with the reader's error as source.
/// After an error `dest` holds a part of the layer: remove it with [`remove_tree`].
pub fn apply(
    blob: impl Read + Send,
    dest: BorrowedFd<'_>,
    sidecar: &Path,
    limits: &Limits,
) -> Result<Applied, Error> {
    inflate::pipeline(blob, inflate::BUFFER, limits.max_bytes, |tar| {
        unpack::unpack(tar, dest, sidecar, None, limits)
    })
}

/// Hash a layer blob's plain tar, without looking into it.
///
/// # Errors
/// Those of reading and inflating it.
pub fn diff_id(blob: impl Read + Send, limits: &Limits) -> Result<Digest, Error> {
    inflate::pipeline(blob, inflate::BUFFER, limits.max_bytes, |tar| {
        tar.finish().map(|(digest, _)| digest)
    })
}
/// As [`apply`], and write down in `recipe`, whose file and directory are new, what the tar has beside the content of
/// its files.
pub fn apply_recorded(
    blob: impl Read + Send,
    dest: BorrowedFd<'_>,
    sidecar: &Path,
    recipe: &Recipe,
    limits: &Limits,
) -> Result<Applied, Error> {
    inflate::pipeline(blob, inflate::BUFFER, limits.max_bytes, |tar| {
        unpack::unpack(tar, dest, sidecar, Some(recipe), limits)
    })
}

/// Held from the making of a pipe until the fork after it: a child that another thread forks in between would
/// hold the pipe open.
fn fork_alone() -> MutexGuard<'static, ()> {
    static FORK: Mutex<()> = Mutex::new(());
    FORK.lock().unwrap_or_else(PoisonError::into_inner)
}
