//! A container that runs, as others reach it: over its monitor's control socket.
//!
//! A detached monitor always listens. A foreground `run` opens its socket when it is asked to by a signal, so that a
//! start does not pay for it; its pid stands in the container's configuration, and is its own as long as the
//! container's lock is held.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{Error, MONITOR_ANNOTATION};
use crate::monitor::{self, Client, Description};
use crate::store::{ContainerEntry, Store};

/// How long a foreground monitor may take to open its socket, or a container to finish its start.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(2);

/// A container that ran when it was looked up. Each question is a connection of its own.
#[derive(Debug)]
pub struct Live {
    name: String,
    client: Client,
}

/// Reach the monitor of a container.
///
/// # Errors
/// [`Error::NotRunning`], also when it runs on another machine.
pub fn connect(store: &Store, entry: &ContainerEntry) -> Result<Live, Error> {
    let name = entry
        .name
        .clone()
        .unwrap_or_else(|| entry.id[..12].to_owned());
    let containers = store.containers();
    let dir = containers.open(entry)?;
    let until = Instant::now() + PATIENCE;
    let mut asked = false;
    loop {
        match Client::connect(dir.as_fd()) {
            Ok(client) => return Ok(Live { name, client }),
            Err(e) if is_nobody(&e) => {}
            Err(e) => return Err(Error::Control(name, e)),
        }
        if !containers.is_locked(entry)? || Instant::now() > until {
            return Err(Error::NotRunning(name));
        }
        if !asked {
            asked = ask(store, entry)?;
        }
        sleep(POLL);
    }
}

fn is_nobody(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    )
}

/// Have the foreground monitor open its socket; false while it is not known yet.
fn ask(store: &Store, entry: &ContainerEntry) -> Result<bool, Error> {
    let containers = store.containers();
    let pid = containers.annotation(entry, MONITOR_ANNOTATION)?;
    let pid = pid.and_then(|pid| Pid::from_raw(pid.parse().ok()?));
    let Some(process) = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else {
        return Ok(false);
    };
    // If the lock is held now, by whom the configuration names, it was so when its number was looked up.
    if !containers.is_locked(entry)? || !is_ours(pid) {
        return Ok(false);
    }
    let signal = Signal::from_named_raw(monitor::OPEN as i32);
    Ok(signal.is_some_and(|s| pidfd_send_signal(&process, s).is_ok()))
}

/// A process that would be killed by the signal is not one of ours: those wait for it (proc_pid_status(5), SigBlk).
fn is_ours(pid: Option<Pid>) -> bool {
    let Some(pid) = pid else { return false };
    let path = format!("/proc/{}/status", pid.as_raw_nonzero());
    let status = std::fs::read_to_string(path).unwrap_or_default();
    let blocked = status.lines().find_map(|l| l.strip_prefix("SigBlk:"));
    let set = blocked.and_then(|b| u64::from_str_radix(b.trim(), 16).ok());
    set.is_some_and(|set| set & 1 << (monitor::OPEN as i32 - 1) != 0)
}

impl Live {
    fn failed<T>(name: &str, result: io::Result<T>) -> Result<T, Error> {
        result.map_err(|e| match e.kind() {
            // It has ended between the look-up and the answer.
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected => Error::NotRunning(name.to_owned()),
            _ => Error::Control(name.to_owned(), e),
        })
    }

    /// Who its first process is.
    ///
    /// # Errors
    /// [`Error::NotRunning`] when it has ended meanwhile.
    pub fn describe(self) -> Result<Description, Error> {
        Self::failed(&self.name, self.client.describe())
    }

    /// Have its supervisor answer for one more process, whose pidfd this is.
    ///
    /// # Errors
    /// What the supervisor says.
    pub fn supervise(
        self,
        listener: BorrowedFd<'_>,
        process: BorrowedFd<'_>,
        who: Vec<u8>,
    ) -> Result<(), Error> {
        Self::failed(&self.name, self.client.supervise(listener, process, who))
    }

    /// Effective users and groups of its processes, where they are emulated; of the first thousand.
    ///
    /// # Errors
    /// What the supervisor says.
    pub fn whose(self, pids: &[i32]) -> Result<Vec<(u32, u32)>, Error> {
        Self::failed(&self.name, self.client.whose(pids))
    }

    /// It shall not be started again when it ends.
    ///
    /// # Errors
    /// Of the socket.
    pub fn stopping(self) -> Result<(), Error> {
        Self::failed(&self.name, self.client.stopping())
    }

    /// It was paused, or goes on.
    ///
    /// # Errors
    /// Of the socket.
    pub fn paused(self, paused: bool) -> Result<(), Error> {
        Self::failed(&self.name, self.client.paused(paused))
    }

    /// The connection, for its streams or its end.
    pub fn into_client(self) -> Client {
        self.client
    }
}
