//! What a registry granted us, and how to get it: the cache of tokens, and the token service
//! (distribution project, "Token Authentication Specification" and "OAuth 2 Specification").
//!
//! Lock order: the two locks here are never held together, and never while a request runs.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde::Deserialize;
use ureq::http::{HeaderValue, Uri, header};

use super::challenge::{self, Challenge};
use super::endpoint::Scheme;
use super::error::{Error, Notice};
use super::message::{Message, SHOWN_MAX, shorten};
use super::reply::Reply;
use super::subject::{Key, Subject};
use super::transport::{Call, Transport, host_of, without_query};
use crate::config::auth::{self, Credentials, Login};

/// Tokens are some kilobytes; a longer one would not fit into the head of a request.
const TOKEN_MAX: usize = 32 << 10;
/// The reply repeats the token, and adds a little.
const TOKEN_REPLY_MAX: u64 = 256 << 10;
/// How long a token is good when its service does not say (token specification).
const TOKEN_LIFE: Duration = Duration::from_secs(60);
/// A token that has less than this left is not used any more.
const TOKEN_SLACK: Duration = Duration::from_secs(5);
/// How we call ourselves at an OAuth service.
const CLIENT_ID: &str = "coracle";

/// Grants of all registries.
#[derive(Debug)]
pub(super) struct Auth {
    credentials: Credentials,
    grants: Mutex<HashMap<Key, Grant>>,
    notices: Mutex<Vec<Notice>>,
}

/// An `Authorization` header for one repository: tokens are made for one.
#[derive(Clone, Debug)]
struct Grant {
    header: HeaderValue,
    until: Option<Instant>,
}

impl Auth {
    pub(super) fn new(credentials: Credentials) -> Self {
        Self {
            credentials,
            grants: Mutex::default(),
            notices: Mutex::default(),
        }
    }

    /// Warnings since the last call.
    pub(super) fn take_notices(&self) -> Vec<Notice> {
        std::mem::take(&mut *lock(&self.notices))
    }

    pub(super) fn add_notice(&self, notice: Notice) {
        let mut notices = lock(&self.notices);
        if !notices.contains(&notice) {
            notices.push(notice);
        }
    }

    /// The header that served this repository last, while it is good. A login is as good for writing as for reading.
    pub(super) fn cached(&self, s: Subject<'_>) -> Option<HeaderValue> {
        let mut grants = lock(&self.grants);
        let other = Subject { push: !s.push, ..s };
        let is_login = |key: &Key| grants.get(key).is_some_and(|g| g.until.is_none());
        let key = match (grants.contains_key(&s.key()), is_login(&other.key())) {
            (false, true) => other.key(),
            _ => s.key(),
        };
        let grant = grants.get(&key)?;
        if grant.until.is_some_and(|t| t <= Instant::now()) {
            grants.remove(&key);
            return None;
        }
        Some(grant.header.clone())
    }

    /// The registry refused this header. Another thread may have put a better one there already.
    pub(super) fn forget(&self, s: Subject<'_>, header: &HeaderValue) {
        let mut grants = lock(&self.grants);
        for key in [s.key(), Subject { push: !s.push, ..s }.key()] {
            if grants.get(&key).is_some_and(|g| g.header == *header) {
                grants.remove(&key);
            }
        }
    }

    /// The error for a 401.
    pub(super) fn login_needed(&self, s: Subject<'_>, said: Message) -> Error {
        let found = self.credentials.find(s.registry, s.repository);
        Error::LoginNeeded {
            registry: s.registry.to_owned(),
            repository: s.shown(),
            had_login: found.login.is_some(),
            helper: found
                .notice
                .map(|auth::Notice::Helper { source, .. }| Box::new(source)),
            said,
        }
    }

    /// Answer the challenge of a 401: the header to ask again with.
    pub(super) fn answer(
        &self,
        transport: &Transport,
        s: Subject<'_>,
        scheme: Scheme,
        mut reply: Reply,
    ) -> Result<HeaderValue, Error> {
        let found = self.credentials.find(s.registry, s.repository);
        if let Some(notice) = found.notice {
            self.add_notice(notice.into());
        }
        let challenge = challenge::parse(reply.headers(header::WWW_AUTHENTICATE));
        let said = Message::of_body(&reply.words());
        let grant = match (challenge, found.login) {
            (
                Some(Challenge::Bearer {
                    realm,
                    service,
                    scope,
                }),
                login,
            ) => {
                let scope = scope.unwrap_or_else(|| match s.repository {
                    "" => String::new(),
                    repository if s.push => format!("repository:{repository}:pull,push"),
                    repository => format!("repository:{repository}:pull"),
                });
                let realm = realm_uri(s, scheme, &realm, &reply)?;
                let ask = Ask {
                    realm,
                    service: service.as_deref(),
                    scope: &scope,
                    login: login.as_ref(),
                };
                self.token(transport, s, &ask)?
            }
            (Some(Challenge::Basic), Some(Login::Password { user, password })) => Grant {
                header: basic(&user, &password),
                until: None,
            },
            (Some(Challenge::Basic), _) => return Err(self.login_needed(s, said)),
            (None, _) => match reply.header(header::WWW_AUTHENTICATE) {
                Some(challenge) => {
                    return Err(Error::Challenge {
                        host: reply.host.clone(),
                        challenge: shorten(challenge, SHOWN_MAX),
                    });
                }
                None => return Err(self.login_needed(s, said)),
            },
        };
        let header = grant.header.clone();
        lock(&self.grants).insert(s.key(), grant);
        Ok(header)
    }

    fn token(&self, transport: &Transport, s: Subject<'_>, ask: &Ask<'_>) -> Result<Grant, Error> {
        let mut reply = ask.send(transport, s)?;
        let host = reply.host.clone();
        match reply.status() {
            200..=299 => {}
            401 | 403 => {
                let said = Message::of_body(&reply.words());
                return Err(self.login_needed(s, said));
            }
            _ => return Err(super::client::refusal(reply, "a token")),
        }
        let body = reply
            .into_vec(TOKEN_REPLY_MAX)?
            .ok_or_else(|| Error::ReplyTooLarge {
                host: host.clone(),
                limit: TOKEN_REPLY_MAX,
            })?;
        grant(&body, Instant::now()).ok_or(Error::NoToken { host })
    }
}

/// A request to a token service.
struct Ask<'a> {
    realm: Uri,
    service: Option<&'a str>,
    scope: &'a str,
    login: Option<&'a Login>,
}

impl Ask<'_> {
    fn send(&self, transport: &Transport, s: Subject<'_>) -> Result<Reply, Error> {
        let mut query = String::new();
        if let Some(service) = self.service {
            push_pair(&mut query, "service", service);
        }
        // One pair for each scope: that is how the specification spells a list.
        for scope in self.scope.split_ascii_whitespace() {
            push_pair(&mut query, "scope", scope);
        }
        match self.login {
            Some(Login::IdentityToken(token)) => {
                push_pair(&mut query, "grant_type", "refresh_token");
                push_pair(&mut query, "client_id", CLIENT_ID);
                push_pair(&mut query, "refresh_token", token);
                transport.follow(Call {
                    form: Some(&query),
                    ..Call::get(self.realm.clone(), s)
                })
            }
            Some(Login::Password { user, password }) => {
                push_pair(&mut query, "account", user);
                let header = basic(user, password);
                transport.follow(Call {
                    authorization: Some(&header),
                    ..Call::get(self.with_query(&query)?, s)
                })
            }
            None => transport.follow(Call::get(self.with_query(&query)?, s)),
        }
    }

    fn with_query(&self, query: &str) -> Result<Uri, Error> {
        let realm = self.realm.to_string();
        let mark = if self.realm.query().is_some() {
            '&'
        } else {
            '?'
        };
        format!("{realm}{mark}{query}")
            .parse()
            .map_err(|_| Error::Url {
                url: without_query(&realm),
            })
    }
}

/// The token service's URL. It gets credentials, so it must be https, unless the registry itself is
/// spoken to in plain http (it is on a loopback address, or the user allowed it).
fn realm_uri(s: Subject<'_>, scheme: Scheme, realm: &str, reply: &Reply) -> Result<Uri, Error> {
    let bad = || reply.bad_header("www-authenticate");
    let uri: Uri = realm.parse().map_err(|_| bad())?;
    if uri.authority().is_none() || host_of(&uri).contains('@') {
        return Err(bad());
    }
    match uri.scheme_str() {
        Some("https") => Ok(uri),
        Some("http") if scheme == Scheme::Http => Ok(uri),
        Some("http") => Err(Error::RealmNotHttps {
            registry: s.registry.to_owned(),
            realm: without_query(realm),
        }),
        _ => Err(bad()),
    }
}

#[derive(Deserialize)]
struct TokenReply {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

/// A token service's reply, as a header.
fn grant(body: &[u8], now: Instant) -> Option<Grant> {
    let reply: TokenReply = serde_json::from_slice(body).ok()?;
    let token = [reply.token, reply.access_token]
        .into_iter()
        .flatten()
        .find(|t| !t.is_empty())?;
    // A token that is no header value (control characters) is no token.
    if token.len() > TOKEN_MAX || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return None;
    }
    let mut header = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    header.set_sensitive(true);
    let life = reply
        .expires_in
        .map_or(TOKEN_LIFE, Duration::from_secs)
        .saturating_sub(TOKEN_SLACK);
    Some(Grant {
        header,
        // A time too far away for the clock is no limit.
        until: now.checked_add(life),
    })
}

fn basic(user: &str, password: &str) -> HeaderValue {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    // Base64 is always a header value.
    let mut header = HeaderValue::try_from(format!("Basic {pair}"))
        .unwrap_or_else(|_| HeaderValue::from_static("Basic"));
    header.set_sensitive(true);
    header
}

/// Append `&name=value`, percent-encoded but for unreserved characters (RFC 3986, 2.3).
pub(super) fn push_pair(out: &mut String, name: &str, value: &str) {
    if !out.is_empty() {
        out.push('&');
    }
    out.push_str(name);
    out.push('=');
    for b in value.bytes() {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            out.push(char::from(b));
        } else {
            out.push('%');
            out.push_str(&base16ct::upper::encode_string(&[b]));
        }
    }
}

/// A thread that panicked leaves the map whole: every change is one insert or one remove.
fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        let now = Instant::now();
        let header = |s: &str| grant(s.as_bytes(), now).map(|g| g.header);
        let want = |s: &'static str| Some(HeaderValue::from_static(s));
        assert_eq!(header(r#"{"token":"a.b-c"}"#), want("Bearer a.b-c"));
        assert_eq!(header(r#"{"access_token":"x"}"#), want("Bearer x"));
        assert_eq!(
            header(r#"{"token":"","access_token":"x"}"#),
            want("Bearer x")
        );
        for bad in [
            "",
            "{}",
            "[]",
            r#"{"token":""}"#,
            r#"{"token":"a\r\nX-Evil: 1"}"#,
            r#"{"token":"a b"}"#,
            r#"{"token":"ü"}"#,
            r#"{"token":3}"#,
        ] {
            assert_eq!(header(bad), None, "{bad:?}");
        }
        let sized = |n| header(&format!(r#"{{"token":"{}"}}"#, "t".repeat(n)));
        assert!(sized(TOKEN_MAX).is_some() && sized(TOKEN_MAX + 1).is_none());
        let until = |s: &str| grant(s.as_bytes(), now).unwrap().until;
        let secs = Duration::from_secs;
        assert_eq!(until(r#"{"token":"a"}"#), Some(now + secs(55)));
        assert_eq!(
            until(r#"{"token":"a","expires_in":300}"#),
            Some(now + secs(295))
        );
        assert_eq!(until(r#"{"token":"a","expires_in":1}"#), Some(now));
        assert_eq!(
            until(r#"{"token":"a","expires_in":18446744073709551615}"#),
            None
        );
    }

    #[test]
    fn a_query_is_encoded() {
        let mut q = String::new();
        push_pair(&mut q, "service", "a b&c=d");
        push_pair(&mut q, "scope", "repository:x/y:pull");
        assert_eq!(q, "service=a%20b%26c%3Dd&scope=repository%3Ax%2Fy%3Apull");
    }

    #[test]
    fn a_grant_does_not_show_its_secret() {
        let g = grant(br#"{"token":"s3cret"}"#, Instant::now()).unwrap();
        assert!(!format!("{g:?}").contains("s3cret"));
    }
}
