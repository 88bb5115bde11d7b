//! The root file system: mounting it, resolving paths in it while it is not yet `/`, entering it.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::sys::scoped::openat2;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, mkdirat, mknodat, openat, readlinkat};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, mount_move, unmount};
use rustix::process::{chdir, chroot, fchdir, pivot_root};

use super::{Context as _, Failure, Plan, Result, Stage};

/// The kernel's own limit for one path (path_resolution(7)).
const MAX_LINKS: u32 = 40;

/// The mounted root file system, by a descriptor that resolves paths inside it only.
pub(super) struct RootDir(OwnedFd);

/// What a mount point must be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
}

/// Whether symbolic links on the way to a mount point are followed (inside the root).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    Follow,
    /// For /proc and /sys: an image that makes them links wants the protection of their files to
    /// happen elsewhere (CVE-2019-19921).
    Refuse,
}

impl AsFd for RootDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Mount it over its mount point.
pub(super) fn attach(plan: &Plan) -> Result<RootDir> {
    plan.root.attach(&plan.mountpoint).map_err(|e| Failure {
        stage: Stage::Root,
        errno: e.source.raw_os_error().unwrap_or(libc::EIO),
        what: format!("{}({})", e.call, e.path),
    })?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, &plan.mountpoint, flags, Mode::empty())
        .map(RootDir)
        .at(Stage::Root, || {
            format!("open({})", plan.mountpoint.display())
        })
}

impl RootDir {
    /// A descriptor (O_PATH) of what `path` leads to in the root file system. Never leaves it, and
    /// never goes through a magic link of /proc.
    pub(super) fn open(&self, path: &Path, links: Links) -> io::Result<OwnedFd> {
        self.open_as(path, links, OFlags::PATH)
    }

    pub(super) fn open_as(&self, path: &Path, links: Links, flags: OFlags) -> io::Result<OwnedFd> {
        let mut resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        if links == Links::Refuse {
            resolve |= ResolveFlags::NO_SYMLINKS;
        }
        Ok(openat2(
            &self.0,
            path,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        )?)
    }

    /// The same, making what is missing: directories on the way, and at the end a directory or an
    /// empty file. What a dangling link points to is made as well, inside the root.
    pub(super) fn open_or_create(
        &self,
        path: &Path,
        kind: Kind,
        links: Links,
    ) -> io::Result<OwnedFd> {
        self.create(path, kind, links, MAX_LINKS)
    }

    fn create(&self, path: &Path, kind: Kind, links: Links, budget: u32) -> io::Result<OwnedFd> {
        match self.open(path, links) {
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {}
            other => return other,
        }
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let parent = self.create(above, Kind::Directory, links, budget)?;
        let made = match kind {
            Kind::Directory => mkdirat(&parent, name, Mode::from_raw_mode(0o755)),
            Kind::File => mknodat(
                &parent,
                name,
                FileType::RegularFile,
                Mode::from_raw_mode(0o644),
                0,
            ),
        };
        match made {
            Ok(()) => self.open(path, links),
            Err(Errno::EXIST) if links == Links::Follow && budget > 0 => {
                let target = readlinkat(&parent, name, Vec::new())?;
                let target = above.join(OsStr::from_bytes(target.to_bytes()));
                self.create(&target, kind, links, budget - 1)
            }
            Err(Errno::EXIST) => Err(Errno::LOOP.into()),
            Err(e) => Err(e.into()),
        }
    }
}

/// Make it `/` and let go of everything else; without `pivot` by moving its mount, for a caller whose own root
/// cannot be left by pivot_root(2).
pub(super) fn enter(plan: &Plan, root: &RootDir, pivot: bool) -> Result<()> {
    if plan.root_readonly {
        crate::sys::mount::set_attributes(
            root.as_fd(),
            c"",
            crate::sys::mount::Depth::One,
            crate::sys::mount::MountAttr::RDONLY,
            0,
        )
        .at(Stage::Pivot, || "mount_setattr(/, ro)".into())?;
    }
    fchdir(root).at(Stage::Pivot, || "fchdir".into())?;
    // pivot_root(2): with both arguments "." the old root lands on top of the new one and is taken
    // away from there, without a directory for it.
    let entered = if pivot {
        pivot_root(c".", c".")
    } else {
        Err(Errno::INVAL)
    };
    match entered {
        Ok(()) => {
            // Not to lose mounts of the old root for others: it is a slave by now, and detaching
            // stays in our namespace.
            unmount(c".", UnmountFlags::DETACH).at(Stage::Pivot, || "umount".into())?;
        }
        // The old root is the initial ramfs, or an outer filter forbids the call.
        Err(Errno::INVAL | Errno::PERM | Errno::NOSYS) => {
            mount_move(c".", c"/").at(Stage::Pivot, || "mount(MS_MOVE)".into())?;
            chroot(c".").at(Stage::Pivot, || "chroot".into())?;
        }
        Err(e) => return Err(Failure::new(Stage::Pivot, "pivot_root", e)),
    }
    chdir(c"/").at(Stage::Pivot, || "chdir(/)".into())
}
