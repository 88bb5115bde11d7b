//! Whiteouts and opaque directories as overlay reads them, by the best means the file system has.

use std::os::fd::BorrowedFd;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, XattrFlags, fgetxattr, fsetxattr, mknodat, openat,
    unlinkat,
};
use rustix::io::Errno;

use super::name;

pub(super) const OPAQUE: &str = "user.overlay.opaque";
const WHITEOUT: &str = "user.overlay.whiteout";

/// Which means have not failed yet.
pub(super) struct Whiteouts {
    /// mknod of a device 0:0, which an ordinary user may do since kernel 5.8, except where the
    /// directory is itself on an overlay or a seccomp filter forbids it.
    pub(super) device: bool,
    /// User xattrs, which NFS has since 5.9 and tmpfs since 6.6.
    pub(super) xattrs: bool,
}

impl Whiteouts {
    /// Hide `name` of the lower layers. [`Errno::EXIST`] when `dir` has it already.
    pub(super) fn make(&mut self, dir: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
        if self.device {
            match mknodat(dir, name, FileType::CharacterDevice, Mode::empty(), 0) {
                Err(Errno::PERM | Errno::INVAL | Errno::OPNOTSUPP) => self.device = false,
                result => return result,
            }
        }
        if self.xattrs {
            match self.make_xattr(dir, name) {
                Err(Errno::OPNOTSUPP) => self.xattrs = false,
                result => return result,
            }
        }
        create(dir, &[name::WHITEOUT, name].concat()).map(drop)
    }

    /// The form that kernels since 6.7 know: a marked file in a marked directory.
    fn make_xattr(&self, dir: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
        // An opaque directory hides all that is below; in it the marked file would show.
        if xattr_is(dir, OPAQUE, b"y") {
            return Ok(());
        }
        let file = create(dir, name)?;
        let marked = fsetxattr(&file, WHITEOUT, b"y", XattrFlags::empty())
            .and_then(|()| fsetxattr(dir, OPAQUE, b"x", XattrFlags::empty()));
        if marked.is_err() {
            unlinkat(dir, name, AtFlags::empty())?;
        }
        marked
    }

    /// Hide everything that the lower layers have in `dir`.
    pub(super) fn set_opaque(&mut self, dir: BorrowedFd<'_>) -> Result<(), Errno> {
        if self.xattrs {
            let had_marked = xattr_is(dir, OPAQUE, b"x");
            match fsetxattr(dir, OPAQUE, b"y", XattrFlags::empty()) {
                Err(Errno::OPNOTSUPP) => self.xattrs = false,
                Ok(()) if had_marked => return remove_marked(dir),
                result => return result,
            }
        }
        match create(dir, name::OPAQUE) {
            Err(Errno::EXIST) => Ok(()),
            result => result.map(drop),
        }
    }
}

/// Whether an entry of an unpacked directory is a whiteout.
pub(super) fn is_whiteout(dir: BorrowedFd<'_>, name: &[u8], stat: &Stat) -> bool {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice => stat.st_rdev == 0,
        FileType::RegularFile => stat.st_size == 0 && is_marked(dir, name),
        _ => false,
    }
}

fn is_marked(dir: BorrowedFd<'_>, name: &[u8]) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty())
        .is_ok_and(|file| fgetxattr(&file, WHITEOUT, &mut [0u8; 8][..]).is_ok())
}

fn xattr_is(dir: BorrowedFd<'_>, name: &str, value: &[u8]) -> bool {
    let mut buf = [0u8; 8];
    fgetxattr(dir, name, &mut buf[..]).is_ok_and(|n| buf.get(..n) == Some(value))
}

fn create(dir: BorrowedFd<'_>, name: &[u8]) -> Result<rustix::fd::OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::from_raw_mode(0o600))
}

/// Remove the marked files of a directory that has become opaque.
fn remove_marked(dir: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut marked = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if entry.file_type() == FileType::RegularFile && is_marked(dir, name) {
            marked.push(name.to_vec());
        }
    }
    for name in marked {
        unlinkat(dir, name.as_slice(), AtFlags::empty())?;
    }
    Ok(())
}
