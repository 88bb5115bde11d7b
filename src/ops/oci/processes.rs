//! `ps ID`: the processes of a container.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::container::{Record, start_time};
use super::{Error, Runtime, Status, state};

/// Their numbers, as the caller counts.
pub fn pids(runtime: &Runtime, id: &str) -> Result<Vec<i32>, Error> {
    let container = runtime.containers.open(id)?;
    let record = container.known()?;
    if state::current(&container, Some(&record)) == Status::Stopped {
        return Err(Error::NotRunning(id.to_owned()));
    }
    Ok(of(&record))
}

/// What ps(1) says of them, with its `words`.
pub fn table(runtime: &Runtime, id: &str, words: &[String]) -> Result<String, Error> {
    let pids = pids(runtime, id)?;
    let mut ps = Command::new("ps");
    if words.is_empty() {
        ps.arg("-ef");
    } else {
        ps.args(words);
    }
    let said = match ps.stderr(Stdio::inherit()).output() {
        // A machine without one; nobody knows what other words would mean.
        Err(e) if e.kind() == io::ErrorKind::NotFound && words.is_empty() => {
            return Ok(plain(&pids));
        }
        other => other.map_err(|e| Error::file("run", Path::new("ps"), e))?,
    };
    let text = String::from_utf8_lossy(&said.stdout);
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    let column = header
        .split_whitespace()
        .position(|word| word == "PID")
        .ok_or(Error::Unsupported(
            "such a ps",
            "its table has no column PID",
        ))?;
    let ours = |line: &&str| {
        let pid = line.split_whitespace().nth(column);
        pid.and_then(|p| p.parse().ok())
            .is_some_and(|p: i32| pids.contains(&p))
    };
    let mut table = header.to_owned();
    for line in lines.filter(ours) {
        table.push('\n');
        table.push_str(line);
    }
    Ok(table)
}

/// What /proc says of them.
fn plain(pids: &[i32]) -> String {
    pids.iter().fold("PID CMD".to_owned(), |table, pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<_> = line
            .split(|b| *b == 0)
            .map(String::from_utf8_lossy)
            .collect();
        format!("{table}\n{pid} {}", words.join(" ").trim_end())
    })
}

/// Those of its control group, where it has one of its own; else those of its pid namespace, or, where that is
/// another's, its first process and those that came of it.
pub(super) fn of(record: &Record) -> Vec<i32> {
    if let Some(pids) = record.cgroup.as_deref().and_then(crate::cgroup::processes) {
        return pids;
    }
    let Some(first) = record.pid() else {
        return Vec::new();
    };
    let first = first.as_raw_pid();
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let theirs = namespace(&first.to_string());
    if theirs.is_some() && theirs != namespace("self") {
        let mut all: Vec<i32> = numbers()
            .filter(|n| namespace(&n.to_string()) == theirs)
            .collect();
        // Others may have joined it, and made it: those are not of this container.
        if is_init(first) {
            all.sort_unstable();
            return all;
        }
    }
    descendants(first)
}

/// The same, each by a descriptor.
pub(super) fn pidfds(record: &Record) -> Vec<OwnedFd> {
    let open = |pid: i32| {
        let began = start_time(pid)?;
        let pidfd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        (start_time(pid) == Some(began)).then_some(pidfd)
    };
    of(record).into_iter().filter_map(open).collect()
}

fn numbers() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse().ok())
}

/// Whether a process is the first of its pid namespace.
fn is_init(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("NSpid:"));
    line.and_then(|l| l.split_whitespace().last()) == Some("1")
}

fn descendants(first: i32) -> Vec<i32> {
    let mut found = BTreeSet::from([first]);
    let mut next = vec![first];
    while let Some(pid) = next.pop() {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        for child in children.unwrap_or_default().split_whitespace() {
            if let Ok(child) = child.parse()
                && found.insert(child)
            {
                next.push(child);
            }
        }
    }
    found.into_iter().collect()
}
