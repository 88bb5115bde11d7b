//! One request, its reply, and the redirects between them. Everything that `ureq` is asked to do is
//! asked here: time limits, TLS, proxies, and what its errors mean.

use std::io::{self, Read};
use std::sync::OnceLock;
use std::time::Duration;

use ureq::http::{HeaderName, HeaderValue, Method, Request, Response, Uri, header};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, AsSendBody, Body, SendBody, Timeout};

use super::endpoint::is_loopback;
use super::error::{Error, SHOWN_MAX, shorten};
use super::redirect;
use super::reply::Reply;

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
    pub(super) tls_verify: bool,
    pub(super) connect_timeout: Duration,
    pub(super) stall_timeout: Duration,
    pub(super) user_agent: String,
}

/// Connections. Each kind of agent is made when the first request needs it: the one for https reads
/// a few hundred certificates.
#[derive(Debug)]
pub(super) struct Transport {
    settings: Settings,
    plain: OnceLock<Agent>,
    plain_loopback: OnceLock<Agent>,
    tls: OnceLock<Agent>,
    tls_loopback: OnceLock<Agent>,
}

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Call<'a> {
    pub(super) uri: Uri,
    pub(super) accept: Option<&'a str>,
    pub(super) authorization: Option<&'a HeaderValue>,
    /// First byte wanted, if not the first of all.
    pub(super) from: Option<u64>,
    /// Body of a POST; a GET without.
    pub(super) form: Option<&'a str>,
    /// Only the head of what a GET would bring.
    pub(super) head: bool,
}

/// A request that changes something, or asks about one that does. It is sent once: redirects are the caller's.
pub(super) struct Send<'a> {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) authorization: Option<&'a HeaderValue>,
    pub(super) headers: &'a [(HeaderName, &'a str)],
    /// Length and content.
    pub(super) body: Option<(u64, &'a mut dyn Read)>,
    /// How long the reply may take once all is sent; at least the time after which a connection has stalled.
    pub(super) patience: Duration,
}

impl Send<'_> {
    /// A request without anything.
    pub(super) fn new(method: Method, uri: Uri) -> Self {
        Self {
            method,
            uri,
            authorization: None,
            headers: &[],
            body: None,
            patience: Duration::ZERO,
        }
    }
}

impl Call<'_> {
    /// A GET of this URL, with nothing else.
    pub(super) fn get(uri: Uri) -> Self {
        Self {
            uri,
            accept: None,
            authorization: None,
            from: None,
            form: None,
            head: false,
        }
    }
}

impl Transport {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            plain: OnceLock::new(),
            plain_loopback: OnceLock::new(),
            tls: OnceLock::new(),
            tls_loopback: OnceLock::new(),
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
        if let Some(from) = call.from {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        if call.form.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        let agent = self.agent(tls, &host);
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
        match sent {
            Ok(response) => Ok(Reply {
                host,
                home: true,
                stall: self.settings.stall_timeout,
                tls,
                response,
            }),
            Err(e) => Err(fault(host, tls, &self.settings, e)),
        }
    }

    /// Send a request as it is.
    pub(super) fn send(&self, call: Send<'_>) -> Result<Reply, Error> {
        let host = host_of(&call.uri);
        let tls = call.uri.scheme_str() == Some("https");
        let mut request = Request::builder().method(call.method).uri(call.uri);
        if let Some(authorization) = call.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        for (name, value) in call.headers {
            request = request.header(name, *value);
        }
        let agent = self.agent(tls, &host);
        let patience = call.patience.max(self.settings.stall_timeout);
        let sent = match call.body {
            Some((length, content)) => request
                .header(header::CONTENT_LENGTH, length)
                .body(SendBody::from_reader(content))
                .map_err(ureq::Error::from)
                .and_then(|r| run(agent, r, patience)),
            None => request
                .body(())
                .map_err(ureq::Error::from)
                .and_then(|r| run(agent, r, patience)),
        };
        match sent {
            Ok(response) => Ok(Reply {
                host,
                home: true,
                stall: self.settings.stall_timeout,
                tls,
                response,
            }),
            Err(e) => Err(fault(host, tls, &self.settings, e)),
        }
    }

    /// A loopback address is never asked for through a proxy: the proxy's loopback is not ours.
    fn agent(&self, tls: bool, host: &str) -> &Agent {
        let loopback = is_loopback(host);
        let cell = match (tls, loopback) {
            (false, false) => &self.plain,
            (false, true) => &self.plain_loopback,
            (true, false) => &self.tls,
            (true, true) => &self.tls_loopback,
        };
        cell.get_or_init(|| {
            let s = &self.settings;
            agent(s, !loopback, tls.then(|| tls_config(s.tls_verify)))
        })
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

fn agent(s: &Settings, proxy: bool, tls: Option<TlsConfig>) -> Agent {
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
    if !proxy {
        config = config.proxy(None);
    }
    if let Some(tls) = tls {
        config = config.tls_config(tls);
    }
    config.build().into()
}

/// The system's certificate authorities, so that a site's own are accepted; Mozilla's list where the
/// system has none.
fn tls_config(verify: bool) -> TlsConfig {
    let builder = TlsConfig::builder();
    if !verify {
        return builder.disable_verification(true).build();
    }
    let native = rustls_native_certs::load_native_certs();
    for e in &native.errors {
        log::debug!("certificate authorities: {e}");
    }
    if native.certs.is_empty() {
        return builder.root_certs(RootCerts::WebPki).build();
    }
    let certs: Vec<Certificate<'static>> = native
        .certs
        .iter()
        .map(|c| Certificate::from_der(c).to_owned())
        .collect();
    builder
        .root_certs(RootCerts::Specific(certs.into()))
        .build()
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
        let t = Transport::new(Settings {
            tls_verify: true,
            connect_timeout: Duration::from_secs(1),
            stall_timeout: Duration::from_secs(1),
            user_agent: "x".into(),
        });
        // A port that nobody can listen on.
        let call = Call::get(Uri::from_static("http://127.0.0.1:0/"));
        assert!(t.follow(call).is_err());
        assert!(t.plain_loopback.get().is_some());
        assert!(t.tls.get().is_none() && t.tls_loopback.get().is_none());
        let call = Call::get(Uri::from_static("https://127.0.0.1:0/"));
        assert!(t.follow(call).is_err());
        assert!(t.tls_loopback.get().is_some());
    }

    #[test]
    fn a_signed_url_is_shown_without_its_signature() {
        assert_eq!(without_query("https://x/y?sig=secret#z"), "https://x/y");
        assert!(without_query(&"a".repeat(1000)).len() <= SHOWN_MAX + 3);
    }
}
