//! What builds have made so far: the image after a step, by the key of that step. Nobody has to have it: it may go
//! at any time, and the next build makes it again. While it is here its layers and blobs stay.

use std::path::PathBuf;

use super::atomic;
use super::{Error, ImageRecord, Store};

/// View of the store's build cache.
#[derive(Debug, Clone, Copy)]
pub struct Builds<'a> {
    pub(super) store: &'a Store,
}

impl Builds<'_> {
    fn dir(&self) -> PathBuf {
        self.store.path("builds")
    }

    /// The image after the step of this key (64 hex digits), if it is known and all of it is there. The caller has
    /// the shared lock until something else keeps the image.
    pub fn get(&self, key: &str) -> Result<Option<ImageRecord>, Error> {
        let path = self.dir().join(format!("{key}.json"));
        let found: Option<ImageRecord> = atomic::read_json(&path)?;
        let is_there = |record: &ImageRecord| {
            record.diff_ids().all(|id| self.store.has_layer(id))
                && record.restated.iter().all(|id| self.store.has_layer(id))
        };
        Ok(found.filter(is_there))
    }

    /// Remember it. All that it refers to must be there, and a lease holds it.
    pub fn put(&self, key: &str, record: &ImageRecord) -> Result<(), Error> {
        let _guard = self.store.shared()?;
        // Older stores have no such directory.
        atomic::make_dir(&self.dir())?;
        let path = self.dir().join(format!("{key}.json"));
        atomic::write_json(self.store, &path, record)
    }

    /// All of them.
    pub fn list(&self) -> Result<Vec<ImageRecord>, Error> {
        match self.dir().exists() {
            true => atomic::read_all_json(&self.dir()),
            false => Ok(Vec::new()),
        }
    }

    /// Forget them all; what nobody else needs goes with the next collection. Returns how many there were.
    pub fn clear(&self) -> Result<usize, Error> {
        if !self.dir().exists() {
            return Ok(0);
        }
        let _guard = self.store.exclusive()?;
        let names = atomic::names(&self.dir())?;
        for name in &names {
            atomic::unlink(&self.dir().join(name))?;
        }
        Ok(names.len())
    }
}
