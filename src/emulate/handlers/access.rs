//! Access as owners and modes have it, for whoever is not root: asked about with `--identity strict` only.
//! To the kernel all are the owner of everything. What is refused here is refused; what is not, the kernel
//! carries out: a race gets somebody what he has anyway. path_resolution(7), access(2), unlink(2), chmod(2),
//! utimensat(2), execve(2). Of a program only the file itself is looked at, not its interpreter.

use rustix::fs::{AtFlags, FileType, StatxFlags, statx};
use rustix::io::Errno;

use super::{Reply, Result, Scratch};
use crate::emulate::access::{READ, SEARCH, WRITE};
use crate::emulate::caller::Caller;
use crate::emulate::creds::{Cred, Ids, cap};
use crate::emulate::ownership::Object;
use crate::emulate::resolve::{AT_FDCWD, Last, split};
use crate::emulate::rules::{Op, Width};

type Checked = std::result::Result<(), Errno>;

/// What is looked at.
struct Target {
    dirfd: i32,
    path: usize,
    last: Last,
    /// Without a path it is what `dirfd` leads to.
    bare: bool,
}

fn target(dirfd: i32, path: usize, last: Last) -> Target {
    Target {
        dirfd,
        path,
        last,
        bare: false,
    }
}

/// Of calls that take `AT_EMPTY_PATH`.
fn flagged(c: &Caller<'_>, dirfd: i32, path: usize, flags: u32) -> Target {
    let null = c.arg(path) == 0;
    let empty = flags & AtFlags::EMPTY_PATH.bits() != 0;
    Target {
        // utimensat(2), and the others since Linux 6.11, take no path for an empty one.
        bare: empty || null,
        ..target(dirfd, path, follow(flags))
    }
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
        Op::Openat2 => {
            // struct open_how: flags first. What `resolve` forbids, the kernel refuses.
            let mut flags = [0; 8];
            let t = target(c.int(0), 1, Last::Follow);
            match c.read(c.arg(2), &mut flags) {
                Ok(()) => open(c, cred, scratch, &t, u64::from_ne_bytes(flags) as u32),
                Err(_) => Ok(()),
            }
        }
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
            let t = flagged(c, c.int(0), 1, c.word(3));
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
        Op::Fchdir => {
            let file = c.open(c.int(0), b"", Last::Follow);
            file.map_or(Ok(()), |fd| c.world.ownership.check(cred, &fd, SEARCH))
        }
        Op::Chmod => chmod(c, cred, scratch, &target(here, 0, Last::Follow)),
        Op::Fchmod => match c.open(c.int(0), b"", Last::Follow).and_then(Object::new) {
            Ok(object) => owned(c, cred, &object),
            Err(_) => Ok(()),
        },
        Op::Fchmodat => chmod(c, cred, scratch, &target(c.int(0), 1, Last::Follow)),
        Op::Fchmodat2 => chmod(c, cred, scratch, &flagged(c, c.int(0), 1, c.word(3))),
        Op::Execve => {
            let t = target(here, 0, Last::Follow);
            executable(c, cred, scratch, &t)
        }
        Op::Execveat => {
            let t = flagged(c, c.int(0), 1, c.word(4));
            executable(c, cred, scratch, &t)
        }
        Op::Utime => {
            let t = target(here, 0, Last::Follow);
            times(c, cred, scratch, &t, c.arg(1) == 0)
        }
        Op::Futimesat => times(c, cred, scratch, &flagged(c, c.int(0), 1, 0), c.arg(2) == 0),
        Op::Utimensat => {
            let t = flagged(c, c.int(0), 1, c.word(3));
            match now_or_never(c) {
                Some(now) => times(c, cred, scratch, &t, now),
                None => Ok(()),
            }
        }
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
    let path = match c.path(t.path, &mut scratch.path) {
        Ok(()) => scratch.path.as_bytes(),
        Err(_) if t.bare && c.arg(t.path) == 0 => b"",
        Err(_) => return Ok(None),
    };
    if path.is_empty() {
        let file = c.open(t.dirfd, b"", Last::Follow).ok().filter(|_| t.bare);
        return file.map(Object::new).transpose();
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
    match find(c, cred, scratch, t)? {
        Some(object) => owned(c, cred, &object),
        None => Ok(()),
    }
}

/// What is no regular file the kernel refuses by itself.
fn executable(c: &Caller<'_>, cred: &Cred, scratch: &mut Scratch, t: &Target) -> Checked {
    match find(c, cred, scratch, t)? {
        Some(file) if file.kind() == FileType::RegularFile => {
            c.world.ownership.check(cred, &file.fd, SEARCH)
        }
        _ => Ok(()),
    }
}

/// `now`: to the present, for which writing is enough.
fn times(c: &Caller<'_>, cred: &Cred, scratch: &mut Scratch, t: &Target, now: bool) -> Checked {
    let Some(object) = find(c, cred, scratch, t)? else {
        return Ok(());
    };
    match owned(c, cred, &object) {
        Err(_) if now => c.world.ownership.check(cred, &object.fd, WRITE),
        result => result,
    }
}

/// Whether both times of utimensat(2) are to be the present; `None` where neither is to change, or they
/// cannot be read.
fn now_or_never(c: &Caller<'_>) -> Option<bool> {
    const NOW: u64 = 0x3fff_ffff;
    const OMIT: u64 = 0x3fff_fffe;
    if c.arg(2) == 0 {
        return Some(true);
    }
    let (mut bytes, short) = ([0u8; 32], c.call.width == Width::Short);
    let bytes = &mut bytes[..if short { 16 } else { 32 }];
    c.read(c.arg(2), bytes).ok()?;
    // Seconds and nanoseconds of access, then of change.
    let nanoseconds = |field: &[u8]| match field.len() {
        16 => u64::from_ne_bytes(*field.last_chunk().unwrap_or(&[0; 8])),
        _ => u64::from(u32::from_ne_bytes(*field.last_chunk().unwrap_or(&[0; 4]))),
    };
    let (access, change) = bytes.split_at(bytes.len() / 2);
    match (nanoseconds(access), nanoseconds(change)) {
        (OMIT, OMIT) => None,
        both => Some(both == (NOW, NOW)),
    }
}

fn owned(c: &Caller<'_>, cred: &Cred, object: &Object) -> Checked {
    let owner = c.world.ownership.of(object).uid;
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
