//! Signals that the safe crates have no words for. signal(7), kill(2).

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use rustix::process::Signal;

/// The signal of this number; also those of real time. `None` if the kernel has none, or libc keeps it for itself.
pub fn numbered(number: i32) -> Option<Signal> {
    let named = Signal::from_named_raw(number);
    if named.is_some() || !(libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&number) {
        return named;
    }
    // SAFETY: it is in the range that libc leaves to programs.
    Some(unsafe { Signal::from_raw_unchecked(number) })
}

/// Send a signal to every process of our pid namespace but ourselves and its first one.
///
/// # Errors
/// Of kill(2); that there is none is no error.
pub fn everybody_else(signal: Signal) -> io::Result<()> {
    // SAFETY: kill takes two integers.
    match unsafe { libc::kill(-1, signal.as_raw()) } {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            e if e.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            e => Err(e),
        },
    }
}

/// pidfd_send_signal(2); 0 only asks.
pub fn send(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: integers and a null pointer, which asks for what kill(2) would send.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if sent == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
