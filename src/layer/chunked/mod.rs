//! zstd:chunked: a layer's blob that says where each of its files is, so that a pull can fetch the files that the
//! store lacks and no others; containers/storage, docs/containers-storage-zstd-chunked.md and `pkg/chunked`.
//!
//! The blob is an ordinary zstd stream of the tar. The content of each file begins a frame and ends one, what is
//! between two contents (headers, padding) is a frame of its own, and after the tar come three skippable frames
//! (RFC 8878, 3.1.2), which every other reader passes over:
//!
//! | frame | what it holds |
//! |---|---|
//! | table of contents | zstd of JSON: each entry of the tar; for files, digest of the content, and where its frames begin and end |
//! | tar-split | zstd of JSON lines: all bytes of the tar but the content of files, and where those go |
//! | footer | where the two are, in 64 bytes |
//!
//! The manifest's descriptor of the layer says where they are, too, and has the digest of the table
//! ([`Position`]); the table has that of the tar-split.
//!
//! # Whom we believe
//!
//! Nobody. containers/storage makes the files straight from the table, and the digest of the table takes the place
//! of the diff_id. Here table and tar-split are only a plan how to make the tar from what is here and what is
//! fetched ([`Tar`]); the tar goes the way of every other, and counts if it has the diff_id of the image's
//! configuration. So a layer that came in parts is the same on disk as one that came whole, recipe and owners
//! included, and a table that lies costs a second download and nothing else.
//!
//! Everything here is bounded: see the constants of [`Position`] and [`Toc`]. Called by `ops`; pure but for
//! [`find`], which reads layers of the store.

mod join;
mod local;
mod plan;
mod scan;
mod split;
mod toc;
mod write;

use std::collections::HashMap;
use std::io::{self, BufRead, Read};
use std::ops::Range;

pub use join::{Parts, Tar};
pub use local::{Found, Have, find};
pub use plan::{GAPS, wanted};
pub use toc::{File, Toc};
pub use write::{Annotations, Writer};

use crate::oci::{Digest, Digester};

/// Digest of the table of contents, compressed.
const TOC_DIGEST: &str = "io.github.containers.zstd-chunked.manifest-checksum";
/// `OFFSET:LENGTH:PLAIN LENGTH:TYPE` of it.
pub const TOC_POSITION: &str = "io.github.containers.zstd-chunked.manifest-position";
/// `OFFSET:LENGTH:PLAIN LENGTH` of the tar-split.
const SPLIT_POSITION: &str = "io.github.containers.zstd-chunked.tarsplit-position";
/// The one type of a table that there is.
const TOC_TYPE: u64 = 1;

/// What is wrong with a table of contents, a tar-split, or what they lead to. The layer can be had whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An annotation of the manifest.
    #[error("the annotation {key} makes no sense: {value:?}")]
    Annotation {
        /// Its name.
        key: &'static str,
        /// Its value, shortened.
        value: String,
    },
    /// More than we take.
    #[error("the layer's {what} is too large: the limit is {max}")]
    TooLarge {
        /// Which.
        what: &'static str,
        /// Bytes or entries.
        max: u64,
    },
    /// Not the bytes that were promised.
    #[error("the layer's {what} does not have the digest that was promised")]
    Digest {
        /// Which.
        what: &'static str,
    },
    /// It cannot be read.
    #[error("the layer's {what} cannot be read")]
    Damaged {
        /// Which.
        what: &'static str,
        /// What the decoder said.
        source: io::Error,
    },
    /// It can be read and makes no sense.
    #[error("the layer's {what} makes no sense: {why}")]
    Senseless {
        /// Which.
        what: &'static str,
        /// What is wrong.
        why: &'static str,
    },
}

impl From<Error> for io::Error {
    fn from(e: Error) -> Self {
        Self::new(io::ErrorKind::InvalidData, e)
    }
}

const TOC: &str = "table of contents";
const SPLIT: &str = "tar-split";

/// A part of the blob that is one zstd stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Where it is.
    pub at: Range<u64>,
    /// Bytes once it is inflated.
    pub plain: u64,
}

impl Section {
    /// The content, which ends with an error if it is longer than promised.
    fn open<'a>(
        &self,
        what: &'static str,
        compressed: &'a [u8],
    ) -> Result<impl BufRead + use<'a>, Error> {
        let damaged = |source| Error::Damaged { what, source };
        let mut zstd = zstd::stream::read::Decoder::with_buffer(compressed).map_err(damaged)?;
        zstd.window_log_max(WINDOW_LOG_MAX).map_err(damaged)?;
        Ok(io::BufReader::with_capacity(
            READ,
            zstd.take(self.plain.saturating_add(1)),
        ))
    }
}

/// Frames that want more memory than 8 MiB are refused: RFC 8878, 3.1.1.1.2 asks for no more.
const WINDOW_LOG_MAX: u32 = 23;
const READ: usize = 64 << 10;

/// Where a blob has its table of contents and its tar-split, as the manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Digest of the table's section.
    pub digest: Digest,
    /// The table.
    pub toc: Section,
    /// The tar-split.
    pub split: Section,
}

impl Position {
    /// Most bytes of a section as it is in the blob.
    pub const PACKED_MAX: u64 = 16 << 20;
    /// Most bytes of the table once it is inflated, of some 350 bytes an entry. It is read as a stream, but one string
    /// may be all of it.
    pub const TOC_MAX: u64 = 64 << 20;
    /// The same of the tar-split, which is read line by line.
    pub const SPLIT_MAX: u64 = 256 << 20;

    /// From the annotations of a layer of `size` bytes; `None` if it has no table, or no tar-split, without
    /// which the tar cannot be made again.
    ///
    /// # Errors
    /// They make no sense, or ask for more than we take.
    pub fn of(annotations: &HashMap<String, String>, size: u64) -> Result<Option<Self>, Error> {
        let get = |key| annotations.get(key).map(String::as_str);
        let (Some(digest), Some(toc), Some(split)) =
            (get(TOC_DIGEST), get(TOC_POSITION), get(SPLIT_POSITION))
        else {
            return Ok(None);
        };
        let wrong = |key, value: &str| Error::Annotation {
            key,
            value: value.chars().take(SHOWN_MAX).collect(),
        };
        Ok(Some(Self {
            digest: digest.parse().map_err(|_| wrong(TOC_DIGEST, digest))?,
            toc: section::<4>(toc, size, (TOC, Self::TOC_MAX))?
                .ok_or_else(|| wrong(TOC_POSITION, toc))?,
            split: section::<3>(split, size, (SPLIT, Self::SPLIT_MAX))?
                .ok_or_else(|| wrong(SPLIT_POSITION, split))?,
        }))
    }
}

/// Of an annotation that makes no sense this much is shown.
const SHOWN_MAX: usize = 100;

fn section<const N: usize>(
    text: &str,
    size: u64,
    (what, plain_max): (&'static str, u64),
) -> Result<Option<Section>, Error> {
    let mut numbers = [TOC_TYPE; 4];
    let mut words = text.split(':');
    for n in &mut numbers[..N] {
        let digits = words
            .next()
            .filter(|w| w.bytes().all(|b| b.is_ascii_digit()));
        match digits.and_then(|w| w.parse().ok()) {
            Some(number) => *n = number,
            None => return Ok(None),
        }
    }
    let [offset, length, plain, kind] = numbers;
    let end = offset.checked_add(length).filter(|end| *end <= size);
    let (Some(end), None, TOC_TYPE, 1..) = (end, words.next(), kind, length) else {
        return Ok(None);
    };
    for (n, max) in [(length, Position::PACKED_MAX), (plain, plain_max)] {
        if n > max {
            return Err(Error::TooLarge { what, max });
        }
    }
    Ok(Some(Section {
        at: offset..end,
        plain,
    }))
}

fn check(what: &'static str, bytes: &[u8], want: &Digest) -> Result<(), Error> {
    let mut digester = Digester::new(want.algorithm());
    digester.update(bytes);
    match digester.finish() == *want {
        true => Ok(()),
        false => Err(Error::Digest { what }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations(digest: &str, toc: &str, split: &str) -> HashMap<String, String> {
        [
            (TOC_DIGEST, digest),
            (TOC_POSITION, toc),
            (SPLIT_POSITION, split),
        ]
        .into_iter()
        .filter(|(_, v)| *v != "-")
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
    }

    #[test]
    fn positions() {
        let digest = Digest::of(b"").to_string();
        let of = |toc: &str, split: &str| Position::of(&annotations(&digest, toc, split), 1 << 30);
        let position = of("100:20:400:1", "128:10:50").unwrap().unwrap();
        assert_eq!(position.toc.at, 100..120);
        assert_eq!((position.split.at, position.split.plain), (128..138, 50));
        // What has none, and what has one that is of no use.
        assert_eq!(of("-", "-").unwrap(), None);
        assert_eq!(of("100:20:400:1", "-").unwrap(), None);
        for (toc, split) in [
            ("", "1:1:1"),
            ("1:1:1", "1:1:1"),
            ("1:1:1:2", "1:1:1"),
            ("1:1:1:1:1", "1:1:1"),
            ("+1:1:1:1", "1:1:1"),
            ("-1:1:1:1", "1:1:1"),
            ("1:0:1:1", "1:1:1"),
            ("1:1:1:1", "1:1"),
            ("1:1:1:1", "1:1:1:1"),
            ("1:1:1:1", "1073741824:1:1"),
            ("18446744073709551615:1:1:1", "1:1:1"),
            ("99999999999999999999:1:1:1", "1:1:1"),
        ] {
            let e = of(toc, split).unwrap_err();
            assert!(matches!(e, Error::Annotation { .. }), "{toc} {split}: {e}");
        }
        for (toc, split) in [
            ("1:16777217:1:1", "1:1:1"),
            ("1:1:67108865:1", "1:1:1"),
            ("1:1:1:1", "1:1:268435457"),
        ] {
            let e = of(toc, split).unwrap_err();
            assert!(matches!(e, Error::TooLarge { .. }), "{toc} {split}: {e}");
        }
        let bad = annotations(&"sha256:\u{1b}[2J".repeat(99), "1:1:1:1", "1:1:1");
        let e = Position::of(&bad, 10).unwrap_err().to_string();
        assert!(e.len() < 300 && !e.contains('\u{1b}'), "{e}");
    }
}
