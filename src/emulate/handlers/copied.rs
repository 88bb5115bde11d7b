//! What has overlay copy a file of an image up by giving it another name, and symlinks other times. Its
//! record in the layer is about the file there, and would be lost; the copy is made before the kernel is
//! asked to, and recorded as the container's own. So is that a file which takes the place of another has
//! nothing of its record. rename(2), link(2), utimensat(2).

use super::{Reply, Result, Scratch};
use crate::emulate::caller::Caller;
use crate::emulate::ownership::Object;
use crate::emulate::resolve::{AT_FDCWD, Last, split};
use crate::emulate::rules::Op;

pub(super) fn handle(c: &Caller<'_>, scratch: &mut Scratch) -> Result {
    if c.world.ownership.is_quiet() {
        return Ok(Reply::Continue);
    }
    let follows = |flags: u32| match flags & libc::AT_SYMLINK_FOLLOW.cast_unsigned() {
        0 => Last::Keep,
        _ => Last::Follow,
    };
    let here = AT_FDCWD;
    match c.call.op {
        Op::Rename | Op::Link => take_along(c, scratch, (here, 0), Last::Keep, Some((here, 1))),
        Op::Renameat => {
            let (from, to) = ((c.int(0), 1), (c.int(2), 3));
            take_along(c, scratch, from, Last::Keep, Some(to));
        }
        Op::Renameat2 => {
            let (from, to) = ((c.int(0), 1), (c.int(2), 3));
            take_along(c, scratch, from, Last::Keep, Some(to));
            if c.word(4) & libc::RENAME_EXCHANGE != 0 {
                take_along(c, scratch, to, Last::Keep, Some(from));
            }
        }
        Op::Linkat => {
            let (from, to) = ((c.int(0), 1), (c.int(2), 3));
            take_along(c, scratch, from, follows(c.word(4)), Some(to));
        }
        // Of all other files an inode has the times, wherever it is.
        _ if c.word(3) & libc::AT_SYMLINK_NOFOLLOW.cast_unsigned() == 0 => {}
        _ => take_along(c, scratch, (c.int(0), 1), Last::Keep, None),
    }
    Ok(Reply::Continue)
}

/// What cannot be done here is as it was: the kernel says what is wrong with the call. A place is a
/// directory and the index of a path.
fn take_along(
    c: &Caller<'_>,
    scratch: &mut Scratch,
    from: (i32, usize),
    last: Last,
    to: Option<(i32, usize)>,
) {
    let ownership = &c.world.ownership;
    if c.path(from.1, &mut scratch.path).is_err() {
        return;
    }
    let path = scratch.path.as_bytes();
    // An empty path names the descriptor: linkat(2) of a file without a name.
    let Ok(object) = c.open(from.0, path, last).and_then(Object::new) else {
        return;
    };
    let mut target = None;
    if let Some((dirfd, at)) = to
        && c.path(at, &mut scratch.path).is_ok()
    {
        target = split(scratch.path.as_bytes()).map(|(dir, name)| (dirfd, dir, name));
    }
    let may_inherit = target.is_some_and(|(.., name)| ownership.may_inherit(name));
    let path = || {
        let (dirfd, dir, name) = target?;
        let dir = if dir.is_empty() { b"." } else { dir };
        let parent = c.open(dirfd, dir, Last::Follow).and_then(Object::new);
        ownership.inside(&parent.ok()?, name)
    };
    if c.still_waits().is_ok() {
        ownership.take_along(&object, may_inherit, path);
    }
}
