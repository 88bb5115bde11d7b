//! The files of a log: which there are, and the change from one to the next.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// `log.N`: the Nth before `log`.
fn numbered(path: &Path, number: u32) -> PathBuf {
    with(path, &format!(".{number}"))
}

fn with(path: &Path, end: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(end);
    name.into()
}

/// The file that is written to, made if there is none.
pub(super) fn open(path: &Path) -> io::Result<File> {
    // To be read as well: what a killed writer left at its end.
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::APPEND | OFlags::NOFOLLOW;
    create(path, flags)
}

fn create(path: &Path, flags: OFlags) -> io::Result<File> {
    let fd: OwnedFd = rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR)?;
    Ok(File::from(fd))
}

/// Make an empty file the one that is written to, and of the others keep `keep`. If it fails, what was written to
/// before is still `log`, or the next [`open`] makes one.
pub(super) fn rotate(path: &Path, keep: u32) -> io::Result<File> {
    // First what may need room on the disk.
    let draft = with(path, ".new");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::APPEND | OFlags::NOFOLLOW;
    let file = create(&draft, flags)?;
    // The first number that is free, or that has to go. A gap is what a killed writer left.
    let free = (1..keep).find(|n| rustix::fs::lstat(numbered(path, *n)).is_err());
    for number in (1..free.unwrap_or(keep)).rev() {
        rename(&numbered(path, number), &numbered(path, number + 1))?;
    }
    if keep > 0 {
        rename(path, &numbered(path, 1))?;
    }
    rustix::fs::rename(&draft, path)?;
    Ok(file)
}

/// One that is not there needs no other name.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::rename(from, to) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// A file of a log, open to be read, whatever it is called by now.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) file: File,
    /// Device and inode: nobody else has them while it is open.
    id: (u64, u64),
}

impl Part {
    /// `None` when there is none.
    fn open(path: &Path) -> io::Result<Option<Self>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let meta = file.metadata()?;
        let id = (meta.dev(), meta.ino());
        Ok(Some(Self { file, id }))
    }

    /// Bytes that it has now.
    pub(super) fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Is this the file that is written to?
    pub(super) fn is_at(&self, path: &Path) -> bool {
        let found = std::fs::symlink_metadata(path);
        found.is_ok_and(|meta| (meta.dev(), meta.ino()) == self.id)
    }
}

/// Scans before what was found is taken as it is.
const SCANS: usize = 50;

/// All files of a log, the oldest first, or those that are younger than `than`.
///
/// A file only ever goes from one number to the next, so that looking from `log` up misses none, and sees one twice if
/// it went on meanwhile: then others may stand in the wrong place, and it is done again.
pub(super) fn list(path: &Path, than: Option<&Part>) -> io::Result<VecDeque<Part>> {
    let mut parts: VecDeque<Part> = VecDeque::new();
    for _ in 0..SCANS {
        parts.clear();
        let highest = highest(path)?;
        let mut moved = false;
        let mut number = 0;
        loop {
            let name = match number {
                0 => path.to_owned(),
                n => numbered(path, n),
            };
            match Part::open(&name)? {
                // Between two renames there is a gap.
                None if number > highest => break,
                None => {}
                Some(part) if than.is_some_and(|t| t.id == part.id) => break,
                Some(part) if parts.iter().any(|p| p.id == part.id) => moved = true,
                Some(part) => parts.push_front(part),
            }
            number += 1;
        }
        if !moved {
            break;
        }
    }
    Ok(parts)
}

/// The highest number that a file has now.
fn highest(path: &Path) -> io::Result<u32> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(0);
    };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        // With its container.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(e) => return Err(e),
    };
    let mut highest = 0;
    for entry in entries {
        let entry = entry?.file_name();
        let number = entry.as_bytes().strip_prefix(name.as_bytes());
        let number = number.and_then(|n| str::from_utf8(n.strip_prefix(b".")?).ok());
        highest = highest.max(number.and_then(|n| n.parse().ok()).unwrap_or(0));
    }
    // A name of somebody else's making shall not have us look for four thousand million others.
    Ok(highest.min(NUMBER_MAX))
}

/// More than there can be.
const NUMBER_MAX: u32 = 10_000;
