//! `kill ID [SIGNAL]`: to the first process, or to all.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use super::container::Record;
use super::{Error, Runtime, Status, processes, state};
use crate::sys;

/// How long a killed container may take to go.
const PATIENCE: Duration = Duration::from_secs(10);

/// Send it.
pub fn kill(runtime: &Runtime, id: &str, signal: &str, all: bool) -> Result<(), Error> {
    let number = number(signal).ok_or_else(|| Error::Signal(signal.to_owned()))?;
    let container = runtime.containers.open(id)?;
    let record = container.known()?;
    let status = state::current(&container, Some(&record));
    if all {
        return everybody(&record, number).map_err(|e| Error::Kill(id.to_owned(), e));
    }
    let pidfd = match status {
        Status::Stopped => None,
        _ => record.pidfd(),
    };
    let pidfd = pidfd.ok_or_else(|| Error::NotRunning(id.to_owned()))?;
    let sent = sys::signal::send(pidfd.as_fd(), number);
    // What is frozen takes no signal: who kills means it.
    if number == libc::SIGKILL
        && let Some(cgroup) = &record.cgroup
    {
        let _ = crate::cgroup::freeze(cgroup, false);
    }
    sent.map_err(|e| Error::Kill(id.to_owned(), e))
}

/// To each process of the container.
fn everybody(record: &Record, signal: i32) -> std::io::Result<()> {
    for process in processes::pidfds(record) {
        match sys::signal::send(process.as_fd(), signal) {
            // It has ended.
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => {}
            other => other?,
        }
    }
    Ok(())
}

/// End it, and wait until it has ended.
pub(super) fn end(record: &Record) {
    let first: Option<OwnedFd> = record.pidfd();
    if let Some(cgroup) = &record.cgroup {
        crate::cgroup::kill(cgroup);
    }
    if let Some(first) = &first {
        let _ = sys::signal::send(first.as_fd(), libc::SIGKILL);
        wait(first);
    }
    // Those that had no pid namespace to end with.
    let until = Instant::now() + PATIENCE;
    while !processes::pidfds(record).is_empty() && Instant::now() < until {
        let _ = everybody(record, libc::SIGKILL);
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn wait(pidfd: &OwnedFd) {
    let limit = Timespec {
        tv_sec: PATIENCE.as_secs() as i64,
        tv_nsec: 0,
    };
    let mut ended = [PollFd::new(pidfd, PollFlags::IN)];
    let _ = poll(&mut ended, Some(&limit));
}

/// `9`, `KILL`, `SIGKILL`, `sigkill`, `RTMIN+3`.
fn number(word: &str) -> Option<i32> {
    if let Ok(number) = word.parse::<i32>() {
        // 0 asks whether somebody is there.
        return (0..=64).contains(&number).then_some(number);
    }
    let upper = word.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    let (least, most) = (libc::SIGRTMIN(), libc::SIGRTMAX());
    let offset = |text: &str| {
        text.parse::<i32>()
            .ok()
            .filter(|n| (0..=most - least).contains(n))
    };
    match bare {
        "RTMIN" => return Some(least),
        "RTMAX" => return Some(most),
        _ => {}
    }
    if let Some(n) = bare.strip_prefix("RTMIN+") {
        return Some(least + offset(n)?);
    }
    if let Some(n) = bare.strip_prefix("RTMAX-") {
        return Some(most - offset(n)?);
    }
    let bare = match bare {
        "IOT" => "ABRT",
        "POLL" => "IO",
        "CLD" => "CHLD",
        other => other,
    };
    let named: nix::sys::signal::Signal = format!("SIG{bare}").parse().ok()?;
    Signal::from_named_raw(named as i32).map(Signal::as_raw)
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn signals_have_names_and_numbers() {
        for (word, want) in [
            ("9", Some(9)),
            ("KILL", Some(9)),
            ("SIGTERM", Some(15)),
            ("sigusr1", Some(10)),
            ("RTMIN+3", Some(37)),
            ("SIGRTMAX-1", Some(63)),
            ("0", Some(0)),
            ("65", None),
            ("-1", None),
            ("FLY", None),
            ("RTMIN+99", None),
            ("", None),
        ] {
            assert_eq!(number(word), want, "{word}");
        }
    }
}
