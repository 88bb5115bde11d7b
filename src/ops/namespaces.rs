//! `ps --ns`: in which namespaces a container is. namespaces(7).

use std::os::fd::AsFd as _;

use super::live;
use crate::runtime::Running;
use crate::store::Store;

/// Numbers of namespaces, as /proc names them; nothing where there is none, or the container does not run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// Of control groups.
    pub cgroup: String,
    /// Of semaphores, message queues and shared memory.
    pub ipc: String,
    /// Of mounts.
    pub mnt: String,
    /// Of the network.
    pub net: String,
    /// Of processes.
    pub pid: String,
    /// Of users.
    pub user: String,
    /// Of the host name.
    pub uts: String,
}

/// Those of the first process of a container.
pub fn of(store: &Store, id: &str) -> Namespaces {
    look(store, id).unwrap_or_default()
}

fn look(store: &Store, id: &str) -> Option<Namespaces> {
    let entry = store.containers().find(id).ok()?;
    let live = live::connect_within(store, &entry, live::FORCED).ok()?;
    let first = live.describe().ok()?;
    let of = |kind: &str| {
        let link = std::fs::read_link(format!("/proc/{}/ns/{kind}", first.pid));
        link.ok()
            .and_then(|l| number(l.to_str()?))
            .unwrap_or_default()
    };
    let found = Namespaces {
        cgroup: of("cgroup"),
        ipc: of("ipc"),
        mnt: of("mnt"),
        net: of("net"),
        pid: of("pid"),
        user: of("user"),
        uts: of("uts"),
    };
    // If it lives still, its number was its own all the time.
    Running::look(first.pidfd.as_fd()).ok().map(|_| found)
}

/// Of `mnt:[4026531841]`.
fn number(link: &str) -> Option<String> {
    let (_, rest) = link.split_once(":[")?;
    Some(rest.strip_suffix(']')?.to_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_of_links() {
        for (link, want) in [
            ("mnt:[4026531841]", Some("4026531841")),
            ("mnt:", None),
            ("x", None),
        ] {
            assert_eq!(super::number(link).as_deref(), want);
        }
    }
}
