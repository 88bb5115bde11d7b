//! Signatures in the form that cosign invented: a signed JSON document that says which manifest is meant and
//! by which name, kept in the image's own repository under a tag made from the digest. cosign, "Signature
//! Specification"; containers-signature(5), which has the same document.

use serde::Deserialize;

use super::{Error, Identity, PublicKey};
use crate::oci::{Digest, Reference};

/// Media type of the document.
pub const PAYLOAD_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// Annotation of its descriptor: the signature over its bytes, in base64.
pub const SIGNATURE_ANNOTATION: &str = "dev.cosignproject.cosign/signature";
/// A document has some hundred bytes.
pub const PAYLOAD_MAX: u64 = 64 << 10;
/// What its `type` must be.
const KIND: &str = "cosign container image signature";

/// The tag under which the signatures of a manifest are.
pub fn tag_of(manifest: &Digest) -> String {
    format!("{}-{}.sig", manifest.algorithm().name(), manifest.hex())
}

/// A document that says that `manifest` is the image called `reference`, made by `creator` at this time (seconds
/// since 1970).
pub fn payload(reference: &str, manifest: &Digest, creator: &str, time: i64) -> Vec<u8> {
    let document = serde_json::json!({
        "critical": {
            "identity": { "docker-reference": reference },
            "image": { "docker-manifest-digest": manifest },
            "type": KIND,
        },
        "optional": { "creator": creator, "timestamp": time },
    });
    document.to_string().into_bytes()
}

/// A document and the signature over it, as they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The document.
    pub payload: Vec<u8>,
    /// Base64.
    pub signature: String,
}

/// What a document says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Claim {
    /// The name of the image.
    reference: String,
    /// Its manifest.
    manifest: Digest,
}

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    #[serde(rename = "type")]
    kind: String,
    image: Image,
    identity: Named,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: Digest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    #[serde(rename = "docker-reference")]
    reference: String,
}

impl Claim {
    fn parse(payload: &[u8]) -> Option<Self> {
        let payload: Payload = serde_json::from_slice(payload).ok()?;
        let Critical {
            kind,
            image,
            identity,
        } = payload.critical;
        (kind == KIND).then_some(Self {
            reference: identity.reference,
            manifest: image.digest,
        })
    }
}

impl Signature {
    /// What it says, if one of `keys` signed it.
    ///
    /// # Errors
    /// Why it says nothing, as words for a message.
    fn claim(&self, keys: &[PublicKey]) -> Result<Claim, &'static str> {
        use base64::Engine as _;
        let standard = base64::engine::general_purpose::STANDARD;
        let Ok(signature) = standard.decode(self.signature.trim()) else {
            return Err("a signature is not base64");
        };
        // Before a look at the content: that of a stranger means nothing.
        if !keys.iter().any(|k| k.has_signed(&self.payload, &signature)) {
            return Err("a signature was made with another key");
        }
        Claim::parse(&self.payload).ok_or("a signature is about no container image")
    }

    /// Whether it says that `image` is one of `manifests`.
    fn vouches(
        &self,
        keys: &[PublicKey],
        identity: &Identity,
        image: &Reference,
        manifests: &[&Digest],
    ) -> Result<(), String> {
        let claim = self.claim(keys)?;
        if !manifests.contains(&&claim.manifest) {
            return Err(format!("a signature is for {}", claim.manifest));
        }
        if !identity.fits(image, &claim.reference) {
            return Err(format!("a signature is for the name {:?}", claim.reference));
        }
        Ok(())
    }
}

/// Those of the signatures by one of `keys` that say that `image` is one of `manifests`, in a name that fits.
///
/// # Errors
/// There is none: why.
pub fn vouching<'s>(
    signatures: &'s [Signature],
    keys: &[PublicKey],
    identity: &Identity,
    image: &Reference,
    manifests: &[&Digest],
) -> Result<Vec<&'s Signature>, Error> {
    let mut good = Vec::new();
    let mut reasons = Vec::new();
    for signature in signatures {
        match signature.vouches(keys, identity, image, manifests) {
            Ok(()) => good.push(signature),
            Err(reason) if reasons.contains(&reason) => {}
            Err(reason) => reasons.push(reason),
        }
    }
    let image = image.to_string();
    match (good.is_empty(), reasons.is_empty()) {
        (false, _) => Ok(good),
        (true, true) => Err(Error::NotSigned {
            image,
            manifest: manifests.first().map(|d| (*d).clone()),
        }),
        (true, false) => Err(Error::NotAccepted { image, reasons }),
    }
}
