//! Pure types of the OCI specifications, and their parsers. No I/O: every parser takes `&str` or
//! bytes, so that each can be fuzzed and tested by table.
//!
//! The documents themselves (manifest, index, image configuration, runtime configuration) are the
//! types of the `oci-spec` crate; this room adds what the crate leaves out: names, digests, limits
//! on hostile input and the choice of a platform.

mod digest;
mod manifest;
mod platform;
mod reference;

pub use digest::{Algorithm, Digest, DigestError, Digester};
pub use manifest::{Compression, MANIFEST_MAX, Manifest, ManifestError, layer_compression, media};
pub use platform::{Platform, PlatformError};
pub use reference::{Reference, ReferenceError};
