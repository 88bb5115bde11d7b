//! A store that one user shares and others read: nobody fetches twice, nothing is written there, and what its owner
//! does to it harms nobody.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::harness::{Cmd, Done, Env, Feature, Registry, walk};

suite!(
    one_pull_serves_others,
    layers_that_are_there_are_not_fetched,
    only_images_can_be_read,
    a_store_that_cannot_be_trusted_is_refused,
    what_is_broken_there_comes_from_the_registry,
);

/// coracle as the owner of the store in the test's directory: root, who is another user than the one of the tests.
fn owner(e: &Env, args: &[&str]) -> Cmd {
    Cmd::host([&e.machine.binary])
        .arg("--root")
        .arg(shared(e))
        .args(args)
        .limit(300)
}

fn shared(e: &Env) -> PathBuf {
    e.dir.join("lab")
}

/// The owner's store with this image in it; shared.
fn share(e: &Env, name: &str) -> Done {
    e.need(Feature::Root)?;
    owner(e, &["system", "share"]).ok();
    owner(e, &["pull", "-q", name]).ok();
    Ok(())
}

fn reader(own: &Env, e: &Env, args: &[&str]) -> Cmd {
    own.cmd(args).env("CORACLE_ADDITIONAL_STORES", shared(e))
}

fn one_pull_serves_others(e: &Env) -> Done {
    let registry = Registry::start(e, "", "");
    let name = registry.image(e, "nasty14");
    share(e, &name)?;
    drop(registry);
    let before = walk::tree(&shared(e), &[]);
    let own = e.with_own_store();
    let run = |args: &[&str]| reader(&own, e, args).run();

    own.cmd([
        "run",
        "--rm",
        "--network=none",
        "--pull=never",
        &name,
        "true",
    ])
    .run()
    .fails_with(125, "not known");
    let list = run(&["images"]).code_is(0).out();
    assert!(
        list.lines().next().unwrap().ends_with("R/O")
            && list.lines().nth(1).unwrap().ends_with("true"),
        "{list}"
    );
    run(&["images", "--format", "{{.Tag}} {{.ReadOnly}}"])
        .code_is(0)
        .out_is("latest true\n");
    let id = run(&["inspect", "--format", "{{.Id}}", &name])
        .code_is(0)
        .out();
    run(&["inspect", "--format", "{{.RepoTags}}", id.trim()])
        .code_is(0)
        .out_has(&name);
    run(&["history", &name]).code_is(0);
    run(&["image", "tree", &name]).code_is(0);
    run(&["save", "-q", "-o", "saved.tar", &name]).code_is(0);
    let there = format!("{}/from-lab:1", e.machine.registry);
    run(&["push", "-q", &name, &there]).code_is(0);
    run(&["rmi", &name]).fails_with(2, "only read");
    run(&["image", "prune", "-af"]).code_is(0);
    assert!(own.layers().is_empty(), "looking brings nothing in");

    // No registry is there to ask.
    let args = [
        "run",
        "--rm",
        "--network=none",
        &name,
        "cat",
        "/change/removed",
    ];
    run(&args).code_is(0).out_is("back in 14\n");
    run(&["inspect", "--format", "{{.Id}}", &name]).out_is(&id);
    run(&["images", "--format", "{{.ReadOnly}}"]).out_is("false\n");
    // It is the reader's now, whatever becomes of the other.
    own.cmd([
        "run",
        "--rm",
        "--network=none",
        "--pull=never",
        &name,
        "true",
    ])
    .ok();
    own.cmd(["rmi", &name]).ok();
    run(&[
        "run",
        "--rm",
        "--network=none",
        "--pull=never",
        id.trim(),
        "true",
    ])
    .code_is(0);

    assert_eq!(
        walk::tree(&shared(e), &[]),
        before,
        "something was written there"
    );
    Ok(())
}

/// Bytes that come from a registry by way of the port that is returned.
fn counted(registry: &str) -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let name = listener.local_addr().unwrap().to_string();
    let (to, count) = (registry.to_owned(), Arc::new(AtomicU64::new(0)));
    let total = Arc::clone(&count);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (server, count) = (TcpStream::connect(&to).unwrap(), Arc::clone(&count));
            let copy = |mut from: TcpStream, mut to: TcpStream, count: Option<Arc<AtomicU64>>| {
                std::thread::spawn(move || {
                    let mut block = [0; 1 << 16];
                    while let Ok(n @ 1..) = from.read(&mut block) {
                        if let Some(count) = &count {
                            count.fetch_add(n as u64, Ordering::Relaxed);
                        }
                        if to.write_all(&block[..n]).is_err() {
                            break;
                        }
                    }
                    let _ = to.shutdown(std::net::Shutdown::Write);
                })
            };
            copy(
                client.try_clone().unwrap(),
                server.try_clone().unwrap(),
                None,
            );
            copy(server, client, Some(count));
        }
    });
    (name, total)
}

fn layers_that_are_there_are_not_fetched(e: &Env) -> Done {
    share(e, &e.machine.pushed("busybox"))?;
    let (port, bytes) = counted(&e.machine.registry);
    let own = e.with_own_store();
    reader(&own, e, &["pull", "-q", &format!("{port}/busybox:latest")]).ok();
    assert!(
        bytes.load(Ordering::Relaxed) < 50_000,
        "{bytes:?} bytes were fetched"
    );
    let other = e.with_root(e.dir.join("other"));
    other
        .cmd(["pull", "-q", &format!("{port}/busybox:latest")])
        .ok();
    assert!(
        bytes.load(Ordering::Relaxed) > 500_000,
        "only {bytes:?} bytes"
    );
    Ok(())
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn only_images_can_be_read(e: &Env) -> Done {
    let name = e.machine.pushed("busybox");
    share(e, &name)?;
    let root = shared(e);
    let own = e.with_own_store();
    for closed in ["layers", "containers", "ephemeral", "tmp"] {
        let ls = own.user(["/bin/ls"]).arg(root.join(closed)).run();
        assert_ne!(ls.code(), 0, "{closed} is open");
    }
    let blobs = root.join("blobs/sha256");
    let any = || {
        std::fs::read_dir(&blobs)
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path()
    };
    assert_eq!(
        (mode(&root), mode(&blobs), mode(&any())),
        (0o711, 0o755, 0o644)
    );
    let modes = |args: &[&str]| {
        owner(e, args).ok();
        (mode(&root), mode(&blobs), mode(&any()))
    };
    // The group is that of the directory.
    std::os::unix::fs::chown(&root, None, Some(e.machine.gid)).unwrap();
    assert_eq!(
        modes(&["system", "share", "--group"]),
        (0o710, 0o750, 0o640)
    );
    assert_eq!(std::fs::metadata(any()).unwrap().gid(), e.machine.gid);
    owner(e, &["tag", &name, "localhost/new:1"]).ok();
    reader(&own, e, &["images", "-q", "localhost/new"])
        .ok()
        .out_has("\n");
    assert_eq!(modes(&["system", "share", "--stop"]), (0o700, 0o700, 0o600));
    let e = reader(&own, e, &["images"]).run();
    e.fails_with(125, "");
    Ok(())
}

fn a_store_that_cannot_be_trusted_is_refused(e: &Env) -> Done {
    let name = e.machine.pushed("busybox");
    share(e, &name)?;
    let own = e.with_own_store();
    let images = || reader(&own, e, &["images"]).run();
    images().code_is(0).out_has("busybox");
    for dir in ["", "images", "blobs/sha256"] {
        let path = shared(e).join(dir);
        let before = mode(&path);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
        images().fails_with(125, "written by everybody");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(before)).unwrap();
    }
    own.cmd(["images", "--additional-store", "/nonexistent"])
        .run()
        .fails_with(125, "/nonexistent");
    own.cmd(["images", "--additional-store", "/etc"])
        .run()
        .fails_with(125, "not a store that is shared");
    // What would hold a reader up, lead him away or fill his memory.
    let images_dir = shared(e).join("images");
    let record = std::fs::read_dir(&images_dir)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let secret = e.file("secret", std::fs::read(&record).unwrap());
    for n in 0..3 {
        std::fs::remove_file(&record).unwrap();
        match n {
            0 => symlink(&secret, &record).unwrap(),
            1 => drop(Cmd::host(["mkfifo", "-m", "666"]).arg(&record).ok()),
            _ => {
                let file = std::fs::File::create(&record).unwrap();
                file.set_len(1 << 40).unwrap();
                std::fs::set_permissions(&record, std::fs::Permissions::from_mode(0o644)).unwrap();
            }
        }
        images().code_is(0).out_lacks("busybox");
    }
    Ok(())
}

fn what_is_broken_there_comes_from_the_registry(e: &Env) -> Done {
    let name = e.machine.pushed("busybox");
    share(e, &name)?;
    let blobs = shared(e).join("blobs/sha256");
    let size = |path: &Path| std::fs::metadata(path).unwrap().len();
    let all: Vec<PathBuf> = std::fs::read_dir(&blobs)
        .unwrap()
        .map(|f| f.unwrap().path())
        .collect();
    let layer = all.iter().max_by_key(|p| size(p)).unwrap();
    let mut bytes = std::fs::read(layer).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(layer, &bytes).unwrap();
    let own = e.with_own_store();
    let run = ["run", "--rm", "--network=none"];
    let never = reader(
        &own,
        e,
        &[&run[..], &["--pull=never", &name, "true"]].concat(),
    )
    .run();
    never.fails_with(125, "not in the store");
    let out = reader(&own, e, &[&run[..], &[&name, "echo", "fine"]].concat()).ok();
    out.out_is("fine\n").err_has("cannot be had from");
    own.nothing_unfinished();
    Ok(())
}
