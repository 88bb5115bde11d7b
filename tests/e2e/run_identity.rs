//! Who the program is inside, and whose its files are outside.

use std::os::unix::fs::MetadataExt as _;

use crate::harness::{Done, Env, Evil, Image, Runtime, Tar};

suite!(
    root_inside,
    one_id_is_mapped,
    user_of_the_image,
    user_flag_with_numbers,
    user_flag_with_names,
    unknown_user_is_an_error,
    group_beside_the_user,
    user_zero_beats_the_image,
    files_belong_to_the_caller,
    files_of_another_user_belong_to_the_caller,
    image_files_belong_to_root,
    keep_id,
    userns_host_makes_sense_or_is_refused,
    keep_groups,
    groups_of_the_first_process,
    group_add_needs_emulated_ids,
    no_groups_from_outside,
    setgroups_is_denied,
);

fn root_inside(e: &Env) -> Done {
    e.run(&[], "busybox", &["id", "-u"])
        .code_is(0)
        .out_is("0\n");
    e.run(&[], "busybox", &["id"])
        .code_is(0)
        .out_has("uid=0(root) gid=0(root)");
    Ok(())
}

fn one_id_is_mapped(e: &Env) -> Done {
    e.coracle_only("it maps a range")?;
    let out = e.sh(&[], "cat /proc/self/uid_map /proc/self/gid_map");
    let words: Vec<Vec<&str>> = out
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    assert_eq!(words.len(), 2, "{out}");
    let (uid, gid) = (e.machine.uid.to_string(), e.machine.gid.to_string());
    assert_eq!(words, [["0", &uid, "1"], ["0", &gid, "1"]]);
    Ok(())
}

fn user_of_the_image(e: &Env) -> Done {
    let script = "id -u; id -g; touch /tmp/x; stat -c %u:%g /tmp/x";
    let out = e.run(&["--entrypoint", "sh"], "busybox-config", &["-c", script]);
    out.code_is(0).out_is("1234\n2345\n1234:2345\n");
    Ok(())
}

fn user_flag_with_numbers(e: &Env) -> Done {
    assert_eq!(e.sh(&["-u", "1000"], "id -u; id -g"), "1000\n0\n");
    assert_eq!(e.sh(&["--user", "1000:100"], "id -u; id -g"), "1000\n100\n");
    assert_eq!(e.sh(&["-u", "0:0"], "id -u; id -g"), "0\n0\n");
    // A uid of /etc/passwd brings its group.
    assert_eq!(
        e.sh(&["-u", "1234"], "id -u; id -g; id -un"),
        "1234\n2345\napp\n"
    );
    Ok(())
}

fn user_flag_with_names(e: &Env) -> Done {
    assert_eq!(e.sh(&["-u", "app"], "id -u; id -g"), "1234\n2345\n");
    assert_eq!(e.sh(&["-u", "app:extra"], "id -u; id -g"), "1234\n3456\n");
    assert_eq!(e.sh(&["-u", "daemon:7"], "id -u; id -g"), "1\n7\n");
    Ok(())
}

fn unknown_user_is_an_error(e: &Env) -> Done {
    let out = e.run(&["-u", "nosuchuser"], "busybox", &["true"]);
    assert!([125, 126].contains(&out.code()), "{out:?}");
    out.err_has("nosuchuser");
    let out = e.run(&["-u", "app:nosuchgroup"], "busybox", &["true"]);
    assert!([125, 126].contains(&out.code()), "{out:?}");
    out.err_has("nosuchgroup");
    Ok(())
}

fn group_beside_the_user(e: &Env) -> Done {
    e.coracle_only("it accepts it")?;
    for bad in ["4294967295", "-1", "99999999999", "1:2:3", ":"] {
        e.run(&[&format!("--user={bad}")], "busybox", &["true"])
            .code_is(125);
    }
    Ok(())
}

fn user_zero_beats_the_image(e: &Env) -> Done {
    e.run(
        &["-u", "0", "--entrypoint", "id"],
        "busybox-config",
        &["-u"],
    )
    .code_is(0)
    .out_is("0\n");
    Ok(())
}

fn files_belong_to_the_caller(e: &Env) -> Done {
    let dir = e.subdir("out");
    let volume = format!("{}:/out", dir.display());
    e.sh(
        &["-v", &volume],
        "echo hi >/out/file; mkdir /out/dir; ln -s x /out/link; chmod 4755 /out/file",
    );
    for name in ["file", "dir", "link"] {
        let meta = std::fs::symlink_metadata(dir.join(name)).unwrap();
        assert_eq!(
            (meta.uid(), meta.gid()),
            (e.machine.uid, e.machine.gid),
            "{name}"
        );
    }
    Ok(())
}

fn files_of_another_user_belong_to_the_caller(e: &Env) -> Done {
    e.coracle_only("its other users have subordinate ids")?;
    let dir = e.subdir("out");
    let volume = format!("{}:/out", dir.display());
    let out = e.sh(
        &["-u", "1000:1000", "-v", &volume],
        "echo hi >/out/file; stat -c %u:%g /out/file",
    );
    assert_eq!(out, "1000:1000\n");
    let meta = std::fs::metadata(dir.join("file")).unwrap();
    assert_eq!((meta.uid(), meta.gid()), (e.machine.uid, e.machine.gid));
    Ok(())
}

fn image_files_belong_to_root(e: &Env) -> Done {
    assert_eq!(
        e.sh(&[], "stat -c %u:%g / /bin/busybox /etc/passwd /tmp"),
        "0:0\n0:0\n0:0\n0:0\n"
    );
    Ok(())
}

fn keep_id(e: &Env) -> Done {
    let out = e.sh(&["--userns", "keep-id"], "id -u; id -g");
    assert_eq!(out, format!("{}\n{}\n", e.machine.uid, e.machine.gid));
    Ok(())
}

fn userns_host_makes_sense_or_is_refused(e: &Env) -> Done {
    e.coracle_only("it joins its own")?;
    e.run(&["--userns", "no-such-mode"], "busybox", &["true"])
        .fails_with(125, "userns");
    Ok(())
}

fn keep_groups(e: &Env) -> Done {
    if e.runtime == Runtime::Podman {
        return e.coracle_only("needs a caller with groups");
    }
    e.run(&["--group-add", "keep-groups"], "busybox", &["id", "-u"])
        .code_is(0)
        .out_is("0\n");
    Ok(())
}

fn groups_of_the_first_process(e: &Env) -> Done {
    let groups = |flags: &[&str]| e.sh(flags, "id -G");
    assert_eq!(groups(&["-u", "app"]), "2345 3456\n");
    // Who names a group has that one.
    assert_eq!(groups(&["-u", "app:7"]), "7\n");
    assert_eq!(
        groups(&["--group-add", "3456", "--group-add=77"]),
        "0 77 3456\n"
    );
    assert_eq!(groups(&["--group-add", "extra"]), "0 3456\n");
    assert_eq!(groups(&["-u", "app:7", "--group-add", "extra"]), "7 3456\n");
    for bad in ["no-such-group", "4294967295", "99999999999", ""] {
        let flag = format!("--group-add={bad}");
        let out = e.run(&[&flag], "busybox", &["true"]);
        assert!([125, 126].contains(&out.code()), "{out:?}");
    }
    // root's, where it is listed.
    e.coracle_only("it has its own registry")?;
    let tar = Tar::busybox()
        .dir("etc")
        .file("etc/passwd", "root:x:0:0::/:/bin/sh\n")
        .file(
            "etc/group",
            "root:x:0:root\nbin:x:1:daemon\nwheel:x:10:a,root\ndisk:x:6:root\n",
        );
    let evil = Evil::honest(Image::new(&[tar.end()]));
    for (flags, want) in [
        (&[][..], "0 6 10\n"),
        (&["-u", "0"], "0 6 10\n"),
        (&["-u", "0:0"], "0\n"),
        (&["-u", "7"], "0\n"),
        (&["--group-add", "bin"], "0 1 6 10\n"),
    ] {
        let out = e
            .cmd(["run", "--rm", "--network=none"])
            .args(flags)
            .arg(evil.name());
        out.args(["id", "-G"]).ok().out_is(want);
    }
    Ok(())
}

fn group_add_needs_emulated_ids(e: &Env) -> Done {
    e.coracle_only("it has more ids")?;
    for flag in ["--identity=off", "--identity=ids", "--userns=keep-id"] {
        let out = e.run(&[flag, "--group-add", "3456"], "busybox", &["true"]);
        out.fails_with(125, "group-add");
    }
    Ok(())
}

fn no_groups_from_outside(e: &Env) -> Done {
    // An ordinary user cannot give up a group: its own is 0 inside, any other is nobody's. Where root starts
    // the suite, the test user has none.
    let groups = |status: String| -> Vec<String> {
        let line = status.lines().find_map(|l| l.strip_prefix("Groups:"));
        let words = line.unwrap().split_whitespace();
        words.map(str::to_owned).collect()
    };
    let own = e.machine.gid.to_string();
    let mut want: Vec<String> = groups(e.user(["cat", "/proc/self/status"]).ok().out())
        .into_iter()
        .map(|g| if g == own { "0" } else { "65534" }.to_owned())
        .collect();
    assert!(!e.machine.is_root || want.is_empty(), "{want:?}");
    let mut inside = groups(e.sh(&[], "cat /proc/self/status"));
    want.sort();
    inside.sort();
    assert_eq!(inside, want);
    let ids = e.sh(&[], "id -G");
    let mut ids: Vec<&str> = ids.split_whitespace().collect();
    ids.retain(|id| *id != "65534");
    assert_eq!(ids, ["0"]);
    Ok(())
}

fn setgroups_is_denied(e: &Env) -> Done {
    e.coracle_only("newgidmap allows it")?;
    assert_eq!(e.sh(&[], "cat /proc/self/setgroups"), "deny\n");
    Ok(())
}
