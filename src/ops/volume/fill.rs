//! The first use of a volume: it gets what the container's image has at its place, with owners, and the owner and mode
//! of that directory. podman-run(1), "--volume".
//!
//! Nobody sees half of a file, and nothing is lost when this is killed at any point: the files are copied beside the
//! volume's content, the copy is declared complete by a rename, and then moved, entry by entry. Whoever has the volume
//! next goes on with a complete copy, and begins an incomplete one anew. What a container has written in the meantime
//! stays: it wins over what the image has of that name.

use std::ffi::OsStr;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps, UTIME_OMIT,
    XattrFlags, fchmod, fstat, futimens, open, openat, renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;

use super::{Error, VolumeError};
use crate::owners::{self, Journal};
use crate::rootfs;
use crate::store::VolumeDir;
use crate::sys::{fork, userns};
use crate::trees;

/// Directories in each other that are merged; deeper ones are left as they are in the volume.
const DEPTH_MAX: usize = 1000;

/// Where the files come from.
#[derive(Debug)]
pub(in crate::ops) struct Content<'a> {
    /// Trees and their sidecars, the topmost first.
    pub layers: &'a [owners::Layer],
    /// Directory of the merged tree, relative and without symlinks.
    pub base: &'a [u8],
}

/// What happens to what the volume has under the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ops) enum Conflict {
    /// It stays.
    Keep,
    /// It is replaced; directories are merged.
    Replace,
}

/// Copy the content into a volume. What somebody who was killed left is completed or removed first.
pub(in crate::ops) fn fill(
    volume: &VolumeDir,
    content: &Content<'_>,
    conflict: Conflict,
) -> Result<(), Error> {
    complete(volume)?;
    volume.clear_filling()?;
    let (tree, sidecar) = volume.filling();
    rustix::fs::mkdir(&tree, Mode::RWXU)
        .map_err(|e| Error::file("create the directory", &tree, e.into()))?;
    let dir = directory(&tree)?;
    let trees: Vec<&Path> = content.layers.iter().map(|l| l.tree.as_path()).collect();
    rootfs::flatten_below(&trees, content.base, dir.as_fd())?;
    let copy = owners::Layer {
        tree: tree.clone(),
        sidecar,
    };
    let view = owners::View::new(content.layers.to_vec(), copy);
    if !view.is_empty()? {
        in_child(volume, || view.settle_below(content.base).map_err(said))?;
    }
    // From here on it will be completed, by whomever.
    let filled = volume.filled();
    rustix::fs::rename(&tree, &filled).map_err(|e| Error::file("rename", &tree, e.into()))?;
    merge(volume, conflict)
}

/// Move what is left of a complete copy into the volume. Costs one system call where there is none.
pub(in crate::ops) fn complete(volume: &VolumeDir) -> Result<(), Error> {
    match rustix::fs::lstat(volume.filled()) {
        Err(Errno::NOENT) => Ok(()),
        _ => merge(volume, Conflict::Keep),
    }
}

fn merge(volume: &VolumeDir, conflict: Conflict) -> Result<(), Error> {
    let (_, sidecar) = volume.filling();
    // Before the files: a record of what is not there yet says nothing about what is.
    if rustix::fs::lstat(&sidecar).is_ok() {
        Journal::open_shared(&volume.entry.owners())?.take_over(&sidecar)?;
        rustix::fs::unlink(&sidecar).map_err(|e| Error::file("remove", &sidecar, e.into()))?;
    }
    let filled = volume.filled();
    let (from, to) = (directory(&filled)?, directory(&volume.entry.data())?);
    in_child(volume, || {
        let failed = |path: &[u8], e: Errno| format!("{}: {e}", path.escape_ascii());
        // Moving what is in it changes its time.
        let looks = fstat(&from).map_err(|e| failed(b".", e))?;
        move_all(&from, &to, conflict, DEPTH_MAX).map_err(|(path, e)| failed(&path, e))?;
        take_looks(&from, &looks, &to).map_err(|e| failed(b".", e))
    })?;
    rustix::fs::rmdir(&filled).map_err(|e| Error::file("remove", &filled, e.into()))
}

/// Move all entries of a directory into another one. With [`Conflict::Keep`] what is there already wins, and what
/// loses is removed.
fn move_all(
    from: &OwnedFd,
    to: &OwnedFd,
    conflict: Conflict,
    depth: usize,
) -> Result<(), (Vec<u8>, Errno)> {
    let at = |name: &[u8]| {
        let name = name.to_vec();
        move |e| (name, e)
    };
    let mut names = Vec::new();
    for entry in Dir::read_from(from).map_err(at(b"."))? {
        let name = entry.map_err(at(b"."))?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    for name in names {
        let moved = renameat_with(from, &*name, to, &*name, RenameFlags::NOREPLACE);
        let taken = match moved {
            Ok(()) => continue,
            Err(Errno::EXIST) => true,
            // A file system that cannot promise not to replace anything.
            Err(Errno::INVAL) => match statat(to, &*name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => false,
                other => other.map(|_| true).map_err(at(&name))?,
            },
            Err(e) => return Err((name, e)),
        };
        let is_dir = |dir: &OwnedFd| {
            statat(dir, &*name, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|s| FileType::from_raw_mode(s.st_mode).is_dir())
        };
        match (taken, is_dir(from), is_dir(to)) {
            (false, ..) => renameat(from, &*name, to, &*name).map_err(at(&name))?,
            (true, true, true) if depth > 0 => {
                let (inner, outer) = (child(from, &name), child(to, &name));
                let (inner, outer) = (inner.map_err(at(&name))?, outer.map_err(at(&name))?);
                let looks = fstat(&inner).map_err(at(&name))?;
                let moved = move_all(&inner, &outer, conflict, depth - 1);
                moved.map_err(|(path, e)| ([&name[..], b"/", &path].concat(), e))?;
                if conflict == Conflict::Replace {
                    take_looks(&inner, &looks, &outer).map_err(at(&name))?;
                }
                unlinkat(from, &*name, AtFlags::REMOVEDIR).map_err(at(&name))?;
            }
            (true, false, false) if conflict == Conflict::Replace => {
                renameat(from, &*name, to, &*name).map_err(at(&name))?;
            }
            (true, ..) if conflict == Conflict::Replace => return Err((name, Errno::EXIST)),
            (true, ..) => crate::layer::remove_tree(from.as_fd(), OsStr::from_bytes(&name))
                .map_err(|_| (name, Errno::NOTEMPTY))?,
        }
    }
    Ok(())
}

fn child(dir: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty())
}

/// Owner, mode and time of a directory, the last two as they were at `stat`.
fn take_looks(from: &OwnedFd, stat: &Stat, to: &OwnedFd) -> Result<(), Errno> {
    let mut value = [0u8; 128];
    let by_name = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
    match rustix::fs::getxattr(by_name(from), owners::XATTR, &mut value) {
        Ok(n) => {
            let owner = &value[..n];
            rustix::fs::setxattr(by_name(to), owners::XATTR, owner, XattrFlags::empty())?;
        }
        Err(_) => {
            // It was root's, and is to be so.
            let _ = rustix::fs::removexattr(by_name(to), owners::XATTR);
        }
    }
    fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    let mtime = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: stat.st_mtime,
            tv_nsec: stat.st_mtime_nsec.cast_signed(),
        },
    };
    futimens(to, &mtime)
}

/// The directory alone: owner, mode and time of the one that the image has at the place.
pub(in crate::ops) fn look_like(volume: &VolumeDir, content: &Content<'_>) -> Result<(), Error> {
    let to = directory(&volume.entry.data())?;
    in_child(volume, || {
        let path = OsStr::from_bytes(content.base).display();
        for layer in content.layers {
            let root = directory(&layer.tree).map_err(|e| e.to_string())?;
            // The topmost that has it shows.
            if let Ok(from) = trees::open_dir(&root, content.base) {
                let taken = fstat(&from).and_then(|looks| take_looks(&from, &looks, &to));
                return taken.map_err(|e| format!("{path}: {e}"));
            }
        }
        Ok(())
    })
}

/// Whether a directory has nothing in it.
pub(in crate::ops) fn is_empty(path: &Path) -> Result<bool, Error> {
    let dir = directory(path)?;
    let failed = |e: Errno| Error::file("list", path, e.into());
    for entry in Dir::read_from(&dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// `chown`: of the volume's own directory, or with all that is in it.
pub(in crate::ops) fn give(tree: &owners::Layer, ids: (u32, u32), all: bool) -> Result<(), Error> {
    let result = child_says(|| owners::give(tree, ids.0, ids.1, all).map_err(said));
    result.map_err(|what| given(&tree.tree, what))
}

/// The same of a directory of the host, whose files belong to a container's user without a record.
pub(in crate::ops) fn take_back(dir: &Path, ids: (u32, u32)) -> Result<(), Error> {
    let result = child_says(|| owners::take_back(dir, ids.0, ids.1).map_err(said));
    result.map_err(|what| given(dir, what))
}

fn given(path: &Path, what: String) -> Error {
    let path = path.to_owned();
    VolumeError::Give { path, what }.into()
}

fn directory(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    open(path, flags, Mode::empty()).map_err(|e| Error::file("open", path, e.into()))
}

fn said(e: owners::Error) -> String {
    match std::error::Error::source(&e) {
        Some(source) => format!("{e}: {source}"),
        None => e.to_string(),
    }
}

fn in_child(volume: &VolumeDir, work: impl Fn() -> Result<(), String>) -> Result<(), Error> {
    child_says(work).map_err(|what| {
        let name = volume.entry.record.name.clone();
        VolumeError::Fill { name, what }.into()
    })
}

/// Work as root of a user namespace, if that can be had, since directories may shut out their owner.
fn child_says(work: impl Fn() -> Result<(), String>) -> Result<(), String> {
    let answer = fork::bytes_from_child(|| {
        let _without = userns::enter_as_root();
        work().err().unwrap_or_default().into_bytes()
    });
    match answer {
        Err(e) => Err(e.to_string()),
        Ok(text) if text.is_empty() => Ok(()),
        Ok(text) => Err(String::from_utf8_lossy(&text).into_owned()),
    }
}
