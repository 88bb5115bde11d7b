//! tar-split: all bytes of a tar but the content of its files, as lines of JSON (github.com/vbatts/tar-split,
//! `tar/storage`). A segment is bytes; a file says that so many bytes of content belong here.

use std::io::{self, BufRead, Read as _};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use super::write::Json;
use super::{Error, SPLIT, Section};

/// Longest line. What writes them cuts what follows the archive's end into pieces of a mebibyte, or not at all.
const LINE_MAX: u64 = 4 << 20;

/// Longest segment that we write.
pub(super) const SEGMENT_MAX: usize = 2 << 20;

const FILE: u8 = 1;
const SEGMENT: u8 = 2;

#[derive(Deserialize)]
struct Line {
    r#type: u8,
    #[serde(default)]
    size: i64,
    payload: Option<String>,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// These bytes.
    Segment(Vec<u8>),
    /// Content of the next file, of this length.
    File(u64),
}

/// Reads one.
pub(super) struct Reader<R>(R);

/// The pieces of a section.
pub(super) fn open<'a>(
    section: &Section,
    compressed: &'a [u8],
) -> Result<Reader<impl BufRead + use<'a>>, Error> {
    Ok(Reader(section.open(SPLIT, compressed)?))
}

impl<R: BufRead> Reader<R> {
    /// The next piece that is not empty; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Piece>, Error> {
        let damaged = |source| Error::Damaged {
            what: SPLIT,
            source,
        };
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = (&mut self.0).take(LINE_MAX).read_until(b'\n', &mut line);
            let n = read.map_err(damaged)?;
            if n == 0 {
                return Ok(None);
            }
            if n as u64 == LINE_MAX {
                return Err(Error::TooLarge {
                    what: SPLIT,
                    max: LINE_MAX,
                });
            }
            let Line {
                r#type,
                size,
                payload,
            } = serde_json::from_slice(&line).map_err(|e| damaged(e.into()))?;
            match r#type {
                FILE => match u64::try_from(size) {
                    Ok(0) => {}
                    Ok(size) => return Ok(Some(Piece::File(size))),
                    Err(_) => {
                        return Err(Error::Senseless {
                            what: SPLIT,
                            why: "a file of a negative size",
                        });
                    }
                },
                SEGMENT => {
                    let bytes = BASE64_STANDARD
                        .decode(payload.unwrap_or_default())
                        .map_err(|e| damaged(io::Error::new(io::ErrorKind::InvalidData, e)))?;
                    if !bytes.is_empty() {
                        return Ok(Some(Piece::Segment(bytes)));
                    }
                }
                _ => {
                    return Err(Error::Senseless {
                        what: SPLIT,
                        why: "a piece of an unknown type",
                    });
                }
            }
        }
    }
}

/// Writes one: for each entry of the tar a segment, which ends with its headers, and a file.
pub(super) struct Writer {
    json: Json,
    position: u64,
}

#[derive(Serialize)]
struct Written<'a> {
    r#type: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    payload: Option<String>,
    position: u64,
}

impl Writer {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            json: Json::new()?,
            position: 0,
        })
    }

    pub(super) fn segment(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.line(Written {
            r#type: SEGMENT,
            name: None,
            size: None,
            payload: Some(BASE64_STANDARD.encode(bytes)),
            position: self.position,
        })
    }

    /// An entry; `crc` is that of its content, if it has any.
    pub(super) fn file(&mut self, name: &str, size: u64, crc: Option<u64>) -> io::Result<()> {
        self.line(Written {
            r#type: FILE,
            name: Some(name),
            size: Some(size).filter(|n| *n > 0),
            payload: crc.map(|crc| BASE64_STANDARD.encode(crc.to_be_bytes())),
            position: self.position,
        })
    }

    fn line(&mut self, line: Written<'_>) -> io::Result<()> {
        self.position += 1;
        self.json.value(&line)?;
        self.json.text("\n")
    }

    pub(super) fn finish(self) -> io::Result<(Vec<u8>, u64)> {
        self.json.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Result<Vec<Piece>, Error> {
        let mut reader = Reader(text.as_bytes());
        let mut all = Vec::new();
        while let Some(piece) = reader.next()? {
            all.push(piece);
        }
        Ok(all)
    }

    #[test]
    fn segments_and_files() {
        let text = concat!(
            r#"{"type":2,"payload":"aGVhZA==","position":0}"#,
            "\n",
            r#"{"type":1,"name":"a","size":5,"payload":"AAAAAAAAAAA=","position":1}"#,
            "\n",
            r#"{"type":1,"name":"dir","payload":null,"position":2}"#,
            "\n",
            r#"{"type":2,"payload":null,"position":3}"#,
            "\n",
            r#"{"type":2,"payload":"AAA=","position":4}"#,
        );
        let want = [
            Piece::Segment(b"head".to_vec()),
            Piece::File(5),
            Piece::Segment(vec![0, 0]),
        ];
        assert_eq!(pieces(text).unwrap(), want);
        assert_eq!(pieces("").unwrap(), []);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in [
            "x",
            "{}",
            "[]",
            r#"{"type":2,"payload":"=="}"#,
            r#"{"type":2,"payload":7}"#,
            r#"{"type":1,"size":99999999999999999999}"#,
            r#"{"type":300}"#,
            "\n\n",
        ] {
            let e = pieces(text).unwrap_err();
            assert!(matches!(e, Error::Damaged { .. }), "{text}: {e:?}");
        }
        for text in [r#"{"type":1,"size":-1}"#, r#"{"type":3}"#] {
            let e = pieces(text).unwrap_err();
            assert!(matches!(e, Error::Senseless { .. }), "{text}: {e:?}");
        }
        let endless = format!(
            r#"{{"type":2,"payload":"{}"}}"#,
            "A".repeat(LINE_MAX as usize)
        );
        let e = pieces(&endless).unwrap_err();
        assert!(matches!(e, Error::TooLarge { .. }), "{e:?}");
    }
}
