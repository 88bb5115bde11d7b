//! Owners and xattrs of what is unpacked: which go on the inode, which into the sidecar.

use std::os::fd::BorrowedFd;

use rustix::fs::{XattrFlags, fsetxattr};
use rustix::io::Errno;

use super::Error;
use super::entry::{Entry, Kind};
use crate::owners::{self, Owner};

/// Owners and xattrs: on the inode where it can have them, else in the sidecar.
pub(super) struct Metadata {
    pub(super) sidecar: owners::Writer,
    /// Until the file system says that it has no user xattrs.
    inode_owners: bool,
}

impl Metadata {
    pub(super) fn new(sidecar: owners::Writer) -> Self {
        Self {
            sidecar,
            inode_owners: true,
        }
    }

    /// Record the owner of an open file or directory.
    pub(super) fn set_owner(
        &mut self,
        fd: BorrowedFd<'_>,
        path: &[u8],
        owner: &Owner,
    ) -> Result<(), Error> {
        if self.inode_owners {
            let value = owner.to_string();
            match fsetxattr(fd, owners::XATTR, value.as_bytes(), XattrFlags::empty()) {
                Ok(()) => return Ok(()),
                Err(Errno::OPNOTSUPP) => self.inode_owners = false,
                Err(e) if belongs_in_sidecar(e) => {}
                Err(e) => return Err(Error::sys("fsetxattr", path)(e)),
            }
        }
        Ok(self.sidecar.own(path, owner)?)
    }

    /// Set the xattrs of an open file or directory.
    pub(super) fn set_xattrs(
        &mut self,
        fd: BorrowedFd<'_>,
        path: &[u8],
        xattrs: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<(), Error> {
        for (name, value) in xattrs {
            if may_set(name) {
                match fsetxattr(fd, name.as_slice(), value, XattrFlags::empty()) {
                    Ok(()) => continue,
                    Err(e) if belongs_in_sidecar(e) => {}
                    Err(e) => return Err(Error::sys("fsetxattr", path)(e)),
                }
            }
            self.sidecar.xattr(path, name, value)?;
        }
        Ok(())
    }
}

/// The owner record of an entry; none for what belongs to 0:0, devices apart.
pub(super) fn owner_of(e: &Entry) -> Option<Owner> {
    let file_type = match e.kind {
        Kind::Char(major, minor) => owners::FileType::Char(major, minor),
        Kind::Block(major, minor) => owners::FileType::Block(major, minor),
        _ if e.uid == 0 && e.gid == 0 => return None,
        Kind::File(_) | Kind::HardLink => owners::FileType::File,
        Kind::Dir => owners::FileType::Dir,
        Kind::Symlink => owners::FileType::Symlink,
        Kind::Fifo => owners::FileType::Pipe,
    };
    Some(Owner {
        uid: e.uid,
        gid: e.gid,
        mode: e.mode,
        file_type,
    })
}

/// Whether a layer may have this xattr on its inodes. Not outside `user.`: `security` and `trusted`
/// are not for us to set, and an ACL would grant rights to users of the host. Nor what would make
/// overlay, fuse-overlayfs or the owner emulation believe the layer in place of us.
fn may_set(name: &[u8]) -> bool {
    const RESERVED: [&[u8]; 4] = [
        b"user.overlay.",
        b"user.fuseoverlayfs.",
        b"user.containers.",
        b"user.coracle.",
    ];
    name.starts_with(b"user.") && !RESERVED.iter().any(|r| name.starts_with(r))
}

/// Errors that mean that this inode cannot have this xattr. ext4 says ENOSPC when its one block for
/// xattrs is full; if it is the disk, writing the sidecar fails as well.
fn belongs_in_sidecar(e: Errno) -> bool {
    matches!(
        e,
        Errno::OPNOTSUPP
            | Errno::PERM
            | Errno::ACCESS
            | Errno::INVAL
            | Errno::TOOBIG
            | Errno::RANGE
            | Errno::NOSPC
            | Errno::NAMETOOLONG
    )
}
