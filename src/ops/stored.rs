//! The documents of an image in the store, for everyone who reads them.

use super::intake::CONFIG_MAX;
use super::{Error, additional};
use crate::oci::{Digest, MANIFEST_MAX};
use crate::store::{self, ImageRecord, Lease, Store};

/// The image called `name` (name or id), of this store or of one that others share.
pub(super) fn find(store: &Store, name: &str) -> Result<ImageRecord, Error> {
    match store.images().find(name) {
        Err(e @ store::Error::NoSuchImage { .. }) => match additional::find(store, name)? {
            Some((image, _)) => Ok(image),
            None => Err(e.into()),
        },
        found => Ok(found?),
    }
}

/// The images that `look` finds, and a lease for all that they need: nothing of it goes between the two.
pub(super) fn leased<T: AsRef<[ImageRecord]>>(
    store: &Store,
    look: impl FnOnce() -> Result<T, Error>,
) -> Result<(T, Lease), Error> {
    let _guard = store.shared()?;
    let images = look()?;
    let roots = images.as_ref().iter().flat_map(ImageRecord::roots);
    let lease = store.lease(roots)?;
    Ok((images, lease))
}

/// The image's configuration, as large as one may be that comes in.
pub(super) fn config(store: &Store, id: &Digest) -> Result<Vec<u8>, Error> {
    document(store, id, id, CONFIG_MAX)
}

/// The image's manifest.
pub(super) fn manifest(store: &Store, image: &ImageRecord) -> Result<Vec<u8>, Error> {
    document(store, &image.id, &image.manifest, MANIFEST_MAX)
}

/// Whether the image was removed since it was looked up: then it is missed, and nothing is damaged.
pub(super) fn is_gone(e: &Error) -> bool {
    matches!(e, Error::Store(store::Error::NoSuchImage { .. }))
}

pub(super) fn document(
    store: &Store,
    id: &Digest,
    digest: &Digest,
    max: u64,
) -> Result<Vec<u8>, Error> {
    let missing = match store.blobs().read(digest, max) {
        Err(e @ store::Error::BlobMissing(_)) => e,
        read => return Ok(read?),
    };
    for additional in store.additional() {
        if let Some(bytes) = additional.document(digest, max)? {
            return Ok(bytes);
        }
    }
    // By its id: whatever its names are by now.
    store.images().find(&id.to_string())?;
    Err(missing.into())
}
