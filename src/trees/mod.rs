//! Directory trees that are laid over each other: how one hides what is below it, and what a directory
//! has when they are merged.
//!
//! The rules are those of overlay with `userxattr` (kernel Documentation/filesystems/overlayfs.rst,
//! "whiteouts and opaque directories"), for everybody who applies them without a mount: the copy driver,
//! the view of single files, the packing of layers, owners. The forms in use are listed in
//! [`crate::layer`].
//!
//! The trees are hostile. Nothing here follows a symlink or opens anything but directories, and the files
//! that may carry a mark.

mod beneath;
mod merge;
mod scratch;
mod size;

pub use beneath::beneath;
pub use merge::{Failed, Merged, Name, merge};
pub use scratch::clear_scratch;
pub use size::size;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, fgetxattr, openat, openat2, statat,
};
use rustix::io::Errno;

/// Marker of fuse-overlayfs and aufs, where the file system has neither devices nor xattrs.
const PREFIX: &[u8] = b".wh.";
/// The same for a whole directory.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Marks of overlay.
const OPAQUE_XATTR: &str = "user.overlay.opaque";
const WHITEOUT_XATTR: &str = "user.overlay.whiteout";

/// What one layer says about one name.
pub enum Seen {
    /// Nothing: lower layers decide.
    Nothing,
    /// That there is no such file.
    Whiteout,
    /// What it is.
    Entry(Box<Stat>),
}

/// Look a single name up in an open directory of one layer.
pub fn look(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Seen, Errno> {
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
pub fn marker(name: &[u8]) -> Option<Option<&[u8]>> {
    if name == OPAQUE {
        return Some(None);
    }
    name.strip_prefix(PREFIX).map(Some)
}

/// Whether what one layer has under a name says that there is nothing.
pub fn is_whiteout(dir: BorrowedFd<'_>, name: &[u8], stat: &Stat) -> bool {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice => stat.st_rdev == 0,
        FileType::RegularFile => stat.st_size == 0 && is_marked(dir, name),
        _ => false,
    }
}

/// Whether an empty file is a whiteout. Only our own unpacking and overlay set this xattr: a layer's own
/// are refused.
pub fn is_marked(dir: BorrowedFd<'_>, name: &[u8]) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty())
        .is_ok_and(|file| fgetxattr(&file, WHITEOUT_XATTR, &mut [0u8; 8][..]).is_ok())
}

/// Whether an open directory hides what lower layers have in it.
pub fn is_opaque(dir: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut buf = [0u8; 8];
    match fgetxattr(dir, OPAQUE_XATTR, &mut buf[..]) {
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

/// Open a path below `root` (relative, or empty for the root itself), through no symlink and no further
/// than `root`.
pub fn open_below(root: impl AsFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let path = if path.is_empty() { b"." } else { path };
    openat2(root, path, flags, Mode::empty(), resolve)
}

/// The same for a directory.
pub fn open_dir(root: impl AsFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    open_below(root, path, OFlags::RDONLY | OFlags::DIRECTORY)
}

/// Open one name below an open directory, not following it if it is a symlink.
pub fn open_child(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty())
}

/// `name` below `parent`, both relative.
pub fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() {
        name.to_vec()
    } else {
        [parent, b"/", name].concat()
    }
}
