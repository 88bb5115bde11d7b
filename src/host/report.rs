//! The answer of the probes: findings, and the rungs chosen from them.
//!
//! The JSON form (`coracle doctor --json`) is a promise to scripts: keys and the spelling of values
//! stay; new ones may come.
//!
//! ```text
//! version   1
//! can_run   true | false: containers can run on this machine
//! blockers  ids of the findings that stand in the way, when can_run is false
//! rungs     identity, proc, rootfs, pivot, network, limits: what `run` takes here
//! findings  a list, in the order of the text form:
//!   id        stable name, such as "userns" or "overlay"
//!   group     heading of the text form, such as "identity"
//!   title     the same for people
//!   result    "ok" | "limited" | "missing"
//!   detail    why
//!   instead   what is done without it, or null
//!   admin     what an admin could run to lift it, or null
//! ```

use serde::Serialize;

use super::facts::NEEDS_USERNS;

/// How a probe ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It works.
    Ok,
    /// It works in part, or not as well as it could.
    Limited,
    /// It does not work.
    Missing,
}

impl Outcome {
    /// The word of the text and JSON forms.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Limited => "limited",
            Self::Missing => "missing",
        }
    }
}

/// The heading under which a finding is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// Who the container's root is.
    Identity,
    /// Namespaces other than the user namespace.
    Namespaces,
    /// Kernel file systems inside the container, and how its root is entered.
    Mounts,
    /// The file system of the store, and layers on it.
    Storage,
    /// Filters and checks.
    Security,
    /// Network of a container.
    Network,
    /// Cgroups and the user's session.
    Resources,
    /// Numbers that the kernel or the admin has set.
    Quotas,
}

impl Group {
    /// The heading.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Identity => "Identity",
            Self::Namespaces => "Namespaces",
            Self::Mounts => "Mounts",
            Self::Storage => "Storage",
            Self::Security => "Security",
            Self::Network => "Network",
            Self::Resources => "Resource limits and session",
            Self::Quotas => "Kernel and quotas",
        }
    }
}

/// What a probe asks about. Its methods make findings.
#[derive(Debug, Clone, Copy)]
pub struct Subject {
    /// Stable name in the JSON form.
    pub id: &'static str,
    /// Name for people.
    pub title: &'static str,
    /// Heading.
    pub group: Group,
}

impl Subject {
    pub(super) const fn new(group: Group, id: &'static str, title: &'static str) -> Self {
        Self { id, title, group }
    }

    fn finding(self, result: Outcome, detail: String) -> Finding {
        Finding {
            id: self.id,
            group: self.group,
            title: self.title,
            result,
            detail,
            instead: None,
            admin: None,
        }
    }

    pub(super) fn ok(self, detail: impl Into<String>) -> Finding {
        self.finding(Outcome::Ok, detail.into())
    }

    pub(super) fn limited(self, detail: impl Into<String>) -> Finding {
        self.finding(Outcome::Limited, detail.into())
    }

    pub(super) fn missing(self, detail: impl Into<String>) -> Finding {
        self.finding(Outcome::Missing, detail.into())
    }
}

/// What one probe found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stable name.
    pub id: &'static str,
    /// Heading of the text form.
    pub group: Group,
    /// Name for people.
    pub title: &'static str,
    /// How the probe ended.
    pub result: Outcome,
    /// Why, with the errno in words.
    pub detail: String,
    /// What is chosen instead.
    pub instead: Option<String>,
    /// What an admin can run to lift it.
    pub admin: Option<String>,
}

impl Finding {
    pub(super) fn instead(mut self, instead: impl Into<String>) -> Self {
        self.instead = Some(instead.into());
        self
    }

    pub(super) fn admin(mut self, admin: impl Into<Option<String>>) -> Self {
        self.admin = admin.into();
        self
    }
}

macro_rules! rung {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $word)] $variant,)+
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $(Self::$variant => $word),+ })
            }
        }
    };
}

rung! {
    /// Who the container's users are.
    Identity {
        /// One id: the container's root is the caller.
        OneId = "one-id",
        /// No user namespace: no container.
        None = "none",
    }
}
rung! {
    /// Where the container's /proc comes from.
    Proc {
        /// Mounted anew for the container's pid namespace.
        Fresh = "fresh",
        /// The caller's own, bound with everything mounted on it.
        Rbind = "rbind",
        /// Neither works.
        None = "none",
    }
}
rung! {
    /// How layers become one tree.
    Rootfs {
        /// The kernel's overlay, with `userxattr`.
        Overlay = "overlay",
        /// The fuse-overlayfs program.
        FuseOverlayfs = "fuse-overlayfs",
        /// A copy of every file (shared blocks where the file system can).
        Copy = "copy",
        /// The store cannot be written at all.
        None = "none",
    }
}
rung! {
    /// How the container's root is entered.
    Pivot {
        /// pivot_root(2).
        PivotRoot = "pivot_root",
        /// The mount is moved over `/`, then chroot(2).
        MoveChroot = "move-chroot",
        /// Neither works.
        None = "none",
    }
}
rung! {
    /// The best network that a container can be given.
    Network {
        /// A namespace of its own, joined to the outside by pasta.
        Pasta = "pasta",
        /// A namespace of its own, joined to the outside by slirp4netns.
        Slirp4netns = "slirp4netns",
        /// The caller's network, or a namespace with loopback only.
        HostOrNone = "host-or-none",
        /// The caller's network only.
        Host = "host",
    }
}
rung! {
    /// Who enforces memory, process and CPU limits.
    Limits {
        /// The user's systemd, over its socket.
        Systemd = "systemd",
        /// A cgroup that the caller may write.
        Subtree = "subtree",
        /// Nobody: a limit that is asked for is refused.
        Refuse = "refuse",
    }
}

/// What `run` takes on this machine, of each ladder the highest rung that works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Rungs {
    /// Who the container's users are.
    pub identity: Identity,
    /// Where /proc comes from.
    pub proc: Proc,
    /// How layers become one tree.
    pub rootfs: Rootfs,
    /// How the root is entered.
    pub pivot: Pivot,
    /// The best network.
    pub network: Network,
    /// Who enforces limits.
    pub limits: Limits,
}

/// Everything that was found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Of this form: 1.
    pub version: u32,
    /// Containers can run on this machine.
    pub can_run: bool,
    /// The ids of the findings that stand in the way; empty when [`can_run`](Self::can_run).
    pub blockers: Vec<&'static str>,
    /// What `run` takes here.
    pub rungs: Rungs,
    /// One of each probe, grouped.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Order the findings by group, choose the rungs, and see what stands in the way of a container.
    pub(super) fn new(mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|f| f.group as u8);
        for finding in &mut findings {
            // Without a user namespace there is no container for which to choose something else.
            if finding.detail == NEEDS_USERNS {
                finding.instead = None;
                finding.admin = None;
            }
        }
        let rungs = choose(&findings);
        let blockers = blockers(&findings, &rungs);
        Self {
            version: 1,
            can_run: blockers.is_empty(),
            blockers,
            rungs,
            findings,
        }
    }

    /// The finding with this id.
    pub fn finding(&self, id: &str) -> Option<&Finding> {
        self.findings.iter().find(|f| f.id == id)
    }
}

/// Whether the probe `id` ended well.
fn works(findings: &[Finding], id: &str) -> bool {
    findings
        .iter()
        .any(|f| f.id == id && f.result == Outcome::Ok)
}

fn choose(findings: &[Finding]) -> Rungs {
    let ok = |id| works(findings, id);
    let userns = ok("userns") && ok("id-map");
    let tun = ok("tun") && ok("ns-net");
    Rungs {
        identity: if userns {
            Identity::OneId
        } else {
            Identity::None
        },
        proc: if ok("proc") {
            Proc::Fresh
        } else if ok("proc-rbind") {
            Proc::Rbind
        } else {
            Proc::None
        },
        rootfs: if findings.iter().any(|f| f.id == "store-write") {
            Rootfs::None
        } else if ok("overlay") {
            Rootfs::Overlay
        } else if ok("fuse") && ok("fuse-overlayfs") {
            Rootfs::FuseOverlayfs
        } else {
            Rootfs::Copy
        },
        pivot: if ok("pivot-root") {
            Pivot::PivotRoot
        } else if ok("move-chroot") {
            Pivot::MoveChroot
        } else {
            Pivot::None
        },
        network: if tun && ok("pasta") {
            Network::Pasta
        } else if tun && ok("slirp4netns") {
            Network::Slirp4netns
        } else if ok("ns-net") {
            Network::HostOrNone
        } else {
            Network::Host
        },
        limits: if ok("systemd-user") {
            Limits::Systemd
        } else if ok("cgroup") {
            Limits::Subtree
        } else {
            Limits::Refuse
        },
    }
}

fn blockers(findings: &[Finding], rungs: &Rungs) -> Vec<&'static str> {
    // Whatever lacks only the user namespace is no obstacle of its own.
    let stands = |id: &&'static str| {
        findings
            .iter()
            .any(|f| f.id == *id && f.result != Outcome::Ok && f.detail != NEEDS_USERNS)
    };
    let needed = ["userns", "id-map", "ns-mount", "ns-pid", "seccomp-filter"];
    let mut blockers: Vec<_> = needed.into_iter().filter(stands).collect();
    for (missing, id) in [
        (rungs.proc == Proc::None, "proc-rbind"),
        (rungs.pivot == Pivot::None, "move-chroot"),
        (rungs.rootfs == Rootfs::None, "store-write"),
    ] {
        if missing && stands(&id) {
            blockers.push(id);
        }
    }
    blockers
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: &[&str] = &[
        "userns",
        "id-map",
        "ns-mount",
        "ns-pid",
        "ns-net",
        "seccomp-filter",
        "proc",
        "proc-rbind",
        "pivot-root",
        "move-chroot",
        "overlay",
        "fuse",
        "fuse-overlayfs",
        "tun",
        "pasta",
        "slirp4netns",
        "systemd-user",
        "cgroup",
    ];

    /// A machine where all works but `missing`.
    fn machine(missing: &[&str]) -> Report {
        let findings = IDS
            .iter()
            .map(|&id| {
                let subject = Subject::new(Group::Identity, id, id);
                if missing.contains(&id) {
                    subject.missing("")
                } else {
                    subject.ok("")
                }
            })
            .collect();
        Report::new(findings)
    }

    #[test]
    fn each_ladder_is_climbed_down_rung_by_rung() {
        let all = machine(&[]).rungs;
        assert_eq!(
            (all.identity, all.proc, all.rootfs),
            (Identity::OneId, Proc::Fresh, Rootfs::Overlay)
        );
        assert_eq!(
            (all.pivot, all.network, all.limits),
            (Pivot::PivotRoot, Network::Pasta, Limits::Systemd)
        );

        let second = machine(&["proc", "overlay", "pivot-root", "pasta", "systemd-user"]);
        assert!(second.can_run);
        assert_eq!(second.rungs.proc, Proc::Rbind);
        assert_eq!(second.rungs.rootfs, Rootfs::FuseOverlayfs);
        assert_eq!(second.rungs.pivot, Pivot::MoveChroot);
        assert_eq!(second.rungs.network, Network::Slirp4netns);
        assert_eq!(second.rungs.limits, Limits::Subtree);

        let third = machine(&["overlay", "fuse", "tun", "systemd-user", "cgroup"]);
        assert!(third.can_run);
        assert_eq!(third.rungs.rootfs, Rootfs::Copy);
        assert_eq!(third.rungs.network, Network::HostOrNone);
        assert_eq!(third.rungs.limits, Limits::Refuse);
    }

    #[test]
    fn what_stands_in_the_way_is_named() {
        for (missing, blocker) in [
            (&["userns"][..], "userns"),
            (&["proc", "proc-rbind"], "proc-rbind"),
            (&["pivot-root", "move-chroot"], "move-chroot"),
            (&["ns-pid"], "ns-pid"),
            (&["seccomp-filter"], "seccomp-filter"),
        ] {
            let report = machine(missing);
            assert!(!report.can_run, "{missing:?}");
            assert_eq!(report.blockers, [blocker]);
            let none = report.rungs.identity == Identity::None;
            assert_eq!(none, blocker == "userns");
        }
    }
}
