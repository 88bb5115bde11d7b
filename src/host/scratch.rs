//! A folder for trials on the file system of the store, removed afterwards.
//!
//! It is named `.coracle-probe-PID-N` and locked (flock(2)) while in use. A process that is killed
//! leaves one behind unlocked; the next [`Scratch::new`] in the same place removes it. Where a lock
//! cannot tell (some network file systems), a folder older than an hour counts as left behind.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

const PREFIX: &str = ".coracle-probe-";
const STALE: Duration = Duration::from_secs(3600);

/// Where no scratch folder can be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to {}", path.display())]
pub struct ScratchError {
    /// The folder that was tried: the data root, or the nearest folder above it that exists.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// A private folder that lives as long as this value.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    /// Holds the lock.
    _lock: File,
}

impl Scratch {
    /// Make one under `data_root`, or, when that does not exist yet, under the nearest folder above
    /// it: `data_root` itself is not made, so that asking leaves no trace. Removes what a killed
    /// process left there.
    ///
    /// # Errors
    /// [`ScratchError`] when that folder cannot be written.
    pub fn new(data_root: &Path) -> Result<Self, ScratchError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let parent = existing(data_root);
        sweep(parent);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("{PREFIX}{}-{count}", std::process::id()));
        let failed = |source| ScratchError {
            path: parent.to_owned(),
            source,
        };
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(failed)?;
        let lock = File::open(&path).map_err(failed)?;
        // Best effort: without locks there is still the age.
        let _ = flock(&lock, FlockOperation::NonBlockingLockExclusive);
        Ok(Self { path, _lock: lock })
    }

    /// The folder. Empty at first, mode 0700.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A new folder in it.
    ///
    /// # Errors
    /// Those of mkdir(2).
    pub(super) fn folder(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.path.join(name);
        fs::create_dir(&path)?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is swept by the next one.
        let _ = remove_tree(&self.path);
    }
}

/// `path`, or the nearest folder above it that exists.
pub(super) fn existing(path: &Path) -> &Path {
    path.ancestors()
        .find(|p| p.is_dir())
        .unwrap_or_else(|| Path::new("/"))
}

/// Remove what killed processes left in `parent`: folders of ours that nobody has locked.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    let me = rustix::process::geteuid().as_raw();
    for entry in entries.flatten() {
        if !entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(PREFIX.as_bytes())
        {
            continue;
        }
        // `metadata` of an entry does not follow symlinks.
        let Ok(meta) = entry.metadata() else { continue };
        if !meta.is_dir() || meta.uid() != me {
            continue;
        }
        let Ok(dir) = File::open(entry.path()) else {
            continue;
        };
        let stale = match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => !starting(&meta),
            Err(Errno::WOULDBLOCK) => false,
            Err(_) => age(&meta) > STALE,
        };
        if stale {
            let _ = remove_tree(&entry.path());
        }
    }
}

/// A folder so young that its maker may be about to lock it.
fn starting(meta: &fs::Metadata) -> bool {
    age(meta) < Duration::from_secs(2)
}

/// Since the last change of the inode, which cannot be set back as the modification time can.
fn age(meta: &fs::Metadata) -> Duration {
    let changed = Duration::from_secs(meta.ctime().unsigned_abs());
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    now.saturating_sub(changed)
}

/// Remove a tree of ours. Overlay leaves a folder of mode 000 in its work folder, which its owner
/// may not look into before a chmod. Symlinks are not followed; nobody else can write here.
fn remove_tree(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    fs::remove_dir(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_gone_afterwards_whatever_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("not/yet");
        let scratch = Scratch::new(&root).unwrap();
        assert_eq!(scratch.path().parent(), Some(dir.path()));
        let closed = scratch.folder("closed").unwrap();
        fs::write(closed.join("file"), "x").unwrap();
        std::os::unix::fs::symlink("/etc", closed.join("link")).unwrap();
        fs::set_permissions(&closed, Permissions::from_mode(0o0)).unwrap();
        drop(scratch);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(!root.exists());
    }

    #[test]
    fn what_a_killed_process_left_is_swept_and_what_is_in_use_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let in_use = Scratch::new(dir.path()).unwrap();
        let left = dir.path().join(".coracle-probe-1-0");
        let decoy = dir.path().join(".coracle-probe-link");
        fs::create_dir_all(left.join("work/work")).unwrap();
        std::os::unix::fs::symlink("/etc", &decoy).unwrap();
        std::thread::sleep(Duration::from_millis(3100));
        drop(Scratch::new(dir.path()).unwrap());
        assert!(!left.exists());
        assert!(in_use.path().exists());
        assert!(decoy.is_symlink(), "only folders are ours");
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let e = Scratch::new(Path::new("/proc/coracle")).unwrap_err();
        assert_eq!(e.path, Path::new("/proc"));
    }
}
