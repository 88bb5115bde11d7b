//! Of a layer whose blob has a table of contents ([`chunked`]), only what is not here.
//!
//! The files that other layers of the store have come from there, the others and the rest of the tar by requests for
//! parts of the blob. What comes of it is the layer's plain tar, which is unpacked as any other and is published
//! for the same reason: it has the diff_id that the configuration promises. So nothing is believed here, and whatever
//! goes wrong with the contents costs a second try with the whole blob.
//!
//! The digest of the blob is not checked, since nobody sees all of the blob. What the store says of it (how it begins,
//! where it came from) helps to find or to make it again, and that is checked there.

use std::collections::HashSet;
use std::error::Error as _;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Error;
use super::layers::{Job, Wanted, head_max, stopped};
use super::parts::Fetch;
use crate::layer::chunked::{self, Position, Tar, Toc};
use crate::layer::{self, Recipe};
use crate::oci::Digest;
use crate::store::{BlobIngest, Lease, PULSE};

/// Blobs that are smaller come whole: two requests for the tables would cost more.
const SMALL: u64 = 128 << 10;
/// So do those of which this many percent would be fetched,
const MOST: u64 = 70;
/// and those that would need more requests.
const RANGES_MAX: usize = 4000;

/// Fetch a layer in parts; `false` if it is to be fetched whole.
pub(super) fn layer(
    job: &Job<'_>,
    position: &Position,
    ingest: &BlobIngest,
) -> Result<bool, Error> {
    let e = match attempt(job, position, ingest) {
        Ok(done) => return Ok(done),
        Err(e) => e,
    };
    let blob = &job.layer.blob;
    match &e {
        _ if job.stop.load(Ordering::Relaxed) => return Err(e),
        // A full disk stays full.
        Error::Layer(layer::Error::Sys { .. } | layer::Error::Recipe { .. })
        | Error::Layer(layer::Error::Owners(_) | layer::Error::Thread(_))
        | Error::Store(_) => return Err(e),
        // What is no matter of contents is for the whole blob to fail at, and seldom does.
        Error::Registry(_) => log::debug!("{blob} comes whole: {e}"),
        _ => {
            let mut why = e.to_string();
            let mut source = e.source();
            while let Some(e) = source {
                why = format!("{why}: {e}");
                source = e.source();
            }
            job.progress.warn(&format!(
                "the table of contents of layer {} is of no use, so the layer is fetched whole: {why}",
                blob.short()
            ));
        }
    }
    Ok(false)
}

fn attempt(job: &Job<'_>, position: &Position, ingest: &BlobIngest) -> Result<bool, Error> {
    let Wanted {
        diff_id,
        blob,
        blob_size,
        ..
    } = job.layer;
    let size = *blob_size;
    if size < SMALL {
        return Ok(false);
    }
    let (layers, _lease) = others(job)?;
    if layers.is_empty() {
        return Ok(false);
    }
    let fetch = Fetch {
        source: job.source,
        blob,
        size,
        progress: job.progress,
        stop: job.stop,
    };
    let Some(section) = fetch.part(&position.toc.at)? else {
        return Ok(false);
    };
    let content = |e: chunked::Error| Error::Layer(e.into());
    let toc = Toc::read(&section, position, job.limits.max_bytes).map_err(content)?;
    drop(section);
    let found = chunked::find(toc.files(), layers);
    let missing = toc.files().iter().enumerate();
    let missing: Vec<_> = (missing.filter(|(i, _)| !found.has(*i)))
        .map(|(_, file)| file.at.clone())
        .collect();
    let ranges = chunked::wanted(&missing);
    drop(missing);
    let head = 0..size.min(head_max(true) as u64);
    let all = ranges.iter().chain([&head, &position.split.at]);
    let bytes: u64 = all.map(|r| r.end - r.start).sum();
    log::debug!(
        "{blob}: {bytes} of {size} bytes are missing, in {} ranges",
        ranges.len()
    );
    if bytes > size / 100 * MOST || ranges.len() > RANGES_MAX {
        return Ok(false);
    }
    job.progress.partly(blob, size - bytes);
    let (Some(head), Some(split)) = (fetch.part(&head)?, fetch.part(&position.split.at)?) else {
        return Ok(false);
    };
    let draft = job.store.layers().begin(diff_id)?;
    let (file, replaced) = draft.recipe();
    let recipe = Recipe { file, replaced };
    let applied = fetch.ahead(&ranges, |parts| {
        let tar = Tar::open(&toc, position, &split, &found, parts)?;
        let reader = Alive {
            tar,
            bytes: 0,
            ingest,
            stop: job.stop,
        };
        let (dir, sidecar) = (draft.dir(), draft.sidecar());
        layer::apply_recorded(reader, dir, &sidecar, &recipe, job.limits)
    });
    job.publish(draft, applied.map_err(Error::from_layer)?, &head)?;
    Ok(true)
}

/// Trees and recipes of the layers in which files may be, those of images from the same repository first; they are not
/// collected as long as the lease is held.
fn others(job: &Job<'_>) -> Result<(Vec<(PathBuf, PathBuf)>, Lease), Error> {
    // What is wrong with other images is no matter of this one.
    let mut images = job.store.images().list().unwrap_or_else(|e| {
        log::debug!("no image is looked through: {e}");
        Vec::new()
    });
    let other =
        |repositories: &[String]| !repositories.iter().any(|r| Some(r.as_str()) == job.from);
    images.sort_by_key(|image| other(&image.repositories));
    let mut seen = HashSet::new();
    let mut ids: Vec<&Digest> = Vec::new();
    for image in &images {
        // The topmost layers change most often.
        ids.extend(image.diff_ids().rev().filter(|id| seen.insert(*id)));
    }
    let lease = job.store.lease(ids.iter().copied())?;
    let layers = ids.iter().filter_map(|id| {
        let (recipe, _) = job.store.layers().recipe(id)?;
        Some((job.store.layer_path(id), recipe))
    });
    Ok((layers.collect(), lease))
}

/// The tar, with a sign of life now and then, and an early end when another layer has failed.
struct Alive<'a, T> {
    tar: T,
    bytes: u64,
    ingest: &'a BlobIngest,
    stop: &'a AtomicBool,
}

impl<T: Read> Read for Alive<'_, T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(stopped());
        }
        let n = self.tar.read(buf)?;
        let end = self.bytes + n as u64;
        if end / PULSE > self.bytes / PULSE {
            self.ingest.alive(end);
        }
        self.bytes = end;
        Ok(n)
    }
}
