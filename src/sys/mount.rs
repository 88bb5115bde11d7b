//! mount_setattr(2), which rustix does not wrap.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

bitflags::bitflags! {
    /// Mount attributes, `MOUNT_ATTR_*` of mount_setattr(2).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct MountAttr: u64 {
        /// Read-only.
        const RDONLY = libc::MOUNT_ATTR_RDONLY;
        /// Ignore set-user-ID, set-group-ID and file capabilities.
        const NOSUID = libc::MOUNT_ATTR_NOSUID;
        /// No device access.
        const NODEV = libc::MOUNT_ATTR_NODEV;
        /// No program execution.
        const NOEXEC = libc::MOUNT_ATTR_NOEXEC;
        /// Never update access times.
        const NOATIME = libc::MOUNT_ATTR_NOATIME;
        /// Update access times with every access.
        const STRICTATIME = libc::MOUNT_ATTR_STRICTATIME;
        /// Never update access times of directories.
        const NODIRATIME = libc::MOUNT_ATTR_NODIRATIME;
        /// Do not follow symbolic links (Linux 5.10).
        const NOSYMFOLLOW = libc::MOUNT_ATTR_NOSYMFOLLOW;
    }
}

/// Which mounts a change goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The mount at the path.
    One,
    /// It and all below.
    Recursive,
}

/// What a change does to mounts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change<'a> {
    /// Attributes to add.
    pub add: MountAttr,
    /// Attributes to take away.
    pub clear: MountAttr,
    /// Propagation type (`MS_PRIVATE` …), or 0.
    pub propagation: u64,
    /// Show the ids of files as this user namespace maps them. The mount must not be attached yet.
    pub idmap: Option<BorrowedFd<'a>>,
}

/// Add attributes and, unless `propagation` is 0, set the propagation type (`MS_PRIVATE` …) of the
/// mount at `path` below `dir`; an empty path means the mount behind `dir` itself. Linux 5.12.
pub fn set_attributes(
    dir: BorrowedFd<'_>,
    path: &CStr,
    depth: Depth,
    add: MountAttr,
    propagation: u64,
) -> io::Result<()> {
    let change = Change {
        add,
        propagation,
        ..Change::default()
    };
    change_attributes(dir, path, depth, change)
}

/// The same for any change.
pub fn change_attributes(
    dir: BorrowedFd<'_>,
    path: &CStr,
    depth: Depth,
    change: Change<'_>,
) -> io::Result<()> {
    // How access times are kept is one value of several bits: what sets it has to clear all of them.
    let times = MountAttr::NOATIME | MountAttr::STRICTATIME;
    let clear = if (change.add | change.clear).intersects(times) {
        (change.clear - times).bits() | libc::MOUNT_ATTR__ATIME
    } else {
        change.clear.bits()
    };
    let mut attr = libc::mount_attr {
        attr_set: change.add.bits(),
        attr_clr: clear,
        propagation: change.propagation,
        userns_fd: 0,
    };
    if let Some(namespace) = change.idmap {
        attr.attr_set |= libc::MOUNT_ATTR_IDMAP;
        attr.userns_fd = namespace.as_raw_fd() as u64;
    }
    let recursive = match depth {
        Depth::One => 0,
        Depth::Recursive => libc::AT_RECURSIVE,
    };
    // SAFETY: path is a C string and attr a live struct whose size is passed; the kernel only reads.
    let r = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            dir.as_raw_fd(),
            path.as_ptr(),
            recursive | libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of_val(&attr),
        )
    };
    if r == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
