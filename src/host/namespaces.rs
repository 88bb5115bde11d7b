//! Identity and namespaces: user namespace, id maps, and each other kind of namespace inside one.

use std::fs;

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{getegid, geteuid, getgroups};
use rustix::thread::UnshareFlags;

use super::explain::{self, Facts};
use super::facts::{self, Extent};
use super::report::{Finding, Group, Subject};
use crate::sys::fork::{self, At, LIMIT, Stop, in_child};
use crate::sys::userns::{self, enter_as_root};

const USERNS: Subject = Subject::new(Group::Identity, "userns", "user namespace");
const ID_MAP: Subject = Subject::new(Group::Identity, "id-map", "map of one id");
const MANY_IDS: Subject = Subject::new(Group::Identity, "many-ids", "map of many ids");
const GROUPS: Subject = Subject::new(Group::Identity, "groups", "supplementary groups");
const NO_NEW_PRIVS: Subject = Subject::new(Group::Identity, "no-new-privs", "no_new_privs");
const NEWUIDMAP: Subject = Subject::new(Group::Identity, "newuidmap", "newuidmap");

/// Ids that a Linux distribution takes for granted: 0 to 65535, with `nobody` near the end.
const IDS_WANTED: u32 = 65536;

/// Child only: enter a user namespace whose root is the caller, with further namespaces.
pub(super) fn enter(flags: UnshareFlags) -> Result<(), Stop> {
    enter_as_root()?;
    userns::unshare(flags).at("unshare of further namespaces")
}

/// May a user namespace be made?
pub fn userns() -> Finding {
    match in_child(|| {
        userns::unshare(UnshareFlags::NEWUSER).at("unshare(CLONE_NEWUSER)")?;
        Ok(0)
    }) {
        Ok(_) => USERNS.ok("can be made"),
        Err(failed) => {
            let cause = explain::userns(&failed, &Facts::read());
            USERNS
                .missing(cause.why)
                .instead("none: this version of coracle runs containers in a user namespace only")
                .admin(cause.admin)
        }
    }
}

/// May the caller be mapped to root inside it?
pub fn id_map() -> Finding {
    match in_child(|| {
        enter_as_root()?;
        // The map is true only if it shows: root inside, with the rights of root over the namespace.
        if geteuid().is_root() && getegid().is_root() {
            Ok(0)
        } else {
            Err(Stop {
                stage: "being root in the namespace",
                errno: Errno::PERM,
            })
        }
    }) {
        Ok(_) => ID_MAP.ok(format!(
            "uid {} is root inside; setgroups denied, as one id needs",
            geteuid().as_raw()
        )),
        Err(failed) if failed.stage() == Some("unshare(CLONE_NEWUSER)") => {
            ID_MAP.missing(facts::reason(&failed))
        }
        Err(failed) => {
            let cause = explain::userns(&failed, &Facts::read());
            ID_MAP.missing(cause.why).admin(cause.admin)
        }
    }
}

/// The map that gives a new namespace the ids 0, 1, 2 … , as many as there are up to `want`. A line
/// of a map may not span two extents of the parent's (it is `EPERM`), so it is split along them.
/// Extents are taken in the order of their ids inside the parent.
pub fn split_extents(parent: &[Extent], want: u32) -> Vec<Extent> {
    let mut parent = parent.to_vec();
    parent.sort_by_key(|e| e.inside);
    let mut next = 0_u32;
    let mut out = Vec::new();
    for extent in parent {
        let count = extent.count.min(want - next);
        if count > 0 {
            out.push(Extent {
                inside: next,
                outside: extent.inside,
                count,
            });
            next += count;
        }
    }
    out
}

fn map_lines(map: &[Extent]) -> String {
    map.iter()
        .map(|e| format!("{} {} {}\n", e.inside, e.outside, e.count))
        .collect()
}

fn total(map: &[Extent]) -> u64 {
    map.iter().map(|e| u64::from(e.count)).sum()
}

/// Can we write a map of many ids ourselves (root of a machine or container, with CAP_SETUID and
/// CAP_SETGID), without newuidmap?
pub fn many_ids() -> Finding {
    const INSTEAD: &str = "one id: the container's root is the caller";
    let own = |file| facts::parse_id_map(&fs::read_to_string(file).unwrap_or_default());
    let uids = split_extents(&own("/proc/self/uid_map"), IDS_WANTED);
    let gids = split_extents(&own("/proc/self/gid_map"), IDS_WANTED);
    let have = total(&uids).min(total(&gids));
    if have <= 1 {
        return MANY_IDS
            .missing(match have {
                0 => "/proc/self/uid_map cannot be read",
                _ => "only one id exists in the user namespace we are in",
            })
            .instead(INSTEAD);
    }
    let (uid_lines, gid_lines) = (map_lines(&uids), map_lines(&gids));
    // The child of the child makes the namespace; the child, which stays outside with the rights it
    // has there, writes the maps. Both are within one time limit.
    let tried = in_child(|| {
        let (ready, says_ready) = pipe_with(PipeFlags::CLOEXEC).at("pipe")?;
        let (go, says_go) = pipe_with(PipeFlags::CLOEXEC).at("pipe")?;
        let inner = fork::start(move || {
            userns::unshare(UnshareFlags::NEWUSER).at("unshare(CLONE_NEWUSER)")?;
            rustix::io::write(&says_ready, b"1").at("pipe")?;
            let mut byte = [0];
            rustix::io::read(&go, &mut byte).at("pipe")?;
            let map = fs::read_to_string("/proc/self/uid_map").at("read the map back")?;
            Ok(total(&facts::parse_id_map(&map)))
        })
        .at("fork")?;
        let mut byte = [0];
        if rustix::io::read(&ready, &mut byte).at("pipe")? == 1 {
            let pid = inner.pid();
            fs::write(format!("/proc/{pid}/uid_map"), &uid_lines).at("write uid_map")?;
            fs::write(format!("/proc/{pid}/gid_map"), &gid_lines).at("write gid_map")?;
            rustix::io::write(&says_go, b"1").at("pipe")?;
        }
        inner.finish(LIMIT).at("unshare(CLONE_NEWUSER)")
    });
    match tried {
        Ok(mapped) if mapped >= u64::from(IDS_WANTED) => MANY_IDS
            .ok(format!(
                "we may map {mapped} ids ourselves, in {} extent{}",
                uids.len(),
                if uids.len() == 1 { "" } else { "s" }
            ))
            .instead("not used by this version of coracle: one id for every caller"),
        Ok(mapped) => MANY_IDS
            .limited(format!(
                "only {mapped} ids are here to map, and images take {IDS_WANTED} for granted"
            ))
            .instead(INSTEAD),
        Err(failed) => {
            let why = match failed.errno() {
                Some(Errno::PERM) => {
                    "needs CAP_SETUID and CAP_SETGID in the user namespace we are in; an ordinary \
                     user has neither"
                }
                _ => "refused",
            };
            MANY_IDS
                .missing(format!("{}: {why}", facts::words(&failed)))
                .instead(INSTEAD)
        }
    }
}

/// Groups of the caller that a container under one id cannot get rid of.
pub fn groups() -> Finding {
    let own = getegid();
    let mut groups = match getgroups() {
        Ok(groups) => groups,
        Err(errno) => return GROUPS.limited(facts::errno_words(errno)),
    };
    groups.retain(|g| *g != own);
    if groups.is_empty() {
        return GROUPS.ok("none besides the caller's own group");
    }
    let listed: Vec<String> = groups
        .iter()
        .take(8)
        .map(|g| g.as_raw().to_string())
        .collect();
    let more = if groups.len() > 8 { ", …" } else { "" };
    GROUPS
        .limited(format!(
            "{} ({}{more}) stay with every process of a container: the kernel lets one id be mapped \
             only where setgroups is denied, so that nobody can drop a group that a file denies \
             access to",
            groups.len(),
            listed.join(", ")
        ))
        .instead("programs see them as 65534 and keep the access they give")
}

/// Is the caller itself under no_new_privs?
pub fn no_new_privs() -> Finding {
    match rustix::thread::no_new_privs() {
        Ok(true) => NO_NEW_PRIVS.ok("set on the caller; nothing here needs a setuid helper"),
        Ok(false) => NO_NEW_PRIVS.ok("not set on the caller; every container gets it"),
        Err(errno) => NO_NEW_PRIVS.limited(facts::errno_words(errno)),
    }
}

/// The setuid helper that other tools need.
pub fn newuidmap() -> Finding {
    NEWUIDMAP.ok("not needed and never run: no setuid helper, no /etc/subuid")
}

/// A kind of namespace other than the user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Mounts.
    Mount,
    /// Process ids.
    Pid,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Host name.
    Uts,
    /// Root of the cgroup tree.
    Cgroup,
    /// Network.
    Net,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Mount,
        Self::Pid,
        Self::Ipc,
        Self::Uts,
        Self::Cgroup,
        Self::Net,
    ];

    /// Its flag, subject, the sysctl that limits it, and what to do without it.
    fn about(self) -> (UnshareFlags, Subject, &'static str, &'static str) {
        const G: Group = Group::Namespaces;
        match self {
            Self::Mount => (
                UnshareFlags::NEWNS,
                Subject::new(G, "ns-mount", "mount namespace"),
                "max_mnt_namespaces",
                "none: a container needs it",
            ),
            Self::Pid => (
                UnshareFlags::NEWPID,
                Subject::new(G, "ns-pid", "pid namespace"),
                "max_pid_namespaces",
                "none: a container needs it",
            ),
            Self::Ipc => (
                UnshareFlags::NEWIPC,
                Subject::new(G, "ns-ipc", "ipc namespace"),
                "max_ipc_namespaces",
                "run --ipc=host",
            ),
            Self::Uts => (
                UnshareFlags::NEWUTS,
                Subject::new(G, "ns-uts", "uts namespace"),
                "max_uts_namespaces",
                "run --uts=host",
            ),
            Self::Cgroup => (
                UnshareFlags::NEWCGROUP,
                Subject::new(G, "ns-cgroup", "cgroup namespace"),
                "max_cgroup_namespaces",
                "the container sees the path of its cgroup",
            ),
            Self::Net => (
                UnshareFlags::NEWNET,
                Subject::new(G, "ns-net", "network namespace"),
                "max_net_namespaces",
                "run --network=host",
            ),
        }
    }
}

/// May a namespace of this kind be made inside a user namespace?
pub fn namespace(kind: Kind) -> Finding {
    let (flag, subject, limit, instead) = kind.about();
    match in_child(|| {
        enter_as_root()?;
        userns::unshare(flag).at("unshare")?;
        if kind == Kind::Pid {
            // The namespace begins with its first process, and only that shows that it works.
            in_child(|| Ok(u64::from(rustix::process::getpid().is_init())))
                .at("the first process of the namespace")
        } else {
            Ok(1)
        }
    }) {
        Ok(_) => subject.ok("can be made"),
        Err(failed) => {
            let cause = explain::namespace(&failed, limit, &Facts::read());
            subject
                .missing(cause.why)
                .instead(instead)
                .admin(cause.admin)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn extent(inside: u32, outside: u32, count: u32) -> Extent {
        Extent {
            inside,
            outside,
            count,
        }
    }

    #[test]
    fn a_map_is_split_along_the_extents_of_the_parent() {
        // What rootless podman gives: the user, then a subordinate range.
        let podman = [extent(0, 1000, 1), extent(1, 100_000, 65536)];
        assert_eq!(
            split_extents(&podman, 65536),
            [extent(0, 0, 1), extent(1, 1, 65535)]
        );
        assert_eq!(map_lines(&split_extents(&podman, 10)), "0 0 1\n1 1 9\n");
        // A gap in the parent's ids is closed inside.
        let gap = [extent(1000, 5, 10), extent(0, 9, 2)];
        assert_eq!(
            split_extents(&gap, 65536),
            [extent(0, 0, 2), extent(2, 1000, 10)]
        );
        let everything = [extent(0, 0, u32::MAX)];
        assert_eq!(split_extents(&everything, 65536), [extent(0, 0, 65536)]);
        assert_eq!(
            total(&split_extents(&everything, u32::MAX)),
            u64::from(u32::MAX)
        );
        assert_eq!(split_extents(&[], 65536), []);
    }
}
