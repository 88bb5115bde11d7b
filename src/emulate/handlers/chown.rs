//! The chown family: the real call without a change, for all that the kernel does beside it, and then
//! the record. chown(2).

use rustix::fs::AtFlags;
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

use super::{DONE, Result, Scratch};
use crate::emulate::caller::{Caller, widen};
use crate::emulate::creds::KEEP;
use crate::emulate::ownership::Object;
use crate::emulate::resolve::{AT_FDCWD, Last};
use crate::emulate::rules::{Op, Width};

pub(super) fn handle(c: &Caller<'_>, scratch: &mut Scratch) -> Result {
    let ids = |at: usize| match c.call.width {
        Width::Short => [widen(c.word(at) as u16), widen(c.word(at + 1) as u16)],
        _ => [c.word(at), c.word(at + 1)],
    };
    let (dirfd, path, last, [uid, gid]) = match c.call.op {
        Op::Fchown => (c.int(0), None, Last::Follow, ids(1)),
        Op::Fchownat => {
            let flags = c.word(4);
            let known = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
            if flags & !known.bits() != 0 {
                return Err(Errno::INVAL);
            }
            let last = if flags & AtFlags::SYMLINK_NOFOLLOW.bits() != 0 {
                Last::Keep
            } else {
                Last::Follow
            };
            (c.int(0), Some(1), last, ids(2))
        }
        Op::Lchown => (AT_FDCWD, Some(0), Last::Keep, ids(1)),
        _ => (AT_FDCWD, Some(0), Last::Follow, ids(1)),
    };
    let path = match path {
        Some(at) => {
            c.path(at, &mut scratch.path)?;
            let path = scratch.path.as_bytes();
            let empty_allowed =
                c.call.op == Op::Fchownat && c.word(4) & AtFlags::EMPTY_PATH.bits() != 0;
            if path.is_empty() && !empty_allowed {
                return Err(Errno::NOENT);
            }
            path
        }
        None => b"",
    };
    let fd = c.open(dirfd, path, last)?;
    let mut object = Object::new(fd)?;
    let before = c.world.ownership.of(&object);
    if !c.cred().may_chown(before.uid, before.gid, uid, gid) {
        return Err(Errno::PERM);
    }
    c.still_waits()?;
    // As the root that the kernel knows: to the owner that the file has. It says EROFS and EPERM, copies
    // up, sets ctime, and clears set-id bits and file capabilities.
    let root = |id: u32| (id != KEEP).then_some(0);
    rustix::fs::chownat(
        &object.fd,
        c"",
        root(uid).map(Uid::from_raw),
        root(gid).map(Gid::from_raw),
        AtFlags::EMPTY_PATH,
    )?;
    // A symlink that was copied up is another inode now, and set-id bits may be gone.
    if !object.carries() || object.mode() & 0o6000 != 0 {
        object = Object::new(object.fd)?;
    }
    let pick = |new: u32, old: u32| if new == KEEP { old } else { new };
    c.world.ownership.give(
        &object,
        before,
        pick(uid, before.uid),
        pick(gid, before.gid),
    )?;
    Ok(DONE)
}
