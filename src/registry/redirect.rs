//! Where a redirect leads, and whether we go there. Pure.
//!
//! Redirects are not left to the HTTP library, because three things are decided here: credentials
//! stay with the origin that they are for, https never falls back to http, and the number is limited.

use ureq::http::Uri;

/// Redirects that are followed for one request.
pub(super) const LIMIT: usize = 10;

/// Why a redirect is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// From https to http.
    Downgrade,
    /// No URL that we can ask for.
    Target,
}

/// The URL that a `Location` header means, seen from `from` (RFC 9110, 10.2.2; RFC 3986, 5.2).
pub(super) fn target(from: &Uri, location: &str) -> Result<Uri, Refused> {
    let base = || Some((from.scheme_str()?, from.authority()?.as_str()));
    let (scheme, authority) = base().ok_or(Refused::Target)?;
    // A fragment is for the one who reads, not for the one who is asked.
    let location = location.split('#').next().unwrap_or_default().trim();
    let url = if has_scheme(location) {
        location.to_owned()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else if location.starts_with('?') {
        format!("{scheme}://{authority}{}{location}", from.path())
    } else if location.is_empty() {
        return Err(Refused::Target);
    } else {
        // Relative to the last part of the path. Dots are left as they are: the server resolves them.
        let dir = from.path().rsplit_once('/').map_or("", |(dir, _)| dir);
        format!("{scheme}://{authority}{dir}/{location}")
    };
    let to: Uri = url.parse().map_err(|_| Refused::Target)?;
    let ok = matches!(to.scheme_str(), Some("http" | "https"))
        && to
            .authority()
            .is_some_and(|a| !a.as_str().contains('@') && !a.host().is_empty());
    if !ok {
        return Err(Refused::Target);
    }
    if scheme == "https" && to.scheme_str() != Some("https") {
        return Err(Refused::Downgrade);
    }
    Ok(to)
}

fn has_scheme(s: &str) -> bool {
    s.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    })
}

/// Same scheme, host and port: what RFC 6454 calls an origin.
pub(super) fn same_origin(a: &Uri, b: &Uri) -> bool {
    let port = |u: &Uri| {
        u.port_u16().or(match u.scheme_str() {
            Some("http") => Some(80),
            Some("https") => Some(443),
            _ => None,
        })
    };
    let host = |u: &Uri| u.host().map(str::to_ascii_lowercase);
    a.scheme() == b.scheme() && host(a) == host(b) && port(a) == port(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(s: &str) -> Uri {
        s.parse().unwrap()
    }

    #[test]
    fn targets() {
        let from = uri("https://r.io:5000/v2/a/blobs/x?q=1");
        for (location, want) in [
            ("https://cdn.io/x?sig=a:b/c", "https://cdn.io/x?sig=a:b/c"),
            ("//cdn.io/x", "https://cdn.io/x"),
            ("/y", "https://r.io:5000/y"),
            ("y:z", "Target"),
            ("./y", "https://r.io:5000/v2/a/blobs/./y"),
            ("y", "https://r.io:5000/v2/a/blobs/y"),
            ("?b=2", "https://r.io:5000/v2/a/blobs/x?b=2"),
            ("https://cdn.io/x#part", "https://cdn.io/x"),
            ("HTTPS://cdn.io/x", "https://cdn.io/x"),
            ("http://cdn.io/x", "Downgrade"),
            ("http://r.io:5000/y", "Downgrade"),
            ("file:///etc/passwd", "Target"),
            ("ftp://x/y", "Target"),
            ("https://user:pw@evil.io/", "Target"),
            ("https://r.io:5000@evil.io/", "Target"),
            ("https://", "Target"),
            ("https:///x", "Target"),
            ("", "Target"),
            ("#", "Target"),
            ("https://a b/", "Target"),
            ("/a\u{1b}[2J", "Target"),
        ] {
            let got = match target(&from, location) {
                Ok(to) => to.to_string(),
                Err(e) => format!("{e:?}"),
            };
            assert_eq!(got, want, "{location:?}");
        }
        let from = uri("http://localhost:5000/v2/");
        assert_eq!(
            target(&from, "http://localhost:6000/x").unwrap(),
            uri("http://localhost:6000/x")
        );
    }

    #[test]
    fn origins() {
        let same = |a, b| same_origin(&uri(a), &uri(b));
        assert!(same("https://r.io/a", "https://R.io:443/b"));
        assert!(same("http://r.io/a", "http://r.io:80/b"));
        assert!(!same("https://r.io/", "http://r.io:443/"));
        assert!(!same("https://r.io/", "https://r.io:444/"));
        assert!(!same("https://r.io/", "https://x.r.io/"));
        assert!(!same("http://127.0.0.1:1/", "http://127.0.0.1:2/"));
    }

    proptest::proptest! {
        #[test]
        fn a_target_is_absolute_and_keeps_https(s in "\\PC{0,60}") {
            if let Ok(to) = target(&uri("https://r.io/v2/"), &s) {
                proptest::prop_assert_eq!(to.scheme_str(), Some("https"));
                proptest::prop_assert!(to.host().is_some());
            }
        }
    }
}
