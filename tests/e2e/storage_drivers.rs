//! Each way to make a root file system, forced, and the choice between them.

use std::path::PathBuf;

use crate::harness::{Cmd, Done, Env, Feature, walk};

suite!(
    overlay,
    fuse_overlayfs,
    copy,
    overlay_is_the_default,
    unknown_driver_is_an_error,
    fuse_overlayfs_ends_with_its_container,
    forced_fuse_without_fuse_is_an_error,
    store_on_an_overlay_falls_back,
    store_on_an_overlay_without_fuse_falls_back_to_copy,
    store_on_a_tmpfs,
    copy_shows_what_overlay_shows,
    fuse_overlayfs_shows_what_overlay_shows,
);

/// What must hold on every driver.
fn conforms(e: &Env, driver: &str) {
    let d = ["--storage-driver", driver];
    assert_eq!(
        e.sh(
            &d,
            "id -u; echo hi >/etc/new; cat /etc/new; stat -c %u:%g /bin/busybox"
        ),
        "0\nhi\n0:0\n"
    );
    // Deleting and replacing what the image has, directories too.
    let script = "rm /bin/vi && ! ls /bin/vi 2>/dev/null; rm -r /usr && mkdir /usr && echo x >/usr/only && ls /usr; \
                  mv /home /home2 && ls -d /home2; echo more >>/bin/busybox; chmod 4755 /tmp; stat -c %a /tmp; \
                  ln /bin/busybox /bin/second; stat -c %h /bin/second; ln -s a /l && readlink /l; mkfifo /f && stat -c %F /f";
    assert_eq!(e.sh(&d, script), "only\n/home2\n4755\n2\na\nfifo\n");
    // None of it reached the image.
    assert_eq!(
        e.sh(&d, "ls -d /bin/vi /home /usr/bin; stat -c %a /tmp"),
        "/bin/vi\n/home\n/usr/bin\n1777\n"
    );
    // Writing through mmap and rename, as package managers and databases do.
    let script = "import mmap, os\nf = open('/m', 'w+b'); f.truncate(8192); m = mmap.mmap(f.fileno(), 8192); m[0:4] = b'abcd'; m.flush()\n\
                  os.rename('/m', '/n'); print(open('/n', 'rb').read(4)); os.rename('/usr/lib/os-release', '/usr/lib/os-release.old')\n\
                  open('/usr/bin/perl', 'ab').close(); print(os.stat('/usr/bin/perl').st_size > 1000, sorted(os.listdir('/'))[0])";
    let out = e
        .run(&d, "python", &["python3", "-c", script])
        .code_is(0)
        .out();
    assert_eq!(out, "b'abcd'\nTrue bin\n");
    // Read-only.
    let mut flags = d.to_vec();
    flags.push("--read-only");
    assert_eq!(
        e.sh(&flags, "touch /x 2>&1; true"),
        "touch: /x: Read-only file system\n"
    );
}

fn overlay(e: &Env) -> Done {
    e.need(Feature::Overlay)?;
    conforms(e, "overlay");
    assert_eq!(root_type(e, &["--storage-driver=overlay"]), "overlay");
    Ok(())
}

fn fuse_overlayfs(e: &Env) -> Done {
    e.need(Feature::Fuse)?;
    conforms(e, "fuse-overlayfs");
    assert_eq!(
        root_type(e, &["--storage-driver=fuse-overlayfs"]),
        "fuse.fuse-overlayfs"
    );
    Ok(())
}

fn copy(e: &Env) -> Done {
    conforms(e, "copy");
    let kind = root_type(e, &["--storage-driver=copy"]);
    assert!(!kind.contains("overlay"), "{kind}");
    Ok(())
}

fn root_type(e: &Env, flags: &[&str]) -> String {
    e.sh(flags, "grep ' / ' /proc/mounts | tail -1 | cut -d' ' -f3")
        .trim()
        .to_owned()
}

fn overlay_is_the_default(e: &Env) -> Done {
    e.need(Feature::Overlay)?;
    assert_eq!(root_type(e, &[]), "overlay");
    Ok(())
}

fn unknown_driver_is_an_error(e: &Env) -> Done {
    e.run(&["--storage-driver", "floppy"], "busybox", &["true"])
        .code_is(125)
        .err_has("floppy");
    Ok(())
}

fn fuse_overlayfs_ends_with_its_container(e: &Env) -> Done {
    e.need(Feature::Fuse)?;
    let own = e.with_own_store();
    own.image("busybox");
    own.sh(&["--storage-driver=fuse-overlayfs"], "echo x >/x");
    let ours = own.root().display().to_string();
    crate::harness::wait_until("no fuse-overlayfs of this store is left", || {
        !std::fs::read_dir("/proc").unwrap().flatten().any(|p| {
            let line = std::fs::read(p.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            line.starts_with("fuse-overlayfs") && line.contains(&ours)
                || line.contains("/fuse-overlayfs\0") && line.contains(&ours)
        })
    });
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(&ours), "{mounts}");
    Ok(())
}

/// Hides /dev/fuse from a command.
const WITHOUT_FUSE: &str = "mount --bind /dev/null /dev/fuse && exec \"$@\"";

fn forced_fuse_without_fuse_is_an_error(e: &Env) -> Done {
    e.need(Feature::Root)?;
    let cmd = e.run_cmd(&["--storage-driver=fuse-overlayfs"], "busybox", &["true"]);
    cmd.prepared(WITHOUT_FUSE).run().fails_with(125, "fuse");
    Ok(())
}

/// A store on an overlay mount, as inside of a container: the kernel refuses it as an overlay's upper.
fn on_overlay(e: &Env) -> Result<Env, crate::harness::Skip> {
    e.need(Feature::Root)?;
    let at = e.subdir("merged");
    for d in ["lower", "upper", "work"] {
        e.subdir(d);
    }
    let option = format!(
        "lowerdir={0}/lower,upperdir={0}/upper,workdir={0}/work",
        e.dir.display()
    );
    Cmd::host(["mount", "-t", "overlay", "none", "-o", &option])
        .arg(&at)
        .ok();
    let own = e.with_root(at.join("store"));
    own.image("busybox");
    Ok(own)
}

fn store_on_an_overlay_falls_back(e: &Env) -> Done {
    e.need(Feature::Fuse)?;
    let own = on_overlay(e)?;
    let out = own.run(
        &[],
        "busybox",
        &["sh", "-c", "rm /bin/vi; echo y >/y; cat /y"],
    );
    Cmd::host(["umount", "-l"]).arg(e.dir.join("merged")).ok();
    out.code_is(0).out_is("y\n");
    Ok(())
}

fn store_on_an_overlay_without_fuse_falls_back_to_copy(e: &Env) -> Done {
    let own = on_overlay(e)?;
    let cmd = own.run_cmd(
        &[],
        "busybox",
        &[
            "sh",
            "-c",
            "rm /bin/vi; echo y >/y; cat /y; cut -d' ' -f3 /proc/mounts | grep -c fuse",
        ],
    );
    let out = cmd.prepared(WITHOUT_FUSE).run();
    let forced = own.run(&["--storage-driver=overlay"], "busybox", &["true"]);
    Cmd::host(["umount", "-l"]).arg(e.dir.join("merged")).ok();
    assert_eq!(out.out(), "y\n0\n", "{out:?}");
    let warnings = out.err();
    assert_eq!(warnings.matches("warning: ").count(), 1, "{warnings}");
    assert!(warnings.contains("--storage-driver copy"), "{warnings}");
    // Forced means forced.
    forced.fails_with(125, "overlay");
    Ok(())
}

fn store_on_a_tmpfs(e: &Env) -> Done {
    e.need(Feature::Root)?;
    let at = e.subdir("tmpfs");
    Cmd::host(["mount", "-t", "tmpfs", "-o", "size=64m,mode=777", "none"])
        .arg(&at)
        .ok();
    let own = e.with_root(at.join("store"));
    own.image("busybox");
    let out = own.run(
        &[],
        "busybox",
        &["sh", "-c", "rm /bin/vi; echo y >/y; cat /y"],
    );
    Cmd::host(["umount", "-l"]).arg(&at).ok();
    out.code_is(0).out_is("y\n");
    Ok(())
}

/// Also files and directories of mode 000.
fn copy_shows_what_overlay_shows(e: &Env) -> Done {
    shows_what_overlay_shows(e, "copy")
}

fn fuse_overlayfs_shows_what_overlay_shows(e: &Env) -> Done {
    e.need(Feature::Fuse)?;
    shows_what_overlay_shows(e, "fuse-overlayfs")
}

fn shows_what_overlay_shows(e: &Env, driver: &str) -> Done {
    e.need(Feature::Overlay)?;
    // fuse-overlayfs counts the links of each file as one; a directory's mtime it reads anew.
    let strip = |lines: Vec<String>| -> Vec<String> {
        let line = |l: String| {
            let mut words: Vec<&str> = l.split(' ').collect();
            if driver == "fuse-overlayfs" {
                words[3] = "*";
            }
            words.join(" ")
        };
        lines.into_iter().map(line).collect()
    };
    let overlay = strip(view(e, "overlay", "nasty14"));
    let other = strip(view(e, driver, "nasty14"));
    assert_same(&format!("overlay and {driver}"), &overlay, &other);
    Ok(())
}

/// What a container sees of an image's tree, but for what every container gets.
pub fn view(e: &Env, driver: &str, image: &str) -> Vec<String> {
    let walker = format!("{}:/.walk:ro", e.machine.dir.join("walk").display());
    let mut args: Vec<String> = vec!["--walk".into(), "/".into()];
    args.extend(SKIP.iter().map(|&s| s.to_owned()));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let flags = [
        "--storage-driver",
        driver,
        "-v",
        &walker,
        "--entrypoint",
        "/.walk",
    ];
    let out = e.run(&flags, image, &args).code_is(0).out();
    out.lines()
        .map(|l| format!("{l}\n"))
        .filter(|l| !is_etc(l))
        .collect()
}

/// What a runtime puts into every container.
pub const SKIP: &[&str] = &[
    ".walk",
    "proc",
    "sys",
    "dev",
    "etc/resolv.conf",
    "etc/hosts",
    "etc/hostname",
    "run/.containerenv",
];

/// The lines of a tree outside.
pub fn tree(root: PathBuf) -> Vec<String> {
    let skip: Vec<String> = SKIP.iter().map(|&s| s.to_owned()).collect();
    let mut lines = walk::tree(&root, &skip);
    lines.retain(|l| !is_etc(l));
    lines
}

/// The directory itself gets a new mtime when hosts, hostname and resolv.conf are put into it.
fn is_etc(line: &str) -> bool {
    line.starts_with("etc d ")
}

#[track_caller]
pub fn assert_same(what: &str, a: &[String], b: &[String]) {
    let only = |x: &[String], y: &[String]| -> String {
        x.iter()
            .filter(|l| !y.contains(l))
            .take(20)
            .cloned()
            .collect()
    };
    let (left, right) = (only(a, b), only(b, a));
    assert!(
        left.is_empty() && right.is_empty(),
        "{what} differ\n--- only left:\n{left}--- only right:\n{right}"
    );
    assert!(
        a.len() > 25,
        "{what}: a tree of {} entries is no test",
        a.len()
    );
}
