//! What machine this is, in the words of podman-info(1): read from the kernel's files, nothing is tried. What a
//! file does not say is empty or zero.

use std::path::Path;

use super::{Cgroup, Hierarchy, facts};

/// Name, size and age of this machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Machine {
    /// `uname -n`
    pub hostname: String,
    /// `uname -r`
    pub kernel: String,
    /// Processors that this process may use.
    pub cpus: usize,
    /// Bytes of memory.
    pub memory: Memory,
    /// Seconds since boot.
    pub uptime: f64,
    /// From os-release(5).
    pub distribution: Distribution,
    /// 2 if the machine has cgroup v2 and nothing else.
    pub cgroup_version: u8,
    /// Controllers of our own cgroup.
    pub cgroup_controllers: Vec<String>,
}

/// From /proc/meminfo, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// All of it.
    pub total: u64,
    /// What nothing is in.
    pub free: u64,
    /// All swap space.
    pub swap_total: u64,
    /// What nothing is in.
    pub swap_free: u64,
}

/// From os-release(5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    /// `ID`
    pub id: String,
    /// `VERSION_ID`
    pub version: String,
    /// `VERSION_CODENAME`
    pub codename: String,
    /// `PRETTY_NAME`
    pub name: String,
}

impl Machine {
    /// Read it.
    pub fn read() -> Self {
        let uname = rustix::system::uname();
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let os = ["/etc/os-release", "/usr/lib/os-release"];
        let os = os.into_iter().find(|p| Path::new(p).exists());
        let cgroup = Cgroup::read();
        let uptime = facts::line("/proc/uptime");
        Self {
            hostname: uname.nodename().to_string_lossy().into_owned(),
            kernel: uname.release().to_string_lossy().into_owned(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory: Memory::parse(&text("/proc/meminfo")),
            uptime: uptime
                .and_then(|t| t.split(' ').next()?.parse().ok())
                .unwrap_or_default(),
            distribution: os
                .map(|p| Distribution::parse(&text(p)))
                .unwrap_or_default(),
            cgroup_version: match cgroup.hierarchy {
                Hierarchy::Pure => 2,
                _ => 1,
            },
            cgroup_controllers: cgroup.controllers,
        }
    }
}

impl Memory {
    fn parse(text: &str) -> Self {
        let bytes = |name: &str| -> u64 {
            let value = facts::status_field(text, name);
            let kib = value.and_then(|v| v.strip_suffix(" kB")?.trim().parse::<u64>().ok());
            kib.unwrap_or_default().saturating_mul(1024)
        };
        Self {
            total: bytes("MemTotal"),
            free: bytes("MemFree"),
            swap_total: bytes("SwapTotal"),
            swap_free: bytes("SwapFree"),
        }
    }
}

impl Distribution {
    fn parse(text: &str) -> Self {
        let value = |name: &str| {
            let found = text
                .lines()
                .find_map(|l| l.strip_prefix(name)?.strip_prefix('='));
            found
                .unwrap_or_default()
                .trim()
                .trim_matches(['"', '\''])
                .to_owned()
        };
        Self {
            id: value("ID"),
            version: value("VERSION_ID"),
            codename: value("VERSION_CODENAME"),
            name: value("PRETTY_NAME"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_kernel_and_of_the_distribution() {
        let memory = Memory::parse("MemTotal:       24684096 kB\nMemFree:  5 kB\nSwapTotal: x\n");
        assert_eq!((memory.total, memory.free), (24_684_096 * 1024, 5 * 1024));
        assert_eq!((memory.swap_total, memory.swap_free), (0, 0));
        let text = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n";
        let d = Distribution::parse(text);
        assert_eq!((&*d.id, &*d.version, &*d.codename), ("debian", "12", ""));
        assert_eq!(d.name, "Debian GNU/Linux 12 (bookworm)");
    }

    #[test]
    fn this_machine_has_a_name_and_a_size() {
        let m = Machine::read();
        assert!(!m.kernel.is_empty() && m.cpus > 0 && m.memory.total > m.memory.free);
        assert!(m.uptime > 0.0);
    }
}
