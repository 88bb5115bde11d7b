//! Where a tar goes: hashed, compressed, hashed again and counted, in one pass. And which of our encoders may have
//! made a blob, told by how it begins.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

use flate2::write::DeflateEncoder;
use flate2::{Compression as Level, Crc};

use super::chunked;
use crate::oci::{Algorithm, Digest, Digester};

/// zlib's default, as docker's and podman's.
const LEVEL: u32 = 6;
/// For layers that another tool compressed and that have to be compressed anew: measured on 163 MB of Debian, the
/// blob has the size that podman's encoder makes of it at its default, in seven tenths of the CPU time of level 6.
const LEVEL_ANEW: u32 = 3;
/// zstd's own default.
const ZSTD_LEVEL: i32 = 3;

/// How a tar is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip {
        /// 0 to 9.
        level: u32,
        /// What stands before the data.
        header: [u8; 10],
    },
    /// RFC 8878, in one frame.
    Zstd {
        /// 1 to 22; less than 1 is faster still.
        level: i32,
        /// Whether the frame ends with a checksum.
        checksum: bool,
        /// The length of the tar, if the frame tells it.
        size: Option<u64>,
    },
    /// The same, each file in a frame of its own and with a table of contents: [`chunked`].
    ZstdChunked {
        /// As of zstd.
        level: i32,
    },
}

impl Default for Compression {
    fn default() -> Self {
        Self::gzip(LEVEL)
    }
}

impl Compression {
    /// No name, no time, no system: the same tar is the same blob.
    pub fn gzip(level: u32) -> Self {
        let extra = match level {
            0 | 1 => 4,
            9 => 2,
            _ => 0,
        };
        Self::Gzip {
            level,
            header: [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, extra, 0xff],
        }
    }

    /// For layers whose own blob cannot be had.
    pub fn anew() -> Self {
        Self::gzip(LEVEL_ANEW)
    }

    /// As `zstd FILE` does it, but for the length.
    pub fn zstd(level: Option<i32>) -> Self {
        Self::Zstd {
            level: level.unwrap_or(ZSTD_LEVEL),
            checksum: true,
            size: None,
        }
    }

    /// As zstd, with a table of contents.
    pub fn zstd_chunked(level: Option<i32>) -> Self {
        Self::ZstdChunked {
            level: level.unwrap_or(ZSTD_LEVEL),
        }
    }

    /// What may have made a blob that begins with `head` of a tar of this length, the likeliest first.
    pub fn candidates(head: &[u8], tar_bytes: u64) -> Vec<Self> {
        match head {
            [0x1f, 0x8b, 8, 0, ..] if head.len() > 10 => {
                let mut header = [0; 10];
                header.copy_from_slice(&head[..10]);
                let levels = match header[8] {
                    2 => &[9][..],
                    4 => &[1],
                    _ => &[6, 3, 9, 5, 7, 1, 4, 8, 2],
                };
                let gzip = |level: &u32| Self::Gzip {
                    level: *level,
                    header,
                };
                levels.iter().map(gzip).collect()
            }
            // The first frame holds the headers before the first file and no more.
            _ if frame_size(head).is_some_and(|size| size != tar_bytes) => [ZSTD_LEVEL]
                .into_iter()
                .chain((1..=22).filter(|n| *n != ZSTD_LEVEL))
                .map(|level| Self::ZstdChunked { level })
                .collect(),
            // RFC 8878, 3.1.1.1.1. No dictionaries.
            [0x28, 0xb5, 0x2f, 0xfd, descriptor, ..] if descriptor & 3 == 0 => {
                let sized = descriptor & 0xe0 != 0;
                let zstd = |level| Self::Zstd {
                    level,
                    checksum: descriptor & 4 != 0,
                    size: sized.then_some(tar_bytes),
                };
                [ZSTD_LEVEL]
                    .into_iter()
                    .chain((1..=19).filter(|n| *n != ZSTD_LEVEL))
                    .map(zstd)
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whether what it makes of a tar that begins with `prefix` begins with `head`. `whole`: that is all of the tar.
    pub fn begins(self, prefix: &[u8], whole: bool, head: &[u8]) -> bool {
        let out = Head(Rc::default());
        let so_far = Rc::clone(&out.0);
        let begun = Sink::new(out, self).and_then(|mut sink| sink.write_all(prefix).map(|()| sink));
        let Ok(sink) = begun else { return false };
        // An encoder that goes unfinished writes an end that is none of ours.
        let mut made = so_far.borrow().clone();
        if whole {
            if sink.finish().is_err() {
                return false;
            }
            made.clone_from(&so_far.borrow());
            made.truncate(head.len());
            return made == head;
        }
        let n = made.len().min(head.len());
        made[..n] == head[..n]
    }
}

/// Bytes of the content of the zstd frame that begins here, if it says so (RFC 8878, 3.1.1.1).
fn frame_size(head: &[u8]) -> Option<u64> {
    let [0x28, 0xb5, 0x2f, 0xfd, descriptor, rest @ ..] = head else {
        return None;
    };
    let single = descriptor & 0x20 != 0;
    let window = usize::from(!single);
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let (len, more) = match descriptor >> 6 {
        0 if single => (1, 0),
        0 => return None,
        1 => (2, 256),
        2 => (4, 0),
        _ => (8, 0),
    };
    let field = rest.get(window + dictionary..)?.get(..len)?;
    let mut bytes = [0; 8];
    bytes[..len].copy_from_slice(field);
    u64::from_le_bytes(bytes).checked_add(more)
}

/// The beginning of what is written.
struct Head(Rc<RefCell<Vec<u8>>>);

impl Write for Head {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        const ENOUGH: usize = 4096;
        let mut kept = self.0.borrow_mut();
        let n = buf.len().min(ENOUGH.saturating_sub(kept.len()));
        kept.extend_from_slice(&buf[..n]);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

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
    Gzip(Box<Gzip<Hashed<W>>>),
    Zstd(Box<zstd::stream::write::Encoder<'static, Hashed<W>>>),
    Chunked(Box<chunked::Writer<Hashed<W>>>),
}

/// By hand, since the library's own writer makes its own header.
struct Gzip<W: Write> {
    data: DeflateEncoder<W>,
    crc: Crc,
}

/// Bytes that the encoder gets at a time.
const BLOCK: usize = 128 << 10;

/// The way out of a tar. It arrives in whatever pieces a pipe makes of it; what deflate makes of it depends
/// on the pieces in which it gets it, so all but the last have one size.
pub struct Sink<W: Write> {
    out: Hashed<Encoder<W>>,
    block: Vec<u8>,
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
    fn new(out: W, compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::Plain(out),
            Compression::Gzip { level, header } => {
                let mut out = Hashed::new(out);
                out.write_all(&header)?;
                Self::Gzip(Box::new(Gzip {
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
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(buf),
            Self::Gzip(out) => {
                let n = out.data.write(buf)?;
                out.crc.update(&buf[..n]);
                Ok(n)
            }
            Self::Zstd(out) => out.write(buf),
            Self::Chunked(out) => out.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.flush(),
            Self::Gzip(out) => out.data.flush(),
            Self::Zstd(out) => out.flush(),
            Self::Chunked(out) => out.flush(),
        }
    }
}

impl<W: Write> Sink<W> {
    /// A way out to `out`.
    pub fn new(out: W, compression: Compression) -> io::Result<Self> {
        Ok(Self {
            out: Hashed::new(Encoder::new(out, compression)?),
            block: Vec::with_capacity(BLOCK),
        })
    }

    /// The tar is complete.
    pub fn finish(mut self) -> io::Result<Sums> {
        self.out.write_all(&self.block)?;
        let Hashed { out, hash, bytes } = self.out;
        let diff_id = hash.finish();
        let mut annotations = None;
        let (blob, blob_size) = match out {
            Encoder::Plain(mut out) => {
                out.flush()?;
                (diff_id.clone(), bytes)
            }
            Encoder::Gzip(gzip) => {
                let Gzip { data, crc } = *gzip;
                let mut out = data.finish()?;
                out.write_all(&crc.sum().to_le_bytes())?;
                out.write_all(&crc.amount().to_le_bytes())?;
                out.flush()?;
                (out.hash.finish(), out.bytes)
            }
            Encoder::Zstd(zstd) => {
                let mut out = zstd.finish()?;
                out.flush()?;
                (out.hash.finish(), out.bytes)
            }
            Encoder::Chunked(chunked) => {
                let mut out;
                (out, annotations) = chunked.finish()?;
                out.flush()?;
                (out.hash.finish(), out.bytes)
            }
        };
        Ok(Sums {
            diff_id,
            tar_bytes: bytes,
            blob,
            blob_size,
            annotations,
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
        let mut sink = Sink::new(&mut out, compression).unwrap();
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
        let (gzip, sums) = through(Compression::default(), &data);
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
        assert_eq!(gzip, through(Compression::default(), &data).0);
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
            let mut sink = Sink::new(&mut out, Compression::default()).unwrap();
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

    /// Text of a kind, as long as asked for.
    fn text(len: usize) -> Vec<u8> {
        let mut state = 7u32;
        let mut out = Vec::new();
        while out.len() < len {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            out.extend(format!("{} words ", state >> 20).bytes());
        }
        out.truncate(len);
        out
    }

    #[test]
    fn the_encoder_is_known_by_the_first_bytes() {
        for len in [0, 100, 3_000_000] {
            let tar = text(len);
            let all = (1..=9).map(Compression::gzip).chain(
                [1, 3, 7, 19]
                    .into_iter()
                    .map(|n| Compression::zstd(Some(n))),
            );
            for made_by in all {
                let (blob, sums) = through(made_by, &tar);
                let head = &blob[..blob.len().min(64)];
                let whole = len < 1 << 20;
                let prefix = &tar[..len.min(1 << 20)];
                let found = Compression::candidates(head, len as u64)
                    .into_iter()
                    .filter(|c| c.begins(prefix, whole, head))
                    .any(|c| through(c, &tar).1 == sums);
                assert!(found, "{made_by:?} {len}");
            }
        }
        // Another tool's: time, system and all that its options put there.
        let tar = text(500_000);
        let mut gzip = flate2::GzBuilder::new()
            .mtime(12)
            .operating_system(3)
            .write(Vec::new(), Level::new(6));
        for piece in tar.chunks(BLOCK) {
            gzip.write_all(piece).unwrap();
        }
        let blob = gzip.finish().unwrap();
        let again = Compression::candidates(&blob[..64], tar.len() as u64);
        assert!(through(again[0], &tar).0 == blob);
        let mut zstd = zstd::Encoder::new(Vec::new(), 5).unwrap();
        zstd.set_pledged_src_size(Some(tar.len() as u64)).unwrap();
        zstd.write_all(&tar).unwrap();
        let blob = zstd.finish().unwrap();
        let again = Compression::candidates(&blob[..64], tar.len() as u64);
        assert!(again.iter().any(|c| through(*c, &tar).0 == blob));
    }

    #[test]
    fn what_none_of_ours_made_is_seen_at_once() {
        let tar = text(2_000_000);
        // Another strategy of deflate: what every other library's output looks like to ours.
        let (mut blob, _) = through(Compression::gzip(6), &tar);
        blob[40] ^= 1;
        let candidates = Compression::candidates(&blob[..64], tar.len() as u64);
        assert!(candidates.len() > 1);
        assert!(
            candidates
                .iter()
                .all(|c| !c.begins(&tar[..1 << 20], false, &blob[..64]))
        );
        for head in [
            &b""[..],
            b"\x1f\x8b",
            b"\x1f\x8b\x08\x08\0\0\0\0\0\0\0",
            b"plain tar",
        ] {
            assert_eq!(Compression::candidates(head, 5), []);
        }
    }
}
