//! Images: names that point to a manifest, a configuration and layers. One small file a name, so that
//! `run` reads one file and nothing else.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::atomic;
use super::lock::{self, Guard, Kind};
use super::{Error, Store};
use crate::oci::{Digest, Platform, Reference};

/// View of the store's images.
#[derive(Debug, Clone, Copy)]
pub struct Images<'a> {
    pub(super) store: &'a Store,
}

/// One layer of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageLayer {
    /// Digest of the plain tar: names the unpacked layer.
    pub diff_id: Digest,
    /// Digest of the blob as the manifest names it.
    pub blob: Digest,
    /// Bytes of the blob.
    pub blob_size: u64,
    /// Bytes of all regular files, unpacked.
    pub size: u64,
}

/// What the store knows of an entry of a list, beyond what the list's document says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Digest of its manifest, as the list's document names it.
    pub digest: Digest,
    /// What it was called when it was added.
    pub name: String,
    /// The image, if it was in the store then. The list keeps all that it needs.
    pub image: Option<Box<ImageRecord>>,
    /// `registry/repository` that has it, if it was not.
    pub repository: Option<String>,
}

/// All that is known about an image without reading its blobs; or about a list of images, an index that was made
/// here: its id and manifest are the digest of the index, and it has no layers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Its name; `None` for an image that lost its last one.
    pub reference: Option<Reference>,
    /// Digest of the configuration: the image id.
    pub id: Digest,
    /// Digest of the manifest, for this platform.
    pub manifest: Digest,
    /// Digest of the index that the manifest was chosen from, if there was one.
    pub index: Option<Digest>,
    /// `linux/amd64`, `linux/arm64/v8` …
    pub platform: String,
    /// Layers, bottom first.
    pub layers: Vec<ImageLayer>,
    /// A layer of our own making on top of them, if they need one: what lower layers say of directories
    /// that higher ones use without listing them.
    #[serde(default)]
    pub restated: Option<Digest>,
    /// When it was made (RFC 3339), as its configuration says.
    pub created: Option<String>,
    /// Repositories it was pulled from, `registry/repository`: what RepoDigests shows.
    #[serde(default)]
    pub repositories: Vec<String>,
    /// Of a list: its entries, in the order of its document. `None`: it is an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<Member>>,
}

/// What a list of images shows of an [`ImageRecord`]. Digests of layers are most of a record, and in a list
/// of hundreds most of the time and memory.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ImageSummary {
    /// Its name; `None` for an image that lost its last one.
    pub reference: Option<Reference>,
    /// Digest of the configuration: the image id.
    pub id: Digest,
    /// Digest of the manifest, for this platform.
    pub manifest: Digest,
    /// Digest of the index that the manifest was chosen from, if there was one.
    pub index: Option<Digest>,
    /// `linux/amd64`, `linux/arm64/v8` …
    pub platform: String,
    /// Bytes of all regular files in its own layers.
    #[serde(deserialize_with = "total")]
    layers: u64,
    #[serde(default)]
    members: Option<Vec<Member>>,
    /// When it was made (RFC 3339), as its configuration says.
    pub created: Option<String>,
    /// It is in an additional store.
    #[serde(skip)]
    pub read_only: bool,
}

impl ImageSummary {
    /// A list of images rather than one.
    pub fn is_list(&self) -> bool {
        self.members.is_some()
    }

    /// As [`ImageRecord::size`].
    pub fn size(&self) -> u64 {
        let members = self.members.iter().flatten();
        let images = members.filter_map(|m| m.image.as_ref());
        images.map(|i| i.size()).sum::<u64>() + self.layers
    }

    /// What a registry calls it: the digest of the index, else of the manifest.
    pub fn repo_digest(&self) -> &Digest {
        self.index.as_ref().unwrap_or(&self.manifest)
    }
}

/// The sum of the layers' sizes.
fn total<'de, D: Deserializer<'de>>(layers: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    struct Layer {
        size: u64,
    }
    struct Layers;
    impl<'de> Visitor<'de> for Layers {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("layers")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<u64, A::Error> {
            let mut sum = 0u64;
            while let Some(Layer { size }) = seq.next_element()? {
                sum = sum.saturating_add(size);
            }
            Ok(sum)
        }
    }
    layers.deserialize_seq(Layers)
}

impl ImageRecord {
    /// A list of images rather than one.
    pub fn is_list(&self) -> bool {
        self.members.is_some()
    }

    /// Itself, and the images of a list. Those of a list are no lists.
    pub fn images(&self) -> impl Iterator<Item = &Self> + Clone {
        let members = self.members.iter().flatten();
        std::iter::once(self).chain(members.filter_map(|m| m.image.as_deref()))
    }

    /// diff_ids of the layers, bottom first.
    pub fn diff_ids(&self) -> impl DoubleEndedIterator<Item = &Digest> + ExactSizeIterator {
        self.layers.iter().map(|l| &l.diff_id)
    }

    /// What a root file system is made of, the topmost first.
    pub fn stack(&self) -> impl Iterator<Item = &Digest> {
        self.restated.iter().chain(self.diff_ids().rev())
    }

    /// Bytes of all regular files in all layers; of a list, of all its images that are here.
    pub fn size(&self) -> u64 {
        self.images().flat_map(|i| &i.layers).map(|l| l.size).sum()
    }

    /// What a registry calls it: the digest of the index, else of the manifest.
    pub fn repo_digest(&self) -> &Digest {
        self.index.as_ref().unwrap_or(&self.manifest)
    }

    /// Whether it is for this platform; one that names no variant has any.
    pub fn is_for(&self, want: &Platform) -> bool {
        self.platform.parse().is_ok_and(|have: Platform| {
            have.os == want.os
                && have.architecture == want.architecture
                && (want.variant.is_none() || want.variant == have.variant)
        })
    }

    /// Everything that must stay in the store for it.
    pub fn roots(&self) -> impl Iterator<Item = &Digest> {
        self.images().flat_map(|image| {
            [&image.id, &image.manifest]
                .into_iter()
                .chain(&image.index)
                .chain(&image.restated)
                .chain(image.layers.iter().flat_map(|l| [&l.diff_id, &l.blob]))
        })
    }
}

/// A name has up to 384 bytes and slashes, a file name 255 and none: hence its hash.
pub(super) fn tag_name(reference: &Reference) -> String {
    let hash = Digest::of(canonical(reference).to_string().as_bytes());
    format!("tag-{}.json", hash.hex())
}

/// The image of a list that the user means, but for one of exactly that name: a name with a digest, or the start of
/// an id.
pub(super) fn pick(records: Vec<ImageRecord>, name: &str) -> Result<Option<ImageRecord>, Error> {
    let reference = name.parse::<Reference>().ok();
    if let Some(r) = &reference
        && let Some(digest) = r.digest()
    {
        let repository = r.name();
        let fits = |i: &&ImageRecord| {
            (&i.manifest == digest || i.index.as_ref() == Some(digest))
                && i.repositories.contains(&repository)
        };
        if let Some(record) = records.iter().find(fits) {
            return Ok(Some(record.clone()));
        }
    }
    let hex = name.strip_prefix("sha256:").unwrap_or(name);
    let is_hex = !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit());
    let mut fits: Vec<ImageRecord> = records
        .into_iter()
        .filter(|r| is_hex && r.id.hex().starts_with(hex))
        .collect();
    let mut ids: Vec<&Digest> = fits.iter().map(|r| &r.id).collect();
    ids.sort();
    ids.dedup();
    match ids.len() {
        0 => Ok(None),
        1 => Ok(Some(fits.swap_remove(0))),
        _ => Err(Error::AmbiguousImage {
            prefix: name.to_owned(),
            matches: ids.iter().map(|d| d.short().to_owned()).collect(),
        }),
    }
}

/// What images are sorted by.
fn order<'a>(
    name: &'a Option<Reference>,
    id: &'a Digest,
) -> (bool, Option<&'a Reference>, &'a Digest) {
    (name.is_none(), name.as_ref(), id)
}

/// A digest says it all: a tag beside it names nothing (docker and podman drop it as well).
fn canonical(reference: &Reference) -> Reference {
    match reference.digest() {
        Some(digest) => reference.with_digest(digest.clone()),
        None => reference.clone(),
    }
}

impl Images<'_> {
    fn dir(&self) -> PathBuf {
        self.store.path("images")
    }

    fn tag_path(&self, reference: &Reference) -> PathBuf {
        self.dir().join(tag_name(reference))
    }

    fn id_path(&self, id: &Digest) -> PathBuf {
        self.dir().join(format!("id-{}.json", id.hex()))
    }

    /// All images, one entry a name, sorted by name; those without a name come last.
    pub fn list(&self) -> Result<Vec<ImageRecord>, Error> {
        let mut records: Vec<ImageRecord> = atomic::read_all_json(&self.dir())?;
        records.sort_by(|a, b| order(&a.reference, &a.id).cmp(&order(&b.reference, &b.id)));
        Ok(records)
    }

    /// The same, without what only those need who use an image.
    pub fn summaries(&self) -> Result<Vec<ImageSummary>, Error> {
        let mut records: Vec<ImageSummary> = atomic::read_all_json(&self.dir())?;
        records.sort_by(|a, b| order(&a.reference, &a.id).cmp(&order(&b.reference, &b.id)));
        Ok(records)
    }

    /// The image of exactly this name.
    pub fn get(&self, reference: &Reference) -> Result<Option<ImageRecord>, Error> {
        atomic::read_json(&self.tag_path(reference))
    }

    /// The image that the user means: a name, a name with a digest, or the start of an id.
    pub fn find(&self, name: &str) -> Result<ImageRecord, Error> {
        let reference = name.parse::<Reference>().ok();
        if let Some(r) = &reference
            && let Some(record) = self.get(r)?
        {
            return Ok(record);
        }
        match pick(self.list()?, name)? {
            Some(record) => Ok(record),
            None => Err(Error::NoSuchImage {
                name: name.to_owned(),
                local: self.local(name)?,
            }),
        }
    }

    /// `localhost/NAME`, if there is such an image: what has no registry of its own is called that.
    fn local(&self, name: &str) -> Result<Option<String>, Error> {
        let Ok(reference) = format!("localhost/{name}").parse() else {
            return Ok(None);
        };
        Ok(self.get(&reference)?.map(|_| reference.to_string()))
    }

    /// Store an image under the name that it carries; if it carries none, under those that it has in the store,
    /// or else under its id. Returns what is stored. An image that loses its last name to this one stays, nameless. All that it refers to must be there, and
    /// a lease or a shared guard must have held it since before it was looked for.
    pub fn put(&self, record: &ImageRecord) -> Result<ImageRecord, Error> {
        let _guard = self.store.shared()?;
        let _names = self.lock_names()?;
        self.put_locked(record)
    }

    /// The image of this id, also one that only a list has.
    pub fn by_id(&self, id: &Digest) -> Result<Option<ImageRecord>, Error> {
        let records = self.list()?;
        // One that has a record of its own knows its names.
        let own = records.iter().find(|r| r.id == *id);
        let kept = || records.iter().flat_map(ImageRecord::images);
        Ok(own.or_else(|| kept().find(|r| r.id == *id)).cloned())
    }

    /// Make a list, or another of one that is there: `change` gets what has the name now and says what has it
    /// then. Nobody else changes a name meanwhile, and nothing is collected. The list that had the name is gone
    /// if it has no other one.
    pub fn change_list<E: From<Error>>(
        &self,
        name: &Reference,
        change: impl FnOnce(Option<ImageRecord>) -> Result<ImageRecord, E>,
    ) -> Result<ImageRecord, E> {
        let _guard = self.store.shared()?;
        let _names = self.lock_names()?;
        let record = change(self.get(name)?)?;
        self.put_locked(&record)?;
        Ok(record)
    }

    /// Give an image another name, and return the record under that name.
    pub fn tag(&self, image: &ImageRecord, name: &Reference) -> Result<ImageRecord, Error> {
        let record = ImageRecord {
            reference: Some(name.clone()),
            ..image.clone()
        };
        let _guard = self.store.shared()?;
        let _names = self.lock_names()?;
        if !self.list()?.iter().any(|r| r.id == image.id) {
            // Removed between look-up and now.
            return Err(Error::NoSuchImage {
                name: image.id.short().to_owned(),
                local: None,
            });
        }
        self.put_locked(&record)
    }

    /// Take a name away from an image, which stays, nameless if need be. `false`: it has not, or no longer, that name.
    pub fn untag(&self, id: &Digest, name: &Reference) -> Result<bool, Error> {
        let _guard = self.store.shared()?;
        let _names = self.lock_names()?;
        let Some(record) = self.get(name)?.filter(|r| r.id == *id) else {
            return Ok(false);
        };
        self.keep_nameless(&record)?;
        atomic::unlink(&self.tag_path(name))?;
        Ok(true)
    }

    /// Take the names `gone` away from an image, if it has the names `had` and no others; with the last of
    /// them it goes itself, and the next [`Store::gc`] removes what it alone needed. `false`: it has other
    /// names by now, or is gone, and nothing was done. So what was decided by looking at the names holds still
    /// when it is done, and a name that the image was given meanwhile is not lost.
    pub fn remove(
        &self,
        id: &Digest,
        had: &[Reference],
        gone: &[Reference],
    ) -> Result<bool, Error> {
        let _guard = self.store.shared()?;
        let _names = self.lock_names()?;
        let records = self.list()?;
        let mut have = records.iter().filter(|r| r.id == *id).peekable();
        if have.peek().is_none() {
            return Ok(false);
        }
        let have: HashSet<&Reference> = have.filter_map(|r| r.reference.as_ref()).collect();
        if have != had.iter().collect() {
            return Ok(false);
        }
        for name in gone {
            atomic::unlink(&self.tag_path(name))?;
        }
        if gone.len() == had.len() {
            atomic::unlink(&self.id_path(id))?;
        }
        Ok(true)
    }

    fn lock_names(&self) -> Result<Guard, Error> {
        lock::lock_dir(&self.dir(), Kind::Exclusive, self.store.timeout)
    }

    fn put_locked(&self, record: &ImageRecord) -> Result<ImageRecord, Error> {
        let mut record = ImageRecord {
            reference: record.reference.as_ref().map(canonical),
            ..record.clone()
        };
        let records = self.list()?;
        // The repositories belong to the image, not to one of its names.
        for other in records.iter().filter(|r| r.id == record.id) {
            if record.reference.is_none() {
                record.reference.clone_from(&other.reference);
            }
            for repository in &other.repositories {
                if !record.repositories.contains(repository) {
                    record.repositories.push(repository.clone());
                }
            }
        }
        let path = match &record.reference {
            Some(name) => {
                if let Some(old) = self.get(name)?
                    && old.id != record.id
                    // An earlier state of a list is nothing that anybody made.
                    && !(old.is_list() && record.is_list())
                {
                    self.keep_nameless(&old)?;
                }
                self.tag_path(name)
            }
            None => self.id_path(&record.id),
        };
        atomic::write_json(self.store, &path, &record)?;
        if record.reference.is_some() {
            atomic::unlink(&self.id_path(&record.id))?;
        }
        Ok(record)
    }

    /// `record` is about to lose its name: keep the image if that is its only one.
    fn keep_nameless(&self, record: &ImageRecord) -> Result<(), Error> {
        let others = self
            .list()?
            .iter()
            .any(|r| r.id == record.id && r.reference != record.reference);
        if others {
            return Ok(());
        }
        let nameless = ImageRecord {
            reference: None,
            ..record.clone()
        };
        atomic::write_json(self.store, &self.id_path(&record.id), &nameless)
    }
}
