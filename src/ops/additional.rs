//! Images of stores that others share ([`Additional`]): looked for where ours has none, brought in without a network
//! when a container is to be made of one, and a place to take blobs from whatever is pulled.
//!
//! Whatever comes from there goes the way of every image ([`intake`]): documents and blobs are checked against their
//! digests, layers against the configuration. Names are the owner's word.

use std::io::{Read, Seek as _, SeekFrom};
use std::ops::Range;

use super::intake::{self, Document, Names, Source};
use super::progress::Progress;
use super::{Error, signatures};
use crate::oci::{Digest, MANIFEST_MAX};
use crate::store::{self, Additional, ImageRecord, Store};
use crate::trust::Image;

/// The image that the user means, of the first additional store that has it.
pub(super) fn find<'s>(
    store: &'s Store,
    name: &str,
) -> Result<Option<(ImageRecord, &'s Additional)>, Error> {
    for additional in store.additional() {
        // The images of a list need have no name there, nor be there.
        let found = additional.find(name)?;
        if let Some(image) = found.filter(|i| !i.is_list()) {
            return Ok(Some((image, additional)));
        }
    }
    Ok(None)
}

/// Bring an image into the store under the name that it has in `from`.
pub(super) fn adopt(
    store: &Store,
    image: &ImageRecord,
    from: &Additional,
    options: &intake::Options,
    progress: &dyn Progress,
) -> Result<ImageRecord, Error> {
    let document = |digest: &Digest| match from.document(digest, MANIFEST_MAX)? {
        Some(bytes) => Ok(Document {
            digest: digest.clone(),
            bytes,
        }),
        None => Err(Error::from(store::Error::BlobMissing(digest.clone()))),
    };
    let (shelf, platform) = (Shelf(from), options.platform.as_ref());
    let mut chosen = intake::choose(&shelf, document(&image.manifest)?, None, platform)?;
    // What the manifest was chosen from by the owner.
    chosen.index = image.index.as_ref().map(document).transpose()?;
    if let Some(reference) = &image.reference {
        let manifests = std::iter::once(&chosen.document).chain(&chosen.index);
        let manifests: Vec<&Digest> = manifests.map(|d| &d.digest).collect();
        signatures::check(Image::Docker(reference), &manifests, options, None)?;
    }
    // Of the repositories only the one that the name says: others are where a stranger would have us push from.
    let repository = image.reference.as_ref().map(crate::oci::Reference::name);
    let names = Names {
        references: image.reference.iter().cloned().collect(),
        repository: repository.filter(|r| image.repositories.contains(r)),
    };
    intake::image(store, &shelf, &chosen, &names, options, progress)
}

/// One additional store as the source of all blobs.
struct Shelf<'a>(&'a Additional);

impl Source for Shelf<'_> {
    fn blob<'s>(
        &'s self,
        digest: &Digest,
        _size: u64,
        offset: u64,
    ) -> Result<Box<dyn Read + Send + 's>, Error> {
        match blob(self.0, digest, offset)? {
            Some(blob) => Ok(blob),
            None => Err(store::Error::BlobMissing(digest.clone()).into()),
        }
    }
}

/// Another source, of which nothing is asked that an additional store has.
pub(super) struct Nearby<'a> {
    pub(super) store: &'a Store,
    pub(super) inner: &'a dyn Source,
}

impl Source for Nearby<'_> {
    fn blob<'s>(
        &'s self,
        digest: &Digest,
        size: u64,
        offset: u64,
    ) -> Result<Box<dyn Read + Send + 's>, Error> {
        for additional in self.store.additional() {
            match blob(additional, digest, offset) {
                Ok(Some(blob)) => return Ok(blob),
                Ok(None) => {}
                // It only saves time.
                Err(e) => log::warn!("{e}"),
            }
        }
        self.inner.blob(digest, size, offset)
    }

    fn part<'s>(
        &'s self,
        digest: &Digest,
        size: u64,
        range: Range<u64>,
    ) -> Option<Result<Box<dyn Read + Send + 's>, Error>> {
        let mut shared = self.store.additional().iter();
        match shared.any(|a| matches!(a.has(digest), Ok(true))) {
            // All of it costs nothing.
            true => None,
            false => self.inner.part(digest, size, range),
        }
    }

    fn manifest(&self, digest: &Digest, size: u64) -> Result<Vec<u8>, Error> {
        self.inner.manifest(digest, size)
    }
}

fn blob(
    from: &Additional,
    digest: &Digest,
    offset: u64,
) -> Result<Option<Box<dyn Read + Send>>, Error> {
    let Some(mut file) = from.blob(digest)? else {
        return Ok(None);
    };
    let seek = file.seek(SeekFrom::Start(offset));
    seek.map_err(|e| Error::file("read", from.root(), e))?;
    Ok(Some(Box::new(file)))
}
