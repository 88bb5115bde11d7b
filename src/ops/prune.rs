//! `image prune`, `container prune`, `system prune`: what nobody needs goes. docker-system-prune(1).

use std::collections::BTreeMap;

use jiff::Timestamp;

pub use super::filters::Label;
use super::filters::labels_of;
use super::images::{self, images};
use super::ps::{self, Container, State};
use super::rmi::{self, Removed};
use super::{Error, rm, stored, usage, volume};
use crate::store::{self, Collected, Store};

/// What shall go.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Every image that no container was made from, not only those without a name.
    pub all: bool,
    /// Only what was made before this time.
    pub until: Option<Timestamp>,
    /// Only what has these labels, or has not.
    pub labels: Vec<Label>,
    /// Volumes that no container was made with, too.
    pub volumes: bool,
}

impl Wanted {
    fn is_about(&self, made: Option<Timestamp>, labels: &BTreeMap<String, String>) -> bool {
        // What does not say when it was made is older than any time: it cannot be young.
        let old = self
            .until
            .zip(made)
            .is_none_or(|(until, made)| made < until);
        old && self.labels.iter().all(|l| l.holds(labels))
    }
}

/// What went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Ids of containers.
    pub containers: Vec<String>,
    /// Names of volumes.
    pub volumes: Vec<String>,
    /// Images.
    pub images: Vec<Removed>,
    /// Bytes that are free now.
    pub bytes: u64,
}

/// Images that no container was made from: those without a name, or all; and the cache of builds. With them goes
/// what nothing refers to.
pub fn prune_images(store: &Store, wanted: &Wanted) -> Result<Pruned, Error> {
    let mut gone = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let images = images(store, &images::Wanted::default())?;
    for image in &images {
        if !(wanted.all || image.reference.is_none()) || !seen.insert(image.id.clone()) {
            continue;
        }
        if !wanted.labels.is_empty() || wanted.until.is_some() {
            let labels = match labels_of(store, &image.id) {
                Ok(labels) => labels,
                // Somebody else was faster.
                Err(e) if stored::is_gone(&e) => continue,
                Err(e) => return Err(e),
            };
            if !wanted.is_about(images::made(image.created.as_deref()), &labels) {
                continue;
            }
        }
        match rmi::remove_unused(store, &images, image) {
            Ok(removed) => gone.extend(removed),
            Err(Error::Remove(rmi::RemoveError::InUse { .. })) => {}
            Err(e) => return Err(e),
        }
    }
    // The cache of builds keeps the layers of images that are gone. It has no labels and no age of its own.
    if wanted.labels.is_empty() && wanted.until.is_none() {
        store.builds().clear()?;
    }
    Ok(Pruned {
        images: gone,
        bytes: rmi::collect(store)?.bytes,
        ..Pruned::default()
    })
}

/// Containers that have ended, or were never started.
pub fn prune_containers(store: &Store, wanted: &Wanted) -> Result<Pruned, Error> {
    let all = ps::Wanted {
        all: true,
        ..ps::Wanted::default()
    };
    let made = |c: &Container| c.created.as_ref().and_then(|t| t.parse().ok());
    // Who is being set up has its lock, and stays.
    let ended = |c: &Container| matches!(c.state, State::Exited { .. } | State::Created);
    let list: Vec<Container> = ps::ps(store, &all)?
        .into_iter()
        .filter(|c| ended(c) && wanted.is_about(made(c), &c.labels))
        .collect();
    let sizes = usage::sizes(store, &list);
    let mut pruned = Pruned::default();
    for (container, size) in list.into_iter().zip(sizes) {
        match rm::remove(store, &container.id, &rm::How::default()) {
            Ok(_) => {
                pruned.containers.push(container.id);
                pruned.bytes += size;
            }
            // Somebody else was faster, or looks at it.
            Err(Error::Store(store::Error::NoSuchContainer(_)) | Error::RemoveContainer(_)) => {}
            Err(e) => return Err(e),
        }
    }
    // What only they held on to: the layers of images that were removed before them.
    pruned.bytes += rmi::collect(store)?.bytes;
    Ok(pruned)
}

/// Both, volumes where they are wanted, and what interrupted downloads left.
pub fn prune_system(store: &Store, wanted: &Wanted) -> Result<Pruned, Error> {
    let containers = prune_containers(store, wanted)?;
    let (volumes, in_volumes) = match wanted.volumes {
        true => {
            let labels = wanted.labels.iter().cloned().map(volume::Filter::Label);
            let until = wanted.until.into_iter().map(volume::Filter::Until);
            volume::prune(store, &labels.chain(until).collect())?
        }
        false => Default::default(),
    };
    let images = prune_images(store, wanted)?;
    let Collected { bytes, .. } = store.prune(&[])?;
    Ok(Pruned {
        containers: containers.containers,
        volumes,
        images: images.images,
        bytes: containers.bytes + in_volumes + images.bytes + bytes,
    })
}
