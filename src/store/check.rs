//! What a store has, looked at piece by piece, without taking any of it for granted; and the place for
//! what turned out to be broken.

use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::io::Errno;

use super::error::io;
use super::{ContainerEntry, Error, ImageRecord, LayerInfo, Store, atomic};
use crate::oci::Digest;
use crate::owners::Owners;

/// Where broken things go. It is made when there is the first of them.
const QUARANTINE: &str = "quarantine";

/// What has a digest for a name: the digest, `None` if the name is none, and where it is.
pub type Named = (Option<Digest>, PathBuf);
/// A record of an image, and where it is.
pub type ReadImage = (PathBuf, Result<ImageRecord, Error>);
/// A container, and the image that it was made from.
pub type ReadContainer = (ContainerEntry, Result<Option<ImageRecord>, Error>);

impl Store {
    /// All blobs.
    pub fn all_blobs(&self) -> Result<Vec<Named>, Error> {
        let digest = |path: &Path, hex: &str| {
            let algorithm = path.parent()?.file_name()?.to_str()?;
            format!("{algorithm}:{hex}").parse().ok()
        };
        let entries = self.blobs().entries()?.into_iter();
        Ok(entries.map(|(p, hex)| (digest(&p, &hex), p)).collect())
    }

    /// All unpacked layers.
    pub fn all_layers(&self) -> Result<Vec<Named>, Error> {
        let digest = |hex: &str| format!("sha256:{hex}").parse().ok();
        let entries = self.layers().entries()?.into_iter();
        Ok(entries.map(|(p, hex)| (digest(&hex), p)).collect())
    }

    /// All records of images, those that cannot be read among them. One that went meanwhile is left out.
    pub fn all_images(&self) -> Result<Vec<ReadImage>, Error> {
        let dir = self.path("images");
        let mut all = Vec::new();
        for name in atomic::names(&dir)? {
            let path = dir.join(name);
            if let Some(read) = atomic::read_json(&path).transpose() {
                all.push((path, read));
            }
        }
        Ok(all)
    }

    /// All containers, likewise.
    pub fn all_containers(&self) -> Result<Vec<ReadContainer>, Error> {
        let containers = self.containers();
        let with_image = |entry| {
            let image = containers.image(&entry);
            (entry, image)
        };
        Ok(containers.list()?.into_iter().map(with_image).collect())
    }

    /// What keeps a layer from being used, as far as that can be seen without reading its files.
    pub fn layer_fault(&self, diff_id: &Digest) -> Option<String> {
        let layers = self.layers();
        let path = layers.path(diff_id);
        match layers.info(diff_id) {
            Ok(Some(LayerInfo { diff_id: own, .. })) if own == *diff_id => {}
            Ok(Some(LayerInfo { diff_id: own, .. })) => {
                return Some(format!("it says it is {own}"));
            }
            Ok(None) => return Some("its info.json is missing".to_owned()),
            Err(e) => return Some(e.to_string()),
        }
        if let Err(e) = atomic::open_dir(&path.join("diff")) {
            return Some(e.to_string());
        }
        match rustix::fs::lstat(layers.owners(diff_id)) {
            Err(Errno::NOENT) => None,
            _ => {
                let read = Owners::read(&layers.owners(diff_id));
                read.err().map(|e| e.to_string())
            }
        }
    }

    /// Move something that is broken out of everybody's way, whole, if it `still_is` so once nobody else can
    /// change it. Returns where it is now; `None` if it is there no more, or right.
    pub fn quarantine(
        &self,
        path: &Path,
        still_is: impl FnOnce() -> bool,
    ) -> Result<Option<PathBuf>, Error> {
        let _alone = self.exclusive()?;
        if rustix::fs::lstat(path).is_err() || !still_is() {
            return Ok(None);
        }
        let dir = self.path(QUARANTINE);
        match rustix::fs::mkdir(&dir, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(io("create the directory", &dir)(e)),
        }
        let kind = path.parent().and_then(Path::file_name);
        let names = [kind, path.file_name()].map(|n| n.unwrap_or_default().to_string_lossy());
        let to = dir.join(format!("{}-{}", names.join("-"), atomic::random_name()?));
        rustix::fs::rename(path, &to).map_err(io("move", path))?;
        Ok(Some(to))
    }
}
