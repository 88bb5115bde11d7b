//! `system check`: whether what the store has is what it should be. Everything is looked at, nothing is
//! believed; what is broken can be put aside, so that the next pull brings it anew. podman-system-check(1).

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::Error;
use crate::layer::{RebuildError, Recipe, rebuild};
use crate::oci::{Digest, Reference};
use crate::store::{self, Collected, ImageRecord, Store};

/// What to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Look whether all is there; do not read it.
    pub quick: bool,
    /// Put aside what is broken, and remove what nothing refers to.
    pub repair: bool,
}

/// Something that is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What, and which.
    pub what: String,
    /// Why it is of no use.
    pub why: String,
    /// Where it was put; `None` if it is where it was.
    pub moved: Option<PathBuf>,
    /// Of an image: its name, to pull or load it again.
    pub name: Option<Reference>,
}

/// What was looked at, and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Names of images.
    pub images: usize,
    /// Unpacked layers.
    pub layers: usize,
    /// Those of them whose files could not be compared with what they were.
    pub unread: usize,
    /// Blobs.
    pub blobs: usize,
    /// Containers.
    pub containers: usize,
    /// What is broken.
    pub faults: Vec<Fault>,
    /// What nothing refers to; it was removed if that was asked for.
    pub leftovers: Collected,
}

impl Report {
    /// Whether something is broken and in the way still.
    pub fn is_damaged(&self) -> bool {
        self.faults.iter().any(|f| f.moved.is_none())
    }
}

/// Look at everything.
pub fn check(store: &Store, options: Options) -> Result<Report, Error> {
    let mut check = Check {
        store,
        options,
        broken: HashMap::new(),
        report: Report::default(),
    };
    check.blobs()?;
    check.layers()?;
    check.images()?;
    check.containers()?;
    let mut report = check.report;
    let leftovers = match options.repair {
        true => {
            super::sweep(store);
            store.prune(&[])
        }
        false => store.garbage(),
    };
    report.leftovers = match leftovers {
        // As long as a record cannot be read nobody knows what it refers to.
        Err(store::Error::Record { .. }) if report.is_damaged() => Collected::default(),
        leftovers => leftovers?,
    };
    Ok(report)
}

/// What is known of a layer.
enum Layer {
    Sound,
    /// All is there, and its files could not be read.
    Unread,
    Broken(String),
}

/// Whether a layer is complete, and its files make its tar. One of an older store, which did not keep what is
/// needed for that, is not read.
fn look(store: &Store, diff_id: &Digest, quick: bool) -> Result<Layer, Error> {
    if let Some(why) = store.layer_fault(diff_id) {
        return Ok(Layer::Broken(why));
    }
    if quick {
        return Ok(Layer::Sound);
    }
    let Some((file, replaced)) = store.layers().recipe(diff_id) else {
        return Ok(Layer::Unread);
    };
    let recipe = Recipe { file, replaced };
    match rebuild(&store.layer_path(diff_id), &recipe, diff_id, io::sink()) {
        Ok(()) => Ok(Layer::Sound),
        // A file that shuts out its owner, where there are no user namespaces.
        Err(RebuildError::Changed {
            why: Errno::ACCESS, ..
        }) => Ok(Layer::Unread),
        Err(
            e @ (RebuildError::Changed { .. }
            | RebuildError::Digest { .. }
            | RebuildError::Recipe { .. }
            | RebuildError::Tree { .. }),
        ) => Ok(Layer::Broken(e.to_string())),
        Err(e) => Err(e.into()),
    }
}

struct Check<'a> {
    store: &'a Store,
    options: Options,
    /// Blobs and layers that are of no use.
    broken: HashMap<Digest, ()>,
    report: Report,
}

impl Check<'_> {
    /// Note a fault, and put the thing aside if that is asked for. `still_is`: asked again when nobody else
    /// can change it.
    fn fault(
        &mut self,
        what: String,
        why: String,
        path: &Path,
        still_is: impl FnOnce() -> bool,
    ) -> Result<&mut Fault, Error> {
        let moved = match self.options.repair {
            true => self.store.quarantine(path, still_is)?,
            false => None,
        };
        self.report.faults.push(Fault {
            what,
            why,
            moved,
            name: None,
        });
        let last = self.report.faults.len() - 1;
        Ok(&mut self.report.faults[last])
    }

    fn blobs(&mut self) -> Result<(), Error> {
        let blobs = self.store.blobs();
        for (digest, path) in self.store.all_blobs()? {
            self.report.blobs += 1;
            let Some(digest) = digest else {
                let what = format!("blob {}", path.display());
                self.fault(what, "its name is no digest".to_owned(), &path, || true)?;
                continue;
            };
            if self.options.quick {
                continue;
            }
            let why = match blobs.is_sound(&digest) {
                Ok(true) => continue,
                Ok(false) => "its content has another digest".to_owned(),
                // Collected since it was listed.
                Err(_) if !path.exists() => continue,
                Err(e) => e.to_string(),
            };
            let still = || !matches!(blobs.is_sound(&digest), Ok(true));
            self.fault(format!("blob {digest}"), why, &path, still)?;
            self.broken.insert(digest, ());
        }
        Ok(())
    }

    fn layers(&mut self) -> Result<(), Error> {
        let store = self.store;
        for (digest, path) in store.all_layers()? {
            self.report.layers += 1;
            let Some(digest) = digest else {
                let what = format!("layer {}", path.display());
                self.fault(what, "its name is no digest".to_owned(), &path, || true)?;
                continue;
            };
            let quick = self.options.quick;
            let why = match look(store, &digest, quick)? {
                Layer::Broken(why) => why,
                Layer::Unread => {
                    self.report.unread += 1;
                    continue;
                }
                Layer::Sound => continue,
            };
            // Collected since it was listed.
            if !path.exists() {
                continue;
            }
            let still = || matches!(look(store, &digest, quick), Ok(Layer::Broken(_)));
            self.fault(format!("layer {digest}"), why, &path, still)?;
            self.broken.insert(digest, ());
        }
        Ok(())
    }

    /// What `image` needs and has not; of a list, what one of its images lacks.
    fn lacks(&self, image: &ImageRecord) -> Option<String> {
        image.images().find_map(|image| self.one_lacks(image))
    }

    fn one_lacks(&self, image: &ImageRecord) -> Option<String> {
        let store = self.store;
        let usable = |d: &Digest| !self.broken.contains_key(d);
        let blob = |d: &&Digest| !(usable(d) && store.blobs().has(d));
        let layer = |d: &&Digest| !(usable(d) && store.has_layer(d));
        let blob = [&image.id, &image.manifest].into_iter().find(blob);
        let layer = image.stack().find(layer);
        match (blob, layer) {
            (Some(d), _) => Some(format!("it has lost the blob {d}")),
            (None, Some(d)) => Some(format!("it has lost the layer {d}")),
            (None, None) => None,
        }
    }

    fn images(&mut self) -> Result<(), Error> {
        let mut found = Vec::new();
        {
            // A record is written when all that it needs is there, and under this nothing goes.
            let _guard = self.store.shared()?;
            for (path, record) in self.store.all_images()? {
                self.report.images += 1;
                match record {
                    Err(e) => found.push((
                        format!("image {}", path.display()),
                        e.to_string(),
                        path,
                        None,
                    )),
                    Ok(image) => {
                        if let Some(why) = self.lacks(&image) {
                            let name = image.reference.as_ref().map(ToString::to_string);
                            let what = name.unwrap_or_else(|| image.id.short().to_owned());
                            found.push((format!("image {what}"), why, path, image.reference));
                        }
                    }
                }
            }
        }
        for (what, why, path, name) in found {
            self.fault(what, why, &path, || true)?.name = name;
        }
        Ok(())
    }

    fn containers(&mut self) -> Result<(), Error> {
        let containers = self.store.containers();
        for (entry, image) in self.store.all_containers()? {
            self.report.containers += 1;
            let what = format!("container {}", entry.name.as_ref().unwrap_or(&entry.id));
            match image {
                Ok(image) => {
                    // It stays: what it wrote may be worth more than its image.
                    if let Some(why) = image.and_then(|i| self.lacks(&i)) {
                        self.report.faults.push(Fault {
                            what,
                            why,
                            moved: None,
                            name: None,
                        });
                    }
                }
                Err(_) if !entry.path.exists() => {}
                Err(e) => {
                    let dead = || matches!(containers.is_locked(&entry), Ok(false));
                    self.fault(what, e.to_string(), &entry.path, dead)?;
                }
            }
        }
        Ok(())
    }
}
