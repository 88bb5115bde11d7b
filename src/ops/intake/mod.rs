//! The way in for every image, wherever it comes from: check the documents, fetch and unpack the
//! layers in parallel, and only then make the image visible.
//!
//! ```text
//! Source::blob → BlobIngest::reader (resume, hash, keep) → layer::apply (inflate, hash, unpack)
//! ```
//!
//! Invariants: nothing becomes visible before its digest is checked; a layer is published only if it
//! unpacks to the diff_id of the configuration; the image record is written last. A [`Lease`]
//! (store) keeps what is there already from being collected meanwhile, so that no lock is held
//! during a download.
//!
//! [`Lease`]: crate::store::Lease

pub(super) mod docker;
mod error;
pub(super) mod layout;
pub(super) mod tar_index;

use std::collections::HashSet;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use oci_spec::image::{Descriptor, ImageManifest};
use serde::Deserialize;

pub use error::IntakeError;

use super::Error;
use super::progress::{Planned, Progress};
use crate::layer;
use crate::oci::{Digest, MANIFEST_MAX, Manifest, ManifestError, Platform, Reference};
use crate::oci::{layer_compression, media};
use crate::store::{self, ImageLayer, ImageRecord, LayerInfo, Store};

/// Largest image configuration, in bytes. Real ones have a few kilobytes.
const CONFIG_MAX: u64 = 8 << 20;
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
}

impl Default for Options {
    fn default() -> Self {
        Self {
            platform: None,
            limits: layer::Limits::default(),
            jobs: JOBS,
        }
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
                let entries = list.manifests();
                let next = match (want.choose(entries), &entries[..]) {
                    (Some(i), _) => &entries[i],
                    // A lone entry that names no platform, as builders write it.
                    (None, [only]) if only.platform().is_none() => only,
                    _ => return Err(no_platform(want, entries).into()),
                };
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
    let config_type = chosen.manifest.config().media_type().to_string();
    if ![media::OCI_CONFIG, media::DOCKER_CONFIG].contains(&config_type.as_str()) {
        return Err(IntakeError::Artifact(config_type).into());
    }
    let id = digest_of(chosen.manifest.config())?;
    let bytes = config_bytes(store, source, &id, chosen.manifest.config().size())?;
    let config: Config = serde_json::from_slice(&bytes).map_err(IntakeError::Config)?;
    check_platform(&config, options.platform.as_ref(), progress)?;
    let wanted = wanted_layers(&chosen.manifest, config.rootfs.diff_ids)?;

    // From here on nothing that we find present, or add, is collected.
    let documents = [Some(&chosen.document), chosen.index.as_ref()];
    let documents = || documents.into_iter().flatten();
    let roots = wanted.iter().flat_map(|l| [&l.diff_id, &l.blob]);
    let _lease = store.lease(roots.chain(documents().map(|d| &d.digest)).chain([&id]))?;
    store.blobs().put_as(&id, &bytes)?;
    for document in documents() {
        store.blobs().put_as(&document.digest, &document.bytes)?;
    }
    fetch_layers(store, source, &wanted, options, progress)?;

    let mut layers = Vec::with_capacity(wanted.len());
    for Wanted {
        diff_id,
        blob,
        blob_size,
    } in wanted
    {
        let size = store.layers().info(&diff_id)?.map_or(0, |info| info.size);
        layers.push(ImageLayer {
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
    let mut record = ImageRecord {
        reference: None,
        id,
        manifest: chosen.document.digest.clone(),
        index: chosen.index.as_ref().map(|d| d.digest.clone()),
        platform: platform.to_string(),
        layers,
        created: config.created,
        repositories: names.repository.iter().cloned().collect(),
    };
    if names.references.is_empty() {
        // An image that has a name keeps it.
        match store.images().find(&record.id.to_string()) {
            Ok(known) => record.reference = known.reference,
            Err(store::Error::NoSuchImage(_)) => {}
            Err(e) => return Err(e.into()),
        }
        store.images().put(&record)?;
    }
    for name in names.references.iter().rev() {
        record.reference = Some(name.clone());
        store.images().put(&record)?;
    }
    Ok(record)
}

fn config_bytes(
    store: &Store,
    source: &dyn Source,
    id: &Digest,
    size: u64,
) -> Result<Vec<u8>, Error> {
    if size > CONFIG_MAX {
        return Err(IntakeError::TooLarge {
            what: "configuration",
            size,
            max: CONFIG_MAX,
        }
        .into());
    }
    match store.blobs().read(id, CONFIG_MAX) {
        Ok(bytes) => Ok(bytes),
        Err(store::Error::BlobMissing(_) | store::Error::BlobCorrupt { .. }) => {
            small(source.blob(id, size, 0)?, "configuration", id, size)
        }
        Err(e) => Err(e.into()),
    }
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

struct Wanted {
    diff_id: Digest,
    blob: Digest,
    blob_size: u64,
}

fn wanted_layers(manifest: &ImageManifest, diff_ids: Vec<Digest>) -> Result<Vec<Wanted>, Error> {
    let descriptors = manifest.layers();
    if descriptors.len() != diff_ids.len() {
        return Err(IntakeError::LayerCount {
            layers: descriptors.len(),
            diff_ids: diff_ids.len(),
        }
        .into());
    }
    descriptors
        .iter()
        .zip(diff_ids)
        .map(|(d, diff_id)| {
            layer_compression(d)?;
            Ok(Wanted {
                diff_id,
                blob: digest_of(d)?,
                blob_size: d.size(),
            })
        })
        .collect()
}

/// Get all layers that are not there, some at a time; the first failure stops the others.
fn fetch_layers(
    store: &Store,
    source: &dyn Source,
    wanted: &[Wanted],
    options: &Options,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let mut seen = HashSet::new();
    let mut todo: Vec<&Wanted> = Vec::new();
    let mut plan = Vec::with_capacity(wanted.len());
    for layer in wanted {
        let present = store.has_layer(&layer.diff_id);
        // An image may have the same layer twice.
        let first = seen.insert(&layer.diff_id);
        if first {
            plan.push(Planned {
                digest: layer.blob.clone(),
                size: layer.blob_size,
                present,
            });
        }
        if first && !present {
            todo.push(layer);
        }
    }
    progress.plan(&plan);
    // The largest first: then the last ones to finish are small, and no worker idles for long.
    todo.sort_by_key(|l| l.blob_size);
    let workers = options.jobs.clamp(1, todo.len().max(1));
    let todo = Mutex::new(todo);
    let failure: Mutex<Option<Error>> = Mutex::new(None);
    let stop = AtomicBool::new(false);
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let next = todo.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(layer) = next else { break };
            let job = Job {
                store,
                source,
                layer,
                limits: &options.limits,
                progress,
                stop: &stop,
            };
            if let Err(e) = job.run() {
                stop.store(true, Ordering::Relaxed);
                // Later failures are the echo of the first.
                let mut first = failure.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert(e);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..workers {
            scope.spawn(work);
        }
        work();
    });
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(e) => Err(e),
        None => Ok(()),
    }
}

/// One layer to fetch and unpack.
struct Job<'a> {
    store: &'a Store,
    source: &'a dyn Source,
    layer: &'a Wanted,
    limits: &'a layer::Limits,
    progress: &'a dyn Progress,
    stop: &'a AtomicBool,
}

impl Job<'_> {
    fn run(&self) -> Result<(), Error> {
        let mut stale = false;
        let mut result = self.attempt(&mut stale);
        if stale {
            // Bytes of an earlier attempt were bad, and are gone by now: this one starts at 0.
            result = self.attempt(&mut stale);
        }
        result?;
        self.progress.done(&self.layer.blob);
        Ok(())
    }

    /// `stale`: it failed, and bytes that were on disk before may be to blame; they were removed.
    fn attempt(&self, stale: &mut bool) -> Result<(), Error> {
        *stale = false;
        let Wanted {
            diff_id,
            blob,
            blob_size,
        } = self.layer;
        let mut ingest = self.store.blobs().ingest(blob, *blob_size)?;
        if self.store.has_layer(diff_id) {
            // Whoever we waited for has done it all.
            return Ok(());
        }
        let have = ingest.resume_offset();
        self.progress.begin(blob, have);
        let rest: Box<dyn Read + Send + '_> = if have == *blob_size {
            Box::new(io::empty())
        } else {
            self.source.blob(blob, *blob_size, have)?
        };
        let draft = self.store.layers().begin(diff_id)?;
        let mut reader = Watched {
            inner: ingest.reader(rest),
            blob,
            progress: self.progress,
            stop: self.stop,
        };
        let applied = layer::apply(&mut reader, draft.dir(), &draft.sidecar(), self.limits)
            .map_err(Error::from_layer)
            // To the end in any case, since that is where the digest is checked.
            .and_then(|applied| match io::copy(&mut reader, &mut io::sink()) {
                Ok(_) => Ok(applied),
                Err(e) => Err(Error::from_reader(e)),
            });
        let applied = match applied {
            Ok(applied) => applied,
            Err(e) => {
                if is_content(&e) {
                    *stale = ingest.distrust()? && have > 0;
                }
                return Err(e);
            }
        };
        if applied.diff_id != *diff_id {
            return Err(IntakeError::DiffId {
                blob: blob.clone(),
                want: diff_id.clone(),
                got: applied.diff_id,
            }
            .into());
        }
        draft.publish(&LayerInfo {
            diff_id: applied.diff_id,
            size: applied.size,
            entries: applied.entries,
            tar_bytes: applied.tar_bytes,
        })?;
        Ok(())
    }
}

/// Is the content of the blob to blame, and not the machine or the network?
fn is_content(e: &Error) -> bool {
    match e {
        Error::Layer(e) => !matches!(
            e,
            layer::Error::Sys { .. }
                | layer::Error::Sidecar { .. }
                | layer::Error::Thread(_)
                | layer::Error::Read(_)
        ),
        Error::Store(e) => matches!(
            e,
            store::Error::WrongDigest { .. } | store::Error::BlobCorrupt { .. }
        ),
        _ => false,
    }
}

/// Counts what is read, and ends early when another layer has failed.
struct Watched<'a, R> {
    inner: R,
    blob: &'a Digest,
    progress: &'a dyn Progress,
    stop: &'a AtomicBool,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("stopped: another layer has failed"));
        }
        let n = self.inner.read(buf)?;
        self.progress.advance(self.blob, n as u64);
        Ok(n)
    }
}
