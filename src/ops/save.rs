//! `save`: images as an archive that every tool reads. docker-image-save(1), podman-save(1).
//!
//! The archive is the one that docker writes since version 25: an OCI layout (image-spec,
//! image-layout.md) that also has docker's `manifest.json`, so that it is a docker archive and an OCI
//! archive at once. With the same images it has the same bytes.
//!
//! # Layers whose blob was not kept
//!
//! See [`outgoing`](super::outgoing): the image's id stays what it is, but for layers of an older store. Their digests
//! change where another tool compressed them; a registry would be asked for the originals, an archive is made of what is
//! here.
//!
//! # Several images
//!
//! share the blobs that they have in common. An image that is named twice is one image with two names.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::commit::Format;
use super::outgoing::{Blob, Described, Documents, Outgoing, documents};
use super::progress::Progress;
use super::{Error, list, stored};
use crate::layer::Compression;
use crate::layer::pack::{self, Files};
use crate::oci::{Algorithm, Digest, Reference, media};
use crate::store::{ImageRecord, Store};

/// Where the images go.
#[derive(Debug)]
pub enum Output {
    /// An archive, to a file or standard output.
    Archive(File),
    /// An OCI layout directory, which must be new or empty.
    OciDir(PathBuf),
    /// A directory of the `dir:` transport, with docker's manifest (containers-transports(5)): for one image.
    DockerDir(PathBuf),
}

/// What was saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// As the caller named it.
    pub name: String,
    /// Its id in the store.
    pub id: Digest,
    /// Its id where it is loaded.
    pub saved_id: Digest,
    /// Digest of its manifest there.
    pub manifest: Digest,
}

/// Save the images of these names or ids.
pub fn save(
    store: &Store,
    names: &[String],
    output: Output,
    progress: &dyn Progress,
) -> Result<Vec<Saved>, Error> {
    let (found, _lease) = stored::leased(store, || {
        let find = |name: &String| list::image(store, name);
        names.iter().map(find).collect::<Result<Vec<_>, _>>()
    })?;
    let named: Vec<_> = names.iter().cloned().zip(found).collect();
    images(store, &named, output, progress)
}

/// The same for images that were found, each with the name that the caller has for it. The caller keeps in the
/// store what they need.
pub(super) fn images(
    store: &Store,
    named: &[(String, ImageRecord)],
    output: Output,
    progress: &dyn Progress,
) -> Result<Vec<Saved>, Error> {
    let images = || named.iter().map(|(_, image)| image);
    let format = matches!(output, Output::DockerDir(_)).then_some(Format::Docker);
    let mut parts: Vec<Parts> = Vec::new();
    for image in images() {
        let name = image.reference.clone().filter(|r| r.digest().is_none());
        let known = |p: &&mut Parts| p.id == image.id && p.own_manifest == image.manifest;
        match parts.iter_mut().find(known) {
            Some(known) => known.names.extend(name),
            None => parts.push(Parts::collect(store, image, name, format, progress)?),
        }
    }
    match output {
        Output::Archive(file) => {
            let mut tar = Files::new(io::BufWriter::new(file));
            write_layout(&parts, &mut tar)?;
            tar.finish().map_err(pack::Error::Output)?;
        }
        Output::OciDir(dir) => {
            make_empty(&dir)?;
            write_layout(&parts, &mut Directory(dir))?;
        }
        Output::DockerDir(dir) => {
            let [one] = &parts[..] else {
                return Err(Error::OneImage("docker-dir"));
            };
            make_empty(&dir)?;
            write_dir(one, &mut Directory(dir))?;
        }
    }
    let mut saved = Vec::new();
    for (name, image) in named {
        let part = parts
            .iter()
            .find(|p| p.id == image.id && p.own_manifest == image.manifest);
        saved.extend(part.map(|part| Saved {
            name: name.clone(),
            id: image.id.clone(),
            saved_id: part.documents.config.0.clone(),
            manifest: part.documents.manifest.0.clone(),
        }));
    }
    Ok(saved)
}

/// One image.
struct Parts {
    id: Digest,
    own_manifest: Digest,
    names: Vec<Reference>,
    documents: Documents,
    /// Bottom first.
    layers: Vec<Blob>,
}

impl Parts {
    fn collect(
        store: &Store,
        image: &ImageRecord,
        name: Option<Reference>,
        format: Option<Format>,
        progress: &dyn Progress,
    ) -> Result<Self, Error> {
        let config = stored::config(store, &image.id)?;
        let manifest = stored::manifest(store, image)?;
        let mut layers = Vec::new();
        for layer in &image.layers {
            let outgoing = Outgoing { store, layer };
            let blob = match outgoing.kept()? {
                Some(kept) => Some(kept),
                None => outgoing.again()?,
            };
            layers.push(match blob {
                Some(blob) => blob,
                // As `push` would: it is the same image then.
                None => outgoing.anew(Compression::anew(), progress)?,
            });
        }
        let described: Vec<Described> = layers.iter().map(Described::from).collect();
        Ok(Self {
            id: image.id.clone(),
            own_manifest: image.manifest.clone(),
            names: name.into_iter().collect(),
            documents: documents(config, manifest, &described, format)?,
            layers,
        })
    }
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

/// An OCI layout that is a docker archive as well.
fn write_layout(parts: &[Parts], out: &mut impl Target) -> Result<(), Error> {
    for dir in ["blobs", "blobs/sha256"] {
        out.dir(dir)?;
    }
    let layers = || parts.iter().flat_map(|p| &p.layers);
    if layers().any(|l| l.digest.algorithm() == Algorithm::Sha512) {
        out.dir("blobs/sha512")?;
    }
    // Images share layers, and one may have the same layer twice.
    let mut written = BTreeSet::new();
    for layer in layers() {
        if written.insert(&layer.digest) {
            out.blob(&blob_path(&layer.digest), layer)?;
        }
    }
    let mut entries = Vec::new();
    let mut docker = Vec::new();
    for part in parts {
        let Documents {
            config,
            manifest,
            media_type,
        } = &part.documents;
        for (digest, bytes) in [config, manifest] {
            if written.insert(digest) {
                out.document(&blob_path(digest), bytes)?;
            }
        }
        let entry = json!({
            "mediaType": media_type,
            "digest": manifest.0,
            "size": manifest.1.len(),
        });
        for name in &part.names {
            let mut entry = entry.clone();
            entry["annotations"] = json!({
                "io.containerd.image.name": name.to_string(),
                "org.opencontainers.image.ref.name": name.tag().unwrap_or("latest"),
            });
            entries.push(entry);
        }
        if part.names.is_empty() {
            entries.push(entry);
        }
        docker.push(json!({
            "Config": blob_path(&config.0),
            "RepoTags": part.names.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "Layers": part.layers.iter().map(|l| blob_path(&l.digest)).collect::<Vec<_>>(),
        }));
    }
    let index = json!({
        "schemaVersion": 2,
        "mediaType": media::OCI_INDEX,
        "manifests": entries,
    });
    out.document("index.json", index.to_string().as_bytes())?;
    out.document("manifest.json", json!(docker).to_string().as_bytes())?;
    out.document("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)
}

/// What skopeo calls `dir:`.
fn write_dir(part: &Parts, out: &mut impl Target) -> Result<(), Error> {
    let path = |digest: &Digest| match digest.algorithm() {
        Algorithm::Sha256 => digest.hex().to_owned(),
        other => format!("{}-{}", other.name(), digest.hex()),
    };
    let mut written = BTreeSet::new();
    for layer in &part.layers {
        if written.insert(&layer.digest) {
            out.blob(&path(&layer.digest), layer)?;
        }
    }
    let Documents {
        config, manifest, ..
    } = &part.documents;
    out.document(&path(&config.0), &config.1)?;
    out.document("manifest.json", &manifest.1)?;
    out.document("version", b"Directory Transport Version: 1.1\n")
}

/// What files are written to.
trait Target {
    fn dir(&mut self, path: &str) -> Result<(), Error>;
    fn file(&mut self, path: &str, size: u64, content: impl Read) -> Result<(), Error>;

    fn blob(&mut self, path: &str, blob: &Blob) -> Result<(), Error> {
        let content = blob.reader().map_err(Error::Stream)?;
        self.file(path, blob.size, content)
    }

    fn document(&mut self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        self.file(path, bytes.len() as u64, bytes)
    }
}

impl<W: Write> Target for Files<W> {
    fn dir(&mut self, path: &str) -> Result<(), Error> {
        Ok(Self::dir(self, path).map_err(pack::Error::Output)?)
    }

    fn file(&mut self, path: &str, size: u64, content: impl Read) -> Result<(), Error> {
        Self::file(self, path, size, content).map_err(|e| match e.downcast() {
            Ok(store) => Error::Store(store),
            Err(e) => pack::Error::Output(e).into(),
        })
    }
}

/// A directory to write to.
struct Directory(PathBuf);

impl Target for Directory {
    fn dir(&mut self, path: &str) -> Result<(), Error> {
        let path = self.0.join(path);
        std::fs::create_dir(&path).map_err(|e| Error::file("create the directory", &path, e))
    }

    fn file(&mut self, path: &str, size: u64, content: impl Read) -> Result<(), Error> {
        let path = self.0.join(path);
        let copied = File::create_new(&path)
            .and_then(|mut file| io::copy(&mut content.take(size), &mut file));
        let e = match copied {
            Ok(n) if n == size => return Ok(()),
            Ok(_) => io::ErrorKind::UnexpectedEof.into(),
            Err(e) => e,
        };
        match e.downcast() {
            Ok(store) => Err(Error::Store(store)),
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
