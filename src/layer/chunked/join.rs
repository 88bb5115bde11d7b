//! The tar of a layer, from its tar-split, files that are here, and parts of its blob.

use std::io::{self, BufRead, Read};
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::io::{Errno, pread};
use sha2::{Digest as _, Sha256};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation as _, OutBuffer};

use super::local::Found;
use super::split::{self, Piece};
use super::toc::File;
use super::{Error, Position, SPLIT, Toc, WINDOW_LOG_MAX};
use crate::layer::rebuild::open_file;

/// Bytes of the blob at a time.
const INPUT: usize = 64 << 10;

/// Parts of a blob. Offsets come in ascending order, and all lie in ranges that were asked for beforehand.
pub trait Parts {
    /// Some bytes from this offset on, at least one.
    fn read(&mut self, at: u64, buf: &mut [u8]) -> io::Result<usize>;
}

/// The tar as a stream. The content of each file that was fetched has the digest that the table promises, or the stream
/// ends with an error ([`Error`] inside an [`io::Error`]); whether the whole is the layer, its diff_id says.
pub struct Tar<'a, R, P> {
    split: split::Reader<R>,
    files: std::iter::Enumerate<std::slice::Iter<'a, File>>,
    found: &'a Found,
    parts: P,
    decoder: Decoder<'static>,
    input: Vec<u8>,
    now: Now,
}

/// Where the next bytes come from.
enum Now {
    Segment(Vec<u8>, usize),
    Local { file: OwnedFd, at: u64, size: u64 },
    Remote(Remote),
    End,
}

/// A file on its way from the blob.
struct Remote {
    /// The next byte of the blob, and the one after the last.
    at: u64,
    end: u64,
    /// What of the input is not inflated yet.
    from: usize,
    to: usize,
    /// Bytes of content that are missing.
    left: u64,
    /// Whether a frame has just ended.
    whole: bool,
    hash: Sha256,
    want: [u8; 32],
}

impl<'a, P: Parts> Tar<'a, (), P> {
    /// The tar of the layer with this table; `split` is the section of its tar-split.
    ///
    /// # Errors
    /// The tar-split is not the table's, or cannot be read.
    pub fn open(
        toc: &'a Toc,
        position: &Position,
        split: &'a [u8],
        found: &'a Found,
        parts: P,
    ) -> Result<Tar<'a, impl BufRead + use<'a, P>, P>, Error> {
        toc.check_split(split)?;
        let damaged = |source| Error::Damaged {
            what: CONTENT,
            source,
        };
        let mut decoder = Decoder::new().map_err(damaged)?;
        decoder
            .set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX))
            .map_err(damaged)?;
        Ok(Tar {
            split: split::open(&position.split, split)?,
            files: toc.files.iter().enumerate(),
            found,
            parts,
            decoder,
            input: vec![0; INPUT],
            now: Now::Segment(Vec::new(), 0),
        })
    }
}

const CONTENT: &str = "content";

fn senseless(what: &'static str, why: &'static str) -> Error {
    Error::Senseless { what, why }
}

impl<R: BufRead, P: Parts> Tar<'_, R, P> {
    /// What comes after what has ended.
    fn advance(&mut self) -> Result<Now, Error> {
        let size = match self.split.next()? {
            Some(Piece::Segment(bytes)) => return Ok(Now::Segment(bytes, 0)),
            Some(Piece::File(size)) => size,
            None if self.files.len() == 0 => return Ok(Now::End),
            None => return Err(senseless(SPLIT, "files of the table are not in it")),
        };
        // Both have the order of the tar. Were it another, the digest of the whole would tell.
        let (index, file) = (self.files.next())
            .filter(|(_, f)| f.size == size)
            .ok_or(senseless(SPLIT, "a file that the table does not have"))?;
        match self.found.files.get(index) {
            Some(Some(have)) => {
                let file = self.found.trees.get(have.tree).ok_or(Errno::NOENT);
                let file = file.and_then(|tree| open_file(tree.as_fd(), &have.path));
                Ok(Now::Local {
                    file: file.map_err(gone)?,
                    at: 0,
                    size,
                })
            }
            _ => {
                self.decoder.reinit().map_err(|source| Error::Damaged {
                    what: CONTENT,
                    source,
                })?;
                Ok(Now::Remote(Remote {
                    at: file.at.start,
                    end: file.at.end,
                    from: 0,
                    to: 0,
                    left: size,
                    whole: false,
                    hash: Sha256::new(),
                    want: file.digest,
                }))
            }
        }
    }

    /// The next bytes of a file of the blob; 0 when it was complete and right.
    fn remote(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Now::Remote(r) = &mut self.now else {
            return Ok(0);
        };
        loop {
            if r.from == r.to && r.at < r.end {
                let most = usize::try_from(r.end - r.at).map_or(INPUT, |n| n.min(INPUT));
                let n = self.parts.read(r.at, &mut self.input[..most])?;
                if n == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                (r.from, r.to) = (0, n);
                r.at += n as u64;
            }
            // Asked again after the end of a frame, the decoder would wait for the next.
            if r.whole && r.from == r.to {
                let digest: [u8; 32] = std::mem::take(&mut r.hash).finalize().into();
                return match (r.left, digest == r.want) {
                    (0, true) => Ok(0),
                    (0, false) => Err(Error::Digest { what: CONTENT }.into()),
                    _ => Err(senseless(CONTENT, "a file is shorter than the table says").into()),
                };
            }
            // With room for one byte more than there may be, too long a content shows itself.
            let mut spare = [0];
            let most = usize::try_from(r.left).map_or(buf.len(), |n| n.min(buf.len()));
            let out = match most {
                0 => &mut spare[..],
                _ => &mut buf[..most],
            };
            let mut input = InBuffer::around(&self.input[r.from..r.to]);
            let mut output = OutBuffer::around(out);
            let more = self
                .decoder
                .run(&mut input, &mut output)
                .map_err(|source| {
                    io::Error::from(Error::Damaged {
                        what: CONTENT,
                        source,
                    })
                })?;
            let (taken, made) = (input.pos(), output.pos());
            r.from += taken;
            // With nothing to do the decoder says what it would take to begin another frame.
            if more == 0 || taken > 0 || made > 0 {
                r.whole = more == 0;
            }
            if made as u64 > r.left {
                return Err(senseless(CONTENT, "a file is longer than the table says").into());
            }
            if made > 0 {
                r.left -= made as u64;
                r.hash.update(&buf[..made]);
                return Ok(made);
            }
            if taken == 0 && (r.from < r.to || r.at == r.end) {
                return Err(senseless(CONTENT, "a file whose frames do not end").into());
            }
        }
    }
}

/// A file of the store that was there a moment ago.
fn gone(e: Errno) -> Error {
    Error::Damaged {
        what: "file in the store",
        source: e.into(),
    }
}

impl<R: BufRead, P: Parts> Read for Tar<'_, R, P> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            let n = match &mut self.now {
                Now::End => return Ok(0),
                Now::Segment(bytes, at) => {
                    let n = buf.len().min(bytes.len() - *at);
                    buf[..n].copy_from_slice(&bytes[*at..*at + n]);
                    *at += n;
                    n
                }
                Now::Local { file, at, size } => {
                    let most = usize::try_from(*size - *at).map_or(buf.len(), |n| n.min(buf.len()));
                    match pread(&*file, &mut buf[..most], *at) {
                        Ok(0) if most > 0 => return Err(gone(Errno::NODATA).into()),
                        Ok(n) => {
                            *at += n as u64;
                            n
                        }
                        Err(Errno::INTR) => continue,
                        Err(e) => return Err(gone(e).into()),
                    }
                }
                Now::Remote(_) => self.remote(buf)?,
            };
            if n > 0 {
                return Ok(n);
            }
            self.now = self.advance()?;
        }
    }
}
