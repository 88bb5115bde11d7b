//! What several trees of a stack have under one path.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::{Seen, is_opaque, look, open_child};

/// What the trees of a stack have under `path` (relative, not empty), the top one first: from each tree whose
/// directories on the way take part in the merged ones, down to the first that says there is nothing. What
/// the topmost tree hides by having another file there is listed, too: it may be a copy of that.
///
/// # Errors
/// Of looking; what a running container removes meanwhile is not there.
pub fn beneath(roots: &[impl AsFd], path: &[u8]) -> Result<Vec<(usize, Box<Stat>)>, Errno> {
    let mut dirs: Vec<(usize, OwnedFd)> = Vec::with_capacity(roots.len());
    for (i, root) in roots.iter().enumerate() {
        let root = root.as_fd().try_clone_to_owned();
        let root = root.map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::MFILE))?;
        let last = is_opaque(root.as_fd())?;
        dirs.push((i, root));
        if last {
            break;
        }
    }
    let mut names = path.split(|b| *b == b'/').peekable();
    while let Some(name) = names.next() {
        let mut found = Vec::new();
        let mut below = Vec::new();
        for (i, dir) in &dirs {
            let stat = match look(dir.as_fd(), name)? {
                Seen::Nothing => continue,
                Seen::Whiteout => break,
                Seen::Entry(stat) => stat,
            };
            let is_dir = FileType::from_raw_mode(stat.st_mode).is_dir();
            let child = match is_dir.then(|| open_child(dir.as_fd(), name)) {
                Some(Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP)) => break,
                child => child.transpose()?,
            };
            found.push((*i, stat));
            match child {
                Some(child) => {
                    let opaque = is_opaque(child.as_fd())?;
                    below.push((*i, child));
                    if opaque {
                        break;
                    }
                }
                // No way through a file.
                None if names.peek().is_some() => break,
                None => {}
            }
        }
        if names.peek().is_none() {
            return Ok(found);
        }
        dirs = below;
    }
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, Mode, OFlags, XattrFlags, openat, setxattr};
    use std::fs;
    use std::path::Path;

    fn found(place: &Path, path: &str) -> Vec<usize> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let roots = ["0", "1", "2"].map(|n| {
            let root = openat(CWD, place.join(n), flags, Mode::empty());
            root.unwrap()
        });
        let found = beneath(&roots, path.as_bytes()).unwrap();
        found.into_iter().map(|(i, _)| i).collect()
    }

    #[test]
    fn directories_on_the_way_decide() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path();
        for dir in [
            "0/a", "0/gone", "0/opaque", "1/a", "1/opaque", "1/file", "2/a/d", "2/gone",
            "2/opaque", "2/file",
        ] {
            fs::create_dir_all(place.join(dir)).unwrap();
        }
        for file in [
            "0/a/f",
            "2/a/f",
            "0/gone/f",
            "1/.wh.gone",
            "2/gone/f",
            "0/opaque/f",
            "1/opaque/f",
            "2/opaque/f",
            "0/file",
            "1/file/f",
            "2/file/f",
        ] {
            fs::write(place.join(file), "").unwrap();
        }
        let opaque = place.join("0/opaque");
        setxattr(opaque, "user.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
        std::os::unix::fs::symlink("a", place.join("0/link")).unwrap();
        for (path, want) in [
            ("a/f", &[0, 2][..]),
            ("a/d", &[2]),
            ("a", &[0, 1, 2]),
            ("gone/f", &[0]),
            ("opaque/f", &[0]),
            ("opaque", &[0]),
            // A file hides what is below a directory of its name, but is itself over it.
            ("file/f", &[]),
            ("file", &[0, 1, 2]),
            ("link/f", &[]),
            ("none/f", &[]),
        ] {
            assert_eq!(found(place, path), want, "{path}");
        }
    }
}
