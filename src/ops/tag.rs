//! `tag`: another name for an image. docker-image-tag(1).

use super::Error;
use crate::oci::{Reference, ReferenceError};
use crate::store::Store;

/// Give the image called `source` (name or id) the name `target`.
pub fn tag(store: &Store, source: &str, target: &str) -> Result<(), Error> {
    let target: Reference = target.parse()?;
    if let Some(digest) = target.digest() {
        return Err(ReferenceError::Tag(digest.to_string()).into());
    }
    let image = store.images().find(source)?;
    store.images().tag(&image, &target)?;
    Ok(())
}
