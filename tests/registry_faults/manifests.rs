//! Manifests that lie, and heads that are none.

use coracle::oci::MANIFEST_MAX;

use super::*;

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
fn a_manifest_announced_as_huge_is_not_waited_for() {
    let s = Server::start(|_, out| {
        out.head(200, &[("Content-Length", "104857600")]);
        After::Hang
    });
    let e = client().manifest(&image(&s)).unwrap_err();
    assert!(matches!(e, Error::ManifestTooLarge { .. }), "{e:?}");
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
