//! `images`: what is in the store. docker-image-ls(1).

use super::Error;
use crate::oci::Reference;
use crate::store::{ImageRecord, Store};

/// All images, one entry a name, the youngest first. `filter`: only those of this repository, or of
/// this name if it has a tag.
pub fn images(store: &Store, filter: Option<&str>) -> Result<Vec<ImageRecord>, Error> {
    let mut records = store.images().list()?;
    if let Some(filter) = filter {
        let wanted: Reference = filter.parse()?;
        let has_tag = filter
            .rsplit_once(':')
            .is_some_and(|(_, t)| !t.contains('/'));
        records.retain(|r| {
            r.reference
                .as_ref()
                .is_some_and(|have| *have == wanted || (!has_tag && have.name() == wanted.name()))
        });
    }
    // RFC 3339 in UTC, as builders write it, sorts as text; the order is a convenience only.
    records.sort_by(|a, b| b.created.cmp(&a.created));
    Ok(records)
}
