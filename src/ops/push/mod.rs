//! `push`: an image to a registry. podman-push(1), docker-image-push(1).
//!
//! An image that was pulled and not changed is the same image there, digest for digest, if the blob of each layer
//! can be had; they are looked for in this order:
//!
//! 1. the repository has it: nothing to do;
//! 2. the store kept it;
//! 3. another repository of the same registry has it: the registry takes it from there;
//! 4. an encoder of ours made it, and makes it again ([`outgoing`](super::outgoing));
//! 5. a registry that the image came from still has it: it is handed through, and checked on the way.
//!
//! Only then is the layer compressed anew, under a new manifest, and the user told. The manifest goes last, so that
//! whoever can see it can have all of it; a list goes after its images.

mod image;
mod list;

use super::commit::Format;
use super::events::{self, Action, Event};
use super::progress::Progress;
use super::{Access, Error, stored};
use crate::layer::Compression;
use crate::oci::{Digest, Reference};
use crate::store::{self, ImageRecord, Store};
use image::Image;

pub(super) use image::Checked;

/// How to push.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How registries are reached.
    pub access: Access,
    /// Documents of which kind; `None`: as the image has them.
    pub format: Option<Format>,
    /// Compress layers that are not compressed like this.
    pub compression: Option<Kind>,
    /// At this level, also those that are compressed so already.
    pub level: Option<i32>,
    /// Also those, at the level that is usual.
    pub force: bool,
    /// Of a list only its document: the registry has the images.
    pub bare: bool,
}

/// What layers are compressed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// RFC 1952; levels 0 to 9.
    Gzip,
    /// RFC 8878; levels 1 to 22.
    Zstd,
    /// The same with a table of contents, so that a pull need not fetch what is there.
    ZstdChunked,
}

impl Kind {
    fn with(self, level: Option<i32>) -> Compression {
        match (self, level) {
            (Self::Gzip, None) => Compression::default(),
            (Self::Gzip, Some(level)) => Compression::gzip(level.clamp(0, 9).unsigned_abs()),
            (Self::Zstd, level) => Compression::zstd(level),
            (Self::ZstdChunked, level) => Compression::zstd_chunked(level),
        }
    }
}

/// What was pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Under which name.
    pub reference: Reference,
    /// The manifest's digest there.
    pub digest: Digest,
}

/// Push the image called `name` (name or id) to `destination`, or to where its name says.
pub fn push(
    store: &Store,
    name: &str,
    destination: Option<&Reference>,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Pushed, Error> {
    let ([image], _lease) = stored::leased(store, || Ok([stored::find(store, name)?]))?;
    let reference = match (destination, &image.reference) {
        (Some(destination), _) => destination,
        (None, Some(own)) => own,
        (None, None) => return Err(Error::NoDestination(name.to_owned())),
    };
    one(store, &image, reference, options, progress)
}

/// Push an image, or a list with its images. The caller keeps in the store what they need.
pub(super) fn one(
    store: &Store,
    image: &ImageRecord,
    reference: &Reference,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Pushed, Error> {
    let client = options.access.client()?;
    match image.is_list() {
        true => list::push(store, image, reference, &client, options, progress),
        false => Image::new(store, image, reference, &client, options, progress)?.push(),
    }
    .inspect(|_| {
        let event = Event::image(Action::Push, &image.id, &reference.to_string());
        events::record(store, &event);
    })
}

/// Push every image of the repository that `name` is in, each under its tag.
pub fn push_all(
    store: &Store,
    name: &Reference,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Vec<Pushed>, Error> {
    let of_it = |i: &ImageRecord| {
        (i.reference.as_ref()).is_some_and(|r| r.digest().is_none() && r.name() == name.name())
    };
    let (mut images, _lease) = stored::leased(store, || {
        let all = store.images().list()?.into_iter();
        Ok(all.filter(of_it).collect::<Vec<_>>())
    })?;
    if images.is_empty() {
        return Err(store::Error::NoSuchImage {
            name: name.name(),
            local: None,
        }
        .into());
    }
    images.sort_by_key(|i| i.reference.as_ref().map(ToString::to_string));
    let push = |image: &ImageRecord| {
        let reference = image.reference.as_ref().unwrap_or(name);
        one(store, image, reference, options, progress)
    };
    images.iter().map(push).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_those_of_the_encoder() {
        assert_eq!(Kind::Gzip.with(Some(99)), Compression::gzip(9));
        assert_eq!(Kind::Gzip.with(None), Compression::default());
        assert_eq!(Kind::Zstd.with(Some(7)), Compression::zstd(Some(7)));
    }
}
