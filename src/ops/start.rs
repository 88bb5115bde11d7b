//! `start`: a container that was made, or has ended, runs again. docker-start(1).

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::detached::{self, How};
use super::events::{self, Action, Event};
use super::progress::Progress;
use super::run::{self, Options};
use super::state::{State, Status};
use super::{Error, Store, live};
use crate::monitor::Signals;
use crate::store::{ContainerDir, ContainerEntry};

pub use crate::monitor::{Keys, Left};

/// How long to wait for a lock that somebody has for a moment.
const GLANCE: Duration = Duration::from_millis(500);

/// Take part in its streams.
#[derive(Clone, Debug, Default)]
pub struct Attach {
    /// Send our standard input.
    pub input: bool,
    /// Keys that leave it alone.
    pub keys: Keys,
    /// Hand on signals.
    pub signals: bool,
}

/// Start it in the background. True when it did not run already.
pub fn start(store: &Store, name: &str, progress: &dyn Progress) -> Result<bool, Error> {
    let entry = store.containers().find(name)?;
    options(store, &entry)?;
    let container = match lock(store, &entry) {
        Ok(container) => container,
        Err(Error::AlreadyRunning(_)) => return Ok(false),
        Err(e) => return Err(e),
    };
    detached::start(store, container, false, How::default(), progress)?;
    detached::warn_of_logout(progress);
    Ok(true)
}

/// Start it and take part in its streams until it ends.
pub fn start_attached(
    store: &Store,
    name: &str,
    attach: &Attach,
    progress: &dyn Progress,
) -> Result<Left, Error> {
    let entry = store.containers().find(name)?;
    let options = options(store, &entry)?;
    let container = lock(store, &entry)?;
    attached(store, container, false, &options, attach, progress)
}

/// Start what we have locked, and take part in its streams.
pub(super) fn attached(
    store: &Store,
    container: ContainerDir,
    fresh: bool,
    options: &Options,
    attach: &Attach,
    progress: &dyn Progress,
) -> Result<Left, Error> {
    // Before the start: none may come before its program can be told.
    let signals = match attach.signals {
        true => Some(Signals::block().map_err(Error::Prepare)?),
        false => None,
    };
    let window = run::window();
    let how = How {
        attach: true,
        input: attach.input && options.interactive,
        window: (window.rows, window.columns),
    };
    let id = container.id().to_owned();
    let running = detached::start(store, container, fresh, how, progress)?;
    run::write_pid(options, running.pid)?;
    // It may have ended at once: then there is nobody to hand signals to.
    let process = Pid::from_raw(running.pid).and_then(|p| pidfd_open(p, PidfdFlags::empty()).ok());
    let signals = signals.as_ref().zip(process.as_ref().map(AsFd::as_fd));
    let relayed = (running.client).relay(how.input, options.tty, attach.keys.clone(), signals);
    relayed.map_err(|e| Error::Control(id, e))
}

/// Take part in the streams of one that runs.
pub fn attach(store: &Store, name: &str, attach: &Attach) -> Result<Left, Error> {
    let entry = store.containers().find(name)?;
    let signals = match attach.signals {
        true => Some(Signals::block().map_err(Error::Prepare)?),
        false => None,
    };
    let process = live::connect(store, &entry)?.describe()?;
    let client = live::connect(store, &entry)?.into_client();
    let failed = |e| Error::Control(name.to_owned(), e);
    let input = attach.input && process.input;
    let tty = client.attach(input).map_err(failed)?;
    let signals = signals.as_ref().map(|s| (s, process.pidfd.as_fd()));
    client
        .relay(input, tty, attach.keys.clone(), signals)
        .map_err(failed)
}

pub(super) fn options(store: &Store, entry: &ContainerEntry) -> Result<Options, Error> {
    let options = store.containers().options(entry)?;
    options.ok_or_else(|| Error::NotStartable(entry.id.clone()))
}

/// Its lock; somebody may have it for a moment, to look.
fn lock(store: &Store, entry: &ContainerEntry) -> Result<ContainerDir, Error> {
    let until = Instant::now() + GLANCE;
    loop {
        if let Some(container) = store.containers().try_lock(entry)? {
            return Ok(container);
        }
        let running = State::read(store, entry)?.is_none_or(|s| s.is_live());
        if running {
            return Err(Error::AlreadyRunning(entry.id.clone()));
        }
        if Instant::now() > until {
            return Err(Error::Busy(entry.id.clone()));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The ids of those that shall run whenever the machine does, and do not.
pub fn wanted(store: &Store) -> Result<Vec<String>, Error> {
    let containers = store.containers();
    let mut ids = Vec::new();
    for entry in containers.list()? {
        if entry.ephemeral || containers.is_locked(&entry)? {
            continue;
        }
        let state = State::read(store, &entry)?.unwrap_or_default();
        if let Some(options) = containers.options::<Options>(&entry)?
            && state.status != Status::Created
            && detached::wants_start(&options, &state)
        {
            ids.push(entry.id);
        }
    }
    Ok(ids)
}

/// Give it another name.
pub fn rename(store: &Store, container: &str, name: &str) -> Result<(), Error> {
    let containers = store.containers();
    let entry = containers.find(container)?;
    // Nobody may take the container away between the look and the name.
    let _guard = store.shared()?;
    containers.rename(&entry, name)?;
    let event = Event::container(Action::Rename, &entry.id, Some(name));
    let before = entry.name.unwrap_or_default();
    events::record(store, &event.with([(&"oldName".to_owned(), &before)]));
    Ok(())
}
