//! `tag`: another name for an image; `untag`: one less. docker-image-tag(1), podman-untag(1).

use super::Error;
use super::events::{self, Action, Event};
use crate::oci::{Reference, ReferenceError};
use crate::store::{self, Store};

/// Give the image called `source` (name or id) the name `target`.
pub fn tag(store: &Store, source: &str, target: &str) -> Result<(), Error> {
    let target: Reference = target.parse()?;
    if let Some(digest) = target.digest() {
        return Err(ReferenceError::Tag(digest.to_string()).into());
    }
    let image = store.images().find(source)?;
    store.images().tag(&image, &target)?;
    let event = Event::image(Action::Tag, &image.id, &target.to_string());
    events::record(store, &event);
    Ok(())
}

/// Take `names` away from the image called `image` (name or id), or all that it has. It stays, and can be had by
/// its id. A name that it has not is an error, and then it keeps all of them.
pub fn untag(store: &Store, image: &str, names: &[String]) -> Result<(), Error> {
    let image = store.images().find(image)?;
    let records = store.images().list()?.into_iter();
    let own: Vec<Reference> = records
        .filter(|r| r.id == image.id)
        .filter_map(|r| r.reference)
        .collect();
    let mut gone = Vec::new();
    for name in names {
        let reference = name.parse()?;
        if !own.contains(&reference) {
            return Err(store::Error::NoSuchImage {
                name: reference.to_string(),
                local: None,
            }
            .into());
        }
        gone.push(reference);
    }
    for name in if names.is_empty() { &own } else { &gone } {
        store.images().untag(&image.id, name)?;
        let event = Event::image(Action::Untag, &image.id, &name.to_string());
        events::record(store, &event);
    }
    Ok(())
}
