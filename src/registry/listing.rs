//! Lists: tags of a repository, repositories of a registry, and what a registry finds for a word
//! (distribution specification 1.1, "Content Discovery"; docker's registry API 1, "Search").
//!
//! A list comes in pages, and each page names the next one in a `Link` header (RFC 8288). Of that only path
//! and query count: whatever host it names, we go on asking the one that we asked, so that no token and no
//! question goes anywhere else. Pages and entries are limited, and so is each page in bytes.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::http::{Uri, header};

use super::auth::push_pair;
use super::client::{Client, Get, refusal};
use super::error::Error;
use super::redirect;
use super::reply::Reply;
use super::retry::Backoff;
use super::subject::Subject;
use crate::oci::Reference;

/// Entries that we ask for at once; a registry may give fewer.
const PAGE: usize = 1000;
/// A page of that many names of the greatest length.
const PAGE_MAX: u64 = 4 << 20;
/// Pages of one list.
const PAGES_MAX: usize = 1000;
/// Entries of one list.
const ENTRIES_MAX: usize = 200_000;
/// docker.io answers searches elsewhere than everything else.
const HUB_INDEX: &str = "index.docker.io";

/// What a registry found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Repository.
    pub name: String,
    /// In its owner's words.
    pub description: String,
    /// How many people like it.
    pub stars: u64,
    /// Docker vouches for it.
    pub official: bool,
    /// Built by docker from a source repository.
    pub automated: bool,
}

#[derive(Deserialize)]
struct Tags {
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Catalog {
    repositories: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Search {
    results: Vec<RawHit>,
}

#[derive(Deserialize)]
struct RawHit {
    name: String,
    description: Option<String>,
    #[serde(default)]
    star_count: u64,
    #[serde(default)]
    is_official: bool,
    #[serde(default)]
    is_automated: bool,
}

/// A list that comes in pages.
pub(super) struct List<'a> {
    pub(super) subject: Subject<'a>,
    /// Path and query of the first page.
    pub(super) path: String,
    pub(super) accept: Option<String>,
    /// For messages.
    pub(super) what: String,
    /// At most so many entries.
    pub(super) limit: Option<usize>,
}

/// Entries that we ask for at once.
fn page(limit: Option<usize>) -> usize {
    limit.map_or(PAGE, |n| n.clamp(1, PAGE))
}

impl Client {
    /// The tags of a repository, in the registry's order, at most `limit` of them. The place that the name
    /// means is asked, and no mirror: a mirror may have only some.
    pub fn tags(&self, r: &Reference, limit: Option<usize>) -> Result<Vec<String>, Error> {
        let places = self.registries().places(r).map_err(Box::new)?;
        let place = places.last().map_or(r, |p| &p.reference);
        let subject = self.subject(place.registry(), place.repository());
        let list = List {
            subject,
            path: format!("/v2/{}/tags/list?n={}", place.repository(), page(limit)),
            accept: None,
            what: format!("the tags of {}", place.name()),
            limit,
        };
        self.pages(list, |page: Tags| page.tags.unwrap_or_default())
    }

    /// What a registry finds for a word, at most `limit` of it: by its search, and if it has none, by the
    /// list of its repositories.
    pub fn search(&self, registry: &str, term: &str, limit: usize) -> Result<Vec<Hit>, Error> {
        // A registry that is blocked is not asked for anything.
        let allowed = self.registries().allowed(registry, "");
        allowed.map_err(Box::new)?;
        let index = match registry {
            "docker.io" => HUB_INDEX,
            r => r,
        };
        let found = match term {
            "" => None,
            term => self.search_index(index, term, limit)?,
        };
        if let Some(mut hits) = found {
            hits.truncate(limit);
            return Ok(hits);
        }
        let list = List {
            subject: self.subject(registry, ""),
            // All names have to come by, as the list cannot be searched.
            path: format!("/v2/_catalog?n={}", page(None)),
            accept: None,
            what: format!("the repositories of {registry}"),
            limit: None,
        };
        let mut hits = Vec::new();
        let names = self.pages(list, |page: Catalog| page.repositories.unwrap_or_default())?;
        for name in names.into_iter().filter(|n| n.contains(term)).take(limit) {
            hits.push(Hit {
                name,
                description: String::new(),
                stars: 0,
                official: false,
                automated: false,
            });
        }
        Ok(hits)
    }

    /// `None`: the registry has no search.
    fn search_index(
        &self,
        host: &str,
        term: &str,
        limit: usize,
    ) -> Result<Option<Vec<Hit>>, Error> {
        let mut query = String::new();
        push_pair(&mut query, "q", term);
        push_pair(&mut query, "n", &limit.to_string());
        let get = Get {
            subject: self.subject(host, ""),
            path: format!("/v1/search?{query}"),
            accept: None,
            from: 0,
            to: None,
            head: false,
            what: format!("a search in {host}"),
        };
        let reply = match self.patiently(&get) {
            Ok(reply) => reply,
            Err(
                Error::NotFound { .. }
                | Error::Denied { .. }
                | Error::LoginNeeded { .. }
                | Error::Challenge { .. }
                | Error::Status { .. },
            ) => return Ok(None),
            Err(e) => return Err(e),
        };
        // A page for people, where there is no such interface.
        let html = reply
            .header(header::CONTENT_TYPE)
            .is_some_and(|t| t.starts_with("text/html"));
        if html {
            return Ok(None);
        }
        let found: Search = parse(reply)?;
        let hits = found.results.into_iter().map(|raw| Hit {
            name: raw.name,
            description: raw.description.unwrap_or_default(),
            stars: raw.star_count,
            official: raw.is_official,
            automated: raw.is_automated,
        });
        Ok(Some(hits.collect()))
    }

    /// All pages of a list.
    pub(super) fn pages<T: DeserializeOwned, E>(
        &self,
        list: List<'_>,
        entries: impl Fn(T) -> Vec<E>,
    ) -> Result<Vec<E>, Error> {
        let limit = list.limit;
        let mut get = Get {
            subject: list.subject,
            path: list.path,
            accept: list.accept,
            from: 0,
            to: None,
            head: false,
            what: list.what,
        };
        let mut all: Vec<E> = Vec::new();
        for _ in 0..PAGES_MAX {
            let reply = self.patiently(&get)?;
            let next = next(&reply, &get.path)?;
            all.extend(entries(parse(reply)?));
            if let Some(limit) = limit
                && all.len() >= limit
            {
                all.truncate(limit);
                return Ok(all);
            }
            if all.len() > ENTRIES_MAX {
                break;
            }
            match next {
                Some(path) => get.path = path,
                None => return Ok(all),
            }
        }
        Err(Error::ListTooLong {
            what: get.what,
            entries: ENTRIES_MAX,
            pages: PAGES_MAX,
        })
    }

    /// A reply of status 200, with some patience.
    fn patiently(&self, get: &Get<'_>) -> Result<Reply, Error> {
        let mut backoff = Backoff::new(self.retries(), self.retries());
        loop {
            match self.get(get) {
                Ok(reply) if reply.status() == 200 => return Ok(reply),
                Ok(reply) => backoff.sleep(refusal(reply, &get.what))?,
                Err(e) => backoff.sleep(e)?,
            }
        }
    }
}

fn parse<T: DeserializeOwned>(reply: Reply) -> Result<T, Error> {
    let host = reply.host.clone();
    let bytes = reply
        .into_vec(PAGE_MAX)?
        .ok_or_else(|| Error::ReplyTooLarge {
            host: host.clone(),
            limit: PAGE_MAX,
        })?;
    serde_json::from_slice(&bytes).map_err(|source| Error::NoList { host, source })
}

/// Path and query of the next page, if there is one. `path` is that of this page.
fn next(reply: &Reply, path: &str) -> Result<Option<String>, Error> {
    let Some(target) = reply.headers(header::LINK).find_map(next_of) else {
        return Ok(None);
    };
    // Only to make a whole URL of a relative one: the host does not count.
    // Only to make a whole URL of a relative one: neither scheme nor host count in the end.
    let base = format!("http://host{path}").parse::<Uri>();
    let next = base
        .ok()
        .and_then(|base| redirect::target(&base, target).ok());
    match next.as_ref().and_then(Uri::path_and_query) {
        Some(next) => Ok(Some(next.to_string())),
        None => Err(reply.bad_header("link")),
    }
}

/// The target of `rel="next"` in a `Link` header (RFC 8288, 3).
fn next_of(value: &str) -> Option<&str> {
    let mut rest = value;
    while let Some((_, after)) = rest.split_once('<') {
        let (target, after) = after.split_once('>')?;
        let end = after.find('<').unwrap_or(after.len());
        let (parameters, following) = after.split_at(end);
        let is_next = parameters.split([';', ',']).any(|parameter| {
            parameter.split_once('=').is_some_and(|(name, value)| {
                let value = value.trim().trim_matches('"');
                name.trim().eq_ignore_ascii_case("rel")
                    && value
                        .split_ascii_whitespace()
                        .any(|r| r.eq_ignore_ascii_case("next"))
            })
        });
        if is_next {
            return Some(target);
        }
        rest = following;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links() {
        for (value, want) in [
            (
                r#"</v2/a/tags/list?n=2&last=b>; rel="next""#,
                Some("/v2/a/tags/list?n=2&last=b"),
            ),
            ("<x>;rel=next", Some("x")),
            (r#"<x>; title="a"; REL="prev Next""#, Some("x")),
            (r#"<a>; rel="prev", <b>; rel="next""#, Some("b")),
            (r#"<a>; rel="prev""#, None),
            ("<a>", None),
            ("<a", None),
            ("", None),
            ("rel=next", None),
        ] {
            assert_eq!(next_of(value), want, "{value}");
        }
    }
}
