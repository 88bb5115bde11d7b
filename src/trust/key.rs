//! Keys that check signatures.

use std::path::Path;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer};
use webpki::RawPublicKeyEntity;

use super::Error;

/// A key file has some hundred bytes.
const KEY_MAX: u64 = 64 << 10;

/// What sigstore's tools sign with: ECDSA (cosign's own), Ed25519 and RSA.
const ALGORITHMS: [&dyn SignatureVerificationAlgorithm; 4] = [
    webpki::ring::ECDSA_P256_SHA256,
    webpki::ring::ECDSA_P384_SHA384,
    webpki::ring::ED25519,
    webpki::ring::RSA_PKCS1_2048_8192_SHA256,
];

/// A public key (RFC 5280, SubjectPublicKeyInfo).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(SubjectPublicKeyInfoDer<'static>);

impl PublicKey {
    /// From PEM (RFC 7468). `what`: where it stands, for messages.
    pub fn parse(pem: &[u8], what: &str) -> Result<Self, Error> {
        let bad = || Error::Key {
            what: what.to_owned(),
        };
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| bad())?;
        RawPublicKeyEntity::try_from(&der).map_err(|_| bad())?;
        Ok(Self(der))
    }

    /// From a file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let pem = super::policy::read(path, KEY_MAX)?;
        Self::parse(&pem, &path.display().to_string())
    }

    /// Whether its owner has signed `message`. An algorithm that does not fit the key says no.
    pub fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let Ok(key) = RawPublicKeyEntity::try_from(&self.0) else {
            return false;
        };
        let says_yes = |a: &&dyn SignatureVerificationAlgorithm| {
            key.verify_signature(*a, message, signature).is_ok()
        };
        ALGORITHMS.iter().any(says_yes)
    }
}
