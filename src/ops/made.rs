//! Images that are made here, of documents in memory and one new layer in a file: they come in by the same
//! door as those of others.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;

use oci_spec::image::ImageManifest;

use super::Error;
use super::intake::{self, Chosen, Document, Names, Source};
use super::progress::Progress;
use crate::oci::{Digest, ManifestError, Platform, Reference};
use crate::store::{ImageRecord, Keep, Lease, Store};

/// What was made.
pub(super) struct Made {
    /// The image configuration.
    pub(super) config: Vec<u8>,
    /// The manifest.
    pub(super) manifest: Vec<u8>,
    /// The new layer's blob and its digest, if there is a new layer.
    pub(super) layer: Option<(Digest, File)>,
}

/// Check, unpack and name it, as [`intake`] does with every image.
pub(super) fn bring_in(
    store: &Store,
    made: Made,
    references: Vec<Reference>,
    platform: Option<Platform>,
    progress: &dyn Progress,
) -> Result<ImageRecord, Error> {
    let names = Names {
        references,
        repository: None,
    };
    let way = Way::new(made, platform, progress)?;
    let image = intake::image(
        store,
        &way.source,
        &way.chosen,
        &names,
        &way.options,
        &way.warnings,
    );
    image.inspect_err(|e| intake::discard(store, e))
}

/// The same, and nobody sees it yet: it stays as long as the leases do.
pub(super) fn bring_in_unseen(
    store: &Store,
    made: Made,
    platform: Option<Platform>,
    progress: &dyn Progress,
) -> Result<(ImageRecord, Vec<Lease>), Error> {
    let way = Way::new(made, platform, progress)?;
    let image = intake::unnamed(
        store,
        &way.source,
        &way.chosen,
        &Names::default(),
        &way.options,
        &way.warnings,
    );
    image.inspect_err(|e| intake::discard(store, e))
}

/// What [`intake`] wants to know.
struct Way<'p> {
    source: Blobs,
    chosen: Chosen,
    options: intake::Options,
    warnings: Warnings<'p>,
}

impl<'p> Way<'p> {
    fn new(
        made: Made,
        platform: Option<Platform>,
        progress: &'p dyn Progress,
    ) -> Result<Self, Error> {
        let manifest: ImageManifest =
            serde_json::from_slice(&made.manifest).map_err(ManifestError::from)?;
        Ok(Self {
            chosen: Chosen {
                index: None,
                manifest: Box::new(manifest),
                document: Document {
                    digest: Digest::of(&made.manifest),
                    bytes: made.manifest.clone(),
                },
            },
            options: intake::Options {
                platform,
                // Nobody else has this blob.
                keep: Keep::Blob,
                jobs: 1,
                ..intake::Options::default()
            },
            source: Blobs {
                config: Digest::of(&made.config),
                made,
            },
            warnings: Warnings(progress),
        })
    }
}

struct Blobs {
    config: Digest,
    made: Made,
}

impl Source for Blobs {
    fn blob<'s>(
        &'s self,
        digest: &Digest,
        _size: u64,
        offset: u64,
    ) -> Result<Box<dyn Read + Send + 's>, Error> {
        if *digest == self.config {
            let from = usize::try_from(offset).unwrap_or(usize::MAX);
            return Ok(Box::new(self.made.config.get(from..).unwrap_or_default()));
        }
        if let Some((layer, spool)) = &self.made.layer
            && digest == layer
        {
            return Ok(Box::new(At {
                file: spool,
                at: offset,
            }));
        }
        // A layer of the base, which its container pins: it was removed by hand.
        Err(crate::store::Error::BlobMissing(digest.clone()).into())
    }
}

/// Reads a file from an offset, without moving anybody else's.
struct At<'a> {
    file: &'a File,
    at: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(buf, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// Nothing is fetched, so there is no progress to show.
struct Warnings<'a>(&'a dyn Progress);

impl Progress for Warnings<'_> {
    fn warn(&self, message: &str) {
        self.0.warn(message);
    }
}
