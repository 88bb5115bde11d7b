//! How an operation tells what it is doing, without knowing who looks on.

use crate::oci::Digest;

/// A layer that an image needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Digest of its blob.
    pub digest: Digest,
    /// Bytes of its blob.
    pub size: u64,
    /// It is in the store already.
    pub present: bool,
}

/// Receives events; called by several threads at once.
pub trait Progress: Sync {
    /// Before the first layer: all of them, bottom first.
    fn plan(&self, layers: &[Planned]) {
        let _ = layers;
    }

    /// A layer begins, with `have` of its bytes on disk from an earlier attempt.
    fn begin(&self, layer: &Digest, have: u64) {
        let _ = (layer, have);
    }

    /// A layer begins, of which `have` bytes are not needed, since other layers in the store have the same files.
    fn partly(&self, layer: &Digest, have: u64) {
        let _ = (layer, have);
    }

    /// The next `bytes` of the layer's blob have been read.
    fn advance(&self, layer: &Digest, bytes: u64) {
        let _ = (layer, bytes);
    }

    /// The layer turned out to be where it is to be.
    fn skip(&self, layer: &Digest) {
        let _ = layer;
    }

    /// The layer is where it is to be: unpacked in the store, or with a registry.
    fn done(&self, layer: &Digest) {
        let _ = layer;
    }

    /// How something was understood, where it is not obvious.
    fn note(&self, message: &str) {
        let _ = message;
    }

    /// Something the user should know that is no error.
    fn warn(&self, message: &str) {
        let _ = message;
    }
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {}
