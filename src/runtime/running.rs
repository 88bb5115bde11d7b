//! A container that runs, seen from outside by a descriptor of one of its processes: which of its namespaces
//! are not ours, and its files.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::sys::scoped::openat2;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatxFlags, fstat, openat, statx,
};
use rustix::io::Errno;

use super::Error;

/// Kinds of namespaces: the flag of setns(2) and the names in /proc/PID.
const KINDS: [(i32, &str); 8] = [
    (libc::CLONE_NEWUSER, "ns/user"),
    (libc::CLONE_NEWNS, "ns/mnt"),
    (libc::CLONE_NEWPID, "ns/pid"),
    (libc::CLONE_NEWNET, "ns/net"),
    (libc::CLONE_NEWIPC, "ns/ipc"),
    (libc::CLONE_NEWUTS, "ns/uts"),
    (libc::CLONE_NEWCGROUP, "ns/cgroup"),
    (NEWTIME, "ns/time"),
];
/// `CLONE_NEWTIME`, which libc lacks.
pub(super) const NEWTIME: i32 = 0x80;

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A running container.
#[derive(Debug)]
pub struct Running<'a> {
    pub(super) pidfd: BorrowedFd<'a>,
    /// Its directory in /proc.
    process: OwnedFd,
    /// `CLONE_NEW*` of those that are not ours.
    pub(super) namespaces: u64,
    /// Cgroups that one more process is put in, absolute paths.
    pub cgroups: Vec<PathBuf>,
}

impl<'a> Running<'a> {
    /// Look at the container of the process behind `pidfd`.
    ///
    /// # Errors
    /// [`Error::Ended`]; [`Error::Parent`] where this process may not look at that one.
    pub fn look(pidfd: BorrowedFd<'a>) -> Result<Self, Error> {
        let at = |call: &'static str| {
            move |e: Errno| match e {
                Errno::NOENT | Errno::SRCH => Error::Ended,
                e => Error::Parent(call, e.into()),
            }
        };
        let pid = pid(pidfd).map_err(|e| Error::Parent("/proc/self/fdinfo", e))?;
        let pid = pid.ok_or(Error::Ended)?;
        let process =
            openat(CWD, format!("/proc/{pid}"), DIRECTORY, Mode::empty()).map_err(at("/proc"))?;
        let ours = openat(CWD, c"/proc/self", DIRECTORY, Mode::empty()).map_err(at("/proc"))?;
        let mut namespaces = 0;
        for (flag, name) in KINDS {
            let inode = |dir: &OwnedFd| statx(dir, name, AtFlags::empty(), StatxFlags::INO);
            match (inode(&process), inode(&ours)) {
                (Ok(theirs), Ok(ours)) if theirs.stx_ino == ours.stx_ino => {}
                (Ok(_), Ok(_)) => namespaces |= flag as u64,
                // A kind that this kernel does not have.
                (_, Err(Errno::NOENT)) => {}
                (Err(e), _) | (_, Err(e)) => return Err(at("/proc/PID/ns")(e)),
            }
        }
        let running = Self {
            pidfd,
            process,
            namespaces,
            cgroups: Vec::new(),
        };
        // All that was the process' own as long as it lives now: a number may pass to another.
        match running.has_ended() {
            false => Ok(running),
            true => Err(Error::Ended),
        }
    }

    /// Whether that process has ended meanwhile.
    pub(super) fn has_ended(&self) -> bool {
        let mut ended = [PollFd::from_borrowed_fd(self.pidfd, PollFlags::IN)];
        !matches!(poll(&mut ended, Some(&Timespec::default())), Ok(0))
    }

    /// Whether it has a pid namespace of its own, so that all its processes end with the first.
    pub fn own_pids(&self) -> bool {
        self.has(libc::CLONE_NEWPID)
    }

    /// Whether its ids are those of another user namespace.
    pub fn other_user_namespace(&self) -> bool {
        self.has(libc::CLONE_NEWUSER)
    }

    pub(super) fn has(&self, flag: i32) -> bool {
        self.namespaces & flag as u64 != 0
    }

    /// Its root directory.
    pub(super) fn root(&self) -> io::Result<OwnedFd> {
        Ok(openat(&self.process, c"root", DIRECTORY, Mode::empty())?)
    }

    /// The content of a regular file of the container of at most `limit` bytes; `None` if there is none. The
    /// path never leads out of the container's root, nor to one of /proc's magic links, and nothing that the
    /// container puts there is waited for.
    ///
    /// # Errors
    /// Of openat2(2) and read(2); `EFBIG`.
    pub fn read_file(&self, path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
        use std::io::Read as _;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let root = self.root()?;
        let file = match openat2(&root, path, flags, Mode::empty(), resolve) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let stat = fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        std::fs::File::from(file)
            .take(limit + 1)
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(Errno::FBIG.into());
        }
        Ok(Some(bytes))
    }
}

impl AsFd for Running<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd
    }
}

/// The number of the process behind a descriptor, in our pid namespace; `None` once it is gone, or where it
/// has none.
///
/// # Errors
/// Of reading /proc.
pub fn pid(pidfd: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    let mut text = [0u8; 512];
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let file = openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let n = rustix::io::read(&file, &mut text)?;
    let text = String::from_utf8_lossy(&text[..n]);
    let number = text.lines().find_map(|l| l.strip_prefix("Pid:"));
    let number: Option<i32> = number.and_then(|n| n.trim().parse().ok());
    Ok(number.filter(|n| *n > 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    #[test]
    fn a_process_of_ours_has_our_namespaces_until_it_ends() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let number = child.id().cast_signed();
        let pidfd = pidfd_open(Pid::from_raw(number).unwrap(), PidfdFlags::empty()).unwrap();
        assert_eq!(pid(pidfd.as_fd()).unwrap(), Some(number));
        let running = Running::look(pidfd.as_fd()).unwrap();
        assert_eq!((running.namespaces, running.own_pids()), (0, false));
        let passwd = running.read_file(Path::new("/etc/passwd"), 1 << 20);
        assert!(passwd.unwrap().unwrap().starts_with(b"root:"));
        let none = running.read_file(Path::new("/no/such"), 1);
        assert!(none.unwrap().is_none());
        let device = running.read_file(Path::new("/dev/null"), 1);
        assert!(device.unwrap().is_none());
        let long = running.read_file(Path::new("/etc/passwd"), 1).unwrap_err();
        assert_eq!(long.raw_os_error(), Some(libc::EFBIG));
        // A magic link leads out of any root.
        let magic = running.read_file(Path::new("/proc/self/root/etc/passwd"), 1 << 20);
        assert_eq!(magic.unwrap_err().raw_os_error(), Some(libc::ELOOP));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(pid(pidfd.as_fd()).unwrap(), None);
        assert!(matches!(Running::look(pidfd.as_fd()), Err(Error::Ended)));
    }
}
