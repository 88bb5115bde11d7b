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

/// Add attributes and, unless `propagation` is 0, set the propagation type (`MS_PRIVATE` …) of the
/// mount at `path` below `dir`; an empty path means the mount behind `dir` itself. Linux 5.12.
pub fn set_attributes(
    dir: BorrowedFd<'_>,
    path: &CStr,
    depth: Depth,
    add: MountAttr,
    propagation: u64,
) -> io::Result<()> {
    let attr = libc::mount_attr {
        attr_set: add.bits(),
        attr_clr: 0,
        propagation,
        userns_fd: 0,
    };
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
