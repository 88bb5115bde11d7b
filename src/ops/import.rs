//! `import`: a tar of files as an image of one layer. docker-image-import(1), podman-import(1).
//!
//! The tar is the layer, byte for byte, compressed or not as it came: what it says of owners, devices and
//! attributes holds.

use std::fs::File;
use std::io::{self, Read, Seek as _, Write as _};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::Error;
pub use super::commit::Change;
use super::commit::change;
use super::events::{self, Action};
use super::intake::IntakeError;
use super::intake::tar_index::{Input, Packing};
use super::made::{self, Made};
use super::progress::Progress;
use crate::layer::{self, Limits};
use crate::oci::{Algorithm, Digest, Digester, Platform, Reference, ReferenceError, media};
use crate::store::{ImageRecord, Store};

const COPY_BUFFER: usize = 256 << 10;

/// What to make of a tar.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where it is.
    pub input: Input,
    /// The image's name; without one it is used by its id.
    pub name: Option<Reference>,
    /// A comment.
    pub message: Option<String>,
    /// In the order in which they apply.
    pub changes: Vec<Change>,
    /// What it is for; `None`: this machine.
    pub platform: Option<Platform>,
    /// Bounds on what it may make us do.
    pub limits: Limits,
}

/// Make an image of it.
pub fn import(
    store: &Store,
    request: &Request,
    progress: &dyn Progress,
) -> Result<ImageRecord, Error> {
    if let Some(digest) = request.name.as_ref().and_then(Reference::digest) {
        return Err(ReferenceError::Tag(digest.to_string()).into());
    }
    super::sweep(store);
    let layer = Layer::read(store, request)?;
    let platform = request.platform.clone().unwrap_or_else(Platform::host);
    let config = config(request, &layer, &platform)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media::OCI_MANIFEST,
        "config": {
            "mediaType": media::OCI_CONFIG,
            "digest": Digest::of(&config),
            "size": config.len(),
        },
        "layers": [{
            "mediaType": layer.media_type,
            "digest": layer.blob,
            "size": layer.size,
        }],
    });
    let made = Made {
        config,
        manifest: manifest.to_string().into_bytes(),
        layer: Some((layer.blob, layer.spool)),
    };
    let names = request.name.iter().cloned().collect();
    let image = made::bring_in(store, made, names, Some(platform), progress)?;
    events::happened_to_image(store, &image, Action::Import);
    Ok(image)
}

/// The tar, in a file that can be read again.
struct Layer {
    spool: File,
    blob: Digest,
    size: u64,
    diff_id: Digest,
    media_type: &'static str,
}

impl Layer {
    fn read(store: &Store, request: &Request) -> Result<Self, Error> {
        let path = request.input.display();
        let failed = |source: io::Error| IntakeError::Read {
            path: path.clone(),
            source,
        };
        let mut input = request.input.open().map_err(failed)?;
        let mut spool = store.spool()?;
        let mut digester = Digester::new(Algorithm::Sha256);
        let (mut size, mut magic) = (0u64, Vec::new());
        let mut buffer = vec![0; COPY_BUFFER];
        loop {
            let n = match input.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(failed(e).into()),
            };
            magic.extend(buffer[..n].iter().take(6usize.saturating_sub(magic.len())));
            size += n as u64;
            if size > request.limits.max_bytes {
                return Err(IntakeError::Limit {
                    path,
                    what: "bytes",
                    limit: request.limits.max_bytes,
                }
                .into());
            }
            digester.update(&buffer[..n]);
            let written = spool.write_all(&buffer[..n]);
            written.map_err(|e| store.spool_failed(e))?;
        }
        let media_type = match Packing::sniff(&magic) {
            Packing::Other(kind) => return Err(IntakeError::Compression { path, kind }.into()),
            Packing::None => media::OCI_LAYER,
            Packing::Gzip => media::OCI_LAYER_GZIP,
            Packing::Zstd => media::OCI_LAYER_ZSTD,
        };
        spool.rewind().map_err(|e| store.spool_failed(e))?;
        let diff_id = layer::diff_id(&spool, &request.limits).map_err(Error::from_layer)?;
        Ok(Self {
            spool,
            blob: digester.finish(),
            size,
            diff_id,
            media_type,
        })
    }
}

fn config(request: &Request, layer: &Layer, platform: &Platform) -> Result<Vec<u8>, Error> {
    let now = Timestamp::now().to_string();
    let path = request.input.display();
    let mut inner = Map::new();
    change::apply(&mut inner, &request.changes);
    let mut entry = json!({
        "created": now,
        "created_by": format!("coracle import {}", path.display()),
    });
    if let Some(message) = &request.message {
        entry["comment"] = json!(message);
    }
    let mut config: Map<String, Value> = Map::new();
    for (key, value) in [
        ("created", json!(now)),
        ("architecture", json!(platform.architecture)),
        ("os", json!(platform.os)),
        ("config", Value::Object(inner)),
        (
            "rootfs",
            json!({"type": "layers", "diff_ids": [layer.diff_id]}),
        ),
        ("history", json!([entry])),
    ] {
        config.insert(key.to_owned(), value);
    }
    if let Some(variant) = &platform.variant {
        config.insert("variant".to_owned(), json!(variant));
    }
    serde_json::to_vec(&config).map_err(|e| IntakeError::Config(e).into())
}
