//! `pull`, and what `run --pull` does: get an image from a registry (or from an archive that is named
//! like one, `oci:DIR`). podman-pull(1), containers-transports(5).

use std::fmt;
use std::io::Read;
use std::path::PathBuf;
use std::str::FromStr;

use super::Error;
use super::intake::{self, Document, Names, Source};
use super::load::{self, Input};
use super::progress::Progress;
use crate::config::{Env, auth::Credentials};
use crate::oci::{Digest, Platform, Reference};
use crate::registry;
use crate::store::{self, ImageRecord, Store};

/// When to ask the registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// When the image is not in the store.
    #[default]
    Missing,
    /// Each time.
    Always,
    /// Not at all.
    Never,
    /// Each time, and use what is in the store if the registry has no other or cannot be reached.
    Newer,
}

/// How to pull.
#[derive(Clone, Debug)]
pub struct Options {
    /// Check certificates, and speak plain http with loopback addresses only.
    pub tls_verify: bool,
    /// Platform, limits, parallel layers.
    pub intake: intake::Options,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tls_verify: true,
            intake: intake::Options::default(),
        }
    }
}

/// Where to pull from: containers-transports(5), as far as it concerns pulling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `NAME` or `docker://NAME`.
    Registry(Reference),
    /// `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]`, `docker-archive:FILE`.
    Local {
        /// The directory or file.
        input: Input,
        /// Only the image of this tag.
        tag: Option<String>,
    },
}

impl FromStr for Origin {
    type Err = crate::oci::ReferenceError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let local = |rest: &str, tags: bool| {
            // A colon that is followed by a slash is part of the path.
            let (path, tag) = match rest.rsplit_once(':') {
                Some((path, tag)) if tags && !tag.contains('/') => (path, Some(tag.to_owned())),
                _ => (rest, None),
            };
            Self::Local {
                input: Input::Path(PathBuf::from(path)),
                tag,
            }
        };
        if let Some(name) = s.strip_prefix("docker://") {
            Ok(Self::Registry(name.parse()?))
        } else if let Some(rest) = s.strip_prefix("oci:") {
            Ok(local(rest, true))
        } else if let Some(rest) = s.strip_prefix("oci-archive:") {
            Ok(local(rest, true))
        } else if let Some(rest) = s.strip_prefix("docker-archive:") {
            Ok(local(rest, false))
        } else {
            Ok(Self::Registry(s.parse()?))
        }
    }
}

/// The image called `name` (a name, or the start of an id), pulled if `policy` says so. A name with a
/// digest is never asked for again once it is there.
pub fn ensure(
    store: &Store,
    name: &str,
    policy: PullPolicy,
    options: &Options,
    progress: &dyn Progress,
) -> Result<ImageRecord, Error> {
    let mut meant = None;
    let local = match store.images().find(name) {
        Ok(image) if fits(&image, options.intake.platform.as_ref()) => Some(image),
        Ok(_) => None,
        Err(e @ store::Error::NoSuchImage { .. }) if policy == PullPolicy::Never => {
            return Err(e.into());
        }
        Err(store::Error::NoSuchImage { local, .. }) => {
            meant = local;
            None
        }
        Err(e) => return Err(e.into()),
    };
    match (local, policy) {
        (Some(image), PullPolicy::Missing | PullPolicy::Never) => Ok(image),
        (None, PullPolicy::Never) => Err(no_such_image(name)),
        // An id names what we have, or nothing.
        (Some(image), _) if !is_named(&image, name) => Ok(image),
        (Some(image), PullPolicy::Newer) => newer(store, name, image, options, progress),
        (_, PullPolicy::Always) | (None, _) => {
            let pulled = name
                .parse()
                .map_err(Error::from)
                .and_then(|origin| pull(store, &origin, options, progress));
            if let (Err(_), Some(local)) = (&pulled, meant) {
                progress.warn(&format!(
                    "{name} is pulled from a registry; the store has {local}"
                ));
            }
            pulled?.pop().ok_or_else(|| no_such_image(name))
        }
    }
}

fn no_such_image(name: &str) -> Error {
    store::Error::NoSuchImage {
        name: name.to_owned(),
        local: None,
    }
    .into()
}

fn fits(image: &ImageRecord, asked: Option<&Platform>) -> bool {
    let Some(want) = asked else { return true };
    image.platform.parse().is_ok_and(|have: Platform| {
        have.os == want.os
            && have.architecture == want.architecture
            && (want.variant.is_none() || want.variant == have.variant)
    })
}

fn is_named(image: &ImageRecord, name: &str) -> bool {
    let name: Option<Reference> = name.parse().ok();
    name.is_some_and(|n| image.reference.as_ref() == Some(&n) || n.digest().is_some())
}

fn newer(
    store: &Store,
    name: &str,
    image: ImageRecord,
    options: &Options,
    progress: &dyn Progress,
) -> Result<ImageRecord, Error> {
    let Origin::Registry(reference) = name.parse()? else {
        return Ok(image);
    };
    let remote = Remote::open(&reference, options, progress)?;
    let pulled = match remote.client.manifest(&reference) {
        Ok(fetched) if fetched.digest == *image.repo_digest() => return Ok(image),
        Ok(fetched) => remote.pull(store, fetched, options, progress),
        Err(e) => Err(e.into()),
    };
    pulled.or_else(|e| {
        intake::discard(store, &e);
        progress.warn(&format!("using the stored {reference}: {e}"));
        Ok(image)
    })
}

/// Pull one image from a registry, or every one from an archive.
pub fn pull(
    store: &Store,
    origin: &Origin,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Vec<ImageRecord>, Error> {
    match origin {
        Origin::Registry(reference) => {
            super::sweep(store);
            let remote = Remote::open(reference, options, progress)?;
            let fetched = remote.client.manifest(reference)?;
            let pulled = remote.pull(store, fetched, options, progress);
            Ok(vec![pulled.inspect_err(|e| intake::discard(store, e))?])
        }
        Origin::Local { input, tag } => {
            let request = load::Request {
                input: input.clone(),
                tag: tag.clone(),
                options: options.intake.clone(),
            };
            let loaded = load::load(store, &request, progress)?;
            Ok(loaded.into_iter().map(|l| l.image).collect())
        }
    }
}

/// One repository of a registry, as a source of blobs.
pub(super) struct Remote<'a> {
    client: registry::Client,
    reference: &'a Reference,
    progress: &'a dyn Progress,
}

impl<'a> Remote<'a> {
    pub(super) fn open(
        reference: &'a Reference,
        options: &Options,
        progress: &'a dyn Progress,
    ) -> Result<Self, Error> {
        let client = registry::Client::new(registry::Options {
            tls_verify: options.tls_verify,
            credentials: Credentials::load(Env::process())?,
            ..registry::Options::default()
        });
        Ok(Self {
            client,
            reference,
            progress,
        })
    }

    /// What it has under the reference, and what it says that this is.
    pub(super) fn document(&self) -> Result<(Document, Option<String>), Error> {
        let fetched = self.client.manifest(self.reference)?;
        let document = Document {
            digest: fetched.digest,
            bytes: fetched.bytes,
        };
        Ok((document, fetched.media_type))
    }

    fn pull(
        &self,
        store: &Store,
        fetched: registry::Fetched,
        options: &Options,
        progress: &dyn Progress,
    ) -> Result<ImageRecord, Error> {
        let document = Document {
            digest: fetched.digest,
            bytes: fetched.bytes,
        };
        let platform = options.intake.platform.as_ref();
        let chosen = intake::choose(self, document, fetched.media_type.as_deref(), platform)?;
        let names = Names {
            references: vec![self.reference.clone()],
            repository: Some(self.reference.name()),
        };
        let image = intake::image(store, self, &chosen, &names, &options.intake, progress);
        for notice in self.client.take_notices() {
            self.progress.warn(&notice.to_string());
        }
        image
    }
}

impl Source for Remote<'_> {
    fn blob<'s>(
        &'s self,
        digest: &Digest,
        size: u64,
        offset: u64,
    ) -> Result<Box<dyn Read + Send + 's>, Error> {
        let blob = self.client.blob(self.reference, digest, size, offset)?;
        Ok(Box::new(blob))
    }

    /// Registries keep manifests apart from blobs. The client checks the digest.
    fn manifest(&self, digest: &Digest, size: u64) -> Result<Vec<u8>, Error> {
        let name = self.reference.with_digest(digest.clone());
        let bytes = self.client.manifest(&name)?.bytes;
        let got = bytes.len() as u64;
        if got != size {
            return Err(intake::IntakeError::Size {
                what: "manifest",
                want: size,
                got,
            }
            .into());
        }
        Ok(bytes)
    }
}

impl fmt::Debug for Remote<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote")
            .field("reference", self.reference)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transports_are_told_from_names() {
        let local = |path: &str, tag: Option<&str>| Origin::Local {
            input: Input::Path(path.into()),
            tag: tag.map(str::to_owned),
        };
        let registry = |name: &str| Origin::Registry(name.parse().unwrap());
        for (given, want) in [
            ("debian", registry("debian:latest")),
            ("docker://quay.io/a/b:1", registry("quay.io/a/b:1")),
            ("oci:/tmp/a:b/c", local("/tmp/a:b/c", None)),
            ("oci:d:12", local("d", Some("12"))),
            ("oci-archive:a.tar", local("a.tar", None)),
            ("docker-archive:a:b.tar", local("a:b.tar", None)),
        ] {
            assert_eq!(given.parse::<Origin>().unwrap(), want, "{given}");
        }
        assert!("docker://".parse::<Origin>().is_err());
    }
}
