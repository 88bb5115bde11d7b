//! A container that runs, as others reach it: over its monitor's control socket.
//!
//! A detached monitor always listens. A foreground `run` opens its socket when it is asked to by a signal, so that a
//! start does not pay for it; its pid stands in the container's configuration, and is its own as long as the
//! container's lock is held.
//!
//! Not everybody who has the lock answers. Who starts a container, or removes what is left of it, does not yet or no
//! more; a monitor may be stopped (ctrl-z), or wait for a file system; and some other verb may hold the lock of a
//! container that does not run. So each wait has an end: a moment for who cannot be a monitor, seconds for who is one.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{Error, MONITOR_ANNOTATION};
use crate::monitor::{self, Client, Description, Restart};
use crate::store::{ContainerEntry, Store};

/// How long a monitor may take to answer. It may be starting its container.
pub(super) const ANSWER: Duration = Duration::from_secs(5);
/// The same for those who would end it anyhow.
pub(super) const FORCED: Duration = Duration::from_secs(1);
/// How long somebody who is no monitor may have the lock: to look, or to hand it on.
const GLANCE: Duration = Duration::from_millis(500);
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
/// [`Error::NotRunning`], also when it runs on another machine, and [`Error::NoAnswer`].
pub fn connect(store: &Store, entry: &ContainerEntry) -> Result<Live, Error> {
    connect_within(store, entry, ANSWER)
}

/// The same; the monitor has so long for each answer.
pub(super) fn connect_within(
    store: &Store,
    entry: &ContainerEntry,
    patience: Duration,
) -> Result<Live, Error> {
    let name = name(entry);
    let containers = store.containers();
    let dir = containers.open(entry)?;
    let begin = Instant::now();
    let mut known = None;
    loop {
        match Client::connect(dir.as_fd(), patience) {
            Ok(client) => return Ok(Live { name, client }),
            Err(e) if is_nobody(&e) => {}
            Err(e) => return Live::failed(&name, Err(e)),
        }
        if !containers.is_locked(entry)? {
            return Err(Error::NotRunning(name));
        }
        let limit = match &known {
            Some(monitor) if is_stopped(monitor) => return Err(Error::NoAnswer(name)),
            Some(_) => patience,
            None => match named(store, entry)? {
                Named::Nobody => GLANCE.min(patience),
                Named::Unknown => patience,
                Named::Monitor(monitor) => {
                    monitor.open(store, entry)?;
                    known = Some(monitor);
                    patience
                }
            },
        };
        if begin.elapsed() > limit {
            return Err(match limit < patience {
                true => Error::NotRunning(name),
                false => Error::NoAnswer(name),
            });
        }
        sleep(POLL);
    }
}

/// End the monitor of a container that does not answer, and so the container.
///
/// # Errors
/// [`Error::NoAnswer`] if it is not known who has the lock.
pub(super) fn end_monitor(store: &Store, entry: &ContainerEntry) -> Result<(), Error> {
    let nobody = || Error::NoAnswer(name(entry));
    let Named::Monitor(monitor) = named(store, entry)? else {
        return Err(nobody());
    };
    // A number in a file is not enough to end a process by.
    if !monitor.holds(&entry.path) {
        return Err(nobody());
    }
    // It may have ended by itself.
    let _ = pidfd_send_signal(&monitor.process, Signal::KILL);
    Ok(())
}

fn name(entry: &ContainerEntry) -> String {
    let id = || entry.id[..12].to_owned();
    entry.name.clone().unwrap_or_else(id)
}

fn is_nobody(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    )
}

/// Whom a container's configuration names as its monitor.
enum Named {
    /// There is none yet: it is being made.
    Unknown,
    /// Somebody who is gone, or is none.
    Nobody,
    /// A process that waits for our signal.
    Monitor(Monitor),
}

struct Monitor {
    pid: Pid,
    process: OwnedFd,
}

fn named(store: &Store, entry: &ContainerEntry) -> Result<Named, Error> {
    let Some(pid) = store.containers().annotation(entry, MONITOR_ANNOTATION)? else {
        return Ok(Named::Unknown);
    };
    let found = pid.parse().ok().and_then(Pid::from_raw).and_then(|pid| {
        let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        Some(Monitor { pid, process })
    });
    Ok(match found {
        Some(monitor) if monitor.waits_for_us() => Named::Monitor(monitor),
        _ => Named::Nobody,
    })
}

impl Monitor {
    fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.pid.as_raw_nonzero())
    }

    /// A line of proc_pid_status(5).
    fn status(&self, key: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.proc("status")).ok()?;
        let line = text.lines().find_map(|l| l.strip_prefix(key));
        line.map(|l| l.trim_start_matches(':').trim().to_owned())
    }

    /// A process that would be killed by the signal is not one of ours: those wait for it.
    fn waits_for_us(&self) -> bool {
        let blocked = self.status("SigBlk");
        let set = blocked.and_then(|b| u64::from_str_radix(&b, 16).ok());
        set.is_some_and(|set| set & 1 << (monitor::OPEN as i32 - 1) != 0)
    }

    /// Have it open its socket, if it is one in the foreground.
    fn open(&self, store: &Store, entry: &ContainerEntry) -> Result<(), Error> {
        // If the lock is held now, by whom the configuration names, it was so when its number was looked up.
        if store.containers().is_locked(entry)?
            && let Some(signal) = Signal::from_named_raw(monitor::OPEN as i32)
        {
            // Whether it heard is seen by the socket.
            let _ = pidfd_send_signal(&self.process, signal);
        }
        Ok(())
    }

    /// Whether it has the lock of this directory: one of its descriptors is the directory's, and proc_pid_fdinfo(5)
    /// tells of the lock.
    fn holds(&self, dir: &Path) -> bool {
        let Ok(dir) = std::fs::metadata(dir) else {
            return false;
        };
        let fds = std::fs::read_dir(self.proc("fd"));
        let mut numbers = fds.into_iter().flatten().flatten().map(|e| e.file_name());
        numbers.any(|n| {
            let n = n.to_string_lossy();
            // Through the link, wherever it leads.
            let same = std::fs::metadata(self.proc(&format!("fd/{n}")))
                .is_ok_and(|m| (m.dev(), m.ino()) == (dir.dev(), dir.ino()));
            let info = || std::fs::read_to_string(self.proc(&format!("fdinfo/{n}")));
            same && info().is_ok_and(|i| i.lines().any(|l| l.starts_with("lock:")))
        })
    }
}

/// By SIGSTOP or by the keys of a terminal; it answers when it goes on.
fn is_stopped(monitor: &Monitor) -> bool {
    monitor
        .status("State")
        .is_some_and(|s| s.starts_with(['T', 't']))
}

impl Live {
    fn failed<T>(name: &str, result: io::Result<T>) -> Result<T, Error> {
        result.map_err(|e| match e.kind() {
            // It has ended between the look-up and the answer.
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected => Error::NotRunning(name.to_owned()),
            io::ErrorKind::WouldBlock => Error::NoAnswer(name.to_owned()),
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

    /// It shall be started again by this policy.
    ///
    /// # Errors
    /// Of the socket, and what its monitor says.
    pub fn restart(self, policy: Restart) -> Result<(), Error> {
        Self::failed(&self.name, self.client.restart(policy))
    }

    /// The connection, for its streams or its end.
    pub fn into_client(self) -> Client {
        self.client
    }
}
