//! The state of cgroups: which hierarchy, which controllers reach us, and whether we may write.
//!
//! Only read: making a cgroup to see whether it works would show in the machine's own hierarchy, and
//! the permission bits of `cgroup.procs` and `cgroup.subtree_control` say the same (cgroups(7),
//! "Delegation").

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::facts::{self, Mount};
use super::report::{Finding, Group, Subject};

const CGROUP: Subject = Subject::new(Group::Resources, "cgroup", "writable cgroup subtree");

/// Controllers without which a limit on memory or processes means nothing.
const CONTROLLERS_WANTED: [&str; 2] = ["memory", "pids"];

/// Which cgroup hierarchies are mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hierarchy {
    /// cgroup v2 only.
    Pure,
    /// Controllers in v1, and an empty v2 tree beside them.
    Hybrid,
    /// v1 only.
    V1,
    /// None.
    None,
}

impl Hierarchy {
    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Pure => "cgroup v2",
            Self::Hybrid => "hybrid: controllers in cgroup v1, v2 without any",
            Self::V1 => "cgroup v1 only",
            Self::None => "no cgroup mounted",
        }
    }
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    /// Which hierarchies are mounted.
    pub hierarchy: Hierarchy,
    /// Where v2 is mounted.
    pub mount: Option<PathBuf>,
    /// Our own cgroup in v2, as a folder; `None` when it lies outside of what is mounted.
    pub own: Option<PathBuf>,
    /// `cgroup.controllers` of our own cgroup.
    pub controllers: Vec<String>,
    /// We may make cgroups under our own and move processes there.
    pub writable: bool,
}

impl Cgroup {
    /// Read the state of this process.
    pub fn read() -> Self {
        let mounts =
            facts::parse_mountinfo(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default());
        let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let v2 = mounts.iter().rev().find(|m| m.kind == "cgroup2");
        let own = v2.and_then(|m| own_folder(m, own_path(&text)?));
        let controllers = own.as_deref().map(controllers).unwrap_or_default();
        let writable = own.as_deref().is_some_and(writable);
        Self {
            hierarchy: hierarchy(&mounts),
            mount: v2.map(|m| PathBuf::from(&m.point)),
            own,
            controllers,
            writable,
        }
    }
}

fn hierarchy(mounts: &[Mount]) -> Hierarchy {
    let has = |kind| mounts.iter().any(|m| m.kind == kind);
    match (has("cgroup2"), has("cgroup")) {
        (true, false) => Hierarchy::Pure,
        (true, true) => Hierarchy::Hybrid,
        (false, true) => Hierarchy::V1,
        (false, false) => Hierarchy::None,
    }
}

/// The path in a /proc/PID/cgroup file: of the `0::` line only, the others belong to v1.
fn own_path(text: &str) -> Option<&str> {
    text.lines().find_map(|l| l.strip_prefix("0::"))
}

/// Where our own cgroup shows in a mount that may show only a part of the tree.
fn own_folder(mount: &Mount, own: &str) -> Option<PathBuf> {
    // `/..` in front means outside of our cgroup namespace.
    let below = Path::new(own).strip_prefix(&mount.root).ok()?;
    if below
        .components()
        .any(|c| c == std::path::Component::ParentDir)
    {
        return None;
    }
    // Components put together again: no slash at the end where `below` is empty.
    Some(
        Path::new(&mount.point)
            .components()
            .chain(below.components())
            .collect(),
    )
}

/// The controllers that a cgroup may hand on.
pub(super) fn controllers(cgroup: &Path) -> Vec<String> {
    facts::line(cgroup.join("cgroup.controllers"))
        .unwrap_or_default()
        .split_ascii_whitespace()
        .map(str::to_owned)
        .collect()
}

fn writable(cgroup: &Path) -> bool {
    let may = |path: &Path| accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok();
    may(cgroup) && may(&cgroup.join("cgroup.procs")) && may(&cgroup.join("cgroup.subtree_control"))
}

/// Those of `wanted` that are not in `have`.
pub(super) fn lacking<'a>(have: &[String], wanted: &[&'a str]) -> Vec<&'a str> {
    wanted
        .iter()
        .copied()
        .filter(|w| !have.iter().any(|h| h == w))
        .collect()
}

/// May we set limits by writing to our own cgroup?
pub fn cgroup(state: &Cgroup) -> Finding {
    const INSTEAD: &str =
        "the user's systemd if it answers, else a limit that is asked for is refused";
    const BOOT: &str =
        "add systemd.unified_cgroup_hierarchy=1 to the kernel command line, then reboot";
    let kind = state.hierarchy.words();
    let listed = if state.controllers.is_empty() {
        "no controllers".to_owned()
    } else {
        state.controllers.join(" ")
    };
    let Some(own) = &state.own else {
        return CGROUP
            .missing(format!("{kind}; our own cgroup is not in sight"))
            .instead(INSTEAD)
            .admin((state.hierarchy == Hierarchy::V1).then(|| BOOT.to_owned()));
    };
    let at = own.display();
    if !lacking(&state.controllers, &CONTROLLERS_WANTED).is_empty() {
        return CGROUP
            .missing(format!("{kind}; {at} has {listed}, not memory and pids"))
            .instead(INSTEAD)
            .admin((state.hierarchy == Hierarchy::Hybrid).then(|| BOOT.to_owned()));
    }
    if !state.writable {
        return CGROUP
            .missing(format!("{kind}; {at} ({listed}) may not be written by us"))
            .instead(INSTEAD);
    }
    CGROUP.ok(format!("{kind}; {at}: {listed}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(root: &str, point: &str, kind: &str) -> Mount {
        Mount {
            root: root.into(),
            point: point.into(),
            kind: kind.into(),
        }
    }

    #[test]
    fn only_the_v2_line_is_read() {
        let hybrid = "9:name=systemd:/user\n4:memory:/a/b\n0::/user.slice/x.scope\n";
        assert_eq!(own_path(hybrid), Some("/user.slice/x.scope"));
        assert_eq!(own_path("4:memory:/a/b\n"), None);
    }

    #[test]
    fn our_cgroup_is_found_below_the_root_of_the_mount() {
        let whole = mount("/", "/sys/fs/cgroup", "cgroup2");
        assert_eq!(
            own_folder(&whole, "/a/b"),
            Some(PathBuf::from("/sys/fs/cgroup/a/b"))
        );
        let part = mount("/a", "/sys/fs/cgroup", "cgroup2");
        assert_eq!(
            own_folder(&part, "/a/b"),
            Some(PathBuf::from("/sys/fs/cgroup/b"))
        );
        assert_eq!(own_folder(&part, "/other"), None);
        assert_eq!(
            own_folder(&whole, "/../../etc"),
            None,
            "outside of our namespace"
        );
    }

    #[test]
    fn the_hierarchy_is_told_by_the_mounts() {
        let v1 = mount("/", "/sys/fs/cgroup/memory", "cgroup");
        let v2 = mount("/", "/sys/fs/cgroup/unified", "cgroup2");
        assert_eq!(hierarchy(&[v1.clone(), v2.clone()]), Hierarchy::Hybrid);
        assert_eq!(hierarchy(&[v2]), Hierarchy::Pure);
        assert_eq!(hierarchy(&[v1]), Hierarchy::V1);
        assert_eq!(hierarchy(&[]), Hierarchy::None);
    }

    #[test]
    fn a_subtree_counts_only_when_it_can_limit() {
        let state = Cgroup {
            hierarchy: Hierarchy::Pure,
            mount: Some("/sys/fs/cgroup".into()),
            own: Some("/sys/fs/cgroup/mine".into()),
            controllers: vec!["cpu".into(), "memory".into(), "pids".into()],
            writable: true,
        };
        assert_eq!(cgroup(&state).result.word(), "ok");
        let closed = Cgroup {
            writable: false,
            ..state.clone()
        };
        assert_eq!(cgroup(&closed).result.word(), "missing");
        let bare = Cgroup {
            controllers: vec!["cpu".into()],
            ..state
        };
        assert!(cgroup(&bare).detail.contains("not memory and pids"));
    }
}
