//! Capability sets by name. capabilities(7).
//!
//! In a container they are capabilities over its own user namespace: they never reach beyond what the
//! user who started it may do.

use std::fmt;

use rustix::thread::CapabilitySet;

/// Names in the order of their numbers, linux/capability.h.
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// What docker gives a container.
const DEFAULT: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// What it takes to read and write any file of a container.
const FILES: [&str; 7] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_MKNOD",
    "CAP_SETFCAP",
];

/// A set of capabilities, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps(u64);

/// A name that is no capability.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a capability")]
pub struct UnknownCapability(String);

impl Caps {
    /// None.
    pub const EMPTY: Self = Self(0);
    /// All that this program knows.
    pub const ALL: Self = Self((1 << NAMES.len()) - 1);

    /// Docker's default set.
    pub fn default_set() -> Self {
        Self::of(&DEFAULT)
    }

    /// Those over files.
    pub fn files() -> Self {
        Self::of(&FILES)
    }

    fn of(names: &[&str]) -> Self {
        let numbers = names.iter().filter_map(|n| number(n));
        Self(numbers.fold(0, |set, n| set | 1 << n))
    }

    /// Docker's rules for `--cap-add` and `--cap-drop`: `ALL` in either, names with or without `CAP_`,
    /// any case; what is both added and dropped by name stays dropped.
    pub fn adjusted(self, add: &[String], drop: &[String]) -> Result<Self, UnknownCapability> {
        let is_all = |names: &[String]| names.iter().any(|n| n.eq_ignore_ascii_case("all"));
        let named = |names: &[String]| {
            names
                .iter()
                .filter(|n| !n.eq_ignore_ascii_case("all"))
                .try_fold(0, |set, n| {
                    Ok(set | 1 << number(n).ok_or_else(|| UnknownCapability(n.clone()))?)
                })
        };
        let (added, dropped) = (named(add)?, named(drop)?);
        let base = match (is_all(add), is_all(drop)) {
            (true, _) => Self::ALL.0,
            (false, true) => 0,
            (false, false) => self.0,
        };
        Ok(Self((base | added) & !dropped))
    }

    /// Whether the capability of this (complete) name is in the set.
    pub fn has(self, name: &str) -> bool {
        number(name).is_some_and(|n| self.0 & 1 << n != 0)
    }

    /// As the kernel takes it.
    pub fn bits(self) -> CapabilitySet {
        CapabilitySet::from_bits_retain(self.0)
    }

    /// Complete names, in the order of their numbers.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        (0..NAMES.len())
            .filter(move |n| self.0 & 1 << n != 0)
            .map(|n| NAMES[n])
    }

    /// Each capability that is not in the set, one at a time.
    pub(crate) fn missing(self) -> impl Iterator<Item = CapabilitySet> {
        (0..NAMES.len())
            .map(|n| 1 << n)
            .filter(move |bit| self.0 & bit == 0)
            .map(CapabilitySet::from_bits_retain)
    }
}

impl fmt::Display for Caps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().collect::<Vec<_>>().join(","))
    }
}

fn number(name: &str) -> Option<usize> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES.iter().position(|n| &n[4..] == bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn add_and_drop_as_docker() {
        let adjust = |add: &[&str], drop: &[&str]| {
            let own = |v: &[&str]| v.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
            Caps::default_set()
                .adjusted(&own(add), &own(drop))
                .map(|c| c.names().count())
        };
        assert_eq!(adjust(&[], &[]), Ok(14));
        assert_eq!(adjust(&["sys_admin"], &[]), Ok(15));
        assert_eq!(adjust(&["CAP_SYS_ADMIN"], &["NET_RAW"]), Ok(14));
        assert_eq!(adjust(&["ALL"], &["net_raw"]), Ok(40));
        assert_eq!(adjust(&["KILL"], &["all"]), Ok(1));
        assert_eq!(adjust(&[], &["ALL"]), Ok(0));
        assert!(adjust(&["CAP_FLY"], &[]).is_err());
    }
}
