//! The requests that pulling needs, and what their statuses mean; what they share with those of `upload.rs`.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use ureq::http::{HeaderValue, Uri, header};

use super::auth::Auth;
use super::blob::Blob;
use super::endpoint::{self, Endpoint, Scheme};
use super::error::{Error, Notice};
use super::message::Message;
use super::reply::Reply;
use super::retry::{Backoff, retry_after};
use super::subject::Subject;
use super::transport::{Call, Settings, Transport};
use crate::config::auth::Credentials;
use crate::config::certs::Certs;
use crate::config::proxy::Proxies;
use crate::config::registries::{Place, Registries};
use crate::oci::{Digest, DigestError, Digester, MANIFEST_MAX, Reference, media};

const CONTENT_DIGEST: &str = "docker-content-digest";
/// A media type longer than this is none (RFC 6838, 4.2: 127 characters each side of the slash).
const MEDIA_TYPE_MAX: usize = 255;

/// How to reach registries.
#[derive(Clone, Debug)]
pub struct Options {
    /// Check certificates, and never speak plain http but to a loopback address.
    pub tls_verify: bool,
    /// Logins.
    pub credentials: Credentials,
    /// Proxies.
    pub proxies: Proxies,
    /// Certificates of single registries.
    pub certs: Certs,
    /// Mirrors and the like.
    pub registries: Registries,
    /// Longest time to connect, TLS handshake included.
    pub connect_timeout: Duration,
    /// A connection on which no byte came for this long has stalled.
    pub stall_timeout: Duration,
    /// Tries after the first, counted anew after each progress.
    pub retries: u32,
    /// What we call ourselves.
    pub user_agent: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tls_verify: true,
            credentials: Credentials::none(),
            registries: Registries::none(),
            certs: Certs::none(),
            proxies: Proxies::none(),
            connect_timeout: Duration::from_secs(20),
            stall_timeout: Duration::from_secs(30),
            retries: 5,
            user_agent: concat!("coracle/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// A client for all registries. Cheap to clone; clones share connections and tokens. All methods
/// block, and may be called by many threads at once.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    transport: Transport,
    auth: Auth,
    registries: Registries,
    /// By name of a repository, the name of the place that served it.
    served: Mutex<HashMap<String, String>>,
    tls_verify: bool,
    retries: u32,
    /// What a registry was found to speak, with and without a check of certificates.
    schemes: Mutex<HashMap<(String, bool), Scheme>>,
}

/// A manifest as it came. The digest is that of the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The document, byte for byte.
    pub bytes: Vec<u8>,
    /// `Content-Type` without parameters: a claim of the registry.
    pub media_type: Option<String>,
    /// Computed from the bytes, and equal to what was asked for, if that was a digest.
    pub digest: Digest,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Want<'a> {
    Manifest,
    /// The bytes of a blob from this one on, and to before that one.
    Blob(&'a Digest, u64, Option<u64>),
    /// Whether the blob is there.
    Exists(&'a Digest),
}

impl Want<'_> {
    /// For messages.
    pub(super) fn describe(self, r: &Reference) -> String {
        match self {
            Self::Manifest => r.to_string(),
            Self::Blob(d, ..) | Self::Exists(d) => format!("blob {d} of {}", r.name()),
        }
    }
}

/// A request of the API, as it is before it is known how the registry is spoken to.
#[derive(Clone, Debug)]
pub(super) struct Get<'a> {
    pub(super) subject: Subject<'a>,
    /// Path and query.
    pub(super) path: String,
    pub(super) accept: Option<String>,
    /// First byte wanted.
    pub(super) from: u64,
    /// The one after the last, if it is not all that follows.
    pub(super) to: Option<u64>,
    /// Only the head of the reply.
    pub(super) head: bool,
    /// For messages.
    pub(super) what: String,
}

impl Client {
    /// A client. Does nothing yet: no file is read and nothing is sent.
    pub fn new(options: Options) -> Self {
        // ureq takes it for granted that this is a header value.
        let user_agent = options
            .user_agent
            .chars()
            .filter(|c| c.is_ascii_graphic() || *c == ' ')
            .collect();
        let auth = Auth::new(options.credentials);
        for notice in options.registries.notices() {
            auth.add_notice(notice.clone().into());
        }
        Self(Arc::new(Inner {
            transport: Transport::new(
                Settings {
                    connect_timeout: options.connect_timeout,
                    stall_timeout: options.stall_timeout,
                    user_agent,
                    proxies: options.proxies,
                },
                options.certs,
            ),
            auth,
            registries: options.registries,
            served: Mutex::default(),
            tls_verify: options.tls_verify,
            retries: options.retries,
            schemes: Mutex::default(),
        }))
    }

    /// Get a manifest or an index.
    ///
    /// When `r` has a digest the bytes are checked against it; the registry's own claim
    /// (`Docker-Content-Digest`) is checked in any case. More than [`MANIFEST_MAX`] bytes are refused
    /// without being read.
    pub fn manifest(&self, r: &Reference) -> Result<Fetched, Error> {
        self.at_places(r, |place| {
            let mut backoff = Backoff::new(self.0.retries, self.0.retries);
            loop {
                match self.manifest_once(place) {
                    Ok(fetched) => return Ok(fetched),
                    Err(e) => backoff.sleep(e)?,
                }
            }
        })
    }

    /// Open a blob at `offset`. The stream yields the bytes from there to `size` and heals itself:
    /// see [`Blob`]. It does not check the digest; the caller hashes what it reads.
    pub fn blob(&self, r: &Reference, d: &Digest, size: u64, offset: u64) -> Result<Blob, Error> {
        Blob::open(self.clone(), r, d, size, offset, None)
    }

    /// Open a part of a blob: as [`Client::blob`], to before the end of `range`. A registry that gives no parts is
    /// [`Error::NoRanges`].
    pub fn part(
        &self,
        r: &Reference,
        d: &Digest,
        size: u64,
        range: Range<u64>,
    ) -> Result<Blob, Error> {
        Blob::open(self.clone(), r, d, size, range.start, Some(range.end))
    }

    /// What did not work as configured since the last call: to be shown as warnings.
    pub fn take_notices(&self) -> Vec<Notice> {
        self.0.auth.take_notices()
    }

    /// A repository of a registry, or the registry as such, by the rules that hold for it.
    pub(super) fn subject<'a>(&self, registry: &'a str, repository: &'a str) -> Subject<'a> {
        Subject {
            registry,
            repository,
            verify: self.0.tls_verify && !self.0.registries.is_insecure(registry, repository),
            push: false,
        }
    }

    /// Whether the last reply came for a login or a token.
    pub(super) fn was_granted(&self, subject: Subject<'_>) -> bool {
        self.0.auth.cached(subject).is_some()
    }

    pub(super) fn registries(&self) -> &Registries {
        &self.0.registries
    }

    pub(super) fn add_notice(&self, notice: Notice) {
        self.0.auth.add_notice(notice);
    }

    /// The name of the place that served this repository last.
    pub(super) fn served_by(&self, r: &Reference) -> Option<String> {
        lock(&self.0.served).get(&r.name()).cloned()
    }

    pub(super) fn note_served(&self, r: &Reference, place: &Place) {
        lock(&self.0.served).insert(r.name(), place.reference.name());
    }

    pub(super) fn retries(&self) -> u32 {
        self.0.retries
    }

    fn manifest_once(&self, place: &Place) -> Result<Fetched, Error> {
        let r = &place.reference;
        let what = || r.to_string();
        let reply = self.ask(place, Want::Manifest)?;
        if reply.status() != 200 {
            return Err(refusal(reply, &what()));
        }
        let media_type = reply
            .header(header::CONTENT_TYPE)
            .and_then(media_type_of)
            .map(str::to_owned);
        let claimed = match reply.header(CONTENT_DIGEST).map(str::parse::<Digest>) {
            // The digest of a schema 1 manifest is not that of its bytes, which hold signatures too.
            _ if media_type.as_deref() == Some(media::DOCKER_SCHEMA1) => None,
            Some(Ok(d)) => Some(d),
            Some(Err(DigestError::UnknownAlgorithm(_))) | None => None,
            Some(Err(_)) => return Err(reply.bad_header(CONTENT_DIGEST)),
        };
        let bytes = reply
            .into_vec(MANIFEST_MAX)?
            .ok_or_else(|| Error::ManifestTooLarge { what: what() })?;
        for want in [r.digest(), claimed.as_ref()].into_iter().flatten() {
            let mut digester = Digester::new(want.algorithm());
            digester.update(&bytes);
            let got = digester.finish();
            if got != *want {
                return Err(Error::Digest {
                    what: what(),
                    want: want.clone(),
                    got,
                });
            }
        }
        let digest = match r.digest() {
            Some(d) => d.clone(),
            None => Digest::of(&bytes),
        };
        Ok(Fetched {
            bytes,
            media_type,
            digest,
        })
    }

    /// Ask for a part of an image: see [`Client::get`].
    pub(super) fn ask(&self, place: &Place, want: Want<'_>) -> Result<Reply, Error> {
        let r = &place.reference;
        let (path, accept, from, to) = match want {
            Want::Manifest => {
                let accept = media::ACCEPT.join(", ");
                (endpoint::manifest(r), Some(accept), 0, None)
            }
            Want::Blob(d, from, to) => (endpoint::blob(r, d), None, from, to),
            Want::Exists(d) => (endpoint::blob(r, d), None, 0, None),
        };
        self.get(&Get {
            subject: Subject::of(r, self.0.tls_verify && !place.insecure),
            path,
            accept,
            from,
            to,
            head: matches!(want, Want::Exists(_)),
            what: want.describe(r),
        })
    }

    /// Ask once, in the scheme that the registry speaks: the reply has any status but a 401 that a
    /// login could change.
    pub(super) fn get(&self, get: &Get<'_>) -> Result<Reply, Error> {
        let subject = get.subject;
        let endpoint = Endpoint::of(subject.registry);
        let key = (subject.registry.to_owned(), subject.verify);
        let known = lock(&self.0.schemes).get(&key).copied();
        let schemes = match &known {
            Some(s) => std::slice::from_ref(s),
            None => endpoint.schemes(subject.verify),
        };
        let mut first: Option<Error> = None;
        for (i, &scheme) in schemes.iter().enumerate() {
            let last = i + 1 == schemes.len();
            match self.get_via(&endpoint, scheme, get) {
                // How a TLS server tells a client of plain http.
                Ok(reply) if !last && reply.status() == 400 => {
                    first = Some(refusal(reply, &get.what));
                }
                Ok(reply) => {
                    if known.is_none() {
                        lock(&self.0.schemes).insert(key, scheme);
                    }
                    return Ok(reply);
                }
                Err(e) if !last && is_wrong_scheme(&e) => first = Some(e),
                Err(e @ Error::LoginNeeded { .. }) => {
                    // It spoke. What it says to others may be more.
                    lock(&self.0.schemes).insert(key, scheme);
                    return Err(e);
                }
                // Of two failed connections the first is the one that should have worked.
                Err(e) => {
                    return Err(match first {
                        Some(f) if is_wrong_scheme(&e) && is_wrong_scheme(&f) => f,
                        _ => e,
                    });
                }
            }
        }
        // Not reached: a list of schemes is never empty, and its last one returns.
        Err(Error::Url {
            url: endpoint.authority,
        })
    }

    fn get_via(&self, endpoint: &Endpoint, scheme: Scheme, get: &Get<'_>) -> Result<Reply, Error> {
        let url = endpoint.url(scheme, &get.path);
        let uri: Uri = url.parse().map_err(|_| Error::Url { url })?;
        self.authorized(get.subject, scheme, |authorization| {
            self.0.transport.follow(Call {
                accept: get.accept.as_deref(),
                authorization,
                range: (get.from > 0 || get.to.is_some()).then_some((get.from, get.to)),
                head: get.head,
                ..Call::get(uri.clone(), get.subject)
            })
        })
    }

    /// Send with what the registry granted last; if it wants more, answer its challenge and send again.
    pub(super) fn authorized(
        &self,
        subject: Subject<'_>,
        scheme: Scheme,
        mut send: impl FnMut(Option<&HeaderValue>) -> Result<Reply, Error>,
    ) -> Result<Reply, Error> {
        let Inner {
            transport, auth, ..
        } = &*self.0;
        let cached = auth.cached(subject);
        let reply = send(cached.as_ref())?;
        // A stranger that we were sent to may not ask for our credentials.
        if reply.status() != 401 || !reply.home {
            return Ok(reply);
        }
        if let Some(old) = &cached {
            auth.forget(subject, old);
        }
        let fresh = auth.answer(transport, subject, scheme, reply)?;
        let mut reply = send(Some(&fresh))?;
        if reply.status() == 401 && reply.home {
            auth.forget(subject, &fresh);
            return Err(auth.login_needed(subject, Message::of_body(&reply.words())));
        }
        Ok(reply)
    }

    /// What this registry was found to speak.
    pub(super) fn known_scheme(&self, subject: Subject<'_>) -> Option<Scheme> {
        let key = (subject.registry.to_owned(), subject.verify);
        lock(&self.0.schemes).get(&key).copied()
    }

    pub(super) fn transport(&self) -> &Transport {
        &self.0.transport
    }
}

/// The error for a status that is no success.
pub(super) fn refusal(mut reply: Reply, what: &str) -> Error {
    let said = Message::of_body(&reply.words());
    let host = reply.host.clone();
    let what = what.to_owned();
    match reply.status() {
        403 => Error::Denied { host, what, said },
        404 | 410 => Error::NotFound { what, said },
        429 => Error::RateLimited {
            host,
            wait: reply
                .header(header::RETRY_AFTER)
                .and_then(|v| retry_after(v, SystemTime::now())),
            said,
        },
        status @ (500 | 502..=504) => Error::Server { host, status, said },
        status => Error::Status {
            host,
            status,
            what,
            said,
        },
    }
}

/// Errors that talking http to https, or the other way round, looks like.
fn is_wrong_scheme(e: &Error) -> bool {
    matches!(
        e,
        Error::Tls { .. } | Error::Protocol { .. } | Error::Broken { .. } | Error::Connect { .. }
    )
}

/// A media type without its parameters, if it looks like one.
fn media_type_of(value: &str) -> Option<&str> {
    let value = value.split(';').next().unwrap_or_default().trim();
    let ok = value.len() <= MEDIA_TYPE_MAX
        && value.contains('/')
        && value.bytes().all(|b| b.is_ascii_graphic());
    ok.then_some(value)
}

/// A thread that panicked leaves the map whole: every change is one insert.
fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_shared_by_threads() {
        fn shared<T: Send + Sync>() {}
        fn sent<T: Send>() {}
        shared::<Client>();
        sent::<Blob>();
    }

    #[test]
    fn media_types() {
        for (value, want) in [
            ("a/b", Some("a/b")),
            ("a/b; charset=utf-8", Some("a/b")),
            (" a/b ", Some("a/b")),
            ("text", None),
            ("a/b c", None),
            ("", None),
        ] {
            assert_eq!(media_type_of(value), want);
        }
        assert_eq!(media_type_of(&format!("a/{}", "b".repeat(300))), None);
    }
}
