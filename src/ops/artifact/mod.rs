//! `artifact`: files in a registry that are no image, and what refers to an image. image-spec 1.1, manifest.md,
//! "Guidelines for Artifact Usage"; distribution-spec 1.1, "Listing Referrers"; podman-artifact(1), oras(1).
//!
//! An artifact is a manifest whose layers are files as they are, each with its name in an annotation. It goes from
//! files to a registry and back; the store has nothing to do with it.

mod error;
mod files;
mod name;
mod push;

use std::collections::BTreeMap;
use std::path::PathBuf;

use oci_spec::image::ImageManifest;
use serde_json::{Value, json};

pub use error::ArtifactError;
pub use files::{Pulled, pull};
pub use name::is_media_type;
pub use push::push;

use super::intake::digest_of;
use super::progress::Progress;
use super::{Access, Error};
use crate::oci::{Digest, Manifest, ManifestError, Reference};
use crate::registry::{Client, Fetched, Referrer};

/// The name of a file.
const TITLE: &str = "org.opencontainers.image.title";
/// The two bytes `{}`, which stand for nothing at all.
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
/// What has no type of its own: image-spec, as of oras.
const UNKNOWN_TYPE: &str = "application/vnd.unknown.artifact.v1";

/// A file to push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// What it is; `None`: bytes.
    pub media_type: Option<String>,
}

/// What is said of an artifact.
#[derive(Clone, Debug, Default)]
pub struct Made {
    /// How registries are reached.
    pub access: Access,
    /// What it is.
    pub artifact_type: Option<String>,
    /// What it refers to: a manifest of the same repository, by name or digest.
    pub subject: Option<String>,
    /// More about it.
    pub annotations: BTreeMap<String, String>,
}

/// How to pull.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// How registries are reached.
    pub access: Access,
    /// Where the files go; made if it is not there.
    pub directory: PathBuf,
    /// Replace files that are there.
    pub overwrite: bool,
    /// Most bytes of all files.
    pub max_size: u64,
}

/// A file of an artifact, as its manifest describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, in its maker's words, if it has one.
    pub title: Option<String>,
    /// What it is.
    pub media_type: String,
    /// Its bytes' digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
}

/// An artifact as its registry has it.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// As it was asked for.
    pub name: Reference,
    /// Digest of its manifest.
    pub digest: Digest,
    /// The manifest.
    pub manifest: Value,
    /// What it says that it is: its type, or that of its configuration.
    pub artifact_type: String,
    /// Its files.
    pub entries: Vec<Entry>,
}

fn reference(name: &str) -> Result<Reference, Error> {
    Ok(name.strip_prefix("docker://").unwrap_or(name).parse()?)
}

fn tell(client: &Client, progress: &dyn Progress) {
    for notice in client.take_notices() {
        progress.warn(&notice.to_string());
    }
}

/// What a registry has under `name`.
pub fn inspect(access: &Access, name: &str, progress: &dyn Progress) -> Result<Artifact, Error> {
    let client = access.client()?;
    let artifact = look(&client, name);
    tell(&client, progress);
    artifact
}

fn look(client: &Client, name: &str) -> Result<Artifact, Error> {
    let name = reference(name)?;
    let Fetched {
        bytes,
        media_type,
        digest,
    } = client.manifest(&name)?;
    let Manifest::Image(manifest) = Manifest::parse(&bytes, media_type.as_deref())? else {
        return Err(ArtifactError::Index(name.to_string()).into());
    };
    Ok(Artifact {
        name,
        digest,
        manifest: serde_json::from_slice(&bytes).map_err(ManifestError::from)?,
        artifact_type: match manifest.artifact_type() {
            Some(own) => own.to_string(),
            None => manifest.config().media_type().to_string(),
        },
        entries: entries(&manifest)?,
    })
}

/// What is not there to stand for nothing.
fn entries(manifest: &ImageManifest) -> Result<Vec<Entry>, Error> {
    let layers = manifest.layers().iter();
    let files = layers.filter(|l| l.media_type().to_string() != EMPTY_TYPE);
    files
        .map(|layer| {
            let annotations = layer.annotations().as_ref();
            Ok(Entry {
                title: annotations.and_then(|a| a.get(TITLE)).cloned(),
                media_type: layer.media_type().to_string(),
                digest: digest_of(layer)?,
                size: layer.size(),
            })
        })
        .collect()
}

/// The digest that `name` has, and what refers to it.
pub fn referrers(
    access: &Access,
    name: &str,
    artifact_type: Option<&str>,
    progress: &dyn Progress,
) -> Result<(Reference, Vec<Referrer>), Error> {
    if let Some(bad) = artifact_type.filter(|t| !is_media_type(t)) {
        return Err(ArtifactError::MediaType(bad.to_owned()).into());
    }
    let client = access.client()?;
    let name = reference(name)?;
    // A digest need not be there: things may refer to what is gone.
    let digest = match name.digest() {
        Some(digest) => digest.clone(),
        None => client.manifest(&name)?.digest,
    };
    let found = client.referrers(&name, &digest, artifact_type);
    tell(&client, progress);
    Ok((name.with_digest(digest), found?))
}

fn descriptor(media_type: &str, digest: &Digest, size: u64) -> Value {
    json!({ "mediaType": media_type, "digest": digest, "size": size })
}
