//! `commit` and `diff`, on every driver.

use std::path::PathBuf;

use crate::harness::{Cmd, Done, Env, Feature};

suite!(
    a_committed_image_has_what_was_written,
    a_committed_image_by_fuse_overlayfs,
    a_committed_image_by_copy,
    a_container_that_runs_is_committed_and_exported,
    one_that_never_ran_is_its_image,
    the_same_tree_is_the_same_layer,
    the_configuration_is_changed_as_asked,
    docker_format,
    what_cannot_be_done_is_an_error,
    what_is_exported_and_imported_is_the_same,
);

/// Changes of every kind; the file of mode 0 only our own namespace can read.
const CHANGES: &str = "set -e; rm /bin/vi; rm -r /usr; mkdir /usr; echo only >/usr/only; echo more >>/etc/passwd; \
    mkdir -p /new/deep; echo one >/new/one; ln /new/one /new/two; ln -s one /new/link; mkfifo /new/fifo; \
    echo shut >/new/shut; chmod 0 /new/shut; mkdir /new/shutdir; echo in >/new/shutdir/in; chmod 0 /new/shutdir; \
    cp /bin/busybox /new/suid; chmod 4755 /new/suid; chmod 1770 /new; touch -d '2001-02-03 04:05:06' /new/one; \
    mv /home /home2; dd if=/dev/zero of=/new/sparse bs=1 count=1 seek=20000000 2>/dev/null";

/// What a shell in the image sees of them.
const LOOK: &str = "cd /; stat -c '%n %f %s %h' new new/one new/two new/link new/fifo new/shut new/shutdir \
    new/shutdir/in new/suid new/sparse usr/only home2; stat -c '%n %Y' new/one; cat new/two new/shut new/shutdir/in \
    usr/only; ls usr new; ls -d bin/vi home 2>&1 | sort; tail -n 1 etc/passwd";

/// Nothing was written yet, not even a directory to write to.
fn one_that_never_ran_is_its_image(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = own.image("busybox");
    own.cmd(["create", "--name", "c", &image, "true"]).ok();
    own.cmd(["diff", "c"]).ok().out_is("");
    let file = own.subdir("out").join("tar");
    own.cmd(["export", "-o"]).args([&file]).arg("c").ok();
    assert!(std::fs::metadata(&file).unwrap().len() > 1 << 20);
    own.cmd(["commit", "-q", "c", "made"]).ok();
    own.cmd(["run", "--rm", "--network=none", "made", "echo", "x"])
        .ok()
        .out_is("x\n");
    Ok(())
}

/// Say in what two lists differ.
#[track_caller]
pub fn same(what: &str, want: &[String], got: &[String]) {
    let only = |x: &[String], y: &[String]| -> String {
        let lines = x.iter().filter(|l| !y.contains(l)).take(20);
        lines.map(|l| format!("{}\n", l.trim_end())).collect()
    };
    let (left, right) = (only(want, got), only(got, want));
    assert!(
        left.is_empty() && right.is_empty(),
        "{what}\n--- wanted and not there:\n{left}--- there and not wanted:\n{right}"
    );
}

/// Run a script in a container that stays.
pub fn kept(e: &Env, name: &str, flags: &[&str], image: &str, script: &str) {
    e.cmd(["run", "--network=none", "--name", name])
        .args(flags)
        .args([image, "sh", "-c", script])
        .ok();
}

fn committed(e: &Env, driver: &str) -> Done {
    let own = e.with_own_store();
    let image = own.image("busybox");
    let flags = ["--storage-driver", driver];
    kept(
        &own,
        "c",
        &flags,
        &image,
        &format!("{CHANGES}; ({LOOK}) >/tmp/seen"),
    );
    let id = own
        .cmd([
            "commit",
            "-q",
            "-m",
            "a message",
            "-a",
            "me",
            "c",
            "localhost/new",
        ])
        .ok();
    assert_eq!(id.err(), "", "no warning");
    let id = id.out();
    assert!(id.starts_with("sha256:") && id.len() == 72, "{id}");
    let run = |script: &str| {
        let run = own.cmd([
            "run",
            "--rm",
            "--network=none",
            "localhost/new",
            "sh",
            "-c",
            script,
        ]);
        run.ok().out()
    };
    let (seen, now) = (run("cat /tmp/seen"), run(LOOK));
    let lines = |text: &str| -> Vec<String> {
        // fuse-overlayfs counts the links of each file as one.
        let line = |l: &str| match driver {
            "fuse-overlayfs" if l.starts_with("new/") => l.rsplit_once(' ').unwrap().0.to_owned(),
            _ => l.to_owned(),
        };
        text.lines().map(line).collect()
    };
    same(driver, &lines(&seen), &lines(&now));
    for part in ["981173106", "shut\nin\nonly", "more"] {
        assert!(now.contains(part), "{part}: {now}");
    }
    let history = own.cmd(["history", "--format", "{{.Comment}}", "localhost/new"]);
    assert!(history.ok().out().starts_with("a message\n"));
    // The container's own difference, and that of the new image's last layer.
    let diff = own.cmd(["diff", "c"]).ok().out();
    for line in [
        "D /bin/vi",
        "C /bin",
        "A /new/deep",
        "C /etc/passwd",
        "D /home",
        "A /home2",
    ] {
        assert!(diff.lines().any(|l| l == line), "{line}: {diff}");
    }
    assert!(!diff.contains("/dev") && !diff.contains("/proc"), "{diff}");
    let of_image = own.cmd(["diff", "localhost/new"]).ok().out();
    // The layer lists every directory above a change, as the container's own tree does.
    same(
        "diff of container and image",
        &diff.lines().map(String::from).collect::<Vec<_>>(),
        &of_image.lines().map(String::from).collect::<Vec<_>>(),
    );
    Ok(())
}

fn a_committed_image_has_what_was_written(e: &Env) -> Done {
    e.need(Feature::Overlay)?;
    committed(e, "overlay")
}

fn a_committed_image_by_fuse_overlayfs(e: &Env) -> Done {
    e.need(Feature::Fuse)?;
    committed(e, "fuse-overlayfs")
}

fn a_committed_image_by_copy(e: &Env) -> Done {
    committed(e, "copy")
}

fn a_container_that_runs_is_committed_and_exported(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = own.image("busybox");
    let script = "echo x >/made; echo ready; i=0; while :; do i=$((i+1)); echo $i >/tmp/$i; rm -f /tmp/$((i-20)); done";
    let p = own
        .cmd(["run", "--rm", "--name", "busy", "--network=none"])
        .args([image.as_str(), "sh", "-c", script])
        .spawn();
    p.wait_for("ready");
    own.cmd(["commit", "busy", "localhost/of-busy"]).ok();
    let tar = e.dir.join("busy.tar");
    own.cmd(["export", "-o"]).arg(&tar).arg("busy").ok();
    own.cmd(["diff", "busy"]).ok().out_has("A /made");
    p.signal(rustix::process::Signal::KILL);
    p.wait();
    let out = own.cmd([
        "run",
        "--rm",
        "--network=none",
        "localhost/of-busy",
        "cat",
        "/made",
    ]);
    assert_eq!(out.ok().out(), "x\n");
    let list = Cmd::host(["tar", "-tf"]).arg(&tar).ok().out();
    for name in ["made", "bin/busybox"] {
        assert!(list.lines().any(|l| l == name), "{name}: {list}");
    }
    Ok(())
}

/// The descriptor of the topmost layer in the manifest of a saved image.
fn top_layer(own: &Env, image: &str) -> String {
    let dir = own
        .dir
        .join(format!("top-{}", image.replace(['/', ':'], "-")));
    own.cmd(["save", "-q", "--format", "oci-dir", "-o"])
        .arg(&dir)
        .arg(image)
        .ok();
    let read = |path: PathBuf| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    };
    let index = read(dir.join("index.json"));
    let digest = index["manifests"][0]["digest"].as_str().unwrap();
    let manifest = read(dir.join("blobs").join(digest.replace(':', "/")));
    manifest["layers"]
        .as_array()
        .unwrap()
        .last()
        .unwrap()
        .to_string()
}

fn the_same_tree_is_the_same_layer(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = own.image("busybox");
    kept(&own, "c", &[], &image, CHANGES);
    for name in ["localhost/a", "localhost/b"] {
        own.cmd(["commit", "c", name]).ok();
    }
    let first = top_layer(&own, "localhost/a");
    assert_eq!(first, top_layer(&own, "localhost/b"));
    // Without its blob it is packed from the unpacked layer, and is the same again.
    let blob = first.split("sha256:").nth(1).unwrap()[..64].to_owned();
    std::fs::remove_file(own.root().join("blobs/sha256").join(blob)).unwrap();
    own.cmd(["tag", "localhost/a", "localhost/anew"]).ok();
    assert_eq!(first, top_layer(&own, "localhost/anew"));
    Ok(())
}

fn the_configuration_is_changed_as_asked(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = own.image("busybox");
    kept(&own, "c", &[], &image, "echo hi >/hi");
    own.cmd([
        "commit",
        "--pause=false",
        "-c",
        r#"ENTRYPOINT ["cat"]"#,
        "-c",
        r#"CMD ["/hi"]"#,
    ])
    .args([
        "-c",
        "ENV A=1 B='two words'",
        "-c",
        "WORKDIR /usr",
        "-c",
        "LABEL who=me",
    ])
    .args([
        "--change",
        "EXPOSE 80",
        "--change",
        "STOPSIGNAL SIGINT",
        "c",
        "localhost/new",
    ])
    .ok();
    let run = |args: &[&str]| {
        let run = own.cmd(["run", "--rm", "--network=none"]).args(args);
        run.ok().out()
    };
    assert_eq!(run(&["localhost/new"]), "hi\n");
    let script = "echo $A $B; pwd";
    let shell = ["--entrypoint", "sh", "localhost/new", "-c", script];
    assert_eq!(run(&shell), "1 two words\n/usr\n");
    let config = own
        .cmd(["inspect", "-f", "{{json .Config}}", "localhost/new"])
        .ok()
        .out();
    for part in [r#""who":"me""#, r#""80/tcp":{}"#, "SIGINT"] {
        assert!(config.contains(part), "{part}: {config}");
    }
    own.cmd(["commit", "-c", "RUN x", "c"])
        .run()
        .fails_with(125, "RUN");
    Ok(())
}

fn docker_format(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = own.image("busybox");
    kept(&own, "c", &[], &image, "echo hi >/hi");
    own.cmd(["commit", "-f", "docker", "c", "localhost/new"])
        .ok();
    let top = top_layer(&own, "localhost/new");
    assert!(
        top.contains("application/vnd.docker.image.rootfs.diff.tar.gzip"),
        "{top}"
    );
    let out = own.cmd([
        "run",
        "--rm",
        "--network=none",
        "localhost/new",
        "cat",
        "/hi",
    ]);
    assert_eq!(out.ok().out(), "hi\n");
    Ok(())
}

fn what_cannot_be_done_is_an_error(e: &Env) -> Done {
    let own = e.with_own_store();
    own.cmd(["commit", "none"]).run().fails_with(125, "none");
    own.cmd(["export", "none"]).run().fails_with(125, "none");
    own.cmd(["diff", "none"])
        .run()
        .fails_with(125, "neither a container nor an image");
    own.cmd(["save", "-o", "x", "none"])
        .run()
        .fails_with(125, "none");
    assert!(!own.dir.join("x").exists());
    let root = own.subdir("rootfs");
    Cmd::host(["cp", "-a", "/bin/busybox"]).arg(&root).run();
    own.cmd(["run", "--network=none", "--name", "dir", "--rootfs"])
        .arg(&root)
        .arg("/busybox")
        .run();
    own.cmd(["commit", "dir"])
        .run()
        .fails_with(125, "made from a directory");
    Ok(())
}

/// Owners, modes and devices by way of a flat tar; and it runs.
fn what_is_exported_and_imported_is_the_same(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = own.image("busybox");
    let script = "set -e; mkdir /o; cd /o; touch a; chown 33:34 a; chmod 4750 a; mknod n c 1 3; ln -s a l; chown -h 5:6 l; mkfifo f; chown 7 f";
    kept(&own, "c", &[], &image, script);
    own.cmd(["export", "-o"])
        .arg(e.dir.join("flat.tar"))
        .arg("c")
        .ok();
    own.cmd(["import", "-c", "CMD [\"ls\", \"-ln\", \"/o\"]"])
        .arg(e.dir.join("flat.tar"))
        .arg("localhost/flat")
        .ok();
    let listed = own
        .cmd(["run", "--rm", "--network=none", "localhost/flat"])
        .ok()
        .out();
    let rows: Vec<String> = listed
        .lines()
        .skip(1)
        .map(|l| {
            let f: Vec<&str> = l.split_whitespace().collect();
            format!("{} {} {} {}", f[0], f[2], f[3], f[f.len() - 1])
        })
        .collect();
    let want = [
        "-rwsr-x--- 33 34 a",
        "prw-r--r-- 7 0 f",
        "lrwxrwxrwx 5 6 a",
        "crw-r--r-- 0 0 n",
    ];
    assert_eq!(rows, want, "{listed}");
    Ok(())
}
