//! `volume`: directories with names that outlive containers. podman-volume(1).
//!
//! - `create`, `ls`, `inspect`, `rm`, `prune`, `exists`: here and beside this.
//! - [`fill`]: what the first container that mounts a volume does to it.
//! - `export`, `import`: volumes as tars.
//!
//! What a container mounts, and when, is [`run`](super::run)'s business.

mod archive;
mod documents;
mod error;
pub(super) mod fill;
mod list;
mod options;
mod remove;

use std::collections::BTreeMap;

use jiff::Timestamp;
use rustix::rand::{GetRandomFlags, getrandom};

pub use archive::{export, import};
pub use documents::{document, mount_document};
pub use error::VolumeError;
pub use list::{Filter, Volume, find, list};
pub(super) use options::{Backing, backing};
pub use remove::{Wanted, prune, remove};
pub(super) use remove::{remove_unused, size};

use super::Error;
use super::events::{self, Action, Event};
use crate::store::{self, Store, VolumeRecord};

/// What to make.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Its name; `None`: one of our choice.
    pub name: Option<String>,
    /// The user's.
    pub labels: Vec<(String, String)>,
    /// `-o`, as they were given.
    pub options: Vec<(String, String)>,
    /// One of this name that is there already is fine.
    pub ignore: bool,
}

/// Make a volume; returns its name.
pub fn create(store: &Store, o: &Options) -> Result<String, Error> {
    let options: BTreeMap<String, String> = o.options.iter().cloned().collect();
    backing(&options)?;
    let name = match &o.name {
        Some(name) => name.clone(),
        None => random_name()?,
    };
    let record = VolumeRecord {
        labels: o.labels.iter().cloned().collect(),
        options,
        ..new(name.clone(), false)
    };
    match store.volumes().create(&record)? {
        true => events::record(store, &Event::volume(Action::Create, &name)),
        false if o.ignore => {}
        false => return Err(store::Error::VolumeExists(name).into()),
    }
    Ok(name)
}

/// A volume that nobody has used.
pub(super) fn new(name: String, anonymous: bool) -> VolumeRecord {
    VolumeRecord {
        name,
        created_at: Timestamp::now().to_string(),
        anonymous,
        needs_chown: true,
        needs_copy_up: true,
        ..VolumeRecord::default()
    }
}

/// 64 hex digits, as docker's and podman's.
pub(super) fn random_name() -> Result<String, Error> {
    let mut bytes = [0u8; 32];
    getrandom(&mut bytes, GetRandomFlags::empty()).map_err(|e| Error::Prepare(e.into()))?;
    Ok(base16ct::lower::encode_string(&bytes))
}
