//! Whether a file's owner and mode allow something to whom. Pure. path_resolution(7), "Permissions".

use super::creds::{Cred, cap};
use super::ownership::Belongs;

/// Wanted rights, bits as in a mode.
pub(super) const READ: u32 = 4;
pub(super) const WRITE: u32 = 2;
pub(super) const SEARCH: u32 = 1;

/// A capability counts for files of everybody; the kernel's own checks come on top.
pub(super) fn allows(cred: &Cred, owner: Belongs, mode: u32, is_dir: bool, want: u32) -> bool {
    let class = if cred.uid.fs == owner.uid {
        mode >> 6
    } else if cred.in_group(owner.gid) {
        mode >> 3
    } else {
        mode
    };
    if class & want == want {
        return true;
    }
    if want & WRITE == 0 && cred.can(cap::DAC_READ_SEARCH) && (is_dir || want == READ) {
        return true;
    }
    cred.can(cap::DAC_OVERRIDE) && (is_dir || want & SEARCH == 0 || mode & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulate::creds::Kind;

    #[test]
    fn one_class_decides_and_capabilities_override() {
        let root = Cred::first(0, 0, &[], u64::MAX >> 23, false);
        let user = root
            .set_groups(&[50])
            .and_then(|c| c.set_one(Kind::Group, 33));
        let user = user.and_then(|c| c.set_one(Kind::User, 33)).unwrap();
        let of = |uid, gid| Belongs {
            uid,
            gid,
            device: None,
            recorded: true,
        };
        for (owner, mode, want, may) in [
            (of(0, 0), 0o600, READ, false),
            (of(0, 0), 0o644, READ, true),
            (of(0, 0), 0o755, WRITE | SEARCH, false),
            (of(33, 0), 0o600, READ | WRITE, true),
            // The owner's class decides, even if others may more.
            (of(33, 0), 0o077, READ, false),
            (of(0, 50), 0o640, READ, true),
            (of(0, 33), 0o620, WRITE, true),
            (of(0, 50), 0o606, READ, false),
            (of(0, 0), 0o1777, WRITE | SEARCH, true),
        ] {
            assert_eq!(allows(&user, owner, mode, true, want), may, "{mode:o}");
            assert!(allows(&root, owner, mode, true, want), "root {mode:o}");
        }
        // Not even root executes what nobody may.
        assert!(!allows(&root, of(0, 0), 0o644, false, SEARCH));
        assert!(allows(&root, of(7, 7), 0o100, false, SEARCH));
    }
}
