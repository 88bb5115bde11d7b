//! Tests of the credential files.

use super::*;
use std::ffi::OsString;

fn parse(text: &str) -> Result<Credentials, AuthError> {
    Credentials::parse(text, Path::new("/x/auth.json"))
}

fn b64(s: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(s)
}

fn user(found: &Found) -> Option<&str> {
    match &found.login {
        Some(Login::Password { user, .. }) => Some(user),
        _ => None,
    }
}

#[test]
fn the_longest_path_wins() {
    let e = |s: &str| format!(r#"{{"auth":"{}"}}"#, b64(s));
    let c = parse(&format!(
        r#"{{"auths":{{"q.io":{},"q.io/a":{},"q.io/a/b":{},"https://index.docker.io/v1/":{}, "h.io:5000":{}}}}}"#,
        e("host:1"),
        e("ns:2"),
        e("repo:3"),
        e("hub:4:5"),
        e("port:6"),
    ))
    .unwrap();
    for (registry, repository, want) in [
        ("q.io", "a/b", Some("repo")),
        ("q.io", "a/b/c", Some("repo")),
        ("q.io", "a/bc", Some("ns")),
        ("q.io", "ab", Some("host")),
        ("docker.io", "library/debian", Some("hub")),
        ("h.io:5000", "x", Some("port")),
        ("h.io", "x", None),
        ("evil-q.io", "a/b", None),
        ("q.io.evil", "a/b", None),
    ] {
        assert_eq!(
            user(&c.find(registry, repository)),
            want,
            "{registry}/{repository}"
        );
    }
    // A password may hold colons.
    let found = c.find("docker.io", "x/y");
    assert_eq!(
        found.login,
        Some(Login::Password {
            user: "hub".into(),
            password: "4:5".into()
        })
    );
}

/// Credentials with the helpers of a directory.
fn with_helpers(text: &str, dir: &Path) -> Credentials {
    Credentials {
        helpers: Helpers::new(dir.into()),
        ..parse(text).unwrap()
    }
}

/// Gives `ASKED@SERVER` as the user name, but for servers that begin with `no`; logs each question.
const SCRIPT: &str = r#"read -r s; echo "$s" >> "$0.log"
case $s in no*) echo "credentials not found in native keychain"; exit 1;; esac
printf '{"Username":"helped@%s","Secret":"p"}' "$s""#;

#[test]
fn helpers_are_asked_in_the_order_of_keys() {
    let dir = helper::tests::helper("x", SCRIPT);
    let auth = b64("inline:p");
    let inline = format!(r#"{{"auth":"{auth}"}}"#);
    let c = with_helpers(
        &format!(
            r#"{{"auths":{{"q.io/a":{inline},"q.io":{inline},"r.io":{inline},"r.io/n":{{}}}},
               "credHelpers":{{"q.io":"x","docker.io":"x","off.io":""}},"credsStore":"x"}}"#
        ),
        dir.path(),
    );
    for (registry, repository, want) in [
        // The longest key wins; of one key, the helper.
        ("q.io", "a/b", "inline"),
        ("q.io", "b", "helped@q.io"),
        (
            "docker.io",
            "library/x",
            "helped@https://index.docker.io/v1/",
        ),
        // The store: what it is known to keep, and all that nothing else has.
        ("r.io", "n/x", "helped@r.io/n"),
        ("r.io", "m/x", "inline"),
        ("off.io", "a", "helped@off.io"),
    ] {
        let found = c.find(registry, repository);
        assert_eq!(user(&found), Some(want), "{registry}/{repository}");
        assert_eq!(found.notice, None);
    }
    // No login is no fault, and is asked for once.
    for _ in 0..3 {
        assert_eq!(c.find("no.io", "a"), Found::default());
    }
    let log = std::fs::read_to_string(dir.path().join("docker-credential-x.log")).unwrap();
    assert_eq!(log.matches("no.io\n").count(), 1, "{log}");
}

#[test]
fn a_helper_that_fails_is_told_and_passed_over() {
    let dir = helper::tests::helper("x", "echo the vault is locked; exit 1");
    let auth = b64("inline:p");
    let c = with_helpers(
        &format!(
            r#"{{"auths":{{"q.io":{{"auth":"{auth}"}}}},"credHelpers":{{"q.io":"x","r.io":"../x"}}}}"#
        ),
        dir.path(),
    );
    let found = c.find("q.io", "a");
    assert_eq!(user(&found), Some("inline"));
    let said = found.notice.unwrap().to_string();
    assert!(
        said.contains("q.io") && said.contains("the vault is locked"),
        "{said}"
    );
    let found = c.find("r.io", "a");
    assert_eq!(found.login, None);
    assert!(matches!(
        found.notice,
        Some(Notice::Helper { source: HelperError::Name(name), .. }) if name == "../x"
    ));
}

#[test]
fn identity_tokens_and_plain_fields() {
    let c = parse(
        r#"{"auths":{"a.io":{"auth":"","identitytoken":"T"},"b.io":{"username":"u","password":"p"}}}"#,
    )
    .unwrap();
    assert_eq!(
        c.find("a.io", "x").login,
        Some(Login::IdentityToken("T".into()))
    );
    assert_eq!(user(&c.find("b.io", "x")), Some("u"));
}

#[test]
fn what_is_no_login_is_an_error() {
    for bad in [
        "",
        "3",
        r#"{"auths":3}"#,
        r#"{"auths":{"a":{"auth":"***"}}}"#,
        r#"{"auths":{"a":{"auth":"bm9jb2xvbg=="}}}"#,
        r#"{"auths":{"a":{"auth":"/////w=="}}}"#,
    ] {
        assert!(parse(bad).is_err(), "{bad:?} was accepted");
    }
}

#[test]
fn secrets_are_not_shown() {
    let c = parse(&format!(
        r#"{{"auths":{{"a":{{"auth":"{}"}},"b":{{"identitytoken":"s3cret"}}}}}}"#,
        b64("me:s3cret")
    ))
    .unwrap();
    let shown = format!("{c:?}");
    assert!(shown.contains("me") && !shown.contains("s3cret"), "{shown}");
}

#[test]
fn files_are_searched_in_order() {
    let tmp = tempfile::tempdir().unwrap();
    let put = |path: &str, user: &str| {
        let path = tmp.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let auth = b64(&format!("{user}:p"));
        std::fs::write(
            path,
            format!(r#"{{"auths":{{"q.io":{{"auth":"{auth}"}}}}}}"#),
        )
        .unwrap();
    };
    let home = tmp.path().join("home");
    let run = tmp.path().join("run");
    let load = |file: Option<&str>| {
        let get = |name: &str| match name {
            "HOME" => Some(OsString::from(&home)),
            "XDG_RUNTIME_DIR" => Some(OsString::from(&run)),
            "REGISTRY_AUTH_FILE" => file.map(|f| tmp.path().join(f).into()),
            _ => None,
        };
        Credentials::load(None, Env::new(&get))
    };
    assert_eq!(load(None).unwrap().find("q.io", "a"), Found::default());
    put("home/.docker/config.json", "docker");
    assert_eq!(user(&load(None).unwrap().find("q.io", "a")), Some("docker"));
    put("home/.config/containers/auth.json", "config");
    assert_eq!(user(&load(None).unwrap().find("q.io", "a")), Some("config"));
    put("run/containers/auth.json", "run");
    assert_eq!(user(&load(None).unwrap().find("q.io", "a")), Some("run"));
    put("mine.json", "mine");
    let mine = load(Some("mine.json")).unwrap();
    assert_eq!(user(&mine.find("q.io", "a")), Some("mine"));
    assert!(matches!(
        load(Some("missing.json")),
        Err(AuthError::Read { .. })
    ));
}
