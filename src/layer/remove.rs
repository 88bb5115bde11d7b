//! Remove a tree that a stranger made: any depth, any modes, no symlink followed.
//!
//! Memory and descriptors do not grow with the width of the tree, and descriptors not with its
//! depth: only the deepest directories stay open. The way back up is `..`, checked against the inode
//! number noted on the way down, so that a directory that was moved meanwhile cannot lead us astray.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{AtFlags, FileType, Mode, RawDir, SeekFrom, fchmod, fstat, seek, unlinkat};
use rustix::io::Errno;

use super::Error;
use super::dirs::{make_accessible, open_dir};
use super::name::path_buf;

/// Levels kept open.
const OPEN_MAX: usize = 32;
/// Subdirectories remembered in one pass over a directory; the rest waits for the next pass.
const BATCH: usize = 1024;

struct Level {
    name: Vec<u8>,
    /// Closed when many levels below are open.
    fd: Option<OwnedFd>,
    id: (u64, u64),
    /// Subdirectories to go into.
    todo: Vec<Vec<u8>>,
    /// Entries that cannot be removed, so that a further pass does not try again.
    stuck: HashSet<Vec<u8>>,
    /// Whether the last pass left subdirectories for another one.
    more: bool,
    /// How often the directory has been read.
    passes: u32,
}

#[derive(Default)]
struct Failures {
    total: u64,
    first: Option<(Vec<u8>, Errno)>,
}

/// Remove `name` (one component) in `parent` and, if it is a directory, everything in it. Directories that shut out
/// their owner are opened up first. Goes on past errors and reports how many there were, and the
/// first. A `name` that does not exist is no error.
pub fn remove_tree(parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), Error> {
    let name = name.as_bytes();
    let failed = match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // EPERM is what POSIX has for directories.
        Err(e @ (Errno::ISDIR | Errno::PERM)) => e,
        Err(e) => return Err(Error::sys("unlinkat", name)(e)),
    };
    let mut failures = Failures::default();
    let mut levels = match enter(parent, name) {
        Ok(level) => vec![level],
        // No directory after all.
        Err(Errno::NOTDIR) => return Err(Error::sys("unlinkat", name)(failed)),
        Err(e) => return Err(Error::sys("openat", name)(e)),
    };
    while let Some(last) = levels.len().checked_sub(1) {
        let child = match next_child(&mut levels, &mut failures) {
            Ok(child) => child,
            Err(e) => {
                failures.add(path_of(&levels, b""), e);
                None
            }
        };
        if let Some((child, level)) = child {
            match level {
                Ok(level) => {
                    levels.push(level);
                    if let Some(i) = levels.len().checked_sub(OPEN_MAX + 1) {
                        levels[i].fd = None;
                    }
                }
                Err(e) => {
                    failures.add(path_of(&levels, &child), e);
                    levels[last].stuck.insert(child);
                }
            }
            continue;
        }
        // The directory is as empty as it gets: back up, and remove it.
        let Some(done) = levels.pop() else { break };
        let (up, stuck) = match levels.last_mut() {
            Some(level) => {
                if level.fd.is_none() {
                    level.fd = reopen(done.fd.as_ref(), level.id);
                }
                (
                    level.fd.as_ref().map(|fd| fd.as_fd()),
                    Some(&mut level.stuck),
                )
            }
            None => (Some(parent), None),
        };
        let result = match up {
            Some(up) => unlinkat(up, done.name.as_slice(), AtFlags::REMOVEDIR),
            None => Err(Errno::STALE),
        };
        if let Err(e) = result {
            if let Some(stuck) = stuck {
                stuck.insert(done.name.clone());
            }
            // What is in it has been reported already.
            if done.stuck.is_empty() {
                failures.add(path_of(&levels, &done.name), e);
            }
        }
    }
    match failures.first {
        None => Ok(()),
        Some((path, source)) => Err(Error::Remove {
            total: failures.total,
            path: path_buf(&path),
            source,
        }),
    }
}

/// A child to descend into, and what came of opening it.
type Child = (Vec<u8>, Result<Level, Errno>);

/// The next subdirectory of the deepest level; its other entries are removed on the way.
fn next_child(levels: &mut [Level], failures: &mut Failures) -> Result<Option<Child>, Errno> {
    let (above, rest) = levels.split_at_mut(levels.len().saturating_sub(1));
    let Some(level) = rest.first_mut() else {
        return Ok(None);
    };
    let Some(fd) = level.fd.as_ref() else {
        return Err(Errno::STALE);
    };
    while level.todo.is_empty() {
        if !level.more {
            return Ok(None);
        }
        level.more = false;
        if level.passes > 0 {
            seek(fd, SeekFrom::Start(0))?;
        }
        level.passes += 1;
        let mut buf = [MaybeUninit::uninit(); 16 << 10];
        let mut entries = RawDir::new(fd, &mut buf);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") || level.stuck.contains(name) {
                continue;
            }
            // What may be a directory is not unlinked: some file systems let root do that.
            let mut is_dir = entry.file_type() == FileType::Directory;
            if entry.file_type() == FileType::Unknown {
                let stat = rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW);
                is_dir =
                    stat.is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Directory);
            }
            if is_dir {
                if level.todo.len() == BATCH {
                    level.more = true;
                } else {
                    level.todo.push(name.to_vec());
                }
                continue;
            }
            match unlinkat(fd, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(e) => {
                    let name = name.to_vec();
                    let mut path = path_of(above, &level.name);
                    path.push(b'/');
                    path.extend_from_slice(&name);
                    failures.add(path, e);
                    level.stuck.insert(name);
                }
            }
        }
    }
    while let Some(name) = level.todo.pop() {
        // Many are empty: mount points, work directories.
        if unlinkat(fd, name.as_slice(), AtFlags::REMOVEDIR).is_err() {
            let child = enter(fd.as_fd(), &name);
            return Ok(Some((name, child)));
        }
    }
    // All of this batch went; the caller asks again, or there is nothing more.
    if level.more {
        next_child(levels, failures)
    } else {
        Ok(None)
    }
}

/// Open a directory and make sure that it can be read and emptied.
fn enter(parent: BorrowedFd<'_>, name: &[u8]) -> Result<Level, Errno> {
    let fd = match open_dir(parent, name) {
        Err(Errno::ACCESS) => {
            make_accessible(parent, name)?;
            open_dir(parent, name)?
        }
        result => result?,
    };
    let stat = fstat(&fd)?;
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    if !mode.contains(Mode::RWXU) {
        fchmod(&fd, mode | Mode::RWXU)?;
    }
    Ok(Level {
        name: name.to_vec(),
        fd: Some(fd),
        id: (stat.st_dev, stat.st_ino),
        todo: Vec::new(),
        stuck: HashSet::new(),
        more: true,
        passes: 0,
    })
}

/// The parent of an open directory, if it is still the one we came from.
fn reopen(child: Option<&OwnedFd>, id: (u64, u64)) -> Option<OwnedFd> {
    let fd = open_dir(child?.as_fd(), b"..").ok()?;
    let stat = fstat(&fd).ok()?;
    ((stat.st_dev, stat.st_ino) == id).then_some(fd)
}

fn path_of(levels: &[Level], last: &[u8]) -> Vec<u8> {
    let mut path = Vec::new();
    for name in levels.iter().map(|l| l.name.as_slice()).chain([last]) {
        if !path.is_empty() && !name.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
    }
    path
}

impl Failures {
    fn add(&mut self, path: Vec<u8>, e: Errno) {
        self.total += 1;
        self.first.get_or_insert((path, e));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn deep_wide_and_shut_trees_go() {
        let dir = tempfile::tempdir().unwrap();
        let fd = File::open(dir.path()).unwrap();
        let mut at: OwnedFd = fd.try_clone().unwrap().into();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&at, "deep", Mode::RWXU).unwrap();
            at = open_dir(at.as_fd(), b"deep").unwrap();
        }
        for i in 0..(BATCH + 10) {
            let sub = dir.path().join("deep").join(format!("d{i}"));
            fs::create_dir(&sub).unwrap();
            fs::write(sub.join("f"), "x").unwrap();
            fs::set_permissions(&sub, fs::Permissions::from_mode(0o000)).unwrap();
        }
        remove_tree(fd.as_fd(), OsStr::new("deep")).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn symlinks_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let fd = File::open(dir.path()).unwrap();
        fs::create_dir_all(dir.path().join("keep/sub")).unwrap();
        fs::write(dir.path().join("keep/sub/file"), "x").unwrap();
        fs::create_dir(dir.path().join("tree")).unwrap();
        symlink("../keep", dir.path().join("tree/link")).unwrap();
        symlink("keep", dir.path().join("top")).unwrap();
        remove_tree(fd.as_fd(), OsStr::new("tree")).unwrap();
        remove_tree(fd.as_fd(), OsStr::new("top")).unwrap();
        remove_tree(fd.as_fd(), OsStr::new("never-was")).unwrap();
        assert!(dir.path().join("keep/sub/file").exists());
        assert!(!dir.path().join("tree").exists());
        assert!(dir.path().join("top").symlink_metadata().is_err());
    }
}
