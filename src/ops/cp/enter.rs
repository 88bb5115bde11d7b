//! The copier, from outside: how it gets into a container, and what it says.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, pidfd_send_signal};
use serde::Serialize;

use super::wire::{self, Looked, Report, Seen};
use super::{CpError, NAME, not_found};
use crate::layer::pack::Notes;
use crate::monitor;
use crate::ops::exec::{Own, own, primary_user};
use crate::ops::progress::Progress;
use crate::ops::run::user::Ids;
use crate::ops::run::{self, Options};
use crate::ops::state::State;
use crate::ops::{Error, Store, start};
use crate::runtime::{Started, Streams, WindowSize};
use crate::store::{ContainerDir, ContainerEntry};
use crate::sys::exec::own_copy;

/// How long another command may look at a container.
const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(2);
/// What is said in the end has twenty paths at most.
const SAID_MAX: u64 = 1 << 20;

/// A copier in a container.
pub(super) struct Agent {
    /// What it is about, for messages.
    place: String,
    path: PathBuf,
    container: String,
    ids: Ids,
    emulated: bool,
    input: Option<File>,
    output: Option<File>,
    errors: File,
    process: Process,
}

/// It ends with us, and before the lock of its container goes.
struct Process {
    started: Option<Started>,
    _lock: Option<ContainerDir>,
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(started) = self.started.take() {
            // Both fail only if it is gone.
            let _ = pidfd_send_signal(&started.pidfd, Signal::KILL);
            let _ = monitor::settle(&started);
        }
    }
}

impl Agent {
    /// Send a copier to `path` of a container, whether that runs or not.
    pub(super) fn enter(
        store: &Store,
        container: &str,
        path: &Path,
        progress: &dyn Progress,
    ) -> Result<Self, Error> {
        let entry = store.containers().find(container)?;
        let lock = lock(store, &entry)?;
        let (ids, workdir) = primary_user(store, &entry)?;
        let absolute = CString::new(workdir.join(path).into_os_string().as_bytes())
            .map_err(|e| Error::Prepare(e.into()))?;
        let args = vec![
            CString::new(NAME).map_err(|e| Error::Prepare(e.into()))?,
            absolute,
        ];
        let copy = Rc::new(own_copy().map_err(Error::Prepare)?);
        let (streams, [input, output, errors]) = pipes().map_err(Error::Prepare)?;
        let (started, emulated) = match &lock {
            None => own(
                store,
                &entry,
                &Own {
                    copy,
                    args,
                    streams,
                },
            )?,
            Some(dir) => alone(store, &entry, dir, (copy, args), streams, progress)?,
        };
        Ok(Self {
            place: format!("in container {container}"),
            path: path.to_owned(),
            container: entry.id,
            ids,
            emulated,
            input: Some(input),
            output: Some(output),
            errors,
            process: Process {
                started: Some(started),
                _lock: lock,
            },
        })
    }

    /// Whether it is in the container of this name.
    pub(super) fn is_in(&self, store: &Store, container: &str) -> bool {
        let entry = store.containers().find(container);
        entry.is_ok_and(|e| e.id == self.container)
    }

    /// Whom the container's program runs as, where files can belong to anybody.
    pub(super) fn user(&self) -> Option<Ids> {
        self.emulated.then_some(self.ids)
    }

    /// What is there.
    pub(super) fn seen(&mut self) -> Result<Seen, Error> {
        match self.output.as_mut().map(wire::receive::<Looked>) {
            Some(Ok(looked)) => looked.map_err(|errno| {
                let source = io::Error::from_raw_os_error(errno);
                not_found(&self.path, &self.place, source)
            }),
            _ => Err(CpError::Vanished(self.place.clone()).into()),
        }
    }

    /// That there is something.
    pub(super) fn there(&mut self) -> Result<Seen, Error> {
        match self.seen()? {
            Seen::Missing => {
                let source = io::Error::from_raw_os_error(libc::ENOENT);
                Err(not_found(&self.path, &self.place, source))
            }
            seen => Ok(seen),
        }
    }

    pub(super) fn send(&mut self, message: &impl Serialize) -> Result<(), Error> {
        match self.input.as_mut().map(|to| wire::send(to, message)) {
            Some(Ok(())) => Ok(()),
            _ => Err(CpError::Vanished(self.place.clone()).into()),
        }
    }

    /// Where it reads a tar, once; to be closed at its end.
    pub(super) fn input(&mut self) -> Result<File, Error> {
        let input = self.input.take();
        input.ok_or_else(|| CpError::Vanished(self.place.clone()).into())
    }

    /// Where it writes one, once.
    pub(super) fn output(&mut self) -> Result<File, Error> {
        let output = self.output.take();
        output.ok_or_else(|| CpError::Vanished(self.place.clone()).into())
    }

    /// How it went, when it has ended.
    pub(super) fn finish(mut self) -> Result<Notes, Error> {
        drop((self.input.take(), self.output.take()));
        let report = wire::receive::<Report>((&mut self.errors).take(SAID_MAX));
        if let Some(started) = self.process.started.take() {
            monitor::settle(&started)?;
        }
        match report {
            Ok(Report {
                error: None, notes, ..
            }) => Ok(notes),
            Ok(Report {
                error: Some(message),
                hint,
                ..
            }) => Err(CpError::Said {
                place: self.place,
                message,
                hint,
            }
            .into()),
            Err(_) => Err(CpError::Vanished(self.place).into()),
        }
    }
}

/// The lock of a container that does not run; none of one that does.
fn lock(store: &Store, entry: &ContainerEntry) -> Result<Option<ContainerDir>, Error> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(dir) = store.containers().try_lock(entry)? {
            return Ok(Some(dir));
        }
        // One in the foreground that goes with its end writes no state.
        if State::read(store, entry)?.is_none_or(|s| s.is_live()) {
            return Ok(None);
        }
        if Instant::now() > until {
            return Err(Error::Busy(entry.id.clone()));
        }
        sleep(POLL);
    }
}

/// Start the container with the copier in place of its program. Also says whether identities are emulated.
fn alone(
    store: &Store,
    entry: &ContainerEntry,
    dir: &ContainerDir,
    own: (Rc<OwnedFd>, Vec<CString>),
    streams: Rc<Streams>,
    progress: &dyn Progress,
) -> Result<(Started, bool), Error> {
    let options = start::options(store, entry)?;
    let source = run::source_of(store, entry, &options)?;
    let options = Options {
        // What its program would need, and the copier does not.
        command: vec![NAME.to_owned()],
        entrypoint: None,
        workdir: Some(PathBuf::from("/")),
        interactive: true,
        tty: false,
        init: false,
        ulimits: Vec::new(),
        // A file system that forgets is for what goes with its first end.
        remove: false,
        ..options
    };
    let mut stage = run::Stage {
        streams: Some(streams),
        window: WindowSize::default(),
        guard: None,
        own: Some(own),
    };
    let volumes = &options.volumes;
    let started = run::launch(store, &options, &source, volumes, dir, &mut stage, progress)?;
    let emulated = started.supervisor.is_some();
    Ok((started, emulated))
}

/// Streams of a process, and our ends of them.
fn pipes() -> io::Result<(Rc<Streams>, [File; 3])> {
    let pipe = || pipe_with(PipeFlags::CLOEXEC);
    let (their_input, input) = pipe()?;
    let (output, their_output) = pipe()?;
    let (errors, their_errors) = pipe()?;
    let streams = Streams {
        input: Some(their_input),
        output: their_output,
        errors: their_errors,
    };
    let ours = [input, output, errors].map(File::from);
    Ok((Rc::new(streams), ours))
}
