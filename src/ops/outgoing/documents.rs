//! Configuration and manifest for the blobs that go out. Pure.

use oci_spec::image::ImageManifest;
use serde_json::{Map, Value, json};

use super::Blob;
use crate::layer::Compression;
use crate::layer::chunked::Annotations;
use crate::oci::{Digest, ManifestError, media};
use crate::ops::Error;
use crate::ops::commit::Format;
use crate::ops::intake::IntakeError;

/// What goes out beside the blobs.
#[derive(Debug)]
pub(in crate::ops) struct Documents {
    /// Configuration and its digest: the image's id.
    pub(in crate::ops) config: (Digest, Vec<u8>),
    pub(in crate::ops) manifest: (Digest, Vec<u8>),
    pub(in crate::ops) media_type: String,
}

/// What a manifest says of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::ops) struct Described {
    pub(in crate::ops) digest: Digest,
    pub(in crate::ops) size: u64,
    pub(in crate::ops) diff_id: Digest,
    /// How it is compressed, if it is not the blob that the manifest named.
    pub(in crate::ops) made: Option<Compression>,
    /// What the manifest says of it besides, if it has a table of contents and was made just now.
    pub(in crate::ops) annotations: Option<Annotations>,
}

impl From<&Blob> for Described {
    fn from(blob: &Blob) -> Self {
        Self {
            digest: blob.digest.clone(),
            size: blob.size,
            diff_id: blob.diff_id.clone(),
            made: blob.made,
            annotations: blob.annotations.clone(),
        }
    }
}

/// The image's own documents if they fit the layers and the format, else such as do.
pub(in crate::ops) fn documents(
    config: Vec<u8>,
    manifest: Vec<u8>,
    layers: &[Described],
    format: Option<Format>,
) -> Result<Documents, Error> {
    let parsed: ImageManifest = serde_json::from_slice(&manifest).map_err(ManifestError::from)?;
    let own_type = match parsed.media_type() {
        Some(own) => own.to_string(),
        None => media::OCI_MANIFEST.to_owned(),
    };
    let own = match own_type == media::DOCKER_MANIFEST {
        true => Format::Docker,
        false => Format::Oci,
    };
    let is_zstd = |l: &Described| {
        matches!(
            l.made,
            Some(Compression::Zstd { .. } | Compression::ZstdChunked { .. })
        )
    };
    let format = match format {
        Some(format) => format,
        // Docker's manifest has no type for it.
        None if layers.iter().any(is_zstd) => Format::Oci,
        None => own,
    };
    let same = |(old, new): (&oci_spec::image::Descriptor, &Described)| {
        old.digest().to_string() == new.digest.to_string()
    };
    if format == own && parsed.layers().iter().zip(layers).all(same) {
        return Ok(Documents {
            config: (Digest::of(&config), config),
            manifest: (Digest::of(&manifest), manifest),
            media_type: own_type,
        });
    }
    let config = fitting(config, layers)?;
    let mut described = Vec::new();
    for (old, new) in parsed.layers().iter().zip(layers) {
        let media_type = match new.made {
            Some(compression) if !same((old, new)) => media_type(compression, format)?.to_owned(),
            _ => converted(old.media_type().as_ref(), format)?,
        };
        let mut descriptor = json!({
            "mediaType": media_type,
            "digest": new.digest,
            "size": new.size,
        });
        // Docker's has none. Another blob than the one that the old ones describe has its own.
        let annotations = match same((old, new)) {
            true => old.annotations().as_ref().map(|a| json!(a)),
            false => new.annotations.as_ref().map(|a| json!(a)),
        };
        if let (Format::Oci, Some(annotations)) = (format, annotations) {
            descriptor["annotations"] = annotations;
        }
        described.push(descriptor);
    }
    let (media_type, config_type) = match format {
        Format::Oci => (media::OCI_MANIFEST, media::OCI_CONFIG),
        Format::Docker => (media::DOCKER_MANIFEST, media::DOCKER_CONFIG),
    };
    let mut document = json!({
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": {
            "mediaType": config_type,
            "digest": Digest::of(&config),
            "size": config.len(),
        },
        "layers": described,
    });
    // Docker's has no annotations.
    if format == Format::Oci
        && let Some(annotations) = parsed.annotations()
    {
        document["annotations"] = json!(annotations);
    }
    let manifest = serde_json::to_vec(&document).map_err(ManifestError::from)?;
    Ok(Documents {
        config: (Digest::of(&config), config),
        manifest: (Digest::of(&manifest), manifest),
        media_type: media_type.to_owned(),
    })
}

/// The configuration, with other diff_ids if the layers have others.
fn fitting(config: Vec<u8>, layers: &[Described]) -> Result<Vec<u8>, Error> {
    let mut document: Map<String, Value> =
        serde_json::from_slice(&config).map_err(IntakeError::Config)?;
    let diff_ids: Vec<&Digest> = layers.iter().map(|l| &l.diff_id).collect();
    let diff_ids = json!(diff_ids);
    if document.get("rootfs").and_then(|r| r.get("diff_ids")) == Some(&diff_ids) {
        return Ok(config);
    }
    document.insert(
        "rootfs".to_owned(),
        json!({ "type": "layers", "diff_ids": diff_ids }),
    );
    Ok(serde_json::to_vec(&document).map_err(IntakeError::Config)?)
}

fn media_type(compression: Compression, format: Format) -> Result<&'static str, Error> {
    Ok(match (compression, format) {
        (Compression::None, Format::Oci) => media::OCI_LAYER,
        (Compression::Gzip { .. } | Compression::Zlib { .. }, Format::Oci) => media::OCI_LAYER_GZIP,
        (Compression::Zstd { .. } | Compression::ZstdChunked { .. }, Format::Oci) => {
            media::OCI_LAYER_ZSTD
        }
        (Compression::None, Format::Docker) => media::DOCKER_LAYER,
        (Compression::Gzip { .. } | Compression::Zlib { .. }, Format::Docker) => {
            media::DOCKER_LAYER_GZIP
        }
        (Compression::Zstd { .. } | Compression::ZstdChunked { .. }, Format::Docker) => {
            return Err(Error::DockerZstd);
        }
    })
}

/// The same layer's type in the other kind of manifest.
fn converted(own: &str, format: Format) -> Result<String, Error> {
    const PAIRS: [(&str, &str); 2] = [
        (media::OCI_LAYER, media::DOCKER_LAYER),
        (media::OCI_LAYER_GZIP, media::DOCKER_LAYER_GZIP),
    ];
    if format == Format::Docker && own == media::OCI_LAYER_ZSTD {
        return Err(Error::DockerZstd);
    }
    let other = PAIRS.iter().find_map(|(oci, docker)| match format {
        Format::Oci => (*docker == own).then_some(*oci),
        Format::Docker => (*oci == own).then_some(*docker),
    });
    Ok(other.unwrap_or(own).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    fn layer(name: &str, made: Option<Compression>) -> Described {
        Described {
            digest: d(name),
            size: 7,
            diff_id: d("diff"),
            made,
            annotations: None,
        }
    }

    fn image(manifest_type: &str, layer_type: &str) -> (Vec<u8>, Vec<u8>) {
        let config = json!({ "os": "linux", "odd": 1.50, "rootfs": { "type": "layers", "diff_ids": [d("diff")] } });
        let config = format!(" {config}").into_bytes();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": manifest_type,
            "config": { "mediaType": media::OCI_CONFIG, "digest": Digest::of(&config), "size": config.len() },
            "layers": [{ "mediaType": layer_type, "digest": d("blob"), "size": 7 }],
            "annotations": { "a": "b" },
        });
        (config, format!("{manifest:#}").into_bytes())
    }

    #[test]
    fn what_fits_is_left_alone() {
        let (config, manifest) = image(media::OCI_MANIFEST, media::OCI_LAYER_GZIP);
        for format in [None, Some(Format::Oci)] {
            let made = Some(Compression::default());
            for layer in [layer("blob", None), layer("blob", made)] {
                let got = documents(config.clone(), manifest.clone(), &[layer], format).unwrap();
                assert_eq!(got.manifest, (Digest::of(&manifest), manifest.clone()));
                assert_eq!(got.config, (Digest::of(&config), config.clone()));
            }
        }
    }

    #[test]
    fn other_blobs_of_the_same_layers_keep_the_id() {
        let (config, manifest) = image(media::OCI_MANIFEST, media::OCI_LAYER_ZSTD);
        let new = layer("new", Some(Compression::default()));
        let got = documents(config.clone(), manifest, &[new], None).unwrap();
        assert_eq!(got.config.1, config);
        let text = String::from_utf8(got.manifest.1).unwrap();
        assert!(text.contains(media::OCI_LAYER_GZIP) && text.contains(&d("new").to_string()));
        assert!(text.contains(r#""annotations":{"a":"b"}"#), "{text}");
    }

    #[test]
    fn other_layers_change_the_id() {
        let (config, manifest) = image(media::OCI_MANIFEST, media::OCI_LAYER_GZIP);
        let mut new = layer("new", Some(Compression::default()));
        new.diff_id = d("other");
        let got = documents(config.clone(), manifest, &[new], None).unwrap();
        assert_ne!(got.config.1, config);
        let text = String::from_utf8(got.config.1).unwrap();
        assert!(text.contains(&d("other").to_string()) && text.contains("linux"));
    }

    #[test]
    fn formats_are_converted() {
        let (config, manifest) = image(media::OCI_MANIFEST, media::OCI_LAYER_GZIP);
        let old = || [layer("blob", None)];
        let docker = documents(config.clone(), manifest, &old(), Some(Format::Docker)).unwrap();
        assert_eq!(docker.media_type, media::DOCKER_MANIFEST);
        let text = String::from_utf8(docker.manifest.1.clone()).unwrap();
        assert!(text.contains(media::DOCKER_LAYER_GZIP) && !text.contains("annotations"));
        assert!(
            text.contains(media::DOCKER_CONFIG) && !text.contains("vnd.oci"),
            "{text}"
        );
        let oci = documents(config.clone(), docker.manifest.1, &old(), Some(Format::Oci)).unwrap();
        let text = String::from_utf8(oci.manifest.1).unwrap();
        assert!(
            text.contains(media::OCI_LAYER_GZIP) && !text.contains("vnd.docker"),
            "{text}"
        );

        // Zstd has no place in docker's: it becomes the other, or is refused.
        let (config, manifest) = image(media::DOCKER_MANIFEST, media::DOCKER_LAYER_GZIP);
        let zstd = || [layer("new", Some(Compression::zstd(None)))];
        let got = documents(config.clone(), manifest.clone(), &zstd(), None).unwrap();
        assert_eq!(got.media_type, media::OCI_MANIFEST);
        let refused = documents(config.clone(), manifest, &zstd(), Some(Format::Docker));
        assert!(matches!(refused, Err(Error::DockerZstd)));
        let (_, manifest) = image(media::OCI_MANIFEST, media::OCI_LAYER_ZSTD);
        let refused = documents(config, manifest, &old(), Some(Format::Docker));
        assert!(matches!(refused, Err(Error::DockerZstd)));
    }
}
