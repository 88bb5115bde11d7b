//! Owner, type and xattrs of a file as they are in the image.

use std::borrow::Cow;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use rustix::fs::{FileType, Stat, fgetxattr, flistxattr, getxattr, listxattr};
use rustix::io::Errno;

use super::archive::{PAX_MAX, Xattrs, pax_size};
use super::tree::Opened;
use super::{Error, Note, Notes, Refusal};
use crate::owners::{self, Owner, acl};

/// The kernel's limits for the list of names and for a value (xattr(7)).
const XATTR_MAX: usize = 64 << 10;
const CAPABILITY: &[u8] = owners::CAPABILITY.as_bytes();
const ACLS: [&[u8]; 2] = [acl::ACCESS, acl::DEFAULT];
/// Prefix under which overlay keeps what a container calls `user.overlay.NAME`.
const ESCAPED: &[u8] = b"user.overlay.overlay.";

/// What the tar says about a file, apart from its inode.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Attrs {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// A device that a file stands for.
    pub(super) device: Option<owners::FileType>,
    pub(super) xattrs: Xattrs,
}

/// Reads attributes; keeps its buffer.
#[derive(Debug)]
pub(super) struct Reader {
    /// The user id that all files of ours have.
    uid: u32,
    buffer: Vec<u8>,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self {
            uid: rustix::process::geteuid().as_raw(),
            buffer: vec![0; XATTR_MAX],
        }
    }

    /// Of an open file, which may be an `O_PATH` one for what is neither file nor directory.
    pub(super) fn read(
        &mut self,
        tree: &Opened,
        file: BorrowedFd<'_>,
        path: &[u8],
        stat: &Stat,
        notes: &mut Notes,
    ) -> Result<Attrs, Error> {
        if stat.st_uid != self.uid {
            return Err(Error::refused(path, Refusal::Foreign));
        }
        let mut attrs = Attrs::default();
        let mut owner = None;
        self.inode(file, path, stat, &mut attrs, &mut owner)?;
        if let Some(record) = tree.record(path, file, stat)? {
            owner = record.owner.or(owner);
            for (name, value) in &record.xattrs {
                let value = match name.as_slice() {
                    // A later chmod(2) is not in the record; a layer has seen none.
                    acl::ACCESS if tree.is_container() => acl::with_mode(value, stat.st_mode),
                    _ => value.clone(),
                };
                attrs.xattrs.retain(|(n, _)| n != name);
                attrs.xattrs.push((name.clone(), value));
            }
        }
        if let Some(owner) = owner {
            (attrs.uid, attrs.gid) = (owner.uid, owner.gid);
            let device = matches!(
                owner.file_type,
                owners::FileType::Char(..) | owners::FileType::Block(..)
            );
            let stands_for_one = FileType::from_raw_mode(stat.st_mode).is_file();
            attrs.device = (device && stands_for_one).then_some(owner.file_type);
        }
        checked(attrs, path, notes)
    }

    /// Of a file that is no image's: root's, without owner records, devices and ACLs, whose ids are the host's.
    pub(super) fn of_a_stranger(
        &mut self,
        file: BorrowedFd<'_>,
        path: &[u8],
        stat: &Stat,
        notes: &mut Notes,
    ) -> Result<Attrs, Error> {
        let mut attrs = Attrs::default();
        match self.inode(file, path, stat, &mut attrs, &mut None) {
            // One that looks like a record of ours is nothing to us here.
            Err(Error::Refused { .. }) | Ok(()) => {}
            Err(e) => return Err(e),
        }
        attrs.xattrs.retain(|(n, _)| !ACLS.contains(&n.as_slice()));
        checked(attrs, path, notes)
    }

    /// Take what is on the inode.
    fn inode(
        &mut self,
        file: BorrowedFd<'_>,
        path: &[u8],
        stat: &Stat,
        attrs: &mut Attrs,
        owner: &mut Option<Owner>,
    ) -> Result<(), Error> {
        let xattrs = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile | FileType::Directory => Place::Open(file.as_fd()),
            // Nothing that we would take.
            FileType::Symlink => return Ok(()),
            _ => Place::Path(format!("/proc/self/fd/{}", file.as_raw_fd())),
        };
        let n = match xattrs.list(&mut self.buffer) {
            Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(()),
            n => n.map_err(Error::sys("listxattr", path))?,
        };
        let names = self.buffer[..n].to_vec();
        for name in names.split(|b| *b == 0).filter(|n| !n.is_empty()) {
            let Some(kept) = name_in_image(name, path)? else {
                continue;
            };
            let value = match xattrs.get(name, &mut self.buffer) {
                // Removed since it was listed.
                Err(Errno::NODATA) => continue,
                n => &self.buffer[..n.map_err(Error::sys("getxattr", path))?],
            };
            match kept {
                Kept::Owner => {
                    let parsed = Owner::parse(value);
                    *owner = Some(parsed.ok_or_else(|| Error::refused(path, Refusal::Record))?);
                }
                Kept::As(name) if *name == *CAPABILITY => {
                    let value = everybodys_root(value, self.uid);
                    attrs.xattrs.push((CAPABILITY.to_vec(), value));
                }
                Kept::As(name) => attrs.xattrs.push((name.into_owned(), value.to_vec())),
            }
        }
        Ok(())
    }
}

/// Xattrs in their order, of which the format holds all.
fn checked(mut attrs: Attrs, path: &[u8], notes: &mut Notes) -> Result<Attrs, Error> {
    attrs.xattrs.retain(|(name, _)| {
        let fits = !name.contains(&b'=');
        if !fits {
            notes.add(path, Note::XattrName);
        }
        fits
    });
    attrs.xattrs.sort();
    if pax_size(&attrs.xattrs) > PAX_MAX / 2 {
        return Err(Error::refused(path, Refusal::TooManyXattrs));
    }
    Ok(attrs)
}

enum Place<'a> {
    Open(BorrowedFd<'a>),
    Path(String),
}

impl Place<'_> {
    fn list(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Open(fd) => flistxattr(fd, buffer),
            Self::Path(path) => listxattr(path, buffer),
        }
    }

    fn get(&self, name: &[u8], buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Open(fd) => fgetxattr(fd, name, buffer),
            Self::Path(path) => getxattr(path, name, buffer),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Kept<'a> {
    Owner,
    As(Cow<'a, [u8]>),
}

/// What an xattr of an inode is called in the image; `None` when it is not of the image.
fn name_in_image<'a>(name: &'a [u8], path: &[u8]) -> Result<Option<Kept<'a>>, Error> {
    const OURS: [&[u8]; 4] = [
        b"user.overlay.",
        b"user.fuseoverlayfs.",
        b"user.containers.",
        b"user.coracle.",
    ];
    Ok(match name {
        name if name == owners::XATTR.as_bytes() => Some(Kept::Owner),
        b"user.overlay.redirect" | b"user.overlay.metacopy" => {
            return Err(Error::refused(path, Refusal::Elsewhere));
        }
        name if name.starts_with(ESCAPED) => {
            let name = [b"user.overlay.", &name[ESCAPED.len()..]].concat();
            Some(Kept::As(Cow::Owned(name)))
        }
        name if OURS.iter().any(|p| name.starts_with(p)) => None,
        name if name.starts_with(b"user.") || name == CAPABILITY || ACLS.contains(&name) => {
            Some(Kept::As(Cow::Borrowed(name)))
        }
        _ => None,
    })
}

/// A file capability (version 3) that holds for root of our namespace, whose user id outside is `uid`,
/// to one that holds for root wherever the image is used (version 2). The kernel does that by itself where
/// root asks, inside. capabilities(7), "File capability extended attribute versioning".
fn everybodys_root(value: &[u8], uid: u32) -> Vec<u8> {
    const REVISION_2: u32 = 0x0200_0000;
    const REVISION_3: u32 = 0x0300_0000;
    let number = |at: usize| {
        let bytes = value.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_le_bytes(bytes))
    };
    match (number(0), number(20)) {
        (Some(magic), Some(root))
            if value.len() == 24
                && magic & 0xff00_0000 == REVISION_3
                && (root == uid || root == 0) =>
        {
            let magic = (magic & 0x00ff_ffff | REVISION_2).to_le_bytes();
            [&magic, &value[4..20]].concat()
        }
        _ => value.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_lose_our_root_and_no_other() {
        let v2 = [
            1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        let v3 = |root: u32| {
            let mut v3 = v2.to_vec();
            v3[3] = 3;
            v3.extend(root.to_le_bytes());
            v3
        };
        assert_eq!(everybodys_root(&v3(1000), 1000), v2);
        assert_eq!(everybodys_root(&v3(0), 1000), v2);
        assert_eq!(everybodys_root(&v3(7), 1000), v3(7));
        for other in [&v2[..], &v2[..12], &[], &[0; 24]] {
            assert_eq!(everybodys_root(other, 1000), other);
        }
    }

    #[test]
    fn xattrs_of_the_image_are_told_from_ours() {
        let kept = |name: &'static str| name_in_image(name.as_bytes(), b"x").unwrap();
        for name in [
            "user.x",
            "security.capability",
            "system.posix_acl_access",
            "system.posix_acl_default",
        ] {
            let same = Kept::As(Cow::Borrowed(name.as_bytes()));
            assert_eq!(kept(name), Some(same), "{name}");
        }
        for name in [
            "user.overlay.opaque",
            "user.overlay.origin",
            "user.fuseoverlayfs.opaque",
            "user.containers.x",
            "user.coracle.x",
            "security.selinux",
            "trusted.x",
            "system.nfs4_acl",
        ] {
            assert_eq!(kept(name), None, "{name}");
        }
        assert_eq!(kept(owners::XATTR), Some(Kept::Owner));
        // What a container called so, and overlay keeps apart from its own.
        let escaped = Kept::As(Cow::Borrowed(&b"user.overlay.opaque"[..]));
        assert_eq!(kept("user.overlay.overlay.opaque"), Some(escaped));
        for name in ["user.overlay.redirect", "user.overlay.metacopy"] {
            assert!(name_in_image(name.as_bytes(), b"x").is_err(), "{name}");
        }
    }
}
