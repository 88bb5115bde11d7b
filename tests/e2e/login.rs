//! `login` and `logout`, against a registry that wants a login.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::{Cmd, Done, Env, Feature, Registry, USER};
use crate::run_tty::on_terminal;

suite!(
    a_login_opens_the_registry_and_a_logout_closes_it,
    a_wrong_password_is_not_kept,
    a_password_on_the_command_line_is_warned_of,
    what_is_asked_for_on_a_terminal,
    control_c_leaves_the_terminal_as_it_was,
    nothing_is_asked_for_without_a_terminal,
    authfile_of_login_and_pull,
    a_login_for_a_path,
    a_helper_keeps_the_login,
    a_registry_that_wants_no_login,
    logins_are_shared_with_skopeo,
    logout_of_all_and_of_nothing,
);

/// `login` with the password on standard input.
fn login(e: &Env, place: &str, password: &str) -> Cmd {
    e.cmd(["login", "-u", USER.0, "--password-stdin", place])
        .stdin(format!("{password}\n"))
}

fn file(e: &Env) -> PathBuf {
    e.home.join(".config/containers/auth.json")
}

fn auths(file: &Path) -> Value {
    let text = std::fs::read_to_string(file).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["auths"].clone()
}

fn a_login_opens_the_registry_and_a_logout_closes_it(e: &Env) -> Done {
    let own = e.with_own_store();
    let r = Registry::with_login(e);
    let image = r.image(e, "busybox");
    own.cmd(["pull", "-q", &image])
        .run()
        .fails_with(125, "coracle login");
    login(e, &r.name, USER.1).ok().out_is("Login Succeeded!\n");
    let mode = std::fs::metadata(file(e)).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    own.cmd(["pull", "-q", &image]).ok();
    own.cmd(["login", "--get-login", &r.name])
        .ok()
        .out_is("me\n");
    // A second time there is nothing to ask.
    own.cmd(["login", &r.name])
        .ok()
        .out_has("Already logged in");
    own.cmd(["logout", &r.name]).ok().out_has(&r.name);
    own.cmd(["pull", "-q", &image]).run().code_is(125);
    own.cmd(["login", "--get-login", &r.name])
        .run()
        .fails_with(125, "not logged in");
    Ok(())
}

fn a_wrong_password_is_not_kept(e: &Env) -> Done {
    let r = Registry::with_login(e);
    login(e, &r.name, "wrong")
        .run()
        .fails_with(125, "does not accept the login")
        .err_has("hint:");
    assert!(!file(e).exists());
    // Nor is one lost to it.
    login(e, &r.name, USER.1).ok();
    let before = std::fs::read(file(e)).unwrap();
    login(e, &r.name, "wrong").run().code_is(125);
    assert_eq!(std::fs::read(file(e)).unwrap(), before);
    for bad in [
        "-u a:b -p x",
        "-u me -p",
        "--password-stdin",
        "-u me -p x --password-stdin",
    ] {
        let mut words = vec!["login"];
        words.extend(bad.split(' '));
        e.cmd(words).arg(&r.name).run().code_is(125);
    }
    Ok(())
}

fn a_password_on_the_command_line_is_warned_of(e: &Env) -> Done {
    let r = Registry::with_login(e);
    e.cmd(["login", "-u", USER.0, "-p", USER.1, &r.name])
        .ok()
        .err_has("warning")
        .err_has("--password-stdin");
    Ok(())
}

fn what_is_asked_for_on_a_terminal(e: &Env) -> Done {
    e.need(Feature::Program("python3"))?;
    let r = Registry::with_login(e);
    let steps = json!([
        ["expect", "Username for"],
        ["send", "me\n"],
        ["expect", "Password: "],
        ["send", "s3crex\u{7f}t\n"],
        ["expect", "Login Succeeded!"]
    ]);
    let s = on_terminal(e, &e.cmd(["login", &r.name]), steps);
    assert_eq!(s.code, 0, "{}", s.transcript);
    assert!(s.restored);
    // The user name is seen and the password is not.
    assert!(s.transcript.contains(": me\r\n"), "{}", s.transcript);
    assert!(!s.transcript.contains("s3cre"), "{}", s.transcript);
    assert!(auths(&file(e)).get(&r.name).is_some());
    Ok(())
}

fn control_c_leaves_the_terminal_as_it_was(e: &Env) -> Done {
    e.need(Feature::Program("python3"))?;
    let r = Registry::with_login(e);
    let steps = json!([["expect", "Password: "], ["send", "abc\u{3}"]]);
    let s = on_terminal(e, &e.cmd(["login", "-u", "me", &r.name]), steps);
    assert_eq!(s.code, 130, "{}", s.transcript);
    assert!(s.restored);
    assert!(!file(e).exists());
    Ok(())
}

fn nothing_is_asked_for_without_a_terminal(e: &Env) -> Done {
    let r = Registry::with_login(e);
    for words in [
        &["login"][..],
        &["login", "-u", "me"],
        &["login", "-p", "x"],
    ] {
        e.cmd(words)
            .arg(&r.name)
            .stdin("me\ns3cret\n")
            .run()
            .fails_with(125, "not a terminal")
            .err_has("--password-stdin");
    }
    Ok(())
}

fn authfile_of_login_and_pull(e: &Env) -> Done {
    let own = e.with_own_store();
    let r = Registry::with_login(e);
    let image = r.image(e, "busybox");
    let mine = e.dir.join("mine.json");
    let mine = mine.to_str().unwrap();
    login(e, &r.name, USER.1).args(["--authfile", mine]).ok();
    assert!(!file(e).exists());
    own.cmd(["pull", "-q", &image]).run().code_is(125);
    own.cmd(["pull", "-q", "--authfile", mine, &image]).ok();
    own.cmd(["rmi", &image]).ok();
    own.run_name(&["--authfile", mine], &image, &["true"]).ok();
    own.cmd(["rmi", &image]).ok();
    own.cmd(["pull", "-q", &image])
        .env("REGISTRY_AUTH_FILE", mine)
        .ok();
    own.cmd(["logout", &r.name])
        .env("REGISTRY_AUTH_FILE", mine)
        .ok();
    assert_eq!(auths(Path::new(mine)), json!({}));
    own.cmd(["pull", "-q", "--authfile", "/nonexistent", &image])
        .run()
        .fails_with(125, "/nonexistent");
    Ok(())
}

fn a_login_for_a_path(e: &Env) -> Done {
    let own = e.with_own_store();
    let r = Registry::with_login(e);
    let image = r.image(e, "busybox");
    login(e, &format!("{}/busybox", r.name), USER.1).ok();
    own.cmd(["pull", "-q", &image]).ok();
    own.cmd(["pull", "-q", &r.image(e, "multi")])
        .run()
        .code_is(125);
    own.cmd(["login", "--get-login", &r.name])
        .run()
        .code_is(125);
    login(e, &image, USER.1).run().fails_with(125, "tag");
    Ok(())
}

fn a_helper_keeps_the_login(e: &Env) -> Done {
    let own = e.with_own_store();
    let r = Registry::with_login(e);
    let image = r.image(e, "busybox");
    let bin = e.subdir("helpers");
    let helper = e.file(
        "helpers/docker-credential-test",
        "#!/bin/sh
         d=$(dirname \"$0\"); echo \"$1\" >> \"$d/log\"
         case $1 in
         store) cat > \"$d/kept\" ;;
         erase) rm -f \"$d/kept\" ;;
         get) cat \"$d/kept\" 2> /dev/null || { echo 'credentials not found in native keychain'; exit 1; } ;;
         esac\n",
    );
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    e.subdir("home/.config");
    e.subdir("home/.config/containers");
    e.file(
        "home/.config/containers/auth.json",
        format!(r#"{{"credHelpers":{{"{}":"test"}},"other":1}}"#, r.name),
    );
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let me = |cmd: Cmd| {
        cmd.env(
            "PATH",
            format!("{}:{path}", e.machine.dir.join("bin").display()),
        )
    };
    me(login(e, &r.name, USER.1)).ok().err_is("");
    let kept = std::fs::read_to_string(bin.join("kept")).unwrap();
    assert!(
        kept.contains(r#""Username":"me","Secret":"s3cret""#),
        "{kept}"
    );
    let text = std::fs::read_to_string(file(e)).unwrap();
    assert!(
        !text.contains("auth\":") && text.contains("\"other\": 1"),
        "{text}"
    );
    me(own.cmd(["pull", "-q", &image])).ok().err_is("");
    me(own.cmd(["logout", &r.name])).ok();
    assert!(!bin.join("kept").exists());
    me(own.cmd(["pull", "-q", &image])).run().code_is(125);
    Ok(())
}

fn a_registry_that_wants_no_login(e: &Env) -> Done {
    login(e, &e.machine.registry, "anything")
        .ok()
        .err_has("wants no login");
    let (_held, port) = crate::harness::closed_port();
    login(e, &format!("127.0.0.1:{port}"), "x")
        .run()
        .fails_with(125, "cannot connect");
    Ok(())
}

fn logins_are_shared_with_skopeo(e: &Env) -> Done {
    e.need(Feature::Root)?;
    let own = e.with_own_store();
    let r = Registry::with_login(e);
    let image = r.image(e, "busybox");
    let shared = e.dir.join("shared.json");
    let shared = shared.to_str().unwrap();
    login(e, &r.name, USER.1).args(["--authfile", shared]).ok();
    let skopeo = |words: &[&str]| {
        Cmd::host(["skopeo"])
            .args(words)
            .args(["--tls-verify=false", "--authfile", shared])
    };
    let docker = format!("docker://{image}");
    skopeo(&["inspect", "--raw"]).arg(&docker).ok();
    skopeo(&["logout"]).arg(&r.name).ok();
    own.cmd(["pull", "-q", "--authfile", shared, &image])
        .run()
        .code_is(125);
    skopeo(&["login", "-u", USER.0, "-p", USER.1])
        .arg(&r.name)
        .ok();
    e.give(Path::new(shared));
    own.cmd(["pull", "-q", "--authfile", shared, &image]).ok();
    Ok(())
}

fn logout_of_all_and_of_nothing(e: &Env) -> Done {
    let r = Registry::with_login(e);
    e.cmd(["logout", &r.name])
        .run()
        .fails_with(125, "not logged in");
    e.cmd(["logout", "--all"]).ok().out_is("");
    login(e, &r.name, USER.1).ok();
    login(e, &format!("{}/a", r.name), USER.1).ok();
    let out = e.cmd(["logout", "--all"]).ok();
    assert_eq!(out.out().lines().count(), 2, "{out:?}");
    assert_eq!(auths(&file(e)), json!({}));
    // What docker keeps is docker's.
    e.subdir("home/.docker");
    e.file(
        "home/.docker/config.json",
        format!(r#"{{"auths":{{"{}":{{"auth":"bWU6czNjcmV0"}}}}}}"#, r.name),
    );
    e.cmd(["logout", &r.name])
        .run()
        .fails_with(125, "another program");
    Ok(())
}
