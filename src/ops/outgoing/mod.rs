//! The way out for every image: its layers' blobs, the ones that its manifest names if they can be had, and the
//! documents that fit the blobs.
//!
//! A layer whose blob was not kept is made again from its tree and the recipe of its tar, and compressed by what its
//! first bytes say had compressed it. If that was an encoder of ours, blob, manifest and digests are what they were.
//! If not (Go's, say, with which docker, podman and buildah compress), the tar is what it was, and with it the
//! configuration and the image's id; blob and manifest are new. A layer of an older store, which has no recipe, is
//! packed from its tree: it says the same in other bytes, and the image gets another id.

mod documents;

use std::fs::File;
use std::io::{self, Read, Seek as _, Write};
use std::sync::mpsc::{self, Receiver, SyncSender};

pub(super) use documents::{Described, Documents, documents};

use super::Error;
use super::progress::Progress;
use super::written::tell;
use crate::layer::chunked::Annotations;
use crate::layer::pack::{self, Tree, What, pack};
use crate::layer::{Compression, RebuildError, Recipe, Sink, Sums, rebuild};
use crate::oci::{Digest, Digester};
use crate::store::{self, ImageLayer, ImageRecord, Packed, Store};

/// Of a tar, this much tells whether an encoder is the one that made a blob.
const PREFIX: usize = 1 << 20;

/// Bytes of a tar that go from one thread to the next at once, and how often before it is waited.
const PIECE: usize = 256 << 10;
const QUEUE: usize = 4;

/// Most repositories that are asked for one blob.
const SOURCES_MAX: usize = 20;

/// A layer's blob, to be read from its start.
#[derive(Debug)]
pub(super) struct Blob {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) diff_id: Digest,
    pub(super) file: File,
    /// How it is compressed, if it was made just now.
    pub(super) made: Option<Compression>,
    /// What the manifest is to say of it, if it was made with a table of contents.
    pub(super) annotations: Option<Annotations>,
}

impl Blob {
    /// All bytes; the last ones are an error if they are not what the digest says.
    pub(super) fn reader(&self) -> io::Result<Checked> {
        let mut file = self.file.try_clone()?;
        file.rewind()?;
        Ok(Checked {
            file,
            digester: Digester::new(self.digest.algorithm()),
            left: self.size,
            want: self.digest.clone(),
        })
    }
}

/// See [`Blob::reader`]. A clone of a file shares its position: one reader at a time.
#[derive(Debug)]
pub(super) struct Checked {
    file: File,
    digester: Digester,
    left: u64,
    want: Digest,
}

impl Read for Checked {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let max = usize::try_from(self.left).map_or(buf.len(), |left| left.min(buf.len()));
        if max == 0 {
            return Ok(0);
        }
        let n = self.file.read(&mut buf[..max])?;
        self.digester.update(&buf[..n]);
        self.left -= n as u64;
        if n == 0 || self.left == 0 {
            let actual = self.digester.clone().finish();
            if actual != self.want {
                let digest = self.want.clone();
                return Err(io::Error::other(store::Error::BlobCorrupt {
                    digest,
                    actual,
                }));
            }
        }
        Ok(n)
    }
}

/// A layer on its way out.
pub(super) struct Outgoing<'a> {
    pub(super) store: &'a Store,
    pub(super) layer: &'a ImageLayer,
}

impl Outgoing<'_> {
    /// The blob that the manifest names, from the store or one that others share.
    pub(super) fn kept(&self) -> Result<Option<Blob>, Error> {
        let ImageLayer { blob, diff_id, .. } = self.layer;
        let file = if self.store.blobs().has(blob) {
            let path = self.store.blobs().path(blob);
            Some(File::open(&path).map_err(|e| Error::file("open", &path, e))?)
        } else {
            let shared = self.store.additional().iter();
            let mut shared = shared.filter_map(|a| a.blob(blob).transpose());
            shared.next().transpose()?
        };
        Ok(file.map(|file| Blob {
            digest: blob.clone(),
            size: self.layer.blob_size,
            diff_id: diff_id.clone(),
            file,
            made: None,
            annotations: None,
        }))
    }

    /// The blob that the manifest names, made again: if one of our encoders made it.
    pub(super) fn again(&self) -> Result<Option<Blob>, Error> {
        let ImageLayer { blob, diff_id, .. } = self.layer;
        let Some(recipe) = self.recipe() else {
            return Ok(None);
        };
        if blob == diff_id {
            let made = self.rebuilt(&recipe, Compression::None)?;
            return Ok(Some(made));
        }
        let info = self.store.layers().info(diff_id)?;
        let Some((
            Packed {
                blob: from, head, ..
            },
            tar_bytes,
        )) = info.and_then(|info| Some((info.packed?, info.tar_bytes)))
        else {
            return Ok(None);
        };
        let head = base16ct::lower::decode_vec(&head).unwrap_or_default();
        let mut candidates = Compression::candidates(&head, tar_bytes);
        // Unpacked from another blob with the same tar: that one's beginning says nothing of this one.
        if from != *blob || candidates.is_empty() {
            return Ok(None);
        }
        let mut prefix = Prefix(Vec::with_capacity(PREFIX));
        let whole = match self.tar(&recipe, &mut prefix) {
            Ok(()) => true,
            Err(RebuildError::Output(_)) if prefix.0.len() == PREFIX => false,
            Err(e) => return Err(e.into()),
        };
        candidates.retain(|c| c.begins(&prefix.0, whole, &head));
        drop(prefix);
        for candidate in candidates {
            let made = self.rebuilt(&recipe, candidate)?;
            if made.digest == *blob {
                return Ok(Some(made));
            }
        }
        Ok(None)
    }

    /// Another blob of the same layer.
    pub(super) fn anew(
        &self,
        compression: Compression,
        progress: &dyn Progress,
    ) -> Result<Blob, Error> {
        if let Some(recipe) = self.recipe() {
            return self.rebuilt(&recipe, compression);
        }
        let diff_id = &self.layer.diff_id;
        let spool = self.store.spool()?;
        let tree = Tree::layer(
            self.store.layer_path(diff_id),
            self.store.layers().owners(diff_id),
        );
        let what = What::Layer { tree, below: None };
        let options = pack::Options {
            compression,
            ..pack::Options::default()
        };
        let packed = match pack(&what, &spool, &options) {
            Err(pack::Error::Output(e)) => return Err(self.store.spool_failed(e).into()),
            packed => packed?,
        };
        tell(&packed.notes, progress);
        Ok(Blob {
            digest: packed.blob,
            size: packed.blob_size,
            diff_id: packed.diff_id,
            file: spool,
            made: Some(compression),
            annotations: packed.annotations,
        })
    }

    /// Repositories that had the blob: those of `image`, the one that the layer was pulled from, and those of other
    /// images that have it, since an image that was made here has layers of the one below it.
    pub(super) fn sources(&self, image: &ImageRecord) -> Result<Vec<String>, Error> {
        let mut all = image.repositories.clone();
        let info = self.store.layers().info(&self.layer.diff_id)?;
        let packed = info.and_then(|info| info.packed);
        all.extend(
            packed
                .filter(|p| p.blob == self.layer.blob)
                .and_then(|p| p.from),
        );
        for other in self.store.images().list()? {
            if other.layers.iter().any(|l| l.blob == self.layer.blob) {
                all.extend(other.repositories);
            }
        }
        let mut seen = std::collections::HashSet::new();
        all.retain(|name| seen.insert(name.clone()));
        all.truncate(SOURCES_MAX);
        Ok(all)
    }

    fn recipe(&self) -> Option<Recipe> {
        let (file, replaced) = self.store.layers().recipe(&self.layer.diff_id)?;
        Some(Recipe { file, replaced })
    }

    fn tar(&self, recipe: &Recipe, out: impl Write) -> Result<(), RebuildError> {
        let diff_id = &self.layer.diff_id;
        rebuild(&self.store.layer_path(diff_id), recipe, diff_id, out)
    }

    /// The tar is made and checked by one thread, and compressed by this one.
    fn rebuilt(&self, recipe: &Recipe, compression: Compression) -> Result<Blob, Error> {
        let spool = self.store.spool()?;
        let full = |e| Error::from(self.store.spool_failed(e));
        let known = self.layer.diff_id.clone();
        let mut sink = Sink::of(&spool, compression, known).map_err(full)?;
        let (made, written) = std::thread::scope(|scope| {
            let (chunks, receive) = Chunks::new();
            let making = scope.spawn(move || {
                let mut chunks = chunks;
                self.tar(recipe, &mut chunks)?;
                chunks.flush().map_err(RebuildError::Output)
            });
            let mut chunks = receive.iter();
            let written = chunks.try_for_each(|chunk| sink.write_all(&chunk));
            // Whoever still makes some is told that nobody wants them.
            drop(receive);
            (making.join(), written)
        });
        written.map_err(full)?;
        match made {
            Ok(made) => made?,
            Err(panic) => std::panic::resume_unwind(panic),
        }
        let Sums {
            diff_id,
            blob,
            blob_size,
            annotations,
            ..
        } = sink.finish().map_err(full)?;
        Ok(Blob {
            digest: blob,
            size: blob_size,
            diff_id,
            file: spool,
            made: Some(compression),
            annotations,
        })
    }
}

/// Bytes on their way to another thread, in pieces.
struct Chunks {
    send: SyncSender<Vec<u8>>,
    piece: Vec<u8>,
}

impl Chunks {
    fn new() -> (Self, Receiver<Vec<u8>>) {
        let (send, receive) = mpsc::sync_channel(QUEUE);
        let piece = Vec::with_capacity(PIECE);
        (Self { send, piece }, receive)
    }
}

impl Write for Chunks {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = buf.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&buf[..n]);
        if self.piece.len() == PIECE {
            self.flush()?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        let gone = |_| io::ErrorKind::BrokenPipe.into();
        self.send.send(piece).map_err(gone)
    }
}

/// The beginning of a tar; an error when it is full.
struct Prefix(Vec<u8>);

impl Write for Prefix {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = buf.len().min(PREFIX - self.0.len());
        if n == 0 && !buf.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.extend_from_slice(&buf[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
