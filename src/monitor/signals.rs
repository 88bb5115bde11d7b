//! Signals that concern a container, taken as data from a descriptor. signalfd(2).

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// What `docker run` hands on with `--sig-proxy`: all but those that tell about ourselves (SIGCHLD),
/// about our pipes (SIGPIPE), or come from our own faults.
const FORWARDED: [Signal; 13] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGCONT,
    Signal::SIGTSTP,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
    Signal::SIGURG,
    Signal::SIGWINCH,
];

/// Asks for the control socket ([`Control::open`](super::Control::open)). No kernel sends it (signal(7)).
pub const OPEN: Signal = Signal::SIGSTKFLT;

/// Signals held back for [`watch`](super::watch). Made before the container is, so that none is lost
/// between; the child undoes the block.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Block the signals of this thread, of which there must be no other, and open the descriptor.
    pub fn block() -> std::io::Result<Self> {
        let set: SigSet = FORWARDED.into_iter().chain([OPEN]).collect();
        set.thread_block()?;
        Ok(Self(SignalFd::with_flags(
            &set,
            SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK,
        )?))
    }

    /// Let them come again as they are for anybody else: for who goes on after the container has ended.
    pub fn unblock() -> std::io::Result<()> {
        let set: SigSet = FORWARDED.into_iter().chain([OPEN]).collect();
        Ok(set.thread_unblock()?)
    }

    /// The next one that has arrived, without waiting.
    pub(super) fn next(&self) -> Option<Signal> {
        let info = self.0.read_signal().ok().flatten()?;
        Signal::try_from(info.ssi_signo as i32).ok()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
