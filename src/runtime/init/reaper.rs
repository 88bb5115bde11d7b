//! `--init`: a process 1 that reaps orphans and hands signals on to the program, its child.

use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::process::{DumpableBehavior, set_dumpable_behavior, setsid};

use super::{Context as _, Plan, Result, Stage};
use crate::sys;
use crate::sys::clone::Side;

/// With `--init`, fork: the child goes on to become the program, the parent stays as process 1 and
/// never returns.
pub(super) fn split(plan: &Plan) -> Result<()> {
    if !plan.init {
        return Ok(());
    }
    // Process 1 keeps running our own executable, which under one uid the container could write. Not
    // being dumpable closes /proc/1/exe to everyone without CAP_SYS_PTRACE in the namespace that we
    // came from (ptrace(2)).
    set_dumpable_behavior(DumpableBehavior::NotDumpable).at(Stage::Confine, || "prctl".into())?;
    let all = SigSet::all();
    all.thread_block()
        .at(Stage::Confine, || "sigprocmask".into())?;
    match sys::clone::clone(0).at(Stage::Confine, || "fork(init)".into())? {
        Side::Parent(child) => {
            let code = serve(Pid::from_raw(child.pid.as_raw_pid()), &all);
            sys::clone::exit_now(code)
        }
        Side::Child => {
            SigSet::empty()
                .thread_set_mask()
                .at(Stage::Confine, || "sigprocmask".into())?;
            setsid().at(Stage::Confine, || "setsid".into())?;
            Ok(())
        }
    }
}

/// Until the program ends; returns the exit code to pass on, 128+n for a signal.
fn serve(program: Pid, all: &SigSet) -> i32 {
    // Nothing of the caller's stays open here: a pipe that a reader waits on must end with the program.
    let last = u32::MAX;
    let _ = sys::exec::close_from(0, last);
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
                Ok(WaitStatus::Exited(pid, code)) if pid == program => return code,
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == program => {
                    return 128 + signal as i32;
                }
                Ok(WaitStatus::StillAlive) | Err(_) => break,
                Ok(_) => {}
            }
        }
    }
}
