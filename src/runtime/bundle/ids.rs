//! The id maps of a container: which ones, who may write them, and how they are split where the caller's own
//! namespace is made of several ranges. user_namespaces(7).
//!
//! Without help of a set-id program: who has CAP_SETUID where the namespace is made (root, also that of a user
//! namespace, as podman makes one before it calls a runtime) may map any number of ids; everybody else one, the own.

use std::fmt::Write as _;
use std::io;

use rustix::process::Pid;
use rustix::thread::{CapabilitySet, capabilities};

use super::config::Extent;
use super::plan::Settings;

/// What becomes of the caller's ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::runtime) enum Ids {
    /// They stay, or are those of a namespace that is joined.
    Kept,
    /// A new namespace has these.
    Mapped {
        uids: Vec<Extent>,
        gids: Vec<Extent>,
    },
}

/// A map that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum IdsError {
    /// More ids than the caller may map.
    Many(u64),
    /// A range without ids, or beyond the last one.
    Size,
}

impl Ids {
    /// Of a new namespace. Without a map there is one id: root, who is the caller.
    pub(super) fn new(
        uids: &[Extent],
        gids: &[Extent],
        settings: &Settings,
    ) -> Result<Self, IdsError> {
        let own = |list: &[Extent], id| {
            if list.is_empty() {
                vec![Extent {
                    inside: 0,
                    outside: id,
                    size: 1,
                }]
            } else {
                list.to_vec()
            }
        };
        let (uids, gids) = (own(uids, settings.uid), own(gids, settings.gid));
        let last = |e: &Extent, first: u32| first.checked_add(e.size.wrapping_sub(1));
        let bad =
            |e: &Extent| e.size == 0 || last(e, e.inside).is_none() || last(e, e.outside).is_none();
        if uids.iter().chain(&gids).any(bad) {
            return Err(IdsError::Size);
        }
        if !may_map_all() {
            let count = |list: &[Extent]| list.iter().map(|e| u64::from(e.size)).sum::<u64>();
            let many = count(&uids).max(count(&gids));
            if many > 1 {
                return Err(IdsError::Many(many));
            }
        }
        Ok(Self::Mapped { uids, gids })
    }

    /// Of a mount.
    pub(super) fn given(uids: &[Extent], gids: &[Extent]) -> Self {
        Self::Mapped {
            uids: uids.to_vec(),
            gids: gids.to_vec(),
        }
    }

    pub(in crate::runtime) fn has_uid(&self, id: u32) -> bool {
        match self {
            Self::Kept => true,
            Self::Mapped { uids, .. } => has(uids, id),
        }
    }

    pub(in crate::runtime) fn has_gid(&self, id: u32) -> bool {
        match self {
            Self::Kept => true,
            Self::Mapped { gids, .. } => has(gids, id),
        }
    }

    /// Write them for a child that has just made its namespace and waits.
    pub(super) fn write(&self, child: Pid) -> Result<(), (String, io::Error)> {
        let Self::Mapped { uids, gids } = self else {
            return Ok(());
        };
        let write = |file: &str, text: String| {
            let path = format!("/proc/{}/{file}", child.as_raw_pid());
            std::fs::write(&path, text).map_err(|e| (path, e))
        };
        if !may_map_all() {
            // The price of a map that is written without privilege (CVE-2014-8989).
            write("setgroups", "deny".to_owned())?;
        }
        let outer = |file: &str| {
            outer(&std::fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default())
        };
        write("uid_map", lines(&split(uids, &outer("uid_map"))))?;
        write("gid_map", lines(&split(gids, &outer("gid_map"))))
    }
}

fn has(list: &[Extent], id: u32) -> bool {
    list.iter()
        .any(|e| id.checked_sub(e.inside).is_some_and(|n| n < e.size))
}

/// Whether this process may map ids that are not its own.
fn may_map_all() -> bool {
    let needed = CapabilitySet::SETUID | CapabilitySet::SETGID;
    capabilities(None).is_ok_and(|sets| sets.effective.contains(needed))
}

/// Ranges of this process's own namespace, as its map has them.
fn outer(map: &str) -> Vec<Extent> {
    let line = |line: &str| {
        let mut numbers = line.split_whitespace().map(|n| n.parse().ok());
        Some(Extent {
            inside: numbers.next()??,
            outside: numbers.next()??,
            size: numbers.next()??,
        })
    };
    map.lines().filter_map(line).collect()
}

/// The kernel refuses a range that spans two of the outer map, though all of its ids are there.
fn split(list: &[Extent], outer: &[Extent]) -> Vec<Extent> {
    let mut parts = Vec::new();
    for extent in list {
        let mut rest = *extent;
        while rest.size > 0 {
            let within = outer
                .iter()
                .find_map(|o| {
                    let skipped = rest.outside.checked_sub(o.inside)?;
                    (skipped < o.size).then(|| o.size - skipped)
                })
                // Not mapped outside: the kernel says so.
                .unwrap_or(rest.size);
            let size = rest.size.min(within);
            parts.push(Extent { size, ..rest });
            rest = Extent {
                inside: rest.inside.wrapping_add(size),
                outside: rest.outside.wrapping_add(size),
                size: rest.size - size,
            };
        }
    }
    parts
}

fn lines(list: &[Extent]) -> String {
    list.iter().fold(String::new(), |mut text, e| {
        // To a string: this cannot fail.
        let _ = writeln!(text, "{} {} {}", e.inside, e.outside, e.size);
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn e(inside: u32, outside: u32, size: u32) -> Extent {
        Extent {
            inside,
            outside,
            size,
        }
    }

    #[test]
    fn ranges_are_split_where_the_outer_ones_end() {
        let rootless =
            outer("         0       1000          1\n         1     100000      65536\n");
        assert_eq!(rootless, [e(0, 1000, 1), e(1, 100_000, 65536)]);
        assert_eq!(
            split(&[e(0, 0, 65536)], &rootless),
            [e(0, 0, 1), e(1, 1, 65535)]
        );
        let all = outer("0 0 4294967295\n");
        assert_eq!(split(&[e(0, 1000, 10)], &all), [e(0, 1000, 10)]);
        assert_eq!(split(&[e(5, 70_000, 10)], &rootless), [e(5, 70_000, 10)]);
        assert_eq!(lines(&[e(0, 0, 1), e(1, 1, 65535)]), "0 0 1\n1 1 65535\n");
    }

    #[test]
    fn who_is_mapped() {
        let ids = Ids::given(&[e(10, 0, 2)], &[e(0, 0, 1)]);
        assert!(ids.has_uid(11) && !ids.has_uid(12) && !ids.has_uid(9));
        assert!(ids.has_gid(0) && !ids.has_gid(1));
    }
}
