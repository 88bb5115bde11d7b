//! Files as they are, to a tar and back: no records beside them, no whiteouts, and whatever owners the kernel (or who
//! answers in its place) shows and takes. For copies between a container and the outside, by a process that is in the
//! container, and by one that is outside.
//!
//! Both ends are hostile to each other: the tree that is read may change meanwhile, the tar that is written may be
//! anybody's, and so may be what is in the directory that it is written to.
//!
//! # Invariants
//!
//! - Below the directory that a copy begins in, no symbolic link is followed (openat2(2), `RESOLVE_NO_SYMLINKS`), neither
//!   in reading nor in writing, and nothing above it is reached (`RESOLVE_BENEATH`).
//! - What is read is opened by one name and looked at again: only a regular file is ever read.
//! - What is written is a new file (`O_EXCL`); what was there is unlinked, and never written to. A file that cannot be
//!   unlinked because something is mounted there is written in place, if it is a regular one.
//! - Where the tree that comes has a name of the caller's choice, all of it comes under that name.
//! - A directory gets its mode and time when everything below it is there.

mod read;
#[cfg(test)]
mod tests;
mod write;

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

pub use read::{Reading, ShownOwners, Source, read};
pub use write::{Naming, Owners, Writing, write};

use super::name::path_buf;

/// Bytes of the first header.
const BLOCK: u64 = super::stream::BLOCK as u64;

/// Why files could not be copied. Paths are relative to where the copy begins; they come from strangers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call on one of them failed.
    #[error("cannot {verb} {path:?}")]
    Sys {
        /// What was to be done.
        verb: &'static str,
        /// To what.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: Errno,
    },
    /// A directory is in the way.
    #[error("cannot replace the directory {0:?} by a file")]
    IsDirectory(PathBuf),
    /// Something else is, where a directory should be.
    #[error("cannot replace {0:?} by a directory")]
    NotADirectory(PathBuf),
    /// A directory that is to be replaced.
    #[error("cannot remove what is to be replaced")]
    Remove(#[source] super::Error),
    /// The tar cannot be written: nobody reads it, or what reads it failed.
    #[error("cannot write the tar")]
    Output(#[source] io::Error),
    /// No tar at all.
    #[error("this is no tar archive")]
    NoTar,
    /// It ends inside an entry.
    #[error("the tar archive is cut off after {0} bytes")]
    Truncated(u64),
    /// It cannot be read.
    #[error("cannot read the tar archive")]
    Tar(#[source] super::Error),
}

impl Error {
    fn sys(verb: &'static str, path: &[u8]) -> impl FnOnce(Errno) -> Self {
        move |source| Self::Sys {
            verb,
            path: path_buf(path),
            source,
        }
    }

    /// What the user can do about it, if we know.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::IsDirectory(_) | Self::NotADirectory(_) => {
                Some("--overwrite replaces directories by files and files by directories")
            }
            Self::Sys { source, .. } if *source == Errno::ROFS => {
                Some("it is on a file system that is mounted read-only")
            }
            _ => None,
        }
    }
}

impl From<super::Error> for Error {
    fn from(e: super::Error) -> Self {
        match e {
            // The first header says whether it is one.
            super::Error::Checksum(0) | super::Error::Truncated(..BLOCK) => Self::NoTar,
            super::Error::Truncated(n) => Self::Truncated(n),
            e => Self::Tar(e),
        }
    }
}

/// Whether an extended attribute is one that goes along: the user's own, and what a program may do. Those that mean
/// something to overlay, or to us, do not.
fn goes_along(name: &[u8]) -> bool {
    let reserved: [&[u8]; 2] = [b"user.overlay.", b"user.containers."];
    let own = name.starts_with(b"user.") && !reserved.iter().any(|r| name.starts_with(r));
    own || name == crate::owners::CAPABILITY.as_bytes()
}
