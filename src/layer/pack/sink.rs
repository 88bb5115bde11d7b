//! Where a tar goes: hashed, compressed, hashed again and counted, in one pass.

use std::io::{self, Write};

use flate2::write::GzEncoder;
use flate2::{Compression as Level, GzBuilder};

use super::Compression;
use crate::oci::{Algorithm, Digest, Digester};

/// zlib's default, as docker's and podman's.
const LEVEL: u32 = 6;

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
    Gzip(Box<GzEncoder<Hashed<W>>>),
}

/// The way out of a tar.
pub(super) struct Sink<W: Write>(Hashed<Encoder<W>>);

/// What came out.
#[derive(Debug)]
pub(super) struct Sums {
    pub(super) diff_id: Digest,
    pub(super) tar_bytes: u64,
    pub(super) blob: Digest,
    pub(super) blob_size: u64,
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(buf),
            Self::Gzip(out) => out.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.flush(),
            Self::Gzip(out) => out.flush(),
        }
    }
}

impl<W: Write> Sink<W> {
    pub(super) fn new(out: W, compression: Compression) -> Self {
        Self(Hashed::new(match compression {
            Compression::None => Encoder::Plain(out),
            // No name, no time: the same tar is the same blob.
            Compression::Gzip => Encoder::Gzip(Box::new(
                GzBuilder::new()
                    .mtime(0)
                    .write(Hashed::new(out), Level::new(LEVEL)),
            )),
        }))
    }

    pub(super) fn finish(self) -> io::Result<Sums> {
        let Hashed { out, hash, bytes } = self.0;
        let diff_id = hash.finish();
        let (blob, blob_size) = match out {
            Encoder::Plain(mut out) => {
                out.flush()?;
                (diff_id.clone(), bytes)
            }
            Encoder::Gzip(out) => {
                let mut out = out.finish()?;
                out.flush()?;
                (out.hash.finish(), out.bytes)
            }
        };
        Ok(Sums {
            diff_id,
            tar_bytes: bytes,
            blob,
            blob_size,
        })
    }
}

impl<W: Write> Write for Sink<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn through(compression: Compression, data: &[u8]) -> (Vec<u8>, Sums) {
        let mut out = Vec::new();
        let mut sink = Sink::new(&mut out, compression);
        sink.write_all(data).unwrap();
        let sums = sink.finish().unwrap();
        (out, sums)
    }

    #[test]
    fn digests_are_those_of_what_went_in_and_came_out() {
        let data = vec![7; 300_000];
        let (plain, sums) = through(Compression::None, &data);
        assert_eq!(plain, data);
        assert_eq!((&sums.blob, sums.blob_size), (&sums.diff_id, 300_000));
        let (gzip, sums) = through(Compression::Gzip, &data);
        assert_eq!(sums.diff_id, Digest::of(&data));
        assert_eq!(sums.blob, Digest::of(&gzip));
        assert_eq!(sums.blob_size, gzip.len() as u64);
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(&gzip[..])
            .read_to_end(&mut back)
            .unwrap();
        assert_eq!(back, data);
        // Neither time nor name of this machine.
        assert_eq!(gzip[4..8], [0; 4]);
        assert_eq!(gzip, through(Compression::Gzip, &data).0);
    }
}
