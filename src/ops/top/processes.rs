//! Processes of a container, from the host's /proc. proc(5).

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::ops::Error;

/// Of a second, as /proc counts (`USER_HZ`), on all machines that we run on.
const TICKS: u64 = 100;

/// One process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Process {
    /// As the container counts.
    pub pid: i32,
    /// As we do.
    pub host_pid: i32,
    /// In the container; 0 for one whose parent is outside.
    pub parent: i32,
    pub group: i32,
    host_parent: i32,
    pub command: String,
    /// Of the kernel, in brackets, where there are no arguments.
    pub arguments: String,
    pub state: char,
    /// Device number of its terminal, 0 for none.
    pub terminal: u32,
    /// Seconds of processor time.
    pub time: u64,
    /// Seconds since it was started.
    pub elapsed: u64,
    /// The same in the processor's ticks, for the ratio of the two.
    pub ticks: (u64, u64),
    pub nice: i64,
    /// KiB.
    pub virtual_size: u64,
    pub resident: u64,
    /// Real and effective ids, in the container, and the real ones on the host.
    pub uid: [u32; 2],
    pub gid: [u32; 2],
    pub host_uid: u32,
    pub host_gid: u32,
    pub seccomp: u32,
    leads: bool,
    foreground: bool,
    threads: u64,
}

impl Process {
    /// As ps(1) writes it, "Ss+".
    pub(super) fn state_word(&self) -> String {
        let mut word = String::from(self.state);
        for (holds, flag) in [
            (self.nice < 0, '<'),
            (self.nice > 0, 'N'),
            (self.leads, 's'),
            (self.threads > 1, 'l'),
            (self.foreground, '+'),
        ] {
            if holds {
                word.push(flag);
            }
        }
        word
    }
}

/// All of the container's whose first process this is. `own_pids`: it has a pid namespace of its own.
pub(super) fn of(first: i32, own_pids: bool) -> Result<Vec<Process>, Error> {
    let proc = Path::new("/proc");
    let list = fs::read_dir(proc).map_err(|e| Error::file("read", proc, e))?;
    let now = uptime();
    let kind = if own_pids { "pid" } else { "user" };
    let namespace = |pid: i32| {
        let path = proc.join(format!("{pid}/ns/{kind}"));
        fs::metadata(path).map(|m| m.ino()).ok()
    };
    let ours = namespace(first);
    // How many pid namespaces are between us and the first.
    let depth = match own_pids {
        true => status(first).and_then(|s| Some(numbers(&s)?.len() - 1)),
        false => Some(0),
    };
    let mut all: HashMap<i32, (Process, bool)> = HashMap::new();
    for entry in list.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|n| n.parse::<i32>().ok()) else {
            continue;
        };
        // It may end while we look.
        if let Some(process) = read(pid, depth.unwrap_or(0), now) {
            all.insert(pid, (process, ours.is_some() && namespace(pid) == ours));
        }
    }
    // Those in further namespaces inside are children of its own.
    let inside = |mut pid: i32| {
        for _ in 0..all.len() {
            match all.get(&pid) {
                Some((_, true)) => return true,
                Some((p, false)) => pid = p.host_parent,
                None => return false,
            }
        }
        false
    };
    let of_ours = |(pid, (process, _)): (&i32, &(Process, bool))| {
        let parent = all.get(&process.host_parent);
        inside(*pid).then(|| Process {
            parent: parent
                .filter(|_| inside(process.host_parent))
                .map_or(0, |(p, _)| p.pid),
            ..process.clone()
        })
    };
    let mut found: Vec<Process> = all.iter().filter_map(of_ours).collect();
    found.sort_by_key(|p| p.pid);
    Ok(found)
}

/// Seconds since the machine was started.
fn uptime() -> u64 {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = text.split('.').next();
    seconds.and_then(|s| s.parse().ok()).unwrap_or(0)
}

fn file(pid: i32, name: &str) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/{name}")).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn status(pid: i32) -> Option<String> {
    file(pid, "status")
}

/// Words of a line of `status`.
fn words<'a>(status: &'a str, field: &str) -> Option<impl Iterator<Item = &'a str>> {
    let line = |l: &'a str| l.strip_prefix(field)?.strip_prefix(':');
    Some(status.lines().find_map(line)?.split_whitespace())
}

/// A process' numbers, as it is seen from each namespace, ours first.
fn numbers(status: &str) -> Option<Vec<i32>> {
    words(status, "NSpid")?.map(|n| n.parse().ok()).collect()
}

fn read(pid: i32, depth: usize, now: u64) -> Option<Process> {
    let stat = file(pid, "stat")?;
    let status = status(pid)?;
    // The name may have anything in it, also brackets and spaces.
    let (before, after) = (stat.find('(')?, stat.rfind(')')?);
    let fields: Vec<&str> = stat[after + 1..].split_whitespace().collect();
    let number = |n: usize| fields.get(n - 3)?.parse::<i64>().ok();
    let ticks = number(14)?.unsigned_abs() + number(15)?.unsigned_abs();
    let began = number(22)?.unsigned_abs();
    let ids = |field: &str| -> Option<[u32; 2]> {
        let mut words = words(&status, field)?.map(|w| w.parse::<u32>());
        Some([words.next()?.ok()?, words.next()?.ok()?])
    };
    let kibibytes = |field: &str| words(&status, field)?.next()?.parse().ok();
    let (uid, gid) = (ids("Uid")?, ids("Gid")?);
    let group = words(&status, "NSpgid")?
        .nth(depth)
        .and_then(|n| n.parse().ok());
    let terminal = number(7)?;
    let command = stat[before + 1..after].to_owned();
    let line = file(pid, "cmdline").unwrap_or_default();
    let line = line.trim_end_matches('\0').replace('\0', " ");
    let elapsed = now.saturating_sub(began / TICKS);
    Some(Process {
        pid: numbers(&status)?.get(depth).copied()?,
        host_pid: pid,
        parent: 0,
        group: group?,
        host_parent: number(4)?.try_into().ok()?,
        arguments: match line.is_empty() {
            true => format!("[{command}]"),
            false => line,
        },
        command,
        state: fields.first()?.chars().next()?,
        terminal: u32::try_from(terminal).unwrap_or(0),
        time: ticks / TICKS,
        elapsed,
        ticks: (ticks, (now * TICKS).saturating_sub(began)),
        nice: number(19)?,
        // A thread of the kernel has no memory.
        virtual_size: kibibytes("VmSize").unwrap_or(0),
        resident: kibibytes("VmRSS").unwrap_or(0),
        uid: uid.map(|id| inside(pid, "uid_map", id)),
        gid: gid.map(|id| inside(pid, "gid_map", id)),
        host_uid: uid[0],
        host_gid: gid[0],
        seccomp: words(&status, "Seccomp")?.next()?.parse().ok()?,
        leads: number(6)? == i64::from(pid),
        foreground: terminal != 0 && number(5)? == number(8)?,
        threads: number(20)?.unsigned_abs(),
    })
}

/// How the user namespace of a process calls an id of ours.
fn inside(pid: i32, map: &str, id: u32) -> u32 {
    let text = file(pid, map).unwrap_or_default();
    let found = text.lines().find_map(|line| {
        let mut words = line.split_whitespace().map(|w| w.parse::<u32>().ok());
        let (inside, outside, size) = (words.next()??, words.next()??, words.next()??);
        let offset = id.checked_sub(outside).filter(|n| *n < size)?;
        inside.checked_add(offset)
    });
    found.unwrap_or(65534)
}

/// Names of users and groups, in the container and on the host.
pub(super) struct Names {
    users: String,
    groups: String,
    host_users: String,
    host_groups: String,
}

impl Names {
    pub(super) fn new(users: String, groups: String) -> Self {
        let host = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self {
            users,
            groups,
            host_users: host("/etc/passwd"),
            host_groups: host("/etc/group"),
        }
    }

    pub(super) fn user(&self, id: u32) -> String {
        name(&self.users, id)
    }

    pub(super) fn group(&self, id: u32) -> String {
        name(&self.groups, id)
    }

    pub(super) fn host_user(&self, id: u32) -> String {
        name(&self.host_users, id)
    }

    pub(super) fn host_group(&self, id: u32) -> String {
        name(&self.host_groups, id)
    }
}

/// In passwd(5) and group(5) alike: name, something, number.
fn name(file: &str, id: u32) -> String {
    let found = file.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|n| !n.is_empty())?;
        (fields.nth(1)?.parse() == Ok(id)).then_some(name)
    });
    found.map_or_else(|| id.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_process_is_read() {
        let pid = std::process::id().cast_signed();
        let now = uptime();
        let own = read(pid, 0, now).unwrap();
        assert_eq!((own.pid, own.host_pid), (pid, pid));
        assert_eq!(own.host_uid, rustix::process::getuid().as_raw());
        let first: &str = &std::env::args().next().unwrap();
        assert!(own.arguments.starts_with(first), "{own:?}");
        assert!(own.elapsed < 3600 && own.resident > 0 && own.state == 'R' || own.state == 'S');
        assert!(of(pid, false).unwrap().iter().any(|p| p.pid == pid));
        assert_eq!(read(i32::MAX, 0, now), None);
    }

    #[test]
    fn names_are_found_or_numbers_stay() {
        let passwd = "root:x:0:0::/:\n:x:5:5::/:\nbroken\npg:x:999:999::/:";
        assert_eq!(name(passwd, 999), "pg");
        assert_eq!(name(passwd, 5), "5");
        assert_eq!(name("", 0), "0");
    }
}
