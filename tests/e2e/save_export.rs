//! `save` and `export`, and what other tools make of them as real root.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use coracle::owners::{FileType, Journal, Node, Owner, Record};
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::commit::{kept, same};
use crate::harness::{Cmd, Done, Env, Feature};
use crate::storage_drivers::tree;

suite!(
    what_emulation_recorded_is_what_real_root_sees,
    owners_are_those_that_real_root_sees,
    podman_sees_the_same_owners,
    a_saved_image_is_the_one_that_was_pulled,
    an_exported_container_is_its_image,
    kept_blobs_are_saved_as_they_are,
    several_images_in_one_archive,
    podman_takes_and_gives_several_images,
    a_docker_directory,
    layers_without_a_recipe_are_packed_anew,
    a_changed_layer_is_not_saved,
    what_coracle_compressed_is_saved_with_its_digests,
);

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

pub fn peers(e: &Env) -> Done {
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

/// The same by the programs of an image, whose ids are emulated; renamed as package managers do.
const GIVE: &str = "import os\n\
    os.makedirs('/o/dir'); os.chdir('/o'); os.umask(0o022)\n\
    for n in ['plain', 'owned.new', 'ping']: open(n, 'w').close()\n\
    os.symlink('x', 'link.new'); os.mkfifo('fifo.new'); os.mknod('null', 0o20666, os.makedev(1, 3))\n\
    os.chown('owned.new', 33, 34); os.chown('dir', 1000, 5000000); os.chown('null', 0, 6)\n\
    os.lchown('link.new', 7, 8); os.chown('fifo.new', 9, 10)\n\
    for n in ['owned', 'link', 'fifo']: os.rename(n + '.new', n)\n\
    os.chmod('owned', 0o6750); os.chmod('dir', 0o2770); os.chmod('null', 0o666); os.chmod('ping', 0o755)\n\
    os.setxattr('ping', 'security.capability', bytes.fromhex('0100000200200000000000000000000000000000'))";

fn what_emulation_recorded_is_what_real_root_sees(e: &Env) -> Done {
    peers(e)?;
    let own = e.with_own_store();
    let image = own.image("python");
    for driver in ["overlay", "copy"] {
        own.cmd(["run", "--network=none", "--name", driver, "--identity=full"])
            .args(["--storage-driver", driver, &image, "python3", "-c", GIVE])
            .ok();
        let name = format!("localhost/{driver}:1");
        own.cmd(["commit", driver, &name]).ok();
        let archive = own.dir.join(format!("{driver}.tar"));
        own.cmd(["save", "-q", "-o"]).arg(&archive).arg(&name).ok();
        let rootfs = unpacked(&own, &archive, driver, "oci-archive");
        same(
            driver,
            &OWNERS.map(String::from),
            &listing(&rootfs.join("o")),
        );
        // And in a container of the new image.
        let look = "import os; print(*[(n, os.lstat('/o/' + n).st_uid, os.lstat('/o/' + n).st_gid) for n in sorted(os.listdir('/o'))])";
        let seen = own.cmd(["run", "--rm", "--network=none", "--identity=full", &name]);
        let seen = seen.args(["python3", "-c", look]).ok().out();
        assert_eq!(
            seen,
            "('dir', 1000, 5000000) ('fifo', 9, 10) ('link', 7, 8) ('null', 0, 6) ('owned', 33, 34) \
             ('ping', 0, 0) ('plain', 0, 0)\n"
        );
    }
    Ok(())
}

/// podman with a store of its own in a directory whose path is short: it takes none of more than 50 characters.
pub fn podman(dir: &Path, args: &[&str]) -> String {
    let part = |name: &str| dir.join(name).into_os_string();
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
        .limit(200)
        .ok()
        .out()
}

fn podman_sees_the_same_owners(e: &Env) -> Done {
    peers(e)?;
    e.need(Feature::Program("podman"))?;
    let own = e.with_own_store();
    let archive = with_owners(&own, false);
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let podman = |args: &[&str]| podman(dir.path(), args);
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

/// Fourteen layers of all that is nasty, none of whose blobs was kept: each tar is what it was, and so is the id.
fn a_saved_image_is_the_one_that_was_pulled(e: &Env) -> Done {
    peers(e)?;
    let own = e.with_own_store();
    let image = own.image("nasty14-gzip");
    let archive = own.dir.join("saved.tar");
    let saved = own.cmd(["save", "-o"]).arg(&archive).arg(&image).ok();
    assert_eq!(saved.err(), "");
    let id = own.cmd(["images", "-q", "--no-trunc", &image]).ok().out();
    let other = own.with_root(own.dir.join("other"));
    other.cmd(["load", "-q", "-i"]).arg(&archive).ok();
    assert_eq!(other.cmd(["images", "-q", "--no-trunc"]).ok().out(), id);
    // The archive is the same each time.
    let again = own.dir.join("again.tar");
    own.cmd(["save", "-o"]).arg(&again).arg(&image).ok();
    assert!(std::fs::read(&archive).unwrap() == std::fs::read(&again).unwrap());
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
    let name = e.machine.pushed("nasty14-gzip");
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

fn digests(own: &Env) -> String {
    let format = "{{.Repository}}:{{.Tag}} {{.ID}}";
    let mut lines: Vec<String> = own
        .cmd(["images", "--no-trunc", "--format", format])
        .ok()
        .out()
        .lines()
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines.join("\n")
}

fn several_images_in_one_archive(e: &Env) -> Done {
    e.need(Feature::Program("skopeo"))?;
    let own = e.with_own_store();
    let (a, b) = (own.image("nasty14-gzip"), own.image("busybox"));
    own.cmd(["tag", &b, "example.com/second:name"]).ok();
    let archive = own.dir.join("all.tar");
    own.cmd(["save", "-m", "-o"])
        .arg(&archive)
        .args([&a, &b, "example.com/second:name"])
        .ok();
    // As an OCI archive, and by docker's manifest alone: all names, and the same ids.
    let other = own.with_root(own.dir.join("other"));
    other.cmd(["load", "-i"]).arg(&archive).ok();
    assert_eq!(digests(&own), digests(&other));
    let docker = own.dir.join("docker");
    std::fs::create_dir(&docker).unwrap();
    Cmd::host(["tar", "-C"])
        .arg(&docker)
        .arg("-xf")
        .arg(&archive)
        .ok();
    std::fs::remove_file(docker.join("index.json")).unwrap();
    let repacked = own.dir.join("docker.tar");
    Cmd::host(["tar", "-C"])
        .arg(&docker)
        .arg("-cf")
        .arg(&repacked)
        .arg(".")
        .ok();
    let third = own.with_root(own.dir.join("third"));
    third.cmd(["load", "-i"]).arg(&repacked).ok();
    assert_eq!(digests(&own), digests(&third));
    third
        .run_name(&["--pull=never"], "example.com/second:name", &["echo", "x"])
        .ok()
        .out_is("x\n");
    // One layer more than once in the archive would be a waste, a blob too few an error.
    let names = Cmd::host(["tar", "-tf"]).arg(&archive).ok().out();
    let mut blobs: Vec<&str> = names
        .lines()
        .filter(|l| l.starts_with("blobs/sha256/"))
        .collect();
    let all = blobs.len();
    blobs.sort_unstable();
    blobs.dedup();
    assert_eq!(all, blobs.len(), "{names}");
    for name in [&a, "example.com/second:name"] {
        Cmd::host(["skopeo", "--insecure-policy", "copy", "--quiet"])
            .arg(format!("docker-archive:{}:{name}", archive.display()))
            .arg(format!("dir:{}", own.subdir("skopeo").display()))
            .limit(120)
            .ok();
    }
    // Formats of one image say so.
    own.cmd(["save", "--format", "docker-dir", "-o"])
        .arg(own.dir.join("one"))
        .args([&a, &b])
        .run()
        .fails_with(125, "one image");
    own.cmd(["save", "-o"])
        .arg(own.dir.join("x.tar"))
        .args([&a, "no-such-image"])
        .run()
        .fails_with(125, "no-such-image");
    assert!(!own.dir.join("x.tar").exists());
    Ok(())
}

fn podman_takes_and_gives_several_images(e: &Env) -> Done {
    peers(e)?;
    e.need(Feature::Program("podman"))?;
    let own = e.with_own_store();
    let (a, b) = (own.image("busybox"), own.image("busybox-config"));
    own.cmd(["tag", &a, "example.com/second:name"]).ok();
    let (ours, theirs) = (own.dir.join("ours.tar"), own.dir.join("theirs.tar"));
    let names = [a.as_str(), &b, "example.com/second:name"];
    own.cmd(["save", "-o"]).arg(&ours).args(names).ok();
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    podman(dir.path(), &["load", "-q", "-i", ours.to_str().unwrap()]);
    let mut save = vec!["save", "-q", "-m", "-o", theirs.to_str().unwrap()];
    save.extend(names);
    podman(dir.path(), &save);
    Cmd::host(["chmod", "644"]).arg(&theirs).ok();
    let other = own.with_root(own.dir.join("other"));
    other.cmd(["load", "-q", "-i"]).arg(&theirs).ok();
    assert_eq!(digests(&own), digests(&other));
    Ok(())
}

fn a_docker_directory(e: &Env) -> Done {
    e.need(Feature::Program("skopeo"))?;
    let own = e.with_own_store();
    let image = own.image("nasty14-gzip");
    let dir = own.dir.join("dir");
    own.cmd(["save", "--format", "docker-dir", "-o"])
        .arg(&dir)
        .arg(&image)
        .ok();
    // The referee checks each digest.
    let copy = own.subdir("copy");
    Cmd::host([
        "skopeo",
        "--insecure-policy",
        "copy",
        "--quiet",
        "--preserve-digests",
    ])
    .arg(format!("dir:{}", dir.display()))
    .arg(format!("dir:{}", copy.display()))
    .limit(120)
    .ok();
    let manifest = std::fs::read_to_string(copy.join("manifest.json")).unwrap();
    assert!(manifest.contains("vnd.docker.distribution.manifest.v2+json"));
    let id = own.cmd(["images", "-q", "--no-trunc"]).ok().out();
    assert!(manifest.contains(id.trim()), "{manifest}");
    Ok(())
}

/// Directories of the layers of a store.
fn layer_dirs(own: &Env) -> Vec<PathBuf> {
    let dirs = std::fs::read_dir(own.root().join("layers")).unwrap();
    dirs.flatten().map(|d| d.path()).collect()
}

fn layers_without_a_recipe_are_packed_anew(e: &Env) -> Done {
    peers(e)?;
    let own = e.with_own_store();
    let image = own.image("nasty14-gzip");
    // A store as it was before there were recipes.
    for layer in layer_dirs(&own) {
        let _ = std::fs::remove_file(layer.join("tar"));
    }
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

fn a_changed_layer_is_not_saved(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = own.image("busybox");
    let busybox = layer_dirs(&own)
        .into_iter()
        .map(|l| l.join("diff/bin/busybox"))
        .find(|p| p.is_file())
        .unwrap();
    let mut content = std::fs::read(&busybox).unwrap();
    content[1000] ^= 1;
    std::fs::set_permissions(&busybox, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(&busybox, content).unwrap();
    let archive = own.dir.join("saved.tar");
    own.cmd(["save", "-o"])
        .arg(&archive)
        .arg(&image)
        .run()
        .fails_with(125, "was changed");
    assert!(!archive.exists());
    Ok(())
}

fn what_coracle_compressed_is_saved_with_its_digests(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = own.image("busybox");
    kept(&own, "c", &[], &image, "echo new >/file; mkdir /d");
    own.cmd(["commit", "c", "localhost/new:1"]).ok();
    let first = own.dir.join("first.tar");
    own.cmd(["save", "-q", "-o"])
        .arg(&first)
        .arg("localhost/new:1")
        .ok();
    // In a store that keeps no blobs, none of them is there any more.
    let other = own.with_root(own.dir.join("other"));
    other.cmd(["load", "-q", "-i"]).arg(&first).ok();
    let second = own.dir.join("second.tar");
    other
        .cmd(["save", "-o"])
        .arg(&second)
        .arg("localhost/new:1")
        .ok()
        .err_is("");
    assert!(std::fs::read(&first).unwrap() == std::fs::read(&second).unwrap());
    Ok(())
}
