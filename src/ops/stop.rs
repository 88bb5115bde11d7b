//! `stop`, `kill`, `wait`, `pause`: what is done to a container that runs. docker-stop(1), docker-kill(1).

use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};

use super::events::{self, Action};
use super::live::{self, Live};
use super::run::Options;
use super::state::{HealthStatus, State, Status};
use super::{Error, Store};
use crate::monitor::STOP_TIMEOUT;
use crate::store::ContainerEntry;
use crate::sys;
use crate::sys::fork::At as _;

/// How long a killed container and its monitor may take to go. A file system that does not answer takes longer.
const AFTER_KILL: Duration = Duration::from_secs(20);

/// How often to look whether one has ended whose monitor does not say.
const UNANSWERED: Duration = Duration::from_millis(50);

/// How a container is to be stopped.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stop {
    /// Seconds until SIGKILL, in place of the container's own; negative: never.
    pub timeout: Option<i64>,
    /// In place of the container's own.
    pub signal: Option<Signal>,
}

/// Ask it to end, then make it. True when it ran.
pub fn stop(store: &Store, name: &str, how: &Stop) -> Result<bool, Error> {
    let entry = store.containers().find(name)?;
    let stopped = stop_entry(store, &entry, how, live::ANSWER)?;
    if stopped {
        events::happened(store, &entry, Action::Stop);
    }
    Ok(stopped)
}

/// The monitor has so long for each answer.
pub(super) fn stop_entry(
    store: &Store,
    entry: &ContainerEntry,
    how: &Stop,
    answer: Duration,
) -> Result<bool, Error> {
    // First of all, so that its end is not taken for a failure.
    match live::connect_within(store, entry, answer).and_then(Live::stopping) {
        Ok(()) => {}
        Err(Error::NotRunning(_)) => return Ok(false),
        Err(e) => return Err(e),
    }
    match end(store, entry, how, answer) {
        // It may end by itself at any moment.
        Ok(()) | Err(Error::NotRunning(_)) => settled(store, entry).map(|()| true),
        Err(e) => Err(e),
    }
}

fn end(store: &Store, entry: &ContainerEntry, how: &Stop, answer: Duration) -> Result<(), Error> {
    let (signal, seconds) = wishes(store, entry, how)?;
    let process = live::connect_within(store, entry, answer)?
        .describe()?
        .pidfd;
    let _ = pidfd_send_signal(&process, signal);
    // One that is paused would not hear it.
    if State::read(store, entry)?.is_some_and(|s| s.status == Status::Paused) {
        freeze(process.as_fd(), false)?;
    }
    let patience = u64::try_from(seconds).ok().map(Duration::from_secs);
    if !ends(process.as_fd(), patience)? {
        let _ = pidfd_send_signal(&process, Signal::KILL);
    }
    Ok(())
}

/// Wait until its monitor has let go of it.
pub(super) fn settled(store: &Store, entry: &ContainerEntry) -> Result<(), Error> {
    let until = Instant::now() + AFTER_KILL;
    while store.containers().is_locked(entry)? {
        if Instant::now() > until {
            return Err(Error::WillNotEnd(entry.id.clone()));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Signal and seconds.
fn wishes(store: &Store, entry: &ContainerEntry, how: &Stop) -> Result<(Signal, i64), Error> {
    let (own, keep) = match store.containers().options::<Options>(entry)? {
        Some(o) => (o.stop_signal, o.keep.stop_timeout),
        None => (None, None),
    };
    let own = own.or_else(|| stop_signal(store, entry));
    let signal = match (how.signal, own) {
        (Some(signal), _) => signal,
        (None, Some(name)) => signal_named(&name).unwrap_or(Signal::TERM),
        (None, None) => Signal::TERM,
    };
    let seconds = how
        .timeout
        .unwrap_or_else(|| i64::from(keep.unwrap_or(STOP_TIMEOUT)));
    Ok((signal, seconds))
}

/// The image's, as it stands in the configuration.
fn stop_signal(store: &Store, entry: &ContainerEntry) -> Option<String> {
    let containers = store.containers();
    let name = containers.annotation(entry, super::STOP_SIGNAL_ANNOTATION);
    name.ok().flatten()
}

/// A signal by name, with SIG or without, or by number; also those of real time (`RTMIN+3`). signal(7).
pub fn signal_named(name: &str) -> Option<Signal> {
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    let number = match short.parse::<i32>() {
        Ok(n) => n,
        Err(_) => match short.strip_prefix("RTMIN") {
            Some(rest) => libc::SIGRTMIN() + offset(rest)?,
            None => match short.strip_prefix("RTMAX") {
                Some(rest) => libc::SIGRTMAX() + offset(rest)?,
                None => {
                    let signal: nix::sys::signal::Signal = format!("SIG{short}").parse().ok()?;
                    signal as i32
                }
            },
        },
    };
    sys::signal::numbered(number)
}

fn offset(text: &str) -> Option<i32> {
    match text {
        "" => Some(0),
        text => text.parse().ok(),
    }
}

/// Wait until a process has ended, at most so long; false when it has not.
fn ends(process: BorrowedFd<'_>, patience: Option<Duration>) -> Result<bool, Error> {
    let until = patience.map(|p| Instant::now() + p);
    loop {
        let left = until.map(|u| u.saturating_duration_since(Instant::now()));
        let timeout = left.map(|l| Timespec {
            tv_sec: l.as_secs() as i64,
            tv_nsec: i64::from(l.subsec_nanos()),
        });
        let mut fds = [PollFd::from_borrowed_fd(process, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(Error::Prepare(e.into())),
        }
    }
}

/// Send a signal to its program.
pub fn kill(store: &Store, name: &str, signal: Signal) -> Result<(), Error> {
    let entry = store.containers().find(name)?;
    let description = live::connect(store, &entry)?.describe()?;
    // What makes it end is a wish for its end; anything else is between the sender and the program.
    let (stop, _) = wishes(store, &entry, &Stop::default())?;
    let final_word = [Signal::KILL, Signal::TERM, stop].contains(&signal);
    if final_word {
        live::connect(store, &entry)?.stopping()?;
    }
    pidfd_send_signal(&description.pidfd, signal)
        .map_err(|e| Error::Signal(name.to_owned(), e.into()))?;
    let number = signal.as_raw().to_string();
    let event = events::of_container(store, &entry, Action::Kill);
    events::record(store, &event.with([(&"signal".to_owned(), &number)]));
    if signal == Signal::KILL {
        // As docker: when this returns, it is over.
        ends(description.pidfd.as_fd(), Some(AFTER_KILL))?;
        settled(store, &entry)?;
    }
    Ok(())
}

/// Wait for its end; its exit code comes back. `None`: nobody was left to record it.
pub fn wait(store: &Store, name: &str) -> Result<Option<u8>, Error> {
    let entry = store.containers().find(name)?;
    let recorded = || Ok(State::read(store, &entry)?.and_then(|s| s.exit_code));
    // Whoever has it lets go of it in the end.
    let unlocked = || {
        while store.containers().is_locked(&entry)? {
            std::thread::sleep(UNANSWERED);
        }
        recorded()
    };
    let client = match live::connect(store, &entry) {
        Ok(live) => live.into_client(),
        Err(Error::NotRunning(_)) => return recorded(),
        Err(Error::NoAnswer(_)) => return unlocked(),
        Err(e) => return Err(e),
    };
    match client.watch_end() {
        Ok(()) => match client.ended() {
            Ok(Some(code)) => Ok(Some(code)),
            _ => recorded(),
        },
        Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => unlocked(),
        Err(_) => recorded(),
    }
}

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// It has ended.
    Stopped,
    /// It runs.
    Running,
    /// Its test went well.
    Healthy,
    /// Its tests failed.
    Unhealthy,
}

/// Wait until something is recorded of it. An exit code if it ended before, else `Some(0)`, as podman has it.
pub fn wait_until(
    store: &Store,
    name: &str,
    until: Until,
    interval: Duration,
) -> Result<Option<u8>, Error> {
    let entry = store.containers().find(name)?;
    loop {
        let live = store.containers().is_locked(&entry)?;
        let state = State::read(store, &entry)?.unwrap_or_default();
        let health = state.health.as_ref().map(|h| h.status);
        let reached = match until {
            Until::Stopped => !live,
            Until::Running => live && state.status == Status::Running,
            Until::Healthy => live && health == Some(HealthStatus::Healthy),
            Until::Unhealthy => live && health == Some(HealthStatus::Unhealthy),
        };
        if reached {
            return Ok(Some(state.exit_code.unwrap_or_default()));
        }
        if !live && state.status == Status::Exited {
            return Ok(state.exit_code);
        }
        if live && state.status == Status::Running && health.is_none() && until != Until::Running {
            return Err(Error::NoHealthcheck(name.to_owned()));
        }
        std::thread::sleep(interval);
    }
}

/// Stop all of its processes where they are, or let them go on.
pub fn pause(store: &Store, name: &str, paused: bool) -> Result<(), Error> {
    let entry = store.containers().find(name)?;
    let is = State::read(store, &entry)?.is_some_and(|s| s.status == Status::Paused);
    let description = live::connect(store, &entry)?.describe()?;
    if is == paused {
        return Err(match paused {
            true => Error::AlreadyPaused(name.to_owned()),
            false => Error::NotPaused(name.to_owned()),
        });
    }
    if shares_pids(description.pid) {
        return Err(Error::SharedPids(name.to_owned()));
    }
    freeze(description.pidfd.as_fd(), paused)?;
    live::connect(store, &entry)?.paused(paused)?;
    let action = if paused {
        Action::Pause
    } else {
        Action::Unpause
    };
    events::happened(store, &entry, action);
    Ok(())
}

/// Whether it has no pid namespace of its own. The process has a pidfd in our hands, so its number is its own if it
/// still lives; if not, what follows fails.
fn shares_pids(pid: i32) -> bool {
    let namespace = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/pid")).ok();
    let theirs = namespace(&pid.to_string());
    theirs.is_none() || theirs == namespace("self")
}

/// SIGSTOP or SIGCONT to every process of its pid namespace: kill(2) with -1 reaches all but the sender and the
/// namespace's first process, and none can be made meanwhile (a fork with a signal pending starts again). Without a
/// cgroup there is no other way; a program can see SIGCONT, and its parent is not told.
fn freeze(first: BorrowedFd<'_>, stop: bool) -> Result<(), Error> {
    let signal = if stop { Signal::STOP } else { Signal::CONT };
    let failed = |e: std::io::Error| Error::Signal("the container".to_owned(), e);
    sys::fork::in_child(|| {
        let both = (libc::CLONE_NEWUSER | libc::CLONE_NEWPID) as u64;
        sys::clone::enter(first, both).at("setns")?;
        // Only a child is in the pid namespace.
        sys::fork::in_child(|| {
            sys::signal::everybody_else(signal).at("kill")?;
            Ok(0)
        })
        .at("fork")
    })
    .map_err(|e| failed(std::io::Error::other(e)))?;
    pidfd_send_signal(first, signal).map_err(|e| failed(e.into()))
}
