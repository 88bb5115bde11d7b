//! Kernel file systems inside a container, and how its root is entered.
//!
//! A kernel file system is made with the mount API (fsopen(2), fsmount(2)) and never attached: the
//! kernel makes the same checks as for mount(2), among them the one that refuses a fresh /proc or
//! /sys to who sees only a masked one (`mount_too_revealing`).

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount,
    mount_change, mount_move, open_tree, unmount,
};
use rustix::process::{chdir, chroot, pivot_root as pivot};
use rustix::thread::UnshareFlags;

use super::facts;
use super::namespaces::enter;
use super::report::{Finding, Group, Subject};
use crate::sys::fork::{At, Failed, Stop, in_child};

const PROC: Subject = Subject::new(Group::Mounts, "proc", "fresh /proc");
const PROC_RBIND: Subject = Subject::new(Group::Mounts, "proc-rbind", "/proc bound from outside");
const SYSFS: Subject = Subject::new(Group::Mounts, "sysfs", "fresh /sys");
const DEVPTS: Subject = Subject::new(Group::Mounts, "devpts", "terminals of its own (devpts)");
const MQUEUE: Subject = Subject::new(Group::Mounts, "mqueue", "message queues (mqueue)");
const PIVOT: Subject = Subject::new(Group::Mounts, "pivot-root", "pivot_root");
const MOVE: Subject = Subject::new(Group::Mounts, "move-chroot", "MS_MOVE and chroot");

/// Child only: make a kernel file system with these options (a value, or a flag without one).
fn make(kind: &str, options: &[(&str, Option<&str>)]) -> Result<u64, Stop> {
    let fs = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).at("fsopen")?;
    for (key, value) in options {
        match value {
            Some(value) => fsconfig_set_string(&fs, *key, *value),
            None => fsconfig_set_flag(&fs, *key),
        }
        .at("fsconfig")?;
    }
    fsconfig_create(&fs).at("fsconfig create")?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes).at("fsmount")?;
    Ok(0)
}

/// What `EPERM` means for /proc and /sys, and who can lift it.
fn masked(failed: &Failed, path: &str) -> (String, Option<String>) {
    let said = facts::reason(failed);
    if failed.errno() == Some(Errno::PERM) && !facts::lacks_userns(failed) {
        let admin = (path == "/proc").then(|| {
            "start the outer container with --security-opt systempaths=unconfined (podman: \
             --security-opt unmask=ALL; Kubernetes: procMount: Unmasked)"
                .to_owned()
        });
        (
            format!(
                "{said}: parts of the {path} we see are covered, so the kernel gives out no other"
            ),
            admin,
        )
    } else {
        (said, None)
    }
}

/// May a new /proc be mounted for a new pid namespace?
pub fn fresh_proc() -> Finding {
    let tried = in_child(|| {
        enter(UnshareFlags::NEWNS | UnshareFlags::NEWPID)?;
        // Not through `At for Failed`: the errno of the inner child is the answer.
        in_child(|| make("proc", &[])).map_err(|failed| Stop {
            stage: "mount proc in a new pid namespace",
            errno: failed.errno().unwrap_or(Errno::IO),
        })
    });
    match tried {
        Ok(_) => PROC.ok("mounted in a new pid namespace"),
        Err(failed) => {
            let (why, admin) = masked(&failed, "/proc");
            PROC.missing(why)
                .instead(
                    "the outer /proc, bound: ps shows outer processes, or nothing in a new pid \
                     namespace",
                )
                .admin(admin)
        }
    }
}

/// May the outer /proc be bound with all that is mounted on it?
pub fn rbind_proc() -> Finding {
    match in_child(|| bind("/proc")) {
        Ok(_) => PROC_RBIND.ok("works, the fallback for a fresh one"),
        Err(failed) => PROC_RBIND.missing(facts::reason(&failed)),
    }
}

/// Child only: a recursive bind, not attached anywhere.
fn bind(path: &str) -> Result<u64, Stop> {
    enter(UnshareFlags::NEWNS)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    open_tree(CWD, path, flags).at("open_tree(OPEN_TREE_CLONE)")?;
    Ok(0)
}

/// May a new /sys be mounted for a new network namespace?
pub fn sysfs() -> Finding {
    let tried = in_child(|| {
        enter(UnshareFlags::NEWNS | UnshareFlags::NEWNET)?;
        make("sysfs", &[])
    });
    match tried {
        Ok(_) => SYSFS.ok("mounted in a new network namespace"),
        Err(failed) => {
            let (why, admin) = masked(&failed, "/sys");
            let finding = match in_child(|| bind("/sys")) {
                Ok(_) => SYSFS
                    .limited(why)
                    .instead("the outer /sys, bound read-only, as with --network=host"),
                Err(_) => SYSFS.missing(why).instead("no /sys in the container"),
            };
            finding.admin(admin)
        }
    }
}

/// May a devpts of its own be mounted?
pub fn devpts() -> Finding {
    let tried = in_child(|| {
        enter(UnshareFlags::NEWNS)?;
        make(
            "devpts",
            &[
                ("newinstance", None),
                ("ptmxmode", Some("0666")),
                ("mode", Some("0620")),
            ],
        )
    });
    match tried {
        Ok(_) => DEVPTS.ok("mounted, with its own numbering"),
        Err(failed) => DEVPTS
            .missing(facts::reason(&failed))
            .instead("the outer /dev/pts, bound"),
    }
}

/// May an mqueue be mounted in a new ipc namespace?
pub fn mqueue() -> Finding {
    let tried = in_child(|| {
        enter(UnshareFlags::NEWNS | UnshareFlags::NEWIPC)?;
        make("mqueue", &[])
    });
    match tried {
        Ok(_) => MQUEUE.ok("mounted in a new ipc namespace"),
        Err(failed) => MQUEUE
            .missing(facts::reason(&failed))
            .instead("no /dev/mqueue in the container"),
    }
}

/// Child only: a mount namespace with a tmpfs that is the working directory, ready to become `/`.
fn new_root() -> Result<(), Stop> {
    enter(UnshareFlags::NEWNS)?;
    // Nothing that happens here may reach the outside, and pivot_root refuses shared mounts.
    mount_change(
        "/",
        MountPropagationFlags::REC | MountPropagationFlags::PRIVATE,
    )
    .at("make mounts private")?;
    // Over /proc, because that folder is everywhere; only this child sees it.
    mount("none", "/proc", "tmpfs", MountFlags::empty(), c"").at("mount tmpfs")?;
    chdir("/proc").at("chdir")
}

/// May pivot_root(2) be called?
pub fn pivot_root() -> Finding {
    let tried = in_child(|| {
        new_root()?;
        // Both the same: the old root lies on top of the new one until it is unmounted.
        pivot(".", ".").at("pivot_root")?;
        unmount(".", UnmountFlags::DETACH).at("unmount the old root")?;
        Ok(0)
    });
    match tried {
        Ok(_) => PIVOT.ok("works"),
        Err(failed) => {
            let said = facts::reason(&failed);
            let why = match failed.errno() {
                _ if facts::lacks_userns(&failed) => said,
                Some(Errno::INVAL) => format!("{said}: the root is an initramfs, or not a mount"),
                Some(Errno::PERM) => format!("{said}: forbidden by a filter around this process"),
                _ => said,
            };
            PIVOT
                .missing(why)
                .instead("the new root is moved over / and entered by chroot")
        }
    }
}

/// May a mount be moved over `/` and entered by chroot(2)?
pub fn move_chroot() -> Finding {
    let tried = in_child(|| {
        new_root()?;
        mount_move(".", "/").at("mount(MS_MOVE)")?;
        chroot(".").at("chroot")?;
        Ok(0)
    });
    match tried {
        Ok(_) => MOVE.ok("works, the fallback for pivot_root"),
        Err(failed) => MOVE.missing(facts::reason(&failed)),
    }
}
