//! A further process in a container that runs: the parent's side. `init::join` is the other one.
//!
//! ```no_run
//! # use coracle::runtime::{Process, Running, exec};
//! # fn example(process: &Process, pidfd: std::os::fd::BorrowedFd<'_>) -> Result<(), Box<dyn std::error::Error>> {
//! let container = Running::look(pidfd)?;
//! let started = exec(process, &container, &mut |_listener, _process| Ok(()))?;
//! # Ok(()) }
//! ```

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Pid, PidfdFlags, WaitId, WaitIdOptions, dumpable_behavior, pidfd_open, set_dumpable_behavior,
    waitid,
};

use super::channel::{Channel, FromInit, Received};
use super::process::Process;
use super::running::{NEWTIME, Running};
use super::spawn::{Starting, failed};
use super::{Error, Failure, Stage, Started, init};
use crate::sys;
use crate::sys::clone::{Child, Side};

/// Who makes a supervisor answer for a process: its listener and a pidfd of it.
pub type Supervise<'a> = dyn FnMut(BorrowedFd<'_>, BorrowedFd<'_>) -> io::Result<()> + 'a;

/// Start a further process. It is a child of the caller, who has one thread and has blocked the signals that it
/// wants to handle itself. Returns when the program runs, or with the reason why it does not; then no process is
/// left.
///
/// `supervise` is called once if the container's identities are emulated ([`Process::identity`]), before the
/// program begins.
///
/// # Errors
/// As [`spawn`](super::spawn()); [`Error::Ended`] when the container ends meanwhile.
pub fn exec(
    process: &Process,
    container: &Running<'_>,
    supervise: &mut Supervise<'_>,
) -> Result<Started, Error> {
    let at = |call: &'static str| move |e: rustix::io::Errno| Error::Parent(call, e.into());
    let (ours, theirs) = Channel::pair().map_err(|e| Error::Parent("socketpair", e))?;
    // A way of its own for the number, which nobody in the container ever holds.
    let (number, tell) = pipe_with(PipeFlags::CLOEXEC).map_err(at("pipe"))?;
    // Where the namespaces include that of mounts, entering it leads to its root.
    let root = match container.has(libc::CLONE_NEWNS) {
        true => None,
        false => Some(
            container
                .root()
                .map_err(|e| Error::Parent("/proc/PID/root", e))?,
        ),
    };
    let into = init::join::Into {
        container,
        root: root.as_ref().map(AsFd::as_fd),
        tell: tell.as_fd(),
    };
    let run = || -> ! { init::join::run(process, &into, &theirs, [ours.fd(), number.as_fd()]) };
    // The kernel lets nobody into a time namespace who shares memory.
    let between = if container.has(NEWTIME) {
        match sys::clone::clone(0).map_err(Error::Clone)? {
            Side::Child => run(),
            Side::Parent(child) => child,
        }
    } else {
        // It makes itself unreadable, and while it shares our memory that is us.
        let dumpable = dumpable_behavior().map_err(at("prctl"))?;
        let child = sys::clone::clone_borrowing(0, || run()).map_err(Error::Clone);
        set_dumpable_behavior(dumpable).map_err(at("prctl"))?;
        child?
    };
    drop((theirs, tell));
    let mut starting = Starting::default();
    starting.child = child(number.as_fd()).map_err(at("pidfd_open"))?;
    waitid(WaitId::PidFd(between.pidfd.as_fd()), WaitIdOptions::EXITED).map_err(at("waitid"))?;
    let mut terminal = None;
    loop {
        match ours.from_init().map_err(|e| Error::Parent("recvmsg", e))? {
            Received::Message(FromInit::Console, fd) if terminal.is_none() => terminal = fd,
            Received::Message(FromInit::Listener, Some(listener))
                if process.identity.is_some()
                    || process.filter.as_ref().is_some_and(|f| f.listener) =>
            {
                let pidfd = starting.pidfd()?;
                supervise(listener.as_fd(), pidfd).map_err(|e| match container.has_ended() {
                    true => Error::Ended,
                    false => Error::Unsupervised(e),
                })?;
            }
            Received::Message(FromInit::Failed(f), _) => return Err(failed(process, f)),
            Received::Message(..) => return Err(Error::Vanished),
            Received::ExecErrno(errno) => {
                let failure = Failure {
                    stage: Stage::Exec,
                    what: String::new(),
                    errno,
                };
                return Err(failed(process, failure));
            }
            Received::Closed => break,
        }
    }
    let child = starting.child.take().ok_or(Error::Vanished)?;
    Ok(Started {
        pid: child.pid,
        pidfd: child.pidfd,
        terminal,
        own_pids: container.own_pids(),
        supervisor: None,
    })
}

/// The process that was made, if one was. It is our child, so its number stays its own until we wait for it.
fn child(number: BorrowedFd<'_>) -> rustix::io::Result<Option<Child>> {
    let mut bytes = [0; 4];
    let n = rustix::io::retry_on_intr(|| rustix::io::read(number, &mut bytes))?;
    let Some(pid) = Pid::from_raw(i32::from_ne_bytes(bytes)).filter(|_| n == bytes.len()) else {
        return Ok(None);
    };
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    Ok(Some(Child { pid, pidfd }))
}
