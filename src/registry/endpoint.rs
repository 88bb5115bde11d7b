//! From the name of a registry to the URLs of its API. Pure.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::oci::{Digest, Reference};

/// How a registry is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// The API of one registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// Host and optional port to connect to.
    pub(super) authority: String,
    loopback: bool,
}

impl Endpoint {
    /// `docker.io` is a name for people; the API is elsewhere.
    pub(super) fn of(registry: &str) -> Self {
        let authority = match registry {
            "docker.io" => "registry-1.docker.io",
            r => r,
        };
        Self {
            authority: authority.to_owned(),
            loopback: is_loopback(authority),
        }
    }

    /// The schemes to try, in this order, until one is known to work.
    ///
    /// A registry on a loopback address may speak plain http, and is asked that first: it is the
    /// common case, and the first request carries no secret. The network's registries must speak
    /// https, unless the user gave up on checking certificates.
    pub(super) fn schemes(&self, tls_verify: bool) -> &'static [Scheme] {
        match (self.loopback, tls_verify) {
            (true, _) => &[Scheme::Http, Scheme::Https],
            (false, true) => &[Scheme::Https],
            (false, false) => &[Scheme::Https, Scheme::Http],
        }
    }

    /// URL of a path, which begins with a slash.
    pub(super) fn url(&self, scheme: Scheme, path: &str) -> String {
        format!("{}://{}{path}", scheme.name(), self.authority)
    }
}

// Nothing needs escaping in paths: the grammar of a reference and of a digest leaves only URL characters.

/// Path of a manifest.
pub(super) fn manifest(r: &Reference) -> String {
    format!("/v2/{}/manifests/{}", r.repository(), r.version())
}

/// Path of a blob.
pub(super) fn blob(r: &Reference, d: &Digest) -> String {
    format!("/v2/{}/blobs/{d}", r.repository())
}

/// Path where uploads begin.
pub(super) fn uploads(r: &Reference) -> String {
    format!("/v2/{}/blobs/uploads/", r.repository())
}

/// `localhost`, 127.0.0.0/8 or ::1, with or without a port.
pub(super) fn is_loopback(authority: &str) -> bool {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest
            .split_once(']')
            .and_then(|(addr, _)| addr.parse::<Ipv6Addr>().ok())
            .is_some_and(|a| a.is_loopback());
    }
    let host = authority.split_once(':').map_or(authority, |(h, _)| h);
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<Ipv4Addr>().is_ok_and(|a| a.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_are_loopback() {
        for yes in [
            "localhost",
            "localhost:5000",
            "LOCALHOST:1",
            "127.0.0.1",
            "127.9.8.7:5000",
            "[::1]",
            "[::1]:5000",
        ] {
            assert!(is_loopback(yes), "{yes}");
        }
        for no in [
            "localhost.evil.com",
            "evil.localhost",
            "127.0.0.1.evil.com",
            "128.0.0.1",
            "127.1",
            "[::2]:5000",
            "[::ffff:127.0.0.1]",
            "docker.io",
            "0.0.0.0:5000",
        ] {
            assert!(!is_loopback(no), "{no}");
        }
    }

    #[test]
    fn urls() {
        let r: Reference = "debian:12".parse().unwrap();
        let e = Endpoint::of(r.registry());
        assert_eq!(
            e.url(Scheme::Https, &manifest(&r)),
            "https://registry-1.docker.io/v2/library/debian/manifests/12"
        );
        let d = Digest::of(b"");
        assert_eq!(
            Endpoint::of("[::1]:5000").url(Scheme::Http, &blob(&r, &d)),
            format!("http://[::1]:5000/v2/library/debian/blobs/{d}")
        );
    }

    #[test]
    fn plain_http_needs_loopback_or_consent() {
        let schemes = |r, verify| Endpoint::of(r).schemes(verify);
        assert_eq!(schemes("quay.io", true), [Scheme::Https]);
        assert_eq!(schemes("quay.io", false), [Scheme::Https, Scheme::Http]);
        assert_eq!(schemes("localhost:5000", true)[0], Scheme::Http);
    }
}
