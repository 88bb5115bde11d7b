//! Where a copy comes from, and all else that looks at an image without bringing it into the store: a registry,
//! an OCI layout, an archive, a directory of blobs.

use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::path::{Path, PathBuf};

use super::Place;
use crate::oci::{Algorithm, Digest, MANIFEST_MAX, Reference, media};
use crate::ops::intake::docker::DockerArchive;
use crate::ops::intake::layout::Layout;
use crate::ops::intake::tar_index::{Archive, Input};
use crate::ops::intake::{Document, IntakeError, Source};
use crate::ops::progress::Progress;
use crate::ops::{Access, Error, pull};
use crate::store::Store;

/// Hand `then` what is at a place other than the store: the blobs below it, the document that its name stands for,
/// and the type that the place says it has.
pub(in crate::ops) fn read<T>(
    store: &Store,
    from: &Place,
    access: &Access,
    progress: &dyn Progress,
    then: impl FnOnce(&dyn Source, Document, Option<String>) -> Result<T, Error>,
) -> Result<T, Error> {
    match from {
        Place::Registry(reference) => {
            let options = pull::Options {
                access: access.clone(),
                ..pull::Options::default()
            };
            let remote = pull::Remote::open(reference, &options, progress)?;
            let read = remote
                .document()
                .and_then(|(document, media_type)| then(&remote, document, media_type));
            remote.tell_notices();
            read
        }
        Place::OciDir { path, tag } => {
            if !Layout::is_dir_layout(path) {
                return Err(IntakeError::NoImage { path: path.clone() }.into());
            }
            let layout = Layout::Dir(path.clone());
            let (document, media_type) = layout.document(tag.as_deref())?;
            then(&layout, document, media_type)
        }
        Place::OciArchive { path, tag } => {
            let layout = Layout::Archive(archive(store, path)?);
            let (document, media_type) = layout.document(tag.as_deref())?;
            then(&layout, document, media_type)
        }
        Place::DockerArchive { path, name } => {
            let (source, offers) = DockerArchive::open(archive(store, path)?)?;
            let mut offers = offers.into_iter();
            let fits = |names: &[Reference]| name.as_ref().is_none_or(|n| names.contains(n));
            let missing = || IntakeError::NoTag {
                path: path.clone(),
                tag: name.as_ref().map(ToString::to_string).unwrap_or_default(),
                have: String::new(),
            };
            let offer = offers.find(|o| fits(&o.names)).ok_or_else(missing)?;
            let media_type = Some(media::OCI_MANIFEST.to_owned());
            then(&source, offer.chosen.document, media_type)
        }
        Place::Dir(path) => {
            let source = Dir(path.clone());
            let document = source.document()?;
            then(&source, document, None)
        }
        // The callers see to their own images themselves.
        Place::Store(name) => Err(Error::NoDestination(name.clone())),
    }
}

fn archive(store: &Store, path: &Path) -> Result<Archive, Error> {
    let limits = crate::layer::Limits::default();
    Archive::open(store, &Input::Path(path.to_owned()), limits.max_bytes)
}

/// What skopeo calls `dir:`.
struct Dir(PathBuf);

impl Dir {
    fn open(&self, name: &str) -> Result<File, Error> {
        let path = self.0.join(name);
        // A fifo in a stranger's directory would hold us up for ever.
        let meta = std::fs::metadata(&path);
        let file = meta.and_then(|m| match m.is_file() {
            true => File::open(&path),
            false => Err(io::Error::other("not a regular file")),
        });
        file.map_err(|e| Error::file("open", &path, e))
    }

    fn document(&self) -> Result<Document, Error> {
        let mut bytes = Vec::new();
        let file = self.open("manifest.json")?.take(MANIFEST_MAX + 1);
        { file }.read_to_end(&mut bytes).map_err(Error::Stream)?;
        Ok(Document {
            digest: Digest::of(&bytes),
            bytes,
        })
    }
}

impl Source for Dir {
    fn blob<'s>(
        &'s self,
        digest: &Digest,
        _size: u64,
        offset: u64,
    ) -> Result<Box<dyn Read + Send + 's>, Error> {
        let mut file = self.open(&match digest.algorithm() {
            Algorithm::Sha256 => digest.hex().to_owned(),
            other => format!("{}-{}", other.name(), digest.hex()),
        })?;
        file.seek(io::SeekFrom::Start(offset))
            .map_err(Error::Stream)?;
        Ok(Box::new(file))
    }

    fn manifest(&self, digest: &Digest, size: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let file = self.open(&format!("{}.manifest.json", digest.hex()))?;
        (file.take(MANIFEST_MAX.min(size)))
            .read_to_end(&mut bytes)
            .map_err(Error::Stream)?;
        Ok(bytes)
    }
}
