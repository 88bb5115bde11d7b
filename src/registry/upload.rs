//! Blobs on their way to a registry (distribution specification, "Pushing blobs").
//!
//! ```text
//! HEAD blob ─ there: nothing to do
//! POST uploads?mount=…&from=… ─ 201: the registry had it in another repository
//! POST uploads ─ 202, Location ─ PUT Location?digest=… with all of it ─ 201
//!                             └─ broke: GET Location, Range: 0-N ─ PATCH from N+1 ─ PUT without a body
//! ```
//!
//! One request with the whole blob is what every registry takes. Where it breaks, the registry is asked what it has,
//! and gets the rest; one that has forgotten the upload, or answers that in a way that makes no sense, gets it anew. One
//! that refuses so much at once (413, a proxy's limit) gets pieces.
//!
//! Invariants: a `Location` may lead to another host, which gets the bytes and neither credentials nor an answer to
//! a challenge, and never from https to http; what a registry says it has is believed only as far as it was sent.

use std::io::{self, Read};

use ureq::http::{HeaderValue, Method, Uri, header};

use super::client::{Client, Want, refusal};
use super::endpoint::{self, Endpoint};
use super::error::Error;
use super::publish::{SETTLE, parse};
use super::redirect;
use super::reply::Reply;
use super::retry::Backoff;
use super::subject::Subject;
use super::transport::{Send, host_of, without_query};
use crate::oci::{Digest, Reference};

/// Tries of one blob in all: this many, and one more for each of [`TRY_STEP`] bytes.
const TRIES: u32 = 32;
const TRY_STEP: u64 = 4 << 20;
/// Pieces for a registry that does not take a blob whole, if it does not ask for larger ones.
const PIECE: u64 = 8 << 20;
/// Largest piece that a registry may ask for.
const PIECE_MAX: u64 = 1 << 30;
const CHUNK_MIN: &str = "oci-chunk-min-length";

/// Opens the bytes of a blob from an offset on.
pub type Open<'a> = dyn Fn(u64) -> io::Result<Box<dyn Read + 'a>> + Sync + 'a;

/// A blob to be uploaded.
pub struct Upload<'a, 'o> {
    /// Its digest, which the registry checks.
    pub digest: &'a Digest,
    /// Its bytes.
    pub size: u64,
    /// Where they come from; may be asked several times.
    pub open: &'a Open<'o>,
    /// Called with numbers of bytes that have left.
    pub progress: &'a (dyn Fn(u64) + Sync),
}

/// An upload that a registry has begun.
#[derive(Debug)]
struct Session {
    location: Uri,
    /// Bytes that the registry has.
    at: u64,
    /// Least length of a piece but the last.
    piece_min: u64,
}

impl Client {
    /// Upload a blob. The repository need not exist.
    pub fn push_blob(&self, r: &Reference, blob: &Upload<'_, '_>) -> Result<(), Error> {
        let all = TRIES.saturating_add(u32::try_from(blob.size / TRY_STEP).unwrap_or(u32::MAX));
        let mut push = Push {
            client: self,
            reference: r,
            blob,
            what: Want::Exists(blob.digest).describe(r),
            session: None,
            pieces: false,
            backoff: Backoff::new(self.retries(), all),
        };
        loop {
            match push.go_on() {
                Ok(()) => return Ok(()),
                Err(Error::Status { status: 413, .. }) if !push.pieces => {
                    push.pieces = true;
                    push.session = None;
                }
                Err(e) => push.backoff.sleep(e)?,
            }
        }
    }
}

/// One blob under way.
struct Push<'a, 'o> {
    client: &'a Client,
    reference: &'a Reference,
    blob: &'a Upload<'a, 'o>,
    what: String,
    session: Option<Session>,
    /// The registry does not take all at once.
    pieces: bool,
    backoff: Backoff,
}

impl Push<'_, '_> {
    /// From where it stands to the end. After an error the session is what is known of the upload.
    fn go_on(&mut self) -> Result<(), Error> {
        let mut session = match self.session.take() {
            Some(broken) => match self.ask(&broken)? {
                Some(session) => session,
                // Perhaps it has all, and only its answer was lost.
                None if self.client.has_blob(self.reference, self.blob.digest)? => return Ok(()),
                None => self.begin()?,
            },
            None => self.begin()?,
        };
        let size = self.blob.size;
        // All that is left with the request that ends the upload, if nothing was sent before.
        let whole = session.at == 0 && !self.pieces;
        while !whole && session.at < size {
            let piece = match self.pieces {
                true => PIECE.max(session.piece_min).min(size - session.at),
                false => size - session.at,
            };
            let end = session.at + piece;
            let range = format!("{}-{}", session.at, end - 1);
            let reply = self.transfer(
                &session,
                Method::PATCH,
                &session.location,
                piece,
                Some(&range),
            );
            session = match reply.and_then(|reply| self.next(&session, reply, end)) {
                Ok(next) => next,
                Err(e) => return self.broke(session, e),
            };
            self.backoff.progress();
        }
        let left = size - session.at;
        let text = session.location.to_string();
        let mark = match session.location.query() {
            Some(_) => '&',
            None => '?',
        };
        let uri = parse(&format!("{text}{mark}digest={}", self.blob.digest))?;
        let reply = match self.transfer(&session, Method::PUT, &uri, left, None) {
            Ok(reply) => reply,
            Err(e) => return self.broke(session, e),
        };
        match reply.status() {
            200..=299 => Ok(()),
            _ => {
                let e = self.refused(reply);
                self.broke(session, e)
            }
        }
    }

    /// Keep what is known of an upload for the next try.
    fn broke(&mut self, session: Session, e: Error) -> Result<(), Error> {
        if !matches!(e, Error::UploadLost { .. }) {
            self.session = Some(session);
        }
        Err(e)
    }

    fn begin(&self) -> Result<Session, Error> {
        let (from, reply) = self.client.post(self.reference, "", &self.what)?;
        if reply.status() != 202 {
            return Err(refusal(reply, &self.what));
        }
        let piece_min = reply.header(CHUNK_MIN).and_then(|n| n.parse().ok());
        let location = location(&from, &reply)?;
        Ok(Session {
            location,
            at: 0,
            piece_min: piece_min.unwrap_or(0).min(PIECE_MAX),
        })
    }

    /// How far an upload that broke has come; `None`: it has to begin anew.
    fn ask(&self, broken: &Session) -> Result<Option<Session>, Error> {
        let reply = self.send(&broken.location, |authorization| {
            self.client.transport().send(Send {
                authorization,
                ..Send::new(Method::GET, broken.location.clone(), self.subject())
            })
        })?;
        match reply.status() {
            200..=299 => {}
            429 | 500..=599 => return Err(refusal(reply, &self.what)),
            _ => return Ok(None),
        }
        let has = reply.header(header::RANGE).and_then(received);
        // The spec has no range for nothing: `0-0` is a byte to some and none to others.
        let Some(at) = has.filter(|at| (2..=self.blob.size).contains(at)) else {
            return Ok(None);
        };
        let location = match reply.header(header::LOCATION) {
            Some(_) => location(&broken.location, &reply)?,
            None => broken.location.clone(),
        };
        Ok(Some(Session {
            location,
            at,
            piece_min: broken.piece_min,
        }))
    }

    /// Send `len` bytes from where the session stands.
    fn transfer(
        &self,
        session: &Session,
        method: Method,
        uri: &Uri,
        len: u64,
        range: Option<&str>,
    ) -> Result<Reply, Error> {
        self.send(uri, |authorization| {
            let failed = |source| Error::Source {
                what: self.what.clone(),
                source,
            };
            let inner: Box<dyn Read + '_> = match len {
                0 => Box::new(io::empty()),
                _ => (self.blob.open)(session.at).map_err(failed)?,
            };
            let mut body = Body {
                inner,
                left: len,
                progress: self.blob.progress,
                failed: None,
            };
            let mut headers = vec![(header::CONTENT_TYPE, "application/octet-stream")];
            headers.extend(range.map(|range| (header::CONTENT_RANGE, range)));
            let sent = self.client.transport().send(Send {
                authorization,
                headers: &headers,
                body: Some((len, &mut body)),
                patience: SETTLE,
                ..Send::new(method.clone(), uri.clone(), self.subject())
            });
            // Our own failure, not what the HTTP library made of it.
            match body.failed {
                Some(source) => Err(failed(source)),
                None => sent,
            }
        })
    }

    /// After a piece: the session as the registry has it.
    fn next(&self, session: &Session, reply: Reply, end: u64) -> Result<Session, Error> {
        if !(200..300).contains(&reply.status()) {
            return Err(self.refused(reply));
        }
        let at = match reply.header(header::RANGE) {
            None => end,
            Some(range) => received(range)
                // No more than was sent; less is sent again.
                .filter(|at| (session.at..=end).contains(at))
                .ok_or_else(|| reply.bad_header("range"))?,
        };
        if at == session.at {
            return Err(self.lost(&reply.host));
        }
        let location = match reply.header(header::LOCATION) {
            Some(_) => location(&session.location, &reply)?,
            None => session.location.clone(),
        };
        Ok(Session {
            location,
            at,
            piece_min: session.piece_min,
        })
    }

    fn refused(&self, reply: Reply) -> Error {
        match reply.status() {
            // Unknown upload, or a range that the registry did not expect.
            404 | 416 => self.lost(&reply.host),
            _ => refusal(reply, &self.what),
        }
    }

    fn lost(&self, host: &str) -> Error {
        Error::UploadLost {
            host: host.to_owned(),
            what: self.what.clone(),
        }
    }

    fn subject(&self) -> Subject<'_> {
        let r = self.reference;
        self.client.subject(r.registry(), r.repository()).pushing()
    }

    /// With credentials if the URL is the registry's own.
    fn send(
        &self,
        uri: &Uri,
        send: impl FnMut(Option<&HeaderValue>) -> Result<Reply, Error>,
    ) -> Result<Reply, Error> {
        let scheme = self.client.scheme(self.reference)?;
        let endpoint = Endpoint::of(self.reference.registry());
        let home = parse(&endpoint.url(scheme, &endpoint::uploads(self.reference)))?;
        let mut send = send;
        match redirect::same_origin(&home, uri) {
            true => self.client.authorized(self.subject(), scheme, send),
            false => send(None),
        }
    }
}

/// The `Location` of a reply to a request for `from`.
fn location(from: &Uri, reply: &Reply) -> Result<Uri, Error> {
    let value = reply.header(header::LOCATION).unwrap_or_default();
    redirect::target(from, value).map_err(|refused| {
        let (host, target) = (host_of(from), without_query(value));
        match refused {
            redirect::Refused::Downgrade => Error::RedirectDowngrade { host, target },
            redirect::Refused::Target => Error::RedirectTarget { host, target },
        }
    })
}

/// `0-N`, with or without `bytes=`: the number of bytes.
fn received(range: &str) -> Option<u64> {
    let range = range.trim();
    let range = range.strip_prefix("bytes=").unwrap_or(range);
    let (from, to) = range.split_once('-')?;
    let (from, to): (u64, u64) = (from.parse().ok()?, to.parse().ok()?);
    (from == 0).then_some(())?;
    to.checked_add(1)
}

/// A part of a blob, of exactly the length that was announced.
struct Body<'a> {
    inner: Box<dyn Read + 'a>,
    left: u64,
    progress: &'a (dyn Fn(u64) + Sync),
    failed: Option<io::Error>,
}

impl Read for Body<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let max = usize::try_from(self.left).map_or(buf.len(), |left| left.min(buf.len()));
        if max == 0 {
            return Ok(0);
        }
        let e = loop {
            match self.inner.read(&mut buf[..max]) {
                Ok(0) => break io::ErrorKind::UnexpectedEof.into(),
                Ok(n) => {
                    self.left -= n as u64;
                    (self.progress)(n as u64);
                    return Ok(n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => break e,
            }
        };
        self.failed = Some(e);
        // For the HTTP library.
        Err(io::ErrorKind::Other.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_uploads() {
        for (range, want) in [
            ("0-9", Some(10)),
            ("bytes=0-9", Some(10)),
            (" 0-0 ", Some(1)),
            ("1-9", None),
            ("0-", None),
            ("9", None),
            ("0-18446744073709551615", None),
            ("0--1", None),
            ("", None),
        ] {
            assert_eq!(received(range), want, "{range:?}");
        }
    }

    #[test]
    fn a_body_is_as_long_as_announced() {
        let body = |data: &'static [u8], left| Body {
            inner: Box::new(data),
            left,
            progress: &|_| {},
            failed: None,
        };
        let mut out = Vec::new();
        body(b"more than that", 4).read_to_end(&mut out).unwrap();
        assert_eq!(out, b"more");
        let mut short = body(b"abc", 4);
        assert!(short.read_to_end(&mut Vec::new()).is_err());
        assert_eq!(short.failed.unwrap().kind(), io::ErrorKind::UnexpectedEof);
    }
}
