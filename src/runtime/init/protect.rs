//! Masked and read-only paths: parts of /proc and /sys that tell about the host or change it. They
//! are protected by mounts on top, which a container cannot take away: they are locked together with
//! what they cover as soon as it makes a mount namespace of its own, and in its first one its default
//! capabilities lack CAP_SYS_ADMIN.
//!
//! All this happens after the root was entered, so every path is one of the container. /proc and /sys
//! are what [`mounts`](super::mounts) put there; a path that the user wants masked may go through
//! links of the image, which lead nowhere but into the image.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, FileType, major, minor};
use rustix::io::Errno;
use rustix::mount::{
    MoveMountFlags, OpenTreeFlags, mount_bind, mount_bind_recursive, move_mount, open_tree,
};

use super::{Context as _, Failure, Plan, Result, Stage};
use crate::sys::mount::{Depth, MountAttr, set_attributes};

/// Both kinds. What this kernel does not have needs no protection. `empty` is a directory that hides
/// others, not yet mounted anywhere; `null` the null device, where others may change what has its name.
pub(super) fn all(plan: &Plan, empty: Option<OwnedFd>, null: Option<OwnedFd>) -> Result<()> {
    for path in &plan.readonly {
        match mount_bind_recursive(path, path) {
            Ok(()) => readonly(path),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            Err(e) => Err(e.into()),
        }
        .at(Stage::Mask, || path.display().to_string())?;
    }
    if !plan.masked.is_empty() {
        check_null(null.as_ref())?;
    }
    let mut cover = Cover::New(empty);
    for path in &plan.masked {
        mask(path, &mut cover, null.as_ref()).at(Stage::Mask, || path.display().to_string())?;
    }
    Ok(())
}

fn readonly(path: &Path) -> io::Result<()> {
    let path = std::ffi::CString::new(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()))?;
    set_attributes(CWD, &path, Depth::Recursive, MountAttr::RDONLY, 0)
}

/// The empty directory: as it came, and then where it was mounted first.
enum Cover<'a> {
    New(Option<OwnedFd>),
    Mounted(&'a Path),
}

/// A file is hidden by the null device, a directory by an empty one.
fn mask<'a>(
    path: &'a Path,
    cover: &mut Cover<'a>,
    null: Option<&OwnedFd>,
) -> std::result::Result<(), Errno> {
    // Asked first: where the kernel refuses a bind, since the one is a file and the other a directory,
    // it undoes its copy, and for that waits for every processor (synchronize_rcu_expedited).
    let directory = match rustix::fs::stat(path) {
        Ok(stat) => FileType::from_raw_mode(stat.st_mode) == FileType::Directory,
        // Not there, or below a file.
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(e) => return Err(e),
    };
    if !directory {
        let Some(null) = null else {
            return mount_bind(c"/dev/null", path);
        };
        let clone = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH;
        let tree = open_tree(null, c"", clone)?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
        return move_mount(&tree, c"", CWD, path, flags);
    }
    match cover {
        Cover::Mounted(first) => mount_bind(*first, path),
        Cover::New(empty) => {
            let tree = empty.take().ok_or(Errno::BADF)?;
            let flags =
                MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
            move_mount(&tree, c"", CWD, path, flags)?;
            *cover = Cover::Mounted(path);
            Ok(())
        }
    }
}

/// The mask must be the null device and nothing that somebody put in its place (CVE-2025-31133).
fn check_null(null: Option<&OwnedFd>) -> Result<()> {
    let stat = match null {
        Some(null) => rustix::fs::fstat(null),
        None => rustix::fs::lstat(c"/dev/null"),
    };
    let stat = stat.at(Stage::Mask, || "/dev/null".into())?;
    let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3);
    if is_null {
        Ok(())
    } else {
        Err(Failure::new(
            Stage::Mask,
            "/dev/null is not the null device",
            Errno::NODEV,
        ))
    }
}
