//! `commit`: what a container wrote as a new layer on its image. docker-container-commit(1).
//!
//! The layer is packed into an unnamed file, manifest and configuration are made for it, and then the
//! image comes in as every other does: [`intake`] checks the digests, keeps the blob, unpacks it and
//! stores the image last.

pub(in crate::ops) mod change;

use jiff::Timestamp;
use oci_spec::image::{Descriptor, ImageManifest};
use serde_json::{Value, json};

pub use change::{Change, ChangeError};

use super::events::{self, Action};
use super::intake::IntakeError;
use super::made::{self, Made};
use super::progress::Progress;
use super::written::{Written, tell};
use super::{Error, stored};
use crate::layer::pack::{self, Packed, pack};
use crate::oci::{Compression, Digest, ManifestError, Reference, ReferenceError};
use crate::oci::{layer_compression, media};
use crate::store::{ImageRecord, Store};

/// Configuration keys of docker that tell about the container from which an image was made.
pub(in crate::ops) const OF_A_CONTAINER: [&str; 6] = [
    "id",
    "parent",
    "parent_id",
    "container",
    "container_config",
    "docker_version",
];

/// Media types of the new image's documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// OCI image-spec.
    #[default]
    Oci,
    /// Docker schema 2.
    Docker,
}

/// What to make of a container.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The new image's name; without one it is used by its id.
    pub name: Option<Reference>,
    /// Who made it.
    pub author: Option<String>,
    /// A comment.
    pub message: Option<String>,
    /// In the order in which they apply.
    pub changes: Vec<Change>,
    /// Documents of which kind.
    pub format: Format,
}

/// Make an image of the container of this name, which may run: what it writes meanwhile may be in the
/// image or not.
pub fn commit(
    store: &Store,
    container: &str,
    options: &Options,
    progress: &dyn Progress,
) -> Result<ImageRecord, Error> {
    if let Some(digest) = options.name.as_ref().and_then(Reference::digest) {
        return Err(ReferenceError::Tag(digest.to_string()).into());
    }
    super::sweep(store);
    let written = Written::of(store, container)?;
    let base = Base::read(store, &written.image)?;
    let spool = store.spool()?;
    let packed = match pack(&written.layer(), &spool, &pack::Options::default()) {
        Err(pack::Error::Output(e)) => return Err(store.spool_failed(e).into()),
        packed => packed?,
    };
    written.check(store)?;
    tell(&packed.notes, progress);
    let config = base.config(&packed, &command(store, container)?, options)?;
    let manifest = manifest(
        base.manifest.layers(),
        Some(&packed),
        &config,
        options.format,
    )?;
    let image = made::bring_in(
        store,
        Made {
            config,
            manifest,
            layer: Some((packed.blob, spool)),
        },
        options.name.iter().cloned().collect(),
        // The base's platform, whatever it is.
        written.image.platform.parse().ok(),
        progress,
    )?;
    events::happened_to_image(store, &image, Action::Commit);
    Ok(image)
}

/// The program that the container ran, for the history.
fn command(store: &Store, name: &str) -> Result<String, Error> {
    let containers = store.containers();
    let config: Option<RuntimeConfig> = containers.config(&containers.find(name)?)?;
    Ok(config.unwrap_or_default().process.args.join(" "))
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct RuntimeConfig {
    process: Process,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Process {
    args: Vec<String>,
}

/// Documents of the image below.
struct Base {
    manifest: ImageManifest,
    config: serde_json::Map<String, Value>,
}

impl Base {
    fn read(store: &Store, image: &ImageRecord) -> Result<Self, Error> {
        let manifest = stored::manifest(store, image)?;
        let config = stored::config(store, &image.id)?;
        Ok(Self {
            manifest: serde_json::from_slice(&manifest).map_err(ManifestError::from)?,
            config: serde_json::from_slice(&config).map_err(IntakeError::Config)?,
        })
    }

    /// The configuration of the new image: that of the base, unknown keys and all, and what is new.
    fn config(&self, packed: &Packed, command: &str, o: &Options) -> Result<Vec<u8>, Error> {
        let mut config = self.config.clone();
        for key in OF_A_CONTAINER {
            config.remove(key);
        }
        let now = Timestamp::now().to_string();
        config.insert("created".to_owned(), json!(now));
        if let Some(author) = &o.author {
            config.insert("author".to_owned(), json!(author));
        }
        let mut entry = json!({ "created": now, "created_by": command });
        for (key, value) in [("author", &o.author), ("comment", &o.message)] {
            if let Some(value) = value {
                entry[key] = json!(value);
            }
        }
        change::push(&mut config, "history", entry);
        change::edit(&mut config, "rootfs", |rootfs| {
            change::push(rootfs, "diff_ids", json!(packed.diff_id));
        });
        change::edit(&mut config, "config", |inner| {
            change::apply(inner, &o.changes);
        });
        serde_json::to_vec(&config).map_err(|e| IntakeError::Config(e).into())
    }
}

/// The manifest of an image: layers that there are, and one more.
pub(in crate::ops) fn manifest(
    below: &[Descriptor],
    packed: Option<&Packed>,
    config: &[u8],
    format: Format,
) -> Result<Vec<u8>, Error> {
    let mut layers = Vec::new();
    for layer in below {
        let mut descriptor = json!({
            "mediaType": layer_type(layer, format)?,
            "digest": layer.digest().to_string(),
            "size": layer.size(),
        });
        // They may say where its files are. Docker's has none.
        if let (Format::Oci, Some(annotations)) = (format, layer.annotations()) {
            descriptor["annotations"] = json!(annotations);
        }
        layers.push(descriptor);
    }
    let (own, config_type, gzip) = match format {
        Format::Oci => (
            media::OCI_MANIFEST,
            media::OCI_CONFIG,
            media::OCI_LAYER_GZIP,
        ),
        Format::Docker => (
            media::DOCKER_MANIFEST,
            media::DOCKER_CONFIG,
            media::DOCKER_LAYER_GZIP,
        ),
    };
    if let Some(packed) = packed {
        layers.push(json!({
            "mediaType": gzip,
            "digest": packed.blob,
            "size": packed.blob_size,
        }));
    }
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": own,
        "config": {
            "mediaType": config_type,
            "digest": Digest::of(config),
            "size": config.len(),
        },
        "layers": layers,
    });
    serde_json::to_vec(&manifest).map_err(|e| ManifestError::from(e).into())
}

/// The type of a layer of the base in a manifest of the other kind.
fn layer_type(layer: &Descriptor, format: Format) -> Result<&'static str, Error> {
    Ok(match (layer_compression(layer)?, format) {
        (Compression::None, Format::Oci) => media::OCI_LAYER,
        (Compression::Gzip, Format::Oci) => media::OCI_LAYER_GZIP,
        (Compression::Zstd, Format::Oci) => media::OCI_LAYER_ZSTD,
        (Compression::None, Format::Docker) => media::DOCKER_LAYER,
        (Compression::Gzip, Format::Docker) => media::DOCKER_LAYER_GZIP,
        (Compression::Zstd, Format::Docker) => return Err(Error::DockerZstd),
    })
}
