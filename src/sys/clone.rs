//! clone3(2): one process into new namespaces.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::process::Pid;

/// Which side of the fork this is.
#[derive(Debug)]
pub enum Side {
    /// The new process. It must end in exec or `_exit`, never by returning to `main`.
    Child,
    /// The caller.
    Parent(Child),
}

/// A process that was started, held by a descriptor that pid reuse cannot fool.
#[derive(Debug)]
pub struct Child {
    /// Process id as the caller's pid namespace counts.
    pub pid: Pid,
    /// Readable when the process has ended (pidfd_open(2)).
    pub pidfd: OwnedFd,
}

/// Fork with new namespaces (`CLONE_NEW*` bits of clone(2)). The child has its own copy of memory and
/// every signal disposition at its default (`CLONE_CLEAR_SIGHAND`, Linux 5.5), so that neither Rust's
/// ignored SIGPIPE nor the caller's `nohup` leaks into a container.
///
/// Where an outer container's filter hides clone3 (ENOSYS) the same is asked of clone(2); the child
/// then resets the dispositions itself.
///
/// # Panics
/// In debug builds, when the caller has more than one thread: the child would inherit locks that
/// nobody will release.
pub fn clone(namespaces: u64) -> io::Result<Side> {
    debug_assert_eq!(threads(), 1, "clone with threads running");
    let mut pidfd: libc::c_int = -1;
    let clear_sighand = 0x1_0000_0000; // CLONE_CLEAR_SIGHAND
    // SAFETY: all-zero is a valid clone_args, whose fields are plain integers.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = namespaces | libc::CLONE_PIDFD as u64 | clear_sighand;
    args.pidfd = &raw mut pidfd as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: args is initialised and its size is passed; without CLONE_VM and without a stack the
    // child continues here on a copy of this one, as after fork(2). The process is single-threaded.
    let mut pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args)) };
    if pid < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ENOSYS) {
        let flags = (namespaces | libc::CLONE_PIDFD as u64) as libc::c_long
            | libc::c_long::from(libc::SIGCHLD);
        // SAFETY: clone(2) with a null stack and no CLONE_VM is fork(2) with namespaces; on x86_64 and
        // aarch64 the third argument is where the pidfd goes, the others are unused.
        pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, &raw mut pidfd, 0, 0) };
        if pid == 0 {
            default_signals();
        }
    }
    match pid {
        0 => Ok(Side::Child),
        p if p > 0 => Ok(Side::Parent(Child {
            pid: Pid::from_raw(p as i32).ok_or(io::ErrorKind::InvalidData)?,
            // SAFETY: the kernel has just stored a new descriptor here, and nobody else owns it.
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        })),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Enter namespaces of the process behind `pidfd` (setns(2), Linux 5.8).
pub fn enter(pidfd: BorrowedFd<'_>, namespaces: u64) -> io::Result<()> {
    // SAFETY: setns takes two integers and touches no memory of ours.
    match unsafe { libc::setns(pidfd.as_raw_fd(), namespaces as libc::c_int) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Leave the process at once, without destructors, exit handlers or flushing buffers that the parent
/// will flush too.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit ends the process; nothing of it can be observed afterwards.
    unsafe { libc::_exit(code) }
}

fn default_signals() {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL is a valid disposition; for the numbers that cannot be changed (SIGKILL,
        // SIGSTOP, glibc's own) the call fails and changes nothing.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

fn threads() -> usize {
    // Without /proc we cannot tell, and a debug assertion is no reason to fail.
    std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clone_refuses_to_run_beside_threads() {
        // The test runner itself has threads.
        if threads() > 1 {
            assert!(std::panic::catch_unwind(|| clone(0)).is_err());
        }
    }
}
