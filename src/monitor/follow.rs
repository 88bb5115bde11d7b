//! Following one more process of a container from the foreground (`exec`): its terminal, signals, its end.
//! It is our child; the container has its own monitor.

use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, pidfd_send_signal};

use super::attach::{Keys, Left};
use super::foreground::{Error, at, hand_on, wait};
use super::orphans;
use super::relay::Relay;
use super::signals::{OPEN, Signals};
use crate::runtime::Started;

/// Wait until it has ended, or somebody types `keys`. `first`: the container's first process. `input`: hand our
/// standard input to its terminal, if it has one.
///
/// # Errors
/// Of the calls that it takes; then the process is gone.
pub fn follow(
    process: &Started,
    first: BorrowedFd<'_>,
    signals: &Signals,
    input: bool,
    keys: Keys,
) -> Result<Left, Error> {
    let left = serve(process, first, signals, input, keys);
    if left.is_err() {
        let _ = pidfd_send_signal(&process.pidfd, Signal::KILL);
        let _ = wait(process.pidfd.as_fd());
    }
    if !process.own_pids && !matches!(left, Ok(Left::Detached)) {
        orphans::end();
    }
    left
}

fn serve(
    process: &Started,
    first: BorrowedFd<'_>,
    signals: &Signals,
    input: bool,
    keys: Keys,
) -> Result<Left, Error> {
    let mut relay = match &process.terminal {
        Some(master) => {
            let relay = Relay::start(master.as_fd(), input).map_err(at("terminal"))?;
            Some(relay.until(keys))
        }
        None => None,
    };
    // Where the kernel does not end it with the container, we do.
    let mut first = (!process.own_pids).then_some(first);
    loop {
        let mut fds = vec![
            PollFd::from_borrowed_fd(process.pidfd.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
        ];
        fds.extend(first.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        let before_relay = fds.len();
        if let Some(relay) = &relay {
            relay.interests(&mut fds);
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(at("poll")(e)),
        }
        let ready: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        drop(fds);
        if let Some(relay) = &mut relay {
            relay.serve(&ready[before_relay..]).map_err(at("relay"))?;
        }
        if !ready[1].is_empty() {
            while let Some(signal) = signals.next() {
                // That one is for who has a control socket.
                if signal != OPEN {
                    hand_on(process, signal, relay.as_ref());
                }
            }
        }
        if !ready[0].is_empty() {
            if let Some(relay) = &mut relay {
                // What the program wrote last is still in the terminal's buffer.
                relay.drain().map_err(at("relay"))?;
            }
            return Ok(Left::Ended(wait(process.pidfd.as_fd())?.exit_code()));
        }
        if relay.as_ref().is_some_and(Relay::is_left) {
            return Ok(Left::Detached);
        }
        if first.is_some() && !ready[2].is_empty() {
            let _ = pidfd_send_signal(&process.pidfd, Signal::KILL);
            first = None;
        }
    }
}
