//! The last step into a container: replace this process by the container's program, so that at no
//! point a process of the container has our own executable as its `/proc/self/exe`.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::MemfdFlags;
use rustix::io::{FdFlags, fcntl_setfd};

use super::stub;

/// A program start that is ready to happen.
#[derive(Debug)]
pub struct Prepared {
    image: Image,
    argv: Vec<CString>,
    envp: Vec<CString>,
}

/// What is executed first.
#[derive(Debug)]
enum Image {
    /// A program in memory, which executes the container's, or is it.
    Memory(OwnedFd),
    /// The container's program itself.
    Path(CString),
}

/// Whether a process of a container could write to the file that this program was started from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnExecutable {
    /// It belongs to the user, or the user may write to it.
    Exposed,
    /// It is somebody else's, and closed to the user, as where an administrator installed it: nobody
    /// in a user namespace without the owner's id can change that.
    OutOfReach,
}

impl OwnExecutable {
    /// Look at it. To be asked outside of the container's user namespace.
    pub fn look() -> Self {
        use rustix::fs::{Access, AtFlags, CWD, accessat, stat};
        const EXE: &CStr = c"/proc/self/exe";
        let foreign = stat(EXE).is_ok_and(|s| s.st_uid != rustix::process::geteuid().as_raw());
        // Any other answer, such as of a read-only mount, says nothing about other ways to the file.
        let closed = || {
            accessat(CWD, EXE, Access::WRITE_OK, AtFlags::EACCESS) == Err(rustix::io::Errno::ACCESS)
        };
        if foreign && closed() {
            Self::OutOfReach
        } else {
            Self::Exposed
        }
    }
}

/// Make everything ready for `path` to be executed with `argv` and `envp`.
///
/// Executing it directly would be wrong where our own executable is exposed: `path` may be
/// `/proc/self/exe` or a script whose interpreter is, and the container would then run (and, under one
/// uid, could later overwrite) the file that the user starts as `coracle` (CVE-2019-5736). So a stub
/// of a few hundred bytes, in memory only, goes first: whatever `/proc/self/exe` leads to when `path`
/// is resolved is the stub.
///
/// If the stub cannot execute `path` it writes the errno to `report` as a native-endian `i32` and ends
/// with code 127; otherwise `report` closes at that moment.
pub fn prepare(
    path: CString,
    argv: Vec<CString>,
    envp: Vec<CString>,
    report: BorrowedFd<'_>,
    own: OwnExecutable,
) -> io::Result<Prepared> {
    let image = match own {
        OwnExecutable::OutOfReach => Image::Path(path),
        OwnExecutable::Exposed => {
            let stub = memfd(c"exec")?;
            let image = stub::image(&path, report.as_raw_fd());
            let mut rest = image.as_slice();
            while !rest.is_empty() {
                let n = rustix::io::write(&stub, rest)?;
                rest = &rest[n..];
            }
            // The stub needs it open, and closes it on exec itself.
            fcntl_setfd(report, FdFlags::empty())?;
            Image::Memory(stub)
        }
    };
    Ok(Prepared { image, argv, envp })
}

/// Make everything ready for a copy of this very program to be executed, in memory only: the file it
/// was started from stays out of reach (see [`prepare`]).
pub fn prepare_self(argv: Vec<CString>, envp: Vec<CString>) -> io::Result<Prepared> {
    Ok(prepare_copy(own_copy()?, argv, envp))
}

/// A copy of this very program, in memory only. Where `/proc` may be another's it is made before going there.
pub fn own_copy() -> io::Result<OwnedFd> {
    let mut copy = std::fs::File::from(memfd(c"coracle")?);
    io::copy(&mut std::fs::File::open("/proc/self/exe")?, &mut copy)?;
    Ok(copy.into())
}

/// Make everything ready for such a copy to be executed.
pub fn prepare_copy(copy: OwnedFd, argv: Vec<CString>, envp: Vec<CString>) -> Prepared {
    Prepared {
        image: Image::Memory(copy),
        argv,
        envp,
    }
}

/// MFD_EXEC (Linux 6.3) says what we mean; older kernels do not know it.
fn memfd(name: &CStr) -> io::Result<OwnedFd> {
    Ok(
        rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::EXEC)
            .or_else(|_| rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC))?,
    )
}

/// Take over a descriptor that was handed to this program by its number; close-on-exec from now on.
/// `None` if there is no such descriptor.
pub fn inherited(number: i32) -> Option<OwnedFd> {
    if number <= 2 {
        return None;
    }
    // SAFETY: F_GETFD only looks the number up.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return None;
    }
    // SAFETY: it is open, and the number was given to this program alone, which has just started and
    // made no other owner of it.
    let fd = unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(number) };
    fcntl_setfd(&fd, FdFlags::CLOEXEC).ok()?;
    Some(fd)
}

/// execve(2) with the environment of this process. Returns only on failure.
pub fn exec(path: &CStr, argv: &[CString]) -> io::Error {
    let argv = pointers(argv);
    // SAFETY: path is a C string and argv an array of C strings that ends with a null pointer, all
    // alive; the call returns only on failure.
    unsafe { libc::execv(path.as_ptr(), argv.as_ptr()) };
    io::Error::last_os_error()
}

/// Say on a report descriptor why a program could not be executed, as the stub does.
pub fn report_errno(report: impl AsFd, e: &io::Error) {
    let errno = e.raw_os_error().unwrap_or(libc::EIO);
    // If the other end is gone there is nobody to tell.
    let _ = rustix::io::write(report, &errno.to_ne_bytes());
}

impl Prepared {
    /// Whether the first thing that is executed is a program of ours, in memory.
    pub fn is_ours(&self) -> bool {
        matches!(self.image, Image::Memory(_))
    }

    /// Go. Returns only on failure of the first step. `word` goes into the sixth argument of execveat(2),
    /// which the kernel ignores and a filter may look at.
    pub fn exec(&self, word: u32) -> io::Error {
        let argv = pointers(&self.argv);
        let envp = pointers(&self.envp);
        let (dir, path, flags) = match &self.image {
            Image::Memory(fd) => (fd.as_raw_fd(), c"", libc::AT_EMPTY_PATH),
            Image::Path(path) => (libc::AT_FDCWD, path.as_c_str(), 0),
        };
        // SAFETY: both arrays end with a null pointer and point to strings that live in self; the path
        // is a valid C string; the call returns only on failure.
        unsafe {
            libc::syscall(
                libc::SYS_execveat,
                dir,
                path.as_ptr(),
                argv.as_ptr(),
                envp.as_ptr(),
                flags,
                libc::c_long::from(word),
            )
        };
        io::Error::last_os_error()
    }
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings
        .iter()
        .map(|s| s.as_ptr())
        .chain([std::ptr::null()])
        .collect()
}

/// Mark descriptors `first..=last` close-on-exec (close_range(2), Linux 5.11).
pub fn cloexec_range(first: u32, last: u32) -> io::Result<()> {
    close_range(first, last, libc::CLOSE_RANGE_CLOEXEC)
}

/// Close descriptors `first..=last` of a process that will use none of them again.
pub fn close_from(first: u32, last: u32) -> io::Result<()> {
    close_range(first, last, 0)
}

/// Close this process's copy of a descriptor whose owner is another process: the parent, whose memory
/// and not whose descriptors a child shares.
pub fn close_copy(fd: BorrowedFd<'_>) -> io::Result<()> {
    let fd = fd.as_raw_fd() as u32;
    close_range(fd, fd, 0)
}

/// Close all descriptors from 3 on but these: for a child that goes on with this program's code and owns
/// nothing else of it.
pub fn close_all_but(keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut keep: Vec<u32> = keep.iter().map(|fd| fd.as_raw_fd() as u32).collect();
    keep.sort_unstable();
    let mut first = 3;
    for fd in keep {
        if fd > first {
            close_range(first, fd - 1, 0)?;
        }
        first = first.max(fd + 1);
    }
    close_range(first, u32::MAX, 0)
}

fn close_range(first: u32, last: u32, flags: u32) -> io::Result<()> {
    // SAFETY: three integers; which descriptors go is the caller's business, and those who call are
    // about to leave this program's code for good.
    match unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Join a new, anonymous session keyring (keyctl(2)), so that the caller's keys stay outside. Where
/// keyrings are off or the quota is full, nothing happens.
pub fn new_session_keyring() {
    let join = 1; // KEYCTL_JOIN_SESSION_KEYRING
    // SAFETY: a null name asks for an anonymous keyring; no memory is involved.
    unsafe { libc::syscall(libc::SYS_keyctl, join, std::ptr::null::<libc::c_char>()) };
}

/// Spawn a helper program inside namespaces of the process behind `pidfd`, with one more descriptor
/// that keeps its number there and is closed here.
pub fn in_namespaces(
    command: &mut std::process::Command,
    pidfd: BorrowedFd<'_>,
    namespaces: u64,
    inherit: OwnedFd,
) -> io::Result<std::process::Child> {
    use std::os::unix::process::CommandExt as _;
    let pidfd = pidfd.try_clone_to_owned()?;
    let enter = move || {
        fcntl_setfd(&inherit, FdFlags::empty())?;
        super::clone::enter(pidfd.as_fd(), namespaces)
    };
    // SAFETY: the closure runs in the forked child and makes two system calls, which allocate nothing
    // and take no lock.
    unsafe { command.pre_exec(enter) };
    command.spawn()
}
