//! Volumes as users know them: names, the first use, owners, anonymous ones, and podman's words for all of it.

use crate::commit::kept;
use crate::harness::{Cmd, Done, Env, Evil, Feature, Image, Runtime, Skip, Tar};

suite!(
    a_named_volume_outlives_its_containers,
    owners_are_kept_with_the_volume,
    two_containers_see_each_others_owners,
    a_new_volume_gets_the_images_files_and_owners,
    a_new_volume_without_files_of_an_image_is_the_users,
    nothing_is_copied_over_what_is_there,
    an_anonymous_volume_goes_with_its_container,
    volumes_of_an_image,
    volumes_of_another_container,
    the_content_of_an_image,
    an_image_of_many_layers_is_mounted,
    an_overlay_leaves_the_directory_as_it_is,
    owners_are_changed_for_the_user,
    one_id_without_emulation,
    a_container_that_starts_again_has_its_volumes,
    a_volume_that_is_a_directory_of_the_host,
    what_leaves_comes_back,
    lists_and_filters,
    what_takes_space_is_counted_and_pruned,
    podmans_words,
);

/// What a script prints in a container that goes.
#[track_caller]
fn said(e: &Env, flags: &[&str], image: &str, script: &str) -> String {
    let out = e.run_name(flags, image, &["sh", "-c", script]).ok();
    out.out()
}

/// The names of all volumes.
#[track_caller]
fn volumes(e: &Env) -> Vec<String> {
    let out = e.cmd(["volume", "ls", "-q"]).ok().out();
    out.lines().map(str::to_owned).collect()
}

/// An image with files of many owners in /data: also of those that inodes cannot carry, and of a directory that shuts
/// out everybody.
fn with_owners(own: &Env) -> String {
    let image = own.image("busybox");
    let script = "set -e; mkdir -p /data/deep/shut; echo x >/data/file; ln -s file /data/link; mkfifo /data/fifo; \
        echo y >/data/deep/shut/y; ln /data/file /data/hard; chown 70:71 /data/file; chown -h 72:73 /data/link; \
        chown 74 /data/fifo; chown 75:75 /data/deep/shut/y; chmod 0 /data/deep/shut/y; chown 76 /data/deep/shut; \
        chmod 0 /data/deep/shut; chown 70:70 /data; chmod 2750 /data; touch -d '2001-02-03 04:05:06' /data";
    kept(own, "maker", &[], &image, script);
    own.cmd(["commit", "-q", "maker", "localhost/owners"]).ok();
    own.cmd(["rm", "maker"]).ok();
    "localhost/owners".to_owned()
}

/// What there is to see of them.
const LOOK: &str = "cd /data; stat -c '%n %u:%g %f %h' . file link fifo hard deep deep/shut deep/shut/y; stat -c %Y .; \
    cat deep/shut/y; readlink link";

fn a_named_volume_outlives_its_containers(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = own.image("busybox");
    said(&own, &["-v", "data:/v"], &image, "echo one >/v/f");
    kept(
        &own,
        "c",
        &["-v", "data:/w/x:rw,z"],
        &image,
        "echo two >>/w/x/f",
    );
    own.cmd(["rm", "c"]).ok();
    assert_eq!(volumes(&own), ["data"]);
    let mount = "type=volume,source=data,target=/v,readonly";
    let script = "cat /v/f; echo three >>/v/f || true";
    let out = own.run_name(&["--mount", mount], &image, &["sh", "-c", script]);
    out.ok()
        .out_is("one\ntwo\n")
        .err_has("read-only file system");
    let path = own.cmd(["volume", "inspect", "-f", "{{.Mountpoint}}", "data"]);
    let path = path.ok().out();
    let file = std::path::Path::new(path.trim_end()).join("f");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "one\ntwo\n");
    own.cmd(["volume", "rm", "data"]).ok().out_is("data\n");
    assert!(volumes(&own).is_empty());
    own.nothing_unfinished();
    Ok(())
}

fn owners_are_kept_with_the_volume(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = own.image("busybox");
    let make = "set -e; cd /v; touch f; chown 5:6 f; ln -s f l; chown -h 7:8 l; mkfifo p; chown 9 p; mkdir d; chown 10 d; \
        mknod null c 1 3; chmod 640 null; chown 0:11 null";
    let look = "cd /v; stat -c '%n %u:%g %F' f l p d null; mv l d/l2; mv p p2; stat -c '%n %u:%g' d/l2 p2; mv d/l2 l; mv p2 p";
    let want = "f 5:6 regular empty file\nl 7:8 symbolic link\np 9:0 fifo\nd 10:0 directory\nnull 0:11 character special file\n\
        d/l2 7:8\np2 9:0\n";
    said(&own, &["-v", "data:/v"], &image, make);
    for _ in 0..2 {
        assert_eq!(said(&own, &["-v", "data:/v"], &image, look), want);
    }
    // At another place, and by somebody else.
    let elsewhere = look.replace("/v", "/a/b");
    let seen = said(
        &own,
        &["-u", "33", "-v", "data:/a/b:ro"],
        &image,
        "stat -c '%n %u:%g' /a/b/l /a/b/f",
    );
    assert_eq!(seen, "/a/b/l 7:8\n/a/b/f 5:6\n");
    assert_eq!(said(&own, &["-v", "data:/a/b"], &image, &elsewhere), want);
    Ok(())
}

fn two_containers_see_each_others_owners(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = own.image("busybox");
    // One makes links while the other looks at them, both with their supervisors, taking turns.
    let wait = "w() { while [ ! -e /v/$1 ]; do sleep 0.02; done; }";
    let first = format!(
        "{wait}; ln -s x /v/a; chown -h 11:12 /v/a; touch /v/1; w 2; stat -c '%u:%g' /v/a /v/b; rm /v/a; ln -s y /v/a; touch /v/3; w 4"
    );
    let second = format!(
        "{wait}; w 1; stat -c '%u:%g' /v/a; chown -h 13:14 /v/a; ln -s x /v/b; chown -h 15 /v/b; touch /v/2; w 3; stat -c '%u:%g' /v/a; touch /v/4"
    );
    own.cmd(["volume", "create", "data"]).ok();
    let one = own
        .run_name(&["-v", "data:/v"], &image, &["sh", "-c", &first])
        .spawn();
    let two = own
        .run_name(&["-v", "data:/v"], &image, &["sh", "-c", &second])
        .spawn();
    two.wait().code_is(0).out_is("11:12\n0:0\n");
    one.wait().code_is(0).out_is("13:14\n15:0\n");
    Ok(())
}

fn a_new_volume_gets_the_images_files_and_owners(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = with_owners(&own);
    let want = said(&own, &[], &image, LOOK);
    for part in [
        ". 70:70 45e8 ",
        "file 70:71 ",
        "link 72:73 ",
        "fifo 74:0 ",
        "deep/shut 76:0 4000",
        "981173106\ny\nfile\n",
    ] {
        assert!(want.contains(part), "{part}: {want}");
    }
    assert_eq!(said(&own, &["-v", "data:/data"], &image, LOOK), want);
    // From another image, which has none of it.
    let busybox = own.image("busybox");
    assert_eq!(said(&own, &["-v", "data:/data"], &busybox, LOOK), want);
    let mount = "type=volume,source=other,target=/data,readonly";
    assert_eq!(said(&own, &["--mount", mount], &image, LOOK), want);
    // A part of it, at another place: nothing there is the image's.
    said(
        &own,
        &["-v", "part:/data/deep"],
        &image,
        "test -d /data/deep/shut",
    );
    let seen = said(&own, &["-v", "part:/x"], &image, "stat -c '%u %f' /x/shut");
    assert_eq!(seen, "76 4000\n");
    let said_of = "{{.NeedsCopyUp}} {{.NeedsChown}}";
    let state = own.cmd(["volume", "inspect", "-f", said_of, "data"]).run();
    assert!(!state.out().contains("true"), "{state:?}");
    let left = std::fs::read_dir(own.root().join("volumes/data")).unwrap();
    let mut left: Vec<_> = left.map(|f| f.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["_data", "owners", "volume.json"]);
    Ok(())
}

fn a_new_volume_without_files_of_an_image_is_the_users(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = own.image("busybox");
    let script = "touch /none/f && stat -c '%u:%g %a' /none /none/f";
    let seen = said(&own, &["-u", "33:34", "-v", "data:/none"], &image, script);
    assert_eq!(seen, "33:34 755\n33:34 644\n");
    // Only the first.
    let seen = said(
        &own,
        &["-u", "40", "-v", "data:/none"],
        &image,
        "stat -c %u:%g /none",
    );
    assert_eq!(seen, "33:34\n");
    // An empty directory of the image says whose it is, and leaves the files to another image.
    let owners = with_owners(&own);
    let seen = said(
        &own,
        &["-u", "33", "-v", "tmp:/tmp"],
        &image,
        "stat -c '%u:%g %a' /tmp; ls /tmp",
    );
    let plain = said(&own, &[], &image, "stat -c '%u:%g %a' /tmp");
    assert_eq!(seen, plain);
    let seen = said(&own, &["-v", "tmp:/data"], &owners, "cat /data/file");
    assert_eq!(seen, "x\n");
    Ok(())
}

fn nothing_is_copied_over_what_is_there(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = with_owners(&own);
    let busybox = own.image("busybox");
    said(&own, &["-v", "data:/v"], &busybox, "echo mine >/v/mine");
    assert_eq!(
        said(&own, &["-v", "data:/data"], &image, "ls /data"),
        "mine\n"
    );
    // Emptied later: it has been used.
    said(&own, &["-v", "data:/v"], &busybox, "rm /v/mine");
    assert_eq!(said(&own, &["-v", "data:/data"], &image, "ls /data"), "");
    for flags in [
        &["-v", "n1:/data:nocopy"][..],
        &[
            "--mount",
            "type=volume,source=n2,target=/data,volume-nocopy",
        ],
    ] {
        let seen = said(&own, flags, &image, "ls /data; stat -c '%u %f' /data");
        assert_eq!(seen, "70 45e8\n", "{flags:?}");
    }
    own.cmd(["volume", "create", "-o", "nocopy", "n3"]).ok();
    assert_eq!(said(&own, &["-v", "n3:/data"], &image, "ls /data"), "");
    Ok(())
}

fn an_anonymous_volume_goes_with_its_container(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = own.image("busybox");
    said(
        &own,
        &["-v", "/a", "--mount", "target=/b"],
        &image,
        "touch /a/x /b/x",
    );
    assert!(volumes(&own).is_empty());
    let fails = own.run_name(&["-v", "/a"], &image, &["/no/such/program"]);
    fails.run().code_is(127);
    assert!(volumes(&own).is_empty());
    kept(
        &own,
        "c",
        &["-v", "/a", "-v", "named:/n"],
        &image,
        "echo kept >/a/x",
    );
    let all = volumes(&own);
    assert_eq!(all.len(), 2, "{all:?}");
    let anonymous = all.iter().find(|n| n.len() == 64).unwrap();
    let shown = own.cmd(["volume", "inspect", "-f", "{{.Anonymous}}", anonymous]);
    shown.ok().out_is("true\n");
    // Somebody else has it now, too: it stays with him.
    kept(
        &own,
        "d",
        &["-v", &format!("{anonymous}:/b")],
        &image,
        "cat /b/x",
    );
    own.cmd(["rm", "-v", "c"]).ok();
    assert_eq!(volumes(&own).len(), 2);
    own.cmd(["rm", "-v", "d"]).ok();
    assert_eq!(volumes(&own), ["named"]);
    // Without -v it stays.
    kept(&own, "e", &["-v", "/a"], &image, "true");
    own.cmd(["rm", "e"]).ok();
    assert_eq!(volumes(&own).len(), 2);
    own.cmd(["volume", "prune", "-f"]).ok();
    assert!(volumes(&own).is_empty());
    own.nothing_unfinished();
    Ok(())
}

fn volumes_of_an_image(e: &Env) -> Done {
    let own = e.with_own_store();
    let owners = with_owners(&own);
    kept(&own, "m", &[], &owners, "true");
    let declared = "VOLUME /data /var/lib/app";
    own.cmd(["commit", "-q", "-c", declared, "m", "localhost/declares"])
        .ok();
    own.cmd(["rm", "m"]).ok();
    let image = "localhost/declares";
    let want = said(&own, &[], &owners, LOOK);
    let mounts = "grep -c -e ' /data ' -e ' /var/lib/app ' /proc/mounts";
    assert_eq!(
        said(&own, &[], image, &format!("{LOOK}; {mounts}")),
        format!("{want}2\n")
    );
    assert!(volumes(&own).is_empty());
    // What the user mounts there comes first.
    said(&own, &["-v", "data:/data/"], image, "touch /var/lib/app/x");
    assert_eq!(volumes(&own), ["data"]);
    let counted = |kind: &str, script: &str| {
        let flags = ["--image-volume", kind];
        own.run_name(&flags, image, &["sh", "-c", script]).run()
    };
    counted("ignore", mounts).code_is(1).out_is("0\n");
    let tmpfs = counted("tmpfs", "grep ' /data ' /proc/mounts; ls /data");
    tmpfs.code_is(0).out_has("tmpfs /data tmpfs");
    kept(&own, "c", &[], image, "touch /data/new");
    assert_eq!(volumes(&own).len(), 3);
    // Outside of what the container wrote.
    let diff = own.cmd(["diff", "c"]).ok();
    diff.out_lacks("/data/new");
    own.cmd(["rm", "-v", "c"]).ok();
    assert_eq!(volumes(&own), ["data"]);
    Ok(())
}

fn volumes_of_another_container(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = own.image("busybox");
    let dir = own.subdir("host");
    let bind = format!("{}:/host", dir.display());
    let flags = [
        "-v", "named:/n", "-v", "/anon", "-v", &bind, "--tmpfs", "/t",
    ];
    kept(
        &own,
        "src",
        &flags,
        &image,
        "echo a >/anon/f; echo n >/n/f; echo h >/host/f",
    );
    let script = "cat /anon/f /n/f /host/f; ls -d /t 2>&1; touch /n/new && echo written";
    let all = own.run_name(&["--volumes-from", "src"], &image, &["sh", "-c", script]);
    all.ok()
        .out_is("a\nn\nh\nls: /t: No such file or directory\nwritten\n");
    let script = "for d in /anon /n /host; do touch $d/x || true; done";
    let out = own.run_name(&["--volumes-from", "src:ro"], &image, &["sh", "-c", script]);
    let refused = out.ok().err();
    assert_eq!(
        refused.matches("Read-only file system").count(),
        3,
        "{refused}"
    );
    // One's own comes first, and a second hand has them, too.
    kept(
        &own,
        "second",
        &["--volumes-from", "src", "-v", "own:/n"],
        &image,
        "ls -A /n; cat /anon/f",
    );
    let third = own.run_name(
        &["--volumes-from=second"],
        &image,
        &["sh", "-c", "ls -A /n; cat /anon/f"],
    );
    third.ok().out_is("a\n");
    // The anonymous one belongs to both.
    own.cmd(["rm", "-v", "src"]).ok();
    let again = own.run_name(&["--volumes-from=second"], &image, &["cat", "/anon/f"]);
    again.ok().out_is("a\n");
    own.cmd(["rm", "-v", "second"]).ok();
    assert_eq!(volumes(&own), ["named", "own"]);
    let none = own.run_name(&["--volumes-from", "nobody"], &image, &["true"]);
    none.run().fails_with(125, "nobody: no such container");
    Ok(())
}

fn the_content_of_an_image(e: &Env) -> Done {
    let own = e.with_own_store();
    let owners = with_owners(&own);
    let image = own.image("busybox");
    let mount = format!("type=image,source={owners},target=/i");
    let look = "cd /i/data; stat -c '%n %u:%g' file; cat file; touch new; rm file; true";
    // Neither by the container's root, nor by one that may mount.
    for flags in [
        &["--mount", &mount][..],
        &["--privileged", "--mount", &mount],
    ] {
        let out = own.run_name(flags, &image, &["sh", "-c", look]).ok();
        out.out_is("file 70:71\nx\n")
            .err_has("read-only file system");
    }
    let again = "mount -o remount,rw /i 2>&1; touch /i/data/evil 2>&1; true";
    own.run_name(
        &["--privileged", "--mount", &mount],
        &image,
        &["sh", "-c", again],
    )
    .ok();
    let writable = format!("{mount},rw=true");
    let script = "cd /i/data; echo new >new; rm file; ls";
    let out = own.run_name(&["--mount", &writable], &image, &["sh", "-c", script]);
    out.ok().out_is("deep\nfifo\nhard\nlink\nnew\n");
    assert_eq!(
        said(&own, &[], &owners, "cat /data/file; ls /data"),
        "x\ndeep\nfifo\nfile\nhard\nlink\n"
    );
    // It stays as long as a container was made with it.
    own.cmd([
        "run",
        "--name",
        "user",
        "--network=none",
        "--mount",
        &mount,
        &image,
        "true",
    ])
    .ok();
    own.cmd(["rmi", "-f", &owners]).ok();
    own.cmd(["image", "prune", "-af"]).ok();
    assert!(
        std::fs::read_dir(own.root().join("layers"))
            .unwrap()
            .count()
            > 1
    );
    own.cmd(["rm", "user"]).ok();
    let gone = own.run_name(&["--mount", &mount], &image, &["true"]);
    gone.run().fails_with(125, "image not known");
    assert!(volumes(&own).is_empty());
    Ok(())
}

fn an_image_of_many_layers_is_mounted(e: &Env) -> Done {
    let own = e.with_own_store();
    let file = |i: usize| {
        Tar::new()
            .file(format!("layer{i:03}"), format!("{i}"))
            .end()
    };
    let tars: Vec<_> = std::iter::once(Tar::busybox().end())
        .chain((0..100).map(file))
        .collect();
    let source = Evil::honest(Image::new(&tars));
    own.cmd(["pull", "-q", &source.name()]).run().code_is(0);
    let mount = format!("type=image,source={},target=/i", source.name());
    let image = own.image("busybox");
    let script = "cd /i; cat layer* | wc -c; ls | grep -c layer; test -x bin/busybox";
    let seen = own.run_name(&["--mount", &mount], &image, &["sh", "-c", script]);
    assert_eq!(seen.run().code_is(0).out(), "190\n100\n");
    Ok(())
}

fn an_overlay_leaves_the_directory_as_it_is(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = own.image("busybox");
    let dir = own.subdir("a,b\\c");
    std::fs::write(dir.join("old"), "old\n").unwrap();
    own.give(&dir.join("old"));
    let v = format!("{}:/v:O", dir.display());
    let script = "cd /v; echo new >new; echo more >>old; cat old new; rm old; ls; chown 5 new; stat -c %u new";
    kept(&own, "c", &["-v", &v], &image, "echo gone >/v/new");
    assert_eq!(
        said(&own, &["-v", &v], &image, script),
        "old\nmore\nnew\nnew\n5\n"
    );
    let left: Vec<_> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|f| f.unwrap().file_name())
        .collect();
    assert_eq!(left, ["old"]);
    assert_eq!(std::fs::read_to_string(dir.join("old")).unwrap(), "old\n");
    // The same over a volume.
    said(&own, &["-v", "data:/v"], &image, "echo old >/v/old");
    assert_eq!(
        said(&own, &["-v", "data:/v:O"], &image, script),
        "old\nmore\nnew\nnew\n5\n"
    );
    assert_eq!(
        said(&own, &["-v", "data:/v"], &image, "ls /v; cat /v/old"),
        "old\nold\n"
    );
    own.cmd(["rm", "c"]).ok();
    own.nothing_unfinished();
    Ok(())
}

fn owners_are_changed_for_the_user(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = with_owners(&own);
    said(&own, &["-v", "data:/data"], &image, "true");
    let look = "cd /data; stat -c '%n %u:%g' . file link fifo deep/shut; stat -c %f deep/shut";
    let all = |owner: &str| {
        let names = [".", "file", "link", "fifo", "deep/shut"];
        let lines: String = names.iter().map(|n| format!("{n} {owner}\n")).collect();
        lines + "4000\n"
    };
    let flags = ["-u", "33:34", "-v", "data:/data:U"];
    assert_eq!(said(&own, &flags, &image, look), all("33:34"));
    assert_eq!(
        said(&own, &["-v", "data:/data"], &image, look),
        all("33:34")
    );
    assert_eq!(
        said(&own, &["-v", "data:/data:U"], &image, look),
        all("0:0")
    );
    // A directory of the host, in which a container has given a file away.
    let dir = own.subdir("host");
    let (v, changed) = (
        format!("{}:/v", dir.display()),
        format!("{}:/v:U", dir.display()),
    );
    said(
        &own,
        &["-v", &v],
        &image,
        "mkdir /v/d; touch /v/d/f; chown 5:6 /v/d/f",
    );
    let look = "stat -c %u:%g /v/d/f";
    assert_eq!(said(&own, &["-u", "33", "-v", &v], &image, look), "5:6\n");
    assert_eq!(
        said(&own, &["-u", "33", "-v", &changed], &image, look),
        "33:0\n"
    );
    assert_eq!(said(&own, &["-u", "44", "-v", &v], &image, look), "44:0\n");
    Ok(())
}

fn one_id_without_emulation(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = with_owners(&own);
    // Owners are the one's, content is all there.
    let script = "cat /data/file; echo more >/data/more; stat -c %u /data/file";
    let flags = ["--identity=off", "-v", "data:/data"];
    assert_eq!(said(&own, &flags, &image, script), "x\n0\n");
    let flags = ["--userns=keep-id", "-v", "data:/data"];
    let uid = own.machine.uid;
    assert_eq!(said(&own, &flags, &image, script), format!("x\n{uid}\n"));
    // Those that were copied are there for who can see them.
    let seen = said(
        &own,
        &["-v", "data:/data"],
        &image,
        "stat -c %u:%g /data/file /data/link /data/more",
    );
    assert_eq!(seen, "70:71\n72:73\n0:0\n");
    Ok(())
}

fn a_container_that_starts_again_has_its_volumes(e: &Env) -> Done {
    let own = e.with_own_store();
    let owners = with_owners(&own);
    let flags = ["--network=none", "-v", "/anon", "-v", "data:/data"];
    let script = "cat /anon/log /data/log 2>/dev/null; date >>/anon/log; echo d >>/data/log; stat -c %u:%g /data/file";
    let what = [owners.as_str(), "sh", "-c", script];
    own.cmd(["create", "--name", "c"])
        .args(flags)
        .args(what)
        .ok();
    // They are there, and nobody has filled them.
    let all = volumes(&own);
    assert_eq!(all.len(), 2, "{all:?}");
    let state = ["volume", "inspect", "-f", "{{.NeedsCopyUp}}", "data"];
    own.cmd(state).ok().out_is("true\n");
    own.cmd(["volume", "rm", "data"]).run().code_is(2);
    own.cmd(["start", "-a", "c"]).ok().out_is("70:71\n");
    let again = own.cmd(["start", "-a", "c"]).ok().out();
    assert!(
        again.lines().count() == 3 && again.ends_with("d\n70:71\n"),
        "{again}"
    );
    assert_eq!(volumes(&own), all);
    let format = "{{range .Mounts}}{{.Type}} {{.Destination}} {{.RW}} {{.Name}}\n{{end}}";
    let shown = own.cmd(["inspect", "-f", format, "c"]).ok().out();
    for line in [
        "volume /data true data",
        &format!(
            "volume /anon true {}",
            all.iter().find(|n| n.len() == 64).unwrap()
        ),
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    own.cmd(["rm", "-v", "c"]).ok();
    assert_eq!(volumes(&own), ["data"]);
    // In the background, and gone with it.
    own.cmd(["run", "-d", "--rm", "--name", "d"])
        .args(flags)
        .args([owners.as_str(), "sleep", "600"])
        .ok();
    assert_eq!(volumes(&own).len(), 2);
    own.cmd(["exec", "d", "stat", "-c", "%u:%g", "/data/file"])
        .ok()
        .out_is("70:71\n");
    own.cmd([
        "exec",
        "d",
        "sh",
        "-c",
        "ln -s x /data/new; chown -h 5:6 /data/new",
    ])
    .ok();
    let other = said(
        &own,
        &["--volumes-from", "d"],
        &owners,
        "stat -c %u:%g /data/new",
    );
    assert_eq!(other, "5:6\n");
    own.cmd(["stop", "-t", "0", "d"]).ok();
    for _ in 0..100 {
        if volumes(&own) == ["data"] {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("{:?}", volumes(&own));
}

fn a_volume_that_is_a_directory_of_the_host(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = with_owners(&own);
    let dir = own.subdir("host");
    let device = format!("device={}", dir.display());
    let make = |name: &str, o: &str| {
        let args = [
            "volume",
            "create",
            "-o",
            "type=none",
            "-o",
            o,
            "-o",
            &device,
            name,
        ];
        own.cmd(args).ok();
    };
    make("host", "o=bind");
    make("fixed", "o=bind,ro");
    // It is not filled: it is the user's.
    assert_eq!(
        said(
            &own,
            &["-v", "host:/data"],
            &image,
            "ls /data; echo x >/data/f"
        ),
        ""
    );
    assert_eq!(std::fs::read_to_string(dir.join("f")).unwrap(), "x\n");
    let out = own.run_name(&["-v", "fixed:/data"], &image, &["touch", "/data/g"]);
    out.run().code_is(1).err_has("read-only file system");
    let shown = own
        .cmd(["volume", "inspect", "-f", "{{.Mountpoint}}", "host"])
        .ok();
    assert_eq!(shown.out().trim_end(), dir.display().to_string());
    own.cmd(["volume", "export", "host"])
        .run()
        .fails_with(125, "use tar");
    own.cmd(["volume", "rm", "host", "fixed"]).ok();
    assert!(dir.join("f").exists());
    for bad in ["type=nfs", "o=size=5m", "color=red", "type=tmpfs"] {
        own.cmd(["volume", "create", "-o", bad, "x"])
            .run()
            .fails_with(125, "volume option");
    }
    Ok(())
}

fn what_leaves_comes_back(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = with_owners(&own);
    let want = said(&own, &["-v", "data:/data"], &image, LOOK);
    let tar = own.dir.join("data.tar");
    own.cmd(["volume", "export", "-o"])
        .arg(&tar)
        .arg("data")
        .ok();
    let listed = Cmd::host(["tar", "--numeric-owner", "-tvf"]).arg(&tar).ok();
    listed.out_has("70/71").out_has("72/73");
    own.cmd(["volume", "create", "copy"]).ok();
    own.cmd(["volume", "import", "copy"]).arg(&tar).ok();
    assert_eq!(said(&own, &["-v", "copy:/data"], &image, LOOK), want);
    // Over what is there: files are replaced, others stay.
    said(
        &own,
        &["-v", "copy:/data"],
        &image,
        "echo other >/data/file; echo own >/data/own; rm /data/link; mkdir /data/link2",
    );
    let bytes = std::fs::read(&tar).unwrap();
    own.cmd(["volume", "import", "copy", "-"])
        .stdin(bytes.clone())
        .ok();
    let seen = said(
        &own,
        &["-v", "copy:/data"],
        &image,
        "cat /data/file /data/own; stat -c %u:%g /data/link /data/file",
    );
    assert_eq!(seen, "x\nown\n72:73\n70:71\n");
    // Half of one changes nothing.
    own.cmd(["volume", "create", "half"]).ok();
    let half = bytes[..bytes.len() / 2 + 100].to_vec();
    own.cmd(["volume", "import", "half", "-"])
        .stdin(half)
        .run()
        .code_is(125);
    assert_eq!(said(&own, &["-v", "half:/v"], &image, "ls -A /v"), "");
    own.cmd(["volume", "import", "none", "-"])
        .stdin(bytes)
        .run()
        .fails_with(125, "no such volume");
    own.nothing_unfinished();
    Ok(())
}

fn lists_and_filters(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = own.image("busybox");
    own.cmd(["volume", "create", "-l", "app=web", "-l", "keep", "alpha"])
        .ok()
        .out_is("alpha\n");
    own.cmd(["volume", "create", "beta"]).ok();
    kept(&own, "c", &["-v", "beta:/b"], &image, "true");
    let list = |filters: &[&str]| {
        let mut cmd = own.cmd(["volume", "ls", "-q"]);
        for f in filters {
            cmd = cmd.args(["--filter", f]);
        }
        cmd.ok().out().replace('\n', " ")
    };
    for (filters, want) in [
        (&[][..], "alpha beta "),
        (&["dangling=true"], "alpha "),
        (&["dangling=false"], "beta "),
        (&["name=lph"], "alpha "),
        (&["name=alp", "name=bet"], "alpha beta "),
        (&["label=app"], "alpha "),
        (&["label=app=web", "label=keep"], "alpha "),
        (&["label=app=other"], ""),
        (&["label!=app"], "beta "),
        (&["driver=local"], "alpha beta "),
        (&["driver=nfs"], ""),
        (&["until=1h"], ""),
        (&["since=alpha"], "beta "),
    ] {
        assert_eq!(list(filters), want, "{filters:?}");
    }
    own.cmd(["volume", "ls", "--filter", "size=3"])
        .run()
        .fails_with(125, "unknown filter");
    let table = own.cmd(["volume", "ls"]).ok().out();
    assert_eq!(table, "DRIVER  VOLUME NAME\nlocal   alpha\nlocal   beta\n");
    let format = "{{.Name}} {{.Driver}} {{.Scope}} {{.MountCount}}";
    own.cmd(["volume", "ls", "--format", format])
        .ok()
        .out_is("alpha local local 0\nbeta local local 1\n");
    let json = own.cmd(["volume", "inspect", "--all"]).ok().out();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0]["Labels"]["app"], "web");
    assert_eq!(json[1]["Name"], "beta");
    for kind in ["volume", "all"] {
        let same = own.cmd(["inspect", "-t", kind, "alpha"]).ok().out();
        let same: serde_json::Value = serde_json::from_str(&same).unwrap();
        assert_eq!(same[0], json[0], "{kind}");
    }
    own.cmd(["inspect", "alp"]).run().code_is(125);
    // By the start of a name that fits no other.
    own.cmd(["volume", "inspect", "-f", "{{.Name}}", "al"])
        .ok()
        .out_is("alpha\n");
    own.cmd(["volume", "exists", "alpha"]).ok();
    own.cmd(["volume", "exists", "al"]).run().code_is(1);
    let ps = |f: &str| {
        own.cmd(["ps", "-aq", "--filter", f])
            .ok()
            .out()
            .lines()
            .count()
    };
    assert_eq!(
        [ps("volume=beta"), ps("volume=/b"), ps("volume=alpha")],
        [1, 1, 0]
    );
    own.cmd(["ps", "-a", "--format", "{{.Mounts}}"])
        .ok()
        .out_has("/b");
    Ok(())
}

fn what_takes_space_is_counted_and_pruned(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = own.image("busybox");
    let fill = "dd if=/dev/zero of=/v/f bs=1M count=3 2>/dev/null";
    said(&own, &["-v", "free:/v"], &image, fill);
    kept(&own, "c", &["-v", "used:/v"], &image, fill);
    let df = own.cmd([
        "system",
        "df",
        "--format",
        "{{.Type}} {{.Total}} {{.Active}} {{.Size}} {{.Reclaimable}}",
    ]);
    df.ok().out_has("Local Volumes 2 1 6.29MB 3.15MB (50%)");
    own.cmd(["system", "df", "-v"])
        .ok()
        .out_has("used         1      3.15MB");
    own.cmd(["system", "prune", "-f", "--filter", "label=none"])
        .ok();
    assert_eq!(volumes(&own), ["free", "used"]);
    own.cmd(["volume", "prune"]).stdin("n\n").ok();
    assert_eq!(volumes(&own), ["free", "used"]);
    own.cmd(["volume", "prune"])
        .stdin("y\n")
        .ok()
        .out_is("free\n");
    own.cmd(["system", "prune", "-f", "--volumes"])
        .ok()
        .out_has("used\n");
    assert!(volumes(&own).is_empty());
    own.nothing_unfinished();
    Ok(())
}

/// The same lines by podman: the same exit codes, what is printed, and the words of what is wrong.
fn podmans_words(e: &Env) -> Done {
    e.need(Feature::Program("podman"))?;
    let own = e.with_own_store();
    // Podman wants a short path.
    let mut peer = e.with_root(e.machine.dir.join("pv"));
    peer.runtime = Runtime::Podman;
    let podman = peer.cmd(["volume", "ls", "-q"]).run();
    if podman.code() != 0 {
        return Err(Skip(format!(
            "podman does not start here: {}",
            podman.err().trim()
        )));
    }
    for (line, words) in [
        (&["create", "one"][..], ""),
        (
            &[
                "create", "--label", "a=b", "--opt", "o=nodev", "--driver", "local", "two",
            ],
            "",
        ),
        (&["create", "one"], "already exists"),
        (&["create", "../x"], "names must match"),
        (&["create", "a b"], "names must match"),
        (&["ls", "-q"], ""),
        (&["ls", "-q", "--filter", "name=tw"], ""),
        (&["ls", "-q", "--filter", "label=a"], ""),
        (&["ls", "-q", "-f", "dangling=true"], ""),
        (&["ls", "-q", "-f", "dangling=false"], ""),
        (&["ls", "--noheading"], ""),
        (&["ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}"], ""),
        (&["list", "--format", "{{.Name}}"], ""),
        (
            &[
                "inspect",
                "--format",
                "{{.Name}} {{.Driver}} {{.Scope}} {{.Labels.a}}",
                "two",
            ],
            "",
        ),
        (&["inspect", "none"], "no such volume"),
        (&["exists", "one"], ""),
        (&["exists", "none"], ""),
        (&["rm", "none"], "no such volume"),
        (&["rm", "-f", "none"], ""),
        (&["rm", "one", "none"], "no such volume"),
        (&["rm", "tw"], ""),
        (&["create", "three"], ""),
        (&["prune", "--force"], ""),
        (&["rm", "--all"], ""),
        (&["ls"], ""),
    ] {
        let run = |e: &Env| e.cmd(["volume"]).args(line).run();
        let (ours, theirs) = (run(&own), run(&peer));
        assert_eq!(ours.code(), theirs.code(), "{ours:?} {theirs:?}");
        let plain = |o: String| -> Vec<String> {
            let words = |l: &str| l.split_whitespace().collect::<Vec<_>>().join(" ");
            o.lines().map(words).collect()
        };
        // Where it lists nothing podman leaves the headings out.
        if line != ["ls"] && ours.code() == 0 {
            assert_eq!(plain(ours.out()), plain(theirs.out()), "{line:?}");
        }
        for out in [&ours, &theirs] {
            assert!(out.err().contains(words), "{words}: {out:?}");
        }
    }
    let keys = |e: &Env| {
        e.cmd(["volume", "create", "k"]).ok();
        let json = e.cmd(["volume", "inspect", "k"]).ok().out();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        json[0]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    let ours = keys(&own);
    let missing: Vec<String> = keys(&peer)
        .into_iter()
        .filter(|k| !ours.contains(k))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    Ok(())
}
