//! The format of one record, both ways.

use jiff::Timestamp;

/// Bytes of a time: RFC 3339 in UTC, always with nine digits of a second, so that times compare as text.
pub const TIME: usize = 30;
/// Bytes before the data: a time, a stream, a flag.
pub(super) const HEADER: usize = TIME + " stdout F ".len();
/// Longest data of one record. A longer line is several.
pub(super) const DATA_MAX: usize = 64 << 10;
/// Longest record, with its line end.
pub(super) const RECORD_MAX: usize = HEADER + DATA_MAX + 1;

const STREAM_AT: usize = TIME + 1;
const FLAG_AT: usize = HEADER - 2;

/// Of the program's two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, and all that comes from a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    fn word(self) -> &'static [u8; 6] {
        match self {
            Self::Stdout => b"stdout",
            Self::Stderr => b"stderr",
        }
    }
}

/// What stands before the data.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header([u8; HEADER]);

impl Header {
    /// Of a record of `stream`, written at `at`.
    pub(super) fn new(at: Timestamp, stream: Stream) -> Self {
        let mut bytes = *b"0000-00-00T00:00:00.000000000Z stdout F ";
        bytes[..TIME].copy_from_slice(&time(at));
        bytes[STREAM_AT..STREAM_AT + 6].copy_from_slice(stream.word());
        Self(bytes)
    }

    /// The record ends with a line end of the container's, or it does not.
    pub(super) fn whole(&mut self, whole: bool) -> &[u8; HEADER] {
        self.0[FLAG_AT] = if whole { b'F' } else { b'P' };
        &self.0
    }
}

/// As it stands in a header. A clock that is set before 1970 or after 9999 is not worth a wider field.
pub fn time(at: Timestamp) -> [u8; TIME] {
    let mut out = *b"1970-01-01T00:00:00.000000000Z";
    if (0..253_402_300_800).contains(&at.as_second()) {
        let text = format!("{at:.9}");
        if text.len() == TIME {
            out.copy_from_slice(text.as_bytes());
        }
    }
    out
}

/// A record that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// When it was written: RFC 3339, UTC, always as long. Times compare as bytes.
    pub time: &'a [u8; TIME],
    /// Where the program wrote it.
    pub stream: Stream,
    /// The program wrote a line end behind it.
    pub whole: bool,
    /// What the program wrote, without the line end.
    pub data: &'a [u8],
}

impl<'a> Record<'a> {
    /// From a line that was found to be a record before.
    pub(super) fn of(line: &'a [u8], stream: Stream, whole: bool) -> Option<Self> {
        let (header, data) = line.split_at_checked(HEADER)?;
        Some(Self {
            time: header.first_chunk()?,
            stream,
            whole,
            data,
        })
    }

    /// From a line of the file, without its end; `None` for what is no record.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        let (header, data) = line.split_at_checked(HEADER)?;
        let (time, rest) = header.split_first_chunk::<TIME>()?;
        let stream = match rest.get(1..7)? {
            b"stdout" => Stream::Stdout,
            b"stderr" => Stream::Stderr,
            _ => return None,
        };
        let whole = match header[FLAG_AT] {
            b'F' => true,
            b'P' => false,
            _ => return None,
        };
        let spaces = [TIME, FLAG_AT - 1, FLAG_AT + 1].map(|at| header[at]);
        (spaces == *b"   " && is_time(time)).then_some(Self {
            time,
            stream,
            whole,
            data,
        })
    }
}

/// Has it the form of a time? Which one does not matter for a log that somebody spoiled.
fn is_time(bytes: &[u8; TIME]) -> bool {
    let form = b"0000-00-00T00:00:00.000000000Z";
    bytes.iter().zip(form).all(|(b, f)| match f {
        b'0' => b.is_ascii_digit(),
        f => b == f,
    })
}
