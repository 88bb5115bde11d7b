//! Registries that misbehave: every promise of `registry` against a real socket.
#![allow(clippy::unwrap_used)]

mod registry_support;

use std::io::Read;
use std::time::{Duration, Instant};

use coracle::config::auth::{Credentials, Login};
use coracle::oci::{Digest, MANIFEST_MAX, Reference, media};
use coracle::registry::{Client, Error, Options};
use registry_support::{After, Asked, Out, Server};

const STALL: Duration = Duration::from_millis(300);
const MANIFEST: &[u8] = br#"{"schemaVersion":2}"#;

fn options() -> Options {
    Options {
        stall_timeout: STALL,
        connect_timeout: Duration::from_secs(2),
        retries: 3,
        ..Options::default()
    }
}

fn client() -> Client {
    Client::new(options())
}

fn with_login(server: &Server) -> Client {
    let login = Login::Password {
        user: "me".into(),
        password: "s3cret".into(),
    };
    Client::new(Options {
        credentials: Credentials::one(&server.name(), login),
        ..options()
    })
}

/// `me:s3cret`, base64.
const BASIC: &str = "Basic bWU6czNjcmV0";

fn image(server: &Server) -> Reference {
    format!("{}/some/image:1", server.name()).parse().unwrap()
}

fn ok_manifest(out: &mut Out<'_>) -> After {
    out.reply(200, &[("Content-Type", media::OCI_MANIFEST)], MANIFEST)
}

/// Bytes that are different everywhere, so that a part in the wrong place shows.
fn content(len: usize) -> Vec<u8> {
    let mut x = 1u32;
    (0..len)
        .map(|_| {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (x >> 24) as u8
        })
        .collect()
}

/// Read a whole blob of which the manifest says that it has these bytes.
fn read_blob(
    client: &Client,
    server: &Server,
    all: &[u8],
    offset: usize,
) -> Result<Vec<u8>, Error> {
    let d = Digest::of(all);
    let mut blob = client.blob(&image(server), &d, all.len() as u64, offset as u64)?;
    let mut got = Vec::new();
    blob.read_to_end(&mut got)
        .map_err(|e| Error::from_io(e).unwrap())?;
    Ok(got)
}

/// A correct reply to a request for (the rest of) these bytes.
fn serve_range(asked: &Asked, out: &mut Out<'_>, all: &[u8]) -> After {
    match asked.from() {
        None => out.reply(200, &[], all),
        Some(from) => {
            let range = format!("bytes {from}-{}/{}", all.len() - 1, all.len());
            out.reply(206, &[("Content-Range", &range)], &all[from..])
        }
    }
}

/// A correct head, and only `n` bytes of the body.
fn serve_part(asked: &Asked, out: &mut Out<'_>, all: &[u8], n: usize) -> bool {
    let from = asked.from().unwrap_or(0);
    let rest = &all[from..];
    let length = rest.len().to_string();
    let range = format!("bytes {from}-{}/{}", all.len() - 1, all.len());
    match asked.from() {
        None => out.head(200, &[("Content-Length", &length)]),
        Some(_) => out.head(
            206,
            &[("Content-Length", &length), ("Content-Range", &range)],
        ),
    }
    out.raw(&rest[..rest.len().min(n)]);
    rest.len() <= n
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut out = format!("{:x}\r\n", bytes.len()).into_bytes();
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
    out
}

// Manifests

#[test]
fn a_manifest_and_its_media_type() {
    let s = Server::start(|a, out| {
        assert_eq!(a.path, "/v2/some/image/manifests/1");
        let accept = a.header("accept").unwrap();
        assert!(media::ACCEPT.iter().all(|m| accept.contains(m)), "{accept}");
        assert_eq!(a.header("accept-encoding"), Some("identity"));
        assert!(a.header("user-agent").unwrap().starts_with("coracle/"));
        assert_eq!(a.header("authorization"), None);
        let digest = Digest::of(MANIFEST).to_string();
        out.reply(
            200,
            &[
                ("Content-Type", "application/x.y+json; charset=utf-8"),
                ("Docker-Content-Digest", &digest),
            ],
            MANIFEST,
        )
    });
    let got = client().manifest(&image(&s)).unwrap();
    assert_eq!(got.bytes, MANIFEST);
    assert_eq!(got.media_type.as_deref(), Some("application/x.y+json"));
    assert_eq!(got.digest, Digest::of(MANIFEST));
    assert_eq!(s.asked().len(), 1);
    assert_eq!(s.connections(), 1, "loopback http must not try TLS first");
}

#[test]
fn a_manifest_that_is_not_what_was_asked_for() {
    let s = Server::start(|_, out| ok_manifest(out));
    let pinned = image(&s).with_digest(Digest::of(b"other"));
    let e = client().manifest(&pinned).unwrap_err();
    assert!(matches!(e, Error::Digest { .. }), "{e:?}");
    assert_eq!(s.asked().len(), 1, "trying again would not help");

    let pinned = image(&s).with_digest(Digest::of(MANIFEST));
    client().manifest(&pinned).unwrap();
}

#[test]
fn a_manifest_that_contradicts_its_own_header() {
    for (value, want) in [
        (Digest::of(b"other").to_string(), "Digest"),
        ("sha256:../../etc".to_owned(), "BadHeader"),
        ("blake9:00".to_owned(), "ok"),
    ] {
        let header = value.clone();
        let s = Server::start(move |_, out| {
            out.reply(200, &[("Docker-Content-Digest", &header)], MANIFEST)
        });
        let got = match client().manifest(&image(&s)) {
            Ok(_) => "ok".to_owned(),
            Err(e) => format!("{e:?}"),
        };
        assert!(got.starts_with(want), "{value}: {got}");
    }
}

#[test]
fn a_huge_manifest_is_refused_unread() {
    const HUGE: usize = 100 << 20;
    for announced in [true, false] {
        let s = Server::start(move |_, out| {
            let zeros = vec![b' '; 1 << 20];
            if announced {
                out.head(200, &[("Content-Length", &HUGE.to_string())]);
            } else {
                out.head(200, &[("Transfer-Encoding", "chunked")]);
            }
            for _ in 0..HUGE >> 20 {
                let sent = if announced {
                    out.raw(&zeros)
                } else {
                    out.raw(&chunk(&zeros))
                };
                if !sent {
                    break;
                }
            }
            After::Close
        });
        let e = client().manifest(&image(&s)).unwrap_err();
        assert!(matches!(e, Error::ManifestTooLarge { .. }), "{e:?}");
        // What was read, and what fits in the buffers of two sockets.
        let most = MANIFEST_MAX + (16 << 20);
        assert!(s.sent() < most, "announced {announced}: {} bytes", s.sent());
        assert_eq!(s.asked().len(), 1);
    }
}

#[test]
fn a_manifest_shorter_than_announced_is_asked_for_again() {
    let s = Server::start(|a, out| {
        if a.index > 0 {
            return ok_manifest(out);
        }
        out.head(200, &[("Content-Length", "1000")]);
        out.raw(MANIFEST);
        After::Close
    });
    assert_eq!(client().manifest(&image(&s)).unwrap().bytes, MANIFEST);
    assert_eq!(s.asked().len(), 2);

    let s = Server::start(|_, out| {
        out.head(200, &[("Content-Length", "1000")]);
        After::Close
    });
    let e = client().manifest(&image(&s)).unwrap_err();
    assert!(matches!(e, Error::Broken { .. }), "{e:?}");
    assert_eq!(s.asked().len(), 4, "the first try and three more");
}

#[test]
fn a_length_that_is_none() {
    for length in ["-1", "18446744073709551616", "ten", "1, 2"] {
        let s = Server::start(move |_, out| {
            out.head(200, &[("Content-Length", length)]);
            out.raw(MANIFEST);
            After::Close
        });
        let e = client().manifest(&image(&s)).unwrap_err();
        assert!(matches!(e, Error::Protocol { .. }), "{length}: {e:?}");
    }
}

// Blobs

#[test]
fn a_blob_from_any_offset() {
    let all = content(300_000);
    let data = all.clone();
    let s = Server::start(move |a, out| serve_range(a, out, &data));
    let c = client();
    for offset in [0, 1, 123_456, 299_999] {
        assert!(read_blob(&c, &s, &all, offset).unwrap() == all[offset..]);
    }
    // Nothing left: nothing asked.
    assert_eq!(read_blob(&c, &s, &all, 300_000).unwrap(), b"");
    assert_eq!(s.asked().len(), 4);
    assert_eq!(s.connections(), 1, "the connection is used again");

    let e = c
        .blob(&image(&s), &Digest::of(&all), 10, 11)
        .map(drop)
        .unwrap_err();
    assert!(matches!(e, Error::Size { .. }), "{e:?}");
}

#[test]
fn a_truncated_blob_is_resumed() {
    let all = content(200_000);
    let data = all.clone();
    let s = Server::start(move |a, out| {
        if a.index == 0 {
            serve_part(a, out, &data, 70_000);
            return After::Close;
        }
        serve_range(a, out, &data)
    });
    assert!(read_blob(&client(), &s, &all, 0).unwrap() == all);
    let froms: Vec<_> = s.asked().iter().map(Asked::from).collect();
    assert_eq!(froms, [None, Some(70_000)]);
}

#[test]
fn a_truncated_chunked_blob_is_resumed() {
    let all = content(100_000);
    let data = all.clone();
    let s = Server::start(move |a, out| {
        if a.index == 0 {
            out.head(200, &[("Transfer-Encoding", "chunked")]);
            out.raw(&chunk(&data[..40_000]));
            return After::Close;
        }
        serve_range(a, out, &data)
    });
    assert!(read_blob(&client(), &s, &all, 0).unwrap() == all);
    assert_eq!(s.asked()[1].from(), Some(40_000));
}

#[test]
fn a_reset_every_few_bytes_still_finishes() {
    let all = content(100_000);
    let data = all.clone();
    let s = Server::start(move |a, out| {
        if serve_part(a, out, &data, 9_000) {
            return After::Keep;
        }
        // Let the bytes arrive: a reset throws away what is still in the buffers.
        std::thread::sleep(Duration::from_millis(30));
        After::Reset
    });
    assert!(read_blob(&client(), &s, &all, 0).unwrap() == all);
    assert!(s.asked().len() >= 12);
}

#[test]
fn a_server_without_ranges_has_its_start_skipped() {
    let all = content(150_000);
    let data = all.clone();
    let s = Server::start(move |a, out| {
        if a.index == 0 {
            serve_part(a, out, &data, 100_000);
            return After::Close;
        }
        out.reply(200, &[], &data)
    });
    assert!(read_blob(&client(), &s, &all, 0).unwrap() == all);
    assert_eq!(s.asked().len(), 2);
}

#[test]
fn a_server_that_always_breaks_at_the_same_byte_is_given_up() {
    let all = content(50_000);
    let data = all.clone();
    let s = Server::start(move |_, out| {
        out.head(200, &[("Content-Length", "50000")]);
        out.raw(&data[..20_000]);
        After::Close
    });
    let e = read_blob(&client(), &s, &all, 0).unwrap_err();
    assert!(
        matches!(e, Error::Broken { .. } | Error::Short { .. }),
        "{e:?}"
    );
    assert_eq!(s.asked().len(), 4);
}

#[test]
fn a_part_that_was_not_asked_for() {
    for range in [
        "bytes 0-99/100",
        "bytes 51-99/100",
        "bytes 50-98/100",
        "bytes 50-99/101",
        "bytes 50-200/201",
        "nonsense",
        "",
    ] {
        let s =
            Server::start(move |_, out| out.reply(206, &[("Content-Range", range)], &[b'x'; 50]));
        let e = read_blob(&client(), &s, &[b'x'; 100], 50).unwrap_err();
        assert!(matches!(e, Error::Range { .. }), "{range:?}: {e:?}");
        assert_eq!(s.asked().len(), 1);
    }
}

#[test]
fn a_part_without_having_asked_for_one() {
    let s = Server::start(|_, out| {
        out.reply(206, &[("Content-Range", "bytes 0-99/100")], &[b'x'; 100])
    });
    let e = read_blob(&client(), &s, &[b'x'; 100], 0).unwrap_err();
    assert!(matches!(e, Error::Status { status: 206, .. }), "{e:?}");
}

#[test]
fn a_blob_of_another_size() {
    for length in [99u64, 101, 1 << 40] {
        let s = Server::start(move |_, out| {
            out.head(200, &[("Content-Length", &length.to_string())]);
            out.raw(&[b'x'; 99]);
            After::Hang
        });
        let e = read_blob(&client(), &s, &[b'x'; 100], 0).unwrap_err();
        assert!(matches!(e, Error::Size { .. }), "{length}: {e:?}");
        assert_eq!(s.asked().len(), 1);
    }
}

#[test]
fn more_bytes_than_the_manifest_allows() {
    // In chunks, and until the end of the connection: no length gives it away.
    for chunked in [true, false] {
        let s = Server::start(move |_, out| {
            if chunked {
                out.head(200, &[("Transfer-Encoding", "chunked")]);
                out.raw(&chunk(&[b'x'; 101]));
                out.raw(b"0\r\n\r\n");
            } else {
                out.head(200, &[]);
                out.raw(&[b'x'; 101]);
            }
            After::Close
        });
        let e = read_blob(&client(), &s, &[b'x'; 100], 0).unwrap_err();
        assert!(matches!(e, Error::TooLong { .. }), "{chunked}: {e:?}");
    }
}

#[test]
fn a_stream_with_too_many_bytes_does_not_end_well_later() {
    let s = Server::start(|_, out| {
        out.head(200, &[("Transfer-Encoding", "chunked")]);
        out.raw(&chunk(&[b'x'; 101]));
        out.raw(b"0\r\n\r\n");
        After::Close
    });
    let mut blob = client().blob(&image(&s), &Digest::of(b""), 100, 0).unwrap();
    let mut buf = [0; 4096];
    assert!(blob.read(&mut buf).is_err());
    assert!(blob.read(&mut buf).is_err());
}

#[test]
fn bad_chunks() {
    for chunks in [&b"zz\r\nxx\r\n"[..], b"ffffffffffffffffff\r\nx", b"-1\r\nx"] {
        let s = Server::start(move |_, out| {
            out.head(200, &[("Transfer-Encoding", "chunked")]);
            out.raw(chunks);
            After::Close
        });
        let e = read_blob(&client(), &s, &[b'x'; 100], 0).unwrap_err();
        assert!(
            matches!(e, Error::Protocol { .. } | Error::Broken { .. }),
            "{e:?}"
        );
    }
}

#[test]
fn threads_share_a_client() {
    let all = content(100_000);
    let data = all.clone();
    let s = Server::start(move |a, out| serve_range(a, out, &data));
    let c = client();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for _ in 0..5 {
                    assert!(read_blob(&c, &s, &all, 0).unwrap() == all);
                }
            });
        }
    });
    assert!(s.connections() <= 6, "{} connections", s.connections());
}

// Stalls

#[track_caller]
fn stalls_in_time<T: std::fmt::Debug>(f: impl FnOnce() -> Result<T, Error>) {
    let start = Instant::now();
    let e = f().unwrap_err();
    assert!(matches!(e, Error::Stalled { .. }), "{e:?}");
    let took = start.elapsed();
    assert!(took >= STALL && took < STALL * 6, "took {took:?}");
}

#[test]
fn a_registry_that_never_answers() {
    let s = Server::start(|_, _| After::Hang);
    stalls_in_time(|| client().manifest(&image(&s)));
    assert_eq!(s.asked().len(), 2, "a stall is tried again once");
}

#[test]
fn a_head_that_never_ends() {
    let s = Server::start(|_, out| {
        out.raw(b"HTTP/1.1 200 OK\r\n");
        // A byte now and then must not keep us waiting for ever.
        while out.raw(b"a") {
            std::thread::sleep(STALL / 4);
        }
        After::Close
    });
    stalls_in_time(|| client().manifest(&image(&s)));
}

#[test]
fn a_blob_that_stops_in_the_middle() {
    let all = content(100_000);
    let data = all.clone();
    let s = Server::start(move |a, out| {
        serve_part(a, out, &data, 10_000);
        After::Hang
    });
    stalls_in_time(|| read_blob(&client(), &s, &all, 0));
    assert_eq!(s.asked()[1].from(), Some(10_000));
}

#[test]
fn a_blob_that_stalls_once_is_resumed() {
    let all = content(100_000);
    let data = all.clone();
    let s = Server::start(move |a, out| {
        if a.index == 0 {
            serve_part(a, out, &data, 10_000);
            return After::Hang;
        }
        serve_range(a, out, &data)
    });
    assert!(read_blob(&client(), &s, &all, 0).unwrap() == all);
}

#[test]
fn a_manifest_that_trickles() {
    let s = Server::start(|_, out| {
        out.head(200, &[("Content-Length", "1000")]);
        while out.raw(b" ") {
            std::thread::sleep(STALL / 4);
        }
        After::Close
    });
    let start = Instant::now();
    let e = client().manifest(&image(&s)).unwrap_err();
    assert!(matches!(e, Error::TooSlow { .. }), "{e:?}");
    assert!(start.elapsed() < STALL * 8, "took {:?}", start.elapsed());
}

#[test]
fn nobody_listens() {
    let port = {
        let l = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        l.local_addr().unwrap().port()
    };
    let r: Reference = format!("127.0.0.1:{port}/x:1").parse().unwrap();
    let start = Instant::now();
    let e = client().manifest(&r).unwrap_err();
    assert!(matches!(e, Error::Connect { .. }), "{e:?}");
    assert!(e.hint().is_some());
    assert!(start.elapsed() < Duration::from_secs(1));
}

// Redirects

#[test]
fn a_redirect_loop() {
    let s = Server::start(|a, out| out.reply(307, &[("Location", &a.path)], b""));
    let e = client().manifest(&image(&s)).unwrap_err();
    assert!(matches!(e, Error::RedirectLoop { limit: 10, .. }), "{e:?}");
    assert_eq!(s.asked().len(), 11);
}

#[test]
fn every_redirect_status_is_followed() {
    for status in [301, 302, 303, 307, 308] {
        let s = Server::start(move |a, out| match a.path.as_str() {
            "/there?x=1" => ok_manifest(out),
            _ => out.reply(status, &[("Location", "/there?x=1")], b"moved"),
        });
        assert_eq!(client().manifest(&image(&s)).unwrap().bytes, MANIFEST);
        assert_eq!(s.connections(), 1, "{status}: the connection is used again");
    }
}

#[test]
fn redirects_to_nowhere() {
    for location in [
        "",
        "file:///etc/passwd",
        "gopher://x/",
        "http://me@127.0.0.1/",
        "http://",
        "http://[::1",
        "http://a b/",
    ] {
        let s = Server::start(move |_, out| out.reply(302, &[("Location", location)], b""));
        let e = client().manifest(&image(&s)).unwrap_err();
        assert!(
            matches!(e, Error::RedirectTarget { .. }),
            "{location:?}: {e:?}"
        );
    }
    let s = Server::start(|_, out| out.reply(302, &[], b""));
    let e = client().manifest(&image(&s)).unwrap_err();
    assert!(matches!(e, Error::RedirectTarget { .. }), "{e:?}");
}

#[test]
fn credentials_do_not_travel_to_another_origin() {
    let all = content(1000);
    let data = all.clone();
    let cdn = Server::start(move |a, out| serve_range(a, out, &data));
    let target = cdn.url("/signed?sig=1");
    let s = Server::start(move |a, out| match (a.header("authorization"), &*a.path) {
        (Some(BASIC), "/second") => out.reply(302, &[("Location", &target)], b""),
        (Some(BASIC), _) => out.reply(302, &[("Location", "/second")], b""),
        _ => out.reply(401, &[("WWW-Authenticate", "Basic realm=x")], b""),
    });
    assert!(read_blob(&with_login(&s), &s, &all, 10).unwrap() == all[10..]);
    // Within the origin they were sent on, and the range went all the way.
    let asked = s.asked();
    assert_eq!(asked.len(), 3);
    assert_eq!(asked[0].header("authorization"), None);
    assert_eq!(asked[2].header("authorization"), Some(BASIC));
    let asked = cdn.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].header("authorization"), None);
    assert_eq!(asked[0].from(), Some(10));
}

#[test]
fn a_stranger_cannot_ask_for_credentials() {
    let stranger =
        Server::start(|_, out| out.reply(401, &[("WWW-Authenticate", "Basic realm=x")], b""));
    let target = stranger.url("/x");
    let s = Server::start(move |_, out| out.reply(302, &[("Location", &target)], b""));
    let e = with_login(&s).manifest(&image(&s)).unwrap_err();
    assert!(matches!(e, Error::Status { status: 401, .. }), "{e:?}");
    assert_eq!(stranger.asked().len(), 1);
    for a in s.asked().iter().chain(&stranger.asked()) {
        assert_eq!(a.header("authorization"), None);
    }
}

#[test]
fn credentials_do_not_come_back_by_a_detour() {
    // Home, away, home again: the one in the middle chose what is asked for at home.
    let home = std::sync::Arc::new(std::sync::OnceLock::<String>::new());
    let back = home.clone();
    let away =
        Server::start(move |_, out| out.reply(302, &[("Location", back.get().unwrap())], b""));
    let target = away.url("/x");
    let s = Server::start(move |a, out| match (a.header("authorization"), &*a.path) {
        (_, "/chosen") => out.reply(404, &[], b""),
        (Some(_), _) => out.reply(302, &[("Location", &target)], b""),
        (None, _) => out.reply(401, &[("WWW-Authenticate", "Basic realm=x")], b""),
    });
    home.set(s.url("/chosen")).unwrap();
    let e = with_login(&s).manifest(&image(&s)).unwrap_err();
    assert!(matches!(e, Error::NotFound { .. }), "{e:?}");
    let asked = s.asked();
    assert_eq!(asked.last().unwrap().path, "/chosen");
    assert_eq!(asked.last().unwrap().header("authorization"), None);
}

// Logins

/// A registry that wants the bearer token `T`, and the service that hands it out.
fn token_server(check: impl Fn(&Asked) -> bool + Send + Sync + 'static) -> Server {
    Server::start(move |a, out| {
        let host = a.header("host").unwrap();
        if a.path.starts_with("/token") {
            return match check(a) {
                true => out.reply(200, &[], br#"{"token":"T","expires_in":300}"#),
                false => out.reply(401, &[], br#"{"details":"wrong"}"#),
            };
        }
        if a.header("authorization") == Some("Bearer T") {
            return ok_manifest(out);
        }
        let challenge = format!(
            r#"Bearer realm="http://{host}/token",service="reg",scope="repository:some/image:pull""#
        );
        out.reply(401, &[("WWW-Authenticate", &challenge)], b"")
    })
}

#[test]
fn an_anonymous_token_is_fetched_once() {
    let s = token_server(|a| a.header("authorization").is_none());
    let c = client();
    for _ in 0..3 {
        c.manifest(&image(&s)).unwrap();
    }
    let paths: Vec<_> = s.asked().iter().map(|a| a.path.clone()).collect();
    let m = "/v2/some/image/manifests/1";
    assert_eq!(
        paths,
        [
            m,
            "/token?service=reg&scope=repository%3Asome%2Fimage%3Apull",
            m,
            m,
            m
        ]
    );
}

#[test]
fn a_login_goes_to_the_token_service() {
    let s = token_server(|a| a.header("authorization") == Some(BASIC));
    with_login(&s).manifest(&image(&s)).unwrap();
    assert!(s.asked()[1].path.ends_with("&account=me"));
    // The registry itself never sees the password.
    for a in s.asked().iter().filter(|a| !a.path.starts_with("/token")) {
        assert_ne!(a.header("authorization"), Some(BASIC));
    }
}

#[test]
fn a_wrong_login_says_so() {
    let s = token_server(|_| false);
    let e = with_login(&s).manifest(&image(&s)).unwrap_err();
    let Error::LoginNeeded {
        had_login: true, ..
    } = &e
    else {
        panic!("{e:?}");
    };
    assert!(e.to_string().contains("wrong"), "{e}");
    assert!(e.hint().unwrap().contains("refused"));
    assert_eq!(s.asked().len(), 2, "a refusal is not tried again");
}

#[test]
fn an_identity_token_is_exchanged() {
    let s = token_server(|a| {
        a.method == "POST"
            && a.body.contains("grant_type=refresh_token")
            && a.body.contains("refresh_token=R%2FT")
            && !a.path.contains("R%2FT")
    });
    let c = Client::new(Options {
        credentials: Credentials::one(&s.name(), Login::IdentityToken("R/T".into())),
        ..options()
    });
    c.manifest(&image(&s)).unwrap();
}

#[test]
fn a_token_that_ran_out_is_replaced() {
    let s = Server::start(|a, out| {
        let host = a.header("host").unwrap();
        if a.path.starts_with("/token") {
            let token = format!(r#"{{"token":"T{}","expires_in":300}}"#, a.index);
            return out.reply(200, &[], token.as_bytes());
        }
        // The token of the second request is good until the fourth.
        let good = match a.header("authorization") {
            Some("Bearer T1") => a.index < 4,
            Some(_) => true,
            None => false,
        };
        if good {
            return ok_manifest(out);
        }
        let challenge = format!(r#"Bearer realm="http://{host}/token""#);
        out.reply(401, &[("WWW-Authenticate", &challenge)], b"")
    });
    let c = client();
    for _ in 0..4 {
        c.manifest(&image(&s)).unwrap();
    }
    let tokens = s.asked();
    let tokens = tokens.iter().filter(|a| a.path.starts_with("/token"));
    assert_eq!(tokens.count(), 2);
}

#[test]
fn basic_login() {
    let s = Server::start(|a, out| match a.header("authorization") {
        Some(BASIC) => ok_manifest(out),
        _ => out.reply(401, &[("WWW-Authenticate", "Basic realm=\"x\"")], b""),
    });
    let c = with_login(&s);
    c.manifest(&image(&s)).unwrap();
    c.manifest(&image(&s)).unwrap();
    assert_eq!(s.asked().len(), 3, "the second time nobody has to ask");

    let e = client().manifest(&image(&s)).unwrap_err();
    assert!(
        matches!(
            e,
            Error::LoginNeeded {
                had_login: false,
                ..
            }
        ),
        "{e:?}"
    );
}

#[test]
fn refusals_for_ever_come_to_an_end() {
    for challenge in ["Basic realm=x", "Bearer realm=\"http://HOST/token\""] {
        let s = Server::start(move |a, out| {
            if a.path.starts_with("/token") {
                return out.reply(200, &[], br#"{"token":"T"}"#);
            }
            let challenge = challenge.replace("HOST", a.header("host").unwrap());
            let said = br#"{"errors":[{"message":"go \u001b[31maway"}]}"#;
            out.reply(401, &[("WWW-Authenticate", &challenge)], said)
        });
        let e = with_login(&s).manifest(&image(&s)).unwrap_err();
        assert!(matches!(e, Error::LoginNeeded { .. }), "{e:?}");
        let text = e.to_string();
        assert!(text.contains("does not exist, or needs a login"), "{text}");
        assert!(text.contains("go \\u{1b}[31maway"), "{text}");
        assert!(s.asked().len() <= 3, "{} requests", s.asked().len());
    }
}

#[test]
fn challenges_that_make_no_sense() {
    for (challenge, want) in [
        ("Negotiate", "Challenge"),
        ("Bearer", "Challenge"),
        ("Bearer realm=\"not a url\"", "BadHeader"),
        ("Bearer realm=\"/token\"", "BadHeader"),
        ("Bearer realm=\"ftp://x/\"", "BadHeader"),
        ("Bearer realm=\"http://u@127.0.0.1/\"", "BadHeader"),
    ] {
        let s =
            Server::start(move |_, out| out.reply(401, &[("WWW-Authenticate", challenge)], b""));
        let e = client().manifest(&image(&s)).unwrap_err();
        assert!(format!("{e:?}").starts_with(want), "{challenge}: {e:?}");
    }
}

#[test]
fn token_services_that_give_none() {
    for body in ["", "{}", "<html>", r#"{"token":"a\nb"}"#] {
        let s = Server::start(move |a, out| {
            if a.path.starts_with("/token") {
                return out.reply(200, &[], body.as_bytes());
            }
            let challenge = format!(
                "Bearer realm=\"http://{}/token\"",
                a.header("host").unwrap()
            );
            out.reply(401, &[("WWW-Authenticate", &challenge)], b"")
        });
        let e = client().manifest(&image(&s)).unwrap_err();
        assert!(matches!(e, Error::NoToken { .. }), "{body:?}: {e:?}");
    }
}

#[test]
fn a_credential_helper_is_mentioned() {
    let s = Server::start(|_, out| out.reply(401, &[("WWW-Authenticate", "Basic realm=x")], b""));
    let text = format!(r#"{{"credHelpers":{{"{}":"vault"}}}}"#, s.name());
    let c = Client::new(Options {
        credentials: Credentials::parse(&text, "auth.json".as_ref()).unwrap(),
        ..options()
    });
    let e = c.manifest(&image(&s)).unwrap_err();
    assert!(e.hint().unwrap().contains("docker-credential-vault"));
    assert_eq!(c.take_notices().len(), 1);
    assert_eq!(c.take_notices().len(), 0);
}

// Other statuses

#[test]
fn too_many_requests_then_ok() {
    let s = Server::start(|a, out| match a.index {
        0 => out.reply(429, &[("Retry-After", "1")], b""),
        _ => ok_manifest(out),
    });
    let start = Instant::now();
    client().manifest(&image(&s)).unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[test]
fn too_many_requests_for_hours() {
    let s = Server::start(|_, out| {
        let said = br#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#;
        out.reply(429, &[("Retry-After", "21600")], said)
    });
    let start = Instant::now();
    let e = client().manifest(&image(&s)).unwrap_err();
    assert!(matches!(e, Error::RateLimited { .. }), "{e:?}");
    assert!(e.to_string().contains("slow down"));
    assert!(e.hint().unwrap().contains("21600 s"));
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!(s.asked().len(), 1);
}

#[test]
fn server_errors_then_ok() {
    for status in [500, 502, 503, 504] {
        let s = Server::start(move |a, out| match a.index {
            0 | 1 => out.reply(status, &[], b"oops"),
            _ => ok_manifest(out),
        });
        client().manifest(&image(&s)).unwrap();
    }
    let s = Server::start(|_, out| out.reply(503, &[], b"down for lunch"));
    let e = client().manifest(&image(&s)).unwrap_err();
    assert!(matches!(e, Error::Server { status: 503, .. }), "{e:?}");
    assert!(e.to_string().contains("down for lunch"));
    assert_eq!(s.asked().len(), 4);
}

#[test]
fn a_blob_survives_server_errors_in_the_middle() {
    let all = content(50_000);
    let data = all.clone();
    let s = Server::start(move |a, out| match a.index {
        0 => {
            serve_part(a, out, &data, 10_000);
            After::Close
        }
        1 => out.reply(502, &[], b""),
        2 => After::Reset,
        _ => serve_range(a, out, &data),
    });
    assert!(read_blob(&client(), &s, &all, 0).unwrap() == all);
}

#[test]
fn what_is_not_there() {
    let s = Server::start(|_, out| {
        let said = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
        out.reply(404, &[], said)
    });
    let e = client().manifest(&image(&s)).unwrap_err();
    assert!(matches!(e, Error::NotFound { .. }), "{e:?}");
    let text = e.to_string();
    assert!(text.contains("some/image:1") && text.contains("manifest unknown"));
    let e = read_blob(&client(), &s, b"x", 0).unwrap_err();
    assert!(matches!(e, Error::NotFound { .. }), "{e:?}");
    assert_eq!(s.asked().len(), 2);
}

#[test]
fn access_denied() {
    let s = Server::start(|_, out| out.reply(403, &[], b"<html>no</html>"));
    let e = client().manifest(&image(&s)).unwrap_err();
    assert!(matches!(e, Error::Denied { .. }), "{e:?}");
    assert!(!e.to_string().contains("html"));
}

#[test]
fn an_error_page_without_end_is_cut() {
    let s = Server::start(|_, out| {
        out.head(404, &[("Transfer-Encoding", "chunked")]);
        let line = chunk(&[b'a'; 1000]);
        while out.raw(&line) {}
        After::Close
    });
    let e = client().manifest(&image(&s)).unwrap_err();
    assert!(e.to_string().len() < 1300, "{} bytes", e.to_string().len());
    assert!(s.sent() < 32 << 20);
}

// Heads

#[test]
fn header_bombs() {
    let endless = |out: &mut Out<'_>| {
        out.raw(b"HTTP/1.1 200 OK\r\nX: ");
        while out.raw(&[b'a'; 4096]) {}
        After::Close
    };
    let many = |out: &mut Out<'_>| {
        out.raw(b"HTTP/1.1 200 OK\r\n");
        for i in 0..5000 {
            out.raw(format!("X{i}: 1\r\n").as_bytes());
        }
        out.raw(b"\r\n");
        After::Close
    };
    let large = |out: &mut Out<'_>| {
        let value = "a".repeat(100 << 10);
        out.reply(200, &[("X", &value)], MANIFEST)
    };
    let bombs: [fn(&mut Out<'_>) -> After; 3] = [endless, many, large];
    for (i, bomb) in bombs.into_iter().enumerate() {
        let s = Server::start(move |_, out| bomb(out));
        let e = client().manifest(&image(&s)).unwrap_err();
        assert!(
            matches!(e, Error::HeaderTooLarge { .. } | Error::Protocol { .. }),
            "{i}: {e:?}"
        );
        assert!(s.sent() < 32 << 20);
    }
}

#[test]
fn what_is_not_http() {
    for bytes in [
        &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
        b"\x00\x01\x02\x03",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    ] {
        let s = Server::start(move |_, out| {
            out.raw(bytes);
            After::Close
        });
        let e = client().manifest(&image(&s)).unwrap_err();
        assert!(
            matches!(e, Error::Protocol { .. } | Error::Broken { .. }),
            "{bytes:?}: {e:?}"
        );
    }
}

// Plain http

#[test]
fn plain_http_to_the_network_needs_consent() {
    let Some(own) = own_address() else {
        eprintln!("skipped: this machine has no address but loopback");
        return;
    };
    let s = Server::start_on(own, |_, out| ok_manifest(out));
    let e = client().manifest(&image(&s)).unwrap_err();
    assert!(
        matches!(e, Error::Tls { .. } | Error::Broken { .. }),
        "{e:?}"
    );
    assert!(e.hint().is_some());
    assert_eq!(s.asked().len(), 0, "nothing was sent in the clear");

    let c = Client::new(Options {
        tls_verify: false,
        ..options()
    });
    c.manifest(&image(&s)).unwrap();
    let connections = s.connections();
    c.manifest(&image(&s)).unwrap();
    assert_eq!(s.connections(), connections, "what works is remembered");
}

/// An address of this machine that is not loopback. Nothing is sent to find it.
fn own_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let own = socket.local_addr().ok()?.ip();
    (!own.is_loopback() && !own.is_unspecified()).then_some(own)
}
