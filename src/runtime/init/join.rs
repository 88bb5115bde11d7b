//! A further process of a container that runs. Two processes are needed for it, since only a child of who
//! enters a pid namespace is in it:
//!
//! ```text
//! caller                in between                           the new process
//!   | clone ------------> | cgroups, OOM score, signals         |
//!   |                     | lets go of the host's descriptors   |
//!   |                     | setns: all namespaces               |
//!   |                     | clone (a child of the caller) ----> | a session, a terminal, a directory
//!   | <------------ pid - | _exit                               | limits, capabilities, filter, exec
//! ```
//!
//! Unlike the first process it has company that may be hostile while it still runs our code. So no other
//! process may trace it or look through its descriptors before it executes something (not dumpable,
//! CVE-2016-9962); it has let go of everything of the host by the time it exists (CVE-2024-21626); nothing
//! that it does in the container relies on what a path leads to there; and our program is not what
//! `/proc/PID/exe` leads to when the container's begins (CVE-2019-5736, `sys::exec`).

use std::convert::Infallible;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{DumpableBehavior, chroot, fchdir, set_dumpable_behavior, setsid, umask};

use super::program::First;
use super::{Context as _, Result, Stage, confine, inside, program, streams, terminal, user};
use crate::runtime::Failure;
use crate::runtime::channel::{Channel, FromInit};
use crate::runtime::process::Process;
use crate::runtime::running::Running;
use crate::sys;
use crate::sys::exec::OwnExecutable;

/// Where the process goes, and who is told.
pub(in crate::runtime) struct Into<'a> {
    pub container: &'a Running<'a>,
    /// Its root directory, unless that comes with the namespaces.
    pub root: Option<BorrowedFd<'a>>,
    /// Takes the number of the new process.
    pub tell: BorrowedFd<'a>,
}

/// The process in between. `parents`: descriptors that only the caller uses.
pub(in crate::runtime) fn run(
    process: &Process,
    into: &Into<'_>,
    channel: &Channel,
    parents: [BorrowedFd<'_>; 2],
) -> ! {
    for fd in parents {
        let _ = sys::exec::close_copy(fd);
    }
    let proc = match enter(process, into, channel) {
        Ok(proc) => proc,
        Err(failure) => give_up(channel, failure),
    };
    // In the container's pid namespace, and a child of our parent.
    match sys::clone::clone_sibling(|| further(process, channel, proc)) {
        Ok(child) => {
            let pid = child.pid.as_raw_pid().to_ne_bytes();
            // If nobody reads it, nobody is left who waits for that process.
            let _ = rustix::io::write(into.tell, &pid);
            sys::clone::exit_now(0)
        }
        Err(e) => give_up(channel, Failure::new(Stage::Join, "clone", e)),
    }
}

fn give_up(channel: &Channel, failure: Failure) -> ! {
    // If the parent is gone there is nobody to tell.
    let _ = channel.send(&FromInit::Failed(failure), None);
    sys::clone::exit_now(127)
}

/// All that concerns the host, and then into the namespaces.
/// Returns the host's /proc, if it is needed further on.
fn enter(process: &Process, into: &Into<'_>, channel: &Channel) -> Result<Option<OwnedFd>> {
    let at = |what: &'static str| move || what.to_owned();
    for dir in &into.container.cgroups {
        let file = dir.join("cgroup.procs");
        openat(CWD, &file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            .and_then(|fd| rustix::io::write(&fd, b"0"))
            .at(Stage::Join, || file.display().to_string())?;
    }
    // By the host's /proc; inside, something else may stand there.
    inside::score(process)?;
    streams(process, Stage::Join)?;
    sys::clone::default_signals();
    let pidfd = into.container.as_fd();
    let proc = match &process.user {
        Some(user) => user::host_proc(user)?,
        None => None,
    };
    let keep = [
        Some(channel.fd()),
        Some(into.tell),
        Some(pidfd),
        into.root,
        proc.as_ref().map(OwnedFd::as_fd),
    ];
    confine::close_all(process, &keep)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).at(Stage::Join, at("prctl"))?;
    sys::clone::enter(pidfd, into.container.namespaces).at(Stage::Join, at("setns"))?;
    let _ = sys::exec::close_copy(pidfd);
    if let Some(root) = into.root {
        fchdir(root).at(Stage::Join, at("fchdir"))?;
        chroot(c".").at(Stage::Join, at("chroot"))?;
        let _ = sys::exec::close_copy(root);
    }
    if let Some(user) = &process.user {
        user::become_root(user)?;
    }
    Ok(proc)
}

fn further(process: &Process, channel: &Channel, proc: Option<OwnedFd>) -> ! {
    let Err(failure) = start(process, channel, proc);
    give_up(channel, failure)
}

fn start(process: &Process, channel: &Channel, proc: Option<OwnedFd>) -> Result<Infallible> {
    let at = |what: &'static str| move || what.to_owned();
    let user = process.user.as_deref();
    let label = match user {
        Some(user) => user::open_label(user, proc.as_ref().map(OwnedFd::as_fd))?,
        None => None,
    };
    drop(proc);
    confine::close_all(
        process,
        &[Some(channel.fd()), label.as_ref().map(OwnedFd::as_fd)],
    )?;
    // As for the first process: no terminal of the caller's (CVE-2017-5226).
    setsid().at(Stage::Join, at("setsid"))?;
    nix::sys::signal::SigSet::empty()
        .thread_set_mask()
        .at(Stage::Join, at("sigprocmask"))?;
    let tty = terminal::open_further(process, channel)?;
    let entered = inside::enter_directory(process);
    inside::limits(process)?;
    terminal::adopt(tty)?;
    entered?;
    match user {
        Some(user) => {
            user::priorities(user)?;
            user::own_streams(user);
            user::write_label(user, label.as_ref())?;
            // Without no_new_privs a filter takes CAP_SYS_ADMIN, which the program may not have.
            if !process.no_new_privileges {
                confine::filter_further(process, channel)?;
            }
            user::give_up(user, process.no_new_privileges)?;
        }
        None => confine::privileges(process)?,
    }
    // Who gives our listener away sleeps until something is executed, and nobody answers before: so that is
    // always ours.
    let own = match process.identity {
        Some(_) => OwnExecutable::Exposed,
        None => process.executable,
    };
    let (program, word) = program::prepare(process, First::Program(own), channel)?;
    umask(Mode::from_bits_truncate(process.umask));
    confine::descriptors(process, channel)?;
    if user.is_none() || process.no_new_privileges {
        confine::filter_further(process, channel)?;
    }
    let error = program.exec(word);
    sys::exec::report_errno(channel.fd(), &error);
    sys::clone::exit_now(127)
}
