//! The layers of one image: which are missing, and several at a time fetched, checked and unpacked.

use std::collections::HashSet;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use oci_spec::image::ImageManifest;

use super::{Error, IntakeError, Options, Source, digest_of, partial};
use crate::layer::{self, chunked::Position};
use crate::oci::{Digest, layer_compression};
use crate::ops::progress::{Planned, Progress};
use crate::store::{self, Keep, LayerDraft, LayerInfo, Packed, Store};

/// A layer as manifest and configuration together describe it.
pub(super) struct Wanted {
    pub(super) diff_id: Digest,
    pub(super) blob: Digest,
    pub(super) blob_size: u64,
    /// Where the blob says what is in it, if it does.
    pub(super) chunked: Option<Position>,
}

/// Match the layers of the manifest with the diff_ids of the configuration.
pub(super) fn wanted(
    manifest: &ImageManifest,
    diff_ids: Vec<Digest>,
) -> Result<Vec<Wanted>, Error> {
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
            let blob = digest_of(d)?;
            let chunked = match d.annotations() {
                None => None,
                Some(annotations) => Position::of(annotations, d.size()).unwrap_or_else(|e| {
                    // Nobody needs it.
                    log::debug!("{blob} has no table of contents: {e}");
                    None
                }),
            };
            Ok(Wanted {
                diff_id,
                blob,
                blob_size: d.size(),
                chunked,
            })
        })
        .collect()
}

/// Get all layers that are not there, some at a time; the first failure stops the others. `from`: the name of the
/// repository that `source` is.
pub(super) fn fetch(
    store: &Store,
    source: &dyn Source,
    from: Option<&str>,
    wanted: &[Wanted],
    options: &Options,
    progress: &dyn Progress,
) -> Result<(), Error> {
    // Others read the blobs of a store that is shared.
    let keep = match store.shared_with() {
        Some(_) => Keep::Blob,
        None => options.keep,
    };
    let mut seen = HashSet::new();
    let mut todo: Vec<&Wanted> = Vec::new();
    let mut plan = Vec::with_capacity(wanted.len());
    for layer in wanted {
        let present = store.has_layer(&layer.diff_id)
            && (store.shared_with().is_none() || store.blobs().has(&layer.blob));
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
                from,
                layer,
                limits: &options.limits,
                keep,
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
pub(super) struct Job<'a> {
    pub(super) store: &'a Store,
    pub(super) source: &'a dyn Source,
    pub(super) from: Option<&'a str>,
    pub(super) layer: &'a Wanted,
    pub(super) limits: &'a layer::Limits,
    keep: Keep,
    pub(super) progress: &'a dyn Progress,
    pub(super) stop: &'a AtomicBool,
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
            chunked,
        } = self.layer;
        let mut ingest = self.store.blobs().ingest(blob, *blob_size, self.keep)?;
        if self.store.has_layer(diff_id)
            && (self.store.shared_with().is_none() || ingest.is_complete())
        {
            // Whoever we waited for has done it all.
            return Ok(());
        }
        let have = ingest.resume_offset();
        // Who wants the blob needs all of it.
        if let (Some(position), Keep::Nothing, 0) = (chunked, self.keep, have)
            && partial::layer(self, position, &ingest)?
        {
            return Ok(());
        }
        self.progress.begin(blob, have);
        let rest: Box<dyn Read + Send + '_> = if have == *blob_size {
            Box::new(io::empty())
        } else {
            self.source.blob(blob, *blob_size, have)?
        };
        let draft = self.store.layers().begin(diff_id)?;
        let (file, replaced) = draft.recipe();
        let recipe = layer::Recipe { file, replaced };
        let mut reader = Watched {
            inner: ingest.reader(rest),
            head: Vec::new(),
            head_max: head_max(chunked.is_some()),
            blob,
            progress: self.progress,
            stop: self.stop,
        };
        let applied = layer::apply_recorded(
            &mut reader,
            draft.dir(),
            &draft.sidecar(),
            &recipe,
            self.limits,
        );
        let applied = applied
            .map_err(Error::from_layer)
            // To the end in any case, since that is where the digest is checked.
            .and_then(|applied| match io::copy(&mut reader, &mut io::sink()) {
                Ok(_) => Ok(applied),
                Err(e) => Err(Error::from_reader(e)),
            });
        let head = std::mem::take(&mut reader.head);
        let applied = match applied {
            Ok(applied) => applied,
            Err(e) => {
                if is_content(&e) {
                    *stale = ingest.distrust()? && have > 0;
                }
                return Err(e);
            }
        };
        self.publish(draft, applied, &head)
    }

    /// Make the layer visible, if it is the one that the configuration promises. `head`: how its blob begins.
    pub(super) fn publish(
        &self,
        draft: LayerDraft,
        applied: layer::Applied,
        head: &[u8],
    ) -> Result<(), Error> {
        let Wanted { diff_id, blob, .. } = self.layer;
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
            packed: Some(Packed {
                blob: blob.clone(),
                head: base16ct::lower::encode_string(head),
                from: self.from.map(str::to_owned),
            }),
        })?;
        Ok(())
    }
}

/// Is the content of the blob to blame, and not the machine or the network?
pub(super) fn is_content(e: &Error) -> bool {
    match e {
        Error::Layer(e) => !matches!(
            e,
            layer::Error::Sys { .. }
                | layer::Error::Owners(_)
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

/// Bytes of a blob that tell what compressed it: more where the first frame holds a few headers only.
pub(super) fn head_max(chunked: bool) -> usize {
    match chunked {
        true => 2048,
        false => 64,
    }
}

/// Nothing more is read once another layer has failed.
pub(super) fn stopped() -> io::Error {
    io::Error::other("stopped: another layer has failed")
}

/// Counts what is read, remembers how it begins, and ends early when another layer has failed.
struct Watched<'a, R> {
    inner: R,
    head: Vec<u8>,
    head_max: usize,
    blob: &'a Digest,
    progress: &'a dyn Progress,
    stop: &'a AtomicBool,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(stopped());
        }
        let n = self.inner.read(buf)?;
        let missing = self.head_max - self.head.len();
        self.head.extend_from_slice(&buf[..n.min(missing)]);
        self.progress.advance(self.blob, n as u64);
        Ok(n)
    }
}
