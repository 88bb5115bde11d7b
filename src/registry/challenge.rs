//! `WWW-Authenticate`: what a registry wants to see before it serves (RFC 9110, 11.6.1; the
//! distribution project's "Token Authentication Specification"). Pure.

/// A challenge is longer than this only in an attack.
const LENGTH_MAX: usize = 8192;

/// A kind of login that we can answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// Get a token from a service.
    Bearer {
        /// URL of the token service.
        realm: String,
        /// Whom the token is for.
        service: Option<String>,
        /// What the token must allow.
        scope: Option<String>,
    },
    /// Send user name and password.
    Basic,
}

/// The best challenge of all headers: a bearer token before a password. `None` if there is none that
/// we know.
pub(super) fn parse<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let mut basic = None;
    for header in headers.filter(|h| h.len() <= LENGTH_MAX) {
        for (scheme, params) in challenges(header) {
            let get = |name: &str| {
                params
                    .iter()
                    .find(|(n, _)| n.eq_ignore_ascii_case(name))
                    .map(|(_, v)| v.clone())
            };
            if scheme.eq_ignore_ascii_case("bearer") {
                if let Some(realm) = get("realm").filter(|r| !r.is_empty()) {
                    return Some(Challenge::Bearer {
                        realm,
                        service: get("service"),
                        scope: get("scope").filter(|s| !s.is_empty()),
                    });
                }
            } else if scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Challenge::Basic);
            }
        }
    }
    basic
}

/// Split `Scheme a=b, c="d", Scheme2 ...`. A comma separates parameters and challenges alike: a word
/// that no `=` follows starts the next challenge. What cannot be parsed ends the list.
fn challenges(header: &str) -> Vec<(&str, Vec<(&str, String)>)> {
    let mut out: Vec<(&str, Vec<(&str, String)>)> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (word, after) = token(rest);
        if word.is_empty() {
            return out;
        }
        let spaced = after.trim_start_matches([' ', '\t']);
        let Some(value) = spaced.strip_prefix('=') else {
            out.push((word, Vec::new()));
            rest = after;
            continue;
        };
        let value = value.trim_start_matches([' ', '\t']);
        let parsed = match value.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let (v, after) = token(value);
                Some((v.to_owned(), after))
            }
        };
        let (Some((value, after)), Some((_, params))) = (parsed, out.last_mut()) else {
            return out;
        };
        params.push((word, value));
        rest = after;
    }
}

/// A token of RFC 9110, 5.6.2 (with `/` and `:`, which some registries forget to quote).
fn token(s: &str) -> (&str, &str) {
    let end = s
        .find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/:".contains(c)))
        .unwrap_or(s.len());
    s.split_at(end)
}

/// A quoted string after its first quote, and what follows the last one.
fn unquote(s: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = s.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '"' => return Some((out, &s[i + 1..])),
            '\\' => out.push(chars.next()?.1),
            c => out.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer {
            realm: realm.into(),
            service: service.map(Into::into),
            scope: scope.map(Into::into),
        })
    }

    #[test]
    fn table() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/debian:pull""#;
        for (headers, want) in [
            (
                &[hub][..],
                bearer(
                    "https://auth.docker.io/token",
                    Some("registry.docker.io"),
                    Some("repository:library/debian:pull"),
                ),
            ),
            (
                &[r#"bearer Realm = "https://a" , scope="repository:a:pull,push""#],
                bearer("https://a", None, Some("repository:a:pull,push")),
            ),
            (
                &["Bearer realm=https://a/b"],
                bearer("https://a/b", None, None),
            ),
            (
                &[r#"Bearer realm="a\"b\\c",scope="""#],
                bearer(r#"a"b\c"#, None, None),
            ),
            (&[r#"Basic realm="x""#], Some(Challenge::Basic)),
            (&["Basic"], Some(Challenge::Basic)),
            (
                &[r#"Basic realm="x", Bearer realm="https://a""#],
                bearer("https://a", None, None),
            ),
            (&[r#"Negotiate, Basic realm="x""#], Some(Challenge::Basic)),
            (
                &["Negotiate abc==", r#"Bearer realm="https://a""#],
                bearer("https://a", None, None),
            ),
            (&[r#"Digest realm="x", nonce="y""#], None),
            (&["Bearer"], None),
            (&[r#"Bearer realm="unfinished"#], None),
            (&[r#"Bearer realm="x\"#], None),
            (&["realm=x"], None),
            (&[""], None),
            (&[",,, ,"], None),
            (&["="], None),
        ] {
            assert_eq!(parse(headers.iter().copied()), want, "{headers:?}");
        }
    }

    #[test]
    fn a_bomb_is_passed_over() {
        let bomb = format!("Bearer realm=\"{}\"", "a".repeat(LENGTH_MAX));
        assert_eq!(parse([bomb.as_str()].into_iter()), None);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(s in "\\PC{0,80}") {
            let _ = parse([s.as_str()].into_iter());
            let _ = parse([format!("Bearer {s}").as_str()].into_iter());
        }
    }
}
