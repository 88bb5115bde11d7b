//! What stays behind of an `exec` that goes on without us: where it has a terminal, somebody has to hold its
//! other end, and where the container shares a pid namespace, somebody has to end it with the container.

use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, read};
use rustix::process::{Signal, pidfd_send_signal, setsid};

use crate::ops::Error;
use crate::runtime::Started;
use crate::sys::clone::{Side, clone, exit_now};
use crate::sys::exec::close_all_but;

/// Leave it to itself, or to a small process that ends with it. `first`: of the container.
pub(super) fn leave(started: &Started, first: BorrowedFd<'_>) -> Result<(), Error> {
    if started.terminal.is_none() && started.own_pids {
        return Ok(());
    }
    match clone(0).map_err(Error::Prepare)? {
        Side::Parent(_) => Ok(()),
        Side::Child => {
            keep(started, first);
            exit_now(0)
        }
    }
}

/// Until the program has ended, and nobody has its terminal open.
fn keep(started: &Started, first: BorrowedFd<'_>) {
    let process = started.pidfd.as_fd();
    let terminal = started.terminal.as_ref().map(|t| t.as_fd());
    let mut keep = vec![process, first];
    keep.extend(terminal);
    // What we were started from must not wait for us.
    let _ = close_all_but(&keep);
    let _ = setsid();
    let _ = rustix::thread::set_name(c"coracle-exec");
    if let Ok(null) = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
    {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
    let mut output = terminal;
    loop {
        let mut fds = vec![
            PollFd::from_borrowed_fd(process, PollFlags::IN),
            PollFd::from_borrowed_fd(first, PollFlags::IN),
        ];
        fds.extend(output.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
        if !fds[0].revents().is_empty() {
            return;
        }
        if !fds[1].revents().is_empty() {
            let _ = pidfd_send_signal(process, Signal::KILL);
            return;
        }
        if let Some(fd) = output
            && fds.get(2).is_some_and(|fd| !fd.revents().is_empty())
        {
            // Nobody reads it any more.
            match read(fd, &mut [0u8; 4096]) {
                Ok(1..) | Err(Errno::AGAIN | Errno::INTR) => {}
                Ok(0) | Err(_) => output = None,
            }
        }
    }
}
