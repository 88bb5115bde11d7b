//! `volume ls` and `volume inspect`. podman-volume-ls(1).

use std::collections::HashMap;
use std::path::PathBuf;

use jiff::Timestamp;

use super::super::filters::Label;
use super::{Error, backing};
use crate::store::{Store, VolumeEntry, VolumeRecord};

/// A volume, and who has it.
#[derive(Clone, Debug)]
pub struct Volume {
    /// What is known of it.
    pub record: VolumeRecord,
    /// Where its content is on the host.
    pub mountpoint: PathBuf,
    /// Ids of the containers that were made with it.
    pub containers: Vec<String>,
}

impl Volume {
    fn of(entry: &VolumeEntry, containers: Vec<String>) -> Self {
        let bind = backing(&entry.record.options).ok().and_then(|b| b.bind);
        Self {
            mountpoint: bind.unwrap_or_else(|| entry.data()),
            record: entry.record.clone(),
            containers,
        }
    }
}

/// What may be true of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Its name has this in it.
    Name(String),
    /// Its labels are so.
    Label(Label),
    /// No container was made with it.
    Dangling(bool),
    /// There is one driver: local.
    Driver(String),
    /// It was made with this option, with this value if one is given.
    Option(String, Option<String>),
    /// It was made before.
    Until(Timestamp),
    /// It was made after this one.
    Since(String),
}

/// The volumes of which all filters hold; of several about names, drivers or options one must. In the order of
/// their names.
pub fn list(store: &Store, filters: &[Filter]) -> Result<Vec<Volume>, Error> {
    let mut users: HashMap<String, Vec<String>> = HashMap::new();
    for (name, id) in store.volumes().all_users()? {
        users.entry(name).or_default().push(id);
    }
    let mut made_after = Vec::new();
    for filter in filters {
        if let Filter::Since(name) = filter {
            made_after.push(made(&store.volumes().find(name)?.record));
        }
    }
    let mut all = Vec::new();
    for entry in store.volumes().list()? {
        let containers = users.remove(&entry.record.name).unwrap_or_default();
        let volume = Volume::of(&entry, containers);
        if holds(&volume, filters) && made_after.iter().all(|t| made(&entry.record) > *t) {
            all.push(volume);
        }
    }
    Ok(all)
}

/// One volume, by its name or the start of it.
pub fn find(store: &Store, name: &str) -> Result<Volume, Error> {
    let entry = store.volumes().find(name)?;
    let users = store.volumes().users(&entry.record.name)?;
    Ok(Volume::of(&entry, users))
}

/// When it was made.
pub(super) fn made(record: &VolumeRecord) -> Option<Timestamp> {
    record.created_at.parse().ok()
}

/// Whether the filters hold.
pub(super) fn holds(volume: &Volume, filters: &[Filter]) -> bool {
    let one_is_enough =
        |f: &Filter| matches!(f, Filter::Name(_) | Filter::Driver(_) | Filter::Option(..));
    filters.iter().all(|filter| {
        let same = |f: &&Filter| std::mem::discriminant(*f) == std::mem::discriminant(filter);
        holds_one(volume, filter)
            || one_is_enough(filter) && filters.iter().filter(same).any(|f| holds_one(volume, f))
    })
}

fn holds_one(volume: &Volume, filter: &Filter) -> bool {
    let record = &volume.record;
    match filter {
        Filter::Name(part) => record.name.contains(part.as_str()),
        Filter::Label(label) => label.holds(&record.labels),
        Filter::Dangling(wanted) => volume.containers.is_empty() == *wanted,
        Filter::Driver(name) => name == "local",
        Filter::Option(name, value) => {
            let have = record.options.get(name);
            have.is_some_and(|have| value.as_ref().is_none_or(|v| v == have))
        }
        // What does not say when it was made is older than any time.
        Filter::Until(time) => made(record).is_none_or(|made| made < *time),
        Filter::Since(_) => true,
    }
}
