//! What is to be added to a list: entries for its document, and where their images are.

use serde_json::Value;

use super::document::{Document as Listed, Named, entry};
use super::{ListError, Options};
use crate::oci::{
    Digest, MANIFEST_MAX, Manifest, ManifestError, Platform, Reference, ReferenceError, media,
};
use crate::ops::copy::{Place, source};
use crate::ops::intake::{self, CONFIG_MAX, Document, IntakeError, Source};
use crate::ops::progress::Progress;
use crate::ops::{Access, Error, short};
use crate::store::{self, ImageRecord, Member, Store};

/// An entry, and what the store knows of it.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) entry: Value,
    pub(super) member: Member,
}

/// Where an image is.
#[derive(Debug)]
pub(super) enum Origin {
    /// In the store, under this name or id; looked up again when nothing can go away.
    Store(String),
    /// With a registry, which was asked.
    Registry(Vec<Found>),
}

impl Origin {
    /// A name or id of the store; else a name of a registry, as with `docker://` before it.
    pub(super) fn of(
        store: &Store,
        name: &str,
        options: &Options,
        progress: &dyn Progress,
    ) -> Result<Self, Error> {
        if !name.starts_with("docker://") {
            match store.images().find(name) {
                Ok(_) => return Ok(Self::Store(name.to_owned())),
                Err(store::Error::NoSuchImage { .. }) => {}
                Err(e) => return Err(e.into()),
            }
        }
        let found = at_registry(
            store,
            name,
            &options.access,
            progress,
            |name, source, document, kind| {
                from_registry(name, source, &document, kind, options.all)
            },
        )?;
        Ok(Self::Registry(found))
    }

    /// With `all` every entry of an index. To be called when nothing can be collected.
    pub(super) fn found(self, store: &Store, all: bool) -> Result<Vec<Found>, Error> {
        let name = match self {
            Self::Registry(found) => return Ok(found),
            Self::Store(name) => name,
        };
        let record = store.images().find(&name)?;
        match (&record.members, &record.index) {
            (Some(members), _) => from_list(store, &record, members, all),
            (None, Some(index)) if all => from_index(store, &record, index),
            (None, _) => Ok(vec![one(store, &record)?]),
        }
    }
}

/// Do something with what a registry has under a name, a short one by the rules for these.
pub(super) fn at_registry<T>(
    store: &Store,
    name: &str,
    access: &Access,
    progress: &dyn Progress,
    then: impl Fn(&Reference, &dyn Source, Document, Option<String>) -> Result<T, Error>,
) -> Result<T, Error> {
    let names = match name.parse::<Place>()? {
        Place::Registry(reference) => vec![reference],
        Place::Store(name) if Reference::is_short(&name) => short::names(access, &name, progress)?,
        Place::Store(name) => vec![name.parse().map_err(|e: ReferenceError| Error::from(e))?],
        place => return Err(ListError::Place(place.to_string()).into()),
    };
    short::first(name, &names, |reference| {
        let place = Place::Registry(reference.clone());
        source::read(store, &place, access, progress, |source, document, kind| {
            then(reference, source, document, kind)
        })
    })
}

fn from_registry(
    name: &Reference,
    source: &dyn Source,
    document: &Document,
    kind: Option<String>,
    all: bool,
) -> Result<Vec<Found>, Error> {
    let member = |digest: Digest| Member {
        digest,
        name: name.to_string(),
        image: None,
        repository: Some(name.name()),
    };
    match Manifest::parse(&document.bytes, kind.as_deref())? {
        Manifest::Image(manifest) => {
            let (_, config) = intake::config(source, &manifest)?;
            let config = serde_json::from_slice(&config).map_err(IntakeError::Config)?;
            let named = Named {
                digest: document.digest.clone(),
                size: document.bytes.len() as u64,
                media_type: own_type(&document.bytes)?,
            };
            Ok(vec![Found {
                entry: entry(&named, &config),
                member: member(named.digest),
            }])
        }
        Manifest::Index(_) => entries(&document.bytes, all)?
            .into_iter()
            .map(|(digest, entry)| {
                let member = member(digest);
                Ok(Found { entry, member })
            })
            .collect(),
    }
}

/// The entries of an index that are wanted, as they stand there.
fn entries(index: &[u8], all: bool) -> Result<Vec<(Digest, Value)>, Error> {
    let parsed: oci_spec::image::ImageIndex =
        serde_json::from_slice(index).map_err(ManifestError::from)?;
    let only = match all {
        true => None,
        false => Some(intake::chosen(&Platform::host(), parsed.manifests())?),
    };
    let mut wanted = Vec::new();
    for (entry, parsed) in Listed::parse(index)?
        .entries()
        .iter()
        .zip(parsed.manifests())
    {
        if only.is_none_or(|only| only == parsed) {
            wanted.push((intake::digest_of(parsed)?, entry.clone()));
        }
    }
    Ok(wanted)
}

/// The type of a manifest, which may leave it out.
fn own_type(manifest: &[u8]) -> Result<String, Error> {
    let manifest: oci_spec::image::ImageManifest =
        serde_json::from_slice(manifest).map_err(ManifestError::from)?;
    let own = manifest.media_type().as_ref().map(ToString::to_string);
    Ok(own.unwrap_or_else(|| media::OCI_MANIFEST.to_owned()))
}

/// One image of the store.
fn one(store: &Store, image: &ImageRecord) -> Result<Found, Error> {
    let manifest = store.blobs().read(&image.manifest, MANIFEST_MAX)?;
    let config = store.blobs().read(&image.id, CONFIG_MAX)?;
    let config = serde_json::from_slice(&config).map_err(IntakeError::Config)?;
    let named = Named {
        digest: image.manifest.clone(),
        size: manifest.len() as u64,
        media_type: own_type(&manifest)?,
    };
    Ok(Found {
        entry: entry(&named, &config),
        member: kept(image),
    })
}

fn kept(image: &ImageRecord) -> Member {
    let name = match &image.reference {
        Some(reference) => reference.to_string(),
        None => image.id.to_string(),
    };
    Member {
        digest: image.manifest.clone(),
        name,
        image: Some(Box::new(ImageRecord {
            reference: None,
            ..image.clone()
        })),
        repository: None,
    }
}

/// Those of another list.
fn from_list(
    store: &Store,
    list: &ImageRecord,
    members: &[Member],
    all: bool,
) -> Result<Vec<Found>, Error> {
    let index = store.blobs().read(&list.id, MANIFEST_MAX)?;
    let wanted = entries(&index, all)?.into_iter();
    let found = wanted.filter_map(|(digest, entry)| {
        let member = members.iter().find(|m| m.digest == digest)?.clone();
        Some(Found { entry, member })
    });
    Ok(found.collect())
}

/// Those of the index that an image of the store came with: the others are where that came from.
fn from_index(store: &Store, image: &ImageRecord, index: &Digest) -> Result<Vec<Found>, Error> {
    let bytes = store.blobs().read(index, MANIFEST_MAX)?;
    let records = store.images().list()?;
    let mut found = Vec::new();
    for (digest, entry) in entries(&bytes, true)? {
        let here = records
            .iter()
            .find(|r| !r.is_list() && r.manifest == digest);
        let member = match (here, image.repositories.first()) {
            (Some(here), _) => kept(here),
            (None, Some(repository)) => Member {
                name: format!("{repository}@{digest}"),
                digest,
                image: None,
                repository: Some(repository.clone()),
            },
            (None, None) => {
                let image = kept(image).name;
                return Err(ListError::Nowhere { digest, image }.into());
            }
        };
        found.push(Found { entry, member });
    }
    Ok(found)
}
