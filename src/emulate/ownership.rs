//! Whom a file belongs to: the attribute on its inode, or a record beside it.
//!
//! Regular files and directories carry their owner themselves ([`XATTR`]). What cannot, symlinks, fifos,
//! sockets and devices of the host, is in the container's records ([`View`]) if it is on its root file
//! system, in those of a volume if it is on one, and else in memory: what is on a tmpfs or a devpts does not
//! outlive the container either.

mod expected;
mod inherited;
mod kept;

use std::collections::{HashMap, HashSet};
use std::ffi::CStr;
use std::io::Write as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::fs::{AtFlags, FileType as Kind, Mode, Statx, StatxFlags, XattrFlags, statx};
use rustix::io::Errno;

use self::expected::Expected;
pub(super) use self::kept::KeptVolume;

use super::access;
use super::creds::{Cred, cap};
use super::resolve::{self, FdName, Last, Place};
use crate::owners::{CAPABILITY, FileType, Node, Owner, Record, View, XATTR, acl};

/// More than any value of [`XATTR`].
const VALUE_MAX: usize = 128;

/// A file that is being looked at.
pub(super) struct Object {
    pub(super) fd: OwnedFd,
    pub(super) stat: Statx,
}

/// Whom it belongs to, as the container sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Belongs {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// What it stands for, if it is not what the kernel says.
    pub(super) device: Option<FileType>,
    /// Whether something was recorded.
    pub(super) recorded: bool,
}

impl Object {
    pub(super) fn new(fd: OwnedFd) -> Result<Self, Errno> {
        let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME | StatxFlags::MNT_ID;
        let stat = statx(&fd, c"", AtFlags::EMPTY_PATH, mask)?;
        Ok(Self { fd, stat })
    }

    pub(super) fn kind(&self) -> Kind {
        Kind::from_raw_mode(self.stat.stx_mode.into())
    }

    pub(super) fn mode(&self) -> u32 {
        u32::from(self.stat.stx_mode) & 0o7777
    }

    pub(super) fn name(&self) -> FdName {
        FdName::new(self.fd.as_fd())
    }

    /// Whether its inode takes our attribute, as far as the file system does.
    pub(super) fn carries(&self) -> bool {
        matches!(self.kind(), Kind::RegularFile | Kind::Directory)
    }

    /// Where it is in the container, relative to the root.
    fn path(&self) -> Option<Vec<u8>> {
        let path =
            rustix::fs::readlinkat(rustix::fs::CWD, self.name().as_cstr(), Vec::new()).ok()?;
        Some(path.into_bytes().strip_prefix(b"/")?.to_vec())
    }
}

/// What the attribute of the file behind `name` says; `Ok(None)` if it is not there.
pub(super) fn parse(value: &[u8]) -> Option<Owner> {
    Owner::parse(value)
}

/// Records beside inodes.
pub(super) struct Ownership {
    view: Mutex<View>,
    /// On other file systems, by device and inode.
    memory: Mutex<HashMap<(u32, u32, u64), Record>>,
    /// There is no record of either kind: the usual case, which must cost nothing.
    quiet: AtomicBool,
    /// Owners of files and directories are in records as well, and count before the attribute: where
    /// fuse-overlayfs keeps that for itself, or there was no room for it.
    beside: AtomicBool,
    /// A directory with a recorded default ACL was seen: the exception, too.
    hands_down: AtomicBool,
    /// Names of attributes that records of the image have, beyond those that always may be recorded.
    attributes: OnceLock<HashSet<Vec<u8>>>,
    root: Place,
    volumes: Option<Volumes>,
    kept: Vec<KeptVolume>,
    expected: Mutex<Vec<Expected>>,
}

/// Directories of the host whose files, where they are the caller's, are the first process's.
pub(super) struct Volumes {
    pub(super) mounts: Vec<u64>,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Records in memory at most.
const MEMORY_MAX: usize = 1 << 16;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ownership {
    pub(super) fn new(
        view: View,
        root: Place,
        volumes: Option<Volumes>,
        kept: Vec<KeptVolume>,
    ) -> Self {
        // A sidecar that cannot be read is none: the container's owners of links are not worth its end. Another
        // container may record something in a volume at any time.
        let quiet = kept.is_empty() && view.is_empty().unwrap_or(true);
        let beside = !quiet && view.has_owner_of_files().unwrap_or(false)
            || kept.iter().any(KeptVolume::has_owner_of_files);
        let hands_down = !quiet && view.has_xattr(acl::DEFAULT).unwrap_or(false);
        Self {
            view: Mutex::new(view),
            memory: Mutex::default(),
            quiet: AtomicBool::new(quiet),
            beside: AtomicBool::new(beside),
            hands_down: AtomicBool::new(hands_down),
            attributes: OnceLock::new(),
            root,
            volumes,
            kept,
            expected: Mutex::default(),
        }
    }

    /// Whether no record means what the kernel says.
    pub(super) fn defaults_are_plain(&self) -> bool {
        self.volumes.is_none()
    }

    /// Whose it is without a record.
    fn default_of(&self, object: &Object) -> (u32, u32) {
        let (uid, gid) = (object.stat.stx_uid, object.stat.stx_gid);
        match &self.volumes {
            Some(v) if v.mounts.contains(&object.stat.stx_mnt_id) => (
                if uid == 0 { v.uid } else { uid },
                if gid == 0 { v.gid } else { gid },
            ),
            _ => (uid, gid),
        }
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.quiet.load(Ordering::Relaxed)
    }

    /// Whether a file or directory without the attribute may have an owner in a record.
    pub(super) fn is_beside(&self) -> bool {
        self.beside.load(Ordering::Relaxed)
    }

    /// It stands for a device, and is root's until it is given away. Where that cannot be on its inode, it
    /// is recorded.
    pub(super) fn make_device(&self, object: &Object, owner: Owner) -> Result<(), Errno> {
        match set_attribute(object.fd.as_fd(), &owner) {
            Err(Errno::OPNOTSUPP | Errno::PERM)
                if self.on_root(object) || self.kept(object).is_some() =>
            {
                self.beside.store(true, Ordering::Relaxed);
                let mut record = self.record(object).unwrap_or_default();
                record.owner = Some(owner);
                self.set_record(object, record)
            }
            result => result,
        }
    }

    /// Whether [`Self::default_acl`] may say anything.
    pub(super) fn hands_down(&self) -> bool {
        self.hands_down.load(Ordering::Relaxed)
    }

    /// The recorded ACL of what is made in a directory.
    pub(super) fn default_acl(&self, dir: &Object) -> Option<Vec<u8>> {
        let mut xattrs = self.record(dir)?.xattrs.into_iter();
        xattrs
            .find(|(name, _)| name == acl::DEFAULT)
            .map(|(_, value)| value)
    }

    fn on_root(&self, object: &Object) -> bool {
        object.stat.stx_mnt_id == self.root.mount
    }

    /// Whom it belongs to.
    pub(super) fn of(&self, object: &Object) -> Belongs {
        let owner = self.recorded(object);
        let device = owner.map(|o| o.file_type).filter(|t| {
            matches!(t, FileType::Char(..) | FileType::Block(..))
                && object.kind() == Kind::RegularFile
        });
        let (uid, gid) = owner.map_or_else(|| self.default_of(object), |o| (o.uid, o.gid));
        Belongs {
            uid,
            gid,
            device,
            recorded: owner.is_some(),
        }
    }

    fn recorded(&self, object: &Object) -> Option<Owner> {
        if object.kind() == Kind::Socket {
            self.settle(object.stat.stx_mnt_id);
        }
        if self.is_beside()
            && let Some(owner) = self.record(object).and_then(|r| r.owner)
        {
            return Some(owner);
        }
        if object.carries() {
            let mut value = [0u8; VALUE_MAX];
            match rustix::fs::getxattr(object.name().as_cstr(), XATTR, &mut value) {
                Ok(n) => return parse(&value[..n]),
                Err(Errno::NODATA) => return None,
                Err(_) => {}
            }
        }
        self.record(object)?.owner
    }

    /// Whether its owner and mode allow `want`, in files that have both: what is a device, or comes from
    /// /proc, is the kernel's business, and so is a file with an ACL, which we do not read.
    pub(super) fn check(&self, cred: &Cred, fd: &OwnedFd, want: u32) -> Result<(), Errno> {
        if cred.can(cap::DAC_OVERRIDE) && want & access::SEARCH == 0 {
            return Ok(());
        }
        let object = Object::new(fd.try_clone().map_err(|_| Errno::MFILE)?)?;
        let is_dir = match object.kind() {
            Kind::Directory => true,
            Kind::RegularFile | Kind::Fifo | Kind::Socket => false,
            _ => return Ok(()),
        };
        let allowed = access::allows(cred, self.of(&object), object.mode(), is_dir, want)
            || resolve::is_proc(&object.fd)
            || self.has_acl(&object);
        if allowed { Ok(()) } else { Err(Errno::ACCESS) }
    }

    fn has_acl(&self, object: &Object) -> bool {
        let name = acl::ACCESS;
        let mut none: [u8; 0] = [];
        rustix::fs::getxattr(object.name().as_cstr(), name, &mut none).is_ok()
            || self
                .record(object)
                .is_some_and(|r| r.xattrs.iter().any(|(n, _)| n == name))
    }

    /// The record beside its inode.
    pub(super) fn record(&self, object: &Object) -> Option<Record> {
        if self.is_quiet() {
            return None;
        }
        if !self.on_root(object) {
            return match self.kept(object) {
                Some(volume) => volume.record(object),
                None => lock(&self.memory).get(&key(object)).cloned(),
            };
        }
        let links = object.stat.stx_nlink > 1 && object.kind() != Kind::Directory;
        let node = Node::of(&object.stat);
        let path = object.path()?;
        let view = lock(&self.view);
        let record = view.get(&path, node, links).ok()?;
        record.map(std::borrow::Cow::into_owned)
    }

    /// Change the record beside its inode.
    pub(super) fn set_record(&self, object: &Object, record: Record) -> Result<(), Errno> {
        self.set_record_moving(object, record, None)
    }

    /// The same of a file that is about to be elsewhere.
    fn set_record_moving(
        &self,
        object: &Object,
        mut record: Record,
        to: Option<Vec<u8>>,
    ) -> Result<(), Errno> {
        if record.xattrs.iter().any(|(name, _)| name == acl::DEFAULT) {
            self.hands_down.store(true, Ordering::Relaxed);
        }
        if self.on_root(object) {
            let copy = copied_up(object)?;
            let path = copy.path().ok_or(Errno::NOENT)?;
            let node = Some(Node::of(&copy.stat)).filter(|n| n.birth != 0 || !copy.carries());
            for (_, value) in record
                .xattrs
                .extract_if(.., |(name, _)| name == CAPABILITY.as_bytes())
            {
                // Where the next write takes it away, which a record of its own would outlive.
                let (name, any) = (copy.name(), XattrFlags::empty());
                let _ = rustix::fs::setxattr(name.as_cstr(), CAPABILITY, &value, any);
            }
            if node.is_none() {
                // Even a record that says nothing says then that it is root's.
                self.beside.store(true, Ordering::Relaxed);
            }
            let to = to.as_ref().unwrap_or(&path);
            let set = lock(&self.view).set_moving(&path, to, node, record);
            set.map_err(|e| errno(&e))?;
        } else if let Some(volume) = self.kept(object) {
            volume.set_record(object, record)?;
        } else {
            let mut memory = lock(&self.memory);
            if record == Record::default() {
                memory.remove(&key(object));
            } else if memory.len() >= MEMORY_MAX {
                return Err(Errno::NOSPC);
            } else {
                memory.insert(key(object), record);
            }
        }
        self.quiet.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Record an ACL and a default ACL of a new file.
    pub(super) fn set_acls(
        &self,
        object: &Object,
        access: Option<Vec<u8>>,
        default: Option<Vec<u8>>,
    ) -> Result<(), Errno> {
        let mut record = self.record(object).unwrap_or_default();
        let acls = [(acl::ACCESS, access), (acl::DEFAULT, default)];
        let acls = acls.into_iter().filter_map(|(n, v)| Some((n.to_vec(), v?)));
        record.xattrs.extend(acls);
        self.set_record(object, record)
    }

    /// The owner on its inode has changed: no record may say another.
    fn follow(&self, object: &Object, owner: Owner) -> Result<(), Errno> {
        let record = self.is_beside().then(|| self.record(object)).flatten();
        match record {
            Some(mut record) if record.owner.is_some() => {
                record.owner = Some(owner);
                self.set_record(object, record)
            }
            _ => Ok(()),
        }
    }

    /// Give it to somebody. `before` is whom it belonged to; `object` is fresh.
    pub(super) fn give(
        &self,
        object: &Object,
        before: Belongs,
        uid: u32,
        gid: u32,
    ) -> Result<(), Errno> {
        let owner = Owner {
            uid,
            gid,
            mode: object.mode(),
            file_type: before.device.unwrap_or(match object.kind() {
                Kind::Directory => FileType::Dir,
                Kind::Symlink => FileType::Symlink,
                Kind::Fifo => FileType::Pipe,
                Kind::Socket => FileType::Socket,
                _ => FileType::File,
            }),
        };
        let plain = (uid, gid) == self.default_of(object) && before.device.is_none();
        if object.carries() {
            let name = object.name();
            let result = if plain && !before.recorded {
                return Ok(());
            } else if plain {
                rustix::fs::removexattr(name.as_cstr(), XATTR)
            } else if before.recorded && (before.uid, before.gid) == (uid, gid) {
                return Ok(());
            } else {
                set_attribute(object.fd.as_fd(), &owner)
            };
            match result {
                Ok(()) => return self.follow(object, owner),
                Err(Errno::NODATA) => {}
                // No user attributes on this file system, or not this one.
                Err(Errno::OPNOTSUPP | Errno::PERM) => self.beside.store(true, Ordering::Relaxed),
                Err(e) => return Err(e),
            }
        }
        if plain && !before.recorded {
            return Ok(());
        }
        let mut record = self.record(object).unwrap_or_default();
        record.owner = Some(owner);
        self.set_record(object, record)
    }
}

/// Why something could not be recorded.
fn errno(e: &crate::owners::Error) -> Errno {
    match e {
        crate::owners::Error::Sidecar { source, .. } => {
            Errno::from_io_error(source).unwrap_or(Errno::IO)
        }
        _ => Errno::IO,
    }
}

/// The file, as it is when overlay has copied it up: for a change of nothing.
fn copied_up(object: &Object) -> Result<Object, Errno> {
    use rustix::fs::{CWD, chmodat, chownat};
    let again = || Object::new(object.fd.try_clone().map_err(|_| Errno::MFILE)?);
    if object.carries() {
        // Not chown(2), which takes set-id bits.
        let mode = Mode::from_raw_mode(again()?.mode());
        chmodat(CWD, object.name().as_cstr(), mode, AtFlags::empty())?;
    } else {
        chownat(&object.fd, c"", None, None, AtFlags::EMPTY_PATH)?;
    }
    again()
}

fn key(object: &Object) -> (u32, u32, u64) {
    let s = &object.stat;
    (s.stx_dev_major, s.stx_dev_minor, s.stx_ino)
}

/// Put the attribute on an inode.
pub(super) fn set_attribute(fd: BorrowedFd<'_>, owner: &Owner) -> Result<(), Errno> {
    let name = FdName::new(fd);
    set_attribute_at(name.as_cstr(), Last::Follow, owner, XattrFlags::empty())
}

/// The same, by a name.
pub(super) fn set_attribute_at(
    name: &CStr,
    last: Last,
    owner: &Owner,
    flags: XattrFlags,
) -> Result<(), Errno> {
    let mut value = [0u8; VALUE_MAX];
    let mut rest = &mut value[..];
    // The longest owner has half of that.
    write!(rest, "{owner}").map_err(|_| Errno::RANGE)?;
    let free = rest.len();
    let value = &value[..VALUE_MAX - free];
    match last {
        Last::Follow => rustix::fs::setxattr(name, XATTR, value, flags),
        Last::Keep => rustix::fs::lsetxattr(name, XATTR, value, flags),
    }
}

/// What the attribute says; `ENODATA` also for what takes none.
pub(super) fn attribute_at(name: &CStr, last: Last) -> Result<Option<Owner>, Errno> {
    let mut value = [0u8; VALUE_MAX];
    let length = match last {
        Last::Follow => rustix::fs::getxattr(name, XATTR, &mut value),
        Last::Keep => rustix::fs::lgetxattr(name, XATTR, &mut value),
    }?;
    Ok(parse(&value[..length]))
}
