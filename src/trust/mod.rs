//! Who must have signed an image, and whether they have: containers-policy.json(5), and sigstore signatures
//! that were made with a key pair, as cosign, skopeo and podman make them. Pure but for reading the policy and
//! the keys that it names: signatures are handed in.
//!
//! Invariants: what is not understood refuses. An unknown member of the policy, a key that cannot be read, a
//! kind of signature that we cannot check: all are errors, never "no signature needed". Signatures come from
//! strangers, and nothing of them counts before the key has said so.
//!
//! Used by `ops` when an image comes in; what is in the store has come in.

mod error;
mod identity;
mod key;
mod policy;
mod private;
mod sigstore;

pub use error::Error;
pub use identity::Identity;
pub use key::PublicKey;
pub use policy::{Image, Policy, Requirement};
pub use private::PrivateKey;
pub use sigstore::{
    PAYLOAD_MAX, PAYLOAD_TYPE, SIGNATURE_ANNOTATION, Signature, payload, tag_of, vouching,
};
