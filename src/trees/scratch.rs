//! The scratch space (`workdir`) of an overlay.

use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, chmodat, openat, unlinkat};
use rustix::io::Errno;

/// Take away what an overlay that is gone has left in its scratch space: a directory, and in it the mark of a
/// volatile one, which would keep the next from mounting (Documentation/filesystems/overlayfs "Volatile
/// mount"). All have mode 000.
///
/// # Errors
/// Of chmod(2) and unlink(2), also when there is something else.
pub fn clear_scratch(work: &Path) -> rustix::io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let work = openat(CWD, work, flags, Mode::empty())?;
    let (own, all) = (Mode::RWXU, AtFlags::empty());
    let levels = [c"work", c"work/incompat", c"work/incompat/volatile"];
    for (depth, level) in levels.into_iter().enumerate() {
        match chmodat(&work, level, own, all) {
            Err(Errno::NOENT) if depth == 0 => return Ok(()),
            Err(Errno::NOENT) if depth == 1 => {
                return unlinkat(&work, levels[0], AtFlags::REMOVEDIR);
            }
            other => other?,
        }
    }
    unlinkat(&work, c"work/incompat/volatile/dirty", all)?;
    let mut inmost_first = levels.into_iter().rev();
    inmost_first.try_for_each(|level| unlinkat(&work, level, AtFlags::REMOVEDIR))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn what_overlays_leave_is_taken_away_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let work = dir.path();
        let shut = |path: &str| {
            fs::set_permissions(work.join(path), Permissions::from_mode(0o0)).unwrap();
        };
        assert_eq!(clear_scratch(work), Ok(()), "empty");
        fs::create_dir(work.join("work")).unwrap();
        shut("work");
        assert_eq!(clear_scratch(work), Ok(()), "of a plain one");
        fs::create_dir_all(work.join("work/incompat/volatile")).unwrap();
        fs::write(work.join("work/incompat/volatile/dirty"), "").unwrap();
        [
            "work/incompat/volatile/dirty",
            "work/incompat/volatile",
            "work/incompat",
            "work",
        ]
        .into_iter()
        .for_each(shut);
        assert_eq!(clear_scratch(work), Ok(()), "of a volatile one");
        assert_eq!(fs::read_dir(work).unwrap().count(), 0);
        fs::create_dir(work.join("work")).unwrap();
        fs::write(work.join("work/file"), "").unwrap();
        assert_eq!(clear_scratch(work), Err(Errno::NOTEMPTY));
    }
}
