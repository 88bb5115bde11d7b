//! Image names: `[REGISTRY/]REPOSITORY[:TAG][@DIGEST]`, the grammar of the distribution project's
//! reference package. A short name means `docker.io/library/NAME`, and no tag means `latest`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Digest, DigestError};

const DEFAULT_REGISTRY: &str = "docker.io";
const NAME_MAX: usize = 255;
const TAG_MAX: usize = 128;

/// A complete image name. Ordering and equality are those of the complete form.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why an image name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The empty string.
    #[error("the image name is empty")]
    Empty,
    /// The registry part is not `host[:port]`.
    #[error("{0:?} is not a registry: want host[:port]")]
    Registry(String),
    /// A part of the repository path breaks the grammar.
    #[error(
        "{0:?} is not an image name: want lower-case letters and digits, joined by one of . _ - or /"
    )]
    Repository(String),
    /// The repository is longer than 255 bytes.
    #[error("the image name is longer than {NAME_MAX} characters")]
    TooLong,
    /// The tag breaks the grammar.
    #[error("{0:?} is not a tag: want at most {TAG_MAX} of letters, digits, . _ and -")]
    Tag(String),
    /// A tag or digest where only a repository is meant.
    #[error("{0:?} is a tag or digest, and a repository is wanted")]
    Tagged(String),
    /// What follows `@` is no digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
}

impl Reference {
    /// Registry host and optional port, as the user names it (`docker.io`, not the API host).
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Path below the registry, `library/debian`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Tag, or `None` if only a digest names the image.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Digest, if the name pins one.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Whether a name, as a user types it, leaves the registry open: it then is one of docker.io, if
    /// nothing else is configured.
    pub fn is_short(name: &str) -> bool {
        match name.split_once('/') {
            Some((first, _)) => !looks_like_registry(first),
            None => true,
        }
    }

    /// The image of the same tag and digest at another place, `registry/repository`.
    pub fn at(&self, name: &str) -> Result<Self, ReferenceError> {
        let place: Self = name.parse()?;
        Ok(Self {
            registry: place.registry,
            repository: place.repository,
            ..self.clone()
        })
    }

    /// What to ask a registry for: the digest when there is one, else the tag.
    pub fn version(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(d), _) => d.to_string(),
            (None, Some(t)) => t.clone(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// The same repository, named by a tag alone.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ReferenceError> {
        if !is_tag(tag) {
            return Err(ReferenceError::Tag(tag.to_owned()));
        }
        Ok(Self {
            tag: Some(tag.to_owned()),
            digest: None,
            ..self.clone()
        })
    }

    /// The same repository, named by a digest alone.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self {
            tag: None,
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// `registry/repository` without tag or digest, as the REPOSITORY column shows it.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        if s.is_empty() {
            return Err(ReferenceError::Empty);
        }
        let (rest, digest) = match s.split_once('@') {
            Some((rest, d)) => (rest, Some(d.parse()?)),
            None => (s, None),
        };
        // A colon after the last slash starts a tag; any other colon belongs to the registry's port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(ReferenceError::Tag(tag.to_owned()));
        }
        let (registry, path) = match name.split_once('/') {
            Some((first, path)) if looks_like_registry(first) => (first, path),
            _ => (DEFAULT_REGISTRY, name),
        };
        let registry = match registry {
            "index.docker.io" | "registry-1.docker.io" => DEFAULT_REGISTRY,
            r => r,
        };
        if !is_host_port(registry) {
            return Err(ReferenceError::Registry(registry.to_owned()));
        }
        if !path.split('/').all(is_path_component) {
            return Err(ReferenceError::Repository(path.to_owned()));
        }
        let repository = if registry == DEFAULT_REGISTRY && !path.contains('/') {
            format!("library/{path}")
        } else {
            path.to_owned()
        };
        if registry.len() + 1 + repository.len() > NAME_MAX {
            return Err(ReferenceError::TooLong);
        }
        let tag = match (tag, &digest) {
            (Some(t), _) => Some(t.to_owned()),
            (None, Some(_)) => None,
            (None, None) => Some("latest".to_owned()),
        };
        Ok(Self {
            registry: registry.to_owned(),
            repository,
            tag,
            digest,
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(t) = &self.tag {
            write!(f, ":{t}")?;
        }
        if let Some(d) = &self.digest {
            write!(f, "@{d}")?;
        }
        Ok(())
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let s = String::deserialize(d)?;
        s.parse().map_err(serde::de::Error::custom)
    }
}

/// The first part of a name is a registry when it could not be a Docker Hub user: it has a dot or a
/// port, is `localhost`, or has an upper-case letter.
fn looks_like_registry(s: &str) -> bool {
    s == "localhost" || s.contains(['.', ':']) || s.bytes().any(|b| b.is_ascii_uppercase())
}

fn is_host_port(s: &str) -> bool {
    let (host, port) = if let Some(rest) = s.strip_prefix('[') {
        let Some((addr, rest)) = rest.split_once(']') else {
            return false;
        };
        if addr.parse::<std::net::Ipv6Addr>().is_err() {
            return false;
        }
        match rest.strip_prefix(':') {
            Some(p) => ("ipv6", Some(p)),
            None if rest.is_empty() => return true,
            None => return false,
        }
    } else {
        match s.split_once(':') {
            Some((h, p)) => (h, Some(p)),
            None => (s, None),
        }
    };
    let host_ok = host.split('.').all(|label| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    });
    host_ok
        && port.is_none_or(|p| p.bytes().all(|b| b.is_ascii_digit()) && p.parse::<u16>().is_ok())
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(s: &str) -> bool {
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = s.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    if !alnum(first) || !alnum(last) {
        return false;
    }
    let separators = bytes.split(|&b| alnum(b)).filter(|sep| !sep.is_empty());
    for sep in separators {
        let ok = matches!(sep, b"." | b"_" | b"__") || sep.iter().all(|&b| b == b'-');
        if !ok {
            return false;
        }
    }
    true
}

/// `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`
fn is_tag(s: &str) -> bool {
    let bytes = s.as_bytes();
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    bytes.len() <= TAG_MAX
        && bytes.first().is_some_and(|&b| word(b))
        && bytes.iter().all(|&b| word(b) || b == b'.' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn names_are_completed() {
        for (given, want) in [
            ("debian", "docker.io/library/debian:latest"),
            ("debian:12", "docker.io/library/debian:12"),
            ("me/app", "docker.io/me/app:latest"),
            ("index.docker.io/debian", "docker.io/library/debian:latest"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/a/b/c:x", "localhost:5000/a/b/c:x"),
            ("quay.io/a/b", "quay.io/a/b:latest"),
            ("127.0.0.1:5000/x", "127.0.0.1:5000/x:latest"),
            ("[::1]:5000/x", "[::1]:5000/x:latest"),
            ("a__b.c---d", "docker.io/library/a__b.c---d:latest"),
        ] {
            let r: Reference = given.parse().unwrap();
            assert_eq!(r.to_string(), want);
            assert_eq!(want.parse::<Reference>().unwrap(), r, "not stable: {want}");
        }
    }

    #[test]
    fn short_names_and_other_places() {
        for (name, short) in [
            ("debian", true),
            ("debian:12", true),
            ("me/app", true),
            ("localhost/app", false),
            ("q.io/app", false),
            ("host:5000/app", false),
        ] {
            assert_eq!(Reference::is_short(name), short, "{name}");
        }
        let r: Reference = format!("q.io/a:1@{D}").parse().unwrap();
        let there = r.at("m.io:5000/x/a").unwrap();
        assert_eq!(there.to_string(), format!("m.io:5000/x/a:1@{D}"));
        assert_eq!(r.with_tag("2").unwrap().to_string(), "q.io/a:2");
        assert!(r.with_tag("2/../x").is_err() && r.with_tag("").is_err());
        assert!(r.at("m.io").is_ok() && r.at("M/x y").is_err());
    }

    #[test]
    fn a_digest_pins() {
        let r: Reference = format!("debian@{D}").parse().unwrap();
        assert_eq!(r.tag(), None);
        assert_eq!(r.version(), D);
        let r: Reference = format!("debian:12@{D}").parse().unwrap();
        assert_eq!((r.tag(), r.version().as_str()), (Some("12"), D));
    }

    #[test]
    fn what_is_not_a_name_is_refused() {
        for bad in [
            "",
            ":",
            "a:",
            "/a",
            "a/",
            "a//b",
            "../etc",
            "a/../b",
            "A",
            "a/B",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a b",
            "a\u{1b}[31m",
            "a:\n",
            "a@",
            "a@sha256:12",
            "host:99999/a",
            "ho_st:1/a",
            "-h.x/a",
            "[::1/a",
            "[zz]:1/a",
            "localhost:5000",
            "a:tag/with/slash",
        ] {
            assert!(
                bad.parse::<Reference>().is_err() || bad == "localhost:5000",
                "{bad:?} was accepted"
            );
        }
        assert!("a".repeat(300).parse::<Reference>().is_err());
        assert!(
            format!("a:{}", "t".repeat(129))
                .parse::<Reference>()
                .is_err()
        );
    }

    proptest::proptest! {
        #[test]
        fn never_panics_and_is_stable(s in "\\PC{0,40}") {
            if let Ok(r) = s.parse::<Reference>() {
                let again: Reference = r.to_string().parse().unwrap();
                proptest::prop_assert_eq!(again, r);
            }
        }
    }
}
