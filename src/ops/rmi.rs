//! `rmi`: take names away from images, and remove those that have none left. docker-image-rm(1).

use std::path::PathBuf;

use super::events::{self, Action, Event};
use super::{Error, additional};
use crate::oci::{Digest, Reference};
use crate::store::{self, ImageSummary, Store};

/// Why an image stays.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// A container was made from it.
    #[error("image {image} is in use by container {container}{}", if *.running { ", which is running" } else { "" })]
    InUse {
        /// Short id of the image.
        image: String,
        /// Short id of the container.
        container: String,
        /// Somebody holds the container's lock.
        running: bool,
    },
    /// It is another's.
    #[error("image {image} is in {}, which others share and which is only read", store.display())]
    ReadOnly {
        /// As the user named it.
        image: String,
        /// The additional store.
        store: PathBuf,
    },
    /// An id stands for all its names.
    #[error("image {image} has several names: {}", .names.join(", "))]
    SeveralNames {
        /// Short id of the image.
        image: String,
        /// Its names.
        names: Vec<String>,
    },
}

impl RemoveError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::InUse { running: true, .. } => "stop the container first".to_owned(),
            Self::InUse { .. } => "remove the container first, or use --force".to_owned(),
            Self::ReadOnly { .. } => "its owner can remove it".to_owned(),
            Self::SeveralNames { .. } => "name the one to remove, or use --force".to_owned(),
        })
    }
}

/// What was done for one argument.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Names taken away.
    pub untagged: Vec<Reference>,
    /// The image, if it is gone.
    pub deleted: Option<Digest>,
}

/// Remove one image or one of its names. What it held is freed by [`collect`].
pub fn remove(store: &Store, name: &str, force: bool) -> Result<Removed, Error> {
    let images = store.images();
    // Again if the image got or lost a name since it was looked at: whoever did that has got on.
    loop {
        let image = images
            .find(name)
            .map_err(|e| or_read_only(store, name, e))?;
        let all = names_of(&images.summaries()?, &image.id);
        let by_name = name
            .parse::<Reference>()
            .is_ok_and(|n| image.reference.as_ref() == Some(&n) || n.digest().is_some());
        let removed = match &image.reference {
            Some(reference) if by_name && all.len() > 1 => {
                let untagged = vec![reference.clone()];
                let done = images.remove(&image.id, &all, &untagged)?;
                done.then_some(Removed {
                    untagged,
                    deleted: None,
                })
            }
            _ if all.len() > 1 && !force => {
                let names = all.iter().map(Reference::to_string).collect();
                return Err(RemoveError::SeveralNames {
                    image: image.id.short().to_owned(),
                    names,
                }
                .into());
            }
            _ => take(store, &image.id, all, force)?,
        };
        if let Some(removed) = removed {
            tell(store, &image.id, &removed);
            return Ok(removed);
        }
    }
}

fn tell(store: &Store, id: &Digest, removed: &Removed) {
    for name in &removed.untagged {
        let event = Event::image(Action::Untag, id, &name.to_string());
        events::record(store, &event);
    }
    if removed.deleted.is_some() {
        events::record(store, &Event::image(Action::Remove, id, ""));
    }
}

/// An image that is not there may be another's.
fn or_read_only(store: &Store, name: &str, e: store::Error) -> Error {
    let found = match &e {
        store::Error::NoSuchImage { .. } => additional::find(store, name).ok().flatten(),
        _ => None,
    };
    match found {
        Some((_, from)) => RemoveError::ReadOnly {
            image: name.to_owned(),
            store: from.root().to_owned(),
        }
        .into(),
        None => e.into(),
    }
}

/// Remove an image under all its names.
pub fn remove_whole(store: &Store, name: &str, force: bool) -> Result<Removed, Error> {
    let images = store.images();
    loop {
        let image = images.find(name)?;
        let all = names_of(&images.summaries()?, &image.id);
        if let Some(removed) = take(store, &image.id, all, force)? {
            tell(store, &image.id, &removed);
            return Ok(removed);
        }
    }
}

/// Remove an image of the list `images`, if no container was made from it. `None`: it is not what it was in the
/// list, so that somebody needs it, or has removed it.
pub(super) fn remove_unused(
    store: &Store,
    images: &[ImageSummary],
    image: &ImageSummary,
) -> Result<Option<Removed>, Error> {
    let removed = take(store, &image.id, names_of(images, &image.id), false)?;
    if let Some(removed) = &removed {
        tell(store, &image.id, removed);
    }
    Ok(removed)
}

fn names_of(images: &[ImageSummary], id: &Digest) -> Vec<Reference> {
    let names = images.iter().filter(|r| r.id == *id);
    names.filter_map(|r| r.reference.clone()).collect()
}

/// `names`: all that it has. `None`: it has others by now.
fn take(
    store: &Store,
    id: &Digest,
    names: Vec<Reference>,
    force: bool,
) -> Result<Option<Removed>, Error> {
    check_unused(store, id, force)?;
    let done = store.images().remove(id, &names, &names)?;
    Ok(done.then(|| Removed {
        untagged: names,
        deleted: Some(id.clone()),
    }))
}

/// A container that is made at this very moment is safe as well: it pins what it needs.
fn check_unused(store: &Store, id: &Digest, force: bool) -> Result<(), Error> {
    let containers = store.containers();
    for entry in containers.list()? {
        if containers.image(&entry)?.is_none_or(|i| i.id != *id) {
            continue;
        }
        let running = containers.is_locked(&entry)?;
        if running || !force {
            return Err(RemoveError::InUse {
                image: id.short().to_owned(),
                container: entry.name.unwrap_or_else(|| short(&entry.id)),
                running,
            }
            .into());
        }
    }
    Ok(())
}

fn short(id: &str) -> String {
    id.chars().take(12).collect()
}

/// The ids of all images.
pub fn all(store: &Store) -> Result<Vec<String>, Error> {
    let mut ids: Vec<String> = Vec::new();
    for image in store.images().summaries()? {
        let id = image.id.to_string();
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// Free what no image refers to any more.
pub fn collect(store: &Store) -> Result<store::Collected, Error> {
    super::sweep(store);
    Ok(store.gc(&[])?)
}
