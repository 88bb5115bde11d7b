//! The child that becomes the first process of a bundle's container: the steps of [`start`](super::start), for any
//! number of ids, with hooks, and in two parts. The second begins when somebody opens the gate.
//!
//! Unlike that one it has a memory of its own, since it lives on when its parent has ended.

use std::convert::Infallible;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, mount_change,
};
use rustix::net::SendFlags;
use rustix::process::{DumpableBehavior, set_dumpable_behavior, setsid, umask};
use rustix::thread::{UnshareFlags, move_into_link_name_space};

use super::memory::Memory;
use super::program::First;
use super::{Context as _, Failure, Result, Stage};
use super::{confine, inside, mounts, nodes, program, protect, rootfs, terminal, user};
use crate::runtime::bundle::{Bundle, NEWTIME, gate, hooks};
use crate::runtime::channel::{Channel, FromInit, FromParent};
use crate::sys;
use crate::sys::exec::OwnExecutable;

/// What the child has from its parent.
pub(in crate::runtime) struct Inherited {
    pub channel: Channel,
    /// Where it waits for its start.
    pub gate: OwnedFd,
    /// Connected to whom the listener of the filter is sent.
    pub notify: Option<OwnedFd>,
    /// Mounts that the parent made, by their index.
    pub trees: Vec<(usize, OwnedFd)>,
}

/// Become the container's program, or end.
pub(in crate::runtime) fn run(b: &Bundle, mut inherited: Inherited) -> ! {
    let Err(failure) = start(b, &mut inherited);
    // If nobody is there any more, nobody is to be told.
    let _ = inherited.channel.send(&FromInit::Failed(failure), None);
    sys::clone::exit_now(127)
}

fn start(b: &Bundle, from: &mut Inherited) -> Result<Infallible> {
    let plan = &b.plan;
    let process = &plan.process;
    let Some(user) = &process.user else {
        return Err(Failure::new(Stage::User, "nobody", Errno::INVAL));
    };
    let pid = proceed(&from.channel)?;
    detach(b)?;
    // What needs our files in /proc comes before another user id, who would not own them (proc(5), "dumpable").
    inside::score(process)?;
    namespaces(b)?;
    let proc = user::host_proc(user)?;
    let label = user::open_label(user, proc.as_ref().map(OwnedFd::as_fd))?;
    drop(proc);
    user::become_root(user)?;
    propagation(b)?;
    // Until the program takes over, this process is of our program's file. Where others can see it, which are those of
    // a pid namespace that it did not bring along, nobody may look into it (CVE-2019-5736). Elsewhere the caller's
    // hooks may, for the namespaces.
    let hide = || {
        set_dumpable_behavior(DumpableBehavior::NotDumpable).at(Stage::Detach, || "prctl".into())
    };
    if b.make & libc::CLONE_NEWPID as u64 == 0 {
        hide()?;
    }

    let root = rootfs::attach(plan)?;
    let mut memory = Memory::given(std::mem::take(&mut from.trees), cover(b)?);
    mounts::all(plan, &root, &mut memory)?;
    nodes::all(b, &root)?;
    network(b)?;
    inside::sysctls(plan, &root)?;
    // The caller's hooks see the container as it is before its root is entered (runtime-spec, "Lifecycle").
    say(&from.channel, &FromInit::Prepared)?;
    proceed(&from.channel)?;
    for hook in &b.hooks.create_container {
        let state = b.state.json("creating", Some(pid));
        hooks::run(hook, &state, OwnExecutable::OutOfReach, || Ok(())).map_err(|e| {
            Failure::said(
                Stage::Hook,
                format!("createContainer {}: {e}", hook.path.display()),
            )
        })?;
    }
    rootfs::enter(plan, &root, b.pivot)?;
    drop(root);
    if let Some(flags) = b.propagation {
        let flags = MountPropagationFlags::from_bits_retain(flags as u32);
        mount_change(c"/", flags).at(Stage::Pivot, || "rootfsPropagation".into())?;
    }

    let keep = [
        Some(from.channel.fd()),
        Some(from.gate.as_fd()),
        from.notify.as_ref().map(OwnedFd::as_fd),
        label.as_ref().map(OwnedFd::as_fd),
        memory.empty.as_ref().map(OwnedFd::as_fd),
    ];
    confine::close_all(process, &keep)?;
    let null = open_null(b)?;
    protect::all(plan, memory.empty.take(), null)?;
    let tty = terminal::open(process, &from.channel)?;
    inside::working_directory(process)?;
    inside::limits(process)?;
    user::priorities(user)?;
    terminal::adopt(tty)?;
    user::own_streams(user);
    if b.keyring {
        sys::exec::new_session_keyring();
    }
    let (program, word) =
        program::prepare(process, First::Program(process.executable), &from.channel)?;

    say(&from.channel, &FromInit::Ready)?;
    // The parent has written down who we are: or it is gone, and nobody ever will.
    proceed(&from.channel)?;
    let caller = gate::wait(from.gate.as_fd()).at(Stage::Detach, || "accept".into())?;
    // Under the number by which the program's stub reports.
    from.channel
        .replace(&caller)
        .at(Stage::Exec, || "dup".into())?;
    drop(caller);
    // From here on there may be somebody.
    hide()?;
    for hook in &b.hooks.start_container {
        let state = b.state.json("created", Some(pid));
        // The program is the container's: it gets no more than the container's own.
        let before = || user::give_up(user, process.no_new_privileges).map_err(|f| f.source());
        hooks::run(hook, &state, OwnExecutable::Exposed, before).map_err(|e| {
            Failure::said(
                Stage::Hook,
                format!("startContainer {}: {e}", hook.path.display()),
            )
        })?;
    }
    umask(Mode::from_bits_truncate(process.umask));
    user::write_label(user, label.as_ref())?;
    // Without no_new_privs a filter takes CAP_SYS_ADMIN, which the program may not have; with it, the filter comes
    // last, since it may forbid any of the above.
    if !process.no_new_privileges {
        filter(b, from, pid)?;
    }
    user::give_up(user, process.no_new_privileges)?;
    confine::descriptors(process, &from.channel)?;
    if process.no_new_privileges {
        filter(b, from, pid)?;
    }
    let error = program.exec(word);
    sys::exec::report_errno(from.channel.fd(), &error);
    sys::clone::exit_now(127)
}

fn say(channel: &Channel, word: &FromInit) -> Result<()> {
    channel
        .send(word, None)
        .at(Stage::Detach, || "sendmsg".into())
}

/// Wait for the parent. Where it has gone, there is nobody to fail for.
fn proceed(channel: &Channel) -> Result<i32> {
    match channel.from_parent() {
        Ok(FromParent::Proceed { pid }) => Ok(pid),
        _ => sys::clone::exit_now(127),
    }
}

fn detach(b: &Bundle) -> Result<()> {
    umask(Mode::empty());
    setsid().at(Stage::Detach, || "setsid".into())?;
    sys::clone::default_signals();
    nix::sys::signal::SigSet::empty()
        .thread_set_mask()
        .at(Stage::Detach, || "sigprocmask".into())?;
    if let Some(persona) = b.personality {
        sys::process::set_personality(persona).at(Stage::Detach, || "personality".into())?;
    }
    Ok(())
}

/// Those that have to wait until this process is in its control group, or has said what its clocks are.
fn namespaces(b: &Bundle) -> Result<()> {
    let at = |what: &'static str| move || what.to_owned();
    if b.late & libc::CLONE_NEWCGROUP as u64 != 0 {
        sys::userns::unshare(UnshareFlags::NEWCGROUP).at(Stage::Namespace, at("cgroup"))?;
    }
    if b.late & NEWTIME != 0 {
        sys::userns::unshare(UnshareFlags::NEWTIME).at(Stage::Namespace, at("time"))?;
        let offsets = b.time_offsets.iter();
        let offsets: String = offsets
            .map(|(clock, o)| format!("{clock} {} {}\n", o.secs, o.nanosecs))
            .collect();
        if !offsets.is_empty() {
            std::fs::write("/proc/self/timens_offsets", offsets)
                .at(Stage::Namespace, at("timens_offsets"))?;
        }
        // So far it is the one of our children.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let ours = rustix::fs::open("/proc/self/ns/time_for_children", flags, Mode::empty())
            .at(Stage::Namespace, at("time_for_children"))?;
        move_into_link_name_space(ours.as_fd(), None).at(Stage::Namespace, at("setns(time)"))?;
    }
    Ok(())
}

fn propagation(b: &Bundle) -> Result<()> {
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    let shared = b.propagation.filter(|f| f & libc::MS_SHARED != 0);
    let flags = match shared {
        // What the container mounts is for others to see: so it stays the caller's peer.
        Some(flags) => MountPropagationFlags::from_bits_retain(flags as u32),
        None => slave,
    };
    mount_change(c"/", flags).at(Stage::Detach, || "mount(/, propagation)".into())?;
    if shared.is_some() {
        // But neither the root file system's own mount, nor pivot_root(2), which refuses a shared parent.
        let mut dir = Some(b.plan.mountpoint.as_path());
        while let Some(path) = dir {
            match mount_change(path, MountPropagationFlags::PRIVATE) {
                Ok(()) => break,
                Err(Errno::INVAL) => dir = path.parent(),
                Err(e) => return Err(e).at(Stage::Detach, || path.display().to_string()),
            }
        }
    }
    Ok(())
}

/// An empty directory, mounted nowhere, for what is hidden.
fn cover(b: &Bundle) -> Result<Option<OwnedFd>> {
    if b.plan.masked.is_empty() {
        return Ok(None);
    }
    let make = || -> std::result::Result<OwnedFd, Errno> {
        let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (key, value) in [("size", "4k"), ("nr_inodes", "2"), ("mode", "755")] {
            fsconfig_set_string(fs.as_fd(), key, value)?;
        }
        fsconfig_create(fs.as_fd())?;
        let flags = MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags)
    };
    make().map(Some).at(Stage::Mask, || "tmpfs".into())
}

/// The null device that hides files, by descriptor: what is checked is what is used (CVE-2025-31133).
fn open_null(b: &Bundle) -> Result<Option<OwnedFd>> {
    if b.plan.masked.is_empty() {
        return Ok(None);
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(c"/dev/null", flags, Mode::empty())
        .map(Some)
        .at(Stage::Mask, || "/dev/null".into())
}

fn network(b: &Bundle) -> Result<()> {
    if b.make & libc::CLONE_NEWNET as u64 != 0 {
        sys::net::loopback_up().at(Stage::Network, || "loopback".into())?;
    }
    if let Some(name) = &b.plan.hostname {
        rustix::system::sethostname(name.as_bytes())
            .at(Stage::Network, || format!("sethostname({name})"))?;
    }
    if let Some(name) = &b.plan.domainname {
        rustix::system::setdomainname(name.as_bytes())
            .at(Stage::Network, || format!("setdomainname({name})"))?;
    }
    Ok(())
}

/// The system call filter. Where it asks somebody, he is sent its listener and told of whom it is.
fn filter(b: &Bundle, from: &mut Inherited, pid: i32) -> Result<()> {
    let (Some(filter), Some(notify)) = (&b.plan.process.filter, &b.notify) else {
        return confine::filter(&b.plan.process, None);
    };
    let socket = from
        .notify
        .take()
        .ok_or_else(|| Failure::new(Stage::Confine, "listener", Errno::BADF))?;
    let message = notify.message(b.state.json("creating", Some(pid)), pid);
    // One thread: there are no others to put it on, and a listener excludes asking for that.
    let flags = filter.flags & !libc::SECCOMP_FILTER_FLAG_TSYNC;
    let listener = sys::notify::install(&filter.program, flags)
        .at(Stage::Confine, || "seccomp(listener)".into())?;
    Channel::of(socket)
        .send_bytes(&message, Some(listener.as_fd()), SendFlags::NOSIGNAL)
        .at(Stage::Confine, || notify.path.display().to_string())
}
