//! The way out of a tar: hashed, compressed, hashed again and counted, in one pass.

use std::io::{self, Write};
use std::num::NonZero;

use flate2::write::DeflateEncoder;
use flate2::{Compression as Level, Crc};

use super::super::chunked;
use super::Compression;
use super::members::{self, Members};
use crate::oci::{Algorithm, Digest, Digester};

/// Counts and hashes what goes through.
struct Hashed<W> {
    out: W,
    hash: Digester,
    bytes: u64,
}

impl<W> Hashed<W> {
    fn new(out: W) -> Self {
        Self {
            out,
            hash: Digester::new(Algorithm::Sha256),
            bytes: 0,
        }
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.out.write(buf)?;
        self.hash.update(&buf[..n]);
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

enum Encoder<W: Write> {
    Plain(W),
    Gzip(Box<Members<Hashed<W>>>),
    Zlib(Box<Zlib<Hashed<W>>>),
    Zstd(Box<zstd::stream::write::Encoder<'static, Hashed<W>>>),
    Chunked(Box<chunked::Writer<Hashed<W>>>),
}

/// By hand, since the library's own writer makes its own header.
struct Zlib<W: Write> {
    data: DeflateEncoder<W>,
    crc: Crc,
}

/// Bytes that an encoder gets at a time.
pub(super) const BLOCK: usize = 128 << 10;

/// The way out of a tar. It arrives in whatever pieces a pipe makes of it; what an encoder makes of it depends
/// on the pieces in which it gets it, so all but the last have one size.
pub struct Sink<W: Write> {
    out: Encoder<W>,
    diff_id: DiffId,
    bytes: u64,
    block: Vec<u8>,
    full: usize,
}

/// Of the tar.
enum DiffId {
    Sought(Box<Digester>),
    Known(Digest),
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sums {
    /// Digest of the tar.
    pub diff_id: Digest,
    /// Bytes of the tar.
    pub tar_bytes: u64,
    /// Digest of what was written.
    pub blob: Digest,
    /// Bytes written.
    pub blob_size: u64,
    /// What the manifest is to say of the blob, if it has a table of contents.
    pub annotations: Option<chunked::Annotations>,
}

impl<W: Write> Encoder<W> {
    fn new(out: W, compression: Compression, threads: usize) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::Plain(out),
            Compression::Gzip { level } => {
                let members = Members::new(Hashed::new(out), level, threads)?;
                Self::Gzip(Box::new(members))
            }
            Compression::Zlib { level, header } => {
                let mut out = Hashed::new(out);
                out.write_all(&header)?;
                Self::Zlib(Box::new(Zlib {
                    data: DeflateEncoder::new(out, Level::new(level)),
                    crc: Crc::new(),
                }))
            }
            Compression::Zstd {
                level,
                checksum,
                size,
            } => {
                let mut zstd = zstd::stream::write::Encoder::new(Hashed::new(out), level)?;
                zstd.include_checksum(checksum)?;
                zstd.set_pledged_src_size(size)?;
                Self::Zstd(Box::new(zstd))
            }
            Compression::ZstdChunked { level } => {
                Self::Chunked(Box::new(chunked::Writer::new(Hashed::new(out), level)?))
            }
        })
    }

    /// All of `block`, which is empty afterwards.
    fn block(&mut self, block: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.write_all(block)?,
            Self::Gzip(out) => return out.block(block),
            Self::Zlib(out) => {
                out.data.write_all(block)?;
                out.crc.update(block);
            }
            Self::Zstd(out) => out.write_all(block)?,
            Self::Chunked(out) => out.write_all(block)?,
        }
        block.clear();
        Ok(())
    }
}

impl<W: Write> Sink<W> {
    /// A way out to `out`.
    pub fn new(out: W, compression: Compression) -> io::Result<Self> {
        // Of the cores that this process may use.
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self::with_threads(out, compression, threads)
    }

    /// The same for a tar whose digest is checked by who brings it, and need not be sought again.
    pub fn of(out: W, compression: Compression, diff_id: Digest) -> io::Result<Self> {
        Ok(Self {
            diff_id: DiffId::Known(diff_id),
            ..Self::new(out, compression)?
        })
    }

    /// The same, by so many threads beside the caller's, where the encoder is one that can.
    pub(super) fn with_threads(
        out: W,
        compression: Compression,
        threads: usize,
    ) -> io::Result<Self> {
        let full = match compression {
            Compression::Gzip { .. } => members::BLOCK,
            _ => BLOCK,
        };
        Ok(Self {
            out: Encoder::new(out, compression, threads)?,
            diff_id: DiffId::Sought(Box::new(Digester::new(Algorithm::Sha256))),
            bytes: 0,
            block: Vec::with_capacity(full),
            full,
        })
    }

    fn count(&mut self) {
        if let DiffId::Sought(hash) = &mut self.diff_id {
            hash.update(&self.block);
        }
        self.bytes += self.block.len() as u64;
    }

    /// The tar is complete.
    pub fn finish(mut self) -> io::Result<Sums> {
        self.count();
        let bytes = self.bytes;
        let diff_id = match self.diff_id {
            DiffId::Sought(hash) => hash.finish(),
            DiffId::Known(diff_id) => diff_id,
        };
        let mut annotations = None;
        let out = match self.out {
            Encoder::Plain(mut out) => {
                out.write_all(&self.block)?;
                out.flush()?;
                return Ok(Sums {
                    blob: diff_id.clone(),
                    diff_id,
                    tar_bytes: bytes,
                    blob_size: bytes,
                    annotations,
                });
            }
            Encoder::Gzip(members) => members.finish(&mut self.block)?,
            Encoder::Zlib(mut zlib) => {
                zlib.data.write_all(&self.block)?;
                zlib.crc.update(&self.block);
                let Zlib { data, crc } = *zlib;
                let mut out = data.finish()?;
                out.write_all(&crc.sum().to_le_bytes())?;
                out.write_all(&crc.amount().to_le_bytes())?;
                out
            }
            Encoder::Zstd(mut zstd) => {
                zstd.write_all(&self.block)?;
                zstd.finish()?
            }
            Encoder::Chunked(mut chunked) => {
                chunked.write_all(&self.block)?;
                let out;
                (out, annotations) = chunked.finish()?;
                out
            }
        };
        let mut out = out;
        out.flush()?;
        Ok(Sums {
            diff_id,
            tar_bytes: bytes,
            blob: out.hash.finish(),
            blob_size: out.bytes,
            annotations,
        })
    }
}

impl<W: Write> Write for Sink<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = buf.len().min(self.full - self.block.len());
        self.block.extend_from_slice(&buf[..n]);
        if self.block.len() == self.full {
            self.count();
            self.out.block(&mut self.block)?;
        }
        Ok(n)
    }

    /// Nothing: a flush would cut the stream where it happens to come.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
