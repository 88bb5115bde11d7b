//! Uploads that break off, lead elsewhere, are forgotten, and are lied about.

use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use coracle::registry::Upload;

use super::*;

const UPLOADS: &str = "/v2/some/image/blobs/uploads/";

fn push(client: &Client, server: &Server, all: &[u8]) -> Result<(), Error> {
    push_from(client, server, all, &|offset| {
        Ok(Box::new(&all[usize::try_from(offset).unwrap()..]))
    })
}

fn push_from<'a>(
    client: &Client,
    server: &Server,
    all: &'a [u8],
    open: &'a coracle::registry::Open<'a>,
) -> Result<(), Error> {
    let digest = Digest::of(all);
    client.push_blob(
        &image(server),
        &Upload {
            digest: &digest,
            size: all.len() as u64,
            open,
            progress: &|_| {},
        },
    )
}

/// Method, path without the query, and `Content-Range`, of all requests but the questions whether a blob is there.
fn said(server: &Server) -> Vec<String> {
    let asked = server.asked();
    let lines = asked.iter().filter(|a| a.method != "HEAD").map(|a| {
        let path = a.path.split('?').next().unwrap();
        let range = a.header("content-range").unwrap_or("");
        format!("{} {path} {range}", a.method).trim().to_owned()
    });
    lines.collect()
}

/// A registry as it should be, which keeps what it gets.
#[derive(Default)]
struct Store {
    bytes: Mutex<Vec<u8>>,
    complete: Mutex<Option<String>>,
}

impl Store {
    fn len(&self) -> usize {
        self.bytes.lock().unwrap().len()
    }

    fn got(&self) -> Vec<u8> {
        assert!(
            self.complete.lock().unwrap().is_some(),
            "it is not complete"
        );
        self.bytes.lock().unwrap().clone()
    }

    fn serve(&self, a: &Asked, out: &mut Out<'_>) -> After {
        let mut bytes = self.bytes.lock().unwrap();
        let location = format!("{UPLOADS}1?state=a%2Fb");
        let location = ("Location", location.as_str());
        match a.method.as_str() {
            "HEAD" if self.complete.lock().unwrap().is_some() => out.head_only(200),
            "HEAD" => out.head_only(404),
            "POST" => {
                bytes.clear();
                out.reply(202, &[location], b"")
            }
            "GET" => {
                let range = format!("0-{}", bytes.len().saturating_sub(1));
                out.reply(204, &[location, ("Range", &range)], b"")
            }
            "PATCH" => {
                let want = format!("{}-{}", bytes.len(), bytes.len() + a.bytes.len() - 1);
                if a.header("content-range") != Some(&want) {
                    return out.reply(416, &[], b"");
                }
                bytes.extend_from_slice(&a.bytes);
                let range = format!("0-{}", bytes.len() - 1);
                out.reply(202, &[location, ("Range", &range)], b"")
            }
            "PUT" => {
                bytes.extend_from_slice(&a.bytes);
                let want = format!("&digest={}", Digest::of(&bytes));
                if !a.path.contains("state=a%2Fb") || !a.path.ends_with(&want) {
                    return out.reply(400, &[], br#"{"errors":[{"code":"DIGEST_INVALID"}]}"#);
                }
                *self.complete.lock().unwrap() = Some(a.path.clone());
                out.reply(201, &[("Location", "/elsewhere")], b"")
            }
            _ => out.reply(405, &[], b""),
        }
    }
}

fn good() -> (
    Arc<Store>,
    impl Fn(&Asked, &mut Out<'_>) -> After + Send + Sync + 'static,
) {
    let store = Arc::new(Store::default());
    let shared = Arc::clone(&store);
    (store, move |a: &Asked, out: &mut Out<'_>| {
        shared.serve(a, out)
    })
}

#[test]
fn a_blob_goes_in_one_request() {
    let all = content(300_000);
    let (store, serve) = good();
    let s = Server::start(serve);
    let sent = AtomicU64::new(0);
    let c = client();
    let r = image(&s);
    let digest = Digest::of(&all);
    assert!(!c.has_blob(&r, &digest).unwrap());
    c.push_blob(
        &r,
        &Upload {
            digest: &digest,
            size: all.len() as u64,
            open: &|offset| Ok(Box::new(&all[usize::try_from(offset).unwrap()..])),
            progress: &|n| {
                sent.fetch_add(n, Ordering::SeqCst);
            },
        },
    )
    .unwrap();
    assert!(store.got() == all);
    assert!(c.has_blob(&r, &digest).unwrap());
    assert_eq!(sent.load(Ordering::SeqCst), 300_000);
    assert_eq!(
        said(&s),
        [format!("POST {UPLOADS}"), format!("PUT {UPLOADS}1")]
    );
    let put = &s.asked()[2];
    assert_eq!(put.header("content-length"), Some("300000"));
    assert_eq!(put.header("content-type"), Some("application/octet-stream"));
    assert_eq!(s.connections(), 1, "the connection is used again");
    // Nothing at all is a blob as well.
    let (store, serve) = good();
    let s = Server::start(serve);
    push(&client(), &s, b"").unwrap();
    assert_eq!(store.got(), b"");
}

#[test]
fn a_broken_upload_goes_on_where_it_stopped() {
    let all = content(500_000);
    let (store, serve) = good();
    let shared = Arc::clone(&store);
    let s = Server::start_cutting(
        move |a| {
            let first = a.method == "PUT" && shared.len() == 0;
            first.then_some(123_456)
        },
        {
            let store = Arc::clone(&store);
            move |a, out| {
                if a.cut {
                    store.bytes.lock().unwrap().extend_from_slice(&a.bytes);
                    return After::Reset;
                }
                serve(a, out)
            }
        },
    );
    push(&client(), &s, &all).unwrap();
    assert!(store.got() == all);
    assert_eq!(
        said(&s),
        [
            format!("POST {UPLOADS}"),
            format!("PUT {UPLOADS}1"),
            format!("GET {UPLOADS}1"),
            format!("PATCH {UPLOADS}1 123456-499999"),
            format!("PUT {UPLOADS}1"),
        ]
    );
}

#[test]
fn an_upload_that_breaks_again_and_again_still_finishes() {
    let all = content(400_000);
    let (store, serve) = good();
    let s = Server::start_cutting(|a| (a.bytes_announced() > 50_000).then_some(50_000), {
        let store = Arc::clone(&store);
        move |a, out| {
            if a.cut {
                store.bytes.lock().unwrap().extend_from_slice(&a.bytes);
                return After::Reset;
            }
            serve(a, out)
        }
    });
    let c = Client::new(Options {
        retries: 10,
        ..options()
    });
    push(&c, &s, &all).unwrap();
    assert!(store.got() == all);
}

#[test]
fn a_forgotten_upload_begins_anew() {
    let all = content(200_000);
    let (store, serve) = good();
    let cuts = AtomicUsize::new(0);
    let s = Server::start_cutting(
        move |a| (a.method == "PUT" && cuts.fetch_add(1, Ordering::SeqCst) == 0).then_some(70_000),
        move |a, out| match a.method.as_str() {
            _ if a.cut => After::Reset,
            "GET" => out.reply(404, &[], b""),
            _ => serve(a, out),
        },
    );
    push(&client(), &s, &all).unwrap();
    assert!(store.got() == all);
    let posts = said(&s).iter().filter(|l| l.starts_with("POST")).count();
    assert_eq!(posts, 2, "{:?}", said(&s));
}

#[test]
fn an_answer_that_was_lost_is_no_second_upload() {
    let all = content(100_000);
    let (store, serve) = good();
    let s = Server::start(move |a, out| {
        match a.method.as_str() {
            "GET" => out.reply(404, &[], b""),
            "PUT" => {
                // All of it came, and the answer did not.
                let mut bytes = store.bytes.lock().unwrap();
                bytes.extend_from_slice(&a.bytes);
                *store.complete.lock().unwrap() = Some(a.path.clone());
                After::Reset
            }
            _ => serve(a, out),
        }
    });
    push(&client(), &s, &all).unwrap();
    let puts = said(&s).iter().filter(|l| l.starts_with("PUT")).count();
    assert_eq!(puts, 1, "{:?}", said(&s));
}

#[test]
fn what_a_registry_claims_to_have_is_not_believed() {
    let all = content(100_000);
    // More than there is, a part from the middle, nonsense: begun anew, and in the end given up.
    for range in [
        "0-999999999",
        "5-70000",
        "bytes 0-5/9",
        "0-18446744073709551615",
        "",
    ] {
        let (_, serve) = good();
        let s = Server::start_cutting(
            |a| (a.method == "PUT").then_some(10_000),
            move |a, out| match a.method.as_str() {
                _ if a.cut => After::Reset,
                "GET" => out.reply(204, &[("Range", range)], b""),
                _ => serve(a, out),
            },
        );
        let e = push(&client(), &s, &all).unwrap_err();
        assert!(
            matches!(e, Error::Broken { .. } | Error::Connect { .. }),
            "{range}: {e:?}"
        );
        let asked = said(&s);
        assert!(!asked.iter().any(|l| l.starts_with("PATCH")), "{asked:?}");
        assert!(asked.len() < 20, "{asked:?}");
    }
}

#[test]
fn a_registry_that_takes_no_more_at_once_gets_pieces() {
    const MIN: usize = 9 << 20;
    let all = content(20 << 20);
    let (store, serve) = good();
    let s = Server::start(move |a, out| {
        if a.bytes.len() > 10 << 20 {
            return out.reply(413, &[], b"too much");
        }
        if a.method == "POST" {
            store.bytes.lock().unwrap().clear();
            let min = MIN.to_string();
            let location = format!("{UPLOADS}1?state=a%2Fb");
            return out.reply(
                202,
                &[("Location", &location), ("OCI-Chunk-Min-Length", &min)],
                b"",
            );
        }
        let after = serve(a, out);
        if a.method == "PUT" {
            assert!(store.got() == content(20 << 20));
        }
        after
    });
    push(&client(), &s, &all).unwrap();
    let pieces: Vec<usize> = s
        .asked()
        .iter()
        .filter(|a| a.method == "PATCH")
        .map(|a| a.bytes.len())
        .collect();
    assert_eq!(pieces, [MIN, MIN, (20 << 20) - 2 * MIN]);
}

#[test]
fn pieces_that_make_no_sense_are_refused() {
    let all = content(20 << 20);
    for (range, bad) in [
        ("0-10", false),
        ("0-99999999", true),
        ("7-8", true),
        ("x", true),
    ] {
        let s = Server::start(move |a, out| match a.method.as_str() {
            "HEAD" => out.head_only(404),
            "POST" => out.reply(202, &[("Location", "/up")], b""),
            "PATCH" => out.reply(202, &[("Range", range)], b""),
            _ if a.bytes.len() > 1 << 20 => out.reply(413, &[], b""),
            _ => out.reply(400, &[], b"never mind"),
        });
        let e = push(&client(), &s, &all).unwrap_err();
        assert_eq!(matches!(e, Error::BadHeader { .. }), bad, "{range}: {e:?}");
        assert!(s.asked().len() < 200, "{range}");
    }
}

#[test]
fn another_host_gets_the_bytes_and_no_secret() {
    let all = content(50_000);
    let stranger = Server::start(|a, out| match a.method.as_str() {
        "PUT" => out.reply(201, &[], b""),
        _ => out.reply(404, &[], b""),
    });
    let to = stranger.url("/put/it/here?sig=1");
    let s = Server::start(move |a, out| match a.method.as_str() {
        _ if a.header("authorization") != Some(BASIC) => {
            out.reply(401, &[("WWW-Authenticate", "Basic realm=\"x\"")], b"")
        }
        "HEAD" => out.head_only(404),
        _ => out.reply(202, &[("Location", &to)], b""),
    });
    push(&with_login(&s), &s, &all).unwrap();
    let asked = stranger.asked();
    assert_eq!(asked.len(), 1);
    assert!(asked[0].bytes == all);
    assert!(asked[0].header("authorization").is_none());
    let want = format!("/put/it/here?sig=1&digest={}", Digest::of(&all));
    assert_eq!(asked[0].path, want);

    // Nor does a stranger get them by asking.
    let stranger =
        Server::start(|_, out| out.reply(401, &[("WWW-Authenticate", "Basic realm=\"x\"")], b""));
    let to = stranger.url("/x");
    let s = Server::start(move |a, out| match a.method.as_str() {
        _ if a.header("authorization") != Some(BASIC) => {
            out.reply(401, &[("WWW-Authenticate", "Basic realm=\"x\"")], b"")
        }
        "HEAD" => out.head_only(404),
        _ => out.reply(202, &[("Location", &to)], b""),
    });
    assert!(push(&with_login(&s), &s, &all).is_err());
    assert!(
        stranger
            .asked()
            .iter()
            .all(|a| a.header("authorization").is_none())
    );
}

#[test]
fn a_location_that_makes_no_sense_is_refused() {
    for location in [
        "",
        "ftp://127.0.0.1/x",
        "http://user:pw@127.0.0.1/x",
        "http:///x",
        "javascript:1",
    ] {
        let s = Server::start(move |a, out| match a.method.as_str() {
            "HEAD" => out.head_only(404),
            _ => out.reply(202, &[("Location", location)], b""),
        });
        let e = push(&client(), &s, b"x").unwrap_err();
        assert!(
            matches!(e, Error::RedirectTarget { .. }),
            "{location:?}: {e:?}"
        );
    }
    // Without a query, and relative to what was asked.
    let s = Server::start(|a, out| match a.method.as_str() {
        "HEAD" => out.head_only(404),
        "POST" => out.reply(202, &[("Location", "session")], b""),
        _ => out.reply(201, &[], b""),
    });
    push(&client(), &s, b"x").unwrap();
    let want = format!("{UPLOADS}session?digest={}", Digest::of(b"x"));
    assert_eq!(s.asked().last().unwrap().path, want);
}

#[test]
fn a_blob_is_mounted_from_another_repository() {
    let d = Digest::of(b"x");
    for (status, want) in [(201, true), (202, false), (404, false), (405, false)] {
        let s = Server::start(move |a, out| match a.method.as_str() {
            "HEAD" => out.head_only(404),
            _ => out.reply(status, &[("Location", "/x")], b""),
        });
        assert_eq!(client().mount(&image(&s), &d, "other/one").unwrap(), want);
        let last = s.asked().pop().unwrap();
        assert_eq!(last.path, format!("{UPLOADS}?mount={d}&from=other/one"));
        assert_eq!(last.header("content-length"), Some("0"));
    }
}

#[test]
fn a_registry_that_is_busy_is_asked_again() {
    let all = content(10_000);
    let (store, serve) = good();
    let s = Server::start(move |a, out| match a.index {
        1 => out.reply(429, &[("Retry-After", "1")], b""),
        2 => out.reply(503, &[], b""),
        4 => out.reply(500, &[], b""),
        _ => serve(a, out),
    });
    let c = client();
    let begun = std::time::Instant::now();
    push(&c, &s, &all).unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert!(store.got() == all);
    // For ever is too long.
    let s = Server::start(|a, out| match a.method.as_str() {
        "HEAD" => out.head_only(404),
        _ => out.reply(429, &[("Retry-After", "3600")], b""),
    });
    let e = push(&c, &s, &all).unwrap_err();
    assert!(matches!(e, Error::RateLimited { .. }), "{e:?}");
    assert_eq!(said(&s).len(), 1);
}

#[test]
fn a_refusal_is_told_in_the_words_of_the_registry() {
    let s = Server::start(|a, out| match a.method.as_str() {
        "HEAD" => out.head_only(404),
        "POST" => out.reply(202, &[("Location", "/up")], b""),
        _ => out.reply(
            400,
            &[],
            br#"{"errors":[{"message":"digest \u001b[2J invalid"}]}"#,
        ),
    });
    let e = push(&client(), &s, b"x").unwrap_err();
    let text = e.to_string();
    assert!(text.contains(r"digest \u{1b}[2J invalid"), "{text}");
    // Once: trying again cannot help.
    assert_eq!(said(&s).len(), 2);
    let s = Server::start(|a, out| match a.method.as_str() {
        "HEAD" => out.head_only(404),
        _ => out.reply(403, &[], b""),
    });
    assert!(matches!(
        push(&client(), &s, b"x"),
        Err(Error::Denied { .. })
    ));
}

#[test]
fn what_cannot_be_read_is_not_blamed_on_the_registry() {
    let (_, serve) = good();
    let s = Server::start(serve);
    let all = content(100_000);
    let open =
        |_: u64| -> io::Result<Box<dyn Read>> { Ok(Box::new((&b"only a part"[..]).chain(Fails))) };
    let e = push_from(&client(), &s, &all, &open).unwrap_err();
    match e {
        Error::Source { source, .. } => assert_eq!(source.to_string(), "no such luck"),
        e => panic!("{e:?}"),
    }
    assert_eq!(said(&s).len(), 1, "nothing is tried again: {:?}", said(&s));
}

struct Fails;

impl Read for Fails {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("no such luck"))
    }
}

/// Tokens for `pull` first, and for what the registry asks for then.
#[test]
fn a_token_for_pushing_is_asked_for() {
    let all = content(30_000);
    let (store, serve) = good();
    let refused = AtomicUsize::new(0);
    let s = Server::start(move |a, out| {
        if let Some(query) = a.path.strip_prefix("/token?") {
            let push = query.contains("push");
            let token = if push { "may-push" } else { "may-pull" };
            return out.reply(200, &[], format!(r#"{{"token":"{token}"}}"#).as_bytes());
        }
        let token = a.header("authorization").unwrap_or_default();
        // A token that ran out while the blob was on its way.
        let late = a.method == "PUT" && refused.fetch_add(1, Ordering::SeqCst) == 0;
        let ok = match a.method.as_str() {
            "HEAD" => token.starts_with("Bearer may-"),
            _ => token == "Bearer may-push" && !late,
        };
        if ok {
            return serve(a, out);
        }
        let host = a.header("host").unwrap();
        let scope = if a.method == "HEAD" {
            "pull"
        } else {
            "pull,push"
        };
        let challenge = format!(
            "Bearer realm=\"http://{host}/token\",service=\"x\",scope=\"repository:some/image:{scope}\""
        );
        out.reply(401, &[("WWW-Authenticate", &challenge)], b"")
    });
    let c = client();
    assert!(!c.has_blob(&image(&s), &Digest::of(&all)).unwrap());
    push(&c, &s, &all).unwrap();
    assert!(store.got() == all);
    let asked = s.asked();
    let tokens = || asked.iter().filter(|a| a.path.starts_with("/token"));
    assert_eq!(tokens().count(), 3);
    assert!(
        tokens()
            .next_back()
            .unwrap()
            .path
            .contains("scope=repository%3Asome%2Fimage%3Apull%2Cpush")
    );
}

/// One that refuses a token for reading (403) rather than ask for another; whoever comes without any is asked.
#[test]
fn a_token_for_pulling_is_not_tried_for_pushing() {
    let all = content(10_000);
    let (store, serve) = good();
    let s = Server::start(move |a, out| {
        if let Some(query) = a.path.strip_prefix("/token?") {
            let scope = if query.contains("push") {
                "push"
            } else {
                "pull"
            };
            return out.reply(200, &[], format!(r#"{{"token":"{scope}"}}"#).as_bytes());
        }
        let token = a.header("authorization").unwrap_or_default();
        match (a.method.as_str(), token) {
            ("HEAD", "Bearer pull" | "Bearer push") | (_, "Bearer push") => serve(a, out),
            (_, "Bearer pull") => out.reply(403, &[], b""),
            _ => {
                // It does not say for what: that is known here.
                let host = a.header("host").unwrap();
                let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"x\"");
                out.reply(401, &[("WWW-Authenticate", &challenge)], b"")
            }
        }
    });
    let c = client();
    assert!(!c.has_blob(&image(&s), &Digest::of(&all)).unwrap());
    push(&c, &s, &all).unwrap();
    assert!(store.got() == all);
    assert!(c.has_blob(&image(&s), &Digest::of(&all)).unwrap());
    let asked = s.asked();
    let tokens = asked.iter().filter(|a| a.path.starts_with("/token"));
    let scopes: Vec<bool> = tokens.map(|a| a.path.contains("%2Cpush")).collect();
    assert_eq!(scopes, [false, true], "one for each, and each kept");
}

/// A login is not asked for twice.
#[test]
fn a_login_for_pulling_is_one_for_pushing() {
    let all = content(10_000);
    let (store, serve) = good();
    let s = Server::start(move |a, out| match a.header("authorization") {
        Some(BASIC) => serve(a, out),
        _ => out.reply(401, &[("WWW-Authenticate", "Basic realm=\"x\"")], b""),
    });
    let c = with_login(&s);
    assert!(!c.has_blob(&image(&s), &Digest::of(&all)).unwrap());
    push(&c, &s, &all).unwrap();
    assert!(store.got() == all);
    let asked = s.asked();
    let refused = asked.iter().filter(|a| a.header("authorization").is_none());
    assert_eq!(refused.count(), 1);
}

#[test]
fn a_manifest_is_put_under_its_tag() {
    let s = Server::start(|a, out| match a.method.as_str() {
        "HEAD" => out.head_only(404),
        _ if a.index == 1 => out.reply(503, &[], b""),
        _ => {
            let digest = Digest::of(&a.bytes).to_string();
            out.reply(201, &[("Docker-Content-Digest", &digest)], b"")
        }
    });
    let digest = client()
        .put_manifest(&image(&s), MANIFEST, media::OCI_MANIFEST)
        .unwrap();
    assert_eq!(digest, Digest::of(MANIFEST));
    let last = s.asked().pop().unwrap();
    assert_eq!(last.path, "/v2/some/image/manifests/1");
    assert_eq!(last.bytes, MANIFEST);
    assert_eq!(last.header("content-type"), Some(media::OCI_MANIFEST));

    // It says that it got something else.
    let s = Server::start(|a, out| match a.method.as_str() {
        "HEAD" => out.head_only(404),
        _ => {
            let digest = Digest::of(b"other").to_string();
            out.reply(201, &[("Docker-Content-Digest", &digest)], b"")
        }
    });
    let e = client()
        .put_manifest(&image(&s), MANIFEST, media::OCI_MANIFEST)
        .unwrap_err();
    assert!(matches!(e, Error::Digest { .. }), "{e:?}");
}
