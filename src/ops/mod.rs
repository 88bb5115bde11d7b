//! Use cases, one a file: the only room that joins the others. An operation takes an options struct,
//! prints nothing, and returns a value or an [`Error`]; `cli` turns arguments into the one and the
//! other into text.

mod access;
mod additional;
pub mod artifact;
pub mod build;
pub mod check;
pub mod commit;
pub mod copy;
pub mod cp;
pub mod create;
pub mod defaults;
pub mod detached;
pub mod diff;
pub mod doctor;
mod error;
pub mod events;
pub mod exec;
pub mod export;
mod filters;
pub mod find;
pub mod history;
pub mod images;
pub mod import;
pub mod info;
pub mod inspect;
mod intake;
mod jobs;
pub mod list;
pub mod live;
pub mod load;
pub mod login;
pub mod logs;
mod made;
pub mod namespaces;
pub mod oci;
mod outgoing;
pub mod progress;
pub mod prune;
pub mod ps;
pub mod pull;
pub mod push;
pub mod rm;
pub mod rmi;
pub mod run;
pub mod save;
pub mod secret;
pub mod share;
mod short;
pub mod sign;
mod signatures;
pub mod start;
pub mod state;
pub mod stats;
pub mod stop;
mod stored;
pub mod systemd;
pub mod tag;
pub mod top;
pub mod tree;
pub mod update;
pub mod usage;
pub mod verify;
pub mod volume;
mod written;

use std::path::{Path, PathBuf};

pub use access::Access;
pub use error::Error;
pub use intake::{IntakeError, Options as IntakeOptions};

pub use crate::config::auth::{Kept, Login};
pub use crate::store::{Keep, Store};

pub(crate) use crate::runtime::{INIT_NAME, init_main};
pub(crate) use cp::{NAME as COPIER_NAME, main as copier_main};
pub(crate) use detached::{NAME as MONITOR_NAME, main as monitor_main};

use crate::config::{Env, data_root};
use crate::store::Additional;

/// Annotation of a container's configuration: its labels, a JSON object.
const LABELS_ANNOTATION: &str = "io.coracle.labels";

/// Annotation of a container's configuration: what asks its program to end (image-spec, annotations).
const STOP_SIGNAL_ANNOTATION: &str = "org.opencontainers.image.stopSignal";

/// Annotation of a container's configuration: the pid of the process that watches it, as long as that lives.
const MONITOR_ANNOTATION: &str = "io.coracle.monitor";

/// Open the user's store, or the one at `root`, with others to read from.
pub fn open_store(root: Option<&Path>, additional: &[PathBuf]) -> Result<Store, Error> {
    let store = Store::open(&data_root(root, Env::process())?)?;
    let additional = additional.iter().map(|root| Additional::new(root));
    Ok(store.with_additional(additional.collect::<Result<_, _>>()?))
}

/// Remove what dead processes left. Not being able to is no reason to refuse what was asked for.
fn sweep(store: &Store) {
    if let Err(e) = store.sweep() {
        log::warn!("cannot clean up what an earlier process left: {e}");
    }
}
