//! Access as owners and modes have it, for whoever is not root: asked about with `--identity strict` only.
//! To the kernel all are the owner of everything. What is refused here is refused; what is not, the kernel
//! carries out: a race gets somebody what he has anyway. path_resolution(7), access(2), unlink(2), chmod(2).

use rustix::fs::{AtFlags, FileType, StatxFlags, statx};
use rustix::io::Errno;

use super::{Reply, Result, Scratch};
use crate::emulate::access::{READ, SEARCH, WRITE};
use crate::emulate::caller::Caller;
use crate::emulate::creds::{Cred, Ids, cap};
use crate::emulate::ownership::Object;
use crate::emulate::resolve::{AT_FDCWD, Last, split};
use crate::emulate::rules::Op;

type Checked = std::result::Result<(), Errno>;

/// What is looked at.
struct Target {
    dirfd: i32,
    path: usize,
    last: Last,
}

fn target(dirfd: i32, path: usize, last: Last) -> Target {
    Target { dirfd, path, last }
}

pub(super) fn handle(c: &Caller<'_>, scratch: &mut Scratch) -> Result {
    let cred = c.cred();
    if cred.can(cap::DAC_OVERRIDE) && cred.can(cap::FOWNER) && !asks_about_real(c, cred) {
        return Ok(Reply::Continue);
    }
    check(c, cred, scratch)?;
    Ok(Reply::Continue)
}

/// access(2) is about the real ids.
fn asks_about_real(c: &Caller<'_>, cred: &Cred) -> bool {
    matches!(c.call.op, Op::Access | Op::Faccessat | Op::Faccessat2)
        && (cred.uid.real != cred.uid.effective || cred.gid.real != cred.gid.effective)
}

fn follow(flags: u32) -> Last {
    if flags & AtFlags::SYMLINK_NOFOLLOW.bits() != 0 {
        Last::Keep
    } else {
        Last::Follow
    }
}

fn check(c: &Caller<'_>, cred: &Cred, scratch: &mut Scratch) -> Checked {
    let here = AT_FDCWD;
    match c.call.op {
        Op::Open => open(c, cred, scratch, &target(here, 0, Last::Follow), c.word(1)),
        Op::Openat => open(
            c,
            cred,
            scratch,
            &target(c.int(0), 1, Last::Follow),
            c.word(2),
        ),
        Op::Access => accessible(
            c,
            cred,
            scratch,
            &target(here, 0, Last::Follow),
            c.word(1),
            0,
        ),
        Op::Faccessat => {
            let t = target(c.int(0), 1, Last::Follow);
            accessible(c, cred, scratch, &t, c.word(2), 0)
        }
        Op::Faccessat2 => {
            let t = target(c.int(0), 1, follow(c.word(3)));
            accessible(c, cred, scratch, &t, c.word(2), c.word(3))
        }
        Op::Chdir => {
            let t = target(here, 0, Last::Follow);
            permitted(c, cred, scratch, &t, SEARCH)
        }
        Op::Truncate => {
            let t = target(here, 0, Last::Follow);
            permitted(c, cred, scratch, &t, WRITE)
        }
        Op::Chmod => chmod(c, cred, scratch, &target(here, 0, Last::Follow)),
        Op::Fchmodat => chmod(c, cred, scratch, &target(c.int(0), 1, follow(0))),
        Op::Unlink | Op::Rmdir => entry(c, cred, scratch, here, 0, true),
        Op::Unlinkat => entry(c, cred, scratch, c.int(0), 1, true),
        Op::Rename => {
            entry(c, cred, scratch, here, 0, true)?;
            entry(c, cred, scratch, here, 1, true)
        }
        Op::Renameat | Op::Renameat2 => {
            entry(c, cred, scratch, c.int(0), 1, true)?;
            entry(c, cred, scratch, c.int(2), 3, true)
        }
        Op::Link => entry(c, cred, scratch, here, 1, false),
        Op::Linkat => entry(c, cred, scratch, c.int(2), 3, false),
        _ => Ok(()),
    }
}

/// The file, if it is there and on a way that may be gone. What else is wrong with the path the kernel
/// says.
fn find(
    c: &Caller<'_>,
    cred: &Cred,
    scratch: &mut Scratch,
    t: &Target,
) -> std::result::Result<Option<Object>, Errno> {
    if c.path(t.path, &mut scratch.path).is_err() {
        return Ok(None);
    }
    let path = scratch.path.as_bytes();
    if path.is_empty() {
        return Ok(None);
    }
    match c.open_as(cred, t.dirfd, path, t.last).and_then(Object::new) {
        Ok(object) => Ok(Some(object)),
        Err(Errno::ACCESS) => Err(Errno::ACCESS),
        Err(_) => Ok(None),
    }
}

fn permitted(c: &Caller<'_>, cred: &Cred, scratch: &mut Scratch, t: &Target, want: u32) -> Checked {
    match find(c, cred, scratch, t)? {
        Some(object) if want != 0 => c.world.ownership.check(cred, &object.fd, want),
        _ => Ok(()),
    }
}

/// The rights that open(2) needs of a file that is there; making one is another handler's matter.
fn open(c: &Caller<'_>, cred: &Cred, scratch: &mut Scratch, t: &Target, flags: u32) -> Checked {
    let has = |flag: i32| flags & flag as u32 != 0;
    let want = match flags & libc::O_ACCMODE as u32 {
        _ if has(libc::O_PATH) => 0,
        0 => READ,
        1 => WRITE,
        _ => READ | WRITE,
    };
    let want = if has(libc::O_TRUNC) && !has(libc::O_PATH) {
        want | WRITE
    } else {
        want
    };
    // O_TMPFILE names a directory, in which a file is made.
    let want = if flags & libc::O_TMPFILE as u32 == libc::O_TMPFILE as u32 {
        WRITE | SEARCH
    } else {
        want
    };
    let last = if has(libc::O_NOFOLLOW) {
        Last::Keep
    } else {
        t.last
    };
    permitted(c, cred, scratch, &Target { last, ..*t }, want)
}

fn accessible(
    c: &Caller<'_>,
    cred: &Cred,
    scratch: &mut Scratch,
    t: &Target,
    want: u32,
    flags: u32,
) -> Checked {
    let effective = flags & AtFlags::EACCESS.bits() != 0;
    let mut seen = cred.clone();
    if !effective {
        seen.uid = Ids::all(cred.uid.real);
        seen.gid = Ids::all(cred.gid.real);
        seen.effective = if cred.uid.real == 0 {
            cred.permitted
        } else {
            0
        };
    }
    permitted(c, &seen, scratch, t, want & 7)
}

fn chmod(c: &Caller<'_>, cred: &Cred, scratch: &mut Scratch, t: &Target) -> Checked {
    let Some(object) = find(c, cred, scratch, t)? else {
        return Ok(());
    };
    let owner = c.world.ownership.of(&object).uid;
    if owner == cred.uid.fs || cred.can(cap::FOWNER) {
        Ok(())
    } else {
        Err(Errno::PERM)
    }
}

/// Changing an entry of a directory; `removes`: one that is there, which a sticky bit protects.
fn entry(
    c: &Caller<'_>,
    cred: &Cred,
    scratch: &mut Scratch,
    dirfd: i32,
    at: usize,
    removes: bool,
) -> Checked {
    if c.path(at, &mut scratch.path).is_err() {
        return Ok(());
    }
    let Some((dir, name)) = split(scratch.path.as_bytes()) else {
        return Ok(());
    };
    let dir = if dir.is_empty() { b"." } else { dir };
    let parent = match c
        .open_as(cred, dirfd, dir, Last::Follow)
        .and_then(Object::new)
    {
        Ok(parent) => parent,
        Err(Errno::ACCESS) => return Err(Errno::ACCESS),
        Err(_) => return Ok(()),
    };
    let there = statx(
        &parent.fd,
        name,
        AtFlags::SYMLINK_NOFOLLOW,
        StatxFlags::TYPE,
    );
    if removes && there.is_err() && !matches!(c.call.op, Op::Rename | Op::Renameat) {
        return Ok(());
    }
    c.world.ownership.check(cred, &parent.fd, WRITE | SEARCH)?;
    const STICKY: u32 = 0o1000;
    if !removes || there.is_err() || parent.mode() & STICKY == 0 || cred.can(cap::FOWNER) {
        return Ok(());
    }
    let flags =
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC;
    let mode = rustix::fs::Mode::empty();
    let Ok(file) = rustix::fs::openat(&parent.fd, name, flags, mode).and_then(Object::new) else {
        return Ok(());
    };
    let mine = |o: &Object| c.world.ownership.of(o).uid == cred.uid.fs;
    if mine(&file) || mine(&parent) || file.kind() == FileType::Unknown {
        Ok(())
    } else {
        Err(Errno::PERM)
    }
}
