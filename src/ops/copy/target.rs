//! Where a copy goes: a registry, an OCI layout, a layout in a tar, a directory of blobs.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Document, Place};
use crate::layer::pack::Files;
use crate::oci::{Algorithm, Digest, MANIFEST_MAX, Reference, media};
use crate::ops::{Access, Error};
use crate::registry::{self, Client, Open, Upload};
use crate::store;

const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// A place that takes blobs and manifests.
pub(super) trait Target {
    /// Is it an OCI layout?
    fn is_layout(&self) -> bool {
        false
    }

    /// Is the blob there?
    fn has(&mut self, digest: &Digest) -> Result<bool, Error>;

    /// Take it from another repository of the same registry.
    fn mount(&mut self, digest: &Digest, from: Option<&Reference>) -> Result<bool, Error> {
        let _ = (digest, from);
        Ok(false)
    }

    /// Take it from a stream that checks itself.
    fn blob(
        &mut self,
        digest: &Digest,
        size: u64,
        open: &Open<'_>,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(), Error>;

    /// A manifest that only an index names.
    fn manifest(&mut self, document: &Document, media_type: &str) -> Result<(), Error>;

    /// The document that is called by the place's name: the last one.
    fn finish(&mut self, document: &Document, media_type: &str) -> Result<(), Error>;
}

pub(super) fn open(place: &Place, access: &Access) -> Result<Box<dyn Target>, Error> {
    Ok(match place {
        Place::Registry(reference) => {
            if reference.digest().is_some() {
                return Err(Error::PushDigest(reference.clone()));
            }
            Box::new(Registry {
                client: access.client()?,
                reference: reference.clone(),
            })
        }
        Place::OciDir { path, tag } => Box::new(Directory::open(path, tag.clone(), true)?),
        Place::Dir(path) => Box::new(Directory::open(path, None, false)?),
        Place::OciArchive { path, tag } => Box::new(Archive::create(path, tag.clone())?),
        Place::DockerArchive { .. } | Place::Store(_) => {
            return Err(Error::CopyTo(place.to_string()));
        }
    })
}

/// What a reader of ours failed with, or else `or`.
fn reader_failed(e: io::Error, or: impl FnOnce(io::Error) -> Error) -> Error {
    let e = match e.downcast::<Error>() {
        Ok(ours) => return ours,
        Err(e) => e,
    };
    match Error::from_reader(e) {
        Error::Stream(e) => or(e),
        ours => ours,
    }
}

struct Registry {
    client: Client,
    reference: Reference,
}

impl Target for Registry {
    fn has(&mut self, digest: &Digest) -> Result<bool, Error> {
        Ok(self.client.has_blob(&self.reference, digest)?)
    }

    fn mount(&mut self, digest: &Digest, from: Option<&Reference>) -> Result<bool, Error> {
        let Some(from) = from.filter(|f| f.registry() == self.reference.registry()) else {
            return Ok(false);
        };
        let from = from.repository();
        Ok(self.client.mount(&self.reference, digest, from)?)
    }

    fn blob(
        &mut self,
        digest: &Digest,
        size: u64,
        open: &Open<'_>,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(), Error> {
        let upload = Upload {
            digest,
            size,
            open,
            progress,
        };
        match self.client.push_blob(&self.reference, &upload) {
            Err(registry::Error::Source { what, source }) => Err(reader_failed(source, |source| {
                registry::Error::Source { what, source }.into()
            })),
            result => Ok(result?),
        }
    }

    fn manifest(&mut self, document: &Document, media_type: &str) -> Result<(), Error> {
        let name = self.reference.with_digest(document.digest.clone());
        self.client
            .put_manifest(&name, &document.bytes, media_type)?;
        Ok(())
    }

    fn finish(&mut self, document: &Document, media_type: &str) -> Result<(), Error> {
        self.client
            .put_manifest(&self.reference, &document.bytes, media_type)?;
        Ok(())
    }
}

/// Entries of an `index.json` with this one in place of an older one of the same name.
fn entries(
    mut had: Vec<Value>,
    document: &Document,
    media_type: &str,
    tag: Option<&str>,
) -> Vec<Value> {
    let name = |entry: &Value| entry["annotations"][REF_NAME].as_str().map(str::to_owned);
    had.retain(|entry| name(entry).as_deref() != tag);
    let mut entry = json!({
        "mediaType": media_type,
        "digest": document.digest,
        "size": document.bytes.len(),
    });
    if let Some(tag) = tag {
        entry["annotations"] = json!({ REF_NAME: tag });
    }
    had.push(entry);
    had
}

fn index(manifests: &[Value]) -> Vec<u8> {
    let index = json!({
        "schemaVersion": 2,
        "mediaType": media::OCI_INDEX,
        "manifests": manifests,
    });
    index.to_string().into_bytes()
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

/// An OCI layout, or what skopeo calls `dir:`.
struct Directory {
    path: PathBuf,
    tag: Option<String>,
    oci: bool,
    had: Vec<Value>,
}

impl Directory {
    /// A new one, an empty one, or an OCI layout that gets one image more.
    fn open(path: &Path, tag: Option<String>, oci: bool) -> Result<Self, Error> {
        let failed = |e| Error::file("copy to the directory", path, e);
        let mut had = Vec::new();
        let index = path.join("index.json");
        match File::open(&index) {
            Ok(file) if oci => {
                let mut bytes = Vec::new();
                file.take(MANIFEST_MAX)
                    .read_to_end(&mut bytes)
                    .map_err(failed)?;
                let document: Value =
                    serde_json::from_slice(&bytes).map_err(crate::oci::ManifestError::from)?;
                had = document["manifests"]
                    .as_array()
                    .cloned()
                    .unwrap_or_default();
            }
            _ => {
                fs::create_dir_all(path).map_err(failed)?;
                if fs::read_dir(path).map_err(failed)?.next().is_some() {
                    return Err(failed(io::ErrorKind::DirectoryNotEmpty.into()));
                }
            }
        }
        if oci {
            for algorithm in ["sha256", "sha512"] {
                let dir = path.join("blobs").join(algorithm);
                fs::create_dir_all(dir).map_err(failed)?;
            }
        }
        Ok(Self {
            path: path.to_owned(),
            tag,
            oci,
            had,
        })
    }

    fn place(&self, digest: &Digest) -> PathBuf {
        match (self.oci, digest.algorithm()) {
            (true, _) => self.path.join(blob_path(digest)),
            (false, Algorithm::Sha256) => self.path.join(digest.hex()),
            (false, other) => self.path.join(format!("{}-{}", other.name(), digest.hex())),
        }
    }

    /// Complete or not at all.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        let draft = path.with_extension("part");
        fs::write(&draft, bytes)
            .and_then(|()| fs::rename(&draft, path))
            .map_err(|e| Error::file("write", path, e))
    }
}

impl Target for Directory {
    fn is_layout(&self) -> bool {
        self.oci
    }

    fn has(&mut self, digest: &Digest) -> Result<bool, Error> {
        // What has its name was checked when it came.
        Ok(self.place(digest).is_file())
    }

    fn blob(
        &mut self,
        digest: &Digest,
        size: u64,
        open: &Open<'_>,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(), Error> {
        let path = self.place(digest);
        let draft = path.with_extension("part");
        let copied = open(0).and_then(|reader| {
            let mut file = File::create(&draft)?;
            let n = io::copy(&mut reader.take(size), &mut file)?;
            progress(n);
            match n == size {
                true => fs::rename(&draft, &path),
                false => Err(io::ErrorKind::UnexpectedEof.into()),
            }
        });
        copied.map_err(|e| {
            // It may not have been made.
            let _ = fs::remove_file(&draft);
            reader_failed(e, |e| Error::file("write", &path, e))
        })
    }

    fn manifest(&mut self, document: &Document, _media_type: &str) -> Result<(), Error> {
        match self.oci {
            true => self.write(&self.place(&document.digest), &document.bytes),
            false => {
                let name = format!("{}.manifest.json", document.digest.hex());
                self.write(&self.path.join(name), &document.bytes)
            }
        }
    }

    fn finish(&mut self, document: &Document, media_type: &str) -> Result<(), Error> {
        if !self.oci {
            self.write(
                &self.path.join("version"),
                b"Directory Transport Version: 1.1\n",
            )?;
            return self.write(&self.path.join("manifest.json"), &document.bytes);
        }
        self.manifest(document, media_type)?;
        self.write(
            &self.path.join("oci-layout"),
            br#"{"imageLayoutVersion":"1.0.0"}"#,
        )?;
        let had = std::mem::take(&mut self.had);
        let all = entries(had, document, media_type, self.tag.as_deref());
        self.write(&self.path.join("index.json"), &index(&all))
    }
}

/// An OCI layout in a tar; removed if it does not become complete.
struct Archive {
    path: PathBuf,
    tag: Option<String>,
    tar: Option<Files<BufWriter<File>>>,
    written: std::collections::HashSet<Digest>,
}

impl Archive {
    fn create(path: &Path, tag: Option<String>) -> Result<Self, Error> {
        let file = File::create_new(path).map_err(|e| Error::file("create", path, e))?;
        let mut this = Self {
            path: path.to_owned(),
            tag,
            tar: Some(Files::new(BufWriter::new(file))),
            written: std::collections::HashSet::new(),
        };
        for dir in ["blobs", "blobs/sha256", "blobs/sha512"] {
            this.with(|tar| tar.dir(dir))?;
        }
        Ok(this)
    }

    fn with(
        &mut self,
        write: impl FnOnce(&mut Files<BufWriter<File>>) -> io::Result<()>,
    ) -> Result<(), Error> {
        let failed = |e| Error::file("write", &self.path, e);
        match &mut self.tar {
            Some(tar) => write(tar).map_err(|e| reader_failed(e, failed)),
            None => Err(failed(io::ErrorKind::WriteZero.into())),
        }
    }

    fn document(&mut self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        self.with(|tar| tar.file(path, bytes.len() as u64, bytes))
    }
}

impl Target for Archive {
    fn is_layout(&self) -> bool {
        true
    }

    fn has(&mut self, digest: &Digest) -> Result<bool, Error> {
        Ok(self.written.contains(digest))
    }

    fn blob(
        &mut self,
        digest: &Digest,
        size: u64,
        open: &Open<'_>,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(), Error> {
        self.with(|tar| tar.file(&blob_path(digest), size, open(0)?))?;
        progress(size);
        self.written.insert(digest.clone());
        Ok(())
    }

    fn manifest(&mut self, document: &Document, _media_type: &str) -> Result<(), Error> {
        match self.written.insert(document.digest.clone()) {
            true => self.document(&blob_path(&document.digest), &document.bytes),
            false => Ok(()),
        }
    }

    fn finish(&mut self, document: &Document, media_type: &str) -> Result<(), Error> {
        self.manifest(document, media_type)?;
        let all = entries(Vec::new(), document, media_type, self.tag.as_deref());
        self.document("index.json", &index(&all))?;
        self.document("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        let tar = self
            .tar
            .take()
            .ok_or_else(|| store::Error::BlobMissing(document.digest.clone()))?;
        tar.finish()
            .map_err(|e| Error::file("write", &self.path, e))
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        if self.tar.is_some() {
            // The failure that led here is the one to tell.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_replaces_the_one_of_its_name() {
        let document = |text: &str| Document {
            digest: Digest::of(text.as_bytes()),
            bytes: text.as_bytes().to_vec(),
        };
        let one = entries(Vec::new(), &document("1"), "t", Some("a"));
        let two = entries(one, &document("2"), "t", Some("b"));
        let three = entries(two, &document("3"), "t", Some("a"));
        let names: Vec<_> = three
            .iter()
            .map(|e| e["annotations"][REF_NAME].clone())
            .collect();
        assert_eq!(names, ["b", "a"]);
        assert_eq!(three[1]["digest"], json!(Digest::of(b"3")));
        let four = entries(three, &document("4"), "t", None);
        assert_eq!(entries(four, &document("5"), "t", None).len(), 3);
    }
}
