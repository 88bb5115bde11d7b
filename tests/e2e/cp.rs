//! `cp`: into containers and out of them, in whatever state they are.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, lchown, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Cmd, Done, Env, Feature, Output, Tar, pid_of, wait_until};

suite!(
    docker_rules_into_a_container,
    docker_rules_out_of_a_container,
    owners_are_those_that_podman_gives,
    owners_of_everything_survive,
    without_emulated_identities,
    every_driver,
    mounts_are_seen,
    mounts_are_seen_of_one_that_does_not_run,
    one_that_does_not_run_stays_as_it_is,
    a_paused_container,
    one_in_the_foreground,
    the_working_directory_is_where_paths_begin,
    a_tar_goes_in_and_out,
    from_container_to_container,
    a_directory_into_itself,
    files_of_every_kind,
    sparse_and_large_files,
    what_is_mounted_is_written_in_place,
    replacing_asks_for_overwrite,
    the_whole_container,
    links_do_not_lead_out,
    a_tar_does_not_lead_out,
    names_swapped_meanwhile_do_not_lead_out,
    a_directory_that_changes_meanwhile,
    what_cannot_be_done_is_an_error,
    a_full_file_system_is_an_error,
    nothing_is_left_of_a_killed_one,
);

/// A store of its own with busybox in it.
fn own(e: &Env) -> (Env, String) {
    let own = e.with_own_store();
    let image = own.image("busybox");
    (own, image)
}

fn create(e: &Env, image: &str, name: &str, flags: &[&str]) {
    e.cmd(["create", "--network=none", "--name", name])
        .args(flags)
        .args([image, "sleep", "600"])
        .ok();
}

/// A container that runs, after a script.
fn up(e: &Env, image: &str, name: &str, flags: &[&str], script: &str) {
    let script =
        format!("test -e /tmp/.ready || {{\n{script}\n}}\ntouch /tmp/.ready\nexec sleep 600");
    e.cmd(["run", "-d", "--network=none", "--name", name])
        .args(flags)
        .args([image, "sh", "-ec", &script])
        .ok();
    wait_until("it is ready", || {
        sh(e, name, "test -e /tmp/.ready").code() == 0
    });
}

fn sh(e: &Env, name: &str, script: &str) -> Output {
    e.cmd(["exec", "-u", "0", name, "sh", "-c", script]).run()
}

#[track_caller]
fn seen(e: &Env, name: &str, script: &str) -> String {
    sh(e, name, script).code_is(0).out()
}

fn cp(e: &Env, args: &[&str]) -> Cmd {
    e.cmd(["cp"]).args(args).cwd(&e.dir)
}

#[track_caller]
fn copy(e: &Env, args: &[&str]) {
    let out = cp(e, args).ok();
    assert_eq!((out.out(), out.err()), (String::new(), String::new()));
}

fn read(e: &Env, path: &str) -> String {
    fs::read_to_string(e.dir.join(path)).unwrap()
}

/// `file`, and `d` with a file in it and one deeper.
fn sources(e: &Env) {
    e.file("file", "file\n");
    e.subdir("d");
    e.file("d/f", "f\n");
    e.subdir("d/deep");
    e.file("d/deep/g", "g\n");
}

fn docker_rules_into_a_container(e: &Env) -> Done {
    let (own, image) = own(e);
    sources(&own);
    symlink("file", own.dir.join("link")).unwrap();
    let tree = "cd /; find f1 dir new new2 new3 target -type f | sort | xargs grep -H .";
    let want = "dir/d/deep/g:g\ndir/d/f:f\ndir/deep/g:g\ndir/f:f\ndir/file:file\ndir/link:file\nf1:file\n\
        new/deep/g:g\nnew/f:f\nnew2/deep/g:g\nnew2/f:f\nnew3/deep/g:g\nnew3/f:f\ntarget:file\n";
    let prepare = "mkdir /dir; ln -s /target /dangling; ln -s dir /todir";
    for (name, running) in [("up", true), ("down", false)] {
        up(&own, &image, name, &[], prepare);
        if !running {
            own.cmd(["stop", "-t", "0", name]).ok();
        }
        for (from, to) in [
            ("file", "/f1"),
            ("file", "/f1"),
            ("file", "/dir"),
            ("link", "/dir/"),
            ("d", "/dir"),
            ("d", "/todir"),
            ("d/.", "/dir"),
            ("d", "/new"),
            ("d/.", "/new2"),
            ("d/", "/new3/"),
            ("file", "/dangling"),
        ] {
            copy(&own, &[from, &format!("{name}:{to}")]);
        }
        let fails = |args: &[&str], message: &str| {
            cp(&own, args).run().fails_with(125, message);
        };
        fails(&["d", &format!("{name}:/f1")], "is no directory");
        fails(
            &["file", &format!("{name}:/none/")],
            "there is no directory",
        );
        fails(
            &["file", &format!("{name}:/none/x")],
            "cannot find \"/none/x\"",
        );
        fails(&["file", &format!("{name}:/f1/")], "Not a directory");
        fails(&["none", &format!("{name}:/f1")], "cannot find \"none\"");
        if !running {
            own.cmd(["start", name]).ok();
        }
        assert_eq!(seen(&own, name, tree), want, "{name}");
        own.cmd(["rm", "-f", "-t", "0", name]).ok();
    }
    Ok(())
}

fn docker_rules_out_of_a_container(e: &Env) -> Done {
    let (own, image) = own(e);
    let script = "mkdir -p /d/deep; echo f >/d/f; echo g >/d/deep/g; echo file >/file; chmod 640 /file; \
        touch -d '2001-02-03 04:05:06' /file; ln -s /file /link; ln -s d /dlink";
    up(&own, &image, "c", &[], script);
    let out = own.subdir("out");
    let home = own.subdir("elsewhere");
    symlink(&home, out.join("tohome")).unwrap();
    let at = |path: &str| format!("{}/{path}", out.display());
    for (from, to) in [
        ("/file", "f1"),
        ("/file", "f1"),
        ("/link", "./"),
        ("/d", "."),
        ("/d/.", "new"),
        ("/dlink", "new2"),
        ("/d/.", "tohome"),
        ("d/../file", "f2"),
    ] {
        copy(&own, &[&format!("c:{from}"), &at(to)]);
    }
    for (path, want) in [
        ("out/f1", "file\n"),
        ("out/f2", "file\n"),
        ("out/link", "file\n"),
        ("out/d/f", "f\n"),
        ("out/d/deep/g", "g\n"),
        ("out/new/deep/g", "g\n"),
        ("out/new2/f", "f\n"),
        ("elsewhere/deep/g", "g\n"),
    ] {
        assert_eq!(read(&own, path), want, "{path}");
    }
    let stat = fs::symlink_metadata(out.join("f1")).unwrap();
    assert!(stat.is_file());
    assert_eq!((stat.mode() & 0o7777, stat.mtime()), (0o640, 981_173_106));
    assert_eq!((stat.uid(), stat.gid()), (own.machine.uid, own.machine.gid));
    for (from, to, message) in [
        ("/none", "x", "cannot find \"/none\" in container c"),
        ("/d", "f1", "is no directory"),
        ("/file", "none/", "there is no directory"),
        ("/file", "none/x", "cannot find"),
    ] {
        cp(&own, &[&format!("c:{from}"), &at(to)])
            .run()
            .fails_with(125, message);
    }
    Ok(())
}

fn owners_are_those_that_podman_gives(e: &Env) -> Done {
    let (own, image) = own(e);
    sources(&own);
    let link = own.dir.join("d/link");
    symlink("f", &link).unwrap();
    lchown(&link, Some(own.machine.uid), Some(own.machine.gid)).unwrap();
    up(
        &own,
        &image,
        "c",
        &["-u", "33:44"],
        "mkdir /tmp/out; echo x >/tmp/out/x",
    );
    seen(&own, "c", "echo y >/tmp/out/y; chown 5:6 /tmp/out/y");
    copy(&own, &["d", "c:/one"]);
    copy(&own, &["-a=false", "d", "c:/two"]);
    copy(&own, &["--archive", "file", "c:/two/f"]);
    let owners = "stat -c '%n %u:%g' /one /one/f /one/link /one/deep/g /two /two/f /two/link";
    let want = "/one 33:44\n/one/f 33:44\n/one/link 33:44\n/one/deep/g 33:44\n/two 0:0\n/two/f 33:44\n/two/link 0:0\n";
    assert_eq!(seen(&own, "c", owners), want, "at once");
    own.cmd(["restart", "-t", "0", "c"]).ok();
    assert_eq!(seen(&own, "c", owners), want, "after a restart");
    // The user whose program it is can use what came for it.
    own.cmd(["exec", "c", "sh", "-c", "echo more >>/one/f"])
        .ok();
    let listed = |args: &[&str]| {
        let tar = own.file("out.tar", cp(&own, args).ok().stdout);
        let list = Cmd::host(["tar", "tvf"])
            .arg(&tar)
            .arg("--numeric-owner")
            .ok()
            .out();
        let fields = |l: &str| {
            let fields: Vec<_> = l.split_whitespace().collect();
            format!("{} {}\n", fields[1], fields[fields.len() - 1])
        };
        list.lines().map(fields).collect::<String>()
    };
    assert_eq!(
        listed(&["c:/tmp/out", "-"]),
        "33/44 out/\n33/44 out/x\n33/44 out/y\n"
    );
    assert_eq!(
        listed(&["--archive=false", "c:/tmp/out/.", "-"]),
        "33/44 x\n5/6 y\n"
    );
    // A tar's own, too.
    let tar = Tar::new()
        .pax(&[("uid", b"7"), ("gid", b"8")])
        .file("t", "t");
    cp(&own, &["-a=false", "-", "c:/two"]).stdin(tar.end()).ok();
    assert_eq!(seen(&own, "c", "stat -c %u:%g /two/t"), "7:8\n");
    Ok(())
}

fn owners_of_everything_survive(e: &Env) -> Done {
    let (own, image) = own(e);
    let script = "mkdir /t; cd /t; echo x >f; ln f g; ln -s f l; mkfifo p; mknod c c 1 3; mkdir d; \
        chown -h 1:2 f l p c d; chmod 4755 f; chmod 2750 d";
    let look = "cd $DIR; stat -c '%n %u:%g %f %t:%T %h' f g l p c d";
    up(&own, &image, "a", &[], script);
    up(&own, &image, "b", &[], "true");
    let want = seen(&own, "a", &look.replace("$DIR", "/t"));
    assert!(
        want.contains("f 1:2 89ed 0:0 2\n") && want.contains("c 1:2 21a4 1:3 1\n"),
        "{want}"
    );
    // Through a tar, and straight.
    let tar = cp(&own, &["-a=false", "a:/t/.", "-"]).ok().stdout;
    seen(&own, "b", "mkdir /t");
    cp(&own, &["-a=false", "-", "b:/t"]).stdin(tar).ok();
    copy(&own, &["-a=false", "a:/t", "b:/u"]);
    for dir in ["/t", "/u"] {
        assert_eq!(seen(&own, "b", &look.replace("$DIR", dir)), want, "{dir}");
    }
    own.cmd(["stop", "-t", "0", "a", "b"]).ok();
    copy(&own, &["-a=false", "a:/t", "b:/v"]);
    own.cmd(["start", "b"]).ok();
    for dir in ["/t", "/u", "/v"] {
        assert_eq!(
            seen(&own, "b", &look.replace("$DIR", dir)),
            want,
            "{dir}, later"
        );
    }
    // And what leaves the store says so as well.
    own.cmd(["commit", "-q", "b", "localhost/b"]).ok();
    let again = own.run_name(
        &[],
        "localhost/b",
        &["sh", "-c", &look.replace("$DIR", "/v")],
    );
    again.ok().out_is(&want);
    Ok(())
}

fn without_emulated_identities(e: &Env) -> Done {
    let (own, image) = own(e);
    sources(&own);
    for (name, flags) in [
        ("ids", &["--identity", "ids"][..]),
        ("off", &["--identity", "off"]),
        ("user", &["--identity", "off", "-u", "7:8"]),
        ("keep", &["--userns", "keep-id"]),
    ] {
        create(&own, &image, name, flags);
        copy(&own, &["d", &format!("{name}:/tmp/d")]);
        copy(&own, &["-a=false", "file", &format!("{name}:/tmp/file")]);
        own.cmd(["start", name]).ok();
        copy(&own, &["d/.", &format!("{name}:/tmp/d")]);
        let look = "cat /tmp/d/f /tmp/d/deep/g /tmp/file; test -O /tmp/d/f && test -w /tmp/d/deep";
        let all = own.cmd(["exec", name, "sh", "-c", look]).ok();
        all.out_is("f\ng\nfile\n");
        copy(&own, &[&format!("{name}:/tmp/d"), &format!("from-{name}")]);
        assert_eq!(read(&own, &format!("from-{name}/deep/g")), "g\n");
        own.cmd(["rm", "-f", "-t", "0", name]).ok();
    }
    Ok(())
}

fn every_driver(e: &Env) -> Done {
    let (own, image) = own(e);
    sources(&own);
    let mut drivers = vec!["copy"];
    if e.need(Feature::Overlay).is_ok() {
        drivers.push("overlay");
    }
    if e.need(Feature::Fuse).is_ok() {
        drivers.push("fuse-overlayfs");
    }
    for driver in drivers {
        create(
            &own,
            &image,
            driver,
            &["--storage-driver", driver, "-u", "3:4"],
        );
        copy(&own, &["d", &format!("{driver}:/etc/d")]);
        own.cmd(["start", driver]).ok();
        copy(&own, &["file", &format!("{driver}:/etc/passwd")]);
        let look = "stat -c '%u:%g' /etc/d/deep/g /etc/passwd; cat /etc/passwd /etc/d/f";
        let all = own.cmd(["exec", "-u", "0", driver, "sh", "-c", look]).ok();
        all.out_is("3:4\n3:4\nfile\nf\n");
        own.cmd(["rm", "-f", "-t", "0", driver]).ok();
    }
    Ok(())
}

fn mounts_are_seen(e: &Env) -> Done {
    let (own, image) = own(e);
    sources(&own);
    let bound = own.subdir("bound");
    let (bind, ro) = (
        format!("{}:/bound", bound.display()),
        format!("{}:/ro:ro", bound.display()),
    );
    let flags = [
        "-u",
        "33:44",
        "--tmpfs",
        "/mem",
        "--read-only",
        "-v",
        "vol:/vol",
        "-v",
        &bind,
        "-v",
        &ro,
    ];
    own.cmd(["run", "-d", "--network=none", "--name", "c"])
        .args(flags)
        .args([&image, "sleep", "600"])
        .ok();
    for place in ["/vol", "/mem", "/bound"] {
        copy(&own, &["d", &format!("c:{place}/d")]);
        assert_eq!(
            seen(&own, "c", &format!("cat {place}/d/deep/g")),
            "g\n",
            "{place}"
        );
        copy(&own, &[&format!("c:{place}/d/f"), "back"]);
        assert_eq!(read(&own, "back"), "f\n", "{place}");
    }
    assert_eq!(fs::read_to_string(bound.join("d/f")).unwrap(), "f\n");
    assert_eq!(
        fs::metadata(bound.join("d/f")).unwrap().uid(),
        own.machine.uid
    );
    assert_eq!(
        seen(&own, "c", "stat -c %u:%g /vol/d/f /mem/d/f"),
        "33:44\n33:44\n"
    );
    cp(&own, &["file", "c:/x"])
        .run()
        .fails_with(125, "Read-only file system");
    cp(&own, &["file", "c:/ro/x"])
        .run()
        .fails_with(125, "Read-only file system");
    // The volume's owners are the volume's.
    let other = own.run_name(
        &["-v", "vol:/v"],
        &image,
        &["stat", "-c", "%u:%g", "/v/d/f"],
    );
    other.ok().out_is("33:44\n");
    Ok(())
}

fn mounts_are_seen_of_one_that_does_not_run(e: &Env) -> Done {
    let (own, image) = own(e);
    sources(&own);
    let bound = own.subdir("bound");
    let bind = format!("{}:/bound", bound.display());
    create(
        &own,
        &image,
        "c",
        &[
            "-u", "33:44", "-v", "vol:/vol", "-v", "etc:/etc", "-v", &bind,
        ],
    );
    for place in ["/vol", "/bound", "/etc"] {
        copy(&own, &["d", &format!("c:{place}/d")]);
    }
    assert_eq!(fs::read_to_string(bound.join("d/f")).unwrap(), "f\n");
    let look = [
        "sh",
        "-c",
        "stat -c %u:%g /v/d /v/d/f; ls /v | grep -c passwd || true",
    ];
    own.run_name(&["-v", "vol:/v"], &image, &look)
        .ok()
        .out_is("33:44\n33:44\n0\n");
    // A volume is filled when it is first used, by whatever that is.
    own.run_name(&["-v", "etc:/v"], &image, &look)
        .ok()
        .out_is("33:44\n33:44\n1\n");
    copy(&own, &["c:/vol/d", "back"]);
    assert_eq!(read(&own, "back/deep/g"), "g\n");
    Ok(())
}

fn one_that_does_not_run_stays_as_it_is(e: &Env) -> Done {
    let (own, image) = own(e);
    sources(&own);
    let flags = ["-u", "33:44", "-t", "--init", "--entrypoint", "cat"];
    own.cmd([
        "create",
        "--rm",
        "--network=none",
        "--name",
        "gone",
        &image,
        "cat",
        "/tmp/x",
    ])
    .ok();
    own.cmd(["create", "--network=none", "--name", "c"])
        .args(flags)
        .args([&image, "/tmp/x"])
        .ok();
    let all = || {
        let inspect = own.cmd(["inspect", "c"]).ok().out();
        (
            inspect,
            own.cmd([
                "ps",
                "-a",
                "--format",
                "{{.Names}} {{.Status}} {{.Command}}",
            ])
            .ok()
            .out(),
        )
    };
    let before = all();
    copy(&own, &["file", "c:/tmp/x"]);
    copy(&own, &["c:/tmp/x", "back"]);
    assert_eq!(all(), before);
    let events = own.cmd([
        "events",
        "--stream=false",
        "--filter",
        "container=c",
        "--format",
        "{{.Status}}",
    ]);
    events.ok().out_is("create\n");
    own.cmd(["start", "-a", "c"]).ok().out_is("file\r\n");
    // One that goes with its first end has an overlay that forgets: not yet.
    copy(&own, &["file", "gone:/tmp/x"]);
    own.cmd(["start", "-a", "gone"]).ok().out_is("file\n");
    Ok(())
}

fn a_paused_container(e: &Env) -> Done {
    let (own, image) = own(e);
    sources(&own);
    up(&own, &image, "c", &["-u", "3:4"], "true");
    own.cmd(["pause", "c"]).ok();
    copy(&own, &["d", "c:/tmp"]);
    copy(&own, &["c:/tmp/d", "back"]);
    assert_eq!(read(&own, "back/f"), "f\n");
    own.cmd(["ps", "--format", "{{.State}}"])
        .ok()
        .out_is("paused\n");
    own.cmd(["unpause", "c"]).ok();
    assert_eq!(seen(&own, "c", "stat -c %u:%g /tmp/d/f"), "3:4\n");
    Ok(())
}

fn one_in_the_foreground(e: &Env) -> Done {
    sources(e);
    let name = format!("fg{}", std::process::id());
    let script = "echo ready; while ! cat /tmp/file 2>/dev/null; do sleep 0.1; done";
    let run = e
        .run_cmd(&["--name", &name], "busybox", &["sh", "-c", script])
        .spawn();
    run.wait_for("ready");
    copy(e, &["file", &format!("{name}:/tmp/file")]);
    assert!(run.wait().code_is(0).out().ends_with("file\n"));
    Ok(())
}

fn the_working_directory_is_where_paths_begin(e: &Env) -> Done {
    let (own, image) = own(e);
    sources(&own);
    up(&own, &image, "c", &["-w", "/srv/work"], "true");
    copy(&own, &["file", "c:rel"]);
    copy(&own, &["d", "c:."]);
    copy(&own, &["c:d/deep/../f", "back"]);
    assert_eq!(read(&own, "back"), "f\n");
    assert_eq!(
        seen(&own, "c", "cat /srv/work/rel /srv/work/d/f"),
        "file\nf\n"
    );
    own.cmd(["stop", "-t", "0", "c"]).ok();
    copy(&own, &["c:rel", "back2"]);
    assert_eq!(read(&own, "back2"), "file\n");
    Ok(())
}

fn a_tar_goes_in_and_out(e: &Env) -> Done {
    let (own, image) = own(e);
    sources(&own);
    up(&own, &image, "c", &[], "true");
    let tar = |flag: &str| {
        Cmd::host(["tar", flag, "-", "-C"])
            .arg(&own.dir)
            .arg("d")
            .ok()
            .stdout
    };
    for (flag, to) in [("-cf", "/plain"), ("-czf", "/gzip")] {
        seen(&own, "c", &format!("mkdir {to}"));
        cp(&own, &["-", &format!("c:{to}")]).stdin(tar(flag)).ok();
        assert_eq!(
            seen(&own, "c", &format!("cat {to}/d/f {to}/d/deep/g")),
            "f\ng\n"
        );
    }
    let out = cp(&own, &["c:/plain/d", "-"]).ok().stdout;
    let file = own.file("out.tar", out);
    let list = Cmd::host(["tar", "tf"]).arg(&file).ok().out();
    assert_eq!(list, "d/\nd/f\nd/deep/\nd/deep/g\n");
    let fails = |args: &[&str], input: &[u8], message: &str| {
        cp(&own, args).stdin(input).run().fails_with(125, message);
    };
    fails(&["-", "c:/none"], &tar("-cf"), "goes into a directory");
    fails(&["-", "c:/plain/d/f"], &tar("-cf"), "goes into a directory");
    fails(
        &["-", "c:/plain"],
        b"this is no tar",
        "this is no tar archive",
    );
    fails(&["-", "c:/plain"], &[7; 10_240], "this is no tar archive");
    fails(&["-", "c:/plain"], &tar("-cf")[..700], "cut off");
    Ok(())
}

fn from_container_to_container(e: &Env) -> Done {
    let (own, image) = own(e);
    up(
        &own,
        &image,
        "a",
        &[],
        "mkdir -p /d/deep; echo f >/d/f; echo g >/d/deep/g; chown -R 1:1 /d",
    );
    up(&own, &image, "b", &["-u", "5:6"], "true");
    let look = "cat /tmp/d/f /tmp/d/deep/g; stat -c %u:%g /tmp/d/f";
    copy(&own, &["a:/d", "b:/tmp"]);
    assert_eq!(seen(&own, "b", look), "f\ng\n5:6\n");
    copy(&own, &["a:/d/f", "b:/tmp/new"]);
    copy(&own, &["a:/d/.", "b:/tmp/all"]);
    assert_eq!(seen(&own, "b", "cat /tmp/new /tmp/all/deep/g"), "f\ng\n");
    // Neither of the two has to run, and it may be one.
    own.cmd(["stop", "-t", "0", "a", "b"]).ok();
    copy(&own, &["a:/d", "b:/tmp/later"]);
    copy(&own, &["b:/tmp/later", "b:/tmp/same"]);
    own.cmd(["start", "b"]).ok();
    copy(&own, &["b:/tmp/same", "b:/tmp/again"]);
    assert_eq!(
        seen(&own, "b", "cat /tmp/same/f /tmp/again/deep/g"),
        "f\ng\n"
    );
    cp(&own, &["a:/d", "b:/tmp/new"])
        .run()
        .fails_with(125, "is no directory");
    cp(&own, &["a:/none", "b:/tmp/new"])
        .run()
        .fails_with(125, "cannot find \"/none\"");
    Ok(())
}

fn a_directory_into_itself(e: &Env) -> Done {
    let (own, image) = own(e);
    up(&own, &image, "c", &[], "mkdir /d; echo f >/d/f");
    copy(&own, &["c:/d", "c:/d/copy"]);
    assert_eq!(
        seen(&own, "c", "find /d | sort"),
        "/d\n/d/copy\n/d/copy/f\n/d/f\n"
    );
    Ok(())
}

fn files_of_every_kind(e: &Env) -> Done {
    let (own, image) = own(e);
    let script = "mkdir /d; cd /d; mkfifo p; mknod c c 1 3; echo s >suid; chmod 6755 suid; chmod 1777 .; echo n >none; \
        chmod 0 none; mkdir shut; echo in >shut/in; chmod 0 shut; ln -s /etc/passwd l";
    up(&own, &image, "c", &[], script);
    let out = cp(&own, &["c:/d", "out"]).ok();
    let said = out.err();
    assert!(
        said.contains("out/c is a device") || said.contains("d/c is a device"),
        "{said}"
    );
    let at = |name: &str| fs::symlink_metadata(own.dir.join("out").join(name));
    assert!(at("p").unwrap().file_type().is_fifo());
    assert!(at("c").is_err());
    assert_eq!(at("").unwrap().mode() & 0o7777, 0o1777);
    // Outside it would make whoever runs it the user.
    assert_eq!(at("suid").unwrap().mode() & 0o7777, 0o755);
    assert_eq!(at("none").unwrap().mode() & 0o7777, 0);
    assert_eq!(at("shut").unwrap().mode() & 0o7777, 0);
    assert_eq!(
        fs::read_link(own.dir.join("out/l")).unwrap(),
        Path::new("/etc/passwd")
    );
    // In again. The device is lost on the way, and what the caller cannot read is an error.
    let from = own.dir.join("out");
    fs::set_permissions(from.join("none"), fs::Permissions::from_mode(0o400)).unwrap();
    cp(&own, &["out", "c:/half"])
        .run()
        .fails_with(125, "Permission denied");
    fs::set_permissions(from.join("shut"), fs::Permissions::from_mode(0o700)).unwrap();
    copy(&own, &["out", "c:/again"]);
    let look = "cd /again; stat -c '%n %f' . p none shut; cat none shut/in; readlink l";
    let want = ". 43ff\np 11a4\nnone 8100\nshut 41c0\nn\nin\n/etc/passwd\n";
    assert_eq!(seen(&own, "c", look), want);
    // A fifo is not waited for.
    copy(&own, &["c:/d/p", "fifo"]);
    assert!(
        fs::symlink_metadata(own.dir.join("fifo"))
            .unwrap()
            .file_type()
            .is_fifo()
    );
    Ok(())
}

fn sparse_and_large_files(e: &Env) -> Done {
    let (own, image) = own(e);
    let script = "dd if=/dev/zero of=/sparse bs=1 count=1 seek=40000000000 2>/dev/null; \
        dd if=/dev/urandom of=/large bs=1M count=40 2>/dev/null";
    up(&own, &image, "c", &[], script);
    let began = Instant::now();
    copy(&own, &["c:/sparse", "sparse"]);
    copy(&own, &["sparse", "c:/tmp/sparse"]);
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    let stat = fs::metadata(own.dir.join("sparse")).unwrap();
    assert_eq!(stat.len(), 40_000_000_001);
    assert!(stat.blocks() < 1000, "{}", stat.blocks());
    let stat = "stat -c '%s %b' /tmp/sparse";
    let there = seen(&own, "c", stat);
    let (size, blocks) = there.trim().split_once(' ').unwrap();
    assert_eq!(size, "40000000001");
    assert!(blocks.parse::<u64>().unwrap() < 1000, "{there}");
    copy(&own, &["c:/large", "large"]);
    copy(&own, &["large", "c:/tmp/large"]);
    seen(&own, "c", "cmp /large /tmp/large");
    Ok(())
}

fn what_is_mounted_is_written_in_place(e: &Env) -> Done {
    let (own, image) = own(e);
    own.file("hosts", "1.2.3.4 here\n");
    let bound = own.file("bound", "before\n");
    let bind = format!("{}:/bound", bound.display());
    up(&own, &image, "c", &["-v", &bind], "true");
    copy(&own, &["hosts", "c:/etc/hosts"]);
    assert_eq!(seen(&own, "c", "cat /etc/hosts"), "1.2.3.4 here\n");
    copy(&own, &["hosts", "c:/bound"]);
    assert_eq!(fs::read_to_string(&bound).unwrap(), "1.2.3.4 here\n");
    Ok(())
}

fn replacing_asks_for_overwrite(e: &Env) -> Done {
    let (own, image) = own(e);
    sources(&own);
    up(
        &own,
        &image,
        "c",
        &[],
        "mkdir -p /t/file/x; mkdir /u; echo f >/u/d",
    );
    cp(&own, &["file", "c:/t"])
        .run()
        .fails_with(125, "cannot replace the directory \"file\" by a file")
        .err_has("--overwrite");
    cp(&own, &["d", "c:/u"])
        .run()
        .fails_with(125, "cannot replace \"d\" by a directory");
    assert_eq!(seen(&own, "c", "ls /t/file; cat /u/d"), "x\nf\n");
    copy(&own, &["--overwrite", "file", "c:/t"]);
    copy(&own, &["--overwrite", "d", "c:/u"]);
    assert_eq!(seen(&own, "c", "cat /t/file /u/d/f"), "file\nf\n");
    // The same here.
    for dir in ["out", "out/f", "out/f/deep"] {
        own.subdir(dir);
    }
    cp(&own, &["c:/u/d/.", "out"])
        .run()
        .fails_with(125, "cannot replace the directory \"f\"");
    copy(&own, &["--overwrite", "c:/u/d/.", "out"]);
    assert_eq!(read(&own, "out/f"), "f\n");
    Ok(())
}

fn the_whole_container(e: &Env) -> Done {
    let (own, image) = own(e);
    up(
        &own,
        &image,
        "c",
        &[],
        "echo x >/x; mkdir -p /a/proc; echo y >/a/proc/y",
    );
    own.cmd(["cp", "c:/", "all"]).cwd(&own.dir).ok();
    for there in ["x", "a/proc/y", "etc/passwd", "bin/busybox"] {
        assert!(own.dir.join("all").join(there).exists(), "{there}");
    }
    for not in ["proc", "sys", "dev"] {
        assert!(!own.dir.join("all").join(not).exists(), "{not}");
    }
    Ok(())
}

/// What a container makes of its paths leads to its own files.
fn links_do_not_lead_out(e: &Env) -> Done {
    let (own, image) = own(e);
    sources(&own);
    let secret = own.file("secret", "outside\n");
    fs::set_permissions(&own.dir, fs::Permissions::from_mode(0o777)).unwrap();
    let dir = own.dir.display().to_string();
    let script = format!(
        "ln -s / /root1; ln -s /../../../../../../ /up; ln -s {dir} /here; ln -s {dir}/secret /s; \
         ln -s /proc/1/root /magic; ln -s {dir}/new /new; mkdir /d; ln -s {dir} /d/in"
    );
    up(&own, &image, "c", &[], &script);
    for running in [true, false] {
        if !running {
            own.cmd(["stop", "-t", "0", "c"]).ok();
        }
        for from in [
            "/s",
            "/here/secret",
            &format!("/root1{dir}/secret"),
            &format!("/up{dir}/secret"),
        ] {
            let out = cp(&own, &[&format!("c:{from}"), "got"]).run();
            out.fails_with(125, "cannot find");
        }
        for to in ["/here/x", &format!("/up{dir}/x"), &format!("/magic{dir}/x")] {
            cp(&own, &["file", &format!("c:{to}")]).run().code_is(125);
        }
        // A link to a place that the container does not have is no way out either.
        cp(&own, &["file", "c:/new"])
            .run()
            .fails_with(125, "cannot find");
        // A tree with such a link is copied as it is, here and there.
        copy(&own, &["c:/d", &format!("out{running}")]);
        cp(&own, &["d", "c:/d/in"]).run().code_is(125);
        // What is copied here never goes through a link that was copied before.
        let out = cp(&own, &["c:/d/.", &format!("out{running}")]).run();
        out.code_is(0);
    }
    let mut names: Vec<_> = fs::read_dir(&own.dir)
        .unwrap()
        .map(|n| n.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["d", "file", "outfalse", "outtrue", "secret"]);
    assert_eq!(fs::read_to_string(secret).unwrap(), "outside\n");
    Ok(())
}

fn a_tar_does_not_lead_out(e: &Env) -> Done {
    let (own, image) = own(e);
    up(&own, &image, "c", &[], "mkdir /t; ln -s /etc /t/etc");
    let before = seen(&own, "c", "ls -la /etc; cat /etc/passwd");
    for (what, tar) in [
        ("parent", Tar::new().file("../etc/passwd", "bad").end()),
        ("deep", Tar::new().file("a/../../etc/passwd", "bad").end()),
        (
            "link",
            Tar::new()
                .symlink("l", "/etc")
                .file("l/passwd", "bad")
                .end(),
        ),
        ("old link", Tar::new().file("etc/passwd", "bad").end()),
        ("hard link", Tar::new().hardlink("h", "../etc/passwd").end()),
        (
            "through",
            Tar::new()
                .symlink("l", "/etc")
                .hardlink("h", "l/passwd")
                .file("h", "bad")
                .end(),
        ),
    ] {
        cp(&own, &["-", "c:/t"]).stdin(tar).run().code_is(125);
        assert_eq!(
            seen(&own, "c", "ls -la /etc; cat /etc/passwd"),
            before,
            "{what}"
        );
    }
    // A leading slash is dropped, as tar(1) does.
    let tar = Tar::new().file("/tmp/x", "x").end();
    cp(&own, &["-", "c:/t"]).stdin(tar).ok();
    assert_eq!(seen(&own, "c", "cat /t/tmp/x"), "x");
    Ok(())
}

/// CVE-2018-15664: a directory on the way becomes a link between the look and the copy.
fn names_swapped_meanwhile_do_not_lead_out(e: &Env) -> Done {
    let seconds = std::env::var("E2E_RACE_SECONDS").unwrap_or_else(|_| "20".to_owned());
    let seconds: u64 = seconds.parse().expect("E2E_RACE_SECONDS is a number");
    let (own, image) = own(e);
    let outside = own.subdir("outside");
    own.file("outside/f", "outside\n");
    own.subdir("outside/sub");
    own.file("outside/sub/f", "outside\n");
    own.file("in", "in\n");
    let link = outside.display();
    let script = format!(
        "mkdir -p /r/real/sub; echo inside >/r/real/f; echo inside >/r/real/sub/f; ln -s {link} /r/link; cd /r; \
         (while :; do mv real d; mv d real; mv link d; mv d link; done) >/dev/null 2>&1 &"
    );
    up(&own, &image, "c", &[], &script);
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut copied = 0;
    while Instant::now() < until {
        let _ = fs::remove_dir_all(own.dir.join("got"));
        for from in ["c:/r/d/f", "c:/r/d", "c:/r"] {
            cp(&own, &[from, "got"]).run();
            let list = Cmd::host(["grep", "-rs", ".", "got"])
                .cwd(&own.dir)
                .run()
                .out();
            assert!(!list.contains("outside"), "{from}: {list}");
            copied += list.matches("inside").count();
            let _ = fs::remove_dir_all(own.dir.join("got"));
            let _ = fs::remove_file(own.dir.join("got"));
        }
        cp(&own, &["in", "c:/r/d/new"]).run();
        cp(&own, &["in", "c:/r/d/sub/new"]).run();
        assert!(!outside.join("new").exists() && !outside.join("sub/new").exists());
    }
    assert!(copied > 0, "the race was never lost");
    Ok(())
}

/// Whatever comes and goes while it is read: what is copied is whole, and the copy ends.
fn a_directory_that_changes_meanwhile(e: &Env) -> Done {
    let (own, image) = own(e);
    let script = "mkdir /d; echo here >/d/always; cd /d; \
        (i=0; while :; do i=$((i+1)); echo x >n$i; mkdir m$i; mv m$i o; rm -f n$i; rmdir o; echo y >>grows; \
         : >shrinks; dd if=/dev/zero of=shrinks bs=64k count=20; done) >/dev/null 2>&1 &";
    up(&own, &image, "c", &[], script);
    for i in 0..15 {
        let to = format!("got{i}");
        cp(&own, &["c:/d", &to]).run().code_is(0);
        assert_eq!(read(&own, &format!("{to}/always")), "here\n");
    }
    Ok(())
}

fn what_cannot_be_done_is_an_error(e: &Env) -> Done {
    let (own, image) = own(e);
    sources(&own);
    create(&own, &image, "c", &[]);
    for (args, message) in [
        (
            &["file", "other"][..],
            "neither \"file\" nor \"other\" is in a container",
        ),
        (&["-", "other"], "is in a container"),
        (&["c:/etc", "-", "x"], "unexpected argument"),
        (&["c:", "x"], "lacks a container or a path"),
        (&["none:/etc", "x"], "no such container"),
        (&["file", "c:/proc/x"], "in container c: cannot make \"x\""),
        (&["--archive=maybe", "file", "c:/x"], "invalid value"),
    ] {
        cp(&own, args).run().fails_with(125, message);
    }
    Ok(())
}

fn a_full_file_system_is_an_error(e: &Env) -> Done {
    let (own, image) = own(e);
    own.file("large", vec![b'x'; 3 << 20]);
    up(&own, &image, "c", &["--tmpfs", "/mem:size=1m"], "true");
    cp(&own, &["large", "c:/mem/x"])
        .run()
        .fails_with(125, "cannot write \"x\": No space left on device");
    // Whoever feeds it is told as well.
    let tar = Cmd::host(["tar", "-cf", "-", "-C"])
        .arg(&own.dir)
        .arg("large")
        .ok()
        .stdout;
    cp(&own, &["-", "c:/mem"])
        .stdin(tar)
        .run()
        .fails_with(125, "No space left");
    Ok(())
}

fn nothing_is_left_of_a_killed_one(e: &Env) -> Done {
    let (own, image) = own(e);
    create(&own, &image, "c", &["-u", "3:4"]);
    // It waits for a tar that does not come.
    let fifo = own.dir.join("fifo");
    Cmd::host(["mkfifo"]).arg(&fifo).ok();
    own.give(&fifo);
    let writer = fs::File::options()
        .read(true)
        .write(true)
        .open(&fifo)
        .unwrap();
    let proc = own
        .around("exec \"$@\" <fifo", &cp(&own, &["-", "c:/home"]))
        .spawn();
    wait_until("it is there", || pid_of("coracle-cp /home").is_some());
    own.cmd(["start", "c"])
        .run()
        .fails_with(125, "in use by another command");
    proc.signal(Signal::KILL);
    proc.wait();
    drop(writer);
    wait_until("it is gone", || pid_of("coracle-cp /home").is_none());
    wait_until("it can start", || own.cmd(["start", "c"]).run().code() == 0);
    own.cmd(["rm", "-f", "-t", "0", "c"]).ok();
    own.nothing_unfinished();
    Ok(())
}
