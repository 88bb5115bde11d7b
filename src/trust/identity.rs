//! Whose name a signature must bear: `signedIdentity` of containers-policy.json(5). A signature says "this
//! content is REPOSITORY:TAG"; without a look at the name any signed image could be served as any other.

use crate::oci::Reference;

/// How the name in a signature and that of the image must be related.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Identity {
    /// The same, tag and all; of an image that is named by digest, the same repository.
    #[default]
    RepoDigestOrExact,
    /// The same repository.
    Repository,
    /// The same, tag and all.
    Exact,
    /// This very name.
    ExactReference(String),
    /// This repository.
    ExactRepository(String),
    /// The names below `prefix` are those below `signed`.
    Remap {
        /// Of images.
        prefix: String,
        /// Of signatures.
        signed: String,
    },
}

/// A name as it stands in a signature: without a tag it has none, and is not `latest`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    repository: String,
    /// `:TAG` or `@DIGEST`.
    rest: String,
}

impl Name {
    fn parse(text: &str) -> Option<Self> {
        let reference: Reference = text.parse().ok()?;
        let repository = reference.name();
        let last = text.rsplit('/').next()?;
        let rest = last.find([':', '@']).map_or("", |at| &last[at..]);
        Some(Self {
            repository,
            rest: rest.to_owned(),
        })
    }

    fn of(image: &Reference) -> Self {
        let whole = image.to_string();
        let repository = image.name();
        Self {
            rest: whole.strip_prefix(&repository).unwrap_or("").to_owned(),
            repository,
        }
    }

    fn has_digest(&self) -> bool {
        self.rest.contains('@')
    }
}

impl Identity {
    /// Whether a signature in the name of `signed` speaks of `image`.
    pub fn fits(&self, image: &Reference, signed: &str) -> bool {
        let Some(signed) = Name::parse(signed) else {
            return false;
        };
        let image = Name::of(image);
        match self {
            Self::RepoDigestOrExact => same_or_digest(&image, &signed),
            Self::Repository => image.repository == signed.repository,
            Self::Exact => image == signed && !image.rest.is_empty(),
            Self::ExactReference(name) => Name::parse(name).is_some_and(|n| n == signed),
            Self::ExactRepository(name) => {
                Name::parse(name).is_some_and(|n| n.repository == signed.repository)
            }
            Self::Remap {
                prefix,
                signed: other,
            } => {
                let rest = image.repository.strip_prefix(prefix.as_str());
                // Whole components only.
                let repository = match rest {
                    Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                        format!("{other}{rest}")
                    }
                    _ => image.repository,
                };
                let image = Name {
                    repository,
                    rest: image.rest,
                };
                same_or_digest(&image, &signed)
            }
        }
    }
}

fn same_or_digest(image: &Name, signed: &Name) -> bool {
    image.repository == signed.repository
        && (image.has_digest() || (!image.rest.is_empty() && image.rest == signed.rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn names_must_fit() {
        let exact = |s: &str| Identity::ExactReference(s.to_owned());
        let repository = |s: &str| Identity::ExactRepository(s.to_owned());
        let remap = |a: &str, b: &str| Identity::Remap {
            prefix: a.to_owned(),
            signed: b.to_owned(),
        };
        let by_digest = format!("quay.io/a/b{DIGEST}");
        for (identity, image, signed, want) in [
            (
                Identity::RepoDigestOrExact,
                "quay.io/a/b:1",
                "quay.io/a/b:1",
                true,
            ),
            (
                Identity::RepoDigestOrExact,
                "quay.io/a/b:1",
                "quay.io/a/b:2",
                false,
            ),
            (
                Identity::RepoDigestOrExact,
                "quay.io/a/b:1",
                "quay.io/a/b",
                false,
            ),
            (
                Identity::RepoDigestOrExact,
                &by_digest,
                "quay.io/a/b:2",
                true,
            ),
            (
                Identity::RepoDigestOrExact,
                &by_digest,
                "quay.io/a/c:2",
                false,
            ),
            (
                Identity::RepoDigestOrExact,
                "debian",
                "docker.io/library/debian:latest",
                true,
            ),
            (Identity::Repository, "quay.io/a/b:1", "quay.io/a/b", true),
            (Identity::Repository, "quay.io/a/b:1", "quay.io/a/bc", false),
            (Identity::Repository, "quay.io/a/b:1", "evil.io/a/b", false),
            (Identity::Exact, &by_digest, "quay.io/a/b:2", false),
            (
                Identity::Exact,
                "localhost:5000/b:1",
                "localhost:5000/b:1",
                true,
            ),
            (
                Identity::Exact,
                "localhost:5000/b",
                "localhost:5000/b",
                false,
            ),
            (exact("quay.io/a/b:1"), "x.io/y:7", "quay.io/a/b:1", true),
            (exact("quay.io/a/b:1"), "x.io/y:7", "quay.io/a/b:2", false),
            (repository("quay.io/a/b"), "x.io/y:7", "quay.io/a/b:2", true),
            (
                remap("mirror.io/a", "quay.io/z"),
                "mirror.io/a/b:1",
                "quay.io/z/b:1",
                true,
            ),
            (
                remap("mirror.io/a", "quay.io/z"),
                "mirror.io/a/b:1",
                "mirror.io/a/b:1",
                false,
            ),
            (
                remap("mirror.io/a", "quay.io/z"),
                "mirror.io/ab:1",
                "quay.io/zb:1",
                false,
            ),
            (
                remap("mirror.io/a", "quay.io/z"),
                "other.io/b:1",
                "other.io/b:1",
                true,
            ),
            (Identity::Repository, "quay.io/a/b:1", "", false),
            (Identity::Repository, "quay.io/a/b:1", "QUAY.io//b", false),
        ] {
            let image: Reference = image.parse().unwrap();
            assert_eq!(
                identity.fits(&image, signed),
                want,
                "{identity:?} {image} {signed}"
            );
        }
    }
}
