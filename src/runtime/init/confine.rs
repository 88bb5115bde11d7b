//! The last steps before the program: giving up what it must not have.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySets, remove_capability_from_bounding_set, set_capabilities,
    set_capabilities_secure_bits, set_no_new_privs,
};

use super::{Context as _, Process, Result, Stage};
use crate::emulate;
use crate::runtime::channel::{Channel, FromInit};
use crate::runtime::seccomp::Filter;
use crate::sys;

/// Capabilities and no_new_privs.
///
/// A process in a new user namespace holds all capabilities there; on exec, root keeps those of the
/// bounding set and any other user keeps none, so the bounding set decides (capabilities(7)).
/// Inheritable and ambient sets are empty since the namespace was made (CVE-2022-24769).
pub(super) fn privileges(process: &Process) -> Result<()> {
    if process.filter.is_none() {
        // A session keyring of its own; with a filter the keyring calls are refused anyway. A full
        // quota of keys is no reason not to start: the container then has none.
        sys::exec::new_session_keyring();
    }
    for capability in process.caps.missing() {
        remove_capability_from_bounding_set(capability)
            .at(Stage::Confine, || format!("capability {capability:?}"))?;
    }
    // Now, and not only at exec: the filter and the program's file are found with these rights.
    let set = process.caps.bits();
    let sets = CapabilitySets {
        effective: set,
        permitted: set,
        inheritable: rustix::thread::CapabilitySet::empty(),
    };
    if process.identity.is_some() && process.uid != 0 {
        // To the kernel it is root, who would have all of them back at exec. Somebody else has none, and
        // what a set-id program inside makes of him needs none of the kernel's.
        set_capabilities_secure_bits(CapabilitiesSecureBits::NO_ROOT)
            .at(Stage::Confine, || "securebits".into())?;
    }
    // Before no_new_privs nothing is lost; seccomp needs CAP_SYS_ADMIN or no_new_privs.
    if process.no_new_privileges {
        set_no_new_privs(true).at(Stage::Confine, || "no_new_privs".into())?;
        set_capabilities(None, sets).at(Stage::Confine, || "capset".into())?;
    }
    if process.scope_signals {
        // Kernels before 6.12 cannot do that; the caller is warned about the shared namespace in any case.
        let _ = sys::landlock::scope_signals();
    }
    Ok(())
}

/// Close what the caller's process had open, all but 0, 1, 2, what was asked for, the copy of our program that is to
/// be executed, and `keep`.
pub(super) fn close_all(process: &Process, keep: &[Option<BorrowedFd<'_>>]) -> Result<()> {
    around(process, keep, sys::exec::close_from)
}

/// Nothing but 0, 1, 2 and what was asked for survives exec. The stub must still report: it closes the
/// channel itself.
pub(super) fn descriptors(process: &Process, channel: &Channel) -> Result<()> {
    around(process, &[Some(channel.fd())], sys::exec::cloexec_range)
}

fn around(
    process: &Process,
    keep: &[Option<BorrowedFd<'_>>],
    act: impl Fn(u32, u32) -> std::io::Result<()>,
) -> Result<()> {
    use std::os::fd::AsRawFd as _;
    let own = process.own.as_ref().map(|fd| fd.as_fd());
    let mut keep: Vec<u32> = keep
        .iter()
        .chain([&own])
        .flatten()
        .map(|f| f.as_raw_fd() as u32)
        .collect();
    keep.sort_unstable();
    let mut from = 3 + process.preserve_fds;
    let closing = || "close_range".into();
    for fd in keep {
        if fd > from {
            act(from, fd - 1).at(Stage::Confine, closing)?;
        }
        from = from.max(fd + 1);
    }
    act(from, u32::MAX).at(Stage::Confine, closing)
}

fn identity(what: &'static str) -> impl FnOnce() -> String {
    move || what.to_owned()
}

fn listener(filter: &Filter) -> Result<OwnedFd> {
    sys::notify::install(&filter.program, filter.flags)
        .at(Stage::Identity, identity("seccomp(listener)"))
}

/// The filter of a further process. Its listener goes to who starts it, and by him to the supervisor.
pub(super) fn filter_further(process: &Process, channel: &Channel) -> Result<()> {
    match (&process.filter, &process.identity) {
        (Some(f), identity) if f.listener || identity.is_some() => channel
            .send_unasked(&FromInit::Listener, listener(f)?.as_fd())
            .at(Stage::Identity, || "sendmsg".into()),
        _ => filter(process, None),
    }
}

/// The system call filter, and its listener to the supervisor: from here on it answers for us, too.
pub(super) fn filter(process: &Process, supervisor: Option<BorrowedFd<'_>>) -> Result<()> {
    let Some(f) = &process.filter else {
        return Ok(());
    };
    let Some(supervisor) = supervisor else {
        return sys::seccomp::install(&f.program, f.flags).at(Stage::Confine, || "seccomp".into());
    };
    // Its reason why not went to the parent.
    emulate::await_ready(supervisor).at(Stage::Identity, identity("recv"))?;
    // Before the filter, which may forbid it.
    let own = emulate::own_pidfd().at(Stage::Identity, identity("pidfd_open"))?;
    let listener = listener(f)?;
    // Ours must be closed when the exec is asked about: should the supervisor end, there must be no
    // other listener to wait for.
    emulate::hand_over(supervisor, own.as_fd(), listener.as_fd())
        .at(Stage::Identity, identity("sendmsg"))
}
