//! `copy`: an image from one place to another, without unpacking it. skopeo-copy(1), containers-transports(5).
//!
//! Documents and blobs go as they are, so every digest stays. What is in the store goes out by
//! [`save`](super::save) and [`push`](super::push), and comes in by [`pull`](super::pull): the store is a place
//! like the others only in name, since it has layers unpacked.
//!
//! Blobs go before the manifest that names them, and manifests before their index; each is checked on its way.

mod place;
pub(super) mod source;
mod target;

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use oci_spec::image::{Descriptor, ImageManifest};

pub use place::Place;

use super::intake::tar_index::Input;
use super::intake::{self, Document, IntakeError, Source, digest_of};
use super::list::{self, ListError};
use super::progress::{Planned, Progress};
use super::{Access, Error, pull, push, save, stored};
use crate::oci::{Digest, Digester, Manifest, Platform, Reference, media};
use crate::store::{self, Store};
use target::Target;

/// Most manifests of an index that is copied whole.
const MANIFESTS_MAX: usize = 1000;
/// Deepest nesting of indexes that are copied whole.
const DEPTH_MAX: u32 = 3;

/// How to copy.
#[derive(Clone, Debug)]
pub struct Options {
    /// How registries are reached.
    pub access: Access,
    /// An index with all that is in it.
    pub all: bool,
    /// Which image of an index, if not all.
    pub platform: Option<Platform>,
}

/// Copy one image, or a whole index. Returns the digest of what is there then.
pub fn copy(
    store: &Store,
    from: &Place,
    to: &Place,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Digest, Error> {
    if let Place::Store(name) = from {
        return from_store(store, name, to, options, progress);
    }
    if let Place::Store(name) = to {
        return to_store(store, from, name, options, progress);
    }
    let mut target = target::open(to, &options.access)?;
    let name = match from {
        Place::Registry(reference) => Some(reference),
        _ => None,
    };
    source::read(
        store,
        from,
        &options.access,
        progress,
        |source, document, kind| {
            Copy::new(source, target.as_mut(), name, options, progress).top(document, kind)
        },
    )
}

/// What `from` names, with all below it, to the repository of `to`, under its digest alone.
pub(super) fn nameless(
    store: &Store,
    from: &Reference,
    to: &Reference,
    options: &Options,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let mut target = target::open(&Place::Registry(to.clone()), &options.access)?;
    let place = Place::Registry(from.clone());
    source::read(
        store,
        &place,
        &options.access,
        progress,
        |source, document, kind| {
            let mut copy = Copy::new(source, target.as_mut(), Some(from), options, progress);
            let kind = copy.below(&document, kind, 0)?;
            copy.target.manifest(&document, &kind)
        },
    )
}

fn from_store(
    store: &Store,
    name: &str,
    to: &Place,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Digest, Error> {
    let ([image], _lease) = stored::leased(store, || {
        let image = store.images().find(name)?;
        Ok([match options.all && image.is_list() {
            true => image,
            false => list::in_store(store, image, options.platform.as_ref())?,
        }])
    })?;
    let whole = image.is_list();
    if let Some(want) = options.platform.as_ref().filter(|p| !image.is_for(p)) {
        return Err(IntakeError::Platform {
            have: image.platform,
            want: want.to_string(),
        }
        .into());
    }
    if whole && !matches!(to, Place::Registry(_)) {
        return Err(ListError::Whole.into());
    }
    let saved = |output| {
        let mut saved = save::images(store, &[(name.to_owned(), image.clone())], output, progress)?;
        let one = saved.pop().map(|s| s.manifest);
        one.ok_or_else(|| Error::NoDestination(name.to_owned()))
    };
    match to {
        Place::Registry(reference) => {
            let options = push::Options {
                access: options.access.clone(),
                ..push::Options::default()
            };
            Ok(push::one(store, &image, reference, &options, progress)?.digest)
        }
        Place::OciDir { path, tag: None } => saved(save::Output::OciDir(path.clone())),
        Place::Dir(path) => saved(save::Output::DockerDir(path.clone())),
        Place::OciArchive { path, tag: None } | Place::DockerArchive { path, name: None } => {
            let file = File::create_new(path).map_err(|e| Error::file("create", path, e))?;
            saved(save::Output::Archive(file)).inspect_err(|_| {
                // The failure is the one to tell.
                let _ = std::fs::remove_file(path);
            })
        }
        // An image of the store has a name of its own.
        _ => Err(Error::CopyTo(to.to_string())),
    }
}

fn to_store(
    store: &Store,
    from: &Place,
    name: &str,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Digest, Error> {
    let target: Reference = name.parse()?;
    if options.all {
        return Err(Error::CopyAll);
    }
    let origin = origin(from)?;
    let pull_options = pull::Options {
        access: options.access.clone(),
        intake: intake::Options {
            platform: options.platform.clone(),
            ..intake::Options::default()
        },
    };
    let mut images = pull::pull(store, &origin, &pull_options, progress)?;
    let (Some(image), true) = (images.pop(), images.is_empty()) else {
        return Err(Error::OneImage("oci-archive"));
    };
    store.images().tag(&image, &target)?;
    Ok(image.manifest)
}

fn origin(from: &Place) -> Result<pull::Origin, Error> {
    let local = |path: &PathBuf, tag: &Option<String>| pull::Origin::Local {
        input: Input::Path(path.clone()),
        tag: tag.clone(),
    };
    match from {
        Place::Registry(reference) => Ok(pull::Origin::Registry(reference.clone())),
        Place::OciDir { path, tag } | Place::OciArchive { path, tag } => Ok(local(path, tag)),
        Place::DockerArchive { path, name: None } => Ok(local(path, &None)),
        _ => Err(Error::CopyFrom(from.to_string())),
    }
}

struct Copy<'a> {
    source: &'a dyn Source,
    target: &'a mut dyn Target,
    /// Where it comes from, if that is a registry.
    from: Option<&'a Reference>,
    options: &'a Options,
    progress: &'a dyn Progress,
    seen: HashSet<Digest>,
    manifests: usize,
}

impl<'a> Copy<'a> {
    fn new(
        source: &'a dyn Source,
        target: &'a mut dyn Target,
        from: Option<&'a Reference>,
        options: &'a Options,
        progress: &'a dyn Progress,
    ) -> Self {
        Self {
            source,
            target,
            from,
            options,
            progress,
            seen: HashSet::new(),
            manifests: 0,
        }
    }

    /// What the place has under its name.
    fn top(mut self, document: Document, media_type: Option<String>) -> Result<Digest, Error> {
        let (document, media_type) = match self.options.all {
            true => (document, media_type),
            false => {
                let platform = self.options.platform.as_ref();
                let chosen =
                    intake::choose(self.source, document, media_type.as_deref(), platform)?;
                let own = chosen.manifest.media_type().as_ref();
                (chosen.document, own.map(ToString::to_string))
            }
        };
        let media_type = self.below(&document, media_type, 0)?;
        let docker = [media::DOCKER_MANIFEST, media::DOCKER_LIST].contains(&media_type.as_str());
        if docker && self.target.is_layout() {
            self.progress.warn(
                "the image has docker's manifest, which not every tool reads in an OCI layout: it stays as it is",
            );
        }
        self.target.finish(&document, &media_type)?;
        Ok(document.digest)
    }

    /// All that a document names, and its type.
    fn below(
        &mut self,
        document: &Document,
        media_type: Option<String>,
        depth: u32,
    ) -> Result<String, Error> {
        self.manifests += 1;
        if self.manifests > MANIFESTS_MAX || depth > DEPTH_MAX {
            return Err(IntakeError::Nested(DEPTH_MAX).into());
        }
        match Manifest::parse(&document.bytes, media_type.as_deref())? {
            Manifest::Image(manifest) => {
                self.image(&manifest)?;
                let own = manifest.media_type().as_ref().map(ToString::to_string);
                Ok(own
                    .or(media_type)
                    .unwrap_or_else(|| media::OCI_MANIFEST.to_owned()))
            }
            Manifest::Index(index) => {
                for entry in index.manifests() {
                    let digest = digest_of(entry)?;
                    let bytes = self.source.manifest(&digest, entry.size())?;
                    check(&digest, &bytes)?;
                    let below = Document { digest, bytes };
                    let kind = entry.media_type().to_string();
                    let kind = self.below(&below, Some(kind), depth + 1)?;
                    self.target.manifest(&below, &kind)?;
                }
                let own = index.media_type().as_ref().map(ToString::to_string);
                Ok(own
                    .or(media_type)
                    .unwrap_or_else(|| media::OCI_INDEX.to_owned()))
            }
        }
    }

    fn image(&mut self, manifest: &ImageManifest) -> Result<(), Error> {
        let blobs: Vec<&Descriptor> = manifest
            .layers()
            .iter()
            .chain([manifest.config()])
            .collect();
        let mut plan = Vec::new();
        for blob in &blobs {
            let digest = digest_of(blob)?;
            if !self.seen.contains(&digest) {
                plan.push(Planned {
                    digest,
                    size: blob.size(),
                    present: false,
                });
            }
        }
        self.progress.plan(&plan);
        for blob in blobs {
            let digest = digest_of(blob)?;
            if self.seen.insert(digest.clone()) {
                self.blob(&digest, blob.size())?;
            }
        }
        Ok(())
    }

    fn blob(&mut self, digest: &Digest, size: u64) -> Result<(), Error> {
        if self.target.has(digest)? || self.target.mount(digest, self.from)? {
            self.progress.skip(digest);
            return Ok(());
        }
        self.progress.begin(digest, 0);
        let source = self.source;
        let open = |offset: u64| -> io::Result<Box<dyn Read + '_>> {
            let inner = source
                .blob(digest, size, offset)
                .map_err(io::Error::other)?;
            Ok(match offset {
                0 => Box::new(push::Checked::new(inner, digest, size)),
                // The rest of a blob has no digest: the registry that gets it checks it.
                _ => inner,
            })
        };
        let progress = self.progress;
        self.target
            .blob(digest, size, &open, &|n| progress.advance(digest, n))?;
        self.progress.done(digest);
        Ok(())
    }
}

fn check(digest: &Digest, bytes: &[u8]) -> Result<(), Error> {
    let mut digester = Digester::new(digest.algorithm());
    digester.update(bytes);
    let actual = digester.finish();
    match actual == *digest {
        true => Ok(()),
        false => Err(store::Error::WrongDigest {
            digest: digest.clone(),
            actual,
        }
        .into()),
    }
}
