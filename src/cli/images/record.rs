//! An image as `images` shows it to programs: to templates in the words of docker and podman, and as podman's JSON.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use super::{NONE, repository, tag};
use crate::cli::{Failure, human};
use crate::oci::Digest;
use crate::ops::{Store, images, ps};
use crate::store::ImageSummary;

/// Headings that are not the names of fields.
pub(super) const HEADINGS: [(&str, &str); 7] = [
    ("CreatedAt", "CREATED AT"),
    ("CreatedSince", "CREATED"),
    ("CreatedTime", "CREATED"),
    ("ID", "IMAGE ID"),
    ("Id", "IMAGE ID"),
    ("ReadOnly", "R/O"),
    ("VirtualSize", "VIRTUAL SIZE"),
];

/// What is known of the images together.
pub(super) struct Records<'a> {
    list: &'a [ImageSummary],
    labels: HashMap<&'a Digest, BTreeMap<String, String>>,
    containers: HashMap<Digest, usize>,
}

impl<'a> Records<'a> {
    /// Labels and containers stand in other files, which are read if `format` asks for them.
    pub(super) fn new(
        store: &Store,
        list: &'a [ImageSummary],
        format: &str,
    ) -> Result<Self, Failure> {
        let asks = |word: &str| ["json", "{{.}}", word].iter().any(|w| format.contains(w));
        let mut labels = HashMap::new();
        if asks("abel") {
            for image in list.iter().filter(|i| !i.read_only && !i.is_list()) {
                labels.insert(&image.id, images::labels(store, &image.id)?);
            }
        }
        let mut containers: HashMap<Digest, usize> = HashMap::new();
        if asks("ontainers") {
            let all = ps::Wanted {
                all: true,
                ..ps::Wanted::default()
            };
            for image in ps::ps(store, &all)?.into_iter().filter_map(|c| c.image) {
                *containers.entry(image.id).or_default() += 1;
            }
        }
        Ok(Self {
            list,
            labels,
            containers,
        })
    }

    fn same(&self, image: &'a ImageSummary) -> impl Iterator<Item = &'a ImageSummary> {
        self.list.iter().filter(|i| i.id == image.id)
    }

    fn names(&self, image: &'a ImageSummary) -> Vec<String> {
        let tagged = self.same(image).filter(|i| tag(i) != NONE);
        tagged
            .map(|i| format!("{}:{}", repository(i), tag(i)))
            .collect()
    }

    fn digests(&self, image: &'a ImageSummary) -> Vec<String> {
        let named = self.same(image).filter(|i| i.reference.is_some());
        let mut digests: Vec<String> = named
            .map(|i| format!("{}@{}", repository(i), i.repo_digest()))
            .collect();
        digests.sort();
        digests.dedup();
        digests
    }

    fn labels(&self, image: &ImageSummary) -> BTreeMap<String, String> {
        self.labels.get(&image.id).cloned().unwrap_or_default()
    }

    fn containers(&self, image: &ImageSummary) -> usize {
        self.containers.get(&image.id).copied().unwrap_or_default()
    }

    /// For templates. Where docker and podman give different things for one name, it is podman's, but for the
    /// Size.
    pub(super) fn template(&self, image: &'a ImageSummary, id: &str) -> Value {
        let at = human::at(image.created.as_deref());
        let ago = human::ago(image.created.as_deref());
        let names = self.names(image);
        json!({
            "ID": id,
            "Id": image.id.hex(),
            "Repository": repository(image),
            "Tag": tag(image),
            "Digest": image.repo_digest(),
            "Created": ago,
            "CreatedAt": at,
            "CreatedSince": ago,
            "CreatedTime": at,
            "Size": human::size(image.size()),
            "VirtualSize": image.size(),
            "SharedSize": 0,
            "UniqueSize": "N/A",
            "Names": names,
            "RepoTags": names,
            "RepoDigests": self.digests(image),
            "History": names.join(", "),
            "Labels": self.labels(image),
            "Containers": self.containers(image),
            "Dangling": image.reference.is_none(),
            "IsManifestList": image.is_list(),
            "ParentId": "",
            "Platform": image.platform,
            "ReadOnly": image.read_only,
        })
    }

    /// As podman prints it.
    pub(super) fn podman(&self, image: &'a ImageSummary) -> Value {
        let made: Option<jiff::Timestamp> = image.created.as_ref().and_then(|c| c.parse().ok());
        let labels = self.labels(image);
        let names = self.names(image);
        let mut value = json!({
            "Id": image.id.hex(),
            "ParentId": "",
            "RepoTags": names,
            "RepoDigests": self.digests(image),
            "Size": image.size(),
            "SharedSize": 0,
            "VirtualSize": image.size(),
            "Labels": match labels.is_empty() {
                true => Value::Null,
                false => json!(labels),
            },
            "Containers": self.containers(image),
            "Names": names,
            "Digest": image.repo_digest(),
            "History": names,
            "Created": made.map_or(0, |t| t.as_second()),
            "CreatedAt": image.created,
        });
        // As podman: only where it is true.
        for (name, is) in [
            ("Dangling", image.reference.is_none()),
            ("IsManifestList", image.is_list()),
            ("ReadOnly", image.read_only),
        ] {
            if is {
                value[name] = true.into();
            }
        }
        value
    }
}
