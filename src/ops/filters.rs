//! Conditions that several verbs take with `--filter`, in docker's words. docker-image-ls(1),
//! docker-system-prune(1).

use std::collections::BTreeMap;
use std::str::FromStr;

use glob::{MatchOptions, Pattern};
use serde::Deserialize;

use super::{Error, IntakeError, stored};
use crate::oci::{Digest, Reference};
use crate::store::Store;

/// `label=KEY[=VALUE]`, or the opposite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub key: String,
    /// Its value; `None`: any.
    pub value: Option<String>,
    /// It must not be there.
    pub absent: bool,
}

impl Label {
    /// What stands behind `label=` or `label!=`.
    pub fn new(text: &str, absent: bool) -> Self {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (text, None),
        };
        Self {
            key: key.to_owned(),
            value,
            absent,
        }
    }

    /// Whether `labels` are as it wants them.
    pub fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let there = labels
            .get(&self.key)
            .is_some_and(|have| self.value.as_ref().is_none_or(|want| want == have));
        there != self.absent
    }
}

/// A pattern for names, as Go's path.Match has it: `*` and `?` stand for anything but a slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePattern(Pattern);

impl FromStr for NamePattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Two stars would match slashes, which Go's do not.
        let mut single = text.to_owned();
        while single.contains("**") {
            single = single.replace("**", "*");
        }
        Pattern::new(&single).map(Self).map_err(|e| e.to_string())
    }
}

impl NamePattern {
    /// Whether it fits the name with or without the tag: whole, without the registry, or the last part alone, as
    /// with podman, and as docker shortens it.
    pub fn fits(&self, name: &Reference) -> bool {
        let options = MatchOptions {
            require_literal_separator: true,
            ..MatchOptions::new()
        };
        let (whole, repository) = (name.to_string(), name.name());
        [&whole, &repository].iter().any(|text| {
            let path = text.split_once('/').map_or(text.as_str(), |(_, path)| path);
            let last = path.rsplit('/').next().unwrap_or(path);
            [text.as_str(), path, last]
                .iter()
                .any(|t| self.0.matches_with(t, options))
        })
    }
}

/// The labels of an image, from its configuration.
pub(super) fn labels_of(store: &Store, id: &Digest) -> Result<BTreeMap<String, String>, Error> {
    #[derive(Default, Deserialize)]
    struct Config {
        #[serde(default)]
        config: Option<Inner>,
    }
    #[derive(Deserialize)]
    struct Inner {
        #[serde(rename = "Labels", default)]
        labels: Option<BTreeMap<String, String>>,
    }
    let bytes = stored::config(store, id)?;
    let config: Config = serde_json::from_slice(&bytes).map_err(IntakeError::Config)?;
    Ok(config.config.and_then(|c| c.labels).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_there_or_not() {
        let have = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        for (text, absent, want) in [
            ("a", false, true),
            ("a=1", false, true),
            ("a=2", false, false),
            ("b", false, false),
            ("a", true, false),
            ("a=2", true, true),
            ("b", true, true),
        ] {
            assert_eq!(
                Label::new(text, absent).holds(&have),
                want,
                "{text} {absent}"
            );
        }
    }

    #[test]
    fn patterns_stop_at_slashes() {
        let name = |s: &str| s.parse::<Reference>().unwrap();
        for (pattern, text, want) in [
            ("debian", "debian:12", true),
            ("deb*", "debian:12", true),
            ("debian:1?", "debian:12", true),
            ("docker.io/library/debian:12", "debian:12", true),
            ("*", "debian:12", true),
            ("**", "quay.io/a/b", true),
            ("quay.io/*", "quay.io/a/b", false),
            ("a/b", "quay.io/a/b", true),
            ("b:1", "quay.io/a/b:1", true),
            ("b/c", "quay.io/a/b/c", false),
            ("library/deb*", "debian", true),
            ("*/*/b", "quay.io/a/b", true),
            ("*:12", "debian:11", false),
            ("deb", "debian", false),
            ("[a-d]ebian", "debian", true),
        ] {
            let pattern: NamePattern = pattern.parse().unwrap();
            assert_eq!(pattern.fits(&name(text)), want, "{pattern:?} {text}");
        }
        assert!("[".parse::<NamePattern>().is_err());
    }
}
