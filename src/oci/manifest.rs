//! Image manifests and indexes, OCI and Docker schema 2, with limits for hostile input.
//! OCI image-spec manifest.md and image-index.md; Docker "Image Manifest V 2, Schema 2".

use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};

/// Largest manifest or index accepted, in bytes (the distribution-spec asks registries for at least
/// 4 MiB and clients for a limit).
pub const MANIFEST_MAX: u64 = 4 << 20;

/// Most layers an image may have. The kernel's overlay takes 500 lower layers.
const LAYERS_MAX: usize = 500;

/// Media types, as registered by the OCI image-spec and Docker.
pub mod media {
    /// OCI image manifest.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI image index.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// OCI image configuration.
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// OCI layer, tar with gzip.
    pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// OCI layer, tar with zstd.
    pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// OCI layer, plain tar.
    pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// Docker schema 2 manifest.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker manifest list.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker image configuration.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// Docker layer, plain tar.
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
    /// Docker layer, tar with gzip.
    pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// Docker schema 1, which nothing has produced since 2017.
    pub const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

    /// What we ask a registry for, best first.
    pub const ACCEPT: [&str; 4] = [OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST];
}

/// A parsed manifest document.
#[derive(Clone, Debug)]
pub enum Manifest {
    /// One image.
    Image(Box<ImageManifest>),
    /// Images for several platforms.
    Index(Box<ImageIndex>),
}

/// How the bytes of a layer blob are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// A plain tar.
    None,
    /// RFC 1952, possibly several members.
    Gzip,
    /// RFC 8878, possibly several frames.
    Zstd,
}

/// Why a manifest was refused.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Larger than [`MANIFEST_MAX`].
    #[error("the manifest has {0} bytes; the limit is {MANIFEST_MAX}")]
    TooLarge(u64),
    /// A type we cannot read.
    #[error(
        "media type {0:?} is not a container image: want an OCI or Docker schema 2 manifest or index"
    )]
    MediaType(String),
    /// Docker schema 1.
    #[error(
        "this is a Docker schema 1 image, a format dropped in 2017: push it anew with a current tool"
    )]
    Schema1,
    /// The document says one type, the transport another.
    #[error("the manifest was delivered as {delivered:?} but calls itself {declared:?}")]
    MediaTypeMismatch {
        /// From the `Content-Type` header or the descriptor.
        delivered: String,
        /// From the document.
        declared: String,
    },
    /// Both `layers` and `manifests`: the two readings differ (CVE-2021-41190).
    #[error("the manifest is ambiguous: it has both layers and manifests")]
    Ambiguous,
    /// JSON syntax, or a field of the wrong shape.
    #[error("the manifest is not valid: {0}")]
    Json(#[from] serde_json::Error),
    /// More layers than an overlay can stack.
    #[error("the image has {0} layers; the limit is {LAYERS_MAX}")]
    TooManyLayers(usize),
    /// A layer in a form that is no tar, or is encrypted.
    #[error("layer media type {0:?} is not supported: want a tar, plain or with gzip or zstd")]
    LayerMediaType(String),
    /// No entry of the index fits.
    #[error("no image for {want} in the index; it has: {have}")]
    NoPlatform {
        /// What was asked for.
        want: String,
        /// What there is, comma-separated.
        have: String,
    },
}

#[derive(serde::Deserialize)]
struct Probe {
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
    #[serde(rename = "schemaVersion")]
    schema_version: Option<u32>,
    layers: Option<serde::de::IgnoredAny>,
    manifests: Option<serde::de::IgnoredAny>,
    #[serde(rename = "fsLayers")]
    fs_layers: Option<serde::de::IgnoredAny>,
}

impl Manifest {
    /// Parse a document that was delivered with `media_type` (a `Content-Type` header or a
    /// descriptor's type), if one was.
    pub fn parse(bytes: &[u8], media_type: Option<&str>) -> Result<Self, ManifestError> {
        if bytes.len() as u64 > MANIFEST_MAX {
            return Err(ManifestError::TooLarge(bytes.len() as u64));
        }
        let probe: Probe = serde_json::from_slice(bytes)?;
        if probe.fs_layers.is_some() || probe.schema_version == Some(1) {
            return Err(ManifestError::Schema1);
        }
        if probe.layers.is_some() && probe.manifests.is_some() {
            return Err(ManifestError::Ambiguous);
        }
        // A header may carry parameters ("; charset=utf-8"), and some registries answer a generic
        // type: then the document decides.
        let delivered = media_type
            .map(|t| t.split(';').next().unwrap_or(t).trim())
            .filter(|t| {
                !t.is_empty()
                    && !["application/json", "application/octet-stream", "text/plain"].contains(t)
            });
        let kind = match (delivered, probe.media_type.as_deref()) {
            (Some(a), Some(b)) if a != b => {
                return Err(ManifestError::MediaTypeMismatch {
                    delivered: a.to_owned(),
                    declared: b.to_owned(),
                });
            }
            (Some(t), _) | (None, Some(t)) => t,
            (None, None) if probe.manifests.is_some() => media::OCI_INDEX,
            (None, None) => media::OCI_MANIFEST,
        };
        match kind {
            media::OCI_MANIFEST | media::DOCKER_MANIFEST => {
                let m: ImageManifest = serde_json::from_slice(bytes)?;
                if m.layers().len() > LAYERS_MAX {
                    return Err(ManifestError::TooManyLayers(m.layers().len()));
                }
                Ok(Self::Image(Box::new(m)))
            }
            media::OCI_INDEX | media::DOCKER_LIST => {
                Ok(Self::Index(Box::new(serde_json::from_slice(bytes)?)))
            }
            media::DOCKER_SCHEMA1 => Err(ManifestError::Schema1),
            other => Err(ManifestError::MediaType(other.to_owned())),
        }
    }
}

/// How a layer's blob is packed, from its descriptor. Foreign (non-distributable) layers are read
/// like any other; the content is sniffed later, since Docker writes `tar.gzip` for all.
pub fn layer_compression(d: &Descriptor) -> Result<Compression, ManifestError> {
    let t = d.media_type().to_string();
    let base = t.strip_suffix("+encrypted").unwrap_or(&t);
    if base.len() != t.len() || !(base.contains(".layer.") || base.contains(".rootfs.")) {
        return Err(ManifestError::LayerMediaType(t));
    }
    if base.ends_with("tar+gzip") || base.ends_with("tar.gzip") {
        Ok(Compression::Gzip)
    } else if base.ends_with("tar+zstd") || base.ends_with("tar.zstd") {
        Ok(Compression::Zstd)
    } else if base.ends_with(".tar") {
        Ok(Compression::None)
    } else {
        Err(ManifestError::LayerMediaType(t))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(extra: &str) -> String {
        format!(
            r#"{{"schemaVersion":2,{extra}"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:{z}","size":2}},"layers":[]}}"#,
            z = "0".repeat(64)
        )
    }

    #[test]
    fn kinds_are_told_apart() {
        let m = manifest("");
        assert!(matches!(
            Manifest::parse(m.as_bytes(), None),
            Ok(Manifest::Image(_))
        ));
        let typed = Some("application/vnd.docker.distribution.manifest.v2+json; charset=utf-8");
        assert!(matches!(
            Manifest::parse(m.as_bytes(), typed),
            Ok(Manifest::Image(_))
        ));
        let index = br#"{"schemaVersion":2,"manifests":[]}"#;
        assert!(matches!(
            Manifest::parse(index, None),
            Ok(Manifest::Index(_))
        ));
    }

    #[test]
    fn hostile_documents_are_refused() {
        let both = manifest(r#""manifests":[],"#);
        assert!(matches!(
            Manifest::parse(both.as_bytes(), None),
            Err(ManifestError::Ambiguous)
        ));
        let lies = manifest(r#""mediaType":"application/vnd.oci.image.index.v1+json","#);
        assert!(matches!(
            Manifest::parse(lies.as_bytes(), Some(media::OCI_MANIFEST)),
            Err(ManifestError::MediaTypeMismatch { .. })
        ));
        assert!(matches!(
            Manifest::parse(br#"{"schemaVersion":1,"fsLayers":[]}"#, None),
            Err(ManifestError::Schema1)
        ));
        assert!(matches!(
            Manifest::parse(manifest("").as_bytes(), Some("text/html")),
            Err(ManifestError::MediaType(_))
        ));
        let big = vec![b' '; MANIFEST_MAX as usize + 1];
        assert!(matches!(
            Manifest::parse(&big, None),
            Err(ManifestError::TooLarge(_))
        ));
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(Manifest::parse(deep.as_bytes(), None).is_err());
        let layer = format!(
            r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:{}","size":1}}"#,
            "0".repeat(64)
        );
        let many = manifest("").replace(
            r#""layers":[]"#,
            &format!(r#""layers":[{}]"#, vec![layer; 501].join(",")),
        );
        assert!(matches!(
            Manifest::parse(many.as_bytes(), None),
            Err(ManifestError::TooManyLayers(501))
        ));
    }

    #[test]
    fn layer_types() {
        for (t, want) in [
            (
                "application/vnd.oci.image.layer.v1.tar",
                Some(Compression::None),
            ),
            (
                "application/vnd.oci.image.layer.v1.tar+gzip",
                Some(Compression::Gzip),
            ),
            (
                "application/vnd.oci.image.layer.v1.tar+zstd",
                Some(Compression::Zstd),
            ),
            (
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
                Some(Compression::Gzip),
            ),
            (
                "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                Some(Compression::Gzip),
            ),
            (
                "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
                None,
            ),
            ("application/vnd.oci.image.layer.v1.tar+lzma", None),
            ("application/octet-stream", None),
        ] {
            let d: Descriptor = serde_json::from_value(serde_json::json!({
                "mediaType": t, "digest": format!("sha256:{}", "0".repeat(64)), "size": 1
            }))
            .unwrap();
            assert_eq!(layer_compression(&d).ok(), want, "{t}");
        }
    }
}
