//! `diff`: what a container changed of its image, or an image's last layer of those below.
//! docker-container-diff(1), podman-diff(1).

use super::written::{Written, layers};
use super::{Error, list};
pub use crate::layer::pack::Change;

use crate::layer::pack::{Written as How, changes};
use crate::store::{self, Store};

/// A change, and the path that it is about, with a leading slash.
pub type Changed = (Vec<u8>, Change);

/// The changes of the container of this name, or else of the image, in the order of their paths.
pub fn diff(store: &Store, name: &str) -> Result<Vec<Changed>, Error> {
    let found = match Written::of(store, name) {
        Ok(written) => {
            let found = changes(&written.tree, &written.below, written.how)?;
            written.check(store)?;
            found
        }
        Err(Error::Store(store::Error::NoSuchContainer(_))) => of_image(store, name)?,
        Err(e) => return Err(e),
    };
    let path = |path: Vec<u8>| [b"/", path.as_slice()].concat();
    Ok(found.into_iter().map(|(p, c)| (path(p), c)).collect())
}

fn of_image(store: &Store, name: &str) -> Result<Vec<Changed>, Error> {
    let image = match list::image(store, name) {
        Err(Error::Store(store::Error::NoSuchImage { .. })) => {
            return Err(Error::NeitherNor(name.to_owned()));
        }
        image => image?,
    };
    let _lease = store.lease(image.roots())?;
    let layers = layers(store, &image);
    let Some((top, below)) = layers.split_first() else {
        return Ok(Vec::new());
    };
    Ok(changes(top, below, How::Over)?)
}
