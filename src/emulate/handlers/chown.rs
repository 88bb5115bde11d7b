//! The chown family: the real call without a change, for all that the kernel does beside it, and then
//! the record. chown(2).

use std::ffi::CStr;

use rustix::fs::{AtFlags, CWD, FileType as Kind, Statx, StatxFlags, XattrFlags, statx};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

use super::{DONE, Reply, Result, Scratch, Seen};
use crate::emulate::caller::{Caller, widen};
use crate::emulate::creds::{KEEP, cap};
use crate::emulate::ownership::{self, Object};
use crate::emulate::resolve::{AT_FDCWD, Last};
use crate::emulate::rules::{Op, Width};
use crate::owners::{FileType, Owner};

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
    let last = if path.is_empty() { Last::Follow } else { last };
    if c.world.ownership.defaults_are_plain()
        && !c.world.ownership.is_beside()
        && c.cred().can(cap::CHOWN)
        && let Some(name) = c.name(dirfd, path, &mut scratch.name)
        && let Some(reply) = quickly(
            c,
            name,
            last,
            uid,
            gid,
            (&mut scratch.given, &mut scratch.seen),
        )
    {
        return Ok(reply);
    }
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
    if object.kind() == Kind::RegularFile {
        c.world.ownership.drop_capability(&object)?;
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

/// The usual cases, with as few system calls as they need: root gives a plain file away, or keeps it. `None`:
/// not one of them. `given` says of the file before whether it had been given away, and is told of this one; `seen`
/// says whose the file was that was looked at last.
fn quickly(
    c: &Caller<'_>,
    name: &CStr,
    last: Last,
    uid: u32,
    gid: u32,
    (given, seen): (&mut bool, &mut Option<Seen>),
) -> Option<Reply> {
    let is_root = |id| id == 0 || id == KEEP;
    if is_root(uid) && is_root(gid) {
        if ownership::attribute_at(name, last) != Err(Errno::NODATA) {
            return None;
        }
        // Nothing is recorded, and nothing is to be: the kernel can do it. What takes no attribute has
        // none either, but may have a record; a program may have capabilities in one.
        let usual = |(file_type, mode, _)| file_type == FileType::Dir || mode & 0o111 == 0;
        let nothing = c.world.ownership.is_quiet() || plain(name, last).is_some_and(usual);
        return nothing.then_some(Reply::Continue);
    }
    if uid == KEEP || gid == KEEP {
        return None;
    }
    let (file_type, mode, stat) = plain(name, last)?;
    // The kernel takes set-id bits and capabilities away, but not from a directory.
    if file_type == FileType::File && mode & 0o6111 != 0 {
        return None;
    }
    c.still_waits().ok()?;
    let owner = Owner {
        uid,
        gid,
        mode,
        file_type,
    };
    let set = |flags| ownership::set_attribute_at(name, last, &owner, flags);
    // Setting the attribute says EROFS and EPERM, copies up and sets ctime as chown(2) does. An error
    // is said by the long way. Who gives a tree away does so with all of it: what was true of the last
    // file tells which of two orders saves a call.
    if !*given {
        match set(XattrFlags::CREATE) {
            Ok(()) => return Some(DONE),
            Err(Errno::EXIST) => *given = true,
            Err(_) => return None,
        }
    }
    // Of two looks at the same file one is spared. What it is, it stays; and if it has meanwhile got this very owner
    // from another supervisor, no more is lost than a ctime.
    let before = match seen.take().filter(|seen| seen.is(&stat)) {
        Some(seen) => Ok(Some(seen.owner)),
        None => ownership::attribute_at(name, last),
    };
    match before {
        // What stands for a device stays one; and a value that is there already changes no ctime.
        Ok(Some(before)) if before.file_type == file_type && before != owner => {}
        Err(Errno::NODATA) => *given = false,
        _ => return None,
    }
    set(XattrFlags::empty()).ok()?;
    Some(DONE)
}

/// Type and mode of a file or directory that is, to the kernel, root's.
fn plain(name: &CStr, last: Last) -> Option<(FileType, u32, Statx)> {
    let flags = match last {
        Last::Follow => AtFlags::empty(),
        Last::Keep => AtFlags::SYMLINK_NOFOLLOW,
    };
    let owner = StatxFlags::UID | StatxFlags::GID;
    let which = StatxFlags::INO | StatxFlags::BTIME;
    let wanted = StatxFlags::TYPE | StatxFlags::MODE | owner | which;
    let stat = statx(CWD, name, flags, wanted).ok()?;
    let file_type = match Kind::from_raw_mode(stat.stx_mode.into()) {
        Kind::Directory => FileType::Dir,
        Kind::RegularFile => FileType::File,
        _ => return None,
    };
    let is_roots = (stat.stx_uid, stat.stx_gid) == (0, 0);
    is_roots.then_some((file_type, u32::from(stat.stx_mode) & 0o7777, stat))
}
