//! What has overlay copy a symlink, fifo or socket of an image up: a new name for it, and times of its own.
//! Its record in the layer is about the file there, and would be lost; the copy is made before the
//! kernel is asked to, and recorded as the container's own. rename(2), link(2), utimensat(2).

use super::{Reply, Result, Scratch};
use crate::emulate::caller::Caller;
use crate::emulate::ownership::Object;
use crate::emulate::resolve::{AT_FDCWD, Last};
use crate::emulate::rules::Op;

pub(super) fn handle(c: &Caller<'_>, scratch: &mut Scratch) -> Result {
    if c.world.ownership.is_quiet() {
        return Ok(Reply::Continue);
    }
    let follows = |flags: u32| match flags & libc::AT_SYMLINK_FOLLOW.cast_unsigned() {
        0 => Last::Keep,
        _ => Last::Follow,
    };
    match c.call.op {
        Op::Rename | Op::Link => take_along(c, scratch, AT_FDCWD, 0, Last::Keep),
        Op::Renameat => take_along(c, scratch, c.int(0), 1, Last::Keep),
        Op::Renameat2 => {
            take_along(c, scratch, c.int(0), 1, Last::Keep);
            if c.word(4) & libc::RENAME_EXCHANGE != 0 {
                take_along(c, scratch, c.int(2), 3, Last::Keep);
            }
        }
        Op::Linkat => take_along(c, scratch, c.int(0), 1, follows(c.word(4))),
        _ => take_along(c, scratch, c.int(0), 1, Last::Keep),
    }
    Ok(Reply::Continue)
}

/// What cannot be done here is as it was: the kernel says what is wrong with the call.
fn take_along(c: &Caller<'_>, scratch: &mut Scratch, dirfd: i32, path: usize, last: Last) {
    if c.path(path, &mut scratch.path).is_err() {
        return;
    }
    let file = c.open(dirfd, scratch.path.as_bytes(), last);
    if let Ok(object) = file.and_then(Object::new)
        && c.still_waits().is_ok()
    {
        c.world.ownership.take_along(object);
    }
}
