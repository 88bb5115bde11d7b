//! Why an image from a registry or an archive was refused.

use std::io;
use std::path::PathBuf;

use crate::oci::Digest;

/// What can be wrong with an image on its way in. Names inside come from strangers.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// A Helm chart, a signature, a WASM module …
    #[error("this is not a container image but an artifact of type {0:?}")]
    Artifact(String),
    /// The configuration is not what the specification says.
    #[error("the image configuration is not valid")]
    Config(#[source] serde_json::Error),
    /// More bytes than any configuration has.
    #[error("the image {what} has {size} bytes; the limit is {max}")]
    TooLarge {
        /// Which document.
        what: &'static str,
        /// Its size in bytes.
        size: u64,
        /// The limit.
        max: u64,
    },
    /// The document has another size than its descriptor says.
    #[error("the image {what} has {got} bytes, not the {want} that were promised")]
    Size {
        /// Which document.
        what: &'static str,
        /// Promised bytes.
        want: u64,
        /// Bytes that came.
        got: u64,
    },
    /// Manifest and configuration contradict each other.
    #[error(
        "the image is inconsistent: {layers} layers in the manifest, {diff_ids} in its configuration"
    )]
    LayerCount {
        /// Layers in the manifest.
        layers: usize,
        /// diff_ids in the configuration.
        diff_ids: usize,
    },
    /// A layer unpacks to something else than the configuration promises.
    #[error("layer {blob} unpacks to {got}, not to {want} as the image configuration promises")]
    DiffId {
        /// Digest of the blob.
        blob: Digest,
        /// diff_id in the configuration.
        want: Digest,
        /// What came out.
        got: Digest,
    },
    /// `--platform` asks for one thing, the image is another.
    #[error("the image is for {have}, not for {want}")]
    Platform {
        /// The image's.
        have: String,
        /// The wanted one.
        want: String,
    },
    /// An index inside an index inside an index …
    #[error("the image index is nested more than {0} deep")]
    Nested(u32),
    /// A file or directory of the user's cannot be read.
    #[error("cannot read {path}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The archive is no tar.
    #[error("{path}: not a tar archive (byte {offset})", path = .path.display())]
    NotTar {
        /// The archive.
        path: PathBuf,
        /// Where it stops being one.
        offset: u64,
    },
    /// A compression that no image tool writes.
    #[error("{path}: archives with {kind} compression are not supported: want gzip, zstd or none",
        path = .path.display())]
    Compression {
        /// The archive.
        path: PathBuf,
        /// Its kind.
        kind: &'static str,
    },
    /// A tar, a directory, but not of an image.
    #[error("{path}: no image found: want an OCI layout (oci-layout, index.json) or a docker archive (manifest.json)",
        path = .path.display())]
    NoImage {
        /// The archive or directory.
        path: PathBuf,
    },
    /// A limit on hostile archives.
    #[error("{path}: more than {limit} {what}", path = .path.display())]
    Limit {
        /// The archive.
        path: PathBuf,
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A document of the archive that is not valid.
    #[error("{path}: {name:?} is not valid", path = .path.display())]
    Document {
        /// The archive.
        path: PathBuf,
        /// Name in the archive.
        name: String,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// The archive lacks a file that its manifest names.
    #[error("{path}: {name:?} is missing", path = .path.display())]
    Missing {
        /// The archive.
        path: PathBuf,
        /// Name in the archive.
        name: String,
    },
    /// No image of that tag in the archive.
    #[error("{path}: no image is tagged {tag:?}; there is: {have}", path = .path.display())]
    NoTag {
        /// The archive.
        path: PathBuf,
        /// The wanted tag.
        tag: String,
        /// Those that there are.
        have: String,
    },
}

impl IntakeError {
    /// What the user can do about it, if we know.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Platform { want, .. } => Some(format!(
                "leave out --platform, or use an image made for {want}"
            )),
            Self::DiffId { .. } | Self::LayerCount { .. } | Self::Size { .. } => {
                Some("the image is damaged or forged: nothing of it was kept".to_owned())
            }
            Self::Compression { kind, .. } => Some(format!("unpack it first, with {kind} -dc")),
            _ => None,
        }
    }
}
