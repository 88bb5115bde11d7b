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

/// Bytes that the encoder gets at a time.
const BLOCK: usize = 128 << 10;

/// The way out of a tar. It arrives in whatever pieces a pipe makes of it; what deflate makes of it depends
/// on the pieces in which it gets it, so all but the last have one size.
pub(super) struct Sink<W: Write> {
    out: Hashed<Encoder<W>>,
    block: Vec<u8>,
}

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
        let encoder = match compression {
            Compression::None => Encoder::Plain(out),
            // No name, no time: the same tar is the same blob.
            Compression::Gzip => Encoder::Gzip(Box::new(
                GzBuilder::new()
                    .mtime(0)
                    .write(Hashed::new(out), Level::new(LEVEL)),
            )),
        };
        Self {
            out: Hashed::new(encoder),
            block: Vec::with_capacity(BLOCK),
        }
    }

    pub(super) fn finish(mut self) -> io::Result<Sums> {
        self.out.write_all(&self.block)?;
        let Hashed { out, hash, bytes } = self.out;
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
        let n = buf.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&buf[..n]);
        if self.block.len() == BLOCK {
            self.out.write_all(&self.block)?;
            self.block.clear();
        }
        Ok(n)
    }

    /// Nothing: a flush would cut the stream where it happens to come.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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

    #[test]
    fn the_blob_does_not_depend_on_how_the_tar_arrives() {
        // Something that matches itself at many distances.
        let mut data = Vec::new();
        let mut state = 1u32;
        while data.len() < 1_000_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let from = (state >> 8) as usize % (data.len() + 1);
            let piece: Vec<u8> = data.iter().skip(from).take(50).copied().collect();
            data.extend(piece);
            data.extend(state.to_le_bytes());
        }
        let packed = |sizes: &[usize]| {
            let mut out = Vec::new();
            let mut sink = Sink::new(&mut out, Compression::Gzip);
            let mut rest = &data[..];
            for n in sizes.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at((*n).min(rest.len()));
                sink.write_all(piece).unwrap();
                rest = after;
            }
            sink.finish().unwrap();
            out
        };
        let whole = packed(&[data.len()]);
        for sizes in [&[4096][..], &[1, 7, 511], &[65536, 3], &[131_071]] {
            assert!(packed(sizes) == whole, "{sizes:?}");
        }
    }
}
