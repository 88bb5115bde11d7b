//! One image on its way to a registry: each layer's blob from where it can be had, then the documents.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};

use oci_spec::image::{Descriptor, ImageManifest};

use super::{Kind, Options, Pushed};
use crate::layer::{Compression, chunked};
use crate::oci::{self, Digest, Digester, ManifestError, Reference, layer_compression};
use crate::ops::commit::Format;
use crate::ops::list::Named;
use crate::ops::outgoing::{Blob, Described, Documents, Outgoing, documents};
use crate::ops::progress::{Planned, Progress};
use crate::ops::{Error, jobs, stored};
use crate::registry::{self, Client, Upload};
use crate::store::{self, ImageLayer, ImageRecord, Store};

/// Layers at a time.
const JOBS: usize = 4;

/// One image on its way. The caller keeps in the store what it needs.
pub(super) struct Image<'a> {
    store: &'a Store,
    image: &'a ImageRecord,
    reference: &'a Reference,
    client: &'a Client,
    options: &'a Options,
    progress: &'a dyn Progress,
    manifest: (Vec<u8>, ImageManifest),
    /// Layers whose own blob could not be had.
    anew: Mutex<Vec<Digest>>,
}

impl<'a> Image<'a> {
    pub(super) fn new(
        store: &'a Store,
        image: &'a ImageRecord,
        reference: &'a Reference,
        client: &'a Client,
        options: &'a Options,
        progress: &'a dyn Progress,
    ) -> Result<Self, Error> {
        let zstd = matches!(options.compression, Some(Kind::Zstd | Kind::ZstdChunked));
        if options.format == Some(Format::Docker) && zstd {
            return Err(Error::DockerZstd);
        }
        if reference.digest().is_some() {
            return Err(Error::PushDigest(reference.clone()));
        }
        let bytes = stored::manifest(store, image)?;
        let parsed = serde_json::from_slice(&bytes).map_err(ManifestError::from)?;
        Ok(Self {
            store,
            image,
            reference,
            client,
            options,
            progress,
            manifest: (bytes, parsed),
            anew: Mutex::default(),
        })
    }

    /// Under the name that it was to have.
    pub(super) fn push(self) -> Result<Pushed, Error> {
        let pushed = self.bring().and_then(|documents| {
            let (digest, manifest) = documents.manifest;
            self.put(self.reference, &manifest, &documents.media_type)?;
            Ok(Pushed {
                reference: self.reference.clone(),
                digest,
            })
        });
        for notice in self.client.take_notices() {
            self.progress.warn(&notice.to_string());
        }
        pushed
    }

    /// Under its digest alone, as an entry of a list.
    pub(super) fn push_nameless(&self) -> Result<Named, Error> {
        let documents = self.bring()?;
        let (digest, manifest) = documents.manifest;
        let name = self.reference.with_digest(digest.clone());
        self.put(&name, &manifest, &documents.media_type)?;
        Ok(Named {
            digest,
            size: manifest.len() as u64,
            media_type: documents.media_type,
        })
    }

    fn put(&self, name: &Reference, manifest: &[u8], media_type: &str) -> Result<(), Error> {
        self.client.put_manifest(name, manifest, media_type)?;
        Ok(())
    }

    /// All but the manifest, which is to go last.
    fn bring(&self) -> Result<Documents, Error> {
        let config = stored::config(self.store, &self.image.id)?;
        let layers = self.layers()?;
        let own = &self.image.manifest;
        let manifest = self.manifest.0.clone();
        let documents = documents(config, manifest, &layers, self.options.format)?;
        let (id, config) = &documents.config;
        if !self.client.has_blob(self.reference, id)? {
            let upload = Upload {
                digest: id,
                size: config.len() as u64,
                open: &|offset| {
                    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
                    Ok(Box::new(config.get(offset..).unwrap_or_default()))
                },
                progress: &|_| {},
            };
            self.client.push_blob(self.reference, &upload)?;
        }
        let digest = &documents.manifest.0;
        let anew = self.anew.lock().unwrap_or_else(PoisonError::into_inner);
        if !anew.is_empty() {
            self.progress.warn(&format!(
                "{} of {} layers were compressed anew, since neither the store nor a registry that they came from has their \
                 compressed form: the manifest has the digest {digest}, and not {own}",
                anew.len(),
                layers.len(),
            ));
        }
        drop(anew);
        Ok(documents)
    }

    /// All layers, some at a time; the first failure stops the others.
    fn layers(&self) -> Result<Vec<Described>, Error> {
        let mut todo: Vec<(&ImageLayer, Option<Compression>)> = Vec::new();
        let mut plan = Vec::new();
        for (layer, descriptor) in self.image.layers.iter().zip(self.manifest.1.layers()) {
            // An image may have the same layer twice.
            if todo.iter().all(|(l, _)| l.blob != layer.blob) {
                todo.push((layer, self.wanted(descriptor)?));
                plan.push(Planned {
                    digest: layer.blob.clone(),
                    size: layer.blob_size,
                    present: false,
                });
            }
        }
        self.progress.plan(&plan);
        // The largest first, as for a pull.
        todo.sort_by_key(|(l, _)| std::cmp::Reverse(l.blob_size));
        let done = jobs::each(JOBS, &todo, |(layer, compression)| {
            Ok((&layer.blob, self.layer(layer, *compression)?))
        })?;
        let done: HashMap<&Digest, Described> = done.into_iter().collect();
        let all = self.image.layers.iter();
        Ok(all.filter_map(|l| done.get(&l.blob).cloned()).collect())
    }

    /// How a layer is to be compressed, if not as it is.
    fn wanted(&self, descriptor: &Descriptor) -> Result<Option<Compression>, Error> {
        let Options {
            compression,
            level,
            force,
            format,
            ..
        } = self.options;
        let is = layer_compression(descriptor)?;
        let annotations = descriptor.annotations().as_ref();
        let has_table = || annotations.is_some_and(|a| a.contains_key(chunked::TOC_POSITION));
        let same = |kind: &Kind| match (kind, is) {
            (Kind::Gzip, oci::Compression::Gzip) | (Kind::Zstd, oci::Compression::Zstd) => true,
            (Kind::ZstdChunked, oci::Compression::Zstd) => has_table(),
            _ => false,
        };
        Ok(match compression {
            Some(kind) if !same(kind) || *force || level.is_some() => Some(kind.with(*level)),
            Some(_) => None,
            // Docker's manifest has no type for zstd.
            None if *format == Some(Format::Docker) && is == oci::Compression::Zstd => {
                Some(Compression::default())
            }
            None => None,
        })
    }

    fn layer(&self, layer: &ImageLayer, wanted: Option<Compression>) -> Result<Described, Error> {
        let outgoing = Outgoing {
            store: self.store,
            layer,
        };
        let (blob, digest) = match wanted {
            Some(compression) => (outgoing.anew(compression, self.progress)?, None),
            None if self.original(&outgoing)? => {
                return Ok(Described {
                    digest: layer.blob.clone(),
                    size: layer.blob_size,
                    diff_id: layer.diff_id.clone(),
                    made: None,
                    annotations: None,
                });
            }
            None => {
                let blob = outgoing.anew(Compression::anew(), self.progress)?;
                (blob, Some(layer.blob.clone()))
            }
        };
        if matches!(blob.made, Some(Compression::ZstdChunked { .. })) && blob.annotations.is_none()
        {
            self.progress.warn(&format!(
                "layer {} has files that a table of contents cannot describe (sparse, or with a name that is not \
                 UTF-8): it is compressed with zstd, and without one",
                layer.diff_id.short(),
            ));
        }
        let mut anew = self.anew.lock().unwrap_or_else(PoisonError::into_inner);
        anew.extend(digest);
        drop(anew);
        match self.client.has_blob(self.reference, &blob.digest)? {
            true => self.progress.skip(&layer.blob),
            false => self.send(layer, &blob)?,
        }
        Ok(Described::from(&blob))
    }

    /// Bring the layer's own blob there; `false` if it cannot be had.
    fn original(&self, outgoing: &Outgoing<'_>) -> Result<bool, Error> {
        let layer = outgoing.layer;
        if self.client.has_blob(self.reference, &layer.blob)? {
            self.progress.skip(&layer.blob);
            return Ok(true);
        }
        if let Some(kept) = outgoing.kept()? {
            return self.send(layer, &kept).map(|()| true);
        }
        let sources = outgoing.sources(self.image)?;
        let sources: Vec<Reference> = (sources.iter())
            .filter(|name| **name != self.reference.name())
            .filter_map(|name| name.parse().ok())
            .collect();
        for source in &sources {
            if source.registry() == self.reference.registry()
                && (self.client).mount(self.reference, &layer.blob, source.repository())?
            {
                self.progress.done(&layer.blob);
                return Ok(true);
            }
        }
        if let Some(again) = outgoing.again()? {
            return self.send(layer, &again).map(|()| true);
        }
        for source in &sources {
            match self.hand_through(layer, source) {
                Ok(()) => return Ok(true),
                Err(e @ registry::Error::Source { .. }) => {
                    log::debug!("{source} does not give {}: {e}", layer.blob);
                }
                Err(e) => return Err(e.into()),
            }
        }
        Ok(false)
    }

    /// From the registry that the image came from, without touching the disk.
    fn hand_through(&self, layer: &ImageLayer, source: &Reference) -> Result<(), registry::Error> {
        let (digest, size) = (&layer.blob, layer.blob_size);
        // Whether it is there is known before the upload begins.
        let first = match self.client.blob(source, digest, size, 0) {
            Ok(blob) => Mutex::new(Some(blob)),
            Err(source) => {
                return Err(registry::Error::Source {
                    what: digest.to_string(),
                    source: source.into(),
                });
            }
        };
        let open = |offset: u64| -> io::Result<Box<dyn Read>> {
            let begun = match offset {
                0 => first.lock().unwrap_or_else(PoisonError::into_inner).take(),
                _ => None,
            };
            let blob = match begun {
                Some(blob) => blob,
                None => self.client.blob(source, digest, size, offset)?,
            };
            // The rest of a blob has no digest: the registry that gets it checks it.
            Ok(match offset {
                0 => Box::new(Checked::new(blob, digest, size)),
                _ => Box::new(blob),
            })
        };
        self.progress.begin(digest, 0);
        self.client.push_blob(
            self.reference,
            &Upload {
                digest,
                size,
                open: &open,
                progress: &|n| self.progress.advance(digest, n),
            },
        )?;
        self.progress.done(digest);
        Ok(())
    }

    fn send(&self, layer: &ImageLayer, blob: &Blob) -> Result<(), Error> {
        self.progress.begin(&layer.blob, 0);
        let upload = Upload {
            digest: &blob.digest,
            size: blob.size,
            open: &|offset| {
                let mut reader = blob.reader()?;
                // What went before is hashed again.
                io::copy(&mut (&mut reader).take(offset), &mut io::sink())?;
                Ok(Box::new(reader))
            },
            progress: &|n| self.progress.advance(&layer.blob, n),
        };
        self.client.push_blob(self.reference, &upload)?;
        self.progress.done(&layer.blob);
        Ok(())
    }
}

/// Hashes what another registry sends; the last bytes are an error if they are not what was promised.
pub(in crate::ops) struct Checked<R> {
    inner: R,
    left: u64,
    digester: Digester,
    want: Digest,
}

impl<R> Checked<R> {
    pub(in crate::ops) fn new(inner: R, want: &Digest, size: u64) -> Self {
        Self {
            inner,
            left: size,
            digester: Digester::new(want.algorithm()),
            want: want.clone(),
        }
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.digester.update(&buf[..n]);
        self.left = self.left.saturating_sub(n as u64);
        if n > 0 && self.left == 0 {
            let actual = self.digester.clone().finish();
            if actual != self.want {
                let digest = self.want.clone();
                return Err(io::Error::other(store::Error::WrongDigest {
                    digest,
                    actual,
                }));
            }
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_of_a_registry_is_checked_before_its_last_byte_leaves() {
        let read = |want: &[u8]| {
            let mut out = Vec::new();
            let result =
                Checked::new(&b"the bytes"[..], &Digest::of(want), 9).read_to_end(&mut out);
            (result.is_ok(), out.len())
        };
        assert_eq!(read(b"the bytes"), (true, 9));
        let (ok, len) = read(b"other bytes");
        assert!(!ok && len < 9);
    }
}
