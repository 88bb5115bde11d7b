//! One file in the format of containers-registries.conf(5), version 2.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Mirror, PullFrom, RegistriesError, ShortNames, Table};
use crate::oci::Reference;

/// What one file says.
#[derive(Clone, Debug, Default)]
pub(super) struct File {
    pub(super) tables: Vec<Table>,
    pub(super) search: Option<Vec<String>>,
    pub(super) short_names: Option<ShortNames>,
    /// By short name; an empty value takes an alias away.
    pub(super) aliases: BTreeMap<String, String>,
    /// Settings that have no effect here.
    pub(super) unknown: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Raw {
    unqualified_search_registries: Option<Vec<String>>,
    short_name_mode: Option<String>,
    credential_helpers: Option<Vec<String>>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
    #[serde(default)]
    registry: Vec<RawTable>,
    /// The table of version 1.
    registries: Option<IgnoredAny>,
    #[serde(flatten)]
    other: BTreeMap<String, IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawTable {
    prefix: Option<String>,
    location: Option<String>,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<RawMirror>,
    #[serde(flatten)]
    other: BTreeMap<String, IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawMirror {
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    pull_from_mirror: Option<String>,
    #[serde(flatten)]
    other: BTreeMap<String, IgnoredAny>,
}

impl File {
    /// Parse a text. `path` only serves messages.
    pub(super) fn parse(text: &str, path: &Path) -> Result<Self, RegistriesError> {
        let raw: Raw = toml::from_str(text).map_err(|source| RegistriesError::Toml {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        if raw.registries.is_some() {
            return Err(RegistriesError::Version1 {
                path: path.to_owned(),
            });
        }
        let wrong = |what: String| RegistriesError::Value {
            path: path.to_owned(),
            what,
        };
        let mut unknown: Vec<String> = raw.other.into_keys().collect();
        // This one name means what is done anyway.
        if raw
            .credential_helpers
            .is_some_and(|names| names.iter().any(|n| n != "containers-auth.json"))
        {
            unknown.push("credential-helpers".to_owned());
        }
        let short_names = match raw.short_name_mode.as_deref() {
            None | Some("") => None,
            Some("enforcing") => Some(ShortNames::Enforcing),
            Some("permissive") => Some(ShortNames::Permissive),
            Some("disabled") => Some(ShortNames::Disabled),
            Some(other) => return Err(wrong(format!("short-name-mode {other:?}"))),
        };
        let mut tables = Vec::new();
        for raw in raw.registry {
            unknown.extend(raw.other.keys().map(|k| format!("registry.{k}")));
            let mirrors = raw.mirror.iter().flat_map(|m| m.other.keys());
            unknown.extend(mirrors.map(|k| format!("registry.mirror.{k}")));
            tables.push(raw.table().map_err(wrong)?);
        }
        let search = raw.unqualified_search_registries;
        let hosts: Option<Result<_, String>> =
            search.map(|all| all.iter().map(|host| self::host(host)).collect());
        for (name, value) in &raw.aliases {
            let ok = is_short_name(name) && (value.is_empty() || is_full_name(value));
            if !ok {
                return Err(wrong(format!("the alias {name:?} = {value:?}")));
            }
        }
        Ok(Self {
            tables,
            search: hosts.transpose().map_err(wrong)?,
            short_names,
            aliases: raw.aliases,
            unknown,
        })
    }
}

impl RawTable {
    fn table(self) -> Result<Table, String> {
        let location = self.location.as_deref().map(location).transpose()?;
        let prefix = match self.prefix.as_deref() {
            None | Some("") => match &location {
                Some(location) if !location.starts_with("*.") => location.clone(),
                _ => return Err("a [[registry]] without prefix and location".to_owned()),
            },
            Some(prefix) => self::location(prefix)?,
        };
        let wildcard = prefix.starts_with("*.");
        let bad_wildcard = match prefix.strip_prefix("*.") {
            Some(host) => host.is_empty() || host.contains(['/', ':', '@', '*']),
            None => prefix.contains('*'),
        };
        if bad_wildcard {
            return Err(format!(
                "the prefix {prefix:?}: a wildcard stands for the first part of a host, as in *.example.com"
            ));
        }
        if location.is_none() && !wildcard {
            return Err(format!("the [[registry]] {prefix:?} has no location"));
        }
        let mut mirrors = Vec::new();
        for raw in self.mirror {
            let pull_from = match raw.pull_from_mirror.as_deref() {
                None | Some("") if self.mirror_by_digest_only => PullFrom::DigestOnly,
                Some(word) if !word.is_empty() && self.mirror_by_digest_only => {
                    return Err(format!(
                        "pull-from-mirror {word:?} beside mirror-by-digest-only"
                    ));
                }
                None | Some("" | "all") => PullFrom::All,
                Some("digest-only") => PullFrom::DigestOnly,
                Some("tag-only") => PullFrom::TagOnly,
                Some(other) => return Err(format!("pull-from-mirror {other:?}")),
            };
            mirrors.push(Mirror {
                location: self::location(&raw.location)?,
                insecure: raw.insecure,
                pull_from,
            });
        }
        Ok(Table {
            prefix,
            location,
            insecure: self.insecure,
            blocked: self.blocked,
            mirrors,
        })
    }
}

/// `host[:port][/path…]`, not a URL.
fn location(given: &str) -> Result<String, String> {
    let trimmed = given.trim_end_matches('/');
    let bad = trimmed.is_empty()
        || trimmed.contains("://")
        || trimmed.starts_with('/')
        || trimmed.contains(|c: char| c.is_whitespace() || c.is_control())
        // A host that has neither dot nor port would be taken for a part of docker.io.
        || Reference::is_short(&format!("{trimmed}/x"));
    match bad {
        true => Err(format!(
            "{given:?}: want host[:port][/path], with a dot or a port, and not a URL"
        )),
        false => Ok(trimmed.to_owned()),
    }
}

fn host(given: &str) -> Result<String, String> {
    let host = location(given)?;
    match format!("{host}/x").parse::<Reference>() {
        Ok(r) if !host.contains('/') && r.registry() == host => Ok(host),
        _ => Err(format!(
            "{given:?} in unqualified-search-registries: want host[:port]"
        )),
    }
}

fn is_short_name(name: &str) -> bool {
    Reference::is_short(name) && !name.contains([':', '@']) && name.parse::<Reference>().is_ok()
}

fn is_full_name(name: &str) -> bool {
    let last = name.rsplit('/').next().unwrap_or_default();
    !Reference::is_short(name) && !last.contains([':', '@']) && name.parse::<Reference>().is_ok()
}
