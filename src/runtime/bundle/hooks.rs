//! Programs of the caller's that are run along with a container: the state on standard input, nothing of our
//! environment, and a limit of time. runtime-spec, config.md "POSIX-platform Hooks".

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use super::config::Hook;
use crate::sys;
use crate::sys::clone::Side;
use crate::sys::exec::OwnExecutable;

/// As much of what a hook says is told when it fails.
const SAID_MAX: u64 = 2048;

/// Why a hook failed.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// It was not started.
    #[error("it cannot be run: {0}")]
    Start(#[from] io::Error),
    /// It said that it failed.
    #[error("it {how}{}{said}", if .said.is_empty() { "" } else { ": " })]
    Failed {
        /// With what code, or by what signal.
        how: String,
        /// The end of its output.
        said: String,
    },
    /// It took too long.
    #[error("it did not end within {0} s, and was killed")]
    TimedOut(u64),
}

/// Run one. `before` is what its process does first: nothing, or giving up what the container must not have.
/// `own`: whether our own file must be out of its reach.
pub(in crate::runtime) fn run(
    hook: &Hook,
    state: &[u8],
    own: OwnExecutable,
    before: impl FnOnce() -> io::Result<()>,
) -> Result<(), HookError> {
    let mut input = memory()?;
    input.write_all(state)?;
    input.rewind()?;
    let mut output = memory()?;
    let (told, tell) = pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from)?;
    let child = match sys::clone::clone(0)? {
        Side::Parent(child) => child,
        Side::Child => {
            drop(told);
            let error = become_hook(hook, [&input, &output], &tell, own, before);
            sys::exec::report_errno(&tell, &error);
            sys::clone::exit_now(127)
        }
    };
    drop(tell);
    let mut errno = [0; 4];
    let started = match File::from(told).read(&mut errno) {
        Ok(4) => Err(io::Error::from_raw_os_error(i32::from_ne_bytes(errno))),
        _ => Ok(()),
    };
    let ended = wait(&child.pidfd, hook.timeout.filter(|_| started.is_ok()));
    started?;
    let how = match ended? {
        None => return Err(HookError::TimedOut(hook.timeout.unwrap_or(0))),
        Some(status) => match (status.exit_status(), status.terminating_signal()) {
            (Some(0), _) => return Ok(()),
            (Some(code), _) => format!("exited with code {code}"),
            (_, signal) => format!("was ended by signal {}", signal.unwrap_or(0)),
        },
    };
    let mut said = Vec::new();
    let length = output.stream_position()?;
    output.seek(io::SeekFrom::Start(length.saturating_sub(SAID_MAX)))?;
    output.take(SAID_MAX).read_to_end(&mut said)?;
    Err(HookError::Failed {
        how,
        said: String::from_utf8_lossy(&said).trim().to_owned(),
    })
}

fn memory() -> io::Result<File> {
    Ok(rustix::fs::memfd_create(c"hook", MemfdFlags::CLOEXEC)?.into())
}

fn become_hook(
    hook: &Hook,
    [input, output]: [&File; 2],
    tell: &OwnedFd,
    own: OwnExecutable,
    before: impl FnOnce() -> io::Result<()>,
) -> io::Error {
    let go = || -> io::Result<sys::exec::Prepared> {
        rustix::stdio::dup2_stdin(input)?;
        rustix::stdio::dup2_stdout(output)?;
        rustix::stdio::dup2_stderr(output)?;
        sys::clone::default_signals();
        nix::sys::signal::SigSet::empty().thread_set_mask()?;
        sys::exec::cloexec_range(3, u32::MAX)?;
        before()?;
        let path = CString::new(hook.path.as_os_str().as_bytes())?;
        let strings = |list: &[String]| {
            let list = list.iter().map(|s| CString::new(s.as_str()));
            list.collect::<Result<Vec<_>, _>>()
        };
        let mut args = strings(&hook.args)?;
        if args.is_empty() {
            args.push(path.clone());
        }
        sys::exec::prepare(path, args, strings(&hook.env)?, tell.as_fd(), own)
    };
    match go() {
        Ok(program) => program.exec(0),
        Err(e) => e,
    }
}

/// Its end; `None` if it had to be killed.
fn wait(pidfd: &OwnedFd, limit: Option<u64>) -> io::Result<Option<rustix::process::WaitIdStatus>> {
    let limit = limit.map(|seconds| Timespec {
        tv_sec: i64::try_from(seconds).unwrap_or(i64::MAX),
        tv_nsec: 0,
    });
    let mut ended = [PollFd::new(pidfd, PollFlags::IN)];
    let in_time = loop {
        match poll(&mut ended, limit.as_ref()) {
            Err(Errno::INTR) => {}
            other => break other? > 0,
        }
    };
    if !in_time {
        pidfd_send_signal(pidfd, Signal::KILL)?;
    }
    let status = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)?;
    Ok(status.filter(|_| in_time))
}
