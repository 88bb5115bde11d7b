//! One request, its reply, and the redirects between them. Everything that `ureq` is asked to do is
//! asked here: time limits, TLS, proxies, and what its errors mean.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ureq::http::{HeaderName, HeaderValue, Method, Request, Response, Uri, header};
use ureq::tls::TlsConfig;
use ureq::{Agent, AsSendBody, Body, SendBody, Timeout};

use super::endpoint::is_loopback;
use super::error::Error;
use super::message::{SHOWN_MAX, shorten};
use super::redirect;
use super::reply::Reply;
use super::subject::Subject;
use super::tls::Tls;
use crate::config::certs::Certs;
use crate::config::proxy::{Proxies, Proxy};

/// A reply's head may have this many bytes (signed URLs and cookies are long).
const HEAD_MAX: usize = 64 << 10;
/// The body of a redirect is read only if it is as short as this.
const REDIRECT_BODY_MAX: u64 = 4 << 10;
/// Bytes that one read from a socket can bring; ureq copies from there to the caller.
const INPUT_BUFFER: usize = 256 << 10;
/// A request's head must fit, with a token as large as the registry's service likes to make it.
const OUTPUT_BUFFER: usize = 64 << 10;
/// Connections kept per host: as many as a pull has threads.
const IDLE_PER_HOST: usize = 8;

/// The part of the options that concerns a connection.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) connect_timeout: Duration,
    pub(super) stall_timeout: Duration,
    pub(super) user_agent: String,
    pub(super) proxies: Proxies,
}

/// Connections. Each kind of agent is made when the first request needs it, and so are certificates read.
#[derive(Debug)]
pub(super) struct Transport {
    settings: Settings,
    agents: Mutex<HashMap<Kind, Agent>>,
    tls: Tls,
}

/// What connections of one agent have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kind {
    proxy: Option<Proxy>,
    /// `None` for plain http.
    tls: Option<TlsKind>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct TlsKind {
    /// Whether certificates are checked.
    verify: bool,
    /// On whose behalf, and to whom; both empty where nothing is configured for them.
    registry: String,
    host: String,
}

impl Kind {
    fn without_host(&self) -> Self {
        Self {
            proxy: self.proxy.clone(),
            tls: self.tls.as_ref().map(|tls| TlsKind {
                verify: tls.verify,
                registry: String::new(),
                host: String::new(),
            }),
        }
    }
}

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Call<'a> {
    pub(super) uri: Uri,
    /// On whose behalf; not always the host that is asked.
    pub(super) subject: Subject<'a>,
    pub(super) accept: Option<&'a str>,
    pub(super) authorization: Option<&'a HeaderValue>,
    /// First byte wanted, and the one after the last; without the second, all that follows.
    pub(super) range: Option<(u64, Option<u64>)>,
    /// Body of a POST; a GET without.
    pub(super) form: Option<&'a str>,
    /// Only the head of what a GET would bring.
    pub(super) head: bool,
}

/// A request that changes something, or asks about one that does. It is sent once: redirects are the caller's.
pub(super) struct Send<'a> {
    pub(super) subject: Subject<'a>,
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) authorization: Option<&'a HeaderValue>,
    pub(super) headers: &'a [(HeaderName, &'a str)],
    /// Length and content.
    pub(super) body: Option<(u64, &'a mut dyn Read)>,
    /// How long the reply may take once all is sent; at least the time after which a connection has stalled.
    pub(super) patience: Duration,
}

impl<'a> Send<'a> {
    /// A request without anything.
    pub(super) fn new(method: Method, uri: Uri, subject: Subject<'a>) -> Self {
        Self {
            subject,
            method,
            uri,
            authorization: None,
            headers: &[],
            body: None,
            patience: Duration::ZERO,
        }
    }
}

impl<'a> Call<'a> {
    /// A GET of this URL, with nothing else.
    pub(super) fn get(uri: Uri, subject: Subject<'a>) -> Self {
        Self {
            uri,
            subject,
            accept: None,
            authorization: None,
            range: None,
            form: None,
            head: false,
        }
    }
}

impl Transport {
    pub(super) fn new(settings: Settings, certs: Certs) -> Self {
        Self {
            settings,
            agents: Mutex::default(),
            tls: Tls::new(certs),
        }
    }

    /// Ask, and follow redirects. `authorization` is dropped at the first step to another origin and
    /// does not come back.
    pub(super) fn follow(&self, mut call: Call<'_>) -> Result<Reply, Error> {
        let origin = call.uri.clone();
        let mut home = true;
        for _ in 0..=redirect::LIMIT {
            let mut reply = self.once(&call)?;
            reply.home = home;
            if !matches!(reply.status(), 301 | 302 | 303 | 307 | 308) {
                return Ok(reply);
            }
            let location = reply.header(header::LOCATION).unwrap_or_default();
            let next = redirect::target(&call.uri, location).map_err(|refused| {
                let host = reply.host.clone();
                match refused {
                    redirect::Refused::Downgrade => Error::RedirectDowngrade {
                        host,
                        target: without_query(location),
                    },
                    redirect::Refused::Target => Error::RedirectTarget {
                        host,
                        target: without_query(location),
                    },
                }
            })?;
            // The connection can be used again once the body is gone, if it is a short one.
            if reply
                .content_length()
                .is_some_and(|n| n <= REDIRECT_BODY_MAX)
            {
                reply.words();
            }
            home = home && redirect::same_origin(&origin, &next);
            if !home {
                call.authorization = None;
            }
            // A form holds a token. It goes nowhere but where it was meant to go.
            call.form = None;
            call.uri = next;
        }
        Err(Error::RedirectLoop {
            host: host_of(&origin),
            limit: redirect::LIMIT,
        })
    }

    fn once(&self, call: &Call<'_>) -> Result<Reply, Error> {
        let host = host_of(&call.uri);
        let tls = call.uri.scheme_str() == Some("https");
        let mut request = Request::builder()
            .method(match call.form {
                Some(_) => Method::POST,
                None if call.head => Method::HEAD,
                None => Method::GET,
            })
            .uri(call.uri.clone());
        if let Some(accept) = call.accept {
            request = request.header(header::ACCEPT, accept);
        }
        if let Some(authorization) = call.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        if let Some((from, to)) = call.range {
            let last = to.map_or_else(String::new, |to| to.saturating_sub(1).to_string());
            request = request.header(header::RANGE, format!("bytes={from}-{last}"));
        }
        if call.form.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        let agent = self.agent(&call.uri, call.subject, &host, tls)?;
        let sent = match call.form {
            Some(form) => request
                .body(form)
                .map_err(ureq::Error::from)
                .and_then(|r| agent.run(r)),
            None => request
                .body(())
                .map_err(ureq::Error::from)
                .and_then(|r| agent.run(r)),
        };
        self.reply(sent, &call.uri, host, tls)
    }

    /// Send a request as it is.
    pub(super) fn send(&self, call: Send<'_>) -> Result<Reply, Error> {
        let host = host_of(&call.uri);
        let tls = call.uri.scheme_str() == Some("https");
        let mut request = Request::builder().method(call.method).uri(call.uri.clone());
        if let Some(authorization) = call.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        for (name, value) in call.headers {
            request = request.header(name, *value);
        }
        let agent = self.agent(&call.uri, call.subject, &host, tls)?;
        let patience = call.patience.max(self.settings.stall_timeout);
        let sent = match call.body {
            Some((length, content)) => request
                .header(header::CONTENT_LENGTH, length)
                .body(SendBody::from_reader(content))
                .map_err(ureq::Error::from)
                .and_then(|r| run(&agent, r, patience)),
            None => request
                .body(())
                .map_err(ureq::Error::from)
                .and_then(|r| run(&agent, r, patience)),
        };
        self.reply(sent, &call.uri, host, tls)
    }

    /// What came of a request.
    fn reply(
        &self,
        sent: Result<Response<Body>, ureq::Error>,
        uri: &Uri,
        host: String,
        tls: bool,
    ) -> Result<Reply, Error> {
        match sent {
            Ok(response) => Ok(Reply {
                host,
                home: true,
                stall: self.settings.stall_timeout,
                tls,
                response,
            }),
            Err(e) => {
                // The host may be well, and the proxy not.
                let by = match self.proxy(uri, tls).filter(|_| !is_loopback(&host)) {
                    Some(proxy) => format!("{host} by way of {}", proxy.variable),
                    None => host,
                };
                Err(fault(by, tls, &self.settings, e))
            }
        }
    }

    fn proxy(&self, uri: &Uri, tls: bool) -> Option<Proxy> {
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let host = uri.host().unwrap_or_default();
        self.settings.proxies.of(tls, host, port).cloned()
    }

    /// The connections for a call; `tls`: it is one by https.
    fn agent(
        &self,
        uri: &Uri,
        subject: Subject<'_>,
        host: &str,
        tls: bool,
    ) -> Result<Agent, Error> {
        // A thread that panicked leaves the map whole: every change is one insert.
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = Kind {
            // A loopback address is never asked for through a proxy: the proxy's loopback is not ours.
            proxy: (!is_loopback(host)).then(|| self.proxy(uri, tls)).flatten(),
            tls: tls.then(|| TlsKind {
                verify: subject.verify,
                registry: subject.registry.to_owned(),
                host: host.to_owned(),
            }),
        };
        if let Some(agent) = agents.get(&kind) {
            return Ok(agent.clone());
        }
        // Registries without certificates of their own share their connections.
        let (shared, config) = match &kind.tls {
            None => (kind.clone(), None),
            Some(of) => {
                let certs = self.tls.certs(&of.registry, &of.host)?;
                let shared = match certs.is_empty() {
                    true => kind.without_host(),
                    false => kind.clone(),
                };
                (shared, Some((of.verify, certs)))
            }
        };
        let made = match (agents.get(&shared), config) {
            (Some(agent), _) => agent.clone(),
            (None, None) => agent(&self.settings, kind.proxy.as_ref(), None)?,
            (None, Some((verify, certs))) => {
                let config = self.tls.config(verify, &certs)?;
                agent(&self.settings, kind.proxy.as_ref(), Some(config))?
            }
        };
        agents.insert(shared, made.clone());
        agents.insert(kind, made.clone());
        Ok(made)
    }
}

fn run(
    agent: &Agent,
    request: Request<impl AsSendBody>,
    patience: Duration,
) -> Result<Response<Body>, ureq::Error> {
    let request = agent
        .configure_request(request)
        .timeout_recv_response(Some(patience))
        .build();
    agent.run(request)
}

fn agent(s: &Settings, proxy: Option<&Proxy>, tls: Option<TlsConfig>) -> Result<Agent, Error> {
    let proxy = match proxy {
        None => None,
        // Without this it would be passed by, and what should have gone through it would go around.
        Some(given) => Some(ureq::Proxy::new(&given.url).map_err(|_| Error::ProxyUrl {
            variable: given.variable,
        })?),
    };
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .user_agent(s.user_agent.as_str())
        // A blob is wanted as it is stored, byte for byte.
        .accept_encoding("identity")
        .timeout_resolve(Some(s.connect_timeout))
        .timeout_connect(Some(s.connect_timeout))
        // A head is short: all of it within the time in which at least one byte must come.
        .timeout_recv_response(Some(s.stall_timeout))
        .timeout_send_request(Some(s.stall_timeout))
        .timeout_per_read(Some(s.stall_timeout))
        .timeout_per_write(Some(s.stall_timeout))
        .max_response_header_size(HEAD_MAX)
        .input_buffer_size(INPUT_BUFFER)
        .output_buffer_size(OUTPUT_BUFFER)
        .max_idle_connections(2 * IDLE_PER_HOST)
        .max_idle_connections_per_host(IDLE_PER_HOST);
    // Which hosts have one is decided by us: ureq would read the environment in its own way.
    config = config.proxy(proxy);
    if let Some(tls) = tls {
        config = config.tls_config(tls);
    }
    Ok(config.build().into())
}

/// What an error of ureq means to us.
fn fault(host: String, tls: bool, s: &Settings, e: ureq::Error) -> Error {
    use io::ErrorKind as Kind;
    match e {
        ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => Error::Connect {
            host,
            source: io::Error::new(
                Kind::TimedOut,
                format!("no answer in {} s", s.connect_timeout.as_secs_f32()),
            ),
        },
        ureq::Error::Timeout(_) => Error::Stalled {
            host,
            after: s.stall_timeout,
        },
        ureq::Error::HostNotFound => Error::HostNotFound { host },
        ureq::Error::LargeResponseHeader(_, limit) => Error::HeaderTooLarge { host, limit },
        ureq::Error::Rustls(_)
        | ureq::Error::Tls(_)
        | ureq::Error::Pem(_)
        | ureq::Error::TlsRequired => Error::Tls {
            host,
            source: io::Error::other(e),
        },
        ureq::Error::Io(source) => match source.kind() {
            Kind::InvalidData if tls => Error::Tls { host, source },
            Kind::UnexpectedEof
            | Kind::ConnectionReset
            | Kind::ConnectionAborted
            | Kind::BrokenPipe
            | Kind::NotConnected => Error::Broken { host, source },
            _ => Error::Connect { host, source },
        },
        ureq::Error::ConnectProxyFailed(_) | ureq::Error::InvalidProxyUrl => Error::Proxy {
            host,
            source: Box::new(e),
        },
        ureq::Error::BadUri(url) => Error::Url {
            url: without_query(&url),
        },
        ureq::Error::BodyStalled => Error::Broken {
            host,
            source: io::Error::other(e),
        },
        e => Error::Protocol {
            host,
            source: Box::new(e),
        },
    }
}

/// Host and port, for messages.
pub(super) fn host_of(uri: &Uri) -> String {
    uri.authority().map(ToString::to_string).unwrap_or_default()
}

/// A URL for messages: the query may hold a signature that is as good as a password.
pub(super) fn without_query(url: &str) -> String {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    shorten(&url[..end], SHOWN_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_sets_up_no_tls() {
        let t = Transport::new(
            Settings {
                connect_timeout: Duration::from_secs(1),
                stall_timeout: Duration::from_secs(1),
                user_agent: "x".into(),
                proxies: Proxies::none(),
            },
            Certs::none(),
        );
        let subject = Subject {
            registry: "127.0.0.1:0",
            repository: "x",
            verify: true,
            push: false,
        };
        // A port that nobody can listen on.
        let call = Call::get(Uri::from_static("http://127.0.0.1:0/"), subject);
        assert!(t.follow(call).is_err());
        assert_eq!(t.agents.lock().unwrap().len(), 1);
        assert!(!t.tls.was_used());
        let call = Call::get(Uri::from_static("https://127.0.0.1:0/"), subject);
        assert!(t.follow(call).is_err());
        assert!(t.tls.was_used());
    }

    #[test]
    fn a_signed_url_is_shown_without_its_signature() {
        assert_eq!(without_query("https://x/y?sig=secret#z"), "https://x/y");
        assert!(without_query(&"a".repeat(1000)).len() <= SHOWN_MAX + 3);
    }
}
