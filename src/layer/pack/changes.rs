//! What a container changed: its tree beside what is below it, directory by directory.
//!
//! Where the root is an overlay, what the container has in its own tree is changed, and what is gone is
//! hidden there. Where it is a copy of the image, each file is compared, as docker does where it has no
//! overlay: type, mode, size, mtime to the nanosecond, link target, owner and xattrs. Content is not
//! read: a file that was written to has another mtime, unless somebody took the trouble to hide it.

use std::collections::BTreeSet;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, openat, readlinkat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::attrs::Reader;
use super::tree::Opened;
use super::{Error, Notes};
use crate::trees::{Merged, Name, is_opaque, join, merge, open_dir};

/// How a container came by its root file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Its tree is the upper directory of an overlay.
    Over,
    /// Its tree began as a copy of all that is below.
    Copy,
}

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Change {
    /// It is new.
    Added,
    /// It was there, and is another one or differs.
    Changed,
    /// It was there.
    Deleted,
}

impl Change {
    /// One letter, as docker-diff(1) has them.
    pub fn letter(self) -> char {
        match self {
            Self::Added => 'A',
            Self::Changed => 'C',
            Self::Deleted => 'D',
        }
    }
}

/// A directory of the container that is still to be looked at, and the trees below that have it.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) path: Vec<u8>,
    pub(super) below: Vec<usize>,
}

/// What was found in one directory.
#[derive(Debug)]
pub(super) struct Found {
    /// The container's own listing.
    pub(super) own: Merged,
    /// Names in the order of their bytes.
    pub(super) names: Vec<(Vec<u8>, Change)>,
    /// Directories to look at, in that order as well.
    pub(super) below: Vec<Task>,
}

/// Compares the first of some trees with the others, the topmost first.
pub(super) struct Comparer<'a> {
    trees: &'a [Opened],
    roots: &'a [OwnedFd],
    written: Written,
    reader: Reader,
}

impl<'a> Comparer<'a> {
    pub(super) fn new(trees: &'a [Opened], roots: &'a [OwnedFd], written: Written) -> Self {
        Self {
            trees,
            roots,
            written,
            reader: Reader::new(),
        }
    }

    /// The first task.
    pub(super) fn root(&self) -> Result<Task, Error> {
        let mut below = Vec::new();
        for (i, root) in self.roots.iter().enumerate().skip(1) {
            below.push(i);
            if is_opaque(root.as_fd()).map_err(Error::sys("getxattr", b""))? {
                break;
            }
        }
        Ok(Task {
            path: Vec::new(),
            below,
        })
    }

    /// Whether the root directory itself differs from that of the tree below.
    pub(super) fn root_differs(&mut self) -> Result<bool, Error> {
        let Some(below) = self.roots.get(1) else {
            return Ok(true);
        };
        let stat = |fd| fstat(fd).map_err(Error::sys("fstat", b""));
        let (ours, theirs) = (stat(&self.roots[0])?, stat(below)?);
        Ok(ours.st_mode != theirs.st_mode
            || self.attrs(0, self.roots[0].as_fd(), b"", &ours)?
                != self.attrs(1, below.as_fd(), b"", &theirs)?)
    }

    pub(super) fn directory(&mut self, task: &Task) -> Result<Found, Error> {
        let path = task.path.as_slice();
        let listing = |layers: &[usize]| {
            merge(self.roots, path, layers).map_err(|(call, path, e)| Error::sys(call, &path)(e))
        };
        let own = listing(&[0])?;
        let below = listing(&task.below)?;
        let dir = open_dir(&self.roots[0], path).map_err(Error::sys("openat2", path))?;
        let all_hidden = self.written == Written::Copy
            || is_opaque(dir.as_fd()).map_err(Error::sys("getxattr", path))?;
        let all: BTreeSet<&Vec<u8>> = own.names.keys().chain(below.names.keys()).collect();
        let mut names = Vec::new();
        let mut tasks = Vec::new();
        for name in all {
            let full = join(path, name);
            let (ours, theirs) = (own.names.get(name), below.names.get(name));
            let change = match (ours, theirs) {
                (Some(_), None) => Some(Change::Added),
                (None, _) => (all_hidden || own.hidden.contains(name)).then_some(Change::Deleted),
                (Some(ours), Some(theirs)) => match self.written {
                    Written::Over => Some(Change::Changed),
                    Written::Copy => self
                        .differs((&own, ours), (&below, theirs), name, &full)?
                        .then_some(Change::Changed),
                },
            };
            names.extend(change.map(|c| (name.clone(), c)));
            if let Some(Name::Dir { .. }) = ours {
                let below = match theirs {
                    Some(Name::Dir { layers, .. }) => layers.clone(),
                    _ => Vec::new(),
                };
                tasks.push(Task { path: full, below });
            }
        }
        Ok(Found {
            own,
            names,
            below: tasks,
        })
    }

    fn attrs(
        &mut self,
        tree: usize,
        file: BorrowedFd<'_>,
        path: &[u8],
        stat: &Stat,
    ) -> Result<super::attrs::Attrs, Error> {
        // What is noted is noted when it is packed.
        let mut notes = Notes::default();
        self.reader
            .read(&self.trees[tree], file, path, stat, &mut notes)
    }

    fn differs(
        &mut self,
        (own, ours): (&Merged, &Name),
        (below, theirs): (&Merged, &Name),
        name: &[u8],
        path: &[u8],
    ) -> Result<bool, Error> {
        let tree = |name: &Name| match name {
            Name::File { layer, .. } => Some(*layer),
            Name::Dir { layers, .. } => layers.first().copied(),
        };
        let (a, b) = (stat_of(ours), stat_of(theirs));
        let file_type = FileType::from_raw_mode(a.st_mode);
        if a.st_mode != b.st_mode
            || (a.st_mtime, a.st_mtime_nsec) != (b.st_mtime, b.st_mtime_nsec)
            || (file_type.is_file() && a.st_size != b.st_size)
        {
            return Ok(true);
        }
        let (Some(a_tree), Some(b_tree)) = (tree(ours), tree(theirs)) else {
            return Ok(true);
        };
        let (Some(a_dir), Some(b_dir)) = (own.dir(a_tree), below.dir(b_tree)) else {
            return Ok(true);
        };
        let open = |dir: BorrowedFd<'_>| {
            let flags = match file_type {
                FileType::RegularFile | FileType::Directory => OFlags::RDONLY | OFlags::NONBLOCK,
                _ => OFlags::PATH,
            };
            let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            openat(dir, name, flags, Mode::empty()).map_err(Error::sys("openat", path))
        };
        let (a_fd, b_fd) = match (open(a_dir), open(b_dir)) {
            // Removed meanwhile; it will be missed when it is packed.
            (
                Err(Error::Sys {
                    source: Errno::NOENT | Errno::LOOP,
                    ..
                }),
                _,
            ) => return Ok(true),
            (a, b) => (a?, b?),
        };
        if file_type.is_symlink() {
            let target =
                |fd| readlinkat(fd, c"", Vec::new()).map_err(Error::sys("readlinkat", path));
            if target(&a_fd)? != target(&b_fd)? {
                return Ok(true);
            }
        }
        Ok(self.attrs(a_tree, a_fd.as_fd(), path, a)?
            != self.attrs(b_tree, b_fd.as_fd(), path, b)?)
    }
}

fn stat_of(name: &Name) -> &Stat {
    match name {
        Name::File { stat, .. } | Name::Dir { stat, .. } => stat,
    }
}
