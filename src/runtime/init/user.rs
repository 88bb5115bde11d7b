//! Whom a bundle's program runs as: ids, groups, the five sets of capabilities, priorities.

use rustix::fs::{FileType, fchown, fstat, major, minor};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_keep_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use super::{Context as _, Result, Stage};
use crate::runtime::bundle::Bundle;
use crate::sys;

/// In a namespace whose ids are not the caller's: be its root, if it has one. What is made until the program runs is
/// then root's, as it should be.
pub(super) fn become_root(b: &Bundle) -> Result<()> {
    if !b.plan.has(libc::CLONE_NEWUSER) {
        return Ok(());
    }
    let (uid, gid) = (Uid::ROOT, Gid::ROOT);
    // In this order: without the capabilities of root the group could not be changed.
    if b.ids.has_gid(0) {
        match set_thread_groups(&[]) {
            // Where a single id was mapped without privilege, groups cannot be changed at all.
            Ok(()) | Err(Errno::PERM) => {}
            Err(e) => return Err(e).at(Stage::User, || "setgroups".into()),
        }
        set_thread_res_gid(gid, gid, gid).at(Stage::User, || "setresgid(0)".into())?;
    }
    if b.ids.has_uid(0) {
        set_thread_res_uid(uid, uid, uid).at(Stage::User, || "setresuid(0)".into())?;
    }
    Ok(())
}

/// Scheduling. Before what is needed for it is given up.
pub(super) fn priorities(b: &Bundle) -> Result<()> {
    if let Some(priority) = b.io_priority {
        sys::process::set_io_priority(priority).at(Stage::Limits, || "ioprio_set".into())?;
    }
    if let Some(schedule) = b.schedule {
        sys::process::set_schedule(schedule).at(Stage::Limits, || "sched_setattr".into())?;
    }
    Ok(())
}

/// Standard streams belong to the program's user, so that it can open them again by /dev/stdout. What is not ours to
/// give away stays.
pub(super) fn own_streams(b: &Bundle) {
    let user = Uid::from_raw(b.user.uid);
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
        if stream && !null && stat.st_uid != b.user.uid {
            let _ = fchown(fd, Some(user), None);
        }
    }
}

/// Become the program's user, with the program's capabilities.
pub(super) fn give_up(b: &Bundle) -> Result<()> {
    let at = |what: &'static str| move || what.to_owned();
    let caps = b.caps;
    for capability in caps.bounding.missing() {
        match remove_capability_from_bounding_set(capability) {
            // One that this kernel does not have.
            Err(Errno::INVAL) => {}
            other => other.at(Stage::Confine, || format!("capability {capability:?}"))?,
        }
    }
    set_keep_capabilities(true).at(Stage::User, at("prctl(keepcaps)"))?;
    let groups: Vec<Gid> = b.user.groups.iter().map(|g| Gid::from_raw(*g)).collect();
    match set_thread_groups(&groups) {
        // Denied for good, with a map of one id. The caller's groups stay; the kernel would not let them go.
        Err(Errno::PERM) if groups.is_empty() => {}
        other => other.at(Stage::User, at("setgroups"))?,
    }
    let gid = Gid::from_raw(b.user.gid);
    set_thread_res_gid(gid, gid, gid).at(Stage::User, at("setresgid"))?;
    let uid = Uid::from_raw(b.user.uid);
    set_thread_res_uid(uid, uid, uid).at(Stage::User, at("setresuid"))?;
    if b.plan.no_new_privileges {
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
