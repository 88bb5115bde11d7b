//! Blobs: immutable files named by the digest of their content.
//!
//! A large blob arrives through [`BlobIngest`]: one pass that resumes, hashes, keeps and hands on the
//! bytes. The lock of a blob is a flock on its file, the same inode before and after it is published,
//! so that whoever waited for another process's fetch finds it done.

use std::fs::{self, File};
use std::io::{self, Read, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::error::io as failed;
use super::lock::{self, Kind};
use super::{Error, Store, atomic};
use crate::oci::{Digest, Digester};

/// How long another process may hold a blob without any byte arriving, in units of the lock timeout:
/// it may be unpacking what it has fetched.
const STALL: u32 = 20;

/// Most bytes handed on in one read, so that hashing and writing go in sensible steps.
const CHUNK_MAX: usize = 1 << 20;

/// Bytes between two signs of life of a fetch that writes nothing.
pub const PULSE: u64 = 1 << 20;

/// Directories of blobs.
const ALGORITHMS: [&str; 2] = ["sha256", "sha512"];

/// View of the store's blobs.
#[derive(Debug, Clone, Copy)]
pub struct Blobs<'a> {
    pub(super) store: &'a Store,
}

impl Blobs<'_> {
    /// Is it there? Says nothing about its content; [`Blobs::read`] checks that.
    pub fn has(&self, digest: &Digest) -> bool {
        rustix::fs::stat(self.path(digest)).is_ok()
    }

    /// Where the blob is, if it is there.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.store.root().join(relative(digest))
    }

    /// All of them: file, and the digest's hexadecimal digits as its name has them.
    pub(super) fn entries(&self) -> Result<Vec<(PathBuf, String)>, Error> {
        let mut entries = Vec::new();
        for algorithm in ALGORITHMS {
            let dir = self.store.path("blobs").join(algorithm);
            let names = atomic::names(&dir)?;
            entries.extend(names.into_iter().map(|n| (dir.join(&n), n)));
        }
        Ok(entries)
    }

    /// Bytes that it takes; `None` when it is not there.
    pub fn size(&self, digest: &Digest) -> Option<u64> {
        let stat = rustix::fs::stat(self.path(digest)).ok()?;
        u64::try_from(stat.st_size).ok()
    }

    /// The content, checked against the digest. `max`: most bytes the caller takes.
    pub fn read(&self, digest: &Digest, max: u64) -> Result<Vec<u8>, Error> {
        let path = self.path(digest);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(Error::BlobMissing(digest.clone()));
            }
            Err(e) => return Err(failed("open", &path)(e)),
        };
        let size = file.metadata().map_err(failed("stat", &path))?.len();
        if size > max {
            return Err(Error::BlobTooLarge {
                digest: digest.clone(),
                size,
                max,
            });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        file.read_to_end(&mut bytes)
            .map_err(failed("read", &path))?;
        let mut digester = Digester::new(digest.algorithm());
        digester.update(&bytes);
        let actual = digester.finish();
        if actual != *digest {
            return Err(Error::BlobCorrupt {
                digest: digest.clone(),
                actual,
            });
        }
        Ok(bytes)
    }

    /// Keep a small document (manifest, config), synced. What has that name already is replaced: it
    /// can only be the same, or damaged.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, Error> {
        let digest = Digest::of(bytes);
        self.put_as(&digest, bytes)?;
        Ok(digest)
    }

    /// The same for a document with a given digest, which may be a SHA-512.
    pub fn put_as(&self, digest: &Digest, bytes: &[u8]) -> Result<(), Error> {
        let mut digester = Digester::new(digest.algorithm());
        digester.update(bytes);
        let actual = digester.finish();
        if actual != *digest {
            return Err(Error::WrongDigest {
                digest: digest.clone(),
                actual,
            });
        }
        let path = self.path(digest);
        // On a full disk what is there must do.
        if atomic::read_file(&path)?.is_some_and(|have| have == bytes) {
            return Ok(());
        }
        let mut draft = atomic::DraftFile::new(&self.store.tmp(), "file")?;
        draft.write(bytes)?;
        draft.publish(self.store, &path)
    }

    /// Hash the file from its start, and say whether it is what its name promises.
    pub fn is_sound(&self, digest: &Digest) -> Result<bool, Error> {
        let path = self.path(digest);
        let file = File::open(&path).map_err(failed("open", &path))?;
        let actual = hash_file(&file, digest).map_err(failed("read", &path))?;
        Ok(actual == *digest)
    }

    /// Start to fetch a blob of `size` bytes, or go on where a dead process stopped. Waits while
    /// another process fetches the same, as long as its file grows.
    ///
    /// With [`Keep::Nothing`] the blob is only read and checked: nothing of it is written to disk, so
    /// an attempt that dies starts anew.
    pub fn ingest(&self, digest: &Digest, size: u64, keep: Keep) -> Result<BlobIngest, Error> {
        let target = self.path(digest);
        let kind = match keep {
            Keep::Blob => "partial",
            Keep::Nothing => "fetch",
        };
        let partial = self.store.tmp().join(format!(
            "{kind}-{}-{}",
            digest.algorithm().name(),
            digest.hex()
        ));
        let limit = self.store.timeout.saturating_mul(STALL);
        loop {
            let (path, published, flags) = if self.has(digest) {
                (&target, true, OFlags::RDONLY)
            } else {
                (&partial, false, OFlags::RDWR | OFlags::CREATE)
            };
            let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let fd = match rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR) {
                Ok(fd) => fd,
                Err(Errno::NOENT) if published => continue,
                Err(e) => return Err(failed("open", path)(e)),
            };
            let file = File::from(fd);
            let length = || file.metadata().map_or(0, |m| m.len());
            lock::wait(&file, path, Kind::Exclusive, limit, length)?;
            if !lock::still_named(&file, path) {
                continue;
            }
            let mut have = file.metadata().map_err(failed("stat", path))?.len();
            if published && have != size {
                // Either the file is damaged, or a manifest lies about the size: a lie must not
                // cost other images their blob.
                if hash_file(&file, digest).map_err(failed("read", path))? == *digest {
                    return Err(Error::WrongSize {
                        digest: digest.clone(),
                        have,
                        want: size,
                    });
                }
                atomic::unlink(path)?;
                continue;
            }
            if have > size || (keep == Keep::Nothing && !published) {
                file.set_len(0).map_err(failed("truncate", path))?;
                have = 0;
            }
            return Ok(BlobIngest {
                store: self.store.clone(),
                digest: digest.clone(),
                size,
                file,
                path: path.clone(),
                target,
                have,
                published,
                keep,
            });
        }
    }
}

/// Where a blob is in a store.
pub(super) fn relative(digest: &Digest) -> PathBuf {
    ["blobs", digest.algorithm().name(), digest.hex()]
        .iter()
        .collect()
}

pub(super) fn hash_file(mut file: &File, like: &Digest) -> io::Result<Digest> {
    let mut digester = Digester::new(like.algorithm());
    let mut buffer = vec![0u8; 128 << 10];
    file.seek(io::SeekFrom::Start(0))?;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(digester.finish()),
            n => digester.update(&buffer[..n]),
        }
    }
}

/// A blob on its way in, locked until dropped. Dropped half-way, what has arrived is kept for the next
/// attempt. Keep it until the layer made from it is published: then whoever waits for it finds both.
#[derive(Debug)]
pub struct BlobIngest {
    store: Store,
    digest: Digest,
    size: u64,
    file: File,
    path: PathBuf,
    target: PathBuf,
    have: u64,
    published: bool,
    keep: Keep,
}

/// What stays of a blob that was read to its end and found right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// All of it, in `blobs/`.
    Blob,
    /// Nothing: a layer is in the store unpacked, and its blob would be there for nobody to read.
    Nothing,
}

impl BlobIngest {
    /// How many bytes are there already: ask the source for what follows. Equal to the size when the
    /// blob is complete, then the source is not read (`std::io::empty()` will do).
    pub fn resume_offset(&self) -> u64 {
        self.have
    }

    /// Is the blob complete and published?
    pub fn is_complete(&self) -> bool {
        self.published
    }

    /// A sign of life for whoever waits for us, where the bytes do not come through [`reader`](Self::reader): so
    /// many have come.
    pub fn alive(&self, bytes: u64) {
        let _ = self.file.set_len(bytes);
    }

    /// The whole blob: first the bytes on disk, then those of `source`, which continues at
    /// [`resume_offset`](Self::resume_offset). All are hashed, new ones are kept. When the end of the
    /// stream has been read, digest and size are checked and the blob is published. Failures are an
    /// [`Error`] inside an `io::Error`; after a wrong digest or a failed write nothing is kept.
    pub fn reader<R: Read>(&mut self, source: R) -> IngestReader<'_, R> {
        IngestReader {
            digester: Some(Digester::new(self.digest.algorithm())),
            position: 0,
            ingest: self,
            source,
        }
    }

    /// The content makes no sense to whoever reads it, and the reader was not read to the end: forget
    /// what is on disk, so that the next attempt starts anew; if the blob is published, only when it
    /// is damaged. `true`: forgotten.
    pub fn distrust(&mut self) -> Result<bool, Error> {
        if self.published {
            let actual = hash_file(&self.file, &self.digest).map_err(failed("read", &self.path))?;
            if actual == self.digest {
                return Ok(false);
            }
        }
        self.discard();
        Ok(true)
    }

    /// The file is not what it should be: the next attempt starts anew.
    fn discard(&mut self) {
        // Emptied as well, so that a full disk has its space back at once.
        let _ = self.file.set_len(0);
        let _ = atomic::unlink(&self.path);
        self.have = 0;
    }

    fn publish(&mut self) -> Result<(), Error> {
        if !self.published && self.keep == Keep::Blob {
            if self.store.shared_with().is_some() {
                self.store.open_up(&self.file, &self.path)?;
            }
            fs::rename(&self.path, &self.target)
                .map_err(failed("rename a draft to", &self.target))?;
            self.path.clone_from(&self.target);
            self.published = true;
        }
        Ok(())
    }
}

impl Drop for BlobIngest {
    fn drop(&mut self) {
        if self.keep == Keep::Nothing && !self.published {
            // It was there for its lock only.
            let _ = atomic::unlink(&self.path);
        }
    }
}

/// See [`BlobIngest::reader`].
#[derive(Debug)]
pub struct IngestReader<'a, R> {
    ingest: &'a mut BlobIngest,
    source: R,
    /// `None` once the end was reached, in whatever way.
    digester: Option<Digester>,
    position: u64,
}

impl<R: Read> IngestReader<'_, R> {
    /// The next bytes into `buf`, 0 at the end.
    fn next(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let stored = self.ingest.have;
        if self.position < stored {
            let left = usize::try_from(stored - self.position).unwrap_or(usize::MAX);
            let want = buf.len().min(left);
            let n = self
                .ingest
                .file
                .read_at(&mut buf[..want], self.position)
                .map_err(|e| io::Error::other(failed("read", &self.ingest.path)(e)))?;
            if n == 0 {
                return Err(io::Error::other(self.truncated()));
            }
            return Ok(n);
        }
        if self.ingest.published {
            return Ok(0);
        }
        let n = self.source.read(buf)?;
        let end = self.position + n as u64;
        if end > self.ingest.size {
            self.ingest.discard();
            return Err(io::Error::other(Error::Overlong {
                digest: self.ingest.digest.clone(),
                want: self.ingest.size,
            }));
        }
        if self.ingest.keep == Keep::Nothing {
            // Whoever waits for us sees the length grow.
            if end / PULSE > self.position / PULSE {
                let _ = self.ingest.file.set_len(end);
            }
            return Ok(n);
        }
        if let Err(e) = self.ingest.file.write_all_at(&buf[..n], self.position) {
            self.ingest.discard();
            return Err(io::Error::other(failed("write", &self.ingest.path)(e)));
        }
        self.ingest.have = end;
        Ok(n)
    }

    fn finish(&mut self, digester: Digester) -> Result<(), Error> {
        if self.position < self.ingest.size {
            return Err(self.truncated());
        }
        let actual = digester.finish();
        if actual != self.ingest.digest {
            let digest = self.ingest.digest.clone();
            let damaged = self.ingest.published;
            self.ingest.discard();
            return Err(if damaged {
                Error::BlobCorrupt { digest, actual }
            } else {
                Error::WrongDigest { digest, actual }
            });
        }
        self.ingest.publish()
    }

    fn truncated(&self) -> Error {
        Error::Truncated {
            digest: self.ingest.digest.clone(),
            have: self.position,
            want: self.ingest.size,
        }
    }
}

impl<R: Read> Read for IngestReader<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(mut digester) = self.digester.take() else {
            return Ok(0);
        };
        if buf.is_empty() {
            self.digester = Some(digester);
            return Ok(0);
        }
        let most = buf.len().min(CHUNK_MAX);
        let n = match self.next(&mut buf[..most]) {
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {
                self.digester = Some(digester);
                return Err(e);
            }
            Err(e) => return Err(e),
        };
        if n == 0 {
            self.finish(digester).map_err(io::Error::other)?;
        } else {
            digester.update(&buf[..n]);
            self.position += n as u64;
            self.digester = Some(digester);
        }
        Ok(n)
    }
}
