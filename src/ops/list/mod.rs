//! `manifest`: lists of images, one for each platform, under one name. podman-manifest(1), docker-manifest(1).
//!
//! A list is an index that is made here. The store has it as it has an image (it is listed, renamed, removed and
//! pushed as one is), and keeps all that its images need, also when they have no name of their own any more. An entry
//! need not be in the store: of one that was named by its registry only the manifest is read, and `push` hands the
//! image through from where it is.

mod document;
mod error;
mod found;

use std::collections::BTreeMap;

use oci_spec::image::ImageIndex;

pub use document::Says;
pub(super) use document::{Document, Named};
pub use error::ListError;

use super::inspect;
use super::progress::Progress;
use super::{Access, Error, stored};
use crate::oci::{Digest, MANIFEST_MAX, ManifestError, Platform, Reference, ReferenceError};
use crate::store::{self, ImageRecord, Member, Store};
use found::{Found, Origin};

/// How images are added.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How registries are reached.
    pub access: Access,
    /// Of an index all images, not the one for this machine.
    pub all: bool,
    /// Go on with a list that is there ([`create`]).
    pub amend: bool,
}

/// Make a list called `name` of these images (names and ids of the store, or of registries). Returns its id.
pub fn create(
    store: &Store,
    name: &str,
    images: &[String],
    annotations: &BTreeMap<String, String>,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Digest, Error> {
    let reference: Reference = name.parse()?;
    if let Some(digest) = reference.digest() {
        return Err(ReferenceError::Tag(digest.to_string()).into());
    }
    let origins = origins(store, images, options, progress)?;
    change(store, &reference, |old| {
        let mut list = match old {
            None => List::new(&reference),
            Some(old) if !old.is_list() => {
                return Err(ListError::NameTaken(reference.to_string()).into());
            }
            Some(old) if options.amend => List::read(store, old)?,
            Some(_) => return Err(ListError::Exists(reference.to_string()).into()),
        };
        list.document.annotate(annotations);
        for origin in origins {
            list.put(origin.found(store, options.all)?, &Says::default())?;
        }
        Ok(list)
    })
}

/// Add an image to the list called `list`, and say of it what is to be said. Returns the list's id then.
pub fn add(
    store: &Store,
    list: &str,
    image: &str,
    says: &Says,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Digest, Error> {
    let reference = named(store, list)?;
    let origin = Origin::of(store, image, options, progress)?;
    edit(store, &reference, |list| {
        list.put(origin.found(store, options.all)?, says)
    })
}

/// Which part of a list something is said of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The list itself: only annotations.
    Whole,
    /// An entry: its digest, or the name of its image.
    Entry(String),
}

/// Say something of a list or of an entry of it. Returns the list's id then.
pub fn annotate(store: &Store, list: &str, part: &Part, says: &Says) -> Result<Digest, Error> {
    let reference = named(store, list)?;
    edit(store, &reference, |list| {
        match part {
            Part::Whole => list.document.annotate(&says.annotations),
            Part::Entry(entry) => {
                let digest = list.entry(store, entry)?;
                if let Some(entry) = list.document.entry_mut(&digest) {
                    document::say(entry, says);
                }
            }
        }
        Ok(())
    })
}

/// Take an entry (its digest, or the name of its image) out of a list. Returns the list's id then.
pub fn remove(store: &Store, list: &str, entry: &str) -> Result<Digest, Error> {
    let reference = named(store, list)?;
    edit(store, &reference, |list| {
        let digest = list.entry(store, entry)?;
        list.document.remove(&digest);
        list.members.retain(|m| m.digest != digest);
        Ok(())
    })
}

/// The document of the list called `name`, or of an image or index: of the store, else of a registry.
pub fn inspect(
    store: &Store,
    name: &str,
    access: &Access,
    progress: &dyn Progress,
) -> Result<Vec<u8>, Error> {
    let options = inspect::Options {
        access: access.clone(),
        ..inspect::Options::default()
    };
    match inspect::raw(store, name, &options, progress) {
        Err(Error::Store(store::Error::NoSuchImage { .. })) => {
            found::at_registry(store, name, access, progress, |_, _, document, _| {
                Ok(document.bytes)
            })
        }
        document => document,
    }
}

/// Whether there is a list of this name or id.
pub fn exists(store: &Store, name: &str) -> Result<bool, Error> {
    match store.images().find(name) {
        Ok(found) => Ok(found.is_list()),
        Err(store::Error::NoSuchImage { .. }) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Whether what is called `name` is a list, if there is something.
pub fn check(store: &Store, name: &str) -> Result<(), Error> {
    match store.images().find(name)?.is_list() {
        true => Ok(()),
        false => Err(ListError::NotAList(name.to_owned()).into()),
    }
}

/// The image that is meant by `name` where one image is wanted: of a list the one for this machine.
pub(super) fn image(store: &Store, name: &str) -> Result<ImageRecord, Error> {
    in_store(store, stored::find(store, name)?, None)
}

/// An image as it is; of a list the one for a platform, or this machine's, if the store has it: with the list's
/// name, and the list as its index.
pub(super) fn in_store(
    store: &Store,
    found: ImageRecord,
    platform: Option<&Platform>,
) -> Result<ImageRecord, Error> {
    if !found.is_list() {
        return Ok(found);
    }
    let (digest, member) = choose(store, &found, platform)?;
    let own = || {
        let records = store.images().list();
        records.map(|r| r.into_iter().find(|r| r.manifest == digest))
    };
    let image = match member.and_then(|m| m.image.as_deref()) {
        Some(image) => Some(image.clone()),
        // Pulled since then.
        None => own()?,
    };
    match image {
        Some(image) => Ok(ImageRecord {
            reference: found.reference.clone(),
            index: Some(found.id.clone()),
            ..image
        }),
        None => Err(ListError::NotHere {
            list: match &found.reference {
                Some(name) => name.to_string(),
                None => found.id.short().to_owned(),
            },
            platform: wanted(platform).to_string(),
            at: (member.and_then(|m| m.repository.as_ref()))
                .map(|repository| format!("{repository}@{digest}")),
        }
        .into()),
    }
}

/// Where the entry for a platform can be had that the store has not.
pub(super) fn elsewhere(
    store: &Store,
    list: &ImageRecord,
    platform: Option<&Platform>,
) -> Result<Option<Reference>, Error> {
    let (digest, member) = choose(store, list, platform)?;
    let Some(repository) = member.and_then(|m| m.repository.as_ref()) else {
        return Ok(None);
    };
    Ok(Some(repository.parse::<Reference>()?.with_digest(digest)))
}

fn wanted(platform: Option<&Platform>) -> Platform {
    platform.cloned().unwrap_or_else(Platform::host)
}

fn choose<'l>(
    store: &Store,
    list: &'l ImageRecord,
    platform: Option<&Platform>,
) -> Result<(Digest, Option<&'l Member>), Error> {
    let bytes = store.blobs().read(&list.id, MANIFEST_MAX)?;
    let index: ImageIndex = serde_json::from_slice(&bytes).map_err(ManifestError::from)?;
    let entry = super::intake::chosen(&wanted(platform), index.manifests())?;
    let digest: Digest = super::intake::digest_of(entry)?;
    let member = list.members.iter().flatten().find(|m| m.digest == digest);
    Ok((digest, member))
}

/// The name of the list that is called so, by a name or an id.
fn named(store: &Store, list: &str) -> Result<Reference, Error> {
    let found = store.images().find(list)?;
    if !found.is_list() {
        return Err(ListError::NotAList(list.to_owned()).into());
    }
    let id = found.id.short().to_owned();
    Ok(found.reference.ok_or(ListError::Nameless(id))?)
}

/// What does not need the store is read before anything is locked.
fn origins(
    store: &Store,
    images: &[String],
    options: &Options,
    progress: &dyn Progress,
) -> Result<Vec<Origin>, Error> {
    let all = images.iter();
    all.map(|image| Origin::of(store, image, options, progress))
        .collect()
}

fn edit(
    store: &Store,
    name: &Reference,
    edit: impl FnOnce(&mut List) -> Result<(), Error>,
) -> Result<Digest, Error> {
    change(store, name, |old| match old {
        Some(old) if old.is_list() => {
            let mut list = List::read(store, old)?;
            edit(&mut list)?;
            Ok(list)
        }
        // It went since it was looked up, or an image took its name.
        _ => Err(ListError::NotAList(name.to_string()).into()),
    })
}

fn change(
    store: &Store,
    name: &Reference,
    change: impl FnOnce(Option<ImageRecord>) -> Result<List, Error>,
) -> Result<Digest, Error> {
    let record = store
        .images()
        .change_list(name, |old| change(old)?.write(store))?;
    Ok(record.id)
}

/// A list under change.
struct List {
    reference: Reference,
    document: Document,
    members: Vec<Member>,
}

impl List {
    fn new(name: &Reference) -> Self {
        Self {
            reference: name.clone(),
            document: Document::new(),
            members: Vec::new(),
        }
    }

    fn read(store: &Store, record: ImageRecord) -> Result<Self, Error> {
        let bytes = store.blobs().read(&record.id, MANIFEST_MAX)?;
        let nameless = || ListError::Nameless(record.id.short().to_owned());
        Ok(Self {
            document: Document::parse(&bytes)?,
            reference: record.reference.clone().ok_or_else(nameless)?,
            members: record.members.unwrap_or_default(),
        })
    }

    fn put(&mut self, found: Vec<Found>, says: &Says) -> Result<(), Error> {
        for Found { mut entry, member } in found {
            document::say(&mut entry, says);
            self.document.put(entry)?;
            match self.members.iter_mut().find(|m| m.digest == member.digest) {
                Some(old) => *old = member,
                None => self.members.push(member),
            }
        }
        Ok(())
    }

    /// The digest of an entry that is called so.
    fn entry(&self, store: &Store, name: &str) -> Result<Digest, Error> {
        let has = |digest: &Digest| self.members.iter().any(|m| m.digest == *digest);
        let plain = name.strip_prefix("docker://").unwrap_or(name);
        let digest = match plain.parse::<Digest>() {
            Ok(digest) => Some(digest),
            Err(_) => plain
                .parse::<Reference>()
                .ok()
                .and_then(|r| r.digest().cloned()),
        };
        if let Some(digest) = digest.filter(has) {
            return Ok(digest);
        }
        let of_name = self.members.iter().find(|m| m.name == plain);
        if let Some(member) = of_name {
            return Ok(member.digest.clone());
        }
        match store.images().find(plain) {
            Ok(image) if has(&image.manifest) => Ok(image.manifest),
            _ => Err(ListError::NoEntry {
                list: self.reference.to_string(),
                entry: name.to_owned(),
            }
            .into()),
        }
    }

    /// The document, and the record that stands for it.
    fn write(self, store: &Store) -> Result<ImageRecord, Error> {
        let id = store.blobs().put(&self.document.bytes()?)?;
        Ok(ImageRecord {
            reference: Some(self.reference),
            manifest: id.clone(),
            id,
            index: None,
            platform: String::new(),
            layers: Vec::new(),
            restated: None,
            created: None,
            repositories: Vec::new(),
            members: Some(self.members),
        })
    }
}
