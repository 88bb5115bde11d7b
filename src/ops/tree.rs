//! `image tree`: the layers of an image, and who else has them. podman-image-tree(1).

use super::{Error, list};
use crate::oci::{Digest, Reference};
use crate::store::{ImageRecord, Store};

/// An image and its layers.
#[derive(Clone, Debug)]
pub struct Tree {
    /// Its record, under one of its names.
    pub image: ImageRecord,
    /// All its names.
    pub names: Vec<Reference>,
    /// The lowest first.
    pub layers: Vec<Layer>,
}

/// One layer.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Digest of the plain tar.
    pub diff_id: Digest,
    /// Bytes of its regular files.
    pub size: u64,
    /// Names of other images that have it.
    pub others: Vec<Reference>,
}

/// The tree of the image called `name` (name or id).
pub fn tree(store: &Store, name: &str) -> Result<Tree, Error> {
    let image = list::image(store, name)?;
    let all = store.images().list()?;
    let (own, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|i| i.id == image.id);
    let layers = image.layers.iter().map(|layer| Layer {
        diff_id: layer.diff_id.clone(),
        size: layer.size,
        others: others
            .iter()
            .filter(|o| o.diff_ids().any(|d| *d == layer.diff_id))
            .filter_map(|o| o.reference.clone())
            .collect(),
    });
    Ok(Tree {
        layers: layers.collect(),
        names: own.into_iter().filter_map(|i| i.reference).collect(),
        image,
    })
}
