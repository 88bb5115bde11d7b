//! The signatures of an image, from where its registry has them, and the policy that asks for them.

use std::io::Read as _;

use oci_spec::image::ImageManifest;

use super::Error;
use super::intake::{self, digest_of};
use crate::config::Env;
use crate::oci::{Digest, Reference};
use crate::registry::{self, Client};
use crate::trust::{
    Image, PAYLOAD_MAX, PAYLOAD_TYPE, Policy, SIGNATURE_ANNOTATION, Signature, tag_of,
};

/// Signatures of one manifest that are looked at. Real images have one or two.
const SIGNATURES_MAX: usize = 64;

/// Whether `image` may come in, by the policy that applies. `client`: asked for signatures if they are
/// needed.
pub(super) fn check(
    image: Image<'_>,
    manifests: &[&Digest],
    options: &intake::Options,
    client: Option<&Client>,
) -> Result<(), Error> {
    let Some(policy) = Policy::load(options.signature_policy.as_deref(), Env::process())? else {
        return Ok(());
    };
    policy.check(image, manifests, |reference| match client {
        Some(client) => all(client, reference, manifests),
        None => Ok(Vec::new()),
    })
}

/// The signatures of these manifests.
pub(super) fn all(
    client: &Client,
    image: &Reference,
    manifests: &[&Digest],
) -> Result<Vec<Signature>, Error> {
    let mut found = Vec::new();
    for manifest in manifests {
        found.extend(of(client, image, manifest)?);
    }
    Ok(found)
}

fn of(client: &Client, image: &Reference, manifest: &Digest) -> Result<Vec<Signature>, Error> {
    let name: Reference = format!("{}:{}", image.name(), tag_of(manifest)).parse()?;
    let document = match client.manifest(&name) {
        Ok(fetched) => fetched.bytes,
        Err(registry::Error::NotFound { .. }) => return Ok(Vec::new()),
        Err(e) => return Err(e.into()),
    };
    // Not a manifest of ours: nothing that could be a signature.
    let Ok(document) = serde_json::from_slice::<ImageManifest>(&document) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for layer in document.layers().iter().take(SIGNATURES_MAX) {
        let annotations = layer.annotations().as_ref();
        let signature = annotations.and_then(|a| a.get(SIGNATURE_ANNOTATION));
        let (Some(signature), true) = (
            signature,
            layer.media_type().to_string() == PAYLOAD_TYPE && layer.size() <= PAYLOAD_MAX,
        ) else {
            continue;
        };
        // Whether the bytes are those of the digest does not matter: the signature is over the bytes.
        let blob = client.blob(&name, &digest_of(layer)?, layer.size(), 0)?;
        let mut payload = Vec::new();
        blob.take(PAYLOAD_MAX)
            .read_to_end(&mut payload)
            .map_err(Error::from_reader)?;
        found.push(Signature {
            payload,
            signature: signature.clone(),
        });
    }
    Ok(found)
}
