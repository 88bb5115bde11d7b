//! clone3(2): one process into new namespaces.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::process::Pid;

/// No handlers in the child (Linux 5.5): they would run on memory that is not its own. libc has it as
/// a signed 32-bit constant, which it does not fit.
const CLEAR_SIGHAND: u64 = 0x1_0000_0000;

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

/// Fork with new namespaces (`CLONE_NEW*` bits of clone(2)). The child has its own copy of memory.
///
/// Where an outer container's filter hides clone3 (ENOSYS) the same is asked of clone(2).
///
/// # Panics
/// In debug builds, when the caller has more than one thread: the child would inherit locks that
/// nobody will release.
pub fn clone(namespaces: u64) -> io::Result<Side> {
    debug_assert_eq!(threads(), 1, "clone with threads running");
    copy(namespaces)
}

fn copy(namespaces: u64) -> io::Result<Side> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: all-zero is a valid clone_args, whose fields are plain integers.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = namespaces | libc::CLONE_PIDFD as u64;
    args.pidfd = &raw mut pidfd as u64;
    // A child for our own parent (CLONE_PARENT) tells it as we would: the kernel wants no other signal.
    let sibling = namespaces & libc::CLONE_PARENT as u64 != 0;
    args.exit_signal = if sibling { 0 } else { libc::SIGCHLD as u64 };
    // SAFETY: args is initialised and its size is passed; without CLONE_VM and without a stack the
    // child continues here on a copy of this one, as after fork(2). The process is single-threaded.
    let mut pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args)) };
    if pid < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ENOSYS) {
        let flags = (namespaces | libc::CLONE_PIDFD as u64) as libc::c_long
            | libc::c_long::from(libc::SIGCHLD);
        // SAFETY: clone(2) with a null stack and no CLONE_VM is fork(2) with namespaces; on x86_64 and
        // aarch64 the third argument is where the pidfd goes, the others are unused.
        pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, &raw mut pidfd, 0, 0) };
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

/// Start a child with new namespaces that borrows this process's memory until it executes a program or
/// exits, as vfork(2): nothing is copied, and the caller sleeps meanwhile. `work` runs in the child, on
/// the same stack, which ends if it returns; what it changes in memory the caller will see.
///
/// Where clone3 is hidden by an outer container's filter this is [`clone`].
///
/// # Panics
/// In debug builds, when the caller has more than one thread.
pub fn clone_borrowing<F: FnOnce()>(namespaces: u64, work: F) -> io::Result<Child> {
    debug_assert_eq!(threads(), 1, "clone with threads running");
    borrow(namespaces, libc::SIGCHLD, work)
}

/// The same by a process that [`clone_borrowing`] made, for one more that is no child of the caller but of the
/// caller's parent, which then waits for it.
pub fn clone_sibling<F: FnOnce()>(work: F) -> io::Result<Child> {
    // A sibling signals its end as the caller does; clone3 takes no other word about it.
    borrow(libc::CLONE_PARENT as u64, 0, work)
}

fn borrow<F: FnOnce()>(flags: u64, exit_signal: libc::c_int, work: F) -> io::Result<Child> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: all-zero is a valid clone_args, whose fields are plain integers.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags =
        flags | (libc::CLONE_PIDFD | libc::CLONE_VM | libc::CLONE_VFORK) as u64 | CLEAR_SIGHAND;
    args.pidfd = &raw mut pidfd as u64;
    args.exit_signal = exit_signal as u64;
    let mut work = Some(work);
    // SAFETY: with CLONE_VFORK the call returns here only after the child has left the shared memory.
    // Until then it uses the stack below this frame, which nobody else does, since the process has one
    // thread, and whoever lent us this memory sleeps as well. It runs borrower::<F> on `work`, which is
    // alive for the same reason, and never returns into this frame.
    let pid = unsafe { clone3_call(&raw const args, borrower::<F>, (&raw mut work).cast()) };
    match pid {
        p if p > 0 => Ok(Child {
            pid: Pid::from_raw(p as i32).ok_or(io::ErrorKind::InvalidData)?,
            // SAFETY: the kernel has just stored a new descriptor here, and nobody else owns it.
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        }),
        e => match (i32::try_from(-e).unwrap_or(libc::EIO), work) {
            (libc::ENOSYS, Some(work)) => match copy(flags)? {
                Side::Parent(child) => Ok(child),
                Side::Child => {
                    work();
                    exit_now(127)
                }
            },
            (errno, _) => Err(io::Error::from_raw_os_error(errno)),
        },
    }
}

/// First function of a borrowing child. `work` points to its `Option<F>`.
extern "C" fn borrower<F: FnOnce()>(work: *mut libc::c_void) -> ! {
    // SAFETY: borrow passes exactly this type, and sleeps while we use it.
    let work = unsafe { &mut *work.cast::<Option<F>>() };
    if let Some(work) = work.take() {
        work();
    }
    exit_now(127)
}

/// clone3(2) without a stack: in the child, calls `enter(argument)` below the caller's frame. Returns the
/// pid or a negated errno.
///
/// # Safety
/// `args` is a valid `clone_args` with CLONE_VM and CLONE_VFORK, and everything that `enter` does with
/// `argument` is sound in a process that shares this memory.
#[cfg(target_arch = "x86_64")]
unsafe fn clone3_call(
    args: *const libc::clone_args,
    enter: extern "C" fn(*mut libc::c_void) -> !,
    argument: *mut libc::c_void,
) -> i64 {
    let result: i64;
    // SAFETY: the caller vouches for the arguments. The child starts with all registers as here. The
    // stack pointer is aligned for a call, and what is below it is free (no `nostack`); `call` pushes
    // the return address that the calling convention expects, and enter never returns, so that the
    // parent finds its frame as it left it. The kernel clobbers rcx and r11.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r13",
            "call r12",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") args,
            in("rsi") size_of::<libc::clone_args>(),
            in("r12") enter,
            in("r13") argument,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

/// As above. aarch64: the result comes in x0, and the link register needs no value.
#[cfg(target_arch = "aarch64")]
unsafe fn clone3_call(
    args: *const libc::clone_args,
    enter: extern "C" fn(*mut libc::c_void) -> !,
    argument: *mut libc::c_void,
) -> i64 {
    let result: i64;
    // SAFETY: as on x86_64; the kernel preserves all registers but x0.
    unsafe {
        std::arch::asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x30, xzr",
            "mov x0, x21",
            "blr x20",
            "brk #0",
            "2:",
            inlateout("x0") args => result,
            in("x1") size_of::<libc::clone_args>(),
            in("x8") libc::SYS_clone3,
            in("x20") enter,
            in("x21") argument,
        );
    }
    result
}

/// Enter namespaces of the process behind `pidfd` (setns(2), Linux 5.8).
pub fn enter(pidfd: BorrowedFd<'_>, namespaces: u64) -> io::Result<()> {
    // SAFETY: setns takes two integers and touches no memory of ours.
    match unsafe { libc::setns(pidfd.as_raw_fd(), namespaces as libc::c_int) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether [`enter`] can be asked for at all: an outer filter may forbid the call.
pub fn may_enter() -> io::Result<()> {
    // SAFETY: no descriptor has this number, so the call does nothing.
    unsafe { libc::setns(-1, 0) };
    match io::Error::last_os_error() {
        e if e.raw_os_error() == Some(libc::EBADF) => Ok(()),
        e => Err(e),
    }
}

/// Leave the process at once, without destructors, exit handlers or flushing buffers that the parent
/// will flush too.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit ends the process; nothing of it can be observed afterwards.
    unsafe { libc::_exit(code) }
}

/// Give every signal its default disposition. `CLONE_CLEAR_SIGHAND` does that for handlers and leaves
/// ignored signals ignored: SIGPIPE by Rust's start-up code, SIGHUP by the caller's `nohup`.
pub fn default_signals() {
    // One look says which: mostly SIGPIPE alone. Where there is no /proc, all.
    let ignored = ignored_signals().unwrap_or(u64::MAX);
    for signal in (1..=64).filter(|n| ignored >> (n - 1) & 1 == 1) {
        // SAFETY: SIG_DFL is a valid disposition; for the numbers that cannot be changed (SIGKILL,
        // SIGSTOP, glibc's own) the call fails and changes nothing.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// The signals that this process ignores, bit n-1 for signal n (proc_pid_status(5)).
fn ignored_signals() -> Option<u64> {
    use rustix::fs::{CWD, Mode, OFlags, openat};
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let status = openat(CWD, c"/proc/self/status", flags, Mode::empty()).ok()?;
    let mut buffer = [0u8; 4096];
    let n = rustix::io::read(&status, &mut buffer).ok()?;
    let text = std::str::from_utf8(&buffer[..n]).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn threads() -> usize {
    // Without /proc we cannot tell, and a debug assertion is no reason to fail.
    std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_seen() {
        // SAFETY: a disposition without a handler; nothing in these tests sends this signal.
        unsafe { libc::signal(40, libc::SIG_IGN) };
        assert!(ignored_signals().unwrap() & (1 << 39) != 0);
        // SAFETY: as above. Not by default_signals, which would take SIGPIPE away from the other tests.
        unsafe { libc::signal(40, libc::SIG_DFL) };
        assert!(ignored_signals().unwrap() & (1 << 39) == 0);
    }

    #[test]
    fn clone_refuses_to_run_beside_threads() {
        // The test runner itself has threads.
        if threads() > 1 {
            assert!(std::panic::catch_unwind(|| clone(0)).is_err());
            assert!(std::panic::catch_unwind(|| clone_borrowing(0, || exit_now(0))).is_err());
        }
    }
}
