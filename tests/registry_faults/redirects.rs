//! Where redirects lead, and what does not go along.

use super::*;

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
