//! The parent: start the child, answer what it asks for, and know when the program runs.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::channel::{Channel, FromInit, FromParent, Received};
use super::plan::Plan;
use super::process::Process;
use super::{Error, Failure, Stage, init};
use crate::emulate::{self, Supervisor};
use crate::rootfs::{Root, fuse_arguments};
use crate::sys;
use crate::sys::clone::{Child, Side};

/// A container whose program runs.
#[derive(Debug)]
pub struct Started {
    /// Its first process, as seen from outside.
    pub pid: Pid,
    /// The same, as a descriptor: readable once it has ended.
    pub pidfd: OwnedFd,
    /// Master end of its terminal, if it has one.
    pub terminal: Option<OwnedFd>,
    /// Whether it has a pid namespace, so that all its processes end with the first.
    pub own_pids: bool,
    /// Who answers for its users and owners. If it ends before the container, the container must end.
    pub supervisor: Option<Supervisor>,
}

/// Start the container. The caller has one thread, and has blocked the signals that it wants to
/// handle itself. Returns when the program runs, or with the reason why it does not; then no process
/// is left.
pub fn spawn(plan: &Plan) -> Result<Started, Error> {
    let first = attempt(plan);
    if let Err(Error::Init(f)) = &first
        && (f.stage, f.errno) == (Stage::Proc, libc::EPERM)
        && let Some(plan) = plan.with_outer_proc()
    {
        // Only where an outer container masks its /proc: the next rung of the ladder.
        // Nothing but we will end the other processes of such a container.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .map_err(|e| Error::Parent("prctl", e.into()))?;
        return attempt(&plan);
    }
    first
}

fn attempt(plan: &Plan) -> Result<Started, Error> {
    let (ours, theirs) = Channel::pair().map_err(|e| Error::Parent("socketpair", e))?;
    // Before the child, whose exec it has to answer while we sleep.
    let mut supervising = Starting::default();
    let (mut socket, mut further) = (None, None);
    if let Some(setup) = &plan.supervisor {
        let report = |begun, call: &'static str, e| {
            // There is another way only as long as the program has done nothing.
            let stage = if begun {
                Stage::Supervise
            } else {
                Stage::Identity
            };
            let failure = Failure::new(stage, call, e);
            let _ = theirs.send(&FromInit::Failed(failure), None);
        };
        let (supervisor, end) =
            emulate::start(setup, theirs.fd(), report).map_err(|e| Error::Parent("fork", e))?;
        supervising.child = Some(supervisor.process);
        further = Some(supervisor.socket);
        socket = Some(end);
    }
    let socket_fd = socket.as_ref().map(AsFd::as_fd);
    let child = match plan.root {
        // The child asks us for something while it sets up: both must be awake.
        Root::Fuse(_) => match sys::clone::clone(plan.namespaces).map_err(Error::Clone)? {
            Side::Child => init::run(plan, &theirs, ours.fd(), socket_fd),
            Side::Parent(child) => child,
        },
        // No copy of our memory: a good part of the cost of a start. What the child says meanwhile
        // waits in the channel.
        _ => sys::clone::clone_borrowing(plan.namespaces, || {
            init::run(plan, &theirs, ours.fd(), socket_fd)
        })
        .map_err(Error::Clone)?,
    };
    drop(theirs);
    drop(socket);
    let mut starting = Starting { child: Some(child) };
    let mut terminal = None;
    loop {
        let pidfd = starting.pidfd()?;
        match ours.from_init().map_err(|e| Error::Parent("recvmsg", e))? {
            Received::Message(FromInit::NeedFuse, fuse) => {
                serve_fuse(plan, pidfd, fuse.ok_or(Error::Vanished)?)?;
                ours.send(&FromParent::Go, None)
                    .map_err(|e| Error::Parent("sendmsg", e))?;
            }
            Received::Message(FromInit::Console, fd) => terminal = fd,
            Received::Message(FromInit::Failed(f), _) => return Err(failed(&plan.process, f)),
            Received::ExecErrno(errno) => {
                let failure = Failure {
                    stage: Stage::Exec,
                    what: String::new(),
                    errno,
                };
                return Err(failed(&plan.process, failure));
            }
            Received::Closed => break,
            Received::Message(..) => return Err(Error::Vanished),
        }
    }
    let child = starting.child.take().ok_or(Error::Vanished)?;
    Ok(Started {
        pid: child.pid,
        pidfd: child.pidfd,
        terminal,
        own_pids: plan.has(libc::CLONE_NEWPID),
        supervisor: supervising
            .child
            .take()
            .zip(further)
            .map(|(process, socket)| Supervisor { process, socket }),
    })
}

/// A child that must not outlive a failed start.
#[derive(Default)]
pub(super) struct Starting {
    pub child: Option<Child>,
}

impl Starting {
    pub(super) fn pidfd(&self) -> Result<BorrowedFd<'_>, Error> {
        Ok(self.child.as_ref().ok_or(Error::Vanished)?.pidfd.as_fd())
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(child) = &self.child {
            // Both fail only if it is gone already.
            let _ = rustix::process::pidfd_send_signal(&child.pidfd, rustix::process::Signal::KILL);
            let _ = waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED);
        }
    }
}

/// The exit code depends on where and how the start failed, never on a text.
pub(super) fn failed(process: &Process, f: Failure) -> Error {
    let program = || {
        process
            .args
            .first()
            .map(|a| a.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    match (f.stage, f.errno) {
        (Stage::Find | Stage::Exec, libc::ENOENT | libc::ENOTDIR) => Error::NotFound(program()),
        (Stage::Find | Stage::Exec, _) => Error::CannotExecute {
            program: program(),
            source: f.source(),
        },
        _ => Error::Init(f),
    }
}

/// Run fuse-overlayfs on the descriptor of a mount that the child has made, in the child's user
/// namespace: it then sees the owners that the container sees. The program puts itself in the
/// background, and ends when the mount does.
fn serve_fuse(plan: &Plan, pidfd: BorrowedFd<'_>, fuse: OwnedFd) -> Result<(), Error> {
    let Root::Fuse(stack) = &plan.root else {
        return Err(Error::Vanished);
    };
    // libfuse takes a mount that is there already by this name.
    let target = format!("/dev/fd/{}", fuse.as_raw_fd());
    let mut command = Command::new("fuse-overlayfs");
    command
        .args(fuse_arguments(stack, Path::new(&target)))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let output = sys::exec::in_namespaces(&mut command, pidfd, libc::CLONE_NEWUSER as u64, fuse)
        .and_then(std::process::Child::wait_with_output)
        .map_err(|e| Error::FuseOverlayfs(e.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::FuseOverlayfs(said.trim().to_owned()))
}
