//! `tags` and `search`: what registries have. podman-search(1), docker-search(1).

use super::progress::Progress;
use super::{Access, Error, short};
use crate::oci::{Reference, ReferenceError};
use crate::registry::Hit;

/// What a search found, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The registry that was asked.
    pub registry: String,
    /// Name that can be pulled.
    pub name: String,
    /// What it said.
    pub hit: Hit,
}

/// Which of the results are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// At least so many stars.
    pub stars: Option<u64>,
    /// Whether docker vouches for it.
    pub official: Option<bool>,
    /// Whether it is built by docker.
    pub automated: Option<bool>,
}

impl Filter {
    fn fits(&self, hit: &Hit) -> bool {
        self.stars.is_none_or(|n| hit.stars >= n)
            && self.official.is_none_or(|b| hit.official == b)
            && self.automated.is_none_or(|b| hit.automated == b)
    }
}

/// The repository that a name means, and its tags.
pub fn tags(
    access: &Access,
    name: &str,
    limit: Option<usize>,
    progress: &dyn Progress,
) -> Result<(Reference, Vec<String>), Error> {
    let names = repository(access, name, progress)?;
    let client = access.client()?;
    let found = short::first(name, &names, |reference| {
        let tags = client.tags(reference, limit)?;
        Ok((reference.clone(), tags))
    });
    for notice in client.take_notices() {
        progress.warn(&notice.to_string());
    }
    found
}

/// The repositories that a name without tag may mean.
fn repository(
    access: &Access,
    name: &str,
    progress: &dyn Progress,
) -> Result<Vec<Reference>, Error> {
    let plain = name.strip_prefix("docker://").unwrap_or(name);
    let last = plain.rsplit('/').next().unwrap_or_default();
    if let Some((_, tag)) = last.split_once([':', '@']) {
        return Err(ReferenceError::Tagged(tag.to_owned()).into());
    }
    match Reference::is_short(plain) && plain == name {
        true => short::names(access, name, progress),
        false => Ok(vec![plain.parse()?]),
    }
}

/// What registries find for a word; with a registry before it (`HOST/WORD`), that one alone. One that
/// fails is a warning, unless all do.
pub fn search(
    access: &Access,
    term: &str,
    limit: usize,
    filter: &Filter,
    progress: &dyn Progress,
) -> Result<Vec<Found>, Error> {
    let registries = access.registries()?;
    let (hosts, word) = match term.split_once('/') {
        Some((host, word)) if !Reference::is_short(term) => (vec![host.to_owned()], word),
        _ => (registries.search_registries(), term),
    };
    let client = access.client()?;
    let mut found = Vec::new();
    let mut failed = Vec::new();
    for host in &hosts {
        // It goes into a URL.
        let place: Reference = format!("{host}/x").parse()?;
        match client.search(place.registry(), word, limit) {
            Ok(hits) => {
                found.extend(
                    hits.into_iter()
                        .filter(|h| filter.fits(h))
                        .map(|hit| Found {
                            registry: place.registry().to_owned(),
                            name: whole(place.registry(), &hit.name),
                            hit,
                        }),
                )
            }
            Err(e) => failed.push(e),
        }
    }
    for notice in client.take_notices() {
        progress.warn(&notice.to_string());
    }
    if failed.len() == hosts.len()
        && let Some(e) = failed.pop()
    {
        return Err(e.into());
    }
    for e in failed {
        progress.warn(&e.told());
    }
    Ok(found)
}

/// A name that can be pulled.
fn whole(registry: &str, name: &str) -> String {
    match registry {
        "docker.io" if !name.contains('/') => format!("docker.io/library/{name}"),
        // Some registries say it themselves.
        _ if name.starts_with(&format!("{registry}/")) => name.to_owned(),
        _ => format!("{registry}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_be_pulled() {
        for (registry, name, want) in [
            ("docker.io", "debian", "docker.io/library/debian"),
            ("docker.io", "me/app", "docker.io/me/app"),
            ("q.io", "a", "q.io/a"),
            ("q.io", "q.io/a", "q.io/a"),
        ] {
            assert_eq!(whole(registry, name), want);
        }
    }

    #[test]
    fn filters() {
        let hit = |stars, official| Hit {
            name: "x".into(),
            description: String::new(),
            stars,
            official,
            automated: false,
        };
        let filter = Filter {
            stars: Some(3),
            official: Some(true),
            automated: None,
        };
        assert!(filter.fits(&hit(3, true)) && Filter::default().fits(&hit(0, false)));
        assert!(!filter.fits(&hit(2, true)) && !filter.fits(&hit(9, false)));
        let automated = Filter {
            automated: Some(true),
            ..Filter::default()
        };
        assert!(!automated.fits(&hit(9, true)));
    }
}
