//! Everything of a tar but the content of its files: recorded while a layer is unpacked, so that the tree and
//! the recipe together make the same tar again, byte for byte ([`super::rebuild`](mod@super::rebuild)).
//!
//! One zstd frame of operations, each a byte and what belongs to it; numbers are LEB128:
//!
//! | operation | what follows | what it means |
//! |---|---|---|
//! | [`INLINE`] | length, bytes | these bytes: headers, PAX blocks, sparse maps, padding that is not zero, data of whiteouts |
//! | [`ZEROS`] | length | padding, and the end of the archive |
//! | [`FILE`] | length of a path, path, offset, length | so much of that file's content |
//! | [`MORE`] | offset, length | the same of the same file: extents of a sparse one |
//! | [`REPLACED`] | length of a path, path | what had this name makes room for something else of the same tar: from here back it is the next one in the directory of replaced things |
//! | [`END`] | nothing | the tar ends here |
//!
//! Invariants: the operations stand in the order of the tar; memory is bounded, whatever the tar is; a tar
//! that replaces things without end has no recipe, which costs it nothing but the exact way out.

use std::fs::File;
use std::io::{self, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};

use super::Error;

pub(super) const VERSION: u8 = 1;
const INLINE: u8 = 1;
const ZEROS: u8 = 2;
const FILE: u8 = 3;
const MORE: u8 = 4;
const REPLACED: u8 = 5;
const END: u8 = 6;

/// The fastest: headers shrink to a twentieth all the same.
const LEVEL: i32 = 1;
/// 256 KiB: what repeats in headers is near.
const WINDOW_LOG: u32 = 18;
/// Operations are collected up to this size before they are compressed.
const BUFFER: usize = 32 << 10;
/// Longest piece of one operation.
const PIECE: usize = 64 << 10;
/// Longest path; longer ones than PATH_MAX come only with limits that somebody raised.
const PATH_MAX: usize = 64 << 10;
/// Most things that one tar may replace, and bytes of their names: who rebuilds has them in memory.
const REPLACED_MAX: u64 = 100_000;
const REPLACED_BYTES_MAX: usize = 16 << 20;

/// Where a layer's recipe is, and where what the tar itself replaced is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// The file.
    pub file: PathBuf,
    /// A directory that is there only if something is in it.
    pub replaced: PathBuf,
}

/// Records a tar on its way through.
pub(super) struct Writer {
    path: PathBuf,
    /// `None` once the tar has turned out to be one without a recipe.
    out: Option<zstd::stream::write::Encoder<'static, File>>,
    buffer: Vec<u8>,
    replaced: u64,
    replaced_bytes: usize,
}

impl Writer {
    pub(super) fn create(path: &Path) -> Result<Self, Error> {
        let encoder = File::create_new(path).and_then(|file| {
            let mut encoder = zstd::stream::write::Encoder::new(file, LEVEL)?;
            encoder.window_log(WINDOW_LOG)?;
            Ok(encoder)
        });
        Ok(Self {
            path: path.to_owned(),
            out: Some(encoder.map_err(failed(path))?),
            buffer: vec![VERSION],
            replaced: 0,
            replaced_bytes: 0,
        })
    }

    /// Bytes that are in no file.
    pub(super) fn inline(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.out.is_none() {
            return Ok(());
        }
        // Nearly all padding, and the end of the archive.
        if bytes.first() == Some(&0) && bytes.iter().all(|b| *b == 0) {
            self.buffer.push(ZEROS);
            number(&mut self.buffer, bytes.len() as u64);
            return self.flush(BUFFER);
        }
        for piece in bytes.chunks(PIECE) {
            self.buffer.push(INLINE);
            number(&mut self.buffer, piece.len() as u64);
            self.buffer.extend_from_slice(piece);
            self.flush(BUFFER)?;
        }
        Ok(())
    }

    /// Content that goes to the file of this path.
    pub(super) fn file(&mut self, path: &[u8], offset: u64, len: u64) -> Result<(), Error> {
        if path.len() > PATH_MAX {
            self.give_up();
        }
        self.buffer.push(FILE);
        self.named(path);
        self.span(offset, len)
    }

    /// More of the same file.
    pub(super) fn more(&mut self, offset: u64, len: u64) -> Result<(), Error> {
        self.buffer.push(MORE);
        self.span(offset, len)
    }

    /// What has this path is about to go. Its number, under which it is to be kept; `None` when nothing is.
    pub(super) fn replaced(&mut self, path: &[u8]) -> Result<Option<u64>, Error> {
        self.replaced += 1;
        self.replaced_bytes = self.replaced_bytes.saturating_add(path.len());
        if self.replaced > REPLACED_MAX
            || self.replaced_bytes > REPLACED_BYTES_MAX
            || path.len() > PATH_MAX
        {
            self.give_up();
        }
        if self.out.is_none() {
            return Ok(None);
        }
        self.buffer.push(REPLACED);
        self.named(path);
        self.flush(BUFFER)?;
        Ok(Some(self.replaced - 1))
    }

    /// The tar ended. `false`: there is no recipe.
    pub(super) fn finish(mut self) -> Result<bool, Error> {
        self.buffer.push(END);
        self.flush(0)?;
        match self.out {
            Some(out) => out.finish().map(|_| true).map_err(failed(&self.path)),
            None => Ok(false),
        }
    }

    fn named(&mut self, path: &[u8]) {
        number(&mut self.buffer, path.len() as u64);
        self.buffer.extend_from_slice(path);
    }

    fn span(&mut self, offset: u64, len: u64) -> Result<(), Error> {
        number(&mut self.buffer, offset);
        number(&mut self.buffer, len);
        self.flush(BUFFER)
    }

    fn flush(&mut self, above: usize) -> Result<(), Error> {
        if self.buffer.len() <= above {
            return Ok(());
        }
        if let Some(out) = &mut self.out {
            out.write_all(&self.buffer).map_err(failed(&self.path))?;
        }
        self.buffer.clear();
        Ok(())
    }

    fn give_up(&mut self) {
        if self.out.take().is_some() {
            // Only half of one would be worse than none; it was ours a moment ago.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Recipe {
        path: path.to_owned(),
        source,
    }
}

fn number(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// One operation.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// The bytes that [`Reader::next`] left in its argument.
    Inline,
    Zeros(u64),
    /// Of a file whose path is in the argument.
    File(u64, u64),
    More(u64, u64),
    /// The path in the argument.
    Replaced,
}

/// Reads a recipe; what does not make sense is `InvalidData`.
pub(super) struct Reader<R: io::BufRead>(zstd::stream::read::Decoder<'static, R>);

impl Reader<BufReader<File>> {
    pub(super) fn new(file: File) -> io::Result<BufReader<Self>> {
        let mut decoder = zstd::stream::read::Decoder::new(file)?;
        decoder.window_log_max(WINDOW_LOG)?;
        let mut reader = BufReader::with_capacity(BUFFER, Self(decoder));
        match byte(&mut reader)? {
            VERSION => Ok(reader),
            _ => Err(bad()),
        }
    }
}

impl<R: io::BufRead> Read for Reader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

/// The next operation, `None` at the end. `data` gets its bytes or its path; others leave it alone.
pub(super) fn next(from: &mut impl Read, data: &mut Vec<u8>) -> io::Result<Option<Op>> {
    let mut bytes = |from: &mut _, max: usize| {
        let len = usize::try_from(read_number(from)?).unwrap_or(usize::MAX);
        if len > max {
            return Err(bad());
        }
        data.resize(len, 0);
        Read::read_exact(from, data)
    };
    Ok(Some(match byte(from)? {
        INLINE => {
            bytes(from, PIECE)?;
            Op::Inline
        }
        ZEROS => Op::Zeros(read_number(from)?),
        FILE => {
            bytes(from, PATH_MAX)?;
            Op::File(read_number(from)?, read_number(from)?)
        }
        MORE => Op::More(read_number(from)?, read_number(from)?),
        REPLACED => {
            bytes(from, PATH_MAX)?;
            Op::Replaced
        }
        END => return Ok(None),
        _ => return Err(bad()),
    }))
}

fn bad() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

fn byte(from: &mut impl Read) -> io::Result<u8> {
    let mut b = [0];
    from.read_exact(&mut b)?;
    Ok(b[0])
}

fn read_number(from: &mut impl Read) -> io::Result<u64> {
    let mut n = 0u64;
    for shift in (0..).step_by(7) {
        let b = byte(from)?;
        // Ten bytes at most, and the last one has one bit.
        if shift > 63 || (shift == 63 && b > 1) {
            return Err(bad());
        }
        n |= u64::from(b & 0x7f) << shift;
        if b < 0x80 {
            break;
        }
    }
    Ok(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ops(file: &Path) -> io::Result<Vec<(Op, Vec<u8>)>> {
        let mut reader = Reader::new(File::open(file)?)?;
        let mut all = Vec::new();
        let mut data = Vec::new();
        while let Some(op) = next(&mut reader, &mut data)? {
            all.push((op, std::mem::take(&mut data)));
        }
        Ok(all)
    }

    #[test]
    fn operations_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tar");
        let mut w = Writer::create(&path).unwrap();
        let big: Vec<u8> = (0..PIECE as u32 + 10).map(|n| n as u8).collect();
        w.inline(b"header").unwrap();
        w.file(b"a/b", 0, 1 << 40).unwrap();
        w.more(u64::MAX, 1).unwrap();
        w.inline(&[0; 300]).unwrap();
        assert_eq!(w.replaced(b"a/b").unwrap(), Some(0));
        assert_eq!(w.replaced(b"").unwrap(), Some(1));
        w.inline(&big).unwrap();
        assert!(w.finish().unwrap());
        let want = [
            (Op::Inline, b"header".to_vec()),
            (Op::File(0, 1 << 40), b"a/b".to_vec()),
            (Op::More(u64::MAX, 1), vec![]),
            (Op::Zeros(300), vec![]),
            (Op::Replaced, b"a/b".to_vec()),
            (Op::Replaced, vec![]),
            (Op::Inline, big[..PIECE].to_vec()),
            (Op::Inline, big[PIECE..].to_vec()),
        ];
        assert_eq!(ops(&path).unwrap(), want);
        // Cut off anywhere it is an error.
        let all = std::fs::read(&path).unwrap();
        for len in [0, 3, all.len() / 2, all.len() - 1] {
            std::fs::write(&path, &all[..len]).unwrap();
            assert!(ops(&path).is_err(), "{len} of {}", all.len());
        }
    }

    #[test]
    fn what_makes_no_sense_is_an_error() {
        let long = [INLINE, 0x81, 0x80, 0x04];
        let endless = [&[ZEROS][..], &[0xff; 11]].concat();
        for bytes in [&long[..], &endless, &[9], &[FILE, 1, b'x'], &[]] {
            let mut data = Vec::new();
            assert!(next(&mut &bytes[..], &mut data).is_err(), "{bytes:?}");
        }
        assert_eq!(read_number(&mut &[0xff; 9][..9]).ok(), None);
        let max = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(read_number(&mut &max[..]).unwrap(), u64::MAX);
    }

    #[test]
    fn a_tar_that_replaces_without_end_has_no_recipe() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tar");
        let mut w = Writer::create(&path).unwrap();
        let name = vec![b'x'; 4096];
        let mut kept = 0;
        while w.replaced(&name).unwrap().is_some() {
            kept += 1;
        }
        assert_eq!(kept, REPLACED_BYTES_MAX / 4096);
        w.inline(b"goes nowhere").unwrap();
        assert!(!w.finish().unwrap());
        assert!(!path.exists());
    }
}
