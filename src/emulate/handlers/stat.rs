//! The stat family: the owner that was recorded in place of the kernel's. The most frequent family by
//! far, and nearly every file has no record: then the kernel answers, after one look at the attribute.

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Statx, StatxFlags, openat, statx};
use rustix::io::Errno;

use super::{DONE, Reply, Result, Scratch, Seen};
use crate::emulate::caller::{Caller, PATH_MAX};
use crate::emulate::layouts;
use crate::emulate::ownership::{self, Object};
use crate::emulate::resolve::{AT_FDCWD, Last};
use crate::emulate::rules::Op;
use crate::owners::{FileType, Owner, XATTR};
use crate::sys::peer;

/// Where its arguments are.
struct Question {
    dirfd: i32,
    /// Index of the path argument, if it has one.
    path: Option<usize>,
    flags: u32,
    /// Index of the pointer for the answer.
    answer: usize,
}

fn question(c: &Caller<'_>) -> Question {
    let plain = |flags| Question {
        dirfd: AT_FDCWD,
        path: Some(0),
        flags,
        answer: 1,
    };
    match c.call.op {
        Op::Stat => plain(0),
        Op::Lstat => plain(AtFlags::SYMLINK_NOFOLLOW.bits()),
        Op::Fstat => Question {
            dirfd: c.int(0),
            path: None,
            flags: AtFlags::EMPTY_PATH.bits(),
            answer: 1,
        },
        Op::Statx => Question {
            dirfd: c.int(0),
            path: Some(1),
            flags: c.word(2),
            answer: 4,
        },
        _ => Question {
            dirfd: c.int(0),
            path: Some(1),
            flags: c.word(3),
            answer: 2,
        },
    }
}

pub(super) fn handle(c: &Caller<'_>, scratch: &mut Scratch) -> Result {
    let q = question(c);
    let empty_allowed = q.flags & AtFlags::EMPTY_PATH.bits() != 0;
    let path = match q.path {
        // A null pointer stands for the empty path since Linux 6.11.
        Some(at) if c.arg(at) != 0 || !empty_allowed => {
            if c.path(at, &mut scratch.path).is_err() {
                return Ok(Reply::Continue);
            }
            scratch.path.as_bytes()
        }
        _ => b"",
    };
    if path.is_empty() && !empty_allowed {
        return Ok(Reply::Continue);
    }
    let keep = q.flags & AtFlags::SYMLINK_NOFOLLOW.bits() != 0 && !path.is_empty();
    let (last, at_flags) = if keep {
        (Last::Keep, AtFlags::SYMLINK_NOFOLLOW)
    } else {
        (Last::Follow, AtFlags::empty())
    };
    if c.world.ownership.is_beside() {
        return thoroughly(c, &q, path, last);
    }
    let quiet = c.world.ownership.is_quiet() && c.world.ownership.defaults_are_plain();
    let Some(name) = c.name(q.dirfd, path, &mut scratch.name) else {
        return thoroughly(c, &q, path, last);
    };
    let mut value = [0u8; 128];
    let got = if keep {
        rustix::fs::lgetxattr(name, XATTR, &mut value)
    } else {
        rustix::fs::getxattr(name, XATTR, &mut value)
    };
    match got {
        Ok(n) => {
            let Some(owner) = ownership::parse(&value[..n]) else {
                return Ok(Reply::Continue);
            };
            let flags = at_flags | sync(q.flags);
            match statx(CWD, name, flags, mask(c)) {
                Ok(stat) => {
                    scratch.seen = Seen::new(&stat, owner);
                    answer(c, &q, stat, Some(owner))
                }
                Err(_) => Ok(Reply::Continue),
            }
        }
        Err(Errno::NODATA) if quiet => Ok(Reply::Continue),
        // Only what has no attributes of ours has a record beside it.
        Err(Errno::NODATA) if c.world.ownership.defaults_are_plain() => {
            match statx(CWD, name, at_flags, StatxFlags::TYPE) {
                Ok(s) if carries(&s) => Ok(Reply::Continue),
                _ => thoroughly(c, &q, path, last),
            }
        }
        // No file; but /proc/self is another one for the caller than for us.
        Err(Errno::NOENT) if !through_proc(path) => Ok(Reply::Continue),
        Err(Errno::OPNOTSUPP) if quiet => processes(c, &q, path),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::PERM | Errno::NOENT) => {
            thoroughly(c, &q, path, last)
        }
        Err(_) => Ok(Reply::Continue),
    }
}

fn carries(stat: &Statx) -> bool {
    use rustix::fs::FileType as Kind;
    let kind = Kind::from_raw_mode(stat.stx_mode.into());
    matches!(kind, Kind::Directory | Kind::RegularFile)
}

/// By way of a descriptor: where there are records beside inodes, or no short name for the file.
fn thoroughly(c: &Caller<'_>, q: &Question, path: &[u8], last: Last) -> Result {
    let Ok(object) = c.open(q.dirfd, path, last).and_then(Object::new) else {
        return Ok(Reply::Continue);
    };
    let belongs = c.world.ownership.of(&object);
    let as_the_kernel_says =
        (belongs.uid, belongs.gid) == (object.stat.stx_uid, object.stat.stx_gid);
    if !belongs.recorded && as_the_kernel_says {
        return processes(c, q, path);
    }
    let flags = AtFlags::EMPTY_PATH | sync(q.flags);
    let stat = statx(&object.fd, c"", flags, mask(c))?;
    let owner = Owner {
        uid: belongs.uid,
        gid: belongs.gid,
        mode: 0,
        file_type: belongs.device.unwrap_or(FileType::File),
    };
    answer(c, q, stat, Some(owner))
}

/// `/proc/PID` belongs to whoever runs there: ps(1) reads the user of a process from it. The tag is in
/// `limits`, through the container's own /proc, so that no number has to be translated.
fn processes(c: &Caller<'_>, q: &Question, path: &[u8]) -> Result {
    let Some(process) = path.strip_prefix(b"/proc/") else {
        return Ok(Reply::Continue);
    };
    let process = process.strip_suffix(b"/").unwrap_or(process);
    let cred = match process {
        b"self" | b"thread-self" if q.flags & AtFlags::SYMLINK_NOFOLLOW.bits() == 0 => c.cred(),
        _ if process.iter().all(u8::is_ascii_digit) && c.world.own_proc() => {
            let Some(limit) = locks_limit(path) else {
                return Ok(Reply::Continue);
            };
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let directory = || openat(CWD, path, flags, Mode::empty());
            c.world.cred_tagged(limit, directory).0
        }
        _ => return Ok(Reply::Continue),
    };
    let object = c.open(q.dirfd, path, Last::Follow)?;
    let stat = statx(&object, c"", AtFlags::EMPTY_PATH | sync(q.flags), mask(c))?;
    let owner = Owner {
        uid: cred.uid.effective,
        gid: cred.gid.effective,
        mode: 0,
        file_type: FileType::Dir,
    };
    answer(c, q, stat, Some(owner))
}

/// "Max file locks             1099511627777        unlimited            locks"
fn locks_limit(process: &[u8]) -> Option<u64> {
    let mut path = process.to_vec();
    path.extend(b"/limits");
    let fd = openat(
        CWD,
        &path[..],
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .ok()?;
    let mut text = [0u8; 4096];
    let n = rustix::io::read(&fd, &mut text).ok()?;
    let text = std::str::from_utf8(&text[..n]).ok()?;
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix("Max file locks"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

fn through_proc(path: &[u8]) -> bool {
    path.len() < PATH_MAX && (path.starts_with(b"/proc/") || path.starts_with(b"/dev/"))
}

fn sync(flags: u32) -> AtFlags {
    const AT_STATX_SYNC_TYPE: u32 = 0x6000;
    AtFlags::from_bits_retain(flags & AT_STATX_SYNC_TYPE)
}

fn mask(c: &Caller<'_>) -> StatxFlags {
    match c.call.op {
        Op::Statx => StatxFlags::from_bits_retain(c.word(3)) | StatxFlags::BASIC_STATS,
        // For `Seen`; no other call tells the caller.
        _ => StatxFlags::BASIC_STATS | StatxFlags::BTIME,
    }
}

fn answer(c: &Caller<'_>, q: &Question, mut stat: Statx, owner: Option<Owner>) -> Result {
    if let Some(owner) = owner {
        stat.stx_uid = owner.uid;
        stat.stx_gid = owner.gid;
        let (kind, major, minor) = match owner.file_type {
            FileType::Char(major, minor) => (libc::S_IFCHR, major, minor),
            FileType::Block(major, minor) => (libc::S_IFBLK, major, minor),
            _ => (0, 0, 0),
        };
        if kind != 0 {
            stat.stx_mode = (stat.stx_mode & 0o7777) | kind as u16;
            stat.stx_rdev_major = major;
            stat.stx_rdev_minor = minor;
        }
    }
    c.still_waits()?;
    if c.call.op == Op::Statx {
        peer::write_statx(c.pid(), c.arg(q.answer), &stat)?;
        return Ok(DONE);
    }
    let mut bytes = [0; layouts::MAX];
    let len = layouts::stat(&stat, c.call.width, &mut bytes)?;
    c.write(c.arg(q.answer), &bytes[..len])?;
    Ok(DONE)
}
