//! Masked and read-only paths: parts of /proc and /sys that tell about the host or change it. They
//! are protected by mounts on top, which a container cannot take away since it may not unmount what
//! its user namespace did not mount alone, and its default capabilities lack CAP_SYS_ADMIN.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, fstat, major, minor};
use rustix::mount::{MountFlags, mount, mount_bind};

use super::mounts::over_itself;
use super::rootfs::{Links, RootDir, fd_path};
use super::{Context as _, Failure, Plan, Result, Stage};
use crate::sys::mount::{Depth, MountAttr, set_attributes};

/// Both kinds.
pub(super) fn all(plan: &Plan, root: &RootDir) -> Result<()> {
    for path in &plan.readonly {
        let Some(target) = find(root, path)? else {
            continue;
        };
        readonly(root, path, &target).at(Stage::Mask, || path.display().to_string())?;
    }
    if !plan.masked.is_empty() {
        check_null()?;
    }
    for path in &plan.masked {
        let Some(target) = find(root, path)? else {
            continue;
        };
        mask(&target).at(Stage::Mask, || path.display().to_string())?;
    }
    Ok(())
}

/// What this kernel does not have needs no protection.
fn find(root: &RootDir, path: &Path) -> Result<Option<OwnedFd>> {
    match root.open(path, Links::Refuse) {
        Ok(fd) => Ok(Some(fd)),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(None),
        Err(e) => Err(Failure::new(Stage::Mask, path.display().to_string(), e)),
    }
}

fn readonly(root: &RootDir, path: &Path, target: &OwnedFd) -> io::Result<()> {
    over_itself(target.as_fd())?;
    let mounted = root.open(path, Links::Refuse)?;
    set_attributes(mounted.as_fd(), c"", Depth::Recursive, MountAttr::RDONLY, 0)
}

/// A file is hidden by /dev/null, a directory by an empty one.
fn mask(target: &OwnedFd) -> io::Result<()> {
    let path = fd_path(target.as_fd());
    match FileType::from_raw_mode(fstat(target)?.st_mode) {
        FileType::Directory => mount(
            c"tmpfs",
            path.as_str(),
            c"tmpfs",
            MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC,
            c"size=0,nr_inodes=2",
        )?,
        _ => mount_bind(c"/dev/null", path.as_str())?,
    }
    Ok(())
}

/// The mask must be the null device and nothing that somebody put in its place (CVE-2025-31133).
fn check_null() -> Result<()> {
    let stat = rustix::fs::stat(c"/dev/null").at(Stage::Mask, || "/dev/null".into())?;
    let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3);
    if is_null {
        Ok(())
    } else {
        Err(Failure::new(
            Stage::Mask,
            "/dev/null is not the null device",
            rustix::io::Errno::NODEV,
        ))
    }
}
