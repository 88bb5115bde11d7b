//! The processes of this machine, as far as we may look at them, and what those of a container use. proc(5).

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use crate::ops::Error;

/// Of a second, as /proc counts (`USER_HZ`), on all machines that we run on.
const TICKS: u64 = 100;

/// One process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Process {
    parent: i32,
    namespaces: Namespaces,
    /// Of its own, and of its children that ended and that it waited for.
    ticks: u64,
    threads: u64,
    /// Ticks between the start of the machine and its own.
    began: u64,
}

/// Inodes of a process' namespaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Namespaces {
    pid: u64,
    user: u64,
    /// 0 where the kernel has no such.
    cgroup: u64,
}

/// All of them at one time.
pub(super) struct Processes {
    all: HashMap<i32, Process>,
    /// Ticks since the start of the machine.
    now: u64,
    ours: Namespaces,
}

impl Processes {
    pub(super) fn look() -> Result<Self, Error> {
        let proc = Path::new("/proc");
        let list = fs::read_dir(proc).map_err(|e| Error::file("read", proc, e))?;
        let pids = list.flatten().filter_map(|entry| {
            let name = entry.file_name();
            name.to_str()?.parse::<i32>().ok()
        });
        Ok(Self {
            all: pids.filter_map(|pid| Some((pid, read(pid)?))).collect(),
            now: uptime(),
            ours: namespaces("self").unwrap_or_default(),
        })
    }

    /// Those of the container whose first process this is. `own_pids`: it has a pid namespace of its own. `None` if it
    /// has ended.
    pub(super) fn of(&self, first: i32, own_pids: bool) -> Option<Members<'_>> {
        let first_is = self.all.get(&first)?.namespaces;
        // Whoever answers for its users is in its user namespace, and does not count; in that of cgroups nobody is
        // who is not its own.
        let of = |p: &Process| match (own_pids, first_is.cgroup != self.ours.cgroup) {
            (true, _) => p.namespaces.pid,
            (false, true) => p.namespaces.cgroup,
            (false, false) => p.namespaces.user,
        };
        let own = of(self.all.get(&first)?);
        // Those in further namespaces inside are children of its own.
        let inside = |mut pid: i32| {
            for _ in 0..self.all.len() {
                match self.all.get(&pid) {
                    Some(p) if of(p) == own => return true,
                    Some(p) => pid = p.parent,
                    None => return false,
                }
            }
            false
        };
        let pids = self.all.keys().copied().filter(|pid| inside(*pid));
        Some(Members {
            all: self,
            first,
            pids: pids.collect(),
        })
    }
}

/// The processes of a container.
pub(super) struct Members<'a> {
    all: &'a Processes,
    first: i32,
    pids: Vec<i32>,
}

impl Members<'_> {
    fn sum(&self, of: impl Fn(&Process) -> u64) -> u64 {
        let each = self.pids.iter().filter_map(|pid| self.all.all.get(pid));
        each.map(of).sum()
    }

    pub(super) fn cpu(&self) -> Duration {
        duration(self.sum(|p| p.ticks))
    }

    pub(super) fn pids(&self) -> u64 {
        self.sum(|p| p.threads)
    }

    pub(super) fn lived(&self) -> Duration {
        let began = self.all.all.get(&self.first).map_or(0, |p| p.began);
        duration(self.all.now.saturating_sub(began))
    }

    pub(super) fn memory(&self) -> u64 {
        let each = self.pids.iter().filter_map(|pid| memory(*pid));
        each.sum()
    }

    pub(super) fn blocks(&self) -> (u64, u64) {
        let each = self
            .pids
            .iter()
            .filter_map(|pid| blocks(&file(*pid, "io")?));
        each.fold((0, 0), |(r, w), (read, written)| (r + read, w + written))
    }

    /// Of the host's network nothing is the container's alone.
    pub(super) fn network(&self) -> (u64, u64) {
        let of = |pid: &str| fs::metadata(format!("/proc/{pid}/ns/net")).map(|m| m.ino());
        let own = match (of(&self.first.to_string()), of("self")) {
            (Ok(theirs), Ok(ours)) => theirs != ours,
            _ => false,
        };
        let text = own.then(|| file(self.first, "net/dev")).flatten();
        network(&text.unwrap_or_default())
    }
}

fn duration(ticks: u64) -> Duration {
    Duration::from_millis(ticks * (1000 / TICKS))
}

fn file(pid: i32, name: &str) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/{name}")).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn uptime() -> u64 {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = text.split(' ').next().and_then(|s| s.parse::<f64>().ok());
    (seconds.unwrap_or(0.0) * TICKS as f64) as u64
}

/// Bytes of memory that the machine has.
pub(super) fn memory_total() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    kibibytes(&text, "MemTotal:").unwrap_or(0)
}

/// The number of a line, which is KiB, in bytes.
fn kibibytes(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(field))?;
    let number: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(number * 1024)
}

/// One that ends while we look, or is none of ours, is none.
fn read(pid: i32) -> Option<Process> {
    // First, since those of other users end here.
    let namespaces = namespaces(&pid.to_string())?;
    Some(Process {
        namespaces,
        ..parse(&file(pid, "stat")?)?
    })
}

fn namespaces(pid: &str) -> Option<Namespaces> {
    let of = |kind: &str| {
        let path = format!("/proc/{pid}/ns/{kind}");
        fs::metadata(path).map(|m| m.ino()).ok()
    };
    Some(Namespaces {
        pid: of("pid")?,
        user: of("user")?,
        cgroup: of("cgroup").unwrap_or(0),
    })
}

/// Of proc_pid_stat(5).
fn parse(stat: &str) -> Option<Process> {
    // The name may have anything in it, also brackets and spaces.
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
    let number = |n: usize| fields.get(n - 3)?.parse::<i64>().ok();
    let ticks: Option<Vec<i64>> = (14..=17).map(number).collect();
    Some(Process {
        parent: number(4)?.try_into().ok()?,
        namespaces: Namespaces::default(),
        ticks: ticks?.into_iter().map(i64::unsigned_abs).sum(),
        threads: number(20)?.unsigned_abs(),
        began: number(22)?.unsigned_abs(),
    })
}

/// Its share of what it has in memory. Where the kernel does not say that (CONFIG_PROC_PAGE_MONITOR), all of it.
fn memory(pid: i32) -> Option<u64> {
    let rollup = file(pid, "smaps_rollup");
    rollup
        .and_then(|text| kibibytes(&text, "Pss:"))
        .or_else(|| kibibytes(&file(pid, "status")?, "VmRSS:"))
}

/// Bytes read and written, of proc_pid_io(5): also those of children that it waited for.
fn blocks(text: &str) -> Option<(u64, u64)> {
    let field = |name: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(name))?;
        line.trim().parse::<u64>().ok()
    };
    Some((field("read_bytes:")?, field("write_bytes:")?))
}

/// Bytes received and sent, of proc_pid_net_dev(5).
fn network(text: &str) -> (u64, u64) {
    let interfaces = text.lines().filter_map(|line| {
        let (name, numbers) = line.split_once(':')?;
        let mut numbers = numbers.split_whitespace().map(|n| n.parse::<u64>().ok());
        let (received, sent) = (numbers.next()??, numbers.nth(7)??);
        (name.trim() != "lo").then_some((received, sent))
    });
    interfaces.fold((0, 0), |(r, s), (received, sent)| (r + received, s + sent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_process_is_seen() {
        let all = Processes::look().unwrap();
        let own = std::process::id().cast_signed();
        let members = all.of(own, false).unwrap();
        assert!(members.pids.contains(&own) && members.pids() >= 1);
        assert!(members.memory() > 1 << 20 && members.memory() < memory_total());
        assert!(members.lived() < Duration::from_secs(3600));
        assert!(all.of(i32::MAX, true).is_none());
    }

    #[test]
    fn lines_of_the_kernel_are_read() {
        let stat = "7 (a) b) (c) S 3 7 7 0 -1 4194304 1 2 3 4 10 20 300 4000 20 0 5 0 123456 1 2";
        let want = Process {
            parent: 3,
            namespaces: Namespaces::default(),
            ticks: 4330,
            threads: 5,
            began: 123_456,
        };
        assert_eq!(parse(stat), Some(want));
        assert_eq!(parse("7 (a) S 3"), None);
        assert_eq!(parse("nonsense"), None);
        let io =
            "rchar: 1\nwchar: 2\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 0\n";
        assert_eq!(blocks(io), Some((4096, 8192)));
        assert_eq!(blocks("read_bytes: x"), None);
        let net = "Inter-|   Receive\n face |bytes\n    lo: 9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0\n  eth0: 100 1 0 0 0 0 0 0 200 2 0 0 0 0 0 0\n";
        assert_eq!(network(net), (100, 200));
        assert_eq!(kibibytes("Rss: 5 kB\nPss:    3 kB\n", "Pss:"), Some(3072));
    }
}
