//! execve(2): what set-id bits and file capabilities make of the caller. The kernel executes; nothing is
//! gained by a race, since all that is at stake is who the caller seems to be. Whether it does execute is
//! seen afterwards, see [`crate::emulate::executing`].

use rustix::fs::{AtFlags, CWD, FileType, StatxFlags, statx};

use super::{Reply, Result, Scratch};
use crate::emulate::caller::Caller;
use crate::emulate::creds::Executable;
use crate::emulate::executing::{self, SET_ID};
use crate::emulate::ownership::Object;
use crate::emulate::resolve::{AT_FDCWD, Last};
use crate::emulate::rules::Op;

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
    if object.kind() != FileType::RegularFile || object.mode() & 0o111 == 0 {
        return Ok(Reply::Continue);
    }
    let new = cred.exec(&executing::executable(c.world, cred, &object))?;
    if new != *cred {
        c.executes(cred, new)?;
    }
    Ok(Reply::Continue)
}
