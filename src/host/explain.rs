//! Why the kernel refused a namespace, and what an admin could do: from the errno and from the
//! kernel's own files, never from the name of a distribution.
//!
//! The same refusal comes as `EPERM`, `ENOSPC` or `ENOSYS` in different places, so the facts decide
//! together with the errno. See user_namespaces(7), namespaces(7) and, for Ubuntu's restriction,
//! the AppArmor documentation of `apparmor_restrict_unprivileged_userns`.

use rustix::io::Errno;

use super::facts::{self, Mount};
use crate::sys::fork::Failed;

/// What the kernel's files say that bears on a refusal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// `user.max_user_namespaces`.
    pub(super) max_user_namespaces: Option<u64>,
    /// `kernel.unprivileged_userns_clone`, a switch of Debian's and Arch's kernels.
    pub(super) unprivileged_clone: Option<u64>,
    /// `kernel.apparmor_restrict_unprivileged_userns`, Ubuntu's switch.
    pub(super) apparmor_restrict: Option<u64>,
    /// A seccomp filter is on this process: it runs in a sandbox or container.
    pub(super) seccomp: bool,
    /// The root of this process is not the root of a mount.
    pub(super) chrooted: bool,
    /// Our own uid and gid have a name in our user namespace.
    pub(super) ids_mapped: bool,
    /// A security module that takes part: its name is in /sys/kernel/security/lsm.
    pub(super) selinux: bool,
}

impl Facts {
    /// Read them from this machine.
    pub(super) fn read() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mounts = facts::parse_mountinfo(
            &std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default(),
        );
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        Self {
            max_user_namespaces: facts::sysctl("user/max_user_namespaces"),
            unprivileged_clone: facts::sysctl("kernel/unprivileged_userns_clone"),
            apparmor_restrict: facts::sysctl("kernel/apparmor_restrict_unprivileged_userns"),
            seccomp: facts::status_field(&status, "Seccomp").is_some_and(|mode| mode != "0"),
            chrooted: chrooted(&mounts),
            ids_mapped: mapped("/proc/self/uid_map", uid) && mapped("/proc/self/gid_map", gid),
            selinux: facts::line("/sys/kernel/security/lsm")
                .is_some_and(|lsm| lsm.split(',').any(|name| name == "selinux")),
        }
    }
}

/// No mount is at `/`, as this process sees it: its root is a plain folder (chroot(2)).
fn chrooted(mounts: &[Mount]) -> bool {
    !mounts.is_empty() && mounts.iter().all(|m| m.point != "/")
}

/// Whether `id` is in a map. A map that cannot be read says nothing.
fn mapped(path: &str, id: u32) -> bool {
    match std::fs::read_to_string(path) {
        Ok(text) => facts::parse_id_map(&text)
            .iter()
            .any(|e| id >= e.inside && id - e.inside < e.count),
        Err(_) => true,
    }
}

/// A cause in words, and the admin's command against it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cause {
    pub(super) why: String,
    pub(super) admin: Option<String>,
}

fn cause(why: impl Into<String>, admin: impl Into<Option<&'static str>>) -> Cause {
    Cause {
        why: why.into(),
        admin: admin.into().map(str::to_owned),
    }
}

/// Why a user namespace could not be made, or its map not be written.
pub(super) fn userns(failed: &Failed, facts: &Facts) -> Cause {
    const APPARMOR: &str = "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0";
    const CONTAINER: &str = "start the outer container with --security-opt seccomp=unconfined \
        (Kubernetes: seccompProfile type Unconfined, or hostUsers: false)";
    let said = facts::words(failed);
    let making = failed.stage().is_some_and(|s| s.starts_with("unshare"));
    match failed.errno() {
        Some(Errno::NOSPC) => match facts.max_user_namespaces {
            Some(0) => cause(
                format!("{said}: user.max_user_namespaces is 0, user namespaces are switched off"),
                "sysctl -w user.max_user_namespaces=15000",
            ),
            Some(n) => cause(
                format!(
                    "{said}: more than user.max_user_namespaces ({n}) are in use, a limit \
                     further out is lower, or they are nested more than 32 deep"
                ),
                "sysctl -w user.max_user_namespaces=15000",
            ),
            None => cause(
                format!("{said}: a limit on user namespaces"),
                "sysctl -w user.max_user_namespaces=15000",
            ),
        },
        Some(Errno::INVAL) if making => cause(
            format!("{said}: the kernel is built without CONFIG_USER_NS"),
            "boot a kernel with CONFIG_USER_NS=y",
        ),
        Some(Errno::NOSYS) => cause(
            format!(
                "{said}: a seccomp filter of an outer sandbox hides the call, or the kernel is built without namespaces"
            ),
            CONTAINER,
        ),
        Some(Errno::PERM | Errno::ACCESS) => {
            if facts.unprivileged_clone == Some(0) {
                cause(
                    format!("{said}: kernel.unprivileged_userns_clone is 0"),
                    "sysctl -w kernel.unprivileged_userns_clone=1",
                )
            } else if facts.apparmor_restrict.is_some_and(|n| n != 0) {
                cause(
                    format!(
                        "{said}: kernel.apparmor_restrict_unprivileged_userns is set (Ubuntu): a program without an AppArmor profile gets no rights in a user namespace"
                    ),
                    APPARMOR,
                )
            } else if making && facts.chrooted {
                cause(
                    format!(
                        "{said}: this process lives in a chroot, where the kernel allows no user namespace"
                    ),
                    None,
                )
            } else if making && !facts.ids_mapped {
                cause(
                    format!(
                        "{said}: our own uid or gid has no name in the user namespace we are in"
                    ),
                    None,
                )
            } else if facts.seccomp {
                cause(
                    format!(
                        "{said}: a seccomp filter is on this process, an outer container or sandbox forbids it"
                    ),
                    CONTAINER,
                )
            } else if facts.selinux {
                cause(
                    format!("{said}: a security module forbids it (SELinux is active)"),
                    "ausearch -m avc -c coracle   # then allow user_namespace { create }",
                )
            } else {
                cause(
                    format!(
                        "{said}: nothing the kernel shows says why (a security module, or a chroot without /proc)"
                    ),
                    None,
                )
            }
        }
        _ => cause(said, None),
    }
}

/// Why a namespace of another kind could not be made inside a user namespace. `limit` is the name of
/// its sysctl under `user.`.
pub(super) fn namespace(failed: &Failed, limit: &str, facts: &Facts) -> Cause {
    let said = facts::reason(failed);
    match failed.errno() {
        _ if facts::lacks_userns(failed) => cause(said, None),
        Some(Errno::NOSPC) => Cause {
            why: format!("{said}: the limit user.{limit} is reached"),
            admin: Some(format!("sysctl -w user.{limit}=15000")),
        },
        Some(Errno::INVAL) => cause(
            format!("{said}: the kernel is built without this kind of namespace"),
            None,
        ),
        Some(Errno::PERM | Errno::ACCESS | Errno::NOSYS)
            if facts.seccomp || facts.apparmor_restrict.is_some_and(|n| n != 0) =>
        {
            userns(failed, facts)
        }
        _ => cause(said, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(stage: &str, errno: Errno) -> Failed {
        Failed::Stopped {
            stage: stage.into(),
            errno,
        }
    }

    #[test]
    fn each_refusal_has_its_own_cause_and_cure() {
        let unshare = "unshare(CLONE_NEWUSER)";
        let plain = Facts {
            max_user_namespaces: Some(15000),
            ids_mapped: true,
            ..Facts::default()
        };
        let table = [
            (
                Errno::NOSPC,
                Facts {
                    max_user_namespaces: Some(0),
                    ..plain.clone()
                },
                "is 0, user namespaces are switched off",
                Some("sysctl -w user.max_user_namespaces=15000"),
            ),
            (
                Errno::NOSPC,
                plain.clone(),
                "(15000) are in use",
                Some("sysctl -w user.max_user_namespaces=15000"),
            ),
            (
                Errno::PERM,
                Facts {
                    unprivileged_clone: Some(0),
                    ..plain.clone()
                },
                "unprivileged_userns_clone is 0",
                Some("sysctl -w kernel.unprivileged_userns_clone=1"),
            ),
            (
                Errno::PERM,
                Facts {
                    apparmor_restrict: Some(1),
                    ..plain.clone()
                },
                "(Ubuntu)",
                Some("sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"),
            ),
            (
                Errno::PERM,
                Facts {
                    chrooted: true,
                    seccomp: true,
                    ..plain.clone()
                },
                "in a chroot",
                None,
            ),
            (
                Errno::PERM,
                Facts {
                    ids_mapped: false,
                    ..plain.clone()
                },
                "has no name",
                None,
            ),
            (Errno::PERM, plain.clone(), "nothing the kernel shows", None),
            (
                Errno::INVAL,
                plain.clone(),
                "CONFIG_USER_NS",
                Some("boot a kernel with CONFIG_USER_NS=y"),
            ),
        ];
        for (errno, facts, why, admin) in table {
            let got = userns(&refused(unshare, errno), &facts);
            assert!(got.why.contains(why), "{errno:?} {facts:?}: {}", got.why);
            assert_eq!(got.admin.as_deref(), admin, "{errno:?} {facts:?}");
        }
        let seccomp = Facts {
            seccomp: true,
            ..plain.clone()
        };
        for errno in [Errno::PERM, Errno::NOSYS] {
            let got = userns(&refused(unshare, errno), &seccomp);
            assert!(got.why.contains("seccomp filter"), "{}", got.why);
            assert!(got.admin.unwrap().contains("seccomp=unconfined"));
        }
        // Ubuntu 24.04 lets the namespace be made and refuses the map.
        let ubuntu = Facts {
            apparmor_restrict: Some(1),
            ..plain
        };
        let got = userns(&refused("write /proc/self/uid_map", Errno::PERM), &ubuntu);
        assert!(got.why.contains("Ubuntu"), "{}", got.why);
    }

    #[test]
    fn a_full_namespace_limit_names_its_own_sysctl() {
        let failed = refused("unshare(CLONE_NEWNET)", Errno::NOSPC);
        let got = namespace(&failed, "max_net_namespaces", &Facts::default());
        assert_eq!(
            got.admin.as_deref(),
            Some("sysctl -w user.max_net_namespaces=15000")
        );
    }

    #[test]
    fn a_chroot_is_a_root_that_is_no_mount() {
        let mount = |point: &str| Mount {
            root: "/".into(),
            point: point.into(),
            kind: "ext4".into(),
        };
        assert!(chrooted(&[mount("/proc")]));
        assert!(!chrooted(&[mount("/"), mount("/proc")]));
        assert!(
            !chrooted(&[]),
            "an unreadable file proves nothing, and neither does an empty one"
        );
    }
}
