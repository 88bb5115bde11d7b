//! Whiteouts and opaque directories as overlay reads them, by the best means the file system has.

use std::os::fd::BorrowedFd;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, XattrFlags, fgetxattr, fsetxattr, mknodat, openat, unlinkat,
};
use rustix::io::Errno;

use super::name;
use crate::trees::is_marked;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trees::is_whiteout;
    use std::fs;
    use std::os::fd::AsFd as _;

    /// The means that are left when the others fail, forced.
    fn made(device: bool, xattrs: bool, act: impl Fn(&mut Whiteouts, BorrowedFd<'_>)) -> Made {
        let tmp = tempfile::tempdir().unwrap();
        fs::create_dir(tmp.path().join("d")).unwrap();
        let dir = fs::File::open(tmp.path().join("d")).unwrap();
        act(&mut Whiteouts { device, xattrs }, dir.as_fd());
        let names = fs::read_dir(tmp.path().join("d")).unwrap();
        let mut names: Vec<_> = names
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        Made {
            opaque: xattr::get(tmp.path().join("d"), OPAQUE).unwrap(),
            whiteouts: names
                .iter()
                .map(|n| {
                    let flags = AtFlags::SYMLINK_NOFOLLOW;
                    let stat = rustix::fs::statat(&dir, n.as_str(), flags).unwrap();
                    is_whiteout(dir.as_fd(), n.as_bytes(), &stat)
                })
                .collect(),
            names,
        }
    }

    #[derive(PartialEq, Eq, Debug)]
    struct Made {
        names: Vec<String>,
        whiteouts: Vec<bool>,
        opaque: Option<Vec<u8>>,
    }

    fn want(names: &[&str], whiteouts: &[bool], opaque: Option<&[u8]>) -> Made {
        Made {
            names: names.iter().map(|n| (*n).to_owned()).collect(),
            whiteouts: whiteouts.to_vec(),
            opaque: opaque.map(<[u8]>::to_vec),
        }
    }

    #[test]
    fn whiteouts_by_every_means() {
        let make = |w: &mut Whiteouts, d: BorrowedFd<'_>| {
            w.make(d, b"x").unwrap();
            assert_eq!(w.make(d, b"x"), Err(Errno::EXIST));
        };
        assert_eq!(made(true, true, make), want(&["x"], &[true], None));
        assert_eq!(made(false, true, make), want(&["x"], &[true], Some(b"x")));
        assert_eq!(made(false, false, make), want(&[".wh.x"], &[false], None));
    }

    #[test]
    fn opaque_by_every_means() {
        let make = |w: &mut Whiteouts, d: BorrowedFd<'_>| {
            w.set_opaque(d).unwrap();
            w.set_opaque(d).unwrap();
        };
        assert_eq!(made(true, true, make), want(&[], &[], Some(b"y")));
        assert_eq!(
            made(false, false, make),
            want(&[".wh..wh..opq"], &[false], None)
        );
    }

    #[test]
    fn marked_files_do_not_show_in_an_opaque_directory() {
        let before = |w: &mut Whiteouts, d: BorrowedFd<'_>| {
            w.make(d, b"x").unwrap();
            w.set_opaque(d).unwrap();
        };
        let after = |w: &mut Whiteouts, d: BorrowedFd<'_>| {
            w.set_opaque(d).unwrap();
            w.make(d, b"x").unwrap();
        };
        assert_eq!(made(false, true, before), want(&[], &[], Some(b"y")));
        assert_eq!(made(false, true, after), want(&[], &[], Some(b"y")));
    }
}
