//! `tmpcopyup`: a tmpfs that begins with what it covers. Both trees are the container's, so nothing is followed.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Uid, chownat, fchmod, mkdirat, mknodat,
    openat, readlinkat, statat, symlinkat,
};
use rustix::io::Errno;

/// Deeper trees exist only to hurt.
const DEPTH_MAX: u32 = 512;

/// Copy what is in one directory into another.
pub(super) fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let from = directory(from, c".")?;
    let to = directory(to, c".")?;
    children(&from, &to, 0)
}

fn directory(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(dir, name, flags, Mode::empty())?)
}

fn children(from: &OwnedFd, to: &OwnedFd, depth: u32) -> io::Result<()> {
    if depth > DEPTH_MAX {
        return Err(Errno::NAMETOOLONG.into());
    }
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            one(from, to, name, depth)?;
        }
    }
    Ok(())
}

fn one(from: &OwnedFd, to: &OwnedFd, name: &CStr, depth: u32) -> io::Result<()> {
    let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            mkdirat(to, name, Mode::RWXU)?;
            own(to, name, &stat)?;
            let copy = directory(to.as_fd(), name)?;
            children(&directory(from.as_fd(), name)?, &copy, depth + 1)?;
            fchmod(&copy, mode)?;
        }
        FileType::RegularFile => {
            let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut source = File::from(openat(from, name, read, Mode::empty())?);
            let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let mut copy = File::from(openat(to, name, write, Mode::RUSR | Mode::WUSR)?);
            io::copy(&mut source, &mut copy)?;
            own(to, name, &stat)?;
            fchmod(&copy, mode)?;
        }
        FileType::Symlink => {
            symlinkat(readlinkat(from, name, Vec::new())?, to, name)?;
            own(to, name, &stat)?;
        }
        FileType::Fifo => {
            mknodat(to, name, FileType::Fifo, mode, 0)?;
            own(to, name, &stat)?;
        }
        // Sockets belong to a process that runs, and devices are the runtime's affair.
        _ => {}
    }
    Ok(())
}

fn own(dir: &OwnedFd, name: &CStr, stat: &Stat) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    match chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW) {
        // An owner whom the container does not know.
        Err(Errno::INVAL | Errno::PERM) => Ok(()),
        other => Ok(other?),
    }
}
