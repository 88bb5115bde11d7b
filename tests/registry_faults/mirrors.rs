//! Mirrors: who is asked in which order, who sees which login, and what is told when nobody has it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use coracle::config::registries::Registries;
use coracle::registry::Notice;

use super::*;

/// Mirrors of `logical.test/some`, in this order, and the place itself, the last.
fn mirrored(places: &[&Server]) -> Registries {
    let (last, mirrors) = places.split_last().unwrap();
    let mut text = format!(
        "[[registry]]\nprefix = \"logical.test/some\"\nlocation = \"{}/there\"\n",
        last.name()
    );
    for mirror in mirrors {
        text.push_str(&format!(
            "[[registry.mirror]]\nlocation = \"{}/mirrored\"\n",
            mirror.name()
        ));
    }
    Registries::parse(&text, Path::new("registries.conf")).unwrap()
}

fn client_of(places: &[&Server]) -> Client {
    Client::new(Options {
        registries: mirrored(places),
        retries: 0,
        ..options()
    })
}

fn logical() -> Reference {
    "logical.test/some/image:1".parse().unwrap()
}

fn paths(s: &Server) -> Vec<String> {
    s.asked().into_iter().map(|a| a.path).collect()
}

fn gone() -> Server {
    Server::start(|_, out| out.reply(404, &[], b""))
}

fn good() -> Server {
    Server::start(|_, out| ok_manifest(out))
}

#[test]
fn the_first_mirror_that_has_it_serves_all_of_it() {
    let all = content(300_000);
    let bytes = all.clone();
    let (empty, mirror, place) = (gone(), serving(bytes), good());
    let c = client_of(&[&empty, &mirror, &place]);
    let got = c.manifest(&logical()).unwrap();
    assert_eq!(got.bytes, MANIFEST);
    let d = Digest::of(&all);
    let mut blob = c.blob(&logical(), &d, all.len() as u64, 0).unwrap();
    let mut read = Vec::new();
    blob.read_to_end(&mut read).unwrap();
    assert!(read == all);
    // What comes after the manifest goes to where the manifest came from.
    assert_eq!(paths(&empty), ["/v2/mirrored/image/manifests/1"]);
    assert_eq!(
        paths(&mirror),
        [
            "/v2/mirrored/image/manifests/1".to_owned(),
            format!("/v2/mirrored/image/blobs/{d}")
        ]
    );
    assert_eq!(place.asked().len(), 0);
    // That a mirror has no such image is no news.
    assert_eq!(c.take_notices(), []);
}

/// Serves the manifest, and these bytes as the blob.
fn serving(all: Vec<u8>) -> Server {
    Server::start(move |a, out| match a.path.contains("/blobs/") {
        true => serve_range(a, out, &all),
        false => ok_manifest(out),
    })
}

#[test]
fn a_mirror_that_fails_is_told_and_the_place_itself_serves() {
    let broken = Server::start(|_, out| out.reply(500, &[], b"on fire"));
    let place = good();
    let c = client_of(&[&broken, &place]);
    c.manifest(&logical()).unwrap();
    assert_eq!(paths(&place), ["/v2/there/image/manifests/1"]);
    let [Notice::PassedOver { place, why }] = &c.take_notices()[..] else {
        panic!("no notice");
    };
    assert!(
        place.starts_with(&broken.name()) && why.contains("on fire"),
        "{why}"
    );
}

#[test]
fn when_nobody_has_it_each_reason_is_told() {
    let (a, b, c) = (
        Server::start(|_, out| out.reply(503, &[], b"closed")),
        Server::start(|_, out| out.reply(403, &[], b"not \x1b[2J you")),
        gone(),
    );
    let e = client_of(&[&a, &b, &c]).manifest(&logical()).unwrap_err();
    let Error::Nowhere { tried, last, .. } = &e else {
        panic!("{e:?}");
    };
    assert!(matches!(**last, Error::NotFound { .. }));
    for (line, (server, word)) in
        tried
            .iter()
            .zip([(&a, "closed"), (&b, "not "), (&c, "is not there")])
    {
        assert!(
            line.starts_with(&server.name()) && line.contains(word),
            "{line}"
        );
    }
    assert_eq!(tried.len(), 3);
    assert!(!e.to_string().contains('\x1b'));
}

#[test]
fn a_blob_goes_on_at_the_next_place_where_the_first_one_broke() {
    let all = content(1_000_000);
    let (here, there) = (all.clone(), all.clone());
    let broken = AtomicBool::new(false);
    let mirror = Server::start(move |a, out| match a.path.contains("/blobs/") {
        true if !broken.swap(true, Ordering::SeqCst) => {
            serve_part(a, out, &here, 400_000);
            After::Reset
        }
        true => out.reply(500, &[], b""),
        false => ok_manifest(out),
    });
    let place = serving(there);
    let c = client_of(&[&mirror, &place]);
    c.manifest(&logical()).unwrap();
    let mut blob = c
        .blob(&logical(), &Digest::of(&all), all.len() as u64, 0)
        .unwrap();
    let mut read = Vec::new();
    blob.read_to_end(&mut read).unwrap();
    assert!(read == all);
    let asked = place.asked();
    assert_eq!(asked.len(), 1);
    assert!(asked[0].from().unwrap() > 0, "it began anew");
    assert_eq!(c.take_notices().len(), 1);
}

#[test]
fn a_mirror_sees_only_its_own_login() {
    let wants =
        || Server::start(|_, out| out.reply(401, &[("WWW-Authenticate", "Basic realm=x")], b""));
    let (mirror, place) = (wants(), wants());
    let login = |key: &str| {
        let login = Login::Password {
            user: "me".into(),
            password: "s3cret".into(),
        };
        Credentials::one(key, login)
    };
    // The login for the name is nobody's: the name is not asked for anywhere.
    for (key, of_mirror, of_place) in [
        ("logical.test".to_owned(), 0, 0),
        (place.name(), 0, 1),
        (mirror.name(), 1, 0),
    ] {
        let before = (with_secret(&mirror), with_secret(&place));
        let c = Client::new(Options {
            registries: mirrored(&[&mirror, &place]),
            credentials: login(&key),
            ..options()
        });
        c.manifest(&logical()).unwrap_err();
        let after = (
            with_secret(&mirror) - before.0,
            with_secret(&place) - before.1,
        );
        assert_eq!(after, (of_mirror, of_place), "{key}");
    }
}

fn with_secret(s: &Server) -> usize {
    let asked = s.asked();
    asked
        .iter()
        .filter(|a| a.header("authorization").is_some())
        .count()
}

#[test]
fn what_is_blocked_is_asked_for_nowhere() {
    let s = good();
    let text = format!("[[registry]]\nlocation = \"{}\"\nblocked = true", s.name());
    let c = Client::new(Options {
        registries: Registries::parse(&text, Path::new("registries.conf")).unwrap(),
        ..options()
    });
    let e = c.manifest(&image(&s)).unwrap_err();
    assert!(
        e.to_string().contains("blocked") && e.hint().is_some(),
        "{e}"
    );
    c.blob(&image(&s), &Digest::of(b"x"), 1, 0).unwrap_err();
    for term in ["", "word"] {
        let e = c.search(&s.name(), term, 5).unwrap_err();
        assert!(e.to_string().contains("blocked"), "{e}");
    }
    c.tags(&image(&s), None).unwrap_err();
    c.referrers(&image(&s), &Digest::of(b"x"), None)
        .unwrap_err();
    c.has_blob(&image(&s), &Digest::of(b"x")).unwrap_err();
    assert_eq!(s.asked().len(), 0);
    // Only a part of it is: all of it may be searched.
    let text = format!(
        "[[registry]]\nlocation = \"{}/some\"\nblocked = true",
        s.name()
    );
    let c = Client::new(Options {
        registries: Registries::parse(&text, Path::new("registries.conf")).unwrap(),
        ..options()
    });
    c.manifest(&image(&s)).unwrap_err();
    assert_eq!(s.asked().len(), 0);
    let _ = c.search(&s.name(), "word", 5);
    assert!(!s.asked().is_empty());
}

#[test]
fn insecure_is_for_the_place_that_is_called_so() {
    // Not loopback by name, so that plain http needs consent: an address that is this machine's all the same.
    let s = Server::start_on("127.0.0.1".parse().unwrap(), |_, out| ok_manifest(out));
    let port = s.name().rsplit(':').next().unwrap().to_owned();
    let name = format!("0.0.0.0:{port}/some/image:1");
    let ask = |text: &str, verify: bool| {
        let mut registries = Registries::parse(text, Path::new("x")).unwrap();
        if verify {
            registries.secure();
        }
        Client::new(Options {
            registries,
            retries: 0,
            ..options()
        })
        .manifest(&name.parse().unwrap())
    };
    ask("", false).unwrap_err();
    let here = format!("[[registry]]\nlocation = \"0.0.0.0:{port}\"\ninsecure = true");
    ask(&here, false).unwrap();
    ask(&here, true).unwrap_err();
    let elsewhere = format!("[[registry]]\nlocation = \"0.0.0.0:{port}/other\"\ninsecure = true");
    ask(&elsewhere, false).unwrap_err();
}
