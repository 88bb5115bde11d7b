//! The environment of a container: nothing from outside but what is asked for.

use std::collections::BTreeMap;

use crate::harness::{Done, Env, Runtime};

suite!(
    exactly_what_docker_sets,
    of_the_image,
    flag_sets,
    flag_takes_from_the_caller,
    flag_without_a_value_outside_is_left_out,
    flag_beats_image_and_file,
    last_one_wins,
    env_file,
    env_file_takes_from_the_caller,
    home_of_the_user,
    values_are_kept_byte_for_byte,
    an_empty_name_is_an_error,
    caller_does_not_leak,
);

fn env_of(out: &str) -> BTreeMap<String, String> {
    out.lines()
        .filter_map(|l| l.split_once('='))
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
}

fn exactly_what_docker_sets(e: &Env) -> Done {
    let env = env_of(&e.sh(&["--hostname", "boat"], "exec env"));
    let mut want = BTreeMap::from([
        (
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ),
        ("HOSTNAME", "boat"),
        ("HOME", "/root"),
    ]);
    // busybox sh adds these itself.
    for own in ["PWD", "SHLVL", "OLDPWD", "_"] {
        if let Some(value) = env.get(own) {
            want.insert(own, value);
        }
    }
    // podman's own marks.
    if e.runtime == Runtime::Podman {
        want.extend([("container", "podman"), ("TERM", "xterm")]);
    } else {
        // podman's convention, which systemd-detect-virt reads.
        want.insert("container", "coracle");
    }
    let got: BTreeMap<&str, &str> = env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(got, want);
    Ok(())
}

fn of_the_image(e: &Env) -> Done {
    let out = e
        .run(&["--entrypoint", "env"], "busybox-config", &[])
        .code_is(0)
        .out();
    let env = env_of(&out);
    assert_eq!(env["FROM_IMAGE"], "yes");
    assert_eq!(env["OVERRIDE"], "image");
    Ok(())
}

fn flag_sets(e: &Env) -> Done {
    let flags = [
        "-e",
        "A=b",
        "--env",
        "C=d e",
        "--env=EMPTY=",
        "-e",
        "EQ=x=y=z",
    ];
    assert_eq!(
        e.sh(&flags, "echo \"$A|$C|${EMPTY-unset}|$EQ\""),
        "b|d e||x=y=z\n"
    );
    Ok(())
}

fn flag_takes_from_the_caller(e: &Env) -> Done {
    let cmd = e.run_cmd(&["-e", "OUTER"], "busybox", &["sh", "-c", "echo $OUTER"]);
    cmd.env("OUTER", "from outside")
        .ok()
        .out_is("from outside\n");
    Ok(())
}

fn flag_without_a_value_outside_is_left_out(e: &Env) -> Done {
    assert_eq!(
        e.sh(&["-e", "NOT_SET_OUTSIDE"], "echo ${NOT_SET_OUTSIDE-unset}"),
        "unset\n"
    );
    Ok(())
}

fn flag_beats_image_and_file(e: &Env) -> Done {
    let file = e
        .file("env", "OVERRIDE=file\nFILE=file\n")
        .display()
        .to_string();
    let flags = [
        "--entrypoint",
        "env",
        "-e",
        "OVERRIDE=flag",
        "--env-file",
        &file,
    ];
    let env = env_of(&e.run(&flags, "busybox-config", &[]).code_is(0).out());
    assert_eq!(
        (env["OVERRIDE"].as_str(), env["FILE"].as_str()),
        ("flag", "file")
    );
    let env = env_of(&e.run(&flags[..2], "busybox-config", &[]).code_is(0).out());
    assert_eq!(env["OVERRIDE"], "image");
    Ok(())
}

fn last_one_wins(e: &Env) -> Done {
    assert_eq!(
        e.sh(&["-e", "A=1", "-e", "A=2"], "echo $A; env | grep -c ^A="),
        "2\n1\n"
    );
    Ok(())
}

fn env_file(e: &Env) -> Done {
    let text = "# a comment\n\nA=plain\nB=\"quotes stay\"\nC=a=b\n  D=indented\nE= leading space\nF=#no comment\n";
    let file = e.file("env", text).display().to_string();
    let out = e.sh(
        &["--env-file", &file],
        "for v in A B C D E F; do eval \"echo \\\"[\\$$v]\\\"\"; done",
    );
    assert_eq!(
        out,
        "[plain]\n[\"quotes stay\"]\n[a=b]\n[indented]\n[ leading space]\n[#no comment]\n"
    );
    Ok(())
}

fn env_file_takes_from_the_caller(e: &Env) -> Done {
    let file = e
        .file("env", "OUTER\nNOT_SET_OUTSIDE\n")
        .display()
        .to_string();
    let script = "echo $OUTER ${NOT_SET_OUTSIDE-unset}";
    let cmd = e.run_cmd(&["--env-file", &file], "busybox", &["sh", "-c", script]);
    cmd.env("OUTER", "taken").ok().out_is("taken unset\n");
    Ok(())
}

fn home_of_the_user(e: &Env) -> Done {
    for (user, home) in [
        ("0", "/root"),
        ("app", "/home"),
        ("1234", "/home"),
        ("4321", "/"),
    ] {
        assert_eq!(
            e.sh(&["-u", user], "echo $HOME"),
            format!("{home}\n"),
            "user {user}"
        );
    }
    assert_eq!(
        e.sh(&["-u", "app", "-e", "HOME=/elsewhere"], "echo $HOME"),
        "/elsewhere\n"
    );
    Ok(())
}

fn values_are_kept_byte_for_byte(e: &Env) -> Done {
    let value = "tab\there 'quotes\" $dollar \\back 🛶";
    let flag = format!("V={value}");
    assert_eq!(
        e.sh(
            &["-e", &flag, "-e", "N=two\nlines"],
            "printf '%s|%s' \"$V\" \"$N\""
        ),
        format!("{value}|two\nlines")
    );
    Ok(())
}

fn an_empty_name_is_an_error(e: &Env) -> Done {
    e.run(&["-e", "=x"], "busybox", &["true"]).code_is(125);
    Ok(())
}

fn caller_does_not_leak(e: &Env) -> Done {
    let cmd = e
        .run_cmd(&[], "busybox", &["env"])
        .env("SECRET_TOKEN", "hunter2")
        .env("LD_PRELOAD_X", "x")
        .env("http_proxy_x", "x")
        .env("LANG", "de_DE.UTF-8");
    cmd.ok()
        .out_lacks("SECRET")
        .out_lacks("hunter2")
        .out_lacks("LD_PRELOAD")
        .out_lacks("LANG");
    Ok(())
}
