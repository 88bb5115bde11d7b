//! The parent of a bundle's container: makes the child, writes its maps, runs the hooks of the host's side, and leaves
//! the child waiting at its gate.
//!
//! ```text
//! caller                     [helper]              child
//!   | clone ------------------> |                    |    only where namespaces are joined
//!   |                           | setns; clone ----> |
//!   | <------------------------ Cloned + pidfd       |
//!   | id maps; Steps::cloned (control group)         |
//!   | ------------------------------------ Proceed-> |
//!   |                                                | namespaces, mounts, devices
//!   | <----------------------------------- Prepared  |
//!   | prestart, createRuntime                        |
//!   | ------------------------------------ Proceed-> |
//!   |                                                | createContainer; pivot; masks
//!   | <--------------------------- Console + master  |    only with a terminal
//!   | <-------------------------------------- Ready  |
//!   | Steps::created (the state is written)          |
//!   | ------------------------------------ Proceed-> |
//!                                                    | waits at the gate
//! starter -- start --------------------------------> |
//!   |                                                | startContainer, user, filter, exec
//!   | <--- Failed, errno, or end of file ----------- |
//! ```
//!
//! A child whose parent dies before it has written down the state ends, since nobody would ever find it.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with,
};
use rustix::process::{
    DumpableBehavior, Pid, Signal, WaitId, WaitIdOptions, pidfd_send_signal, set_dumpable_behavior,
    waitid,
};

use super::gate;
use super::hooks;
use super::ids::Ids;
use super::plan::Bundle;
use crate::runtime::channel::{Channel, FromInit, FromParent, Received};
use crate::runtime::init::bundle::{Inherited, run};
use crate::runtime::running::pid;
use crate::runtime::spawn::failed;
use crate::runtime::{Error, Failure, Stage};
use crate::sys;
use crate::sys::clone::{Child, Side};
use crate::sys::exec::OwnExecutable;
use crate::sys::mount::{Change, Depth, change_attributes};

/// What the caller does while a container is made. An error ends it.
pub trait Steps {
    /// Its first process is there, and has done nothing.
    fn cloned(&mut self, pid: Pid) -> io::Result<()>;
    /// It waits for its start: write it down.
    fn created(&mut self, pid: Pid, terminal: Option<OwnedFd>) -> io::Result<()>;
}

/// The first process of a container that waits.
#[derive(Debug)]
pub struct Created {
    /// As the caller counts.
    pub pid: Pid,
    /// The same, as a descriptor.
    pub pidfd: OwnedFd,
}

/// Make the container; `dir` is where its gate is. The caller has one thread. If this fails no process is left.
pub fn create(b: &Bundle, dir: BorrowedFd<'_>, steps: &mut dyn Steps) -> Result<Created, Error> {
    let parent = |what: &'static str| move |e: io::Error| Error::Parent(what, e);
    if rustix::process::geteuid().is_root() {
        // Root's own files in /proc stay root's. The child is of this program, whose file a process of a pid namespace
        // that it joins must not get (CVE-2019-5736); others do that as soon as their map is written.
        set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .map_err(|e| Error::Parent("prctl", e.into()))?;
    }
    let gate = gate::make(dir).map_err(parent("the socket of the start"))?;
    let notify = b.notify.as_ref().map(|n| listener(&n.path)).transpose()?;
    let trees = idmapped(b)?;
    let join = open_namespaces(b)?;
    let (ours, theirs) = Channel::pair().map_err(parent("socketpair"))?;
    let inherited = Inherited {
        channel: theirs,
        gate,
        notify,
        trees,
    };
    let mut making = Making { child: None };
    if join.is_empty() {
        match sys::clone::clone(b.make).map_err(Error::Clone)? {
            Side::Parent(child) => {
                // With its ends open here we would never see that it has died.
                drop(inherited);
                making.child = Some(child);
            }
            Side::Child => {
                drop(ours);
                run(b, inherited)
            }
        }
    } else {
        match sys::clone::clone(0).map_err(Error::Clone)? {
            // It ends as soon as the child is there, which is ours and not its own.
            Side::Parent(helper) => {
                drop(inherited);
                making.child = Some(from_helper(b, &ours, helper)?);
            }
            Side::Child => {
                drop(ours);
                helper(b, inherited, &join)
            }
        }
    }
    drop(join);
    let pid = making.child.as_ref().ok_or(Error::Vanished)?.pid;
    b.ids
        .write(pid)
        .map_err(|(file, e)| Error::Init(Failure::new(Stage::IdMap, file, e)))?;
    steps.cloned(pid).map_err(parent("the control group"))?;
    let proceed = || {
        let word = FromParent::Proceed {
            pid: pid.as_raw_pid(),
        };
        ours.send(&word, None).map_err(parent("sendmsg"))
    };
    proceed()?;
    let mut terminal = None;
    loop {
        match ours.from_init().map_err(parent("recvmsg"))? {
            Received::Message(FromInit::Prepared, _) => {
                host_hooks(b, pid)?;
                proceed()?;
            }
            Received::Message(FromInit::Console, fd) => terminal = fd,
            Received::Message(FromInit::Ready, _) => break,
            Received::Message(FromInit::Failed(f), _) => return Err(failed(&b.plan.process, f)),
            _ => return Err(Error::Vanished),
        }
    }
    steps
        .created(pid, terminal)
        .map_err(parent("the state of the container"))?;
    proceed()?;
    let child = making.child.take().ok_or(Error::Vanished)?;
    Ok(Created {
        pid: child.pid,
        pidfd: child.pidfd,
    })
}

/// Let a created container go; returns when its program runs. `false`: nobody waits there.
pub fn start(program: &str, dir: BorrowedFd<'_>) -> Result<bool, Error> {
    let opened = gate::open(dir).map_err(|e| Error::Parent("the socket of the start", e))?;
    let Some(socket) = opened else {
        return Ok(false);
    };
    let heard = Channel::of(socket).from_init();
    match heard.map_err(|e| Error::Parent("recvmsg", e))? {
        Received::Closed => Ok(true),
        Received::Message(FromInit::Failed(f), _) => Err(Error::Init(f)),
        Received::ExecErrno(errno) => Err(Error::CannotExecute {
            program: program.to_owned(),
            source: io::Error::from_raw_os_error(errno),
        }),
        Received::Message(..) => Err(Error::Vanished),
    }
}

/// Hand a terminal to whoever listens on a console socket, which wants a name along (runc's docs/terminals.md).
pub fn send_terminal(console: BorrowedFd<'_>, master: BorrowedFd<'_>) -> io::Result<()> {
    Channel::of(console.try_clone_to_owned()?).send_bytes(
        b"/dev/ptmx",
        Some(master),
        SendFlags::NOSIGNAL,
    )
}

/// Whether a created container still waits.
pub fn is_waiting(dir: BorrowedFd<'_>) -> bool {
    gate::is_closed(dir)
}

/// A child that must not outlive a start that failed.
struct Making {
    child: Option<Child>,
}

impl Drop for Making {
    fn drop(&mut self) {
        if let Some(child) = &self.child {
            // Both fail only if it is gone already.
            let _ = pidfd_send_signal(&child.pidfd, Signal::KILL);
            let _ = waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED);
        }
    }
}

fn host_hooks(b: &Bundle, pid: Pid) -> Result<(), Error> {
    let state = b.state.json("creating", Some(pid.as_raw_pid()));
    let prestart = b.hooks.prestart.iter().map(|h| ("prestart", h));
    let create = b.hooks.create_runtime.iter().map(|h| ("createRuntime", h));
    for (kind, hook) in prestart.chain(create) {
        hooks::run(hook, &state, OwnExecutable::OutOfReach, || Ok(())).map_err(|e| {
            let what = format!("{kind} {}: {e}", hook.path.display());
            Error::Init(Failure::said(Stage::Hook, what))
        })?;
    }
    Ok(())
}

/// Who wants to be told of the filter, connected while its path is one of the host.
fn listener(path: &Path) -> Result<OwnedFd, Error> {
    connect_to(path).map_err(|e| {
        let what = format!("listenerPath {}", path.display());
        Error::Init(Failure::new(Stage::Confine, what, e))
    })
}

/// Somebody's Unix socket, by a path of the host.
pub fn connect_to(path: &Path) -> io::Result<OwnedFd> {
    let kind = SocketType::STREAM;
    let socket = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// Namespaces that are joined, the user's last: by their paths of now, whatever they lead to later.
fn open_namespaces(b: &Bundle) -> Result<Vec<(u64, OwnedFd)>, Error> {
    let open = |(flag, path): &(u64, std::path::PathBuf)| {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        openat(CWD, path, flags, Mode::empty())
            .map(|fd| (*flag, fd))
            .map_err(|e| {
                Error::Init(Failure::new(
                    Stage::Namespace,
                    path.display().to_string(),
                    e,
                ))
            })
    };
    let mut all = b.join.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    all.sort_by_key(|(flag, _)| *flag == libc::CLONE_NEWUSER as u64);
    Ok(all)
}

/// Join, and make the child in there: setns(2) for pids concerns children only, and the caller stays where it is, since
/// hooks are run there.
fn helper(b: &Bundle, inherited: Inherited, join: &[(u64, OwnedFd)]) -> ! {
    match joined(b, join) {
        Ok(Side::Child) => run(b, inherited),
        Ok(Side::Parent(child)) => {
            let _ = inherited
                .channel
                .send(&FromInit::Cloned, Some(child.pidfd.as_fd()));
        }
        Err(failure) => {
            let _ = inherited.channel.send(&FromInit::Failed(failure), None);
        }
    }
    sys::clone::exit_now(0)
}

fn joined(b: &Bundle, join: &[(u64, OwnedFd)]) -> Result<Side, Failure> {
    let enter = |(flag, fd): &(u64, OwnedFd)| sys::clone::enter(fd.as_fd(), *flag);
    // Those of the caller's own namespaces with its rights, what is refused with those of the user namespace.
    let mut later = Vec::new();
    for namespace in join {
        match enter(namespace) {
            Ok(()) => {}
            Err(e)
                if e.raw_os_error() == Some(libc::EPERM)
                    && namespace.0 != libc::CLONE_NEWUSER as u64 =>
            {
                later.push(namespace);
            }
            Err(e) => return Err(refused(b, namespace.0, e)),
        }
    }
    for namespace in later {
        enter(namespace).map_err(|e| refused(b, namespace.0, e))?;
    }
    sys::clone::clone(b.make | libc::CLONE_PARENT as u64)
        .map_err(|e| Failure::new(Stage::Namespace, "clone", e))
}

fn refused(b: &Bundle, flag: u64, e: io::Error) -> Failure {
    let path = b.join.iter().find(|(f, _)| *f == flag);
    let path = path.map(|(_, p)| p.display().to_string());
    Failure::new(
        Stage::Namespace,
        format!("setns({})", path.unwrap_or_default()),
        e,
    )
}

/// The child that a helper has made.
fn from_helper(b: &Bundle, ours: &Channel, helper: Child) -> Result<Child, Error> {
    let word = ours.from_init();
    let _ = waitid(WaitId::PidFd(helper.pidfd.as_fd()), WaitIdOptions::EXITED);
    match word.map_err(|e| Error::Parent("recvmsg", e))? {
        Received::Message(FromInit::Cloned, Some(pidfd)) => {
            let pid = pid(pidfd.as_fd()).map_err(|e| Error::Parent("fdinfo", e))?;
            let pid = pid.and_then(Pid::from_raw).ok_or(Error::Vanished)?;
            Ok(Child { pid, pidfd })
        }
        Received::Message(FromInit::Failed(f), _) => Err(failed(&b.plan.process, f)),
        _ => Err(Error::Vanished),
    }
}

/// Mounts that show other owners: made here, where the rights over their file systems are. mount_setattr(2).
fn idmapped(b: &Bundle) -> Result<Vec<(usize, OwnedFd)>, Error> {
    b.idmaps
        .iter()
        .map(|(index, ids)| {
            let m = &b.plan.mounts[*index];
            let go = || -> io::Result<OwnedFd> {
                let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
                if m.options.recursive {
                    flags |= OpenTreeFlags::AT_RECURSIVE;
                }
                let tree = open_tree(CWD, &m.source, flags)?;
                let namespace = user_namespace(ids)?;
                let depth = match m.options.idmap {
                    Some(true) => Depth::Recursive,
                    _ => Depth::One,
                };
                let map = Change {
                    idmap: Some(namespace.as_fd()),
                    ..Change::default()
                };
                change_attributes(tree.as_fd(), c"", depth, map)?;
                let one = Change {
                    add: m.options.attr,
                    ..Change::default()
                };
                change_attributes(tree.as_fd(), c"", Depth::One, one)?;
                let below = Change {
                    add: m.options.attr_below,
                    clear: m.options.clear_below,
                    propagation: u64::from(m.options.propagation) & !libc::MS_REC,
                    ..Change::default()
                };
                change_attributes(tree.as_fd(), c"", Depth::Recursive, below)?;
                Ok(tree)
            };
            let what = || format!("id-mapped {}", m.source.display());
            go().map(|tree| (*index, tree))
                .map_err(|e| Error::Init(Failure::new(Stage::Mount, what(), e)))
        })
        .collect()
}

/// A user namespace that is nothing but its map: of a child that waits until it is open.
fn user_namespace(ids: &Ids) -> io::Result<OwnedFd> {
    let (ours, theirs) = Channel::pair()?;
    let child = match sys::clone::clone(libc::CLONE_NEWUSER as u64)? {
        Side::Parent(child) => Making { child: Some(child) },
        Side::Child => {
            drop(ours);
            let _ = theirs.from_parent();
            sys::clone::exit_now(0)
        }
    };
    let pid = child.child.as_ref().map_or(Pid::INIT, |c| c.pid);
    ids.write(pid).map_err(|(_, e)| e)?;
    let path = format!("/proc/{}/ns/user", pid.as_raw_pid());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::empty())?)
}
