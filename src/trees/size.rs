//! How much is in a tree.

use std::collections::HashSet;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, statat};
use rustix::io::Errno;

use super::{join, open_dir};

/// Bytes of all regular files below an open directory, a file with several names once. What cannot be opened
/// is left out: a directory that shuts out its owner, or whose path is longer than the kernel takes.
pub fn size(root: &OwnedFd) -> Result<u64, Errno> {
    let mut bytes = 0u64;
    let mut seen = HashSet::new();
    let mut todo = vec![Vec::new()];
    while let Some(path) = todo.pop() {
        let dir = match open_dir(root.as_fd(), &path) {
            Ok(dir) => dir,
            Err(Errno::ACCESS | Errno::NAMETOOLONG | Errno::NOENT | Errno::NOTDIR) => continue,
            Err(e) => return Err(e),
        };
        for entry in Dir::read_from(&dir)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let stat = match statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT | Errno::ACCESS) => continue,
                Err(e) => return Err(e),
            };
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => todo.push(join(&path, name)),
                FileType::RegularFile if stat.st_nlink == 1 || seen.insert(stat.st_ino) => {
                    bytes += u64::try_from(stat.st_size).unwrap_or(0);
                }
                _ => {}
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::size;

    #[test]
    fn files_are_counted_once_and_links_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::write(at("a/b/one"), [0; 100]).unwrap();
        fs::hard_link(at("a/b/one"), at("two")).unwrap();
        fs::write(at("three"), [0; 11]).unwrap();
        symlink("/", at("a/root")).unwrap();
        let root = rustix::fs::open(
            dir.path(),
            rustix::fs::OFlags::DIRECTORY,
            rustix::fs::Mode::empty(),
        )
        .unwrap();
        assert_eq!(size(&root), Ok(111));
    }
}
