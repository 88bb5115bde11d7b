//! The way in for every image, wherever it comes from: check the documents, fetch and unpack the
//! layers in parallel, and only then make the image visible.
//!
//! ```text
//! Source::blob → BlobIngest::reader (resume, hash, keep) → layer::apply (inflate, hash, unpack)
//! ```
//!
//! Of a layer that says where its files are only those are fetched that the store lacks ([`partial`]); what comes
//! of it takes the same way from `layer::apply` on.
//!
//! Invariants: nothing becomes visible before its digest is checked; a layer is published only if it
//! unpacks to the diff_id of the configuration; the image record is written last. A [`Lease`]
//! (store) keeps what is there already from being collected meanwhile, so that no lock is held
//! during a download.

pub(super) mod docker;
mod error;
mod implied;
mod layers;
pub(super) mod layout;
mod partial;
mod parts;
pub(super) mod tar_index;

use std::io::Read;
use std::ops::Range;
use std::path::PathBuf;

use oci_spec::image::{Descriptor, ImageManifest};
use serde::Deserialize;

pub use error::IntakeError;

use super::progress::Progress;
use super::{Error, additional};
use crate::layer;
use crate::oci::{Digest, MANIFEST_MAX, Manifest, ManifestError, Platform, Reference, media};
use crate::store::{self, ImageLayer, ImageRecord, Keep, Lease, Store};

/// Largest image configuration, in bytes. Real ones have a few kilobytes.
pub(super) const CONFIG_MAX: u64 = 8 << 20;
/// Deepest nesting of indexes. Real ones have one level, `docker buildx` layouts two.
const INDEX_DEPTH: u32 = 3;
/// Layers at a time when nothing else is asked for.
const JOBS: usize = 2;

/// Where blobs come from.
pub(super) trait Source: Sync {
    /// The bytes of a blob from `offset` to `size`. Need not be checked: that is done here.
    fn blob<'s>(
        &'s self,
        digest: &Digest,
        size: u64,
        offset: u64,
    ) -> Result<Box<dyn Read + Send + 's>, Error>;

    /// The bytes of a part of a blob; `None` where a part costs as much as the whole.
    fn part<'s>(
        &'s self,
        digest: &Digest,
        size: u64,
        range: Range<u64>,
    ) -> Option<Result<Box<dyn Read + Send + 's>, Error>> {
        let _ = (digest, size, range);
        None
    }

    /// A manifest or index, by a descriptor from an index.
    fn manifest(&self, digest: &Digest, size: u64) -> Result<Vec<u8>, Error> {
        if size > MANIFEST_MAX {
            return Err(ManifestError::TooLarge(size).into());
        }
        small(self.blob(digest, size, 0)?, "manifest", digest, size)
    }
}

/// What the user may choose about images on their way in.
#[derive(Clone, Debug)]
pub struct Options {
    /// Wanted platform; `None`: this machine's, and any if the image is for one only.
    pub platform: Option<Platform>,
    /// Bounds on what one layer may make us do.
    pub limits: layer::Limits,
    /// Layers at a time.
    pub jobs: usize,
    /// What stays of a layer's blob once it is unpacked.
    pub keep: Keep,
    /// Who must have signed an image (containers-policy.json(5)); `None`: what the user's or the machine's
    /// policy says.
    pub signature_policy: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            platform: None,
            limits: layer::Limits::default(),
            jobs: JOBS,
            keep: Keep::Nothing,
            signature_policy: None,
        }
    }
}

/// An image was refused for what it contains: there will be no second attempt that could use the
/// layers of it that were good. After a failure of network or disk they stay for one.
pub(super) fn discard(store: &Store, e: &Error) {
    let refused = matches!(e, Error::Intake(_) | Error::Manifest(_)) || layers::is_content(e);
    if refused && let Err(e) = store.gc(&[]) {
        log::warn!("cannot remove the layers of an image that was refused: {e}");
    }
}

/// A manifest or index as it came, hashed.
#[derive(Clone, Debug)]
pub(super) struct Document {
    pub(super) digest: Digest,
    pub(super) bytes: Vec<u8>,
}

/// One image that was chosen and not yet fetched.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    /// The index at the top, if there was one: what the registry's digest names.
    pub(super) index: Option<Document>,
    pub(super) document: Document,
    pub(super) manifest: Box<ImageManifest>,
}

/// Names that the image gets.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// Without any, it can be used by its id.
    pub(super) references: Vec<Reference>,
    /// `registry/repository` it was pulled from.
    pub(super) repository: Option<String>,
}

/// What is read of an image configuration; the rest is for those who run the image.
#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    variant: Option<String>,
    created: Option<String>,
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<Digest>,
}

/// Follow indexes down to the image for the wanted platform.
pub(super) fn choose(
    source: &dyn Source,
    document: Document,
    media_type: Option<&str>,
    platform: Option<&Platform>,
) -> Result<Chosen, Error> {
    let host = Platform::host();
    let want = platform.unwrap_or(&host);
    let mut media_type = media_type.map(str::to_owned);
    let mut document = document;
    let mut index = None;
    for _ in 0..=INDEX_DEPTH {
        match Manifest::parse(&document.bytes, media_type.as_deref())? {
            Manifest::Image(manifest) => {
                return Ok(Chosen {
                    index,
                    document,
                    manifest,
                });
            }
            Manifest::Index(list) => {
                let next = chosen(want, list.manifests())?;
                let digest: Digest = digest_of(next)?;
                let bytes = source.manifest(&digest, next.size())?;
                media_type = Some(next.media_type().to_string());
                let below = Document { digest, bytes };
                index.get_or_insert(document);
                document = below;
            }
        }
    }
    Err(IntakeError::Nested(INDEX_DEPTH).into())
}

/// The entry of an index for a platform.
pub(super) fn chosen<'e>(
    want: &Platform,
    entries: &'e [Descriptor],
) -> Result<&'e Descriptor, ManifestError> {
    match (want.choose(entries), entries) {
        (Some(i), _) => Ok(&entries[i]),
        // A lone entry that names no platform, as builders write it.
        (None, [only]) if only.platform().is_none() => Ok(only),
        _ => Err(no_platform(want, entries)),
    }
}

fn no_platform(want: &Platform, entries: &[Descriptor]) -> ManifestError {
    let have: Vec<String> = entries
        .iter()
        .filter_map(|d| d.platform().as_ref())
        .map(|p| format!("{}/{}", p.os(), p.architecture()))
        .collect();
    ManifestError::NoPlatform {
        want: want.to_string(),
        have: have.join(", "),
    }
}

pub(super) fn digest_of(d: &Descriptor) -> Result<Digest, Error> {
    Ok(d.digest().to_string().parse()?)
}

/// Bring an image in, all of it, and name it.
pub(super) fn image(
    store: &Store,
    source: &dyn Source,
    chosen: &Chosen,
    names: &Names,
    options: &Options,
    progress: &dyn Progress,
) -> Result<ImageRecord, Error> {
    let (mut record, _kept) = unnamed(store, source, chosen, names, options, progress)?;
    if names.references.is_empty() {
        return Ok(store.images().put(&record)?);
    }
    for name in names.references.iter().rev() {
        record.reference = Some(name.clone());
        store.images().put(&record)?;
    }
    Ok(record)
}

/// Bring an image in, and leave it to the leases and the caller that it stays.
pub(super) fn unnamed(
    store: &Store,
    source: &dyn Source,
    chosen: &Chosen,
    names: &Names,
    options: &Options,
    progress: &dyn Progress,
) -> Result<(ImageRecord, Vec<Lease>), Error> {
    // What an additional store has need not be fetched.
    let nearby = additional::Nearby {
        store,
        inner: source,
    };
    let source: &dyn Source = &nearby;
    let id = config_digest(&chosen.manifest)?;
    let bytes = match store.blobs().read(&id, CONFIG_MAX) {
        Ok(bytes) => bytes,
        Err(store::Error::BlobMissing(_) | store::Error::BlobCorrupt { .. }) => {
            config(source, &chosen.manifest)?.1
        }
        Err(e) => return Err(e.into()),
    };
    let config: Config = serde_json::from_slice(&bytes).map_err(IntakeError::Config)?;
    check_platform(&config, options.platform.as_ref(), progress)?;
    let wanted = layers::wanted(&chosen.manifest, config.rootfs.diff_ids)?;

    // From here on nothing that we find present, or add, is collected.
    let documents = [Some(&chosen.document), chosen.index.as_ref()];
    let documents = || documents.into_iter().flatten();
    let roots = wanted.iter().flat_map(|l| [&l.diff_id, &l.blob]);
    let lease = store.lease(roots.chain(documents().map(|d| &d.digest)).chain([&id]))?;
    store.blobs().put_as(&id, &bytes)?;
    for document in documents() {
        store.blobs().put_as(&document.digest, &document.bytes)?;
    }
    let from = names.repository.as_deref();
    layers::fetch(store, source, from, &wanted, options, progress)?;

    let diff_ids: Vec<&Digest> = wanted.iter().map(|l| &l.diff_id).collect();
    let (restated, kept) = implied::layer(store, &diff_ids, progress)?.unzip();
    let mut image_layers = Vec::with_capacity(wanted.len());
    for layers::Wanted {
        diff_id,
        blob,
        blob_size,
        ..
    } in wanted
    {
        let size = store.layers().info(&diff_id)?.map_or(0, |info| info.size);
        image_layers.push(ImageLayer {
            diff_id,
            blob,
            blob_size,
            size,
        });
    }
    let platform = Platform {
        os: config.os,
        architecture: config.architecture,
        variant: config.variant.filter(|v| !v.is_empty()),
    };
    let record = ImageRecord {
        reference: None,
        id,
        manifest: chosen.document.digest.clone(),
        index: chosen.index.as_ref().map(|d| d.digest.clone()),
        platform: platform.to_string(),
        layers: image_layers,
        restated,
        created: config.created,
        repositories: names.repository.iter().cloned().collect(),
        members: None,
    };
    Ok((record, kept.into_iter().chain([lease]).collect()))
}

/// Which blob is the configuration of an image; what is no image is refused.
fn config_digest(manifest: &ImageManifest) -> Result<Digest, Error> {
    let config = manifest.config();
    let media_type = config.media_type().to_string();
    if ![media::OCI_CONFIG, media::DOCKER_CONFIG].contains(&media_type.as_str()) {
        return Err(IntakeError::Artifact(media_type).into());
    }
    if config.size() > CONFIG_MAX {
        return Err(IntakeError::TooLarge {
            what: "configuration",
            size: config.size(),
            max: CONFIG_MAX,
        }
        .into());
    }
    digest_of(config)
}

/// The configuration of an image and its digest, from where the image is.
pub(super) fn config(
    source: &dyn Source,
    manifest: &ImageManifest,
) -> Result<(Digest, Vec<u8>), Error> {
    let id = config_digest(manifest)?;
    let size = manifest.config().size();
    let bytes = small(source.blob(&id, size, 0)?, "configuration", &id, size)?;
    Ok((id, bytes))
}

/// Read a small document whole, and check it. `size`: as promised, and below a limit already.
fn small(
    from: impl Read,
    what: &'static str,
    digest: &Digest,
    want: u64,
) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::with_capacity(usize::try_from(want).unwrap_or(0));
    from.take(want + 1)
        .read_to_end(&mut bytes)
        .map_err(Error::from_reader)?;
    let got = bytes.len() as u64;
    if got != want {
        return Err(IntakeError::Size { what, want, got }.into());
    }
    let mut digester = crate::oci::Digester::new(digest.algorithm());
    digester.update(&bytes);
    let actual = digester.finish();
    if actual != *digest {
        return Err(store::Error::WrongDigest {
            digest: digest.clone(),
            actual,
        }
        .into());
    }
    Ok(bytes)
}

fn check_platform(
    config: &Config,
    asked: Option<&Platform>,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let have = format!("{}/{}", config.os, config.architecture);
    let host = Platform::host();
    let want = asked.unwrap_or(&host);
    let fits = config.os == want.os && config.architecture == want.architecture;
    match asked {
        // The variant in a configuration is often missing or wrong: the index decided on it.
        Some(want) if !fits => Err(IntakeError::Platform {
            have,
            want: want.to_string(),
        }
        .into()),
        None if !fits => {
            progress.warn(&format!("the image is for {have}; this machine is {want}"));
            Ok(())
        }
        _ => Ok(()),
    }
}
