//! `inspect`: all that is known about a container or an image, in docker's and podman's shape, and the manifest of
//! an image as it is; of the store, of a registry and of the other places of [`Place`]. podman-inspect(1),
//! skopeo-inspect(1).

mod container;

use serde_json::{Value, json};

use super::copy::{Place, source};
use super::intake;
use super::progress::Progress;
use super::{Access, Error, IntakeError, list, ps, stored, volume};
use crate::oci::{Digest, MANIFEST_MAX, Platform, Reference};
use crate::store::{self, ImageRecord, Store};

/// What is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// The container of this name, else the image, else the volume.
    #[default]
    Any,
    /// A container.
    Container,
    /// An image.
    Image,
    /// A volume.
    Volume,
}

/// Where to look, and for what.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How registries are reached.
    pub access: Access,
    /// Which image of an index; `None`: this machine's.
    pub platform: Option<Platform>,
    /// What may be called so.
    pub kind: Kind,
    /// Count what a container has written, which takes a while.
    pub size: bool,
}

/// A place; an image of the store that is called like one comes first (`dir:1` is both).
fn place(store: &Store, name: &str) -> Result<Place, Error> {
    if let Ok(reference) = name.parse::<Reference>()
        && store.images().get(&reference)?.is_some()
    {
        return Ok(Place::Store(name.to_owned()));
    }
    name.parse()
}

/// The container, image or volume called `name` (a name or an id of the store, or a [`Place`]) as a JSON object.
pub fn inspect(
    store: &Store,
    name: &str,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Value, Error> {
    if options.kind == Kind::Volume {
        return Ok(volume::document(&volume::find(store, name)?));
    }
    if options.kind != Kind::Image {
        match store.containers().find(name) {
            Ok(entry) => {
                let found = container::container(store, entry, options.size)?;
                return found.ok_or_else(|| store::Error::NoSuchContainer(name.to_owned()).into());
            }
            Err(store::Error::NoSuchContainer(_)) if options.kind == Kind::Any => {}
            Err(e) => return Err(e.into()),
        }
    }
    match image(store, name, options, progress) {
        Err(Error::Store(store::Error::NoSuchImage { .. })) if options.kind == Kind::Any => {
            // Only by its whole name: the start of one is too little to go by.
            match volume::find(store, name) {
                Ok(volume) if volume.record.name == name => Ok(volume::document(&volume)),
                _ => Err(Error::NoSuchObject(name.to_owned())),
            }
        }
        other => other,
    }
}

/// The name of the youngest container.
pub fn latest(store: &Store) -> Result<String, Error> {
    let wanted = ps::Wanted {
        last: Some(1),
        ..ps::Wanted::default()
    };
    let youngest = ps::ps(store, &wanted)?.pop();
    youngest.map(|c| c.id).ok_or(Error::NoContainers)
}

fn image(
    store: &Store,
    name: &str,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Value, Error> {
    match place(store, name)? {
        Place::Store(name) => {
            let image = stored::find(store, &name)?;
            local(
                store,
                &match &options.platform {
                    None => list::in_store(store, image, None)?,
                    Some(want) => of_platform(store, image, want)?,
                },
            )
        }
        place => elsewhere(store, &place, options, progress),
    }
}

/// The manifest of an image, byte for byte. Where its name means an index, that is what comes back, unless a
/// platform is asked for; so it has the digest by which a registry knows the name.
pub fn raw(
    store: &Store,
    name: &str,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Vec<u8>, Error> {
    let place = match place(store, name)? {
        Place::Store(name) => {
            let image = stored::find(store, &name)?;
            let id = image.id.clone();
            let digest = match &options.platform {
                None => image.repo_digest().clone(),
                Some(want) => of_platform(store, image, want)?.manifest,
            };
            return stored::document(store, &id, &digest, MANIFEST_MAX);
        }
        place => place,
    };
    source::read(
        store,
        &place,
        &options.access,
        progress,
        |source, document, media_type| match &options.platform {
            None => Ok(document.bytes),
            Some(_) => {
                let platform = options.platform.as_ref();
                let chosen = intake::choose(source, document, media_type.as_deref(), platform)?;
                Ok(chosen.document.bytes)
            }
        },
    )
}

/// The store has one platform of an index, and those of a list that were here.
fn of_platform(store: &Store, image: ImageRecord, want: &Platform) -> Result<ImageRecord, Error> {
    let image = list::in_store(store, image, Some(want))?;
    match image.is_for(want) {
        true => Ok(image),
        false => Err(IntakeError::Platform {
            have: image.platform,
            want: want.to_string(),
        }
        .into()),
    }
}

fn local(store: &Store, image: &ImageRecord) -> Result<Value, Error> {
    let bytes = stored::config(store, &image.id)?;
    let config: Value = serde_json::from_slice(&bytes).map_err(IntakeError::Config)?;
    let records = store.images().list()?;
    // It may be in another store.
    let other = records.iter().all(|r| r.id != image.id).then_some(image);
    let same = || records.iter().chain(other).filter(|r| r.id == image.id);
    let tags = same()
        .filter_map(|r| r.reference.as_ref())
        .filter(|r| r.digest().is_none())
        .map(Reference::to_string)
        .collect();
    let mut digests: Vec<String> = same()
        .flat_map(|r| {
            r.repositories
                .iter()
                .map(|repo| format!("{repo}@{}", r.repo_digest()))
        })
        .collect();
    digests.sort();
    digests.dedup();
    let mut value = described(&config, &image.id, image.repo_digest(), tags, digests);
    value["Size"] = json!(image.size());
    value["VirtualSize"] = json!(image.size());
    value["GraphDriver"] = json!({ "Name": "overlay", "Data": {} });
    let layers: Vec<String> = image.diff_ids().map(ToString::to_string).collect();
    value["RootFS"] = json!({ "Type": "layers", "Layers": layers });
    Ok(value)
}

/// Of an image that is not unpacked: without its size on disk, with the layers' blobs as skopeo shows them.
fn elsewhere(
    store: &Store,
    place: &Place,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Value, Error> {
    let (access, platform) = (&options.access, options.platform.as_ref());
    source::read(
        store,
        place,
        access,
        progress,
        |source, document, media_type| {
            let digest = document.digest.clone();
            let chosen = intake::choose(source, document, media_type.as_deref(), platform)?;
            let (id, config) = intake::config(source, &chosen.manifest)?;
            let config: Value = serde_json::from_slice(&config).map_err(IntakeError::Config)?;
            let (mut tags, mut digests) = (Vec::new(), Vec::new());
            if let Place::Registry(name) = place {
                digests.push(format!("{}@{digest}", name.name()));
                if name.digest().is_none() {
                    tags.push(name.to_string());
                }
            }
            let mut value = described(&config, &id, &digest, tags, digests);
            let layers = chosen.manifest.layers().iter().map(|layer| {
                json!({
                    "MIMEType": layer.media_type().to_string(),
                    "Digest": layer.digest().to_string(),
                    "Size": layer.size(),
                    "Annotations": layer.annotations(),
                })
            });
            value["LayersData"] = layers.collect();
            value["RootFS"] = json!({
                "Type": "layers",
                "Layers": config.pointer("/rootfs/diff_ids").unwrap_or(&json!([])),
            });
            Ok(value)
        },
    )
}

/// What a configuration says, and what the image is called.
fn described(
    config: &Value,
    id: &Digest,
    digest: &Digest,
    tags: Vec<String>,
    digests: Vec<String>,
) -> Value {
    let text = |key: &str| config.get(key).and_then(Value::as_str).unwrap_or_default();
    let inner = config.get("config").cloned().unwrap_or_else(|| json!({}));
    let labels = inner.get("Labels").cloned().unwrap_or(Value::Null);
    json!({
        "Id": id,
        "Digest": digest,
        "RepoTags": tags,
        "RepoDigests": digests,
        "Parent": "",
        "Comment": last_comment(config),
        "Created": config.get("created").cloned().unwrap_or(Value::Null),
        "Author": text("author"),
        "DockerVersion": "",
        "Version": "",
        "User": inner.get("User").and_then(Value::as_str).unwrap_or_default(),
        "Annotations": {},
        "Config": inner,
        "Labels": labels,
        "Architecture": text("architecture"),
        "Variant": text("variant"),
        "Os": text("os"),
        "History": config.get("history").cloned().unwrap_or_else(|| json!([])),
    })
}

fn last_comment(config: &Value) -> &str {
    let history = config.get("history").and_then(Value::as_array);
    history
        .and_then(|h| h.last()?.get("comment")?.as_str())
        .unwrap_or_default()
}
