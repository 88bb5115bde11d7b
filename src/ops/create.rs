//! `create`, and `run -d`: a container that somebody starts later, or its monitor at once.

use super::detached::{self, How};
use super::events::{self, Action};
use super::progress::Progress;
use super::run::{self, Begun, Options};
use super::start::{self, Attach};
use super::state::State;
use super::{Error, Store};
use crate::monitor::Left;

/// Make a container and leave it; its id comes back.
pub fn create(store: &Store, o: &Options, progress: &dyn Progress) -> Result<String, Error> {
    // It has to outlive this process, and the next sweep.
    let kept = Options {
        remove: false,
        ..o.clone()
    };
    let begun = run::begin(store, &kept, progress)?;
    let id = begun.container.id().to_owned();
    match complete(store, o, &begun) {
        Ok(()) => Ok(id),
        Err(e) => {
            begun.undo(store);
            Err(e)
        }
    }
}

fn complete(store: &Store, o: &Options, begun: &Begun) -> Result<(), Error> {
    let Begun {
        container,
        source,
        volumes,
        ..
    } = begun;
    run::keep_options(store, container, source, volumes, o)?;
    State::created().write(container)?;
    // Last, since it makes the container complete.
    run::write(store, o, source, volumes, container)?;
    events::happened_to(store, container, |e| e, Action::Create);
    Ok(())
}

/// Run it in the background; its id comes back. Nothing of it is left if it does not start.
pub fn run_detached(store: &Store, o: &Options, progress: &dyn Progress) -> Result<String, Error> {
    let begun = whole(store, o, progress)?;
    let id = begun.container.id().to_owned();
    let running = detached::start(store, begun.container, true, How::default(), progress)
        .inspect_err(|_| forget(store, o, &id))?;
    run::write_pid(o, running.pid)?;
    detached::warn_of_logout(progress);
    Ok(id)
}

/// Run it with a monitor of its own, and take part in its streams until it ends or the keys are typed.
pub fn run_attached(
    store: &Store,
    o: &Options,
    attach: &Attach,
    progress: &dyn Progress,
) -> Result<Left, Error> {
    let begun = whole(store, o, progress)?;
    let id = begun.container.id().to_owned();
    start::attached(store, begun.container, true, o, attach, progress)
        .inspect_err(|_| forget(store, o, &id))
}

/// What the user has of one that failed. It may be there all the same, if not its start was what failed.
fn forget(store: &Store, o: &Options, id: &str) {
    if store.containers().find(id).is_err() {
        run::forget_id(o.cidfile.as_deref(), id);
    }
}

fn whole(store: &Store, o: &Options, progress: &dyn Progress) -> Result<Begun, Error> {
    let mut begun = run::begin(store, o, progress)?;
    match complete(store, o, &begun) {
        Ok(()) => {
            // The configuration pins the image.
            begun.guard.take();
            Ok(begun)
        }
        Err(e) => {
            begun.undo(store);
            Err(e)
        }
    }
}
