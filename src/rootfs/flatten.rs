//! The copy driver: unpacked layers merged into one plain directory, for where neither overlay nor
//! fuse-overlayfs can be had.
//!
//! Keeps modes, mtimes, user xattrs (owner records among them), symlinks, fifos, holes, and hard
//! links within a layer. Content is shared with the layer by reflink where the file system can, else
//! copied by the kernel, else by us. The layers are hostile trees and are opened without following
//! symlinks; `dest` is private to the caller.
//!
//! A file whose mode shuts out its owner can only be read with CAP_DAC_OVERRIDE over it, so the work is
//! done by a child in a user namespace of its own, where that can be had ([`child`]). What layers keep
//! in their sidecars ([`crate::owners`]) is not looked at.

mod child;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, XattrFlags,
    fchmod, fgetxattr, flistxattr, fsetxattr, fstat, futimens, linkat, mkdirat, mknodat, openat,
    readlinkat, symlinkat, utimensat,
};
use rustix::io::Errno;

use super::content::Contents;
use crate::sys::fork::Failed;

use crate::trees::{Name, beneath, is_opaque, join, merge, open_dir};

/// Why layers could not be merged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    #[error("cannot copy the image: {call} {path:?} failed")]
    Sys {
        /// The system call.
        call: Cow<'static, str>,
        /// Path in the image, or of the layer.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: Errno,
    },
    /// A device node or socket, which no layer of ours contains.
    #[error("cannot copy the image: {path:?} is neither file, directory, link nor fifo")]
    Type {
        /// Path in the image.
        path: PathBuf,
    },
    /// The child that copies did not end as it should.
    #[error("cannot copy the image: the process that does it: {0}")]
    Child(#[from] Failed),
}

impl Error {
    fn sys(call: &'static str, path: &[u8]) -> impl FnOnce(Errno) -> Self {
        move |source| Self::Sys {
            call: Cow::Borrowed(call),
            path: PathBuf::from(OsStr::from_bytes(path)),
            source,
        }
    }

    /// What the user can do about it, if we know.
    pub fn hint(&self) -> Option<String> {
        let Self::Sys { source, .. } = self else {
            return None;
        };
        match *source {
            Errno::NOSPC | Errno::DQUOT => Some(
                "a copy of the whole image is needed here: free some space, or use another storage driver"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

/// Merge `lowers`, the top one first, into `dest`, an open empty directory. After an error `dest`
/// holds a part of the tree.
pub fn flatten(lowers: &[&Path], dest: BorrowedFd<'_>) -> Result<(), Error> {
    child::as_root(|| merge_all(lowers, dest))
}

/// The same of the directory `path` (relative, without symlinks on the way) of the merged tree alone.
pub fn flatten_below(lowers: &[&Path], path: &[u8], dest: BorrowedFd<'_>) -> Result<(), Error> {
    if path.is_empty() {
        return flatten(lowers, dest);
    }
    child::as_root(|| {
        let roots = open_roots(lowers)?;
        let found = beneath(&roots, path).map_err(Error::sys("openat", path))?;
        // What lies below a file is hidden by it.
        let is_dir = |stat: &Stat| FileType::from_raw_mode(stat.st_mode).is_dir();
        let dirs = found.iter().take_while(|(_, stat)| is_dir(stat));
        let dirs = dirs.map(|(layer, _)| open_dir(&roots[*layer], path));
        let dirs = dirs.collect::<Result<Vec<_>, _>>();
        merge_roots(dirs.map_err(Error::sys("openat2", path))?, dest)
    })
}

fn merge_all(lowers: &[&Path], dest: BorrowedFd<'_>) -> Result<(), Error> {
    merge_roots(open_roots(lowers)?, dest)
}

fn open_roots(lowers: &[&Path]) -> Result<Vec<OwnedFd>, Error> {
    let mut roots = Vec::with_capacity(lowers.len());
    for path in lowers {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let named = path.as_os_str().as_bytes();
        let root = openat(CWD, *path, flags, Mode::empty()).map_err(Error::sys("openat", named))?;
        let opaque = is_opaque(root.as_fd()).map_err(Error::sys("getxattr", named))?;
        roots.push(root);
        if opaque {
            break;
        }
    }
    Ok(roots)
}

fn merge_roots(roots: Vec<OwnedFd>, dest: BorrowedFd<'_>) -> Result<(), Error> {
    let mut todo = Vec::new();
    if !roots.is_empty() {
        todo.push(Task::Merge {
            path: Vec::new(),
            layers: (0..roots.len()).collect(),
        });
    }
    let mut copier = Copier {
        roots,
        dest,
        linked: HashMap::new(),
        contents: Contents::default(),
    };
    // Depth first, so that few directories wait; a directory is finished after all below it.
    while let Some(task) = todo.pop() {
        match task {
            Task::Merge { path, layers } => copier.merge(&path, &layers, &mut todo)?,
            Task::Finish { path, layer } => copier.finish(&path, layer)?,
        }
    }
    Ok(())
}

enum Task {
    /// Merge the directory `path` of these layers, top first.
    Merge { path: Vec<u8>, layers: Vec<usize> },
    /// Give the directory `path` its metadata.
    Finish { path: Vec<u8>, layer: usize },
}

struct Copier<'a> {
    roots: Vec<OwnedFd>,
    dest: BorrowedFd<'a>,
    /// First name of files with several: by layer, device and inode.
    linked: HashMap<(usize, u64, u64), Vec<u8>>,
    contents: Contents,
}

impl Copier<'_> {
    fn merge(&mut self, path: &[u8], layers: &[usize], todo: &mut Vec<Task>) -> Result<(), Error> {
        let dest = open_dir(self.dest, path).map_err(Error::sys("openat2", path))?;
        let merged = merge(&self.roots, path, layers)
            .map_err(|(call, path, e)| Error::sys(call, &path)(e))?;
        if let Some(&layer) = layers.first() {
            todo.push(Task::Finish {
                path: path.to_vec(),
                layer,
            });
        }
        for (name, what) in &merged.names {
            let full = join(path, name);
            match what {
                Name::Dir { layers, .. } => {
                    mkdirat(&dest, name.as_slice(), Mode::RWXU)
                        .map_err(Error::sys("mkdirat", &full))?;
                    todo.push(Task::Merge {
                        path: full,
                        layers: layers.clone(),
                    });
                }
                Name::File { layer, stat } => {
                    // Always there: the name was read from it.
                    let Some(from) = merged.dir(*layer) else {
                        continue;
                    };
                    self.copy(*layer, from, dest.as_fd(), name, &full, stat)?;
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self, path: &[u8], layer: usize) -> Result<(), Error> {
        let from = open_dir(&self.roots[layer], path).map_err(Error::sys("openat2", path))?;
        let to = open_dir(self.dest, path).map_err(Error::sys("openat2", path))?;
        let stat = fstat(&from).map_err(Error::sys("fstat", path))?;
        copy_metadata(&from, &to, path, &stat)
    }

    /// Copy what is no directory.
    fn copy(
        &mut self,
        layer: usize,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        stat: &Stat,
    ) -> Result<(), Error> {
        if stat.st_nlink > 1 {
            let inode = (layer, stat.st_dev, stat.st_ino);
            if let Some(first) = self.linked.get(&inode) {
                return linkat(self.dest, first.as_slice(), to, name, AtFlags::empty())
                    .map_err(Error::sys("linkat", path));
            }
            self.linked.insert(inode, path.to_vec());
        }
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => return self.copy_file(from, to, name, path),
            FileType::Symlink => {
                let target =
                    readlinkat(from, name, Vec::new()).map_err(Error::sys("readlinkat", path))?;
                symlinkat(&*target, to, name).map_err(Error::sys("symlinkat", path))?;
            }
            FileType::Fifo => {
                let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
                mknodat(to, name, FileType::Fifo, mode, 0).map_err(Error::sys("mknodat", path))?;
                // Against the umask. It is the fifo just made: nobody else writes in `dest`.
                rustix::fs::chmodat(to, name, mode, AtFlags::empty())
                    .map_err(Error::sys("fchmodat", path))?;
            }
            _ => {
                return Err(Error::Type {
                    path: PathBuf::from(OsStr::from_bytes(path)),
                });
            }
        }
        utimensat(to, name, &mtime_of(stat), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(Error::sys("utimensat", path))
    }

    fn copy_file(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
    ) -> Result<(), Error> {
        let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let read = OFlags::RDONLY | OFlags::NONBLOCK | flags;
        let from = openat(from, name, read, Mode::empty()).map_err(Error::sys("openat", path))?;
        let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | flags;
        let to = openat(to, name, write, Mode::from_raw_mode(0o600))
            .map_err(Error::sys("openat", path))?;
        let stat = fstat(&from).map_err(Error::sys("fstat", path))?;
        self.contents
            .copy(&from, &to, &stat)
            .map_err(|(call, e)| Error::sys(call, path)(e))?;
        copy_metadata(&from, &to, path, &stat)
    }
}

/// User xattrs, mode and mtime, in the order in which none undoes another.
fn copy_metadata(from: &OwnedFd, to: &OwnedFd, path: &[u8], stat: &Stat) -> Result<(), Error> {
    copy_xattrs(from, to, path)?;
    fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777)).map_err(Error::sys("fchmod", path))?;
    futimens(to, &mtime_of(stat)).map_err(Error::sys("futimens", path))
}

fn copy_xattrs(from: &OwnedFd, to: &OwnedFd, path: &[u8]) -> Result<(), Error> {
    let mut small = [0u8; 256];
    let mut large = Vec::new();
    let names = match flistxattr(from, &mut small[..]) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(()),
        Ok(n) => small.get(..n).unwrap_or_default(),
        Err(Errno::RANGE) => {
            // The kernel's limits for the list and for a value (xattr(7)).
            large.resize(64 << 10, 0);
            let n = flistxattr(from, &mut large[..]).map_err(Error::sys("flistxattr", path))?;
            large.get(..n).unwrap_or_default()
        }
        Err(e) => return Err(Error::sys("flistxattr", path)(e)),
    };
    for name in names.split(|b| *b == 0) {
        // What overlay reads has done its work.
        if !name.starts_with(b"user.") || name.starts_with(b"user.overlay.") {
            continue;
        }
        let mut value = vec![0; 64 << 10];
        let n = fgetxattr(from, name, &mut value[..]).map_err(Error::sys("fgetxattr", path))?;
        fsetxattr(to, name, &value[..n], XattrFlags::empty())
            .map_err(Error::sys("fsetxattr", path))?;
    }
    Ok(())
}

fn mtime_of(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: stat.st_mtime,
            tv_nsec: stat.st_mtime_nsec.cast_signed(),
        },
    }
}
