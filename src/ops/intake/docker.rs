//! The archive of `docker save`: `manifest.json` lists images, each with a configuration, names and
//! layers, which are plain tars as a rule. It has no manifest, so one is made: of OCI type, with the
//! layers as they are.

use std::collections::HashMap;
use std::io::Read;

use oci_spec::image::ImageManifest;
use serde::Deserialize;

use super::tar_index::{Archive, Packing};
use super::{CONFIG_MAX, Chosen, Document, IntakeError, Source};
use crate::oci::{Algorithm, Digest, Digester, MANIFEST_MAX, Reference, media};
use crate::ops::Error;
use crate::store;

const MANIFEST: &str = "manifest.json";
const HASH_BUFFER: usize = 256 << 10;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

/// A `docker save` archive to read from.
#[derive(Debug)]
pub(in crate::ops) struct DockerArchive {
    archive: Archive,
    /// Names in the archive by digest.
    members: HashMap<Digest, String>,
}

/// An image of the archive and its names.
#[derive(Debug)]
pub(in crate::ops) struct Offer {
    pub(in crate::ops) names: Vec<Reference>,
    pub(in crate::ops) chosen: Chosen,
}

/// Does the archive hold one?
pub(in crate::ops) fn is_in(archive: &Archive) -> bool {
    archive.has(MANIFEST)
}

fn items(archive: &Archive) -> Result<Vec<Item>, Error> {
    let bytes = archive.document(MANIFEST, "manifest", MANIFEST_MAX)?;
    Ok(
        serde_json::from_slice(&bytes).map_err(|source| IntakeError::Document {
            path: archive.path().to_owned(),
            name: MANIFEST.to_owned(),
            source,
        })?,
    )
}

/// Names by configuration digest, for an OCI layout that has a `manifest.json` beside its index (as
/// docker 25 and later write it).
pub(in crate::ops) fn names(archive: &Archive) -> Result<HashMap<String, Vec<Reference>>, Error> {
    let mut names = HashMap::new();
    for item in items(archive)? {
        let hex = item.config.rsplit('/').next().unwrap_or_default();
        let hex = hex.trim_end_matches(".json").to_owned();
        names.insert(hex, references(item.repo_tags)?);
    }
    Ok(names)
}

fn references(tags: Option<Vec<String>>) -> Result<Vec<Reference>, Error> {
    let tags = tags.unwrap_or_default();
    Ok(tags
        .iter()
        .map(|t| t.parse())
        .collect::<Result<_, crate::oci::ReferenceError>>()?)
}

#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<Digest>,
}

impl DockerArchive {
    /// Read the list of images, and find out the digest of each layer.
    pub(in crate::ops) fn open(archive: Archive) -> Result<(Self, Vec<Offer>), Error> {
        let items = items(&archive)?;
        if items.is_empty() {
            return Err(IntakeError::NoImage {
                path: archive.path().to_owned(),
            }
            .into());
        }
        let mut this = Self {
            archive,
            members: HashMap::new(),
        };
        let mut offers = Vec::with_capacity(items.len());
        for item in items {
            offers.push(this.offer(item)?);
        }
        Ok((this, offers))
    }

    fn offer(&mut self, item: Item) -> Result<Offer, Error> {
        let bytes = self
            .archive
            .document(&item.config, "configuration", CONFIG_MAX)?;
        let config: Config = serde_json::from_slice(&bytes).map_err(IntakeError::Config)?;
        let layers = item.layers.unwrap_or_default();
        let diff_ids = config.rootfs.diff_ids;
        if layers.len() != diff_ids.len() {
            return Err(IntakeError::LayerCount {
                layers: layers.len(),
                diff_ids: diff_ids.len(),
            }
            .into());
        }
        let mut descriptors = Vec::with_capacity(layers.len());
        for (name, diff_id) in layers.into_iter().zip(diff_ids) {
            let (media_type, digest) = match self.packing(&name)? {
                // Checked when it is read, as every digest.
                Packing::None => (media::OCI_LAYER, diff_id),
                Packing::Gzip => (media::OCI_LAYER_GZIP, self.hash(&name)?),
                Packing::Zstd => (media::OCI_LAYER_ZSTD, self.hash(&name)?),
                Packing::Other(kind) => {
                    let path = self.archive.path().to_owned();
                    return Err(IntakeError::Compression { path, kind }.into());
                }
            };
            descriptors.push(serde_json::json!({
                "mediaType": media_type,
                "digest": digest,
                "size": self.archive.size(&name)?,
            }));
            self.members.insert(digest, name);
        }
        let id = Digest::of(&bytes);
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": media::OCI_MANIFEST,
            "config": {
                "mediaType": media::OCI_CONFIG,
                "digest": id,
                "size": bytes.len(),
            },
            "layers": descriptors,
        });
        self.members.insert(id, item.config);
        let bytes = manifest.to_string().into_bytes();
        let parsed: ImageManifest =
            serde_json::from_slice(&bytes).map_err(crate::oci::ManifestError::from)?;
        Ok(Offer {
            names: references(item.repo_tags)?,
            chosen: Chosen {
                index: None,
                document: Document {
                    digest: Digest::of(&bytes),
                    bytes,
                },
                manifest: Box::new(parsed),
            },
        })
    }

    fn packing(&self, name: &str) -> Result<Packing, Error> {
        let mut magic = Vec::new();
        self.archive
            .member(name, 0)?
            .take(6)
            .read_to_end(&mut magic)
            .map_err(|e| self.failed(e))?;
        Ok(Packing::sniff(&magic))
    }

    fn hash(&self, name: &str) -> Result<Digest, Error> {
        let mut digester = Digester::new(Algorithm::Sha256);
        let mut member = self.archive.member(name, 0)?;
        let mut buffer = vec![0; HASH_BUFFER];
        loop {
            match member.read(&mut buffer).map_err(|e| self.failed(e))? {
                0 => return Ok(digester.finish()),
                n => digester.update(&buffer[..n]),
            }
        }
    }

    fn failed(&self, source: std::io::Error) -> IntakeError {
        IntakeError::Read {
            path: self.archive.path().to_owned(),
            source,
        }
    }
}

impl Source for DockerArchive {
    fn blob<'s>(
        &'s self,
        digest: &Digest,
        _size: u64,
        offset: u64,
    ) -> Result<Box<dyn Read + Send + 's>, Error> {
        let name = self
            .members
            .get(digest)
            .ok_or_else(|| store::Error::BlobMissing(digest.clone()))?;
        Ok(Box::new(self.archive.member(name, offset)?))
    }
}
