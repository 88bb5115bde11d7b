//! What a container wrote, and the image below it: for all verbs that read its files.

use std::io;
use std::path::{Path, PathBuf};

use super::Error;
use crate::layer::pack::{Note, Notes, Tree, What, Written as How};
use crate::oci::Digest;
use crate::ops::progress::Progress;
use crate::owners;
use crate::store::{ContainerEntry, Hold, ImageRecord, OWNERS, Store};
use crate::sys::{fork, userns};

/// Annotation of a container without emulated identities, whose value says what there is in their place.
pub(super) const UNWATCHED_ANNOTATION: &str = "io.coracle.identity";
/// The copy that a container has of its image where there is no overlay.
pub(super) const ROOTFS: &str = "rootfs";

/// A container's tree and all below it. It stays as long as this does.
#[derive(Debug)]
pub(super) struct Written {
    name: String,
    hold: Hold,
    entry: ContainerEntry,
    /// The image as it was at the start.
    pub(super) image: ImageRecord,
    /// The container's own.
    pub(super) tree: Tree,
    /// How it is related to those below.
    pub(super) how: How,
    /// Top first.
    pub(super) below: Vec<Tree>,
}

impl Written {
    /// The container of this name, or whose id starts like this.
    pub(super) fn of(store: &Store, name: &str) -> Result<Self, Error> {
        let containers = store.containers();
        let entry = containers.find(name)?;
        let hold = containers.hold(&entry)?;
        let image = containers.image(&entry)?;
        let image = image.ok_or_else(|| Error::NoImageBelow(name.to_owned()))?;
        let mut below = trees(store, image.stack());
        let copy = entry.path.join(ROOTFS);
        // An attempt by overlay may have left its directory before the copy was made.
        let (dir, how) = match copy.symlink_metadata() {
            Ok(_) => {
                below.push(Tree::bare(store.skeleton()));
                (copy, How::Copy)
            }
            Err(_) => (entry.upper(), How::Over),
        };
        // One that was created and never started has written nothing: as good as any empty directory.
        let dir = match dir.symlink_metadata() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => store.mountpoint(),
            _ => dir,
        };
        let mut tree = Tree::container(dir, entry.owners());
        if matches!(how, How::Over) && watched(store, &entry)? {
            tree = tree.over(&below);
        }
        Ok(Self {
            name: name.to_owned(),
            tree,
            hold,
            entry,
            image,
            how,
            below,
        })
    }

    /// What the container changed, as a layer.
    pub(super) fn layer(&self) -> What {
        match self.how {
            How::Over => What::Layer {
                tree: self.tree.clone(),
                below: self.below.first().cloned(),
            },
            How::Copy => What::Changes {
                tree: self.tree.clone(),
                below: self.below.clone(),
            },
        }
    }

    /// All that the container sees.
    pub(super) fn whole(&self) -> What {
        let below = match self.how {
            How::Over => self.below.as_slice(),
            How::Copy => &[],
        };
        What::Whole(std::iter::once(&self.tree).chain(below).cloned().collect())
    }

    /// All was read: was it there until the end?
    pub(super) fn check(&self, store: &Store) -> Result<(), Error> {
        let config: Option<serde::de::IgnoredAny> = store.containers().config(&self.entry)?;
        match self.hold.is_there() && config.is_some() {
            true => Ok(()),
            false => Err(Error::RemovedMeanwhile(self.name.clone())),
        }
    }
}

/// Whether a supervisor told what was new in a container from what overlay copied.
fn watched(store: &Store, entry: &ContainerEntry) -> Result<bool, Error> {
    let mode = store.containers().annotation(entry, UNWATCHED_ANNOTATION)?;
    Ok(mode.is_none())
}

/// The tree `copy` has just been made from an image's layers: let the container's sidecar say what theirs
/// do, so that the copy alone tells everything. Done as root of a user namespace, if that can be had, since
/// directories may shut out their owner.
pub(super) fn settle(store: &Store, image: Option<&ImageRecord>, copy: &Path) -> Result<(), Error> {
    let Some(image) = image else {
        return Ok(());
    };
    let layer = |id| owners::Layer {
        tree: store.layer_path(id),
        sidecar: store.layers().owners(id),
    };
    let own = owners::Layer {
        tree: copy.to_owned(),
        sidecar: copy.with_file_name(OWNERS),
    };
    let view = owners::View::new(image.stack().map(layer).collect(), own);
    // Nearly every image: nothing to do, and no child for it.
    if view.is_empty()? {
        return Ok(());
    }
    let answer = fork::bytes_from_child(|| {
        let _without = userns::enter_as_root();
        match view.settle() {
            Ok(()) => Vec::new(),
            Err(e) => match std::error::Error::source(&e) {
                Some(source) => format!("{e}: {source}").into_bytes(),
                None => e.to_string().into_bytes(),
            },
        }
    });
    let said = answer.map_err(|e| Error::Settle(e.to_string()))?;
    match said.as_slice() {
        [] => Ok(()),
        said => Err(Error::Settle(String::from_utf8_lossy(said).into_owned())),
    }
}

/// The layers of an image as others know it, top first.
pub(super) fn layers(store: &Store, image: &ImageRecord) -> Vec<Tree> {
    trees(store, image.diff_ids().rev())
}

fn trees<'d>(store: &Store, ids: impl Iterator<Item = &'d Digest>) -> Vec<Tree> {
    let tree = |id| Tree::layer(store.layer_path(id), store.layers().owners(id));
    ids.map(tree).collect()
}

/// Tell what a tar could not say.
pub(super) fn tell(notes: &Notes, progress: &dyn Progress) {
    for (path, note) in &notes.first {
        let path = PathBuf::from(String::from_utf8_lossy(path).into_owned());
        progress.warn(&format!("/{} {}", path.display(), Note::text(*note)));
    }
    let more = notes.total - notes.first.len() as u64;
    if more > 0 {
        progress.warn(&format!("and {more} more like these"));
    }
}
