//! Statuses that are no success, and plain http.

use std::time::Instant;

use super::*;

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
    let hint = e.hint().unwrap();
    assert!(
        hint.contains("360 min") && hint.contains("coracle login"),
        "{hint}"
    );
    assert!(start.elapsed() < Duration::from_secs(60));
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
