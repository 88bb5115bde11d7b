//! The monitor of a container that runs in the background: a small process of its own, this program executed anew.
//!
//! ```text
//! command line                              monitor
//!   | executes it; socket by its number ---->  |
//!   | Job + descriptor of the lock ---------->  |  it leads a session of its own
//!   |                                          |  starts the container
//!   | <-------- Report: it runs, or why not -- |
//!   | ends, or is attached over the same socket
//! ```
//!
//! The lock of the container goes with its descriptor from one to the other, so there is no moment in which it has
//! no owner. The container dies with its monitor (`PR_SET_PDEATHSIG`), which nothing else than SIGKILL ends early.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal as NixSignal};
use serde::{Deserialize, Serialize};

use super::events::{self, Action, Event};
use super::progress::Progress;
use super::run::{self, Options, Source};
use super::state::{State, Status};
use super::{Error, Store, open_store, update};
use crate::monitor::{
    self, Around, Checks, Control, Ended, Ends, HealthState, Record, Restart, Signals, log, packet,
};
use crate::runtime::WindowSize;
use crate::store::{ContainerDir, ContainerEntry};
use crate::sys::exec::inherited;

/// First argument of a process that is one.
pub(crate) const NAME: &str = "coracle-monitor";

/// What the monitor has to do.
#[derive(Debug, Serialize, Deserialize)]
struct Job {
    root: PathBuf,
    additional: Vec<PathBuf>,
    id: String,
    /// Nothing of it shall be left if it does not start.
    fresh: bool,
    how: How,
}

/// How a container is started.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct How {
    /// The caller takes part in its streams from the beginning.
    pub attach: bool,
    /// The caller has input for it.
    pub input: bool,
    /// Rows and columns of its terminal.
    pub window: (u16, u16),
}

/// What became of it.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Report {
    pid: i32,
    warnings: Vec<String>,
    failure: Option<Told>,
}

/// An error of another process.
#[derive(Debug, Serialize, Deserialize)]
pub struct Told {
    /// What failed, and why.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The exit code for it.
    pub code: u8,
}

impl Told {
    fn of(e: &Error) -> Self {
        Self {
            message: e.whole(),
            hint: e.hint(),
            code: e.exit_code(),
        }
    }
}

/// A container that runs in the background.
pub(super) struct Running {
    /// Its first process.
    pub pid: i32,
    /// The connection to its monitor, if the caller is attached.
    pub client: monitor::Client,
}

/// Tell whoever leaves a container behind that it will not be there for long, and what to do about it.
pub(super) fn warn_of_logout(progress: &dyn Progress) {
    if let Some(mortal) = crate::host::dies_at_logout() {
        progress.warn(&format!("{} ({})", mortal.reason, mortal.hint));
    }
}

/// Start the monitor of a container that we have locked, and wait until its program runs. `fresh`: nothing of it is
/// left if that fails.
pub(super) fn start(
    store: &Store,
    container: ContainerDir,
    fresh: bool,
    how: How,
    progress: &dyn Progress,
) -> Result<Running, Error> {
    let failed = |e: io::Error| Error::Prepare(e);
    let (ours, theirs) = packet::pair().map_err(|e| failed(e.into()))?;
    // There is no other thread that could execute something meanwhile.
    rustix::io::fcntl_setfd(&theirs, rustix::io::FdFlags::empty()).map_err(|e| failed(e.into()))?;
    // Its parent is not us for long, and nobody waits for it: its end is seen by the lock.
    Command::new("/proc/self/exe")
        .arg0(NAME)
        .arg(container.id())
        .arg(theirs.as_raw_fd().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    drop(theirs);
    let job = Job {
        root: store.root().to_owned(),
        additional: store
            .additional()
            .iter()
            .map(|a| a.root().to_owned())
            .collect(),
        id: container.id().to_owned(),
        fresh,
        how,
    };
    let job = serde_json::to_vec(&job).map_err(|e| failed(e.into()))?;
    packet::send(&ours, &[&job], &[container.as_fd()], true).map_err(|e| failed(e.into()))?;
    // The monitor has it now.
    drop(container);
    let mut buffer = vec![0; packet::MAX];
    let (n, _) = packet::receive(&ours, &mut buffer, true).map_err(|e| failed(e.into()))?;
    if n == 0 {
        return Err(Error::MonitorVanished);
    }
    let report: Report = serde_json::from_slice(&buffer[..n]).map_err(|e| failed(e.into()))?;
    for warning in &report.warnings {
        progress.warn(warning);
    }
    match report.failure {
        Some(told) => Err(Error::Told(told)),
        None => Ok(Running {
            pid: report.pid,
            client: ours.into(),
        }),
    }
}

/// The whole life of a monitor: `args` are its container's id and the number of the socket.
pub(crate) fn main(mut args: impl Iterator<Item = OsString>) -> u8 {
    let number = args.nth(1).and_then(|n| n.to_str()?.parse().ok());
    let Some(caller) = number.and_then(inherited) else {
        return 125;
    };
    let mut buffer = vec![0; packet::MAX];
    let Ok((n, fds)) = packet::receive(&caller, &mut buffer, true) else {
        return 125;
    };
    let (Ok(job), Some(lock)) = (
        serde_json::from_slice::<Job>(&buffer[..n]),
        fds.into_iter().next(),
    ) else {
        return 125;
    };
    drop(buffer);
    // No terminal of the caller's, and no directory that somebody may want to unmount.
    let _ = rustix::process::setsid();
    let _ = rustix::process::chdir("/");
    let _ = rustix::thread::set_name(c"coracle-monitor");
    // A log that reaches a limit of the caller's is no reason to end the container: write(2) then says EFBIG.
    let mut limits = SigSet::empty();
    limits.add(NixSignal::SIGXFSZ);
    let _ = limits.thread_block();
    let mut reporter = Reporter(Some(caller));
    match Monitor::new(&job, lock).and_then(|monitor| monitor.run(&job, &mut reporter)) {
        Ok(()) => 0,
        Err(e) => {
            reporter.tell(&Report {
                failure: Some(Told::of(&e)),
                ..Report::default()
            });
            e.exit_code()
        }
    }
}

/// Who waits for the container to run, until that is known.
struct Reporter(Option<OwnedFd>);

impl Reporter {
    /// The caller, who may want to stay.
    fn tell(&mut self, report: &Report) -> Option<OwnedFd> {
        let caller = self.0.take()?;
        let json = serde_json::to_vec(report).unwrap_or_default();
        // A caller who is gone does not want to know.
        packet::send(&caller, &[&json], &[], true).ok()?;
        Some(caller)
    }
}

/// Warnings, for the caller.
#[derive(Default)]
struct Warnings(Mutex<Vec<String>>);

impl Progress for Warnings {
    fn warn(&self, message: &str) {
        if let Ok(mut all) = self.0.lock() {
            all.push(message.to_owned());
        }
    }
}

struct Monitor {
    store: Store,
    entry: ContainerEntry,
    container: ContainerDir,
    o: Options,
    state: State,
    signals: Signals,
    control: Control,
    /// Somebody wished for the container's end.
    stopping: bool,
    /// Somebody ends us: it is not for us to start the container again, but for `start --all`.
    leaving: bool,
}

impl Monitor {
    fn new(job: &Job, lock: OwnedFd) -> Result<Self, Error> {
        let store = open_store(Some(&job.root), &job.additional)?;
        let entry = store.containers().find(&job.id)?;
        let container = store.containers().adopt(&entry, lock);
        let o = store.containers().options(&entry)?;
        let state = State::read(&store, &entry)?.unwrap_or_default();
        Ok(Self {
            o: o.ok_or_else(|| Error::NotStartable(job.id.clone()))?,
            state: State {
                restarts: 0,
                ..state
            },
            signals: Signals::block().map_err(Error::Prepare)?,
            control: Control::default(),
            stopping: false,
            leaving: false,
            store,
            entry,
            container,
        })
    }

    fn run(mut self, job: &Job, reporter: &mut Reporter) -> Result<(), Error> {
        if let Err(e) = self.lives(job, reporter) {
            let e = run::explained(e);
            if job.fresh {
                let _ = run::discard(&self.store, self.container, &self.o.volumes);
                return Err(e);
            }
            self.state.end(e.exit_code());
            self.state.error = Some(e.whole());
            let _ = self.state.write(&self.container);
            return Err(e);
        }
        // Who comes now starts it anew, with another socket. Only then are those told who wait for the end: they
        // may want to remove it.
        let code = self.state.exit_code.unwrap_or_default();
        self.control.close(self.container.as_fd());
        if self.o.remove {
            let event = events::of_container(&self.store, &self.entry, Action::Remove);
            run::discard(&self.store, self.container, &self.o.volumes)?;
            events::record(&self.store, &event);
        } else {
            drop(self.container);
        }
        self.control.ended(code);
        Ok(())
    }

    /// From one life to the next, as long as its policy says so. An error: it did not start the first time.
    fn lives(&mut self, job: &Job, reporter: &mut Reporter) -> Result<(), Error> {
        self.control
            .open(self.container.as_fd())
            .map_err(Error::Prepare)?;
        let path = self.container.log();
        let mut log = match self.o.keep.log.driver {
            log::Driver::K8sFile => Some(log::Writer::open(&path, self.o.keep.log.limits)),
            log::Driver::None => None,
        }
        .transpose()
        .map_err(|e| Error::file("open", &path, e))?;
        let mut pause = Duration::ZERO;
        loop {
            let began = Instant::now();
            let code = match self.life(job, reporter, log.as_mut()) {
                Ok(ended) => ended.exit_code(),
                Err(e) if self.state.restarts == 0 => return Err(e),
                Err(e) => {
                    self.state.error = Some(e.whole());
                    e.exit_code()
                }
            };
            self.state.end(code);
            events::happened_to(
                &self.store,
                &self.container,
                |e| e.ended(code),
                Action::Died,
            );
            self.state.stopped = self.stopping;
            let ends = self.stopping || self.leaving;
            let again = !ends && self.o.keep.restart.again(code, self.state.restarts);
            if again {
                self.state.status = Status::Restarting;
            }
            self.state.write(&self.container)?;
            if !again {
                return Ok(());
            }
            self.control.ended(code);
            pause = monitor::pause(pause, began.elapsed());
            let end = Instant::now() + pause;
            let mut record = Recorder {
                store: &self.store,
                entry: &self.entry,
                state: &mut self.state,
                container: &self.container,
                restart: &mut self.o.keep.restart,
            };
            monitor::idle(
                &mut self.control,
                &self.signals,
                end,
                &mut record,
                &mut self.stopping,
                &mut self.leaving,
            );
            if self.stopping || self.leaving {
                self.state.status = Status::Exited;
                self.state.stopped = self.stopping;
                return self.state.write(&self.container);
            }
            self.state.restarts += 1;
        }
    }

    /// Once, from start to end.
    fn life(
        &mut self,
        job: &Job,
        reporter: &mut Reporter,
        log: Option<&mut log::Writer>,
    ) -> Result<Ended, Error> {
        let source: Source = run::source_of(&self.store, &self.entry, &self.o)?;
        let (streams, ends) = match self.o.tty {
            true => (None, Ends::default()),
            false => monitor::pipes(self.o.interactive)
                .map(|(theirs, ours)| (Some(Rc::new(theirs)), ours))
                .map_err(Error::Prepare)?,
        };
        let (rows, columns) = job.how.window;
        let mut stage = run::Stage {
            streams,
            window: WindowSize { rows, columns },
            guard: Some(self.store.shared()?),
            own: None,
        };
        let warnings = Warnings::default();
        let started = run::launch(
            &self.store,
            &self.o,
            &source,
            &self.o.volumes,
            &self.container,
            &mut stage,
            &warnings,
        )?;
        // The program has its ends; ours would keep it from ever seeing the end.
        drop(stage);
        drop(source);
        let pid = started.pid.as_raw_nonzero().get();
        self.state.begin(pid);
        events::happened_to(&self.store, &self.container, |e| e, Action::Start);
        let checks = self.o.keep.health.clone().map(|h| self.checks(h));
        self.state.health = checks.as_ref().map(|c| c.state().clone());
        self.state.write(&self.container)?;
        let report = Report {
            pid,
            warnings: warnings.0.into_inner().unwrap_or_default(),
            failure: None,
        };
        if let Some(caller) = reporter.tell(&report)
            && job.how.attach
        {
            self.control.attach(caller, job.how.input);
        }
        let deadline = self
            .o
            .keep
            .timeout
            .map(|s| Instant::now() + Duration::from_secs(s));
        let mut record = Recorder {
            store: &self.store,
            entry: &self.entry,
            state: &mut self.state,
            container: &self.container,
            restart: &mut self.o.keep.restart,
        };
        Ok(monitor::keep(
            &started,
            Around {
                ends,
                input: self.o.interactive,
                input_once: self.o.keep.input_once,
                log,
                signals: &self.signals,
                control: &mut self.control,
                deadline,
                checks,
                record: &mut record,
                stopping: &mut self.stopping,
                patience: Duration::from_secs(
                    self.o
                        .keep
                        .stop_timeout
                        .unwrap_or(monitor::STOP_TIMEOUT)
                        .into(),
                ),
                leaving: &mut self.leaving,
            },
        )?)
    }

    fn checks(&self, health: monitor::Health) -> Checks {
        let exec = ["/proc/self/exe", "--root"].map(OsString::from);
        let root = self.store.root().as_os_str().to_owned();
        let rest = ["exec", self.container.id()].map(OsString::from);
        Checks::new(health, exec.into_iter().chain([root]).chain(rest).collect())
    }
}

/// Writes what changes while it runs.
struct Recorder<'a> {
    store: &'a Store,
    entry: &'a ContainerEntry,
    state: &'a mut State,
    container: &'a ContainerDir,
    restart: &'a mut Restart,
}

impl Recorder<'_> {
    fn write(&self) {
        // The next change is another chance; until then others see what was.
        if let Err(e) = self.state.write(self.container) {
            ::log::warn!("cannot record the state of a container: {e}");
        }
    }
}

impl Record for Recorder<'_> {
    fn paused(&mut self, paused: bool) {
        self.state.status = match paused {
            true => Status::Paused,
            false => Status::Running,
        };
        self.write();
    }

    fn health(&mut self, state: &HealthState) {
        let before = self.state.health.replace(state.clone());
        self.write();
        if before.is_none_or(|b| b.status != state.status) {
            let status = state.status.name().to_owned();
            let with = |e: Event| e.with([(&"health_status".to_owned(), &status)]);
            events::happened_to(self.store, self.container, with, Action::HealthStatus);
        }
    }

    fn restart(&mut self, policy: Restart) -> io::Result<()> {
        update::write(self.store, self.entry, self.container, policy)
            .map_err(|e| io::Error::other(e.whole()))?;
        *self.restart = policy;
        Ok(())
    }
}

/// Whether it is to be started by `start --all` after a reboot.
pub(super) fn wants_start(o: &Options, state: &State) -> bool {
    match o.keep.restart {
        Restart::Always => true,
        Restart::UnlessStopped => !state.stopped,
        Restart::No | Restart::OnFailure(_) => false,
    }
}
