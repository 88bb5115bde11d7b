//! Tokens and passwords: who gets them, and what happens when they are refused.

use std::path::Path;
use std::process::Command;

use coracle::config::Env;

use super::*;

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

/// Credentials that a helper keeps, `docker-credential-vault`, which is this shell script.
fn kept(s: &Server, dir: &Path, script: &str) -> Credentials {
    use std::os::unix::fs::PermissionsExt as _;
    let program = dir.join("docker-credential-vault");
    // A file that was open for writing when another thread forked could not be executed: hence a copy
    // that another process makes.
    let draft = dir.join("draft");
    std::fs::write(&draft, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o755)).unwrap();
    let copied = Command::new("cp")
        .arg("-p")
        .arg(draft)
        .arg(program)
        .status();
    assert!(copied.unwrap().success());
    let file = dir.join("auth.json");
    let text = format!(r#"{{"credHelpers":{{"{}":"vault"}}}}"#, s.name());
    std::fs::write(&file, text).unwrap();
    let get = |name: &str| match name {
        "PATH" => Some(format!("{}:/usr/bin:/bin", dir.display()).into()),
        "REGISTRY_AUTH_FILE" => Some(file.clone().into_os_string()),
        _ => None,
    };
    Credentials::load(None, Env::new(&get)).unwrap()
}

#[test]
fn a_credential_helper_gives_the_login() {
    let s = Server::start(|a, out| match a.header("authorization") {
        Some(BASIC) => ok_manifest(out),
        _ => out.reply(401, &[("WWW-Authenticate", "Basic realm=x")], b""),
    });
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        r#"[ "$1 $(cat)" = "get {}" ] && echo '{{"Username":"me","Secret":"s3cret"}}'"#,
        s.name()
    );
    let c = Client::new(Options {
        credentials: kept(&s, dir.path(), &script),
        ..options()
    });
    c.manifest(&image(&s)).unwrap();
    assert_eq!(c.take_notices(), []);
}

#[test]
fn a_credential_helper_gives_an_identity_token() {
    let s = token_server(|a| a.method == "POST" && a.body.contains("refresh_token=R"));
    let dir = tempfile::tempdir().unwrap();
    let script = r#"echo '{"Username":"<token>","Secret":"R"}'"#;
    let c = Client::new(Options {
        credentials: kept(&s, dir.path(), script),
        ..options()
    });
    c.manifest(&image(&s)).unwrap();
}

#[test]
fn a_credential_helper_that_fails_is_mentioned() {
    let s = Server::start(|_, out| out.reply(401, &[("WWW-Authenticate", "Basic realm=x")], b""));
    let dir = tempfile::tempdir().unwrap();
    let c = Client::new(Options {
        credentials: kept(&s, dir.path(), "echo the vault is locked; exit 1"),
        ..options()
    });
    let e = c.manifest(&image(&s)).unwrap_err();
    let hint = e.hint().unwrap();
    assert!(
        hint.contains("docker-credential-vault failed: the vault is locked"),
        "{hint}"
    );
    assert_eq!(c.take_notices().len(), 1);
    assert_eq!(c.take_notices().len(), 0);
}

#[test]
fn a_large_token_fits() {
    let token = "t".repeat(32 << 10);
    let s = Server::start(move |a, out| {
        if a.path.starts_with("/token") {
            let body = format!(r#"{{"token":"{token}"}}"#);
            return out.reply(200, &[], body.as_bytes());
        }
        match a.header("authorization") {
            Some(_) => ok_manifest(out),
            None => {
                let realm = format!(
                    "Bearer realm=\"http://{}/token\"",
                    a.header("host").unwrap()
                );
                out.reply(401, &[("WWW-Authenticate", &realm)], b"")
            }
        }
    });
    client().manifest(&image(&s)).unwrap();
}

#[test]
fn an_identity_token_does_not_follow_a_redirect() {
    let away = Server::start(|_, out| out.reply(200, &[], br#"{"token":"T"}"#));
    let target = away.url("/token");
    let s = Server::start(move |a, out| {
        if a.path.starts_with("/token") {
            return out.reply(307, &[("Location", &target)], b"");
        }
        let realm = format!(
            "Bearer realm=\"http://{}/token\"",
            a.header("host").unwrap()
        );
        out.reply(401, &[("WWW-Authenticate", &realm)], b"")
    });
    let c = Client::new(Options {
        credentials: Credentials::one(&s.name(), Login::IdentityToken("s3cret".into())),
        ..options()
    });
    c.manifest(&image(&s)).unwrap_err();
    assert!(s.asked()[1].body.contains("s3cret"));
    for a in away.asked() {
        assert!(!a.body.contains("s3cret") && !a.path.contains("s3cret"));
    }
}

/// What a registry and its token service make of a login for `path`.
fn check(s: &Server, path: &str) -> Result<bool, Error> {
    with_login(s).check_login(&s.name(), path)
}

#[test]
fn a_login_is_checked_without_asking_for_a_repository() {
    let s = Server::start(|a, out| {
        let host = a.header("host").unwrap();
        if a.path.starts_with("/token") {
            return out.reply(200, &[], br#"{"token":"T"}"#);
        }
        if a.header("authorization") == Some("Bearer T") {
            return out.reply(200, &[], b"{}");
        }
        let challenge = format!(r#"Bearer realm="http://{host}/token",service="reg""#);
        out.reply(401, &[("WWW-Authenticate", &challenge)], b"")
    });
    assert!(check(&s, "").unwrap());
    let asked: Vec<_> = s.asked().into_iter().map(|a| a.path).collect();
    assert_eq!(asked, ["/v2/", "/token?service=reg&account=me", "/v2/"]);
    // For a part of the repositories the login is the same, and so is the question.
    assert!(check(&s, "some").unwrap());
}

#[test]
fn what_a_registry_says_of_a_login() {
    let basic = |status: u16| {
        Server::start(move |a, out| match a.header("authorization") {
            Some(BASIC) => out.reply(status, &[], b"no \x1b[2J"),
            _ => out.reply(401, &[("WWW-Authenticate", "Basic realm=x")], b""),
        })
    };
    assert!(check(&basic(200), "").unwrap());
    let e = check(&basic(401), "").unwrap_err();
    assert!(matches!(e, Error::LoginRefused { .. }), "{e:?}");
    assert!(!e.to_string().contains('\x1b') && e.hint().is_some());
    let e = check(&token_server(|_| false), "").unwrap_err();
    assert!(matches!(e, Error::LoginRefused { .. }), "{e:?}");
    // Neither yes nor no.
    let e = check(&basic(403), "").unwrap_err();
    assert!(matches!(e, Error::Denied { .. }), "{e:?}");
    let open = Server::start(|_, out| out.reply(200, &[], b"{}"));
    assert!(!check(&open, "").unwrap());
    for a in open.asked() {
        assert_eq!(a.header("authorization"), None);
    }
    let e = check(&Server::start(|_, out| out.reply(404, &[], b"")), "").unwrap_err();
    assert!(matches!(e, Error::NotFound { .. }), "{e:?}");
}
