//! `sign`: a signature for an image of a registry, stored beside it. cosign-sign, for a key pair.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use base64::Engine as _;
use jiff::Timestamp;
use oci_spec::image::ImageManifest;
use serde_json::{Value, json};

use super::intake::digest_of;
use super::{Access, Error};
use crate::oci::{Digest, Manifest, ManifestError, Reference, media};
use crate::registry::{self, Client, Upload};
use crate::trust::{
    Error as TrustError, PAYLOAD_TYPE, PrivateKey, SIGNATURE_ANNOTATION, payload, tag_of,
};

/// What to sign, and how.
#[derive(Clone, Debug)]
pub struct Request {
    /// The image, as its registry has it.
    pub image: Reference,
    /// The private key.
    pub key: PathBuf,
    /// Of an index also the images in it.
    pub recursive: bool,
    /// How registries are reached.
    pub access: Access,
}

/// Sign it. Returns the digests of what is signed now. `passphrase`: asked for if the key is sealed.
pub fn sign<E: From<Error>>(
    request: &Request,
    passphrase: impl FnOnce() -> Result<String, E>,
) -> Result<Vec<Digest>, E> {
    let key = PrivateKey::read(&request.key, passphrase, |e| E::from(e.into()))?;
    Ok(sign_with(request, &key)?)
}

fn sign_with(request: &Request, key: &PrivateKey) -> Result<Vec<Digest>, Error> {
    let Request { image, .. } = request;
    let client = request.access.client()?;
    let fetched = client.manifest(image)?;
    let mut manifests = vec![fetched.digest.clone()];
    let parsed = Manifest::parse(&fetched.bytes, fetched.media_type.as_deref())?;
    if let (Manifest::Index(index), true) = (parsed, request.recursive) {
        for entry in index.manifests() {
            manifests.push(digest_of(entry)?);
        }
    }
    for manifest in &manifests {
        let signature = Signed::new(image, manifest, key)?;
        signature.store(&client, image, manifest)?;
    }
    Ok(manifests)
}

struct Signed {
    payload: Vec<u8>,
    signature: String,
}

impl Signed {
    fn new(image: &Reference, manifest: &Digest, key: &PrivateKey) -> Result<Self, Error> {
        // By digest it has no name but its repository's.
        let name = match image.digest() {
            Some(_) => image.name(),
            None => image.to_string(),
        };
        let creator = concat!("coracle ", env!("CARGO_PKG_VERSION"));
        let time = Timestamp::now().as_second();
        let payload = payload(&name, manifest, creator, time);
        let signature = key.sign(&payload).ok_or(TrustError::Sign)?;
        Ok(Self {
            payload,
            signature: base64::engine::general_purpose::STANDARD.encode(signature),
        })
    }

    /// Beside those that are there.
    fn store(&self, client: &Client, image: &Reference, manifest: &Digest) -> Result<(), Error> {
        let name: Reference = format!("{}:{}", image.name(), tag_of(manifest)).parse()?;
        let mut layers = match client.manifest(&name) {
            Ok(fetched) => {
                let known: ImageManifest =
                    serde_json::from_slice(&fetched.bytes).map_err(ManifestError::from)?;
                let layers = known.layers().iter().map(serde_json::to_value);
                layers
                    .collect::<Result<Vec<Value>, _>>()
                    .map_err(ManifestError::from)?
            }
            Err(registry::Error::NotFound { .. }) => Vec::new(),
            Err(e) => return Err(e.into()),
        };
        let digest = Digest::of(&self.payload);
        layers.push(json!({
            "mediaType": PAYLOAD_TYPE,
            "digest": digest,
            "size": self.payload.len(),
            "annotations": HashMap::from([(SIGNATURE_ANNOTATION, &self.signature)]),
        }));
        upload(client, &name, &digest, &self.payload)?;
        // As cosign writes it: an image whose layers are the documents.
        let diff_ids: Vec<&Value> = layers.iter().filter_map(|l| l.get("digest")).collect();
        let config = json!({
            "architecture": "",
            "os": "",
            "config": {},
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = config.to_string().into_bytes();
        let config_digest = Digest::of(&config);
        upload(client, &name, &config_digest, &config)?;
        let document = json!({
            "schemaVersion": 2,
            "mediaType": media::OCI_MANIFEST,
            "config": {
                "mediaType": media::OCI_CONFIG,
                "digest": config_digest,
                "size": config.len(),
            },
            "layers": layers,
        });
        client.put_manifest(&name, document.to_string().as_bytes(), media::OCI_MANIFEST)?;
        Ok(())
    }
}

fn upload(client: &Client, name: &Reference, digest: &Digest, bytes: &[u8]) -> Result<(), Error> {
    if client.has_blob(name, digest)? {
        return Ok(());
    }
    let open = |from: u64| -> io::Result<Box<dyn io::Read>> {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let rest = bytes.get(from..).unwrap_or_default().to_vec();
        Ok(Box::new(io::Cursor::new(rest)))
    };
    Ok(client.push_blob(
        name,
        &Upload {
            digest,
            size: bytes.len() as u64,
            open: &open,
            progress: &|_| {},
        },
    )?)
}
