//! What this machine allows, found out by doing it in a forked child, never by sniffing the name of
//! an environment, and never remembered: a sysctl can change between two runs.
//!
//! [`probe`] asks everything and chooses the [`Rungs`]; it is what `coracle doctor` shows. Every
//! probe can also be called alone, so that a failed `run` can say why without asking the rest
//! ([`explain_userns`]).
//!
//! Invariants
//! - A probe changes nothing that outlives it: mounts and namespaces die with the child, files live
//!   in one [`Scratch`] folder that is removed (by the next probe, if this one is killed), sysctls,
//!   cgroups and device nodes are only read.
//! - A probe cannot hang its caller ([`fork::LIMIT`](crate::sys::fork::LIMIT)).
//! - Words come from the errno and from what the kernel's own files say, and name what an admin
//!   could do where an admin can.
//!
//! Uses [`sys`](crate::sys) only. Callers: `ops` (doctor, run).

mod cgroup;
mod explain;
mod facts;
mod filesystem;
mod limits;
mod machine;
mod mounts;
mod namespaces;
mod network;
mod report;
mod scratch;
mod security;
mod session;

use std::path::Path;

pub use cgroup::{Cgroup, Hierarchy};
pub use facts::Extent;
pub use filesystem::{file_system_name, file_system_of, is_network_file_system};
pub use machine::{Distribution, Machine, Memory};
pub use namespaces::split_extents;
pub use report::{
    Finding, Group, Identity, Limits, Network, Outcome, Pivot, Proc, Report, Rootfs, Rungs, Subject,
};
pub use scratch::Scratch;

/// Each probe alone. All take at most [`fork::LIMIT`](crate::sys::fork::LIMIT).
pub mod probes {
    pub use super::cgroup::cgroup;
    pub use super::filesystem::{
        fuse, fuse_overlayfs, overlay, reflink, store, tmpfile, user_xattr, whiteout,
    };
    pub use super::limits::{inotify, kernel, keys, namespace_limits, open_files, processes};
    pub use super::mounts::{
        devpts, fresh_proc, move_chroot, mqueue, pivot_root, rbind_proc, sysfs,
    };
    pub use super::namespaces::{
        Kind, groups, id_map, many_ids, namespace, newuidmap, no_new_privs, userns,
    };
    pub use super::network::{pasta, slirp4netns, tun};
    pub use super::security::{
        landlock, memfd_exec, ptrace, seccomp_filter, seccomp_listener, seccomp_notify,
    };
    pub use super::session::{linger, user_manager};
}

/// Why no user namespace with an id map can be made, or `None` when it can. For a `run` that failed.
pub fn explain_userns() -> Option<Finding> {
    [probes::userns, probes::id_map]
        .into_iter()
        .map(|probe| probe())
        .find(|finding| finding.result != Outcome::Ok)
}

/// How layers become one tree with the store at `data_root`, by the name that `--storage-driver` takes: the first
/// that works. In short, what [`probe`] finds out with all the rest.
pub fn storage_driver(data_root: &Path) -> &'static str {
    let works = |finding: Finding| finding.result == Outcome::Ok;
    match Scratch::new(data_root) {
        Ok(scratch) if works(probes::overlay(&scratch)) => "overlay",
        Ok(_) if works(probes::fuse()) && works(probes::fuse_overlayfs()) => "fuse-overlayfs",
        _ => "copy",
    }
}

/// Ask everything, with the store at `data_root` (which need not exist yet: the nearest folder above
/// it is tried instead, and nothing is left there).
pub fn probe(data_root: &Path) -> Report {
    let mut findings = vec![
        probes::kernel(),
        probes::userns(),
        probes::id_map(),
        probes::many_ids(),
        probes::groups(),
        probes::no_new_privs(),
        probes::newuidmap(),
    ];
    findings.extend(probes::Kind::ALL.into_iter().map(probes::namespace));
    findings.extend([
        probes::fresh_proc(),
        probes::rbind_proc(),
        probes::sysfs(),
        probes::devpts(),
        probes::mqueue(),
        probes::pivot_root(),
        probes::move_chroot(),
        probes::store(data_root),
    ]);
    match Scratch::new(data_root) {
        Ok(scratch) => findings.extend([
            probes::overlay(&scratch),
            probes::whiteout(&scratch),
            probes::user_xattr(&scratch),
            probes::tmpfile(&scratch),
            probes::reflink(&scratch),
        ]),
        Err(e) => findings.push(filesystem::unwritable(&e)),
    }
    let cgroup = Cgroup::read();
    findings.extend([
        probes::fuse(),
        probes::fuse_overlayfs(),
        probes::seccomp_filter(),
        probes::seccomp_notify(),
        probes::seccomp_listener(),
        probes::ptrace(),
        probes::landlock(),
        probes::memfd_exec(),
        probes::tun(),
        probes::pasta(),
        probes::slirp4netns(),
        probes::cgroup(&cgroup),
        probes::user_manager(&cgroup),
        probes::linger(),
        probes::namespace_limits(),
        probes::processes(),
        probes::open_files(),
        probes::inotify(),
        probes::keys(),
    ]);
    Report::new(findings)
}
