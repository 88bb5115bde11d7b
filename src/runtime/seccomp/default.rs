//! Docker's default profile: which system calls a container may make, and what a capability adds.
//!
//! The list is a list of facts, that of the Moby project's default profile (profiles/seccomp,
//! Apache-2.0), kept in step so that what runs under docker runs here. An unlisted call gives EPERM;
//! one newer than the profile gives ENOSYS, so that programs take their fallback (what runc and crun
//! do as well).

use super::calls::{ALWAYS, WITH_CAPABILITY};
use super::profile::{Action, Arch, Condition, Operator, Profile, Rule};
use crate::runtime::caps::Caps;

/// personality(2) values that change nothing of substance: Linux, Linux32, each with UNAME26, and the
/// query.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// All `CLONE_NEW*` bits of clone(2).
const CLONE_NAMESPACES: u64 = 0x7e02_0000;

/// The profile for a container that holds `caps`.
pub(crate) fn profile(caps: Caps, arch: Arch) -> Profile<'static> {
    let mut rules = Vec::with_capacity(ALWAYS.len() + 64);
    let allow = |name| Rule::always(name, Action::Allow);
    rules.extend(ALWAYS.iter().map(|name| allow(*name)));
    for (capability, names) in WITH_CAPABILITY {
        if caps.has(capability) {
            rules.extend(names.iter().map(|name| allow(*name)));
        }
    }
    if !caps.has("CAP_SYS_ADMIN") {
        // Flags are the first argument of clone. Those of clone3 lie in memory, which a filter cannot
        // read: ENOSYS makes the C library use clone.
        rules.push(Rule::when(
            "clone",
            Action::Allow,
            Condition::masked(0, CLONE_NAMESPACES, 0),
        ));
        rules.push(Rule::always("clone3", Action::Errno(libc::ENOSYS as u16)));
    }
    // Not AF_ALG (38), the kernel's crypto, nor AF_VSOCK (40), which no namespace confines.
    for (operator, family) in [
        (Operator::Less, 38),
        (Operator::Equal, 39),
        (Operator::Greater, 40),
    ] {
        rules.push(Rule::when(
            "socket",
            Action::Allow,
            Condition::new(0, operator, family),
        ));
    }
    for value in PERSONALITIES {
        rules.push(Rule::when(
            "personality",
            Action::Allow,
            Condition::new(0, Operator::Equal, value),
        ));
    }
    match arch {
        Arch::X86_64 => rules.extend(["arch_prctl", "modify_ldt"].map(allow)),
        Arch::X86 => rules.push(allow("modify_ldt")),
        Arch::Aarch64 => rules.push(allow("sync_file_range2")),
    }
    Profile::new(Action::Errno(libc::EPERM as u16), rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_free_of_duplicates() {
        assert!(ALWAYS.windows(2).all(|w| w[0] < w[1]));
    }
}
