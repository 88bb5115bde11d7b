//! `save`: an image as an archive that every tool reads. docker-image-save(1), podman-save(1).
//!
//! The archive is the one that docker writes since version 25: an OCI layout (image-spec,
//! image-layout.md) that also has docker's `manifest.json`, so that it is a docker archive and an OCI
//! archive at once. With the same image it has the same bytes.
//!
//! # Layers whose blob was not kept
//!
//! A pull keeps the unpacked layer and not the blob. Such a layer is packed anew. It says what the original
//! said, in other bytes, so its digests differ, and with them the configuration and the image's id: the
//! caller is told. A layer that was packed by us comes out as it was.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use oci_spec::image::ImageManifest;
use serde_json::{Map, Value, json};

use super::Error;
use super::intake::IntakeError;
use super::progress::Progress;
use super::written::{layers, tell};
use crate::layer::pack::{self, Files, What, pack};
use crate::oci::{Digest, Digester, MANIFEST_MAX, ManifestError, Reference, media};
use crate::store::{self, ImageRecord, Store};

/// Largest image configuration; larger ones were never let in.
const CONFIG_MAX: u64 = 8 << 20;

/// Where the image goes.
#[derive(Debug)]
pub enum Output {
    /// An archive, to a file or standard output.
    Archive(File),
    /// An OCI layout directory, which must be new or empty.
    Dir(PathBuf),
}

/// What was saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Its id in the store.
    pub id: Digest,
    /// Its id where it is loaded.
    pub saved_id: Digest,
}

/// Save the image called `name` (name or id).
pub fn save(
    store: &Store,
    name: &str,
    output: Output,
    progress: &dyn Progress,
) -> Result<Saved, Error> {
    let image = store.images().find(name)?;
    let _lease = store.lease(image.roots())?;
    let parts = Parts::collect(store, &image, progress)?;
    let reference = image.reference.as_ref().filter(|r| r.digest().is_none());
    match output {
        Output::Archive(file) => {
            let mut tar = Files::new(io::BufWriter::new(file));
            parts.write(reference, &mut tar)?;
            tar.finish().map_err(pack::Error::Output)?;
        }
        Output::Dir(dir) => {
            make_empty(&dir)?;
            parts.write(reference, &mut Layout(dir))?;
        }
    }
    Ok(Saved {
        id: image.id,
        saved_id: parts.config.0,
    })
}

/// A layer's blob.
struct Blob {
    digest: Digest,
    size: u64,
    file: File,
}

/// Hashes what is read.
struct Hashing<'a> {
    file: &'a File,
    digester: Digester,
}

impl Read for Hashing<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buf)?;
        self.digester.update(&buf[..n]);
        Ok(n)
    }
}

struct Parts {
    config: (Digest, Vec<u8>),
    manifest: (Digest, Vec<u8>, String),
    /// Bottom first.
    layers: Vec<Blob>,
}

impl Parts {
    fn collect(store: &Store, image: &ImageRecord, progress: &dyn Progress) -> Result<Self, Error> {
        let config = store.blobs().read(&image.id, CONFIG_MAX)?;
        let manifest = store.blobs().read(&image.manifest, MANIFEST_MAX)?;
        let parsed: ImageManifest =
            serde_json::from_slice(&manifest).map_err(ManifestError::from)?;
        let mut blobs = Vec::new();
        let mut diff_ids = Vec::new();
        let mut anew = false;
        let trees = layers(store, image);
        for (layer, tree) in image.layers.iter().zip(trees.into_iter().rev()) {
            if store.blobs().has(&layer.blob) {
                let path = store.blobs().path(&layer.blob);
                blobs.push(Blob {
                    digest: layer.blob.clone(),
                    size: layer.blob_size,
                    file: File::open(&path).map_err(|e| Error::file("open", &path, e))?,
                });
                diff_ids.push(layer.diff_id.clone());
                continue;
            }
            let spool = store.spool()?;
            let what = What::Layer { tree, below: None };
            let packed = match pack(&what, &spool, &pack::Options::default()) {
                Err(pack::Error::Output(e)) => return Err(store.spool_failed(e).into()),
                packed => packed?,
            };
            tell(&packed.notes, progress);
            io::Seek::rewind(&mut &spool).map_err(|e| store.spool_failed(e))?;
            anew = true;
            blobs.push(Blob {
                digest: packed.blob,
                size: packed.blob_size,
                file: spool,
            });
            diff_ids.push(packed.diff_id);
        }
        let own_type = match parsed.media_type() {
            Some(own) => own.to_string(),
            None => media::OCI_MANIFEST.to_owned(),
        };
        let (config, manifest) = match anew {
            true => renewed(&config, &parsed, &own_type, &blobs, &diff_ids)?,
            false => (config, manifest),
        };
        Ok(Self {
            config: (Digest::of(&config), config),
            manifest: (Digest::of(&manifest), manifest, own_type),
            layers: blobs,
        })
    }

    fn write(&self, name: Option<&Reference>, out: &mut impl Target) -> Result<(), Error> {
        let blob =
            |digest: &Digest| format!("blobs/{}/{}", digest.algorithm().name(), digest.hex());
        for dir in ["blobs", "blobs/sha256"] {
            out.dir(dir)?;
        }
        // An image may have the same layer twice, or one may be a blob of another algorithm.
        let mut written = std::collections::BTreeSet::new();
        for layer in &self.layers {
            if !written.insert(&layer.digest) {
                continue;
            }
            if layer.digest.algorithm() != crate::oci::Algorithm::Sha256 {
                out.dir(&format!("blobs/{}", layer.digest.algorithm().name()))?;
            }
            let mut content = Hashing {
                file: &layer.file,
                digester: Digester::new(layer.digest.algorithm()),
            };
            out.file(&blob(&layer.digest), layer.size, &mut content)?;
            let actual = content.digester.finish();
            if actual != layer.digest {
                let digest = layer.digest.clone();
                return Err(store::Error::BlobCorrupt { digest, actual }.into());
            }
        }
        let mut document = |path: &str, bytes: &[u8]| out.file(path, bytes.len() as u64, bytes);
        document(&blob(&self.config.0), &self.config.1)?;
        document(&blob(&self.manifest.0), &self.manifest.1)?;
        let mut entry = json!({
            "mediaType": self.manifest.2,
            "digest": self.manifest.0,
            "size": self.manifest.1.len(),
        });
        if let Some(name) = name {
            entry["annotations"] = json!({
                "io.containerd.image.name": name.to_string(),
                "org.opencontainers.image.ref.name": name.tag().unwrap_or("latest"),
            });
        }
        let index = json!({
            "schemaVersion": 2,
            "mediaType": media::OCI_INDEX,
            "manifests": [entry],
        });
        document("index.json", index.to_string().as_bytes())?;
        let docker = json!([{
            "Config": blob(&self.config.0),
            "RepoTags": name.map(|n| vec![n.to_string()]).unwrap_or_default(),
            "Layers": self.layers.iter().map(|l| blob(&l.digest)).collect::<Vec<_>>(),
        }]);
        document("manifest.json", docker.to_string().as_bytes())?;
        document("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)
    }
}

/// Configuration and manifest for layers of which some were packed anew.
fn renewed(
    config: &[u8],
    manifest: &ImageManifest,
    own_type: &str,
    blobs: &[Blob],
    diff_ids: &[Digest],
) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let mut document: Map<String, Value> =
        serde_json::from_slice(config).map_err(IntakeError::Config)?;
    let had: Option<Vec<Digest>> = document
        .get("rootfs")
        .and_then(|r| serde_json::from_value(r.get("diff_ids")?.clone()).ok());
    let config = match had.as_deref() == Some(diff_ids) {
        // All were ours, and are what they were: so is the image.
        true => config.to_vec(),
        false => {
            document.insert(
                "rootfs".to_owned(),
                json!({ "type": "layers", "diff_ids": diff_ids }),
            );
            serde_json::to_vec(&document).map_err(IntakeError::Config)?
        }
    };
    let docker = own_type == media::DOCKER_MANIFEST;
    let gzip = match docker {
        true => media::DOCKER_LAYER_GZIP,
        false => media::OCI_LAYER_GZIP,
    };
    let mut layers = Vec::new();
    for (old, new) in manifest.layers().iter().zip(blobs) {
        let same = old.digest().to_string() == new.digest.to_string();
        layers.push(json!({
            "mediaType": if same { old.media_type().to_string() } else { gzip.to_owned() },
            "digest": new.digest,
            "size": new.size,
        }));
    }
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": own_type,
        "config": {
            "mediaType": manifest.config().media_type().to_string(),
            "digest": Digest::of(&config),
            "size": config.len(),
        },
        "layers": layers,
    });
    let manifest = serde_json::to_vec(&manifest).map_err(ManifestError::from)?;
    Ok((config, manifest))
}

/// What files are written to.
trait Target {
    fn dir(&mut self, path: &str) -> Result<(), Error>;
    fn file(&mut self, path: &str, size: u64, content: impl Read) -> Result<(), Error>;
}

impl<W: Write> Target for Files<W> {
    fn dir(&mut self, path: &str) -> Result<(), Error> {
        Ok(Self::dir(self, path).map_err(pack::Error::Output)?)
    }

    fn file(&mut self, path: &str, size: u64, content: impl Read) -> Result<(), Error> {
        Ok(Self::file(self, path, size, content).map_err(pack::Error::Output)?)
    }
}

/// A layout directory.
struct Layout(PathBuf);

impl Target for Layout {
    fn dir(&mut self, path: &str) -> Result<(), Error> {
        let path = self.0.join(path);
        std::fs::create_dir(&path).map_err(|e| Error::file("create the directory", &path, e))
    }

    fn file(&mut self, path: &str, size: u64, content: impl Read) -> Result<(), Error> {
        let path = self.0.join(path);
        let copied = File::create_new(&path)
            .and_then(|mut file| io::copy(&mut content.take(size), &mut file));
        match copied {
            Ok(n) if n == size => Ok(()),
            Ok(_) => Err(Error::file(
                "write",
                &path,
                io::ErrorKind::UnexpectedEof.into(),
            )),
            Err(e) => Err(Error::file("write", &path, e)),
        }
    }
}

/// A new directory, or one with nothing in it.
fn make_empty(dir: &Path) -> Result<(), Error> {
    match std::fs::create_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        result => return result.map_err(|e| Error::file("create the directory", dir, e)),
    }
    let first = std::fs::read_dir(dir).map(|mut d| d.next().is_some());
    match first.map_err(|e| Error::file("read the directory", dir, e))? {
        false => Ok(()),
        true => Err(Error::file(
            "save to the directory",
            dir,
            io::Error::from(io::ErrorKind::DirectoryNotEmpty),
        )),
    }
}
