//! The files of a log: which there are, and the change from one to the next.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
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
    for number in (1..keep).rev() {
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
