//! Watching a container from the foreground: hand signals on, relay the terminal, wait for the end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::Signal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use super::control::{About, Ask, Control, Wish};
use super::orphans;
use super::relay::Relay;
use super::signals::{OPEN, Signals};
use super::tee::Tee;
use super::wire::Reply;
use crate::runtime::Started;

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

impl Ended {
    /// As a shell and docker tell it: 128+n for signal n.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Exited(code) => code as u8,
            Self::Killed(signal) => 128u8.wrapping_add(signal as u8),
        }
    }
}

/// Why watching failed. The container is gone then.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call of ours.
    #[error("cannot watch the container: {call}: {source}")]
    Call {
        /// Which.
        call: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Nobody answers for users and owners any more, and whatever asks would be told nonsense.
    #[error("the supervisor of users and owners ended{}; the container was ended with it", by(.0))]
    Unsupervised(Option<i32>),
}

fn by(signal: &Option<i32>) -> String {
    signal.map_or_else(String::new, |n| format!(" by signal {n}"))
}

pub(super) fn at(call: &'static str) -> impl FnOnce(rustix::io::Errno) -> Error {
    move |e| Error::Call {
        call,
        source: e.into(),
    }
}

/// Wait until the program has ended, and all processes of its container with it; its supervisor, if there is one, is
/// about to, see [`gone`]. `input`: hand our standard input to its terminal, if it has one. `dir`: its directory, for
/// the control socket that others may ask for. `tee`: where its output goes by us, and not straight to our own.
pub fn watch(
    container: &Started,
    signals: &Signals,
    input: bool,
    dir: Option<BorrowedFd<'_>>,
    mut tee: Option<Tee>,
) -> Result<Ended, Error> {
    let mut control = Control::default();
    let result = serve(container, signals, input, &mut control, dir, tee.as_mut());
    let result = over(container, result);
    if let Some(tee) = &mut tee {
        tee.drain();
    }
    match &result {
        Ok(ended) => control.ended(ended.exit_code()),
        Err(_) => gone(container),
    }
    result
}

/// Wait for the end of a program of ours, which makes no processes and ends by itself; and for that of its supervisor,
/// if it has one of its own.
pub fn settle(started: &Started) -> Result<Ended, Error> {
    let ended = wait(started.pidfd.as_fd())?;
    let supervised = match &started.supervisor {
        Some(supervisor) => dismiss(supervisor.process.pidfd.as_fd()),
        None => Ok(()),
    };
    gone(started);
    supervised.map(|()| ended)
}

/// What is to be done when the program has ended, or we have failed to wait for that.
pub(super) fn over(container: &Started, result: Result<Ended, Error>) -> Result<Ended, Error> {
    if result.is_err() {
        // Whatever went wrong here must not leave a container that nobody watches.
        let _ = pidfd_send_signal(&container.pidfd, rustix::process::Signal::KILL);
        let _ = wait(container.pidfd.as_fd());
    }
    if !container.own_pids {
        orphans::end();
    }
    let supervised = container
        .supervisor
        .as_ref()
        .map_or(Ok(()), |s| dismiss(s.process.pidfd.as_fd()));
    result.and_then(|ended| supervised.map(|()| ended))
}

/// How long a killed supervisor may take to end.
const DISMISSAL: Timespec = Timespec {
    tv_sec: 2,
    tv_nsec: 0,
};

/// Have the supervisor of a container that is gone end: it has nothing to answer and nothing to keep, since
/// what it records it writes at once. An error if it had failed before, since then the container may
/// have ended of that. [`gone`] waits for it.
fn dismiss(pidfd: BorrowedFd<'_>) -> Result<(), Error> {
    let now = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    match waitid(WaitId::PidFd(pidfd), now) {
        Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
            (Some(0), _) => Ok(()),
            (_, signal) => Err(Error::Unsupervised(signal)),
        },
        Ok(None) => {
            let _ = pidfd_send_signal(pidfd, rustix::process::Signal::KILL);
            Ok(())
        }
        // It had ended well, and was waited for.
        Err(_) => Ok(()),
    }
}

/// Wait until the supervisor of a container that was watched has ended. Later than the rest, so that what is left
/// of the container is removed meanwhile.
pub fn gone(container: &Started) {
    let Some(supervisor) = &container.supervisor else {
        return;
    };
    let pidfd = supervisor.process.pidfd.as_fd();
    // A file system that does not answer keeps even a killed process; nobody needs this one.
    let mut ended = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
    if matches!(poll(&mut ended, Some(&DISMISSAL)), Ok(1)) {
        let _ = waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED);
    }
}

fn serve(
    container: &Started,
    signals: &Signals,
    input: bool,
    control: &mut Control,
    dir: Option<BorrowedFd<'_>>,
    mut tee: Option<&mut Tee>,
) -> Result<Ended, Error> {
    let mut relay = match &container.terminal {
        Some(master) => Some(Relay::start(master.as_fd(), input).map_err(at("terminal"))?),
        None => None,
    };
    let mut supervisor = container
        .supervisor
        .as_ref()
        .map(|s| s.process.pidfd.as_fd());
    let about = About {
        pid: container.pid.as_raw_nonzero().get(),
        pidfd: Some(container.pidfd.as_fd()),
        tty: container.terminal.is_some(),
        emulated: container.supervisor.is_some(),
        input: false,
        streams: false,
        restarts: false,
    };
    loop {
        let mut fds = vec![
            PollFd::from_borrowed_fd(container.pidfd.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
        ];
        if let Some(pidfd) = &supervisor {
            fds.push(PollFd::from_borrowed_fd(*pidfd, PollFlags::IN));
        }
        let before_relay = fds.len();
        if let Some(relay) = &relay {
            relay.interests(&mut fds);
        }
        let before_tee = fds.len();
        if let Some(tee) = &tee {
            tee.interests(&mut fds);
        }
        let before_control = fds.len();
        control.interests(false, &mut fds);
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(at("poll")(e)),
        }
        let ready: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        drop(fds);
        if let Some(relay) = &mut relay {
            let ready = &ready[before_relay..before_tee];
            relay.serve(ready).map_err(at("relay"))?;
        }
        if let Some(tee) = &mut tee {
            tee.serve(&ready[before_tee..before_control]);
        }
        for wish in control.serve(&ready[before_control..], &about) {
            // The others are of those who are attached, which nobody can be here.
            if let Wish::Identity(ask, client) = wish {
                control.answer(client, identity(container, ask));
            }
        }
        if !ready[1].is_empty() {
            while let Some(signal) = signals.next() {
                match signal {
                    // Whoever asked sees it if it cannot be had.
                    OPEN => drop(dir.map(|dir| control.open(dir))),
                    signal => hand_on(container, signal, relay.as_ref()),
                }
            }
        }
        if !ready[0].is_empty() {
            if let Some(relay) = &mut relay {
                // What the program wrote last is still in the terminal's buffer.
                relay.drain().map_err(at("relay"))?;
            }
            return wait(container.pidfd.as_fd());
        }
        if let Some(pidfd) = supervisor
            && !ready[2].is_empty()
        {
            supervisor_ended(pidfd)?;
            supervisor = None;
        }
    }
}

/// It may see the end of the container first; then we will in a moment.
pub(super) fn supervisor_ended(pidfd: BorrowedFd<'_>) -> Result<(), Error> {
    match wait(pidfd)? {
        Ended::Exited(0) => Ok(()),
        Ended::Exited(_) => Err(Error::Unsupervised(None)),
        Ended::Killed(signal) => Err(Error::Unsupervised(Some(signal))),
    }
}

/// Ask the supervisor.
pub(super) fn identity(container: &Started, ask: Ask) -> io::Result<Reply> {
    let supervisor = container.supervisor.as_ref();
    let supervisor = supervisor.ok_or(io::ErrorKind::Unsupported)?;
    let mut reply = Reply::default();
    match ask {
        Ask::Supervise {
            listener,
            process,
            who,
        } => supervisor.add(listener.as_fd(), process.as_fd(), &who)?,
        Ask::Whose(pids) => reply.whose = supervisor.whose(&pids)?,
    }
    Ok(reply)
}

pub(super) fn wait(pidfd: BorrowedFd<'_>) -> Result<Ended, Error> {
    let status = waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED).map_err(at("waitid"))?;
    Ok(
        match status.and_then(|s| s.exit_status().map(Ok).or(s.terminating_signal().map(Err))) {
            Some(Ok(code)) => Ended::Exited(code),
            Some(Err(signal)) => Ended::Killed(signal),
            None => Ended::Killed(libc::SIGKILL),
        },
    )
}

pub(super) fn hand_on(container: &Started, signal: Signal, relay: Option<&Relay<'_>>) {
    // The container may have ended meanwhile: then there is nobody to tell, and poll says so next.
    let send = |s: Signal| {
        if let Some(s) = rustix::process::Signal::from_named_raw(s as i32) {
            let _ = pidfd_send_signal(&container.pidfd, s);
        }
    };
    match signal {
        Signal::SIGWINCH => {
            if let Some(relay) = relay {
                relay.resize();
            } else {
                send(signal);
            }
        }
        // Ctrl-Z without a terminal of its own: stop both, so that the shell gets its prompt back. The
        // program leads an orphaned process group, which only SIGSTOP stops.
        Signal::SIGTSTP | Signal::SIGTTIN | Signal::SIGTTOU => {
            send(Signal::SIGSTOP);
            let _ = nix::sys::signal::raise(Signal::SIGSTOP);
            send(Signal::SIGCONT);
        }
        other => send(other),
    }
}
