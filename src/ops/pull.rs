//! `pull`, and what `run --pull` does: get an image from a registry (or from an archive that is named
//! like one, `oci:DIR`). podman-pull(1), containers-transports(5).

use std::fmt;
use std::io::Read;
use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;

use super::events::{self, Action};
use super::intake::{self, Document, Names, Source};
use super::list::{self, ListError};
use super::load::{self, Input};
use super::progress::Progress;
use super::signatures;
use super::{Access, Error, additional, short};
use crate::oci::{Digest, Platform, Reference};
use crate::registry;
use crate::store::{self, ImageRecord, Store};
use crate::trust::Image;

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
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How registries are reached.
    pub access: Access,
    /// Platform, limits, parallel layers.
    pub intake: intake::Options,
}

/// Where to pull from: containers-transports(5), as far as it concerns pulling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `NAME` with a registry, or `docker://NAME`.
    Registry(Reference),
    /// `NAME` without one: what it means is a matter of configuration.
    Short(String),
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
            let reference = s.parse()?;
            Ok(match Reference::is_short(s) {
                true => Self::Short(s.to_owned()),
                false => Self::Registry(reference),
            })
        }
    }
}

/// The image called `name` (a name, or the start of an id), pulled if `policy` says so. A name with a
/// digest is never asked for again once it is there.
///
/// What is in the store is looked for first by the name as it is, a short one as one of docker.io, so that
/// the start of a container reads no configuration of registries.
pub fn ensure(
    store: &Store,
    name: &str,
    policy: PullPolicy,
    options: &Options,
    progress: &dyn Progress,
) -> Result<ImageRecord, Error> {
    let platform = options.intake.platform.as_ref();
    let (local, missing) = match store.images().find(name) {
        Ok(list) if list.is_list() => return of_list(store, &list, policy, options, progress),
        Ok(image) => (Some(image).filter(|i| fits(i, platform)), None),
        Err(store::Error::NoSuchImage { name, local }) => (None, Some((name, local))),
        Err(e) => return Err(e.into()),
    };
    match (local, policy) {
        (Some(image), PullPolicy::Missing | PullPolicy::Never) => return Ok(image),
        // An id names what we have, or nothing.
        (Some(image), _) if !is_named(&image, name) => return Ok(image),
        _ => {}
    }
    if missing.is_some()
        && let Some(image) = shared(store, name, policy, options, progress)?
    {
        return Ok(image);
    }
    let origin = match name.parse::<Origin>() {
        Ok(origin) => origin,
        Err(_) if policy == PullPolicy::Never => return Err(no_such_image(name)),
        Err(e) => return Err(e.into()),
    };
    let names = match origin {
        Origin::Short(short) => short::names(&options.access, &short, progress)?,
        Origin::Registry(reference) => vec![reference],
        origin @ Origin::Local { .. } if policy != PullPolicy::Never => {
            let mut pulled = pull(store, &origin, options, progress)?;
            return pulled.pop().ok_or_else(|| no_such_image(name));
        }
        Origin::Local { .. } => return Err(no_such_image(name)),
    };
    let mut stored = None;
    for reference in &names {
        let found = store.images().find(&reference.to_string()).ok();
        stored = stored.or(found.filter(|i| fits(i, platform)).map(|i| (reference, i)));
    }
    for reference in names.iter().filter(|_| stored.is_none()) {
        if let Some(image) = shared(store, &reference.to_string(), policy, options, progress)? {
            return Ok(image);
        }
    }
    match (stored, policy) {
        (Some((_, image)), PullPolicy::Missing | PullPolicy::Never) => Ok(image),
        (Some((reference, image)), PullPolicy::Newer) => {
            newer(store, reference, image, options, progress)
        }
        (None, PullPolicy::Never) => {
            let (name, local) = missing.unwrap_or_else(|| (name.to_owned(), None));
            Err(store::Error::NoSuchImage { name, local }.into())
        }
        (_, PullPolicy::Always) | (None, _) => {
            let pulled = short::first(name, &names, |reference| {
                pull_one(store, reference, options, progress)
            });
            if let (Err(_), Some((_, Some(local)))) = (&pulled, missing) {
                progress.warn(&format!(
                    "{name} is pulled from a registry; the store has {local}"
                ));
            }
            pulled
        }
    }
}

/// The image from an additional store, brought in, if one has it and no registry is to be asked.
fn shared(
    store: &Store,
    name: &str,
    policy: PullPolicy,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Option<ImageRecord>, Error> {
    if !matches!(policy, PullPolicy::Missing | PullPolicy::Never) {
        return Ok(None);
    }
    let Some((image, from)) = additional::find(store, name)? else {
        return Ok(None);
    };
    if !fits(&image, options.intake.platform.as_ref()) {
        return Ok(None);
    }
    super::sweep(store);
    match additional::adopt(store, &image, from, &options.intake, progress) {
        Ok(image) => Ok(Some(image)),
        Err(e) => {
            intake::discard(store, &e);
            if policy == PullPolicy::Never {
                return Err(e);
            }
            let root = from.root().display();
            progress.warn(&format!("{name} cannot be had from {root}: {e}"));
            Ok(None)
        }
    }
}

/// The image of a list for the wanted platform. The list itself is nobody's but ours: the policy is about images of
/// it that the store does not have.
fn of_list(
    store: &Store,
    found: &ImageRecord,
    policy: PullPolicy,
    options: &Options,
    progress: &dyn Progress,
) -> Result<ImageRecord, Error> {
    let platform = options.intake.platform.as_ref();
    let missing = match list::in_store(store, found.clone(), platform) {
        Err(e @ Error::List(ListError::NotHere { .. })) if policy != PullPolicy::Never => e,
        image => return image,
    };
    match list::elsewhere(store, found, platform)? {
        Some(reference) => pull_one(store, &reference, options, progress),
        None => Err(missing),
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
    asked.is_none_or(|want| image.is_for(want))
}

fn is_named(image: &ImageRecord, name: &str) -> bool {
    let name: Option<Reference> = name.parse().ok();
    name.is_some_and(|n| image.reference.as_ref() == Some(&n) || n.digest().is_some())
}

fn newer(
    store: &Store,
    reference: &Reference,
    image: ImageRecord,
    options: &Options,
    progress: &dyn Progress,
) -> Result<ImageRecord, Error> {
    let remote = Remote::open(reference, options, progress)?;
    let pulled = match remote.client.manifest(reference) {
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
        Origin::Registry(reference) => Ok(vec![pull_one(store, reference, options, progress)?]),
        Origin::Short(name) => {
            let names = short::names(&options.access, name, progress)?;
            let pulled = short::first(name, &names, |reference| {
                pull_one(store, reference, options, progress)
            });
            Ok(vec![pulled?])
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

/// Pull every tag of a repository, in the registry's order; what each became is given to `done`.
pub fn all_tags(
    store: &Store,
    name: &str,
    options: &Options,
    progress: &dyn Progress,
    done: &mut dyn FnMut(&ImageRecord),
) -> Result<(), Error> {
    let (repository, tags) = super::find::tags(&options.access, name, None, progress)?;
    // The registry chose these words: all are looked at before the first is used.
    let all: Result<Vec<Reference>, _> = tags.iter().map(|t| repository.with_tag(t)).collect();
    for reference in all? {
        done(&pull_one(store, &reference, options, progress)?);
    }
    Ok(())
}

fn pull_one(
    store: &Store,
    reference: &Reference,
    options: &Options,
    progress: &dyn Progress,
) -> Result<ImageRecord, Error> {
    super::sweep(store);
    let remote = Remote::open(reference, options, progress)?;
    let fetched = remote.client.manifest(reference)?;
    let pulled = remote.pull(store, fetched, options, progress);
    pulled
        .inspect(|image| events::happened_to_image(store, image, Action::Pull))
        .inspect_err(|e| intake::discard(store, e))
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
        Ok(Self {
            client: options.access.client()?,
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
        // Of the index as well: it says which manifests are its own.
        let manifests = std::iter::once(&chosen.document).chain(&chosen.index);
        let manifests: Vec<&Digest> = manifests.map(|d| &d.digest).collect();
        let image = Image::Docker(self.reference);
        signatures::check(image, &manifests, &options.intake, Some(&self.client))?;
        let names = Names {
            references: vec![self.reference.clone()],
            repository: Some(self.reference.name()),
        };
        let image = intake::image(store, self, &chosen, &names, &options.intake, progress);
        self.tell_notices();
        image
    }

    /// What did not work as configured, as warnings.
    pub(super) fn tell_notices(&self) {
        for notice in self.client.take_notices() {
            self.progress.warn(&notice.to_string());
        }
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

    fn part<'s>(
        &'s self,
        digest: &Digest,
        size: u64,
        range: Range<u64>,
    ) -> Option<Result<Box<dyn Read + Send + 's>, Error>> {
        Some(
            match self.client.part(self.reference, digest, size, range) {
                Ok(part) => Ok(Box::new(part)),
                Err(e) => Err(e.into()),
            },
        )
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
            ("debian", Origin::Short("debian".into())),
            ("me/app:1", Origin::Short("me/app:1".into())),
            ("docker://debian", registry("debian:latest")),
            ("docker://quay.io/a/b:1", registry("quay.io/a/b:1")),
            ("oci:/tmp/a:b/c", local("/tmp/a:b/c", None)),
            ("oci:d:12", local("d", Some("12"))),
            ("oci-archive:a.tar", local("a.tar", None)),
            ("docker-archive:a:b.tar", local("a:b.tar", None)),
        ] {
            assert_eq!(given.parse::<Origin>().unwrap(), want, "{given}");
        }
        assert!("docker://".parse::<Origin>().is_err() && "A".parse::<Origin>().is_err());
    }
}
