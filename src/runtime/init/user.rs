//! Whom a bundle's program runs as: ids, groups, the five sets of capabilities, priorities.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, fchown, fstat, major, minor, openat};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_keep_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use super::{Context as _, Result, Stage};
use crate::runtime::process::User;
use crate::sys;

/// In a namespace whose ids are not the caller's: be its root, if it has one. What is made until the program runs is
/// then root's, as it should be.
pub(super) fn become_root(user: &User) -> Result<()> {
    if !user.enters {
        return Ok(());
    }
    let (uid, gid) = (Uid::ROOT, Gid::ROOT);
    // The group first: who is not root yet has what it takes, by having made the namespace. Where root or its group is
    // nobody, the caller's stay.
    match set_thread_groups(&[]) {
        // Where a single id was mapped without privilege, groups cannot be changed at all.
        Ok(()) | Err(Errno::PERM) => {}
        Err(e) => return Err(e).at(Stage::User, || "setgroups".into()),
    }
    match set_thread_res_gid(gid, gid, gid) {
        Ok(()) | Err(Errno::INVAL) => {}
        Err(e) => return Err(e).at(Stage::User, || "setresgid(0)".into()),
    }
    match set_thread_res_uid(uid, uid, uid) {
        Ok(()) | Err(Errno::INVAL) => Ok(()),
        Err(e) => Err(e).at(Stage::User, || "setresuid(0)".into()),
    }
}

/// Scheduling. Before what is needed for it is given up.
pub(super) fn priorities(user: &User) -> Result<()> {
    if let Some(priority) = user.io_priority {
        sys::process::set_io_priority(priority).at(Stage::Limits, || "ioprio_set".into())?;
    }
    if let Some(schedule) = user.schedule {
        sys::process::set_schedule(schedule).at(Stage::Limits, || "sched_setattr".into())?;
    }
    Ok(())
}

/// Standard streams belong to the program's user, so that it can open them again by /dev/stdout. What is not ours to
/// give away stays.
pub(super) fn own_streams(user: &User) {
    let owner = Uid::from_raw(user.uid);
    for fd in [
        rustix::stdio::stdin(),
        rustix::stdio::stdout(),
        rustix::stdio::stderr(),
    ] {
        let Ok(stat) = fstat(fd) else { continue };
        let kind = FileType::from_raw_mode(stat.st_mode);
        let null = kind == FileType::CharacterDevice
            && (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3);
        // A file or directory of the host is no stream.
        let stream = matches!(
            kind,
            FileType::Fifo | FileType::CharacterDevice | FileType::Socket
        );
        if stream && !null && stat.st_uid != user.uid {
            let _ = fchown(fd, Some(owner), None);
        }
    }
}

/// Become the program's user, with the program's capabilities.
pub(super) fn give_up(user: &User, no_new_privileges: bool) -> Result<()> {
    let at = |what: &'static str| move || what.to_owned();
    let caps = user.caps;
    for capability in caps.bounding.missing() {
        match remove_capability_from_bounding_set(capability) {
            // One that this kernel does not have.
            Err(Errno::INVAL) => {}
            other => other.at(Stage::Confine, || format!("capability {capability:?}"))?,
        }
    }
    set_keep_capabilities(true).at(Stage::User, at("prctl(keepcaps)"))?;
    let groups: Vec<Gid> = user.groups.iter().map(|g| Gid::from_raw(*g)).collect();
    match set_thread_groups(&groups) {
        // Denied for good, with a map of one id. The caller's groups stay; the kernel would not let them go.
        Err(Errno::PERM) if groups.is_empty() => {}
        other => other.at(Stage::User, at("setgroups"))?,
    }
    let gid = Gid::from_raw(user.gid);
    set_thread_res_gid(gid, gid, gid).at(Stage::User, at("setresgid"))?;
    let uid = Uid::from_raw(user.uid);
    set_thread_res_uid(uid, uid, uid).at(Stage::User, at("setresuid"))?;
    if no_new_privileges {
        set_no_new_privs(true).at(Stage::Confine, at("no_new_privs"))?;
    }
    clear_ambient_capability_set().at(Stage::Confine, at("prctl(ambient)"))?;
    let sets = CapabilitySets {
        effective: caps.effective.bits(),
        permitted: caps.permitted.bits(),
        inheritable: caps.inheritable.bits(),
    };
    set_capabilities(None, sets).at(Stage::Confine, at("capset"))?;
    let raised: CapabilitySet = caps.ambient.bits();
    for capability in raised.iter() {
        match configure_capability_in_ambient_set(capability, true) {
            // Ambient ones must be inheritable and permitted. Tools list them without, and mean what runc and crun do:
            // then they are not.
            Ok(()) | Err(Errno::PERM) => {}
            Err(e) => return Err(e).at(Stage::Confine, at("prctl(ambient)")),
        }
    }
    Ok(())
}

/// The host's /proc, by which a label is written, if the program gets one: a container's may be anything
/// (CVE-2025-52881).
pub(super) fn host_proc(user: &User) -> Result<Option<OwnedFd>> {
    if user.label.is_none() {
        return Ok(None);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(c"/proc", flags, Mode::empty())
        .map(Some)
        .at(Stage::Confine, || "/proc".into())
}

/// Where the label of the next exec of this process is written.
pub(super) fn open_label(user: &User, proc: Option<BorrowedFd<'_>>) -> Result<Option<OwnedFd>> {
    let (Some(label), Some(proc)) = (&user.label, proc) else {
        return Ok(None);
    };
    let path = Path::new("thread-self/attr").join(label.file);
    openat(proc, &path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .map(Some)
        .at(Stage::Confine, || path.display().to_string())
}

/// Write it.
pub(super) fn write_label(user: &User, file: Option<&OwnedFd>) -> Result<()> {
    if let (Some(file), Some(label)) = (file, &user.label) {
        rustix::io::write(file, label.text.as_bytes())
            .at(Stage::Confine, || format!("label {:?}", label.text))?;
    }
    Ok(())
}
