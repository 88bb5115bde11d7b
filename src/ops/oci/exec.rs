//! `exec ID`: a further program in a container.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::PathBuf;

use super::create::{console, descriptors, settings, write_pid};
use super::{Error, Runtime, Status, state};
use crate::monitor::{self, Signals};
use crate::runtime::bundle::{self, Bundle, Changes, Process};
use crate::runtime::{self, Running};

/// What it is to be.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Name of the container.
    pub id: String,
    /// A file with a whole process, or ...
    pub process: Option<PathBuf>,
    /// ... the container's own, changed.
    pub changes: Changes,
    /// Leave it running, and return.
    pub detach: bool,
    /// Who gets the terminal.
    pub console_socket: Option<PathBuf>,
    /// Where its process id is written.
    pub pid_file: Option<PathBuf>,
    /// Descriptors to hand on, from 3.
    pub preserve_fds: u32,
    /// A paused container is no error: the program waits.
    pub ignore_paused: bool,
}

/// Run it. Returns its code, 0 if it was left running.
pub fn exec(runtime: &Runtime, o: &Options) -> Result<u8, Error> {
    let (preserve_fds, env) = descriptors(o.preserve_fds)?;
    let container = runtime.containers.open(&o.id)?;
    let record = container.known()?;
    let refuse = |status: Status| Error::Status {
        verb: "exec in",
        id: o.id.clone(),
        status: status.word(),
    };
    match state::current(&container, Some(&record)) {
        Status::Running => {}
        Status::Paused if o.ignore_paused => {}
        // Its first process is still of our own file, and nobody shall see that from within (CVE-2019-5736). With root
        // it cannot be looked into.
        Status::Created if rustix::process::geteuid().is_root() => {}
        Status::Stopped => return Err(Error::NotRunning(o.id.clone())),
        other => return Err(refuse(other)),
    }
    let pidfd = record
        .pidfd()
        .ok_or_else(|| Error::NotRunning(o.id.clone()))?;
    let config = container.config()?;
    let wanted = match &o.process {
        Some(path) => {
            let text = std::fs::read(path).map_err(|e| Error::Read(path.clone(), e))?;
            Process::parse(&text).map_err(|e| Error::Config(path.clone(), e))?
        }
        None => {
            let own = config.process().cloned().unwrap_or_default();
            own.changed(&o.changes)
        }
    };
    if wanted.has_affinity() {
        return Err(Error::Unsupported(
            "execCPUAffinity",
            "processors are those of the container",
        ));
    }
    match (&o.console_socket, wanted.terminal) {
        (None, true) if o.detach => return Err(Error::NoConsoleSocket),
        (Some(_), false) => return Err(Error::ConsoleSocket),
        _ => {}
    }
    let console = o.console_socket.as_deref().map(console).transpose()?;
    let mut running = Running::look(pidfd.as_fd())?;
    running.cgroups.extend(record.cgroup.clone());
    let settings = settings(o.id.clone(), record.state.bundle.clone(), preserve_fds, env);
    let enters = running.other_user_namespace();
    let (process, notify) =
        Bundle::further(&config, &wanted, &settings, enters).map_err(runtime::Error::from)?;
    let signals = match o.detach {
        true => None,
        false => Some(Signals::block().map_err(Error::Signals)?),
    };
    let mut supervise = |listener: BorrowedFd<'_>, process: BorrowedFd<'_>| {
        let pid = runtime::pid(process)?.unwrap_or(0);
        let state = record.state.json("running", record.state.pid);
        match &notify {
            Some(notify) => notify.tell(listener, state, pid),
            None => Ok(()),
        }
    };
    let started = runtime::exec(&process, &running, &mut supervise)?;
    if let (Some(console), Some(master)) = (&console, &started.terminal) {
        bundle::send_terminal(console.as_fd(), master.as_fd())
            .map_err(|e| Error::file("use", std::path::Path::new("the console socket"), e))?;
    }
    if let Some(path) = &o.pid_file {
        write_pid(path, started.pid)?;
    }
    let Some(signals) = signals else {
        return Ok(0);
    };
    let started = runtime::Started {
        terminal: started.terminal.filter(|_| console.is_none()),
        // Its processes are the container's, and end with it.
        own_pids: true,
        ..started
    };
    Ok(monitor::watch(&started, &signals, true, None, None)?.exit_code())
}
