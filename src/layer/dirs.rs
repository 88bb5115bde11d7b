//! The directories of a tree that is being unpacked: a bounded cache of open ones.
//!
//! A layer lists the files of a directory one after the other, so nearly every lookup is the last
//! directory again, and costs no system call. A directory's mode and mtime are set when it leaves
//! the cache: an entry made in it changes its mtime, and its mode may forbid making one. If it is
//! needed again, what it has then is noted and restored later. So memory does not grow with the
//! number of directories.
//!
//! See [`super`] for the rules about symlinks.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, fchmod, fstat, futimens,
    mkdirat, openat, readlinkat, statat, unlinkat,
};
use rustix::io::{Errno, fcntl_dupfd_cloexec};

use super::Error;
use super::name::{is_within, join, path_buf, split};
use super::whiteout::Whiteouts;
use crate::trees::is_whiteout;

/// Open directories: enough for the ancestors in any real tree.
const CAPACITY: usize = 24;
/// As the kernel's own limit (path_resolution(7)).
const LINKS_MAX: usize = 40;
/// Mode of a directory that the tar does not list.
const IMPLIED: u32 = 0o755;
const RWX: u32 = 0o700;
pub(super) const EPOCH: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

struct Open {
    /// Canonical, no component is a symlink.
    path: Vec<u8>,
    fd: OwnedFd,
    used: u64,
    /// To be set at the end, if it is not what the directory has now.
    mode: Option<u32>,
    mtime: Timespec,
    /// Whether `mtime` has to be set.
    touched: bool,
}

/// An open directory of [`Dirs`]; valid until the next lookup.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Slot(usize);

pub(super) struct Dirs {
    /// The first is the root and never leaves.
    open: Vec<Open>,
    clock: u64,
    max_path: usize,
    whiteouts: Whiteouts,
    /// Directories made because an entry needed them; the caller empties it.
    pub(super) implied: Vec<Vec<u8>>,
}

enum Step {
    Dir(Slot),
    Link(Vec<u8>),
    Missing,
}

impl Dirs {
    pub(super) const ROOT: Slot = Slot(0);

    /// `root` is empty and stays private to us until [`Dirs::finish`].
    pub(super) fn new(root: BorrowedFd<'_>, max_path: usize) -> Result<Self, Error> {
        let fd = fcntl_dupfd_cloexec(root, 0).map_err(Error::sys("fcntl", b""))?;
        let root = Open {
            path: Vec::new(),
            fd,
            used: 0,
            mode: Some(IMPLIED),
            mtime: EPOCH,
            touched: true,
        };
        Ok(Self {
            open: vec![root],
            clock: 0,
            max_path,
            whiteouts: Whiteouts {
                device: true,
                xattrs: true,
            },
            implied: Vec::new(),
        })
    }

    pub(super) fn fd(&self, slot: Slot) -> BorrowedFd<'_> {
        self.open[slot.0].fd.as_fd()
    }

    pub(super) fn path(&self, slot: Slot) -> &[u8] {
        &self.open[slot.0].path
    }

    /// An entry of the directory is about to be made or removed.
    pub(super) fn touch(&mut self, slot: Slot) -> BorrowedFd<'_> {
        let open = &mut self.open[slot.0];
        open.touched = true;
        open.fd.as_fd()
    }

    /// Mode and mtime that the directory is to have in the end; no mode if it has it already.
    pub(super) fn describe(&mut self, slot: Slot, mode: Option<u32>, mtime: Timespec) {
        let open = &mut self.open[slot.0];
        open.mode = mode;
        open.mtime = mtime;
        open.touched = true;
    }

    /// Open a directory; what is missing is made. `path` is canonical but for symlinks.
    pub(super) fn make(&mut self, path: &[u8]) -> Result<Slot, Error> {
        match self.walk(path, true)? {
            Some(slot) => Ok(slot),
            // Only reached when nothing may be made.
            None => Err(Error::sys("mkdirat", path)(Errno::NOENT)),
        }
    }

    /// Open a directory if it exists.
    pub(super) fn find(&mut self, path: &[u8]) -> Result<Option<Slot>, Error> {
        self.walk(path, false)
    }

    /// Open a directory that was just made by `mkdirat`.
    pub(super) fn enter_new(&mut self, parent: Slot, name: &[u8]) -> Result<Slot, Error> {
        let path = join(self.path(parent), name);
        let fd = open_dir(self.fd(parent), name).map_err(Error::sys("openat", &path))?;
        self.place(path, fd, parent, None, EPOCH)
    }

    /// Open a directory that was found, not being a symlink, as `name` in `parent`.
    pub(super) fn enter(&mut self, parent: Slot, name: &[u8]) -> Result<Slot, Error> {
        let path = join(self.path(parent), name);
        if let Some(slot) = self.cached(&path) {
            return Ok(slot);
        }
        match self.step(parent, name, path, false)? {
            Step::Dir(slot) => Ok(slot),
            Step::Link(_) | Step::Missing => Err(Error::NotADirectory {
                path: path_buf(&join(self.path(parent), name)),
            }),
        }
    }

    /// Close what is open of a subtree that is about to be removed.
    pub(super) fn forget(&mut self, path: &[u8]) {
        // Slots of directories outside the subtree are still in use, so no shifting: the removed
        // ones are replaced by what can never be looked up.
        for open in &mut self.open[1..] {
            if is_within(&open.path, path) {
                open.path = b"/".to_vec();
                open.touched = false;
                open.mode = None;
                open.used = 0;
            }
        }
    }

    /// Give all open directories their mode and mtime.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        while let Some(open) = self.open.pop() {
            close(&open)?;
        }
        Ok(())
    }

    fn cached(&mut self, path: &[u8]) -> Option<Slot> {
        let i = self.open.iter().position(|o| o.path == path)?;
        self.clock += 1;
        self.open[i].used = self.clock;
        Some(Slot(i))
    }

    fn walk(&mut self, path: &[u8], make: bool) -> Result<Option<Slot>, Error> {
        if let Some(slot) = self.cached(path) {
            return Ok(Some(slot));
        }
        // The nearest ancestor that is open. A cached path has no symlink in it.
        let mut at = Self::ROOT;
        let mut start = path;
        while !start.is_empty() {
            start = split(start).0;
            if let Some(slot) = self.cached(start) {
                at = slot;
                break;
            }
        }
        let rest = &path[start.len()..];
        // Components still to go, the next one last.
        let mut todo: Vec<Vec<u8>> = Vec::new();
        push_components(&mut todo, rest);
        let mut links = 0;
        while let Some(name) = todo.pop() {
            if name == b".." {
                let parent = split(self.path(at)).0.to_vec();
                // Canonical and open before, so this neither makes anything nor follows a link.
                at = match self.walk(&parent, make)? {
                    Some(slot) => slot,
                    None => return Ok(None),
                };
                continue;
            }
            let child = join(self.path(at), &name);
            if child.len() > self.max_path {
                return Err(Error::PathTooLong(self.max_path));
            }
            if let Some(slot) = self.cached(&child) {
                at = slot;
                continue;
            }
            match self.step(at, &name, child, make)? {
                Step::Dir(slot) => at = slot,
                Step::Missing => return Ok(None),
                Step::Link(target) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(Error::Loop {
                            path: path_buf(path),
                        });
                    }
                    if target.starts_with(b"/") {
                        at = Self::ROOT;
                    }
                    push_components(&mut todo, &target);
                }
            }
        }
        Ok(Some(at))
    }

    /// One name below an open directory.
    fn step(
        &mut self,
        parent: Slot,
        name: &[u8],
        path: Vec<u8>,
        make: bool,
    ) -> Result<Step, Error> {
        let dir = self.fd(parent);
        match open_dir(dir, name) {
            Ok(fd) => self.insert(path, fd, parent).map(Step::Dir),
            Err(Errno::NOENT) if make => self.imply(parent, name, path).map(Step::Dir),
            Err(Errno::NOENT) => Ok(Step::Missing),
            Err(Errno::ACCESS) => {
                // A directory of a mode that shuts out its owner. Opening it again comes after this
                // in `insert`, which restores the mode later.
                let mode = make_accessible(dir, name).map_err(Error::sys("chmod", &path))?;
                let fd = open_dir(dir, name).map_err(Error::sys("openat", &path))?;
                let slot = self.insert(path, fd, parent)?;
                self.open[slot.0].mode = Some(mode);
                Ok(Step::Dir(slot))
            }
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(Error::sys("fstatat", &path))?;
                if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
                    let target = readlinkat(dir, name, Vec::new())
                        .map_err(Error::sys("readlinkat", &path))?;
                    return Ok(Step::Link(target.into_bytes()));
                }
                if make && is_whiteout(dir, name, &stat) {
                    // Whiteout of a directory of a lower layer, then entries in a new one.
                    unlinkat(dir, name, AtFlags::empty()).map_err(Error::sys("unlinkat", &path))?;
                    let slot = self.imply(parent, name, path)?;
                    self.set_opaque(slot)?;
                    return Ok(Step::Dir(slot));
                }
                Err(Error::NotADirectory {
                    path: path_buf(&path),
                })
            }
            Err(e) => Err(Error::sys("openat", &path)(e)),
        }
    }

    /// Hide what lower layers have in a directory.
    pub(super) fn set_opaque(&mut self, slot: Slot) -> Result<(), Error> {
        let open = &mut self.open[slot.0];
        open.touched = true;
        (self.whiteouts.set_opaque(open.fd.as_fd())).map_err(Error::sys("setxattr", &open.path))
    }

    /// Hide `name` of the lower layers; [`Errno::EXIST`] when the directory has it already.
    pub(super) fn whiteout(&mut self, slot: Slot, name: &[u8]) -> Result<(), Errno> {
        let open = &mut self.open[slot.0];
        open.touched = true;
        self.whiteouts.make(open.fd.as_fd(), name)
    }

    /// Make a directory that the tar does not list (or lists later).
    fn imply(&mut self, parent: Slot, name: &[u8], path: Vec<u8>) -> Result<Slot, Error> {
        let dir = self.touch(parent);
        mkdirat(dir, name, Mode::from_raw_mode(IMPLIED)).map_err(Error::sys("mkdirat", &path))?;
        let slot = self.enter_new(parent, name)?;
        self.implied.push(path);
        // A fixed time, so that the same layer gives the same tree.
        self.describe(slot, Some(IMPLIED), EPOCH);
        Ok(slot)
    }

    /// Put a directory into the cache, with what it has now noted for when it leaves.
    fn insert(&mut self, path: Vec<u8>, fd: OwnedFd, keep: Slot) -> Result<Slot, Error> {
        let stat = fstat(&fd).map_err(Error::sys("fstat", &path))?;
        let mode = stat.st_mode & 0o7777;
        let shut = mode & RWX != RWX;
        if shut {
            fchmod(&fd, Mode::from_raw_mode(mode | RWX)).map_err(Error::sys("fchmod", &path))?;
        }
        let mtime = Timespec {
            tv_sec: stat.st_mtime,
            tv_nsec: stat.st_mtime_nsec.cast_signed(),
        };
        self.place(path, fd, keep, shut.then_some(mode), mtime)
    }

    /// Put a directory into the cache in place of the one not used for longest, but not of `keep`.
    fn place(
        &mut self,
        path: Vec<u8>,
        fd: OwnedFd,
        keep: Slot,
        mode: Option<u32>,
        mtime: Timespec,
    ) -> Result<Slot, Error> {
        self.clock += 1;
        let open = Open {
            path,
            fd,
            used: self.clock,
            mode,
            mtime,
            touched: false,
        };
        if self.open.len() < CAPACITY {
            self.open.push(open);
            return Ok(Slot(self.open.len() - 1));
        }
        let oldest = (1..self.open.len())
            .filter(|i| *i != keep.0)
            .min_by_key(|i| self.open[*i].used);
        // There is always one: the cache has more than two places.
        let i = oldest.unwrap_or(1);
        close(&std::mem::replace(&mut self.open[i], open))?;
        Ok(Slot(i))
    }
}

/// Set what a directory is to have at the end.
fn close(open: &Open) -> Result<(), Error> {
    if let Some(mode) = open.mode {
        fchmod(&open.fd, Mode::from_raw_mode(mode)).map_err(Error::sys("fchmod", &open.path))?;
    }
    if open.touched {
        futimens(&open.fd, &mtime_only(open.mtime)).map_err(Error::sys("futimens", &open.path))?;
    }
    Ok(())
}

/// For utimensat: leave the access time alone.
pub(super) fn mtime_only(mtime: Timespec) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: mtime,
    }
}

fn push_components(todo: &mut Vec<Vec<u8>>, path: &[u8]) {
    let parts = path.split(|b| *b == b'/');
    todo.extend(
        parts
            .filter(|p| !p.is_empty() && *p != b".")
            .map(<[u8]>::to_vec)
            .rev(),
    );
}

pub(super) fn open_dir(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty())
}

/// Give the owner all rights on a directory that cannot be opened. Returns the mode it had.
///
/// By way of an `O_PATH` descriptor and its magic link, because fchmodat follows symlinks and
/// fchmodat2 needs kernel 6.6: what is changed is the directory that was opened, whatever has its
/// name by now.
pub(super) fn make_accessible(dir: BorrowedFd<'_>, name: &[u8]) -> Result<u32, Errno> {
    use std::os::fd::AsRawFd as _;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = openat(dir, name, flags, Mode::empty())?;
    let mode = fstat(&fd)?.st_mode & 0o7777;
    rustix::fs::chmod(
        format!("/proc/self/fd/{}", fd.as_raw_fd()),
        Mode::from_raw_mode(mode | RWX),
    )?;
    Ok(mode)
}
