//! Which proxy leads to which host: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in capital or
//! small letters, by the rules that docker, podman and curl share (curl(1), "ENVIRONMENT").

use std::net::IpAddr;

use super::Env;

/// The proxies of the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    https: Option<Proxy>,
    http: Option<Proxy>,
    except: Vec<Except>,
}

/// A proxy's URL, and the variable that has it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Proxy {
    /// Name of the variable.
    pub variable: &'static str,
    /// URL with a scheme. May hold a password: not for messages.
    pub url: String,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proxy({}, ...)", self.variable)
    }
}

/// An entry of `NO_PROXY`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Except {
    /// `*`
    All,
    /// A domain and all below it; with a dot before it, only what is below.
    Domain {
        name: String,
        only_below: bool,
        port: Option<u16>,
    },
    /// Addresses that begin with these bits.
    Net {
        ip: IpAddr,
        bits: u32,
    },
    Address {
        ip: IpAddr,
        port: Option<u16>,
    },
}

impl Proxies {
    /// No proxy at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// What the environment says.
    pub fn new(env: Env<'_>) -> Self {
        let get = |names: &[&'static str]| {
            names.iter().find_map(|name| {
                let value = env.get(name)?.into_string().ok()?;
                Some(Proxy {
                    variable: name,
                    url: with_scheme(value.trim())?,
                })
            })
        };
        let except = ["NO_PROXY", "no_proxy"]
            .iter()
            .find_map(|name| env.get(name))
            .and_then(|value| value.into_string().ok())
            .unwrap_or_default();
        Self {
            https: get(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]),
            http: get(&["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]),
            except: except
                .split(|c: char| c == ',' || c.is_whitespace())
                .filter_map(Except::parse)
                .collect(),
        }
    }

    /// The proxy for a host (an address in brackets, if it is of IPv6) and port.
    pub fn of(&self, https: bool, host: &str, port: u16) -> Option<&Proxy> {
        let proxy = if https { &self.https } else { &self.http };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let ip = host.parse::<IpAddr>().ok();
        let direct = self.except.iter().any(|e| e.fits(&host, ip, port));
        proxy.as_ref().filter(|_| !direct)
    }
}

/// `None` for nothing. A value without a scheme is a proxy that speaks HTTP. Names are resolved by the proxy,
/// also where `socks5` could be read otherwise: who needs a proxy often has no other name server.
fn with_scheme(value: &str) -> Option<String> {
    match value.split_once("://") {
        _ if value.is_empty() => None,
        None => Some(format!("http://{value}")),
        Some((scheme, rest)) => Some(match scheme.to_ascii_lowercase().as_str() {
            "socks5" | "socks" => format!("socks5h://{rest}"),
            scheme => format!("{scheme}://{rest}"),
        }),
    }
}

impl Except {
    fn parse(word: &str) -> Option<Self> {
        let word = word.to_ascii_lowercase();
        if word.is_empty() {
            return None;
        }
        if word == "*" {
            return Some(Self::All);
        }
        if let Some((ip, bits)) = word.split_once('/') {
            let (ip, bits) = (ip.parse::<IpAddr>().ok()?, bits.parse().ok()?);
            return Some(Self::Net { ip, bits });
        }
        if let Ok(ip) = word.parse() {
            return Some(Self::Address { ip, port: None });
        }
        let (host, port) = match word.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (word.as_str(), None),
        };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = bare.parse() {
            return Some(Self::Address { ip, port });
        }
        let host = host.strip_prefix('*').unwrap_or(host);
        let name = host.trim_start_matches('.');
        Some(Self::Domain {
            only_below: name.len() < host.len(),
            name: name.trim_end_matches('.').to_owned(),
            port,
        })
    }

    fn fits(&self, host: &str, ip: Option<IpAddr>, port: u16) -> bool {
        let at = |p: &Option<u16>| p.is_none_or(|p| p == port);
        match self {
            Self::All => true,
            Self::Address { ip: own, port: p } => ip == Some(*own) && at(p),
            Self::Net { ip: net, bits } => ip.is_some_and(|ip| shares(ip, *net, *bits)),
            Self::Domain {
                name,
                only_below,
                port: p,
            } => {
                let below = host
                    .strip_suffix(name.as_str())
                    .is_some_and(|before| before.ends_with('.'));
                (below || (!only_below && host == name)) && at(p)
            }
        }
    }
}

/// Whether two addresses begin with the same bits.
fn shares(a: IpAddr, b: IpAddr, bits: u32) -> bool {
    let top = |value: u128, width: u32| match bits {
        0 => Some(0),
        n if n <= width => Some(value >> (width - n)),
        _ => None,
    };
    let pair = match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            (top(a.to_bits().into(), 32), top(b.to_bits().into(), 32))
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => (top(a.to_bits(), 128), top(b.to_bits(), 128)),
        _ => return false,
    };
    pair.0.is_some() && pair.0 == pair.1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(vars: &[(&str, &str)], url: &str) -> Option<String> {
        let get = |name: &str| {
            let found = vars.iter().find(|(n, _)| *n == name);
            found.map(|(_, v)| (*v).into())
        };
        let (scheme, rest) = url.split_once("://").unwrap();
        let (host, port) = rest.rsplit_once(':').unwrap();
        let proxies = Proxies::new(Env::new(&get));
        let proxy = proxies.of(scheme == "https", host, port.parse().unwrap())?;
        Some(proxy.url.clone())
    }

    #[test]
    fn each_scheme_has_its_variable() {
        let (https, http) = ("https://q.io:443", "http://q.io:80");
        for (vars, for_https, for_http) in [
            (&[][..], None, None),
            (&[("HTTPS_PROXY", "a:1")], Some("http://a:1"), None),
            (&[("https_proxy", "https://a")], Some("https://a"), None),
            (&[("HTTP_PROXY", "a:1")], None, Some("http://a:1")),
            (&[("http_proxy", "a:1")], None, Some("http://a:1")),
            (
                &[("ALL_PROXY", "socks5://a:1")],
                Some("socks5h://a:1"),
                Some("socks5h://a:1"),
            ),
            (
                &[("all_proxy", "a"), ("HTTPS_PROXY", "b")],
                Some("http://b"),
                Some("http://a"),
            ),
            (
                &[("HTTPS_PROXY", "a"), ("https_proxy", "b")],
                Some("http://a"),
                None,
            ),
            (
                &[("HTTPS_PROXY", ""), ("https_proxy", "b")],
                Some("http://b"),
                None,
            ),
            (&[("HTTPS_PROXY", " ")], None, None),
        ] {
            assert_eq!(of(vars, https).as_deref(), for_https, "{vars:?}");
            assert_eq!(of(vars, http).as_deref(), for_http, "{vars:?}");
        }
    }

    #[test]
    fn exceptions() {
        for (no, url, direct) in [
            ("q.io", "https://q.io:443", true),
            ("q.io", "https://a.q.io:443", true),
            ("q.io", "https://aq.io:443", false),
            ("q.io", "https://q.io.evil:443", false),
            (".q.io", "https://a.q.io:443", true),
            (".q.io", "https://q.io:443", false),
            ("*.q.io", "https://a.b.q.io:443", true),
            ("*.q.io", "https://q.io:443", false),
            ("*", "https://any:1", true),
            ("a, Q.IO b", "https://q.io:443", true),
            ("q.io:5000", "https://q.io:5000", true),
            ("q.io:5000", "https://q.io:443", false),
            ("10.1.2.3", "https://10.1.2.3:443", true),
            ("10.1.2.3:80", "https://10.1.2.3:443", false),
            ("10.0.0.0/8", "https://10.200.0.1:443", true),
            ("10.0.0.0/8", "https://11.0.0.1:443", false),
            ("10.0.0.0/33", "https://10.0.0.1:443", false),
            ("0.0.0.0/0", "https://8.8.8.8:443", true),
            ("0.0.0.0/0", "https://q.io:443", false),
            ("fd00::/8", "https://[fd12::1]:443", true),
            ("fd00::/8", "https://[fe12::1]:443", false),
            ("::1", "https://[::1]:443", true),
            ("[fd00::1]:443", "https://[fd00::1]:443", true),
            ("", "https://q.io:443", false),
            (",,", "https://q.io:443", false),
            ("q.io:x", "https://q.io:443", false),
        ] {
            let vars = [("HTTPS_PROXY", "p:1"), ("no_proxy", no)];
            assert_eq!(of(&vars, url).is_none(), direct, "{no:?} {url}");
        }
        // A trailing dot is no other name.
        let vars = [("HTTPS_PROXY", "p:1"), ("NO_PROXY", "q.io.")];
        assert_eq!(of(&vars, "https://q.io.:443"), None);
    }

    #[test]
    fn a_password_is_not_shown() {
        let get = |name: &str| (name == "HTTPS_PROXY").then(|| "http://me:s3cret@p:1".into());
        let shown = format!("{:?}", Proxies::new(Env::new(&get)));
        assert!(
            !shown.contains("s3cret") && shown.contains("HTTPS_PROXY"),
            "{shown}"
        );
    }
}
