//! A reply: its head, and its body as a stream or as a whole, within limits of size and time.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use ureq::http::{Response, header};
use ureq::{Body, BodyReader};

use super::error::Error;
use super::message::{SHOWN_MAX, shorten};

/// A short reply (manifest, token) must be complete after this many stall time-outs.
const SHORT_REPLY_STALLS: u32 = 4;
/// Of the body of an error reply, this much is read.
const ERROR_BODY_MAX: u64 = 64 << 10;
/// Nobody waits longer than this for the words of an error.
const ERROR_BODY_TIME: Duration = Duration::from_secs(2);

/// The head of a reply, and the body to be read.
pub(super) struct Reply {
    /// Who replied: host and port.
    pub(super) host: String,
    /// Whether it is the origin that was asked, all redirects considered.
    pub(super) home: bool,
    pub(super) stall: Duration,
    pub(super) tls: bool,
    pub(super) response: Response<Body>,
}

/// A running body.
pub(super) struct Bytes {
    host: String,
    tls: bool,
    stall: Duration,
    reader: BodyReader<'static>,
}

impl Bytes {
    /// The next bytes, straight into `buf`; 0 at the end.
    pub(super) fn read(&mut self, buf: &mut [u8]) -> Result<usize, Error> {
        loop {
            match self.reader.read(buf) {
                Ok(n) => return Ok(n),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.fault(e)),
            }
        }
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    fn fault(&self, e: io::Error) -> Error {
        let host = self.host.clone();
        match ureq::Error::from(e) {
            ureq::Error::Io(source) if self.tls && source.kind() == io::ErrorKind::InvalidData => {
                Error::Tls { host, source }
            }
            ureq::Error::Timeout(_) => Error::Stalled {
                host,
                after: self.stall,
            },
            ureq::Error::Io(source) => Error::Broken { host, source },
            e => Error::Protocol {
                host,
                source: Box::new(e),
            },
        }
    }
}

impl Reply {
    pub(super) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// The first header of this name, if it is text.
    pub(super) fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// All headers of this name that are text.
    pub(super) fn headers(&self, name: impl header::AsHeaderName) -> impl Iterator<Item = &str> {
        self.response
            .headers()
            .get_all(name)
            .iter()
            .filter_map(|v| v.to_str().ok())
    }

    /// The header makes no sense.
    pub(super) fn bad_header(&self, header: &'static str) -> Error {
        Error::BadHeader {
            host: self.host.clone(),
            header,
            value: shorten(self.header(header).unwrap_or_default(), SHOWN_MAX),
        }
    }

    /// Bytes of the body, if the head says so.
    pub(super) fn content_length(&self) -> Option<u64> {
        self.response.body().content_length()
    }

    /// The body as a stream.
    pub(super) fn into_bytes(self) -> Bytes {
        Bytes {
            host: self.host,
            tls: self.tls,
            stall: self.stall,
            reader: self.response.into_body().into_reader(),
        }
    }

    /// The whole of a short body; `None` if it is longer than `limit`, of which no more is read than
    /// it takes to know.
    pub(super) fn into_vec(self, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        if self.content_length().is_some_and(|n| n > limit) {
            return Ok(None);
        }
        let patience = self.stall.saturating_mul(SHORT_REPLY_STALLS);
        let host = self.host.clone();
        let length = self.content_length();
        let mut bytes = self.into_bytes();
        let read = collect(limit, patience, length, &mut |buf| bytes.read(buf))?;
        match read {
            Collected::All(v) => Ok(Some(v)),
            Collected::TooLong(_) => Ok(None),
            Collected::TooSlow(_) => Err(Error::TooSlow {
                host,
                after: patience,
            }),
        }
    }

    /// The body of a reply whose status is the news: as much of it as comes easily. Reading to the
    /// end lets the connection be used again.
    pub(super) fn words(&mut self) -> Vec<u8> {
        let mut reader = self.response.body_mut().as_reader();
        let read = collect(ERROR_BODY_MAX, ERROR_BODY_TIME, None, &mut |buf| {
            reader.read(buf)
        });
        match read {
            Ok(Collected::All(v) | Collected::TooLong(v) | Collected::TooSlow(v)) => v,
            Err(_) => Vec::new(),
        }
    }
}

enum Collected {
    All(Vec<u8>),
    TooLong(Vec<u8>),
    TooSlow(Vec<u8>),
}

fn collect<E>(
    limit: u64,
    patience: Duration,
    length: Option<u64>,
    read: &mut dyn FnMut(&mut [u8]) -> Result<usize, E>,
) -> Result<Collected, E> {
    let start = Instant::now();
    // The limit holds for what is promised too: no more than it is ever set aside.
    let capacity = length.unwrap_or(0).min(limit);
    let mut out = Vec::with_capacity(usize::try_from(capacity).unwrap_or(0));
    let mut buf = [0; 16 << 10];
    loop {
        let n = read(&mut buf)?;
        if n == 0 {
            return Ok(Collected::All(out));
        }
        out.extend_from_slice(&buf[..n]);
        if out.len() as u64 > limit {
            return Ok(Collected::TooLong(out));
        }
        if start.elapsed() > patience {
            return Ok(Collected::TooSlow(out));
        }
    }
}
