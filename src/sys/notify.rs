//! seccomp user notification: the supervisor's side of the listener. seccomp_unotify(2).

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use rustix::io::Errno;

use super::seccomp::Instruction;

/// One system call that waits for an answer. The fields have their meaning in seccomp_unotify(2).
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Notification {
    /// Cookie of this call; no other one ever has it.
    pub id: u64,
    /// Thread that calls, in the pid namespace of whoever receives this. 0 if it is not visible there.
    pub pid: i32,
    flags: u32,
    /// System call number.
    pub number: i32,
    /// `AUDIT_ARCH_*` of the call.
    pub arch: u32,
    instruction_pointer: u64,
    /// Its arguments, as the registers have them.
    pub args: [u64; 6],
}

const _: () = assert!(size_of::<Notification>() == size_of::<libc::seccomp_notif>());

/// What the caller shall see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The kernel carries the call out. Never a decision about security: the caller can change what its
    /// pointers lead to meanwhile.
    Continue,
    /// This return value.
    Value(i64),
    /// This error.
    Error(Errno),
}

/// Wake the supervisor on the caller's own processor (Linux 6.6).
const SYNC_WAKE_UP: u64 = 1;

/// Put `filter` on this thread with a listener for its notifications. A signal that does not kill
/// does not interrupt a call that was already received (`WAIT_KILLABLE_RECV`, Linux 5.19): else a call
/// whose effect the supervisor has brought about would be made again.
///
/// # Errors
/// `EBUSY` when an outer filter has a listener already, `EINVAL` when a flag is unknown.
pub fn install(filter: &[Instruction], flags: u64) -> io::Result<OwnedFd> {
    let listener = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    let killable = libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    let fd = super::seccomp::set_filter(filter, flags | listener | killable)?;
    let fd = i32::try_from(fd).map_err(|_| io::ErrorKind::InvalidData)?;
    // SAFETY: with NEW_LISTENER the result is a new descriptor (close-on-exec) that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn check(result: libc::c_int) -> Result<libc::c_int, Errno> {
    if result >= 0 {
        return Ok(result);
    }
    Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))
}

/// Ask for wake-ups on the processor of the caller, who sleeps anyway. Older kernels do not know it.
pub fn wake_on_same_processor(listener: BorrowedFd<'_>) -> Result<(), Errno> {
    let request = libc::_IOW::<u64>(u32::from(b'!'), 4);
    // SAFETY: SECCOMP_IOCTL_NOTIF_SET_FLAGS takes a number, and touches no memory.
    check(unsafe { libc::ioctl(listener.as_raw_fd(), request, SYNC_WAKE_UP) }).map(drop)
}

/// The next notification; waits for it.
///
/// # Errors
/// `ENOENT` when the caller was killed before it could be told, or (Linux 6.11) when nobody is left
/// under the filter; `EINTR`.
pub fn receive(listener: BorrowedFd<'_>, into: &mut Notification) -> Result<(), Errno> {
    // The kernel insists on zeros.
    *into = Notification::default();
    // SAFETY: the kernel writes one struct seccomp_notif, whose size and layout Notification has.
    check(unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_RECV,
            &raw mut *into,
        )
    })
    .map(drop)
}

/// Answer. The caller may be gone, and then nothing happens.
///
/// # Errors
/// `ENOENT` when the caller does not wait any more.
pub fn answer(listener: BorrowedFd<'_>, id: u64, answer: Answer) -> Result<(), Errno> {
    let (val, error, flags) = match answer {
        Answer::Continue => (0, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
        Answer::Value(v) => (v, 0, 0),
        Answer::Error(e) => (0, -e.raw_os_error(), 0),
    };
    let response = libc::seccomp_notif_resp {
        id,
        val,
        error,
        flags,
    };
    // SAFETY: the kernel reads one struct seccomp_notif_resp, which lives until the call returns.
    check(unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_SEND,
            &raw const response,
        )
    })
    .map(drop)
}

/// Answer with a copy of `gift` as a new descriptor of the caller, in one step (Linux 5.14).
///
/// # Errors
/// `ENOENT` when the caller does not wait any more, `EMFILE` when it has too many.
pub fn answer_with(
    listener: BorrowedFd<'_>,
    id: u64,
    gift: BorrowedFd<'_>,
    cloexec: bool,
) -> Result<(), Errno> {
    let add = libc::seccomp_notif_addfd {
        id,
        flags: libc::SECCOMP_ADDFD_FLAG_SEND as u32,
        srcfd: gift.as_raw_fd().cast_unsigned(),
        newfd: 0,
        newfd_flags: if cloexec {
            libc::O_CLOEXEC.cast_unsigned()
        } else {
            0
        },
    };
    // SAFETY: the kernel reads one struct seccomp_notif_addfd, which lives until the call returns.
    check(unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_ADDFD,
            &raw const add,
        )
    })
    .map(drop)
}

/// Whether the caller still waits: only then is what was read through its number really its own.
pub fn is_valid(listener: BorrowedFd<'_>, id: u64) -> bool {
    // SAFETY: the kernel reads one u64, which lives until the call returns.
    unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_ID_VALID,
            &raw const id,
        ) == 0
    }
}
