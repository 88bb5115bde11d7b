//! What the dead left: containers of `--rm`, and those that were never complete.

use super::{ContainerEntry, Containers, is_id};
use crate::store::lock::Guard;
use crate::store::volumes::volumes_of;
use crate::store::{Error, atomic, remove_tree};

impl Containers<'_> {
    /// Remove what `--rm` containers left that nobody holds any more.
    pub(in crate::store) fn sweep(&self) -> Result<(), Error> {
        let dir = self.ephemeral();
        let ids = atomic::names(&dir)?;
        let entries: Vec<ContainerEntry> = ids
            .into_iter()
            .filter(|name| is_id(name))
            .map(|id| ContainerEntry {
                path: dir.join(&id),
                name: None,
                id,
                ephemeral: true,
            })
            .collect();
        let dead = |e: &&ContainerEntry| matches!(self.try_lock(e), Ok(Some(_)));
        if !entries.iter().any(|e| dead(&e)) {
            return Ok(());
        }
        // One that is being made is not locked yet, but its maker holds the shared lock. If somebody
        // does, the next command will sweep.
        let Some(alone) = self.store.try_exclusive()? else {
            return Ok(());
        };
        let mut trash = Vec::new();
        for entry in &entries {
            match self.try_lock(entry) {
                Ok(Some(mut dir)) => {
                    dir.name = self.name_of(&dir.id)?;
                    // Before the container, which is the only one that knows of them.
                    let volumes = volumes_of(self.mounts(entry).unwrap_or_default());
                    let volumes =
                        (self.store.volumes()).discard_anonymous(&volumes, &dir.id, &alone)?;
                    trash.extend(volumes.into_iter().map(|(_, lock, path)| (lock, path)));
                    trash.push(dir.discard()?);
                }
                Ok(None) | Err(Error::NoSuchContainer(_)) => {}
                Err(e) => return Err(e),
            }
        }
        drop(alone);
        trash.iter().try_for_each(|(_lock, path)| remove_tree(path))
    }

    /// Remove directories whose maker died before the container was complete. Under the exclusive
    /// lock, when nobody is about to make one.
    pub(in crate::store) fn sweep_unfinished(&self, _alone: &Guard) -> Result<(), Error> {
        for entry in self.list()? {
            if self.config::<serde::de::IgnoredAny>(&entry)?.is_some() {
                continue;
            }
            match self.try_lock(&entry) {
                Ok(Some(dir)) => dir.remove()?,
                // Somebody is about to remove it, or has: whoever removes a container takes no lock of the store.
                Ok(None) | Err(Error::NoSuchContainer(_)) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn name_of(&self, id: &str) -> Result<Option<String>, Error> {
        Ok(self
            .list()?
            .into_iter()
            .find(|e| e.id == id)
            .and_then(|e| e.name))
    }
}
