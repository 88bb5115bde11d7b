//! `system df`: what takes the space, and how much of it could be had back. docker-system-df(1).

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::Error;
use super::images::made;
use super::ps::{self, Container};
use super::volume::{self, Volume};
use crate::oci::{Digest, Reference};
use crate::store::{Collected, ImageRecord, Store};
use crate::sys::{fork, userns};
use crate::trees;

/// All of it.
#[derive(Clone, Debug)]
pub struct Usage {
    /// The images, each once, the youngest first.
    pub images: Vec<ImageUsage>,
    /// Bytes of all images: what several share counts once.
    pub image_bytes: u64,
    /// Bytes that would be free if the images that no container was made from were gone.
    pub image_reclaimable: u64,
    /// The containers, the youngest first.
    pub containers: Vec<ContainerUsage>,
    /// The volumes, in the order of their names.
    pub volumes: Vec<VolumeUsage>,
    /// What nothing refers to.
    pub leftovers: Collected,
}

/// One volume.
#[derive(Clone, Debug)]
pub struct VolumeUsage {
    /// What `volume ls` says of it.
    pub volume: Volume,
    /// Bytes of its files.
    pub size: u64,
}

/// One image.
#[derive(Clone, Debug)]
pub struct ImageUsage {
    /// Its record, under one of its names.
    pub image: ImageRecord,
    /// All its names.
    pub names: Vec<Reference>,
    /// Bytes of what other images have as well.
    pub shared: u64,
    /// Bytes of what only this one has.
    pub unique: u64,
    /// Containers that were made from it.
    pub containers: usize,
}

/// One container.
#[derive(Clone, Debug)]
pub struct ContainerUsage {
    /// What `ps` says of it.
    pub container: Container,
    /// Bytes of the files that it wrote.
    pub size: u64,
}

impl ContainerUsage {
    /// Whether its files could be had back.
    pub fn is_reclaimable(&self) -> bool {
        !self.container.state.is_live()
    }
}

/// Add everything up.
pub fn usage(store: &Store) -> Result<Usage, Error> {
    let all = ps::Wanted {
        all: true,
        ..ps::Wanted::default()
    };
    let containers = ps::ps(store, &all)?;
    let sizes = sizes(store, &containers);
    let mut list: Vec<ImageUsage> = Vec::new();
    let mut images = store.images().list()?;
    images.sort_by_cached_key(|i| std::cmp::Reverse(made(i.created.as_deref())));
    for image in images {
        match list.iter_mut().find(|u| u.image.id == image.id) {
            Some(usage) => usage.names.extend(image.reference),
            None => list.push(ImageUsage {
                names: image.reference.iter().cloned().collect(),
                shared: 0,
                unique: 0,
                containers: made_from(&containers, &image.id),
                image,
            }),
        }
    }
    let parts: Vec<HashMap<Digest, u64>> = list.iter().map(|u| parts(store, &u.image)).collect();
    let mut owners: HashMap<&Digest, usize> = HashMap::new();
    for digest in parts.iter().flat_map(HashMap::keys) {
        *owners.entry(digest).or_default() += 1;
    }
    for (usage, parts) in list.iter_mut().zip(&parts) {
        for (digest, bytes) in parts {
            match owners.get(digest) {
                Some(1) => usage.unique += bytes,
                _ => usage.shared += bytes,
            }
        }
    }
    let sum = |wanted: &dyn Fn(&ImageUsage) -> bool| -> u64 {
        let chosen = list.iter().zip(&parts).filter(|(u, _)| wanted(u));
        let distinct: HashMap<_, _> = chosen.flat_map(|(_, p)| p).collect();
        distinct.into_values().sum()
    };
    let image_bytes = sum(&|_| true);
    let in_use = sum(&|u| u.containers > 0);
    Ok(Usage {
        image_bytes,
        image_reclaimable: image_bytes - in_use,
        images: list,
        containers: containers
            .into_iter()
            .zip(sizes)
            .map(|(container, size)| ContainerUsage { container, size })
            .collect(),
        volumes: volume::list(store, &[])?
            .into_iter()
            .map(|volume| VolumeUsage {
                size: volume::size(store, &volume.record.name),
                volume,
            })
            .collect(),
        leftovers: store.garbage()?,
    })
}

fn made_from(containers: &[Container], id: &Digest) -> usize {
    let from_it = |c: &&Container| c.image.as_ref().is_some_and(|i| i.id == *id);
    containers.iter().filter(from_it).count()
}

/// What an image is made of, each with its bytes: layers, and the blobs that are kept.
fn parts(store: &Store, image: &ImageRecord) -> HashMap<Digest, u64> {
    let layers = image.images().flat_map(|i| &i.layers);
    let blobs = image
        .images()
        .flat_map(|i| [&i.id, &i.manifest].into_iter().chain(&i.index))
        .chain(layers.clone().map(|l| &l.blob))
        .filter_map(|d| Some((d.clone(), store.blobs().size(d)?)));
    let layers = layers.map(|l| (l.diff_id.clone(), l.size));
    layers.chain(blobs).collect()
}

/// Bytes that each container wrote. As root of a user namespace if that can be had, since its directories may
/// shut out their owner; 0 for one that is gone.
pub fn sizes(store: &Store, containers: &[Container]) -> Vec<u64> {
    if containers.is_empty() {
        return Vec::new();
    }
    let entries = store.containers().list().unwrap_or_default();
    let of = |c: &Container| -> u64 {
        let entry = entries.iter().find(|e| e.id == c.id);
        let written = entry.map(|e| [e.upper(), e.path.join(super::written::ROOTFS)]);
        let trees = written.iter().flatten().filter_map(|p| open(p));
        trees.map(|dir| trees::size(&dir).unwrap_or(0)).sum()
    };
    let answer = fork::bytes_from_child(|| {
        let _without = userns::enter_as_root();
        let sizes = containers.iter().map(|c| of(c).to_ne_bytes());
        sizes.flatten().collect()
    });
    let mut sizes: Vec<u64> = answer
        .unwrap_or_default()
        .chunks_exact(8)
        .filter_map(|c| Some(u64::from_ne_bytes(c.try_into().ok()?)))
        .collect();
    sizes.resize(containers.len(), 0);
    sizes
}

fn open(path: &Path) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).ok()
}
