//! Masked and read-only paths: parts of /proc and /sys that tell about the host or change it. They
//! are protected by mounts on top, which a container cannot take away: they are locked together with
//! what they cover as soon as it makes a mount namespace of its own, and in its first one its default
//! capabilities lack CAP_SYS_ADMIN.
//!
//! All this happens after the root was entered, so every path is one of the container. /proc and /sys
//! are what [`mounts`](super::mounts) put there; a path that the user wants masked may go through
//! links of the image, which lead nowhere but into the image.

use std::io;
use std::path::Path;

use rustix::fs::{CWD, FileType, major, minor};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_bind, mount_bind_recursive};

use super::{Context as _, Failure, Plan, Result, Stage};
use crate::sys::mount::{Depth, MountAttr, set_attributes};

/// Both kinds. What this kernel does not have needs no protection.
pub(super) fn all(plan: &Plan) -> Result<()> {
    for path in &plan.readonly {
        match mount_bind_recursive(path, path) {
            Ok(()) => readonly(path),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            Err(e) => Err(e.into()),
        }
        .at(Stage::Mask, || path.display().to_string())?;
    }
    if !plan.masked.is_empty() {
        check_null()?;
    }
    let mut empty = None;
    for path in &plan.masked {
        mask(path, &mut empty).at(Stage::Mask, || path.display().to_string())?;
    }
    Ok(())
}

fn readonly(path: &Path) -> io::Result<()> {
    let path = std::ffi::CString::new(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()))?;
    set_attributes(CWD, &path, Depth::Recursive, MountAttr::RDONLY, 0)
}

/// A file is hidden by the null device, a directory by an empty one: the first by a new file system,
/// the others by that same one, since making a file system is the dear part.
fn mask<'a>(path: &'a Path, empty: &mut Option<&'a Path>) -> std::result::Result<(), Errno> {
    // Asked first: where the kernel refuses a bind, since the one is a file and the other a directory,
    // it undoes its copy, and for that waits for every processor (synchronize_rcu_expedited).
    let directory = match rustix::fs::stat(path) {
        Ok(stat) => FileType::from_raw_mode(stat.st_mode) == FileType::Directory,
        // Not there, or below a file.
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(e) => return Err(e),
    };
    match (directory, *empty) {
        (false, _) => mount_bind(c"/dev/null", path),
        (true, Some(first)) => mount_bind(first, path),
        (true, None) => {
            let flags =
                MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
            mount(c"tmpfs", path, c"tmpfs", flags, c"size=0,nr_inodes=2")?;
            *empty = Some(path);
            Ok(())
        }
    }
}

/// The mask must be the null device and nothing that somebody put in its place (CVE-2025-31133).
fn check_null() -> Result<()> {
    let stat = rustix::fs::lstat(c"/dev/null").at(Stage::Mask, || "/dev/null".into())?;
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
