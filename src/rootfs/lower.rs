//! How an unpacked layer hides what is below it: the rules of overlay with `userxattr`, which the
//! copy driver and the view apply by themselves. Kernel Documentation/filesystems/overlayfs.rst,
//! "whiteouts and opaque directories"; the forms in use are listed in [`crate::layer`].

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, fgetxattr, openat, statat};
use rustix::io::Errno;

/// Marker of fuse-overlayfs and aufs, where the file system has neither devices nor xattrs.
const PREFIX: &[u8] = b".wh.";
/// The same for a whole directory.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What one layer says about one name.
pub(super) enum Seen {
    /// Nothing: lower layers decide.
    Nothing,
    /// That there is no such file.
    Whiteout,
    /// What it is.
    Entry(Box<Stat>),
}

/// Look a single name up in an open directory of one layer.
pub(super) fn look(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Seen, Errno> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) if name.starts_with(PREFIX) => Ok(Seen::Nothing),
        Ok(stat) if is_whiteout(dir, name, &stat) => Ok(Seen::Whiteout),
        Ok(stat) => Ok(Seen::Entry(Box::new(stat))),
        Err(Errno::NOENT) => {
            let marker = [PREFIX, name].concat();
            match statat(dir, marker, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(_) => Ok(Seen::Whiteout),
                // The marker's name may be too long where the name is not.
                Err(Errno::NOENT | Errno::NAMETOOLONG) => Ok(Seen::Nothing),
                Err(e) => Err(e),
            }
        }
        Err(Errno::NAMETOOLONG) => Ok(Seen::Nothing),
        Err(e) => Err(e),
    }
}

/// The name that a marker file hides, if `name` is one. The opaque marker hides nothing by itself.
pub(super) fn marker(name: &[u8]) -> Option<Option<&[u8]>> {
    if name == OPAQUE {
        return Some(None);
    }
    name.strip_prefix(PREFIX).map(Some)
}

fn is_whiteout(dir: BorrowedFd<'_>, name: &[u8], stat: &Stat) -> bool {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice => stat.st_rdev == 0,
        // Only our own unpacking sets this xattr: the layer's own are refused there.
        FileType::RegularFile if stat.st_size == 0 => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            openat(dir, name, flags, Mode::empty()).is_ok_and(|file| {
                fgetxattr(&file, "user.overlay.whiteout", &mut [0u8; 8][..]).is_ok()
            })
        }
        _ => false,
    }
}

/// Whether an open directory hides what lower layers have in it.
pub(super) fn is_opaque(dir: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut buf = [0u8; 8];
    match fgetxattr(dir, "user.overlay.opaque", &mut buf[..]) {
        Ok(n) if buf.get(..n) == Some(b"y") => return Ok(true),
        Ok(_) | Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => {}
        Err(e) => return Err(e),
    }
    match statat(dir, OPAQUE, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Open a directory by its path below `root` (relative, or empty for the root itself), through no
/// symlink and no further than `root`.
pub(super) fn open_dir(root: impl AsFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let path = if path.is_empty() { b"." } else { path };
    rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)
}

/// Open one name below an open directory, not following it if it is a symlink.
pub(super) fn open_child(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty())
}

/// `name` below `parent`, both relative.
pub(super) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() {
        name.to_vec()
    } else {
        [parent, b"/", name].concat()
    }
}
