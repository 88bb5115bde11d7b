//! What can go wrong between a blob and a directory tree.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

use super::name::path_buf;
use crate::owners;

/// Why a layer could not be unpacked, read back or removed. Paths are relative to the layer's root
/// unless said otherwise; they come from strangers, so they are shown escaped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The blob's reader failed: network, file, or a digest that does not match.
    #[error("cannot read the layer blob")]
    Read(#[source] io::Error),
    /// The table of contents of a zstd:chunked blob, or what it leads to.
    #[error(transparent)]
    Chunked(#[from] super::chunked::Error),
    /// The compressed stream is damaged or cut off.
    #[error("the layer's {format} stream is damaged")]
    Inflate {
        /// `gzip` or `zstd`.
        format: &'static str,
        /// What the decoder said.
        #[source]
        source: io::Error,
    },
    /// The blob begins like a compressed file that no image specification allows.
    #[error("the layer is compressed with {0}: want gzip, zstd or a plain tar")]
    Compression(&'static str),
    /// The tar ends inside an entry.
    #[error("the layer's tar is cut off after {0} bytes")]
    Truncated(u64),
    /// A header block whose checksum does not match, or no tar at all.
    #[error("the layer is not a valid tar: bad header checksum at byte {0}")]
    Checksum(u64),
    /// A single zero block that is followed by more headers.
    #[error("the layer is not a valid tar: stray zero block before byte {0}")]
    StrayZeroBlock(u64),
    /// A number that cannot be read, is negative, or does not fit.
    #[error("{path:?}: tar field {field} is not a valid number")]
    Number {
        /// The entry, as far as its name is known.
        path: PathBuf,
        /// Field of the tar or PAX header.
        field: &'static str,
    },
    /// A PAX header that breaks the format.
    #[error("malformed PAX header at byte {offset}: {what}")]
    Pax {
        /// Where the header ends in the tar.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A sparse map that breaks the format or contradicts the sizes.
    #[error("{path:?}: malformed sparse file: {what}")]
    Sparse {
        /// The entry.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// A type flag that we do not know.
    #[error("{path:?}: tar entries of type {:?} are not supported", char::from(*flag))]
    UnknownType {
        /// The entry.
        path: PathBuf,
        /// The type flag.
        flag: u8,
    },
    /// A name with a `..` component.
    #[error("{path:?} leads out of the layer")]
    EscapesRoot {
        /// The name as it stands in the tar.
        path: PathBuf,
    },
    /// A name or link target that cannot be used.
    #[error("{path:?}: {what}")]
    Name {
        /// The name as it stands in the tar.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// A whiteout of `.`, `..` or nothing, or a whiteout used as a directory.
    #[error("{path:?} is not a valid whiteout")]
    Whiteout {
        /// The name as it stands in the tar.
        path: PathBuf,
    },
    /// A hard link to something that this layer does not have.
    #[error("{path:?} is a hard link to {target:?}, which is not in this layer")]
    HardLink {
        /// The link.
        path: PathBuf,
        /// Where it points.
        target: PathBuf,
    },
    /// Something that is no directory stands where one is needed.
    #[error("{path:?} is needed as a directory but is none")]
    NotADirectory {
        /// The obstacle.
        path: PathBuf,
    },
    /// More than 40 symlinks on the way to an entry.
    #[error("{path:?}: too many symbolic links")]
    Loop {
        /// The directory that was looked for.
        path: PathBuf,
    },
    /// [`Limits::max_entries`](super::Limits::max_entries).
    #[error("the layer has more than {0} tar entries")]
    TooManyEntries(u64),
    /// [`Limits::max_bytes`](super::Limits::max_bytes).
    #[error("the layer unpacks to more than {0} bytes")]
    TooLarge(u64),
    /// [`Limits::max_path`](super::Limits::max_path).
    #[error("the layer has a path of more than {0} bytes")]
    PathTooLong(usize),
    /// [`Limits::max_pax`](super::Limits::max_pax).
    #[error("the layer has a header of more than {0} bytes")]
    HeaderTooLarge(usize),
    /// A system call on something in the tree failed.
    #[error("{call} {path:?} failed")]
    Sys {
        /// The system call.
        call: &'static str,
        /// What it was called on.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: Errno,
    },
    /// The sidecar could not be written or read.
    #[error(transparent)]
    Owners(#[from] owners::Error),
    /// What the tar has beside its files could not be recorded. The path is absolute.
    #[error("cannot write {}", path.display())]
    Recipe {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Some of a tree could not be removed; everything else was.
    #[error("{total} entries could not be removed, the first is {path:?}")]
    Remove {
        /// How many.
        total: u64,
        /// The first of them.
        path: PathBuf,
        /// Why the first could not be removed.
        #[source]
        source: Errno,
    },
    /// The thread that inflates could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

impl Error {
    /// Wrap a failed system call.
    pub(super) fn sys(call: &'static str, path: &[u8]) -> impl FnOnce(Errno) -> Self {
        move |source| Self::Sys {
            call,
            path: path_buf(path),
            source,
        }
    }

    /// The kernel's error number, if that is what failed.
    fn errno(&self) -> Option<Errno> {
        match self {
            Self::Sys { source, .. } | Self::Remove { source, .. } => Some(*source),
            Self::Owners(
                owners::Error::Sidecar { source, .. } | owners::Error::Lookup { source, .. },
            ) => Errno::from_io_error(source),
            Self::Recipe { source, .. } => Errno::from_io_error(source),
            _ => None,
        }
    }

    /// What the user can do about it, if we know.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::TooManyEntries(_)
            | Self::TooLarge(_)
            | Self::PathTooLong(_)
            | Self::HeaderTooLarge(_) => {
                "this may be an attack; if you trust the image, raise the limit"
            }
            Self::Inflate { .. }
            | Self::Truncated(_)
            | Self::Owners(owners::Error::Format { .. }) => "pull the image again",
            _ => match self.errno()? {
                Errno::NOSPC => {
                    "the file system is full: free some space, for instance by removing images"
                }
                Errno::DQUOT => {
                    "your disk quota is used up: free some space, for instance by removing images"
                }
                Errno::NAMETOOLONG => {
                    "the file system of the store does not take names as long as the image has"
                }
                Errno::ROFS => "the store is on a read-only file system",
                _ => return None,
            },
        };
        Some(text.to_owned())
    }
}
