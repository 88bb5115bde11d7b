//! Everything that can go wrong between us and a registry.

mod transient;

pub(super) use transient::Transient;

use std::io;
use std::time::Duration;

use super::message::Message;
use crate::config::auth::{self, HelperError};
use crate::config::certs::CertsError;
use crate::config::registries::{self, RegistriesError};
use crate::oci::{Digest, MANIFEST_MAX};

/// The error of every request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection.
    #[error("cannot connect to {host}")]
    Connect {
        /// Host and port.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// The name has no address.
    #[error("cannot find the address of {host}")]
    HostNotFound {
        /// Host and port.
        host: String,
    },
    /// The connection could not be made secure.
    #[error("no secure connection to {host}")]
    Tls {
        /// Host and port.
        host: String,
        /// What the TLS library said.
        source: io::Error,
    },
    /// A connection that was there broke.
    #[error("the connection to {host} broke")]
    Broken {
        /// Host and port.
        host: String,
        /// How.
        source: io::Error,
    },
    /// Connected, and then no byte came.
    #[error("{host} sent nothing for {} s", .after.as_secs_f32())]
    Stalled {
        /// Host and port.
        host: String,
        /// How long we waited.
        after: Duration,
    },
    /// Bytes kept trickling in, but a short reply was not complete after a long time.
    #[error("{host} was too slow: a short reply was not complete after {} s", .after.as_secs_f32())]
    TooSlow {
        /// Host and port.
        host: String,
        /// How long we waited.
        after: Duration,
    },
    /// The reply is not HTTP.
    #[error("{host} does not answer in HTTP")]
    Protocol {
        /// Host and port.
        host: String,
        /// What the HTTP library said.
        source: Box<ureq::Error>,
    },
    /// The head of a reply is too large.
    #[error("{host} sent a reply with more than {limit} bytes of headers")]
    HeaderTooLarge {
        /// Host and port.
        host: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// A header that we need has a value that makes no sense.
    #[error("{host} sent a {header} header that makes no sense: {value:?}")]
    BadHeader {
        /// Host and port.
        host: String,
        /// Name of the header.
        header: &'static str,
        /// Its value, shortened.
        value: String,
    },
    /// The proxy of the environment refuses or cannot be used.
    #[error("the proxy does not connect to {host}")]
    Proxy {
        /// Host and port.
        host: String,
        /// What the HTTP library said.
        source: Box<ureq::Error>,
    },
    /// A variable of the environment that should name a proxy.
    #[error("{variable} is not the URL of a proxy")]
    ProxyUrl {
        /// The variable. Its value may hold a password.
        variable: &'static str,
    },
    /// A URL that cannot be requested.
    #[error("{url:?} is not a URL that can be asked for")]
    Url {
        /// The URL, shortened.
        url: String,
    },

    /// The configuration of registries forbids it, or makes no sense of it.
    #[error(transparent)]
    Registries(#[from] Box<RegistriesError>),
    /// Certificates that are configured for the registry cannot be used.
    #[error(transparent)]
    Certs(#[from] Box<CertsError>),
    /// Neither a mirror nor the place itself.
    #[error("{what} cannot be had anywhere:\n{}", .tried.join("\n"))]
    Nowhere {
        /// What was asked for.
        what: String,
        /// Each place, and why it did not serve.
        tried: Vec<String>,
        /// The error of the last one, which is where the name says.
        last: Box<Error>,
    },

    /// 401. Some registries answer so for what does not exist.
    #[error("{registry} refuses access to {repository}: it does not exist, or needs a login{said}")]
    LoginNeeded {
        /// The registry as the user names it.
        registry: String,
        /// The repository.
        repository: String,
        /// Whether a login was sent, and refused.
        had_login: bool,
        /// A helper program that should have given credentials, and did not.
        helper: Option<Box<HelperError>>,
        /// The registry's words.
        said: Message,
    },
    /// 401 for a login that was to be checked.
    #[error("{registry} does not accept the login{said}")]
    LoginRefused {
        /// The registry as the user names it.
        registry: String,
        /// The registry's words.
        said: Message,
    },
    /// 403.
    #[error("{host} denies access to {what}{said}")]
    Denied {
        /// Host and port.
        host: String,
        /// What was asked for.
        what: String,
        /// The registry's words.
        said: Message,
    },
    /// 404.
    #[error("{what} is not there{said}")]
    NotFound {
        /// What was asked for.
        what: String,
        /// The registry's words.
        said: Message,
    },
    /// 429, and it stayed so, or the registry wants us to wait too long.
    #[error("{host} says that there were too many requests{said}")]
    RateLimited {
        /// Host and port.
        host: String,
        /// How long the registry wants us to wait.
        wait: Option<Duration>,
        /// The registry's words.
        said: Message,
    },
    /// 5xx, and it stayed so.
    #[error("{host} answered {status}{said}")]
    Server {
        /// Host and port.
        host: String,
        /// HTTP status.
        status: u16,
        /// The registry's words.
        said: Message,
    },
    /// Any other status.
    #[error("{host} answered {status} when asked for {what}{said}")]
    Status {
        /// Host and port.
        host: String,
        /// HTTP status.
        status: u16,
        /// What was asked for.
        what: String,
        /// The registry's words.
        said: Message,
    },

    /// What was to be uploaded could not be read.
    #[error("cannot read {what} to upload it")]
    Source {
        /// The blob.
        what: String,
        /// Why: an error of the caller's.
        source: io::Error,
    },
    /// The registry has forgotten an upload, and did so each time.
    #[error("{host} lost the upload of {what}")]
    UploadLost {
        /// Host and port.
        host: String,
        /// The blob.
        what: String,
    },

    /// The registry wants a login, but not in a way we know.
    #[error("{host} wants a login of a kind that is not supported: {challenge:?}")]
    Challenge {
        /// Host and port.
        host: String,
        /// The `WWW-Authenticate` header, shortened.
        challenge: String,
    },
    /// The token service that a registry names would get credentials in the clear.
    #[error("{registry} sends us for a token to {realm:?}, which is not https")]
    RealmNotHttps {
        /// The registry.
        registry: String,
        /// The URL, shortened.
        realm: String,
    },
    /// The token service's reply has no token.
    #[error("the token service {host} gave no usable token")]
    NoToken {
        /// Host and port.
        host: String,
    },

    /// More redirects than anyone needs.
    #[error("{host} redirects in a circle: gave up after {limit} redirects")]
    RedirectLoop {
        /// Where it began.
        host: String,
        /// How many were followed.
        limit: usize,
    },
    /// A redirect from https to http.
    #[error("{host} redirects from https to plain http ({target}): refused")]
    RedirectDowngrade {
        /// Who sent it.
        host: String,
        /// Where to, without the query.
        target: String,
    },
    /// A redirect to something that is no URL.
    #[error("{host} redirects to {target:?}, which makes no sense")]
    RedirectTarget {
        /// Who sent it.
        host: String,
        /// The header, shortened.
        target: String,
    },

    /// The bytes are not the ones that were asked for.
    #[error("{what} is damaged: its digest is {got}, not {want}")]
    Digest {
        /// What was asked for.
        what: String,
        /// The promise.
        want: Digest,
        /// What came.
        got: Digest,
    },
    /// A manifest over the limit.
    #[error("{what} is too large for a manifest: the limit is {MANIFEST_MAX} bytes")]
    ManifestTooLarge {
        /// What was asked for.
        what: String,
    },
    /// A reply of the token service over the limit.
    #[error("the reply of {host} is larger than {limit} bytes")]
    ReplyTooLarge {
        /// Host and port.
        host: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// A reply that should be a list.
    #[error("{host} does not answer with a list")]
    NoList {
        /// Host and port.
        host: String,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// What refers to a manifest, as it was kept under a tag.
    #[error("the account of what refers to {subject} is not valid")]
    Account {
        /// Digest of the manifest.
        subject: String,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// A list without end.
    #[error("{what} are too many: gave up after {pages} pages or {entries} entries")]
    ListTooLong {
        /// What was asked for.
        what: String,
        /// Limit of entries.
        entries: usize,
        /// Limit of pages.
        pages: usize,
    },
    /// The registry's idea of a blob's size is not the manifest's.
    #[error("{what} should have {want} bytes; the registry sends {got}")]
    Size {
        /// The blob.
        what: String,
        /// From the manifest.
        want: u64,
        /// From the reply.
        got: u64,
    },
    /// More bytes came than the manifest allows.
    #[error("{what} should have {want} bytes; the registry sends more")]
    TooLong {
        /// The blob.
        what: String,
        /// From the manifest.
        want: u64,
    },
    /// The reply ended early, and resuming did not help.
    #[error("{what} ended after {at} of {want} bytes")]
    Short {
        /// The blob.
        what: String,
        /// Bytes that came.
        at: u64,
        /// From the manifest.
        want: u64,
    },
    /// A partial reply that is not the part that was asked for.
    #[error("{what}: asked for the bytes from {at}, got {range:?}")]
    Range {
        /// The blob.
        what: String,
        /// First byte asked for.
        at: u64,
        /// The `Content-Range` header, shortened.
        range: String,
    },
    /// A part of a blob was asked for, and all of it would have come.
    #[error("{host} does not give parts of a blob")]
    NoRanges {
        /// Host and port.
        host: String,
    },
}

/// Something that did not work as configured, but was not needed. To be shown as a warning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Notice {
    /// Credentials that were needed and could not be used.
    #[error(transparent)]
    Credentials(#[from] auth::Notice),
    /// A setting that has no effect.
    #[error(transparent)]
    Setting(#[from] registries::Notice),
    /// A mirror that failed, and not because it has no such image.
    #[error("{place} was passed over: {why}")]
    PassedOver {
        /// The mirror's name for the image.
        place: String,
        /// Why.
        why: String,
    },
}

impl Error {
    /// This error and what caused it, in one line.
    pub fn told(&self) -> String {
        let mut out = self.to_string().replace('\n', "; ");
        let mut source = std::error::Error::source(self);
        while let Some(s) = source {
            let text = s.to_string();
            if !out.ends_with(&text) {
                out.push_str(": ");
                out.push_str(&text);
            }
            source = s.source();
        }
        out
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Registries(e) => return e.hint(),
            Self::Nowhere { last, .. } => return last.hint(),
            Self::Connect { .. } => {
                "is the registry running, and can it be reached from here? A proxy is taken from HTTPS_PROXY and NO_PROXY".into()
            }
            Self::HostNotFound { host } => format!("check the spelling of {host:?} and the network"),
            Self::Tls { .. } => "a certificate authority of your site goes into ~/.config/containers/certs.d/REGISTRY/ca.crt, a directory named by --cert-dir, or a file named by SSL_CERT_FILE; --tls-verify=false goes without the check".into(),
            Self::LoginNeeded { had_login: false, helper: Some(helper), .. } => format!(
                "the credentials are with a helper, and {helper}"
            ),
            Self::LoginNeeded { had_login: true, .. } => {
                "the stored credentials were refused: check the name, and `coracle login` again".into()
            }
            Self::LoginNeeded { registry, .. } => format!(
                "check the name; `coracle login {registry}` keeps a login for it"
            ),
            Self::LoginRefused { .. } => "check user name and password; some registries want an access token in the password's place".into(),
            Self::RateLimited { wait, .. } => format!(
                "try again {}, or `coracle login` first: registries allow more to those they know; a mirror is another way (registries.conf)",
                match wait.map(|w| w.as_secs()) {
                    None => "later".to_owned(),
                    Some(s @ 0..=120) => format!("in {s} s"),
                    Some(s) => format!("in {} min", s.div_ceil(60)),
                }
            ),
            Self::RealmNotHttps { .. } => {
                "--tls-verify=false allows it, for a registry that you trust on a network that you trust".into()
            }
            Self::Stalled { .. } | Self::Broken { .. } | Self::TooSlow { .. } | Self::Short { .. } => {
                "pull again: what is complete is kept".into()
            }
            Self::ListTooLong { .. } => "--limit ends the list earlier".into(),
            Self::Server { .. } => "the fault is the registry's: try again later".into(),
            Self::Digest { .. } => {
                "do not use this image: the registry, or something on the way, changed it".into()
            }
            Self::Proxy { .. } => {
                "check HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY; a login for the proxy goes into its URL".into()
            }
            Self::ProxyUrl { .. } => "want http://, https://, socks4:// or socks5:// HOST:PORT, or HOST:PORT alone".into(),
            _ => return None,
        })
    }

    /// Take our error out of the [`io::Error`] that a [`super::Blob`] returned; any other
    /// [`io::Error`] comes back as it was.
    pub fn from_io(e: io::Error) -> Result<Self, io::Error> {
        e.downcast()
    }
}

impl From<Error> for io::Error {
    fn from(e: Error) -> Self {
        Self::other(e)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_error_survives_io() {
        let e = io::Error::from(Error::HostNotFound { host: "h".into() });
        assert!(matches!(Error::from_io(e), Ok(Error::HostNotFound { .. })));
        let e = io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(
            Error::from_io(e).unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
    }
}
