//! execve(2): what set-id bits and file capabilities make of the caller. The kernel executes; nothing is
//! gained by a race, since all that is at stake is who the caller seems to be.

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatVfsMountFlags, StatxFlags, statx};

use super::{Reply, Result, Scratch};
use crate::emulate::caller::Caller;
use crate::emulate::creds::{Cred, Executable, FileCaps};
use crate::emulate::ownership::Object;
use crate::emulate::resolve::{AT_FDCWD, Last};
use crate::emulate::rules::Op;

const SET_ID: u32 = libc::S_ISUID | libc::S_ISGID;

pub(super) fn handle(c: &Caller<'_>, scratch: &mut Scratch) -> Result {
    let (dirfd, at, last) = match c.call.op {
        Op::Execveat if c.word(4) & AtFlags::SYMLINK_NOFOLLOW.bits() != 0 => {
            (c.int(0), 1, Last::Keep)
        }
        Op::Execveat => (c.int(0), 1, Last::Follow),
        _ => (AT_FDCWD, 0, Last::Follow),
    };
    if c.path(at, &mut scratch.path).is_err() {
        return Ok(Reply::Continue);
    }
    let path = scratch.path.as_bytes();
    if path.is_empty() && c.call.op == Op::Execve {
        return Ok(Reply::Continue);
    }
    let cred = c.cred();
    // Root that executes an ordinary program, as most do: one look, and nothing changes.
    let ordinary = cred.exec(&Executable::default());
    let settled = cred.uid.effective == 0 && ordinary.as_ref() == Ok(cred);
    if settled
        && last == Last::Follow
        && let Some(name) = c.name(dirfd, path, &mut scratch.name)
        && let Ok(stat) = statx(CWD, name, AtFlags::empty(), StatxFlags::MODE)
        && u32::from(stat.stx_mode) & SET_ID == 0
    {
        return Ok(Reply::Continue);
    }
    let Ok(object) = c.open(dirfd, path, last).and_then(Object::new) else {
        return Ok(Reply::Continue);
    };
    // What will fail must change nothing.
    if object.kind() != FileType::RegularFile || object.mode() & 0o111 == 0 {
        return Ok(Reply::Continue);
    }
    let new = cred.exec(&executable(c, cred, &object))?;
    if new != *cred {
        c.still_waits()?;
        c.set_cred(new)?;
    }
    Ok(Reply::Continue)
}

fn executable(c: &Caller<'_>, cred: &Cred, object: &Object) -> Executable {
    let mode = object.mode();
    let mut caps = [0u8; 32];
    // Root has them all anyway.
    let caps = match cred.uid.effective {
        0 => None,
        _ => rustix::fs::getxattr(object.name().as_cstr(), c"security.capability", &mut caps)
            .ok()
            .and_then(|n| FileCaps::parse(&caps[..n])),
    };
    let plain = Executable::default();
    if (mode & SET_ID == 0 && caps.is_none()) || !honoured(object) {
        return plain;
    }
    let belongs = c.world.ownership.of(object);
    Executable {
        setuid: (mode & libc::S_ISUID != 0).then_some(belongs.uid),
        // Without group execution that bit means something else.
        setgid: (mode & (libc::S_ISGID | 0o010) == libc::S_ISGID | 0o010).then_some(belongs.gid),
        caps,
    }
}

/// Not on a mount with nosuid or noexec, and not for a script, whose interpreter is what runs.
fn honoured(object: &Object) -> bool {
    let off = StatVfsMountFlags::NOSUID | StatVfsMountFlags::NOEXEC;
    if rustix::fs::fstatvfs(&object.fd).is_ok_and(|s| s.f_flag.intersects(off)) {
        return false;
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::openat(CWD, object.name().as_cstr(), flags, Mode::empty()) else {
        // Only executable: then it is a binary, as a script must be read.
        return true;
    };
    let mut start = [0u8; 2];
    !matches!(rustix::io::read(&file, &mut start), Ok(2) if &start == b"#!")
}
