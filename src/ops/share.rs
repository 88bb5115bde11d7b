//! `system share`: let others read the images of a store, or no longer.

use super::Error;
pub use crate::store::Share;
use crate::store::Store;

/// Who may read the images from now on; `None`: nobody else. Returns how many images they cannot have, since the
/// compressed layers were not kept: a pull brings those.
pub fn share(store: &mut Store, share: Option<Share>) -> Result<usize, Error> {
    store.share(share)?;
    let images = store.images().list()?;
    let lacks = |blob| !store.blobs().has(blob);
    let unreadable = images
        .iter()
        .filter(|i| share.is_some() && i.layers.iter().any(|l| lacks(&l.blob)));
    Ok(unreadable.count())
}
