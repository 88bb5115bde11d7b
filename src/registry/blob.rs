//! A blob as a stream that heals itself.
//!
//! A connection that breaks, ends early or stalls is replaced: the rest is asked for with `Range`
//! (RFC 9110, 14), and a server that ignores `Range` has its first bytes skipped. The number of
//! bytes is exact: a stream ends after `size` bytes or with an error, and a server that has more is
//! an error too. What the bytes are is for the caller to check.
//!
//! A part of a blob is the same with an end. Who asks for one wants to move little, so a server that ignores
//! `Range` is an error there.

use std::collections::VecDeque;
use std::io::{self, Read};

use ureq::http::header;

use super::client::{Client, Want, refusal};
use super::error::Error;
use super::message::{SHOWN_MAX, shorten};
use super::places;
use super::reply::{Bytes, Reply};
use super::retry::Backoff;
use crate::config::registries::Place;
use crate::oci::{Digest, Reference};

/// Connections for one blob in all: this many, and one more for each of [`RESUME_STEP`] bytes.
const RESUMES: u32 = 64;
const RESUME_STEP: u64 = 1 << 20;
/// What is skipped goes through a buffer of this size.
const SKIP_BUFFER: usize = 64 << 10;

/// The bytes of a blob from an offset to its end, or to that of a part. An [`io::Error`] from it carries an
/// [`Error`]: see [`Error::from_io`].
pub struct Blob {
    client: Client,
    /// What the image is called by who asks for it.
    reference: Reference,
    /// Where it is asked for.
    place: Place,
    /// Where to go when that place fails.
    others: VecDeque<Place>,
    /// Places that failed.
    tried: Vec<(Reference, Error)>,
    digest: Digest,
    size: u64,
    at: u64,
    /// The end of what is wanted, if it is not that of the blob.
    part: Option<u64>,
    body: Option<Bytes>,
    backoff: Backoff,
}

impl Blob {
    /// From `offset` to before `part`, or to the end.
    pub(super) fn open(
        client: Client,
        r: &Reference,
        d: &Digest,
        size: u64,
        offset: u64,
        part: Option<u64>,
    ) -> Result<Self, Error> {
        let mut others = VecDeque::from(client.places(r)?);
        let place = others
            .pop_front()
            .ok_or_else(|| Error::Url { url: r.to_string() })?;
        let backoff = patience(&client, size);
        let mut blob = Self {
            client,
            reference: r.clone(),
            place,
            others,
            tried: Vec::new(),
            digest: d.clone(),
            size,
            at: offset,
            part,
            body: None,
            backoff,
        };
        if offset > blob.end() || blob.end() > size {
            return Err(Error::Size {
                what: blob.what(),
                want: size,
                got: offset.max(blob.end()),
            });
        }
        // Nothing is left: there is no request for that.
        if offset < blob.end() {
            blob.connect()?;
        }
        Ok(blob)
    }

    /// The offset of the next byte.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// Bytes of the whole blob.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Where the stream ends.
    fn end(&self) -> u64 {
        self.part.unwrap_or(self.size)
    }

    fn want(&self) -> Want<'_> {
        Want::Blob(&self.digest, self.at, self.part)
    }

    fn what(&self) -> String {
        self.want().describe(&self.place.reference)
    }

    /// Ask until there is a body that starts at the next byte.
    fn connect(&mut self) -> Result<(), Error> {
        loop {
            match self.connect_once() {
                Ok(body) => {
                    self.body = Some(body);
                    return Ok(());
                }
                Err(e) => self.after(e)?,
            }
        }
    }

    /// After a fault: wait and try again, or go to the next place, or give up. What has come stays: the
    /// caller checks what all of it is, wherever it came from.
    fn after(&mut self, e: Error) -> Result<(), Error> {
        let Err(e) = self.backoff.sleep(e) else {
            return Ok(());
        };
        let failed = self.place.reference.clone();
        match self.others.pop_front() {
            Some(next) => {
                self.client.passed_over(&failed, &e);
                self.tried.push((failed, e));
                self.place = next;
                self.backoff = patience(&self.client, self.size);
                Ok(())
            }
            None => {
                let mut tried = std::mem::take(&mut self.tried);
                tried.push((failed, e));
                Err(places::none(&self.reference, tried))
            }
        }
    }

    fn connect_once(&self) -> Result<Bytes, Error> {
        let reply = self.client.ask(&self.place, self.want())?;
        let first = match reply.status() {
            200 if self.part.is_some() => {
                return Err(Error::NoRanges {
                    host: reply.host.clone(),
                });
            }
            200 => 0,
            206 if self.at > 0 || self.part.is_some() => {
                self.check_range(&reply)?;
                self.at
            }
            _ => return Err(refusal(reply, &self.what())),
        };
        if let Some(length) = reply.content_length()
            && length != self.end() - first
        {
            return Err(Error::Size {
                what: self.what(),
                want: self.end(),
                got: first.saturating_add(length),
            });
        }
        let mut body = reply.into_bytes();
        self.skip(&mut body, self.at - first)?;
        Ok(body)
    }

    /// The part must start at the next byte and stay within the blob.
    fn check_range(&self, reply: &Reply) -> Result<(), Error> {
        let value = reply.header(header::CONTENT_RANGE).unwrap_or_default();
        let ok = content_range(value).is_some_and(|(first, last, all)| {
            first == self.at && last == self.end() - 1 && all.is_none_or(|n| n == self.size)
        });
        if ok {
            return Ok(());
        }
        Err(Error::Range {
            what: self.what(),
            at: self.at,
            range: shorten(value, SHOWN_MAX),
        })
    }

    /// Read `n` bytes that we have already.
    fn skip(&self, body: &mut Bytes, mut n: u64) -> Result<(), Error> {
        if n == 0 {
            return Ok(());
        }
        let mut buf = vec![0; SKIP_BUFFER];
        while n > 0 {
            let len = usize::try_from(n).map_or(SKIP_BUFFER, |n| n.min(SKIP_BUFFER));
            match body.read(&mut buf[..len])? {
                0 => return Err(self.short()),
                got => n -= got as u64,
            }
        }
        Ok(())
    }

    fn short(&self) -> Error {
        Error::Short {
            what: self.what(),
            at: self.at,
            want: self.end(),
        }
    }

    /// All bytes are here: nothing may follow. Seeing the end also gives the connection back for the
    /// next request. A fault after the last byte is none of ours.
    fn finish(&mut self) -> Result<(), Error> {
        let Some(mut body) = self.body.take() else {
            return Ok(());
        };
        match body.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(Error::TooLong {
                what: self.what(),
                want: self.end(),
            }),
            Err(e) => {
                log::debug!("after the last byte from {}: {e}", body.host());
                Ok(())
            }
        }
    }

    fn fill(&mut self, buf: &mut [u8]) -> Result<usize, Error> {
        loop {
            let left = self.end() - self.at;
            if left == 0 || buf.is_empty() {
                return Ok(0);
            }
            let Some(body) = &mut self.body else {
                self.connect()?;
                continue;
            };
            let len = usize::try_from(left).map_or(buf.len(), |n| n.min(buf.len()));
            let fault = match body.read(&mut buf[..len]) {
                Ok(0) => self.short(),
                Ok(n) => {
                    self.backoff.progress();
                    // Before the position moves: a stream with too many bytes never ends well.
                    if n as u64 == left {
                        self.finish()?;
                    }
                    self.at += n as u64;
                    return Ok(n);
                }
                Err(e) => e,
            };
            self.body = None;
            self.after(fault)?;
        }
    }
}

fn patience(client: &Client, size: u64) -> Backoff {
    let all = RESUMES.saturating_add(u32::try_from(size / RESUME_STEP).unwrap_or(u32::MAX));
    Backoff::new(client.retries(), all)
}

impl Read for Blob {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.fill(buf).map_err(io::Error::from)
    }
}

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Blob({}, {} of {})", self.digest, self.at, self.size)
    }
}

/// `bytes FIRST-LAST/ALL`, where `ALL` may be `*`.
fn content_range(value: &str) -> Option<(u64, u64, Option<u64>)> {
    // `parse` alone would take a plus sign.
    let number = |s: &str| {
        s.bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| s.parse::<u64>().ok())
            .flatten()
    };
    let (range, all) = value.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    let all = match all {
        "*" => None,
        n => Some(number(n)?),
    };
    (first <= last && all.is_none_or(|n| last < n)).then_some((first, last, all))
}

#[cfg(test)]
mod tests {
    use super::content_range;

    #[test]
    fn content_ranges() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, 9, Some(10))));
        assert_eq!(content_range("bytes 0-0/*"), Some((0, 0, None)));
        for bad in [
            "",
            "bytes",
            "bytes */10",
            "bytes 9-5/10",
            "bytes 5-10/10",
            "bytes 5-/10",
            "bytes -5/10",
            "bytes +5-9/10",
            "bytes 5-9",
            "bytes 5-9/x",
            "items 5-9/10",
            "bytes 99999999999999999999-99999999999999999999/*",
        ] {
            assert_eq!(content_range(bad), None, "{bad:?}");
        }
    }
}
