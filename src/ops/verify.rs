//! `verify`: who has signed an image of a registry. cosign-verify, for a key pair.

use std::path::PathBuf;

use super::signatures;
use super::{Access, Error};
use crate::oci::{Digest, Reference};
use crate::trust::{Identity, PublicKey, vouching};

/// What to look for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The image, as its registry has it.
    pub image: Reference,
    /// Public keys, of which one must fit.
    pub keys: Vec<PathBuf>,
    /// The name in the signature must have the same tag, not only be of the same repository.
    pub exact: bool,
    /// How registries are reached.
    pub access: Access,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The manifest or index that is signed.
    pub manifest: Digest,
    /// The documents that were signed with one of the keys, and say so of this image.
    pub payloads: Vec<Vec<u8>>,
}

/// The good signatures of an image, of which there is at least one.
pub fn verify(request: &Request) -> Result<Verified, Error> {
    let keys = request.keys.iter().map(|k| PublicKey::read(k));
    let keys: Vec<PublicKey> = keys.collect::<Result<_, _>>()?;
    let client = request.access.client()?;
    let manifest = client.manifest(&request.image)?.digest;
    let all = signatures::all(&client, &request.image, &[&manifest])?;
    // cosign's own signatures name no tag.
    let identity = match request.exact {
        true => Identity::Exact,
        false => Identity::Repository,
    };
    let good = vouching(&all, &keys, &identity, &request.image, &[&manifest])?;
    let payloads = good.into_iter().map(|s| s.payload.clone()).collect();
    Ok(Verified { manifest, payloads })
}
