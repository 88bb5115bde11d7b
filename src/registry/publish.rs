//! The push side of the distribution specification but for the bytes of blobs: what is there already, what is taken
//! over from another repository, and manifests, which go last.

use std::io;
use std::time::Duration;

use ureq::http::{Method, Uri, header};

use super::client::{Client, Want, refusal};
use super::endpoint::{self, Endpoint, Scheme};
use super::error::Error;
use super::reply::Reply;
use super::retry::Backoff;
use super::transport::{Send, without_query};
use crate::config::registries::Place;
use crate::oci::{Digest, Digester, Reference};

/// A registry may do a lot once it has all bytes: hash them, copy them to where they stay.
pub(super) const SETTLE: Duration = Duration::from_secs(300);

const CONTENT_DIGEST: &str = "docker-content-digest";
/// The registry has noted the manifest as a referrer of this one.
const SUBJECT: &str = "oci-subject";

/// A manifest that a registry took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Put {
    pub(super) digest: Digest,
    pub(super) subject: Option<Digest>,
}

impl Client {
    /// Whether the repository has the blob. A registry that hides what it has from strangers says no.
    pub fn has_blob(&self, r: &Reference, digest: &Digest) -> Result<bool, Error> {
        let mut backoff = Backoff::new(self.retries(), self.retries());
        let want = Want::Exists(digest);
        let place = self.own_place(r)?;
        loop {
            let result = self
                .ask(&place, want)
                .and_then(|reply| match reply.status() {
                    200 => Ok(true),
                    404 => Ok(false),
                    _ => Err(refusal(reply, &want.describe(r))),
                });
            match result {
                // What may be pushed need not be there yet: the upload will say what is wrong.
                Err(Error::LoginNeeded { .. } | Error::Denied { .. }) => return Ok(false),
                Err(e) => backoff.sleep(e)?,
                found => return found,
            }
        }
    }

    /// Ask the registry to take the blob from another of its repositories. `false`: it does not.
    pub fn mount(&self, r: &Reference, digest: &Digest, from: &str) -> Result<bool, Error> {
        let what = Want::Exists(digest).describe(r);
        let mut backoff = Backoff::new(self.retries(), self.retries());
        loop {
            let query = format!("?mount={digest}&from={from}");
            let result = self.post(r, &query, &what).and_then(|(_, reply)| {
                match reply.status() {
                    201 => Ok(true),
                    // It began an upload, which it forgets by itself; or it does not know mounting, or may not.
                    202 | 400 | 403 | 404 | 405 => Ok(false),
                    _ => Err(refusal(reply, &what)),
                }
            });
            match result {
                Err(Error::LoginNeeded { .. }) => return Ok(false),
                Err(e) => backoff.sleep(e)?,
                mounted => return mounted,
            }
        }
    }

    /// Upload a manifest under the tag, or the digest, of `r`. Its digest comes back.
    pub fn put_manifest(
        &self,
        r: &Reference,
        bytes: &[u8],
        media_type: &str,
    ) -> Result<Digest, Error> {
        Ok(self.put_manifest_noted(r, bytes, media_type)?.digest)
    }

    /// The same; also whether the registry noted its `subject`, if it has one.
    pub(super) fn put_manifest_noted(
        &self,
        r: &Reference,
        bytes: &[u8],
        media_type: &str,
    ) -> Result<Put, Error> {
        let digest = Digest::of(bytes);
        let mut backoff = Backoff::new(self.retries(), self.retries());
        loop {
            match self.put_manifest_once(r, bytes, media_type, &digest) {
                Ok(subject) => return Ok(Put { digest, subject }),
                Err(e) => backoff.sleep(e)?,
            }
        }
    }

    fn put_manifest_once(
        &self,
        r: &Reference,
        bytes: &[u8],
        media_type: &str,
        digest: &Digest,
    ) -> Result<Option<Digest>, Error> {
        let subject = self.subject(r.registry(), r.repository()).pushing();
        let scheme = self.scheme(r)?;
        let uri = parse(&Endpoint::of(r.registry()).url(scheme, &endpoint::manifest(r)))?;
        let reply = self.authorized(subject, scheme, |authorization| {
            let mut body = bytes;
            self.transport().send(Send {
                authorization,
                headers: &[(header::CONTENT_TYPE, media_type)],
                body: Some((bytes.len() as u64, &mut body)),
                patience: SETTLE,
                ..Send::new(Method::PUT, uri.clone(), subject)
            })
        })?;
        if !(200..300).contains(&reply.status()) {
            return Err(refusal(reply, &r.to_string()));
        }
        // What it says it has must be what it got; saying nothing is allowed.
        let said = reply.header(CONTENT_DIGEST).map(str::parse::<Digest>);
        if let Some(Ok(said)) = said {
            let mut digester = Digester::new(said.algorithm());
            digester.update(bytes);
            if digester.finish() != said {
                return Err(Error::Digest {
                    what: r.to_string(),
                    want: digest.clone(),
                    got: said,
                });
            }
        }
        let noted = reply.header(SUBJECT).map(str::parse::<Digest>);
        Ok(noted.and_then(Result::ok))
    }

    /// Begin an upload; also where the reply came from.
    pub(super) fn post(
        &self,
        r: &Reference,
        query: &str,
        what: &str,
    ) -> Result<(Uri, Reply), Error> {
        let subject = self.subject(r.registry(), r.repository()).pushing();
        let scheme = self.scheme(r)?;
        let path = endpoint::uploads(r) + query;
        let uri = parse(&Endpoint::of(r.registry()).url(scheme, &path))?;
        let reply = self.authorized(subject, scheme, |authorization| {
            self.transport().send(Send {
                authorization,
                body: Some((0, &mut io::empty())),
                ..Send::new(Method::POST, uri.clone(), subject)
            })
        })?;
        log::debug!("{what}: {} answered {}", reply.host, reply.status());
        Ok((uri, reply))
    }

    /// Where the name itself says, and no mirror: they take nothing. A blocked registry is an error.
    pub(super) fn own_place(&self, r: &Reference) -> Result<Place, Error> {
        self.registries().places(r).map_err(Box::new)?;
        Ok(Place {
            reference: r.clone(),
            insecure: self.registries().is_insecure(r.registry(), r.repository()),
            mirror: false,
        })
    }

    /// What the registry speaks, which the first request shows.
    pub(super) fn scheme(&self, r: &Reference) -> Result<Scheme, Error> {
        let subject = self.subject(r.registry(), r.repository());
        if let Some(scheme) = self.known_scheme(subject) {
            return Ok(scheme);
        }
        // Any question will do. One about a blob that nobody has costs least.
        self.has_blob(r, &Digest::of(b""))?;
        self.known_scheme(subject).ok_or_else(|| Error::Url {
            url: r.registry().to_owned(),
        })
    }
}

pub(super) fn parse(url: &str) -> Result<Uri, Error> {
    url.parse().map_err(|_| Error::Url {
        url: without_query(url),
    })
}
