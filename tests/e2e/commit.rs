//! What goes out: `commit`, `export`, `diff`, `save`; and what other tools make of it as real root.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use coracle::owners::{FileType, Journal, Node, Owner, Record};
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::harness::{Cmd, Done, Env, Feature};
use crate::storage_drivers::tree;

suite!(
    a_committed_image_has_what_was_written,
    a_committed_image_by_fuse_overlayfs,
    a_committed_image_by_copy,
    a_container_that_runs_is_committed_and_exported,
    owners_are_those_that_real_root_sees,
    podman_sees_the_same_owners,
    a_saved_image_is_the_one_that_was_pulled,
    an_exported_container_is_its_image,
    kept_blobs_are_saved_as_they_are,
    the_same_tree_is_the_same_layer,
    the_configuration_is_changed_as_asked,
    docker_format,
    what_cannot_be_done_is_an_error,
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

/// Say in what two lists differ.
#[track_caller]
fn same(what: &str, want: &[String], got: &[String]) {
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

fn kept(e: &Env, name: &str, flags: &[&str], image: &str, script: &str) {
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

const CAPABILITY: &[u8] = b"\x01\0\0\x02\0 \0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// As identity emulation would leave it: owners on inodes and in the container's sidecar. `/o/ping` has a
/// capability, by the container's root (`native`) or by emulation.
fn with_owners(own: &Env, native: bool) -> PathBuf {
    let image = own.image("busybox");
    let script = "set -e; mkdir -p /o/dir; cd /o; touch plain owned null ping; ln -s x link; mkfifo fifo; \
        chmod 6750 owned; chmod 2770 dir; chmod 666 null; chmod 755 ping";
    kept(own, "c", &[], &image, script);
    let id = own.cmd(["ps", "-aq", "--no-trunc"]).ok().out();
    let dir = own.root().join("containers").join(id.trim());
    let upper = dir.join("upper");
    let owner = |uid, gid, file_type| Owner {
        uid,
        gid,
        mode: 0,
        file_type,
    };
    for (name, owner) in [
        ("owned", owner(33, 34, FileType::File)),
        ("dir", owner(1000, 5_000_000, FileType::Dir)),
        ("null", owner(0, 6, FileType::Char(1, 3))),
    ] {
        let path = upper.join("o").join(name);
        let value = owner.to_string();
        xattr::set(path, "user.containers.override_stat", value.as_bytes()).unwrap();
    }
    let mut journal = Journal::open(&dir.join("owners"), 0).unwrap();
    let mut set = |name: &str, record: Record| {
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let fd = openat(CWD, upper.join("o").join(name), flags, Mode::empty()).unwrap();
        let node = Node::of_fd(&fd).unwrap();
        journal
            .set(format!("o/{name}").as_bytes(), Some(node), &record)
            .unwrap();
    };
    for (name, owner) in [
        ("link", owner(7, 8, FileType::Symlink)),
        ("fifo", owner(9, 10, FileType::Pipe)),
    ] {
        let owner = Some(owner);
        set(
            name,
            Record {
                owner,
                ..Record::default()
            },
        );
    }
    if native {
        // As the container's root would, in a namespace like its own.
        let hex = CAPABILITY
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect::<String>();
        let ping = upper.join("o/ping");
        let give = format!(
            "setfattr -n security.capability -v 0x{hex} {}",
            ping.display()
        );
        own.user(["unshare", "-Ur", "sh", "-c", &give])
            .env("PATH", "/usr/bin:/bin")
            .ok();
        let stored = xattr::get(&ping, "security.capability").unwrap().unwrap();
        assert_eq!(stored.len(), 24, "version 3: {stored:?}");
    } else {
        let xattrs = vec![(b"security.capability".to_vec(), CAPABILITY.to_vec())];
        set(
            "ping",
            Record {
                xattrs,
                ..Record::default()
            },
        );
    }
    own.give(&dir.join("owners"));
    own.cmd(["commit", "c", "localhost/owners:1"]).ok();
    let archive = own.dir.join("owners.tar");
    own.cmd(["save", "-q", "-o"])
        .arg(&archive)
        .arg("localhost/owners:1")
        .ok();
    archive
}

/// `NAME UID GID MODE TYPE CAPABILITY` of all in a directory.
fn listing(dir: &Path) -> Vec<String> {
    let mut lines: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .flatten()
        .map(|f| {
            let m = f.metadata().unwrap();
            let capability = match m.is_file() {
                true => xattr::get(f.path(), "security.capability").unwrap(),
                false => None,
            };
            let capability = capability.map(|v| v.escape_ascii().to_string());
            let device = (rustix::fs::major(m.rdev()), rustix::fs::minor(m.rdev()));
            format!(
                "{} {} {} {:o} {device:?} {}",
                f.file_name().display(),
                m.uid(),
                m.gid(),
                m.mode(),
                capability.unwrap_or_default()
            )
        })
        .collect();
    lines.sort();
    lines
}

const OWNERS: [&str; 7] = [
    "dir 1000 5000000 42770 (0, 0) ",
    "fifo 9 10 10644 (0, 0) ",
    "link 7 8 120777 (0, 0) ",
    "null 0 6 20666 (1, 3) ",
    "owned 33 34 106750 (0, 0) ",
    r"ping 0 0 100755 (0, 0) \x01\x00\x00\x02\x00 \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    "plain 0 0 100644 (0, 0) ",
];

/// An archive as real root has it, by umoci.
fn unpacked(e: &Env, archive: &Path, name: &str, transport: &str) -> PathBuf {
    let layout = e.dir.join(format!("{name}.oci"));
    Cmd::host(["skopeo", "--insecure-policy", "copy", "--quiet"])
        .arg(format!("{transport}:{}", archive.display()))
        .arg(format!("oci:{}:x", layout.display()))
        .limit(120)
        .ok();
    let bundle = e.dir.join(name);
    Cmd::host(["umoci", "unpack", "--image"])
        .arg(format!("{}:x", layout.display()))
        .arg(&bundle)
        .limit(120)
        .ok();
    bundle.join("rootfs")
}

fn peers(e: &Env) -> Done {
    e.need(Feature::Root)?;
    e.need(Feature::Overlay)?;
    e.need(Feature::Program("skopeo"))?;
    e.need(Feature::Program("umoci"))
}

fn owners_are_those_that_real_root_sees(e: &Env) -> Done {
    peers(e)?;
    e.need(Feature::Program("setfattr"))?;
    let own = e.with_own_store();
    let archive = with_owners(&own, true);
    for transport in ["oci-archive", "docker-archive"] {
        let rootfs = unpacked(&own, &archive, transport, transport);
        same(
            transport,
            &OWNERS.map(String::from),
            &listing(&rootfs.join("o")),
        );
    }
    // The same out of an export, by tar.
    let tar = own.dir.join("export.tar");
    own.cmd(["export", "-o"]).arg(&tar).arg("c").ok();
    let dir = own.dir.join("exported");
    std::fs::create_dir(&dir).unwrap();
    Cmd::host([
        "tar",
        "--xattrs",
        "--xattrs-include=*",
        "--numeric-owner",
        "-xpf",
    ])
    .arg(&tar)
    .arg("-C")
    .arg(&dir)
    .ok();
    same(
        "export",
        &OWNERS.map(String::from),
        &listing(&dir.join("o")),
    );
    Ok(())
}

fn podman_sees_the_same_owners(e: &Env) -> Done {
    peers(e)?;
    e.need(Feature::Program("podman"))?;
    let own = e.with_own_store();
    let archive = with_owners(&own, false);
    // It takes no path of more than 50 characters.
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let podman = |args: &[&str]| {
        let part = |name: &str| dir.path().join(name).into_os_string();
        let mut words = vec!["podman".into(), "--root".into(), part("root")];
        words.extend([
            "--runroot".into(),
            part("run"),
            "--tmpdir".into(),
            part("tmp"),
        ]);
        Cmd::host(words)
            .args([
                "--storage-driver=vfs",
                "--cgroup-manager=cgroupfs",
                "--events-backend=none",
            ])
            .args(args)
            .limit(120)
            .ok()
            .out()
    };
    let loaded = podman(&["load", "-q", "-i", archive.to_str().unwrap()]);
    assert!(loaded.contains("localhost/owners:1"), "{loaded}");
    let at = podman(&["image", "mount", "localhost/owners:1"]);
    let seen = listing(&Path::new(at.trim()).join("o"));
    podman(&["image", "unmount", "-a", "-f"]);
    same("podman", &OWNERS.map(String::from), &seen);
    Ok(())
}

/// Lines of [`tree`] with mtimes in whole seconds, and the owner and capability of each file.
fn whole_tree(root: &Path) -> Vec<String> {
    let mut lines: Vec<String> = tree(root.to_owned())
        .into_iter()
        .map(|line| {
            let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let seconds = words[5].split('.').next().unwrap().to_owned();
            words[5] = seconds;
            words.join(" ")
        })
        .collect();
    let mut owners = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(dir) = todo.pop() {
        for f in std::fs::read_dir(&dir).unwrap().flatten() {
            let (path, m) = (f.path(), f.metadata().unwrap());
            let capability = match m.is_file() {
                true => xattr::get(&path, "security.capability").unwrap(),
                false => None,
            };
            let name = path
                .strip_prefix(root)
                .unwrap()
                .as_os_str()
                .as_bytes()
                .to_vec();
            owners.insert(name, (m.uid(), m.gid(), capability));
            if m.is_dir() {
                todo.push(path);
            }
        }
    }
    for (name, owner) in owners {
        lines.push(format!("{} is of {owner:?}", name.escape_ascii()));
    }
    lines
}

/// Fourteen layers of all that is nasty, none of whose blobs was kept: all are packed anew.
fn a_saved_image_is_the_one_that_was_pulled(e: &Env) -> Done {
    peers(e)?;
    let own = e.with_own_store();
    let image = own.image("nasty14-gzip");
    let archive = own.dir.join("saved.tar");
    let saved = own.cmd(["save", "-o"]).arg(&archive).arg(&image).ok();
    saved.err_has("were packed anew");
    let original = own.dir.join("original");
    Cmd::host(["umoci", "unpack", "--image"])
        .arg(format!("{}:latest", e.layout("nasty14-gzip").display()))
        .arg(&original)
        .limit(120)
        .ok();
    let saved = unpacked(&own, &archive, "saved", "oci-archive");
    let (want, got) = (whole_tree(&original.join("rootfs")), whole_tree(&saved));
    assert!(want.len() > 200, "{}", want.len());
    same("the image and what was saved of it", &want, &got);
    Ok(())
}

fn an_exported_container_is_its_image(e: &Env) -> Done {
    peers(e)?;
    let original = e.dir.join("original");
    Cmd::host(["umoci", "unpack", "--image"])
        .arg(format!("{}:latest", e.layout("nasty14-gzip").display()))
        .arg(&original)
        .limit(120)
        .ok();
    let want = whole_tree(&original.join("rootfs"));
    let own = e.with_own_store();
    let image = own.image("nasty14-gzip");
    for driver in ["overlay", "copy"] {
        let walker = format!("{}:/.walk:ro", e.machine.dir.join("walk").display());
        own.cmd([
            "run",
            "--network=none",
            "--name",
            driver,
            "--storage-driver",
            driver,
        ])
        .args([
            "-v",
            &walker,
            "--entrypoint",
            "/.walk",
            &image,
            "--walk",
            "/.walk",
        ])
        .run();
        let tar = own.dir.join(format!("{driver}.tar"));
        own.cmd(["export", "-o"]).arg(&tar).arg(driver).ok();
        let dir = own.dir.join(driver);
        std::fs::create_dir(&dir).unwrap();
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
        Cmd::host([
            "tar",
            "--xattrs",
            "--xattrs-include=*",
            "--numeric-owner",
            "-xpf",
        ])
        .arg(&tar)
        .arg("-C")
        .arg(&dir)
        .ok();
        let mine = |line: &String| {
            // What every container gets: mount points.
            [
                ".walk ",
                "dev ",
                "proc ",
                "sys ",
                "etc ",
                "etc/hosts ",
                "etc/hostname ",
                "etc/resolv.conf ",
            ]
            .iter()
            .any(|n| line.starts_with(n))
        };
        let without = |lines: Vec<String>| -> Vec<String> {
            lines.into_iter().filter(|l| !mine(l)).collect()
        };
        same(driver, &without(want.clone()), &without(whole_tree(&dir)));
    }
    Ok(())
}

fn kept_blobs_are_saved_as_they_are(e: &Env) -> Done {
    let own = e.with_own_store();
    let name = e.machine.pushed("layers14");
    own.cmd(["pull", "-q", "--keep-blobs", &name]).ok();
    let archive = own.dir.join("a.tar");
    let saved = own.cmd(["save", "-o"]).arg(&archive).arg(&name).ok();
    assert_eq!(saved.err(), "");
    let other = own.with_root(own.dir.join("other"));
    other.cmd(["load", "-i"]).arg(&archive).ok().out_has(&name);
    let id = |e: &Env| e.cmd(["images", "-q", "--no-trunc"]).ok().out();
    assert_eq!(id(&own), id(&other));
    // Into a directory as well, which must be empty.
    let dir = own.subdir("layout");
    let save = own
        .cmd(["save", "--format", "oci-dir", "-o"])
        .arg(&dir)
        .arg(&name);
    save.ok();
    save.run().fails_with(125, "layout");
    let third = own.with_root(own.dir.join("third"));
    third.cmd(["load"]).arg(&dir).ok().out_has(&name);
    assert_eq!(id(&own), id(&third));
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
