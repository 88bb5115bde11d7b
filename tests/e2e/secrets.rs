//! `secret`, and `--secret` of `run` and `create`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::harness::{Cmd, Done, Env, Output};

suite!(
    a_secret_is_kept_shown_and_removed,
    what_is_no_secret_is_an_error,
    nobody_else_reads_them,
    files_and_variables,
    owners_and_modes,
    they_are_nowhere_else,
    a_container_keeps_its_files,
    a_variable_is_looked_up_at_each_start,
    over_what_is_mounted_at_run,
    words_that_cannot_be_honoured,
);

fn own(e: &Env) -> (Env, String) {
    let own = e.with_own_store();
    let image = own.image("busybox");
    (own, image)
}

fn create(e: &Env, name: &str, content: &str) -> String {
    let cmd = e.cmd(["secret", "create", name, "-"]).stdin(content);
    cmd.ok().out().trim().to_owned()
}

fn run(e: &Env, image: &str, flags: &[&str], script: &str) -> Output {
    e.run_name(flags, image, &["sh", "-c", script]).run()
}

fn a_secret_is_kept_shown_and_removed(e: &Env) -> Done {
    let own = e.with_own_store();
    let secret = |args: &[&str]| own.cmd(["secret"]).args(args).cwd(&own.dir).run();
    own.file("f", "top\0secret");
    let one = secret(&["create", "--label", "a=b", "one", "f"])
        .code_is(0)
        .out();
    let one = one.trim();
    assert!(
        one.len() == 25 && one.bytes().all(|b| b.is_ascii_hexdigit()),
        "{one}"
    );
    let env = own.cmd(["secret", "create", "--env", "two", "VARIABLE"]);
    env.env("VARIABLE", "hidden").ok();
    secret(&["ls", "--format", "{{.Name}} {{.Driver}} {{.ID}}", "-n"])
        .code_is(0)
        .out_has(&format!("one file {one}\ntwo file "));
    let table = secret(&["ls"]).code_is(0).out();
    assert!(
        table.starts_with("ID ") && table.lines().count() == 3,
        "{table}"
    );
    assert_eq!(secret(&["list", "-q"]).out().lines().count(), 2);
    // By name, by id, by the start of one.
    for name in ["one", one, &one[..12]] {
        let shown = secret(&["inspect", name]).code_is(0).out();
        let json: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(json[0]["Spec"]["Name"], "one");
        assert_eq!(json[0]["Spec"]["Labels"]["a"], "b");
        assert!(
            !shown.contains("top") && !shown.contains("746f70"),
            "{shown}"
        );
        secret(&["exists", name]).code_is(0).out_is("");
    }
    secret(&[
        "inspect",
        "--format",
        "{{.Spec.Name}}",
        "one",
        "none",
        "two",
    ])
    .code_is(125)
    .out_is("one\ntwo\n")
    .err_has("no such secret");
    secret(&["create", "one", "f"]).fails_with(125, "secret name in use");
    let again = secret(&["create", "--replace", "one", "f"])
        .code_is(0)
        .out();
    assert_ne!(again.trim(), one);
    secret(&["exists", one]).code_is(1);
    secret(&["rm", "one", "none"])
        .code_is(125)
        .out_is(&again)
        .err_has("no such secret");
    secret(&["rm", "--all"]).code_is(0);
    secret(&["ls", "-q"]).code_is(0).out_is("");
    Ok(())
}

fn what_is_no_secret_is_an_error(e: &Env) -> Done {
    let own = e.with_own_store();
    own.file("f", "x");
    own.file("empty", "");
    own.file("large", vec![b'x'; 512_000]);
    own.file("fits", vec![b'x'; 511_999]);
    let create = |args: &[&str]| own.cmd(["secret", "create"]).args(args).cwd(&own.dir).run();
    for name in ["", "a/b", "..", "-a.", "a b", &"x".repeat(65)] {
        create(&["--", name, "f"]).fails_with(125, "is not a secret name");
    }
    create(&["s", "empty"]).fails_with(125, "larger than 0 and less than 512000 bytes");
    create(&["s", "large"]).fails_with(125, "larger than 0 and less than 512000 bytes");
    create(&["s", "/dev/zero"]).fails_with(125, "less than 512000 bytes");
    create(&["s", "none"]).fails_with(125, "cannot read none");
    create(&["--env", "s", "NONE"]).fails_with(125, "there is no variable NONE");
    create(&["--driver", "pass", "s", "f"]).fails_with(125, "invalid value");
    create(&["s", "fits"]).code_is(0);
    Ok(())
}

fn nobody_else_reads_them(e: &Env) -> Done {
    let (own, image) = own(e);
    create(&own, "one", "topsecret");
    // Shared or not.
    own.cmd(["system", "share"]).ok();
    create(&own, "two", "topsecret");
    let id = own
        .cmd(["create", "--secret", "one", &image, "true"])
        .ok()
        .out();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&own.root().join("secrets")), 0o700);
    for entry in fs::read_dir(own.root().join("secrets")).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
    let kept = own
        .root()
        .join("containers")
        .join(id.trim())
        .join("secrets.json");
    assert_eq!(mode(&kept), 0o600);
    Ok(())
}

fn files_and_variables(e: &Env) -> Done {
    let (own, image) = own(e);
    create(&own, "one", "first\n");
    let id = create(&own, "two", "second");
    let flags = [
        "--secret",
        "one",
        "--secret",
        "source=two,target=deeper",
        "--secret",
        "two,type=env",
        "--secret",
        "two,type=env,target=NAMED",
        "--secret",
        &format!("{id},target=/etc/key"),
    ];
    let script = "cat /run/secrets/one /run/secrets/deeper /etc/key; echo; echo $two $NAMED; ls /run/secrets; \
        grep -c '^tmpfs /run/secrets ' /proc/mounts";
    run(&own, &image, &flags, script)
        .code_is(0)
        .out_is("first\nsecondsecond\nsecond second\ndeeper\none\n1\n");
    let without = "ls /run/secrets 2>&1; env | grep -c second";
    run(&own, &image, &[], without)
        .out_has("No such file")
        .out_has("0\n");
    Ok(())
}

fn owners_and_modes(e: &Env) -> Done {
    let (own, image) = own(e);
    create(&own, "s", "x");
    let flags = [
        "--secret",
        "s",
        "--secret",
        "s,uid=33,gid=44,mode=0400,target=t",
    ];
    let look = "stat -c '%n %u:%g %a' /run/secrets/* /run/secrets";
    let want = "/run/secrets/s 0:0 444\n/run/secrets/t 33:44 400\n/run/secrets 0:0 755\n";
    run(&own, &image, &flags, look).code_is(0).out_is(want);
    let strict = [&flags[..], &["--identity", "strict", "-u"]].concat();
    let read = "cat /run/secrets/t";
    run(&own, &image, &[&strict[..], &["33"]].concat(), read)
        .code_is(0)
        .out_is("x");
    let refused = run(&own, &image, &[&strict[..], &["55"]].concat(), read);
    refused.code_is(1).err_has("Permission denied");
    Ok(())
}

fn they_are_nowhere_else(e: &Env) -> Done {
    let (own, image) = own(e);
    create(&own, "s", "topsecret");
    let flags = ["--secret", "s", "--secret", "s,type=env,target=VAR"];
    own.cmd(["run", "--name", "c", "--network=none"])
        .args(flags)
        .args([
            &image,
            "sh",
            "-c",
            "test $VAR = $(cat /run/secrets/s); echo more >>/run/secrets/s",
        ])
        .ok();
    // Neither in what is shown, nor in what leaves, nor in any file but those that are closed.
    for verb in ["inspect", "diff", "export"] {
        let out = own.cmd([verb, "c"]).ok().out();
        assert!(!out.contains("topsecret"), "{verb}: {out}");
        let names = verb != "inspect" && out.contains("secrets/s");
        assert!(!names, "{verb}: {out}");
    }
    let format = "{{.Config.Env}} {{.HostConfig.Tmpfs}} {{.Mounts}}";
    let shown = own.cmd(["inspect", "--format", format, "c"]).ok();
    shown.out_lacks("VAR").out_lacks("secrets");
    own.cmd(["commit", "-q", "c", "localhost/new"]).ok();
    run(&own, "localhost/new", &[], "ls -A /run/secrets; env")
        .out_lacks("VAR")
        .out_lacks("\ns\n");
    for hidden in ["topsecret", "746f70736563726574"] {
        let found = Cmd::host(["grep", "-rl", hidden])
            .arg(own.root())
            .run()
            .out();
        let outside = |l: &&str| !l.contains("/secrets/s.json") && !l.ends_with("/secrets.json");
        let found: Vec<_> = found.lines().filter(outside).collect();
        assert!(found.is_empty(), "{found:?}");
    }
    Ok(())
}

fn a_container_keeps_its_files(e: &Env) -> Done {
    let (own, image) = own(e);
    create(&own, "s", "before");
    for name in ["a", "b"] {
        own.cmd([
            "create",
            "--network=none",
            "--name",
            name,
            "--secret",
            "s",
            &image,
        ])
        .args(["cat", "/run/secrets/s"])
        .ok();
    }
    own.cmd(["start", "-a", "a"]).ok().out_is("before");
    // As with podman: what it got when it was made, whatever becomes of that.
    own.cmd(["secret", "create", "--replace", "s", "-"])
        .stdin("after")
        .ok();
    own.cmd(["start", "-a", "a"]).ok().out_is("before");
    own.cmd(["secret", "rm", "s"]).ok();
    own.cmd(["start", "-a", "a"]).ok().out_is("before");
    own.cmd(["start", "-a", "b"]).ok().out_is("before");
    // A copy sees what the container sees.
    own.cmd(["cp", "b:/run/secrets/s", "got"])
        .cwd(&own.dir)
        .ok();
    assert_eq!(fs::read_to_string(own.dir.join("got")).unwrap(), "before");
    // Nothing of it is left with the container.
    own.cmd(["rm", "a", "b"]).ok();
    let left = Cmd::host(["grep", "-rl", "6265666f7265"])
        .arg(own.root())
        .run()
        .out();
    assert_eq!(left, "");
    Ok(())
}

fn a_variable_is_looked_up_at_each_start(e: &Env) -> Done {
    let (own, image) = own(e);
    create(&own, "s", "before");
    own.cmd([
        "create",
        "--network=none",
        "--name",
        "c",
        "--secret",
        "s,type=env,target=V",
        &image,
    ])
    .args(["sh", "-c", "echo $V"])
    .ok();
    own.cmd(["start", "-a", "c"]).ok().out_is("before\n");
    own.cmd(["secret", "create", "--replace", "s", "-"])
        .stdin("after")
        .ok();
    own.cmd(["start", "-a", "c"]).ok().out_is("after\n");
    own.cmd(["secret", "rm", "s"]).ok();
    own.cmd(["start", "-a", "c"])
        .run()
        .fails_with(125, "no such secret");
    // Files can still be had out of it.
    own.cmd(["cp", "c:/etc/passwd", "got"]).cwd(&own.dir).ok();
    Ok(())
}

fn over_what_is_mounted_at_run(e: &Env) -> Done {
    let (own, image) = own(e);
    create(&own, "s", "x");
    for flags in [
        &["--tmpfs", "/run"][..],
        &["-v", "vol:/run"],
        &["--read-only"],
    ] {
        let flags = [flags, &["--secret", "s"]].concat();
        run(&own, &image, &flags, "cat /run/secrets/s")
            .code_is(0)
            .out_is("x");
    }
    // Not even its name is in the volume.
    run(&own, &image, &["-v", "vol:/v"], "ls -A /v/secrets")
        .code_is(0)
        .out_is("");
    // An image's link leads to its own places.
    own.cmd([
        "run",
        "--name",
        "l",
        "--network=none",
        &image,
        "sh",
        "-c",
        "rm -r /run; ln -s /../../tmp /run",
    ])
    .ok();
    own.cmd(["commit", "-q", "l", "localhost/link"]).ok();
    run(
        &own,
        "localhost/link",
        &["--secret", "s"],
        "cat /tmp/secrets/s",
    )
    .code_is(0)
    .out_is("x");
    Ok(())
}

fn words_that_cannot_be_honoured(e: &Env) -> Done {
    let (own, image) = own(e);
    create(&own, "s", "x");
    own.cmd(["secret", "create", "nul", "-"])
        .stdin(&b"a\0b"[..])
        .ok();
    for (word, message) in [
        ("none", "no such secret"),
        ("none,type=env", "no such secret"),
        ("s,type=file", "neither mount nor env"),
        ("s,nope=1", "unknown option"),
        ("s,mode=rw", "no octal mode"),
        ("s,target=../x", "no path of a file"),
        ("s,type=env,mode=0400", "are for files"),
        ("nul,type=env", "zero byte"),
    ] {
        run(&own, &image, &["--secret", word], "true").fails_with(125, message);
        let create = own.cmd(["create", "--secret", word, &image, "true"]).run();
        assert!(create.code() == 125 || word == "nul,type=env", "{create:?}");
    }
    assert!(own.cmd(["ps", "-aq"]).ok().out().lines().count() <= 1);
    Ok(())
}
