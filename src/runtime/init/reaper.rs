//! `--init`: process 1 of the container is a small program that starts the real one, reaps orphans and
//! hands signals on, as docker-init does.
//!
//! It is a copy of our own executable in memory: the file itself must never be reachable as
//! `/proc/1/exe` by a container that, under one uid, could write to it (CVE-2019-5736). It runs with
//! the container's capabilities and filter, like everything in there.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::process::{getpid, setpgid};
use rustix::stdio::stdin;
use rustix::termios::{isatty, tcsetpgrp};

use super::{Context as _, Result, Stage};
use crate::runtime::channel::Channel;
use crate::sys;
use crate::sys::clone::Side;
use crate::sys::exec::Prepared;

/// argv[0] by which the executable knows that it is to be the init of a container.
pub(crate) const NAME: &str = "coracle-init";

/// Ready to become process 1, which will execute `path` with `argv`.
pub(super) fn prepare(
    path: CString,
    argv: Vec<CString>,
    env: Vec<CString>,
    channel: &Channel,
) -> Result<Prepared> {
    let report = channel.fd().as_raw_fd().to_string();
    let words = [CString::new(NAME), CString::new(report), Ok(path)]
        .into_iter()
        .chain(argv.into_iter().map(Ok))
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(std::io::Error::from)
        .at(Stage::Exec, || NAME.to_owned())?;
    // It reports, by that number, whether its program could be executed.
    rustix::io::fcntl_setfd(channel.fd(), rustix::io::FdFlags::empty())
        .at(Stage::Exec, || "fcntl".into())?;
    sys::exec::prepare_self(words, env).at(Stage::Exec, || "memfd".into())
}

/// `main` of that process: `args` are the descriptor to report on, the program, and its argv.
pub(crate) fn main(args: &[CString]) -> u8 {
    let [report, path, argv @ ..] = args else {
        return 125;
    };
    let Some(report) = report
        .to_str()
        .ok()
        .and_then(|n| sys::exec::inherited(n.parse().ok()?))
    else {
        return 125;
    };
    let all = SigSet::all();
    if all.thread_block().is_err() {
        return 125;
    }
    let program = match sys::clone::clone(0) {
        Err(e) => {
            sys::exec::report_errno(&report, &e);
            return 125;
        }
        Ok(Side::Child) => become_program(path, argv, &report),
        Ok(Side::Parent(child)) => Pid::from_raw(child.pid.as_raw_pid()),
    };
    drop(report);
    // Nothing of the container's stays open here: a pipe that somebody reads to its end must end with
    // the program.
    let _ = sys::exec::close_from(0, u32::MAX);
    serve(program, &all)
}

fn become_program(path: &CStr, argv: &[CString], report: &OwnedFd) -> ! {
    // Its own process group, in front if there is a terminal: what a shell expects to be.
    let front = || -> std::io::Result<()> {
        setpgid(None, None)?;
        if isatty(stdin()) {
            // Signals are still blocked: this call from the background would stop us (SIGTTOU).
            tcsetpgrp(stdin(), getpid())?;
        }
        SigSet::empty().thread_set_mask()?;
        Ok(())
    };
    let error = match front() {
        Ok(()) => sys::exec::exec(path, argv),
        Err(e) => e,
    };
    sys::exec::report_errno(report, &error);
    sys::clone::exit_now(127)
}

/// Until the program ends; returns the exit code to pass on, 128+n for a signal.
fn serve(program: Pid, all: &SigSet) -> u8 {
    loop {
        match all.wait() {
            Ok(Signal::SIGCHLD) => {}
            Ok(signal) => {
                let _ = kill(program, signal);
                continue;
            }
            Err(_) => continue,
        }
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == program => return code as u8,
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == program => {
                    return 128 + signal as u8;
                }
                Ok(WaitStatus::StillAlive) | Err(_) => break,
                Ok(_) => {}
            }
        }
    }
}
