//! The document of a list: an OCI index or docker's manifest list, changed entry by entry. Pure. What it says beyond
//! what is known here stays as it is. image-spec, image-index.md.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::ListError;
use crate::oci::{Digest, MANIFEST_MAX, ManifestError, media};
use crate::ops::Error;
use crate::ops::commit::Format;

/// Most entries; the largest lists that are published have some dozens.
const ENTRIES_MAX: usize = 1000;

/// What shall be said of an entry; what is empty stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Says {
    /// Architecture, in Go's words.
    pub arch: Option<String>,
    /// Operating system.
    pub os: Option<String>,
    /// Variant of the architecture.
    pub variant: Option<String>,
    /// Version of the operating system.
    pub os_version: Option<String>,
    /// What the operating system must have.
    pub os_features: Vec<String>,
    /// What the machine must have.
    pub features: Vec<String>,
    /// Annotations, in addition to those that it has.
    pub annotations: BTreeMap<String, String>,
}

/// What an entry names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::ops) struct Named {
    pub(in crate::ops) digest: Digest,
    pub(in crate::ops) size: u64,
    pub(in crate::ops) media_type: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(in crate::ops) struct Document(Map<String, Value>);

impl Document {
    /// An OCI index with nothing in it.
    pub(super) fn new() -> Self {
        let mut map = Map::new();
        map.insert("schemaVersion".to_owned(), json!(2));
        map.insert("mediaType".to_owned(), json!(media::OCI_INDEX));
        map.insert("manifests".to_owned(), json!([]));
        Self(map)
    }

    pub(in crate::ops) fn parse(bytes: &[u8]) -> Result<Self, Error> {
        Ok(Self(
            serde_json::from_slice(bytes).map_err(ManifestError::from)?,
        ))
    }

    pub(in crate::ops) fn bytes(&self) -> Result<Vec<u8>, Error> {
        let bytes = serde_json::to_vec(&self.0).map_err(ManifestError::from)?;
        match bytes.len() as u64 > MANIFEST_MAX {
            true => Err(ListError::TooLarge(bytes.len()).into()),
            false => Ok(bytes),
        }
    }

    pub(in crate::ops) fn media_type(&self) -> &str {
        let own = self.0.get("mediaType").and_then(Value::as_str);
        own.unwrap_or(media::OCI_INDEX)
    }

    pub(super) fn entries(&self) -> &[Value] {
        let entries = self.0.get("manifests").and_then(Value::as_array);
        entries.map_or(&[], Vec::as_slice)
    }

    fn entries_mut(&mut self) -> Option<&mut Vec<Value>> {
        self.0.get_mut("manifests")?.as_array_mut()
    }

    pub(super) fn entry_mut(&mut self, digest: &Digest) -> Option<&mut Value> {
        let is_it = |e: &&mut Value| is(e, digest);
        self.entries_mut()?.iter_mut().find(is_it)
    }

    /// One more entry, or another in place of the one of the same manifest.
    pub(super) fn put(&mut self, entry: Value) -> Result<(), ListError> {
        let digest = entry["digest"].clone();
        let Some(entries) = self.entries_mut() else {
            return Ok(());
        };
        match entries.iter().position(|e| e["digest"] == digest) {
            Some(at) => entries[at] = entry,
            None if entries.len() >= ENTRIES_MAX => {
                return Err(ListError::TooMany { max: ENTRIES_MAX });
            }
            None => entries.push(entry),
        }
        Ok(())
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, digest: &Digest) -> bool {
        let Some(entries) = self.entries_mut() else {
            return false;
        };
        let before = entries.len();
        entries.retain(|e| !is(e, digest));
        entries.len() < before
    }

    /// The entry names another manifest of the same image.
    pub(in crate::ops) fn rename(&mut self, digest: &Digest, to: &Named) {
        if let Some(entry) = self.entry_mut(digest) {
            entry["digest"] = json!(to.digest);
            entry["size"] = json!(to.size);
            entry["mediaType"] = json!(to.media_type);
        }
    }

    /// What is said of the list itself.
    pub(super) fn annotate(&mut self, annotations: &BTreeMap<String, String>) {
        annotate(&mut self.0, annotations);
    }

    /// The same as the other kind of document. Returns what that has no place for.
    pub(in crate::ops) fn convert(&mut self, format: Format) -> usize {
        let (media_type, drop) = match format {
            Format::Oci => (media::OCI_INDEX, false),
            Format::Docker => (media::DOCKER_LIST, true),
        };
        self.0.insert("mediaType".to_owned(), json!(media_type));
        if !drop {
            return 0;
        }
        let count = |gone: Option<Value>| gone.and_then(|a| Some(a.as_object()?.len()));
        let mut gone = count(self.0.remove("annotations")).unwrap_or(0);
        for key in ["subject", "artifactType"] {
            gone += usize::from(self.0.remove(key).is_some());
        }
        for entry in self.entries_mut().into_iter().flatten() {
            let entry = entry.as_object_mut();
            gone += count(entry.and_then(|e| e.remove("annotations"))).unwrap_or(0);
        }
        gone
    }
}

fn is(entry: &Value, digest: &Digest) -> bool {
    entry["digest"].as_str() == Some(&digest.to_string())
}

fn annotate(map: &mut Map<String, Value>, annotations: &BTreeMap<String, String>) {
    if annotations.is_empty() {
        return;
    }
    let all = map
        .entry("annotations")
        .or_insert_with(|| Value::Object(Map::new()));
    if let Some(all) = all.as_object_mut() {
        all.extend(annotations.iter().map(|(k, v)| (k.clone(), json!(v))));
    }
}

/// An entry for a manifest, with the platform that the image's configuration names.
pub(super) fn entry(named: &Named, config: &Value) -> Value {
    let mut platform = Map::new();
    // The specification wants both, also where the configuration says nothing.
    for key in ["architecture", "os"] {
        let value = config.get(key).and_then(Value::as_str).unwrap_or_default();
        platform.insert(key.to_owned(), json!(value));
    }
    for key in ["os.version", "variant"] {
        let value = config.get(key).and_then(Value::as_str);
        if let Some(value) = value.filter(|v| !v.is_empty()) {
            platform.insert(key.to_owned(), json!(value));
        }
    }
    if let Some(features) = config.get("os.features").filter(|f| f.is_array()) {
        platform.insert("os.features".to_owned(), features.clone());
    }
    json!({
        "mediaType": named.media_type,
        "digest": named.digest,
        "size": named.size,
        "platform": platform,
    })
}

/// Say of an entry what is to be said.
pub(super) fn say(entry: &mut Value, says: &Says) {
    let Some(entry) = entry.as_object_mut() else {
        return;
    };
    annotate(entry, &says.annotations);
    let words = [
        ("architecture", &says.arch),
        ("os", &says.os),
        ("variant", &says.variant),
        ("os.version", &says.os_version),
    ];
    let lists = [
        ("os.features", &says.os_features),
        ("features", &says.features),
    ];
    if words.iter().all(|(_, w)| w.is_none()) && lists.iter().all(|(_, l)| l.is_empty()) {
        return;
    }
    let platform = entry
        .entry("platform")
        .or_insert_with(|| json!({ "architecture": "", "os": "" }));
    let Some(platform) = platform.as_object_mut() else {
        return;
    };
    for (key, word) in words {
        if let Some(word) = word {
            platform.insert(key.to_owned(), json!(word));
        }
    }
    for (key, list) in lists {
        if !list.is_empty() {
            platform.insert(key.to_owned(), json!(list));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Named {
        Named {
            digest: Digest::of(text.as_bytes()),
            size: 7,
            media_type: media::OCI_MANIFEST.to_owned(),
        }
    }

    fn some() -> Value {
        let config = json!({ "architecture": "arm64", "os": "linux", "variant": "v8", "os.features": ["f"], "x": 1 });
        entry(&named("a"), &config)
    }

    #[test]
    fn an_entry_says_what_the_configuration_says() {
        assert_eq!(
            some(),
            json!({
                "mediaType": media::OCI_MANIFEST, "digest": Digest::of(b"a"), "size": 7,
                "platform": { "architecture": "arm64", "os": "linux", "variant": "v8", "os.features": ["f"] },
            })
        );
        let bare = entry(&named("a"), &json!({ "os": 3, "variant": "" }));
        assert_eq!(bare["platform"], json!({ "architecture": "", "os": "" }));
    }

    #[test]
    fn what_is_not_said_stays() {
        let mut e = some();
        let before = e.clone();
        say(&mut e, &Says::default());
        assert_eq!(e, before);
        let says = Says {
            variant: Some("v9".into()),
            os_version: Some("1".into()),
            features: vec!["sse".into()],
            annotations: BTreeMap::from([("k".into(), "v".into())]),
            ..Says::default()
        };
        say(&mut e, &says);
        let platform = &e["platform"];
        assert_eq!(
            (&platform["variant"], &platform["architecture"]),
            (&json!("v9"), &json!("arm64"))
        );
        assert_eq!(platform["features"], json!(["sse"]));
        assert_eq!(e["annotations"], json!({ "k": "v" }));
    }

    #[test]
    fn an_entry_replaces_the_one_of_the_same_manifest() {
        let mut list = Document::new();
        list.put(some()).unwrap();
        list.put(entry(&named("b"), &json!({}))).unwrap();
        let mut again = some();
        again["platform"]["os"] = json!("plan9");
        list.put(again).unwrap();
        assert_eq!(list.entries().len(), 2);
        assert_eq!(list.entries()[0]["platform"]["os"], "plan9");
        list.rename(&Digest::of(b"a"), &named("c"));
        assert_eq!(list.entries()[0]["digest"], json!(Digest::of(b"c")));
        assert!(list.remove(&Digest::of(b"c")) && !list.remove(&Digest::of(b"c")));
        for i in 1..ENTRIES_MAX {
            list.put(entry(&named(&i.to_string()), &json!({}))).unwrap();
        }
        let more = list.put(entry(&named("more"), &json!({})));
        assert!(matches!(more, Err(ListError::TooMany { .. })));
    }

    #[test]
    fn what_dockers_has_no_place_for_is_counted() {
        let mut list = Document::new();
        list.put(some()).unwrap();
        let one = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
        list.annotate(&one);
        say(
            list.entry_mut(&Digest::of(b"a")).unwrap(),
            &Says {
                annotations: one,
                ..Says::default()
            },
        );
        let before = list.clone();
        assert_eq!(list.convert(Format::Oci), 0);
        assert_eq!(list, before);
        assert_eq!(list.convert(Format::Docker), 2);
        assert_eq!(list.media_type(), media::DOCKER_LIST);
        assert!(
            !String::from_utf8(list.bytes().unwrap())
                .unwrap()
                .contains("annotations")
        );
    }

    #[test]
    fn a_list_that_no_registry_takes_is_not_made() {
        let mut list = Document::new();
        let long = BTreeMap::from([("k".to_owned(), "v".repeat(MANIFEST_MAX as usize))]);
        list.annotate(&long);
        assert!(matches!(
            list.bytes(),
            Err(Error::List(ListError::TooLarge(_)))
        ));
    }
}
