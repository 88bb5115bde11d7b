//! Images on their way through other tools and back, digest for digest; and layouts as somebody reads them who knows
//! the specification and nothing else.

use std::path::Path;

use serde_json::Value;

use crate::commit::kept;
use crate::harness::{Cmd, Done, Env, Feature, Output, digest};
use crate::save_export::podman;

suite!(
    layouts_are_what_the_specification_says,
    a_damaged_layout_is_not_what_it_says,
    buildah_there_and_back,
    podman_loads_a_docker_archive,
);

fn read(layout: &Path) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/check_layout.py");
    Cmd::host(["python3"])
        .arg(script)
        .arg(layout)
        .limit(300)
        .run()
}

fn unpacked(archive: &Path, to: &Path) {
    Cmd::host(["tar", "-C"])
        .arg(to)
        .arg("-xf")
        .arg(archive)
        .ok();
}

fn id(own: &Env, name: &str) -> String {
    let shown = own.cmd(["inspect", name]).ok().out();
    let shown: Value = serde_json::from_str(&shown).unwrap();
    shown[0]["Id"].as_str().unwrap().to_owned()
}

fn layouts_are_what_the_specification_says(e: &Env) -> Done {
    e.need(Feature::Program("zstd"))?;
    let own = e.with_own_store();
    let multi = own.machine.pushed("multi");
    for image in ["busybox-config", "nasty14", "nasty14-gzip"] {
        let name = own.image(image);
        let (dir, archive) = (own.dir.join(image), own.dir.join(format!("{image}.tar")));
        own.cmd(["save", "--format", "oci-dir", "-o"])
            .arg(&dir)
            .arg(&name)
            .ok();
        own.cmd(["save", "-o"]).arg(&archive).arg(&name).ok();
        let out = own.subdir(&format!("{image}-unpacked"));
        unpacked(&archive, &out);
        let copied = own.dir.join(format!("{image}-copied"));
        let place = format!("oci:{}:tag", copied.display());
        own.cmd(["copy", "-q", &format!("docker://{name}"), &place])
            .ok();
        let want = format!(" {}\n", id(&own, &name));
        for layout in [&dir, &out, &copied] {
            let said = read(layout).code_is(0).out();
            assert!(said.ends_with(&want), "{}: {said}", layout.display());
        }
        // What is copied has the registry's digest as well.
        let shown = own.cmd(["inspect", "--raw", &name]).ok().out();
        assert_eq!(
            read(&copied).out(),
            format!("{}{want}", digest(shown.as_bytes()))
        );
    }
    let all = own.dir.join("all");
    let place = format!("oci:{}:x", all.display());
    own.cmd(["copy", "-q", "--all", &format!("docker://{multi}"), &place])
        .ok();
    assert_eq!(read(&all).code_is(0).out().lines().count(), 3);
    Ok(())
}

/// The referee sees what is wrong.
fn a_damaged_layout_is_not_what_it_says(e: &Env) -> Done {
    let layout = e.layout("busybox");
    read(&layout).code_is(0);
    std::fs::write(layout.join("blobs/sha256/stray"), "x").unwrap();
    assert_eq!(read(&layout).code(), 1);
    std::fs::remove_file(layout.join("blobs/sha256/stray")).unwrap();
    let largest = std::fs::read_dir(layout.join("blobs/sha256"))
        .unwrap()
        .flatten()
        .max_by_key(|f| f.metadata().unwrap().len())
        .unwrap();
    let mut bytes = std::fs::read(largest.path()).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(largest.path(), bytes).unwrap();
    assert_eq!(read(&layout).code(), 1);
    Ok(())
}

/// buildah with a store of its own.
fn buildah(dir: &Path, args: &[&str]) -> String {
    let part = |name: &str| dir.join(name).into_os_string();
    Cmd::host(["buildah", "--root"])
        .arg(part("root"))
        .arg("--runroot")
        .arg(part("run"))
        .arg("--storage-driver=vfs")
        .args(args)
        .limit(200)
        .ok()
        .out()
}

fn raw(name: &str) -> String {
    Cmd::host(["skopeo", "inspect", "--raw", "--tls-verify=false"])
        .arg(format!("docker://{name}"))
        .ok()
        .out()
}

fn buildah_there_and_back(e: &Env) -> Done {
    e.need(Feature::Root)?;
    e.need(Feature::Program("buildah"))?;
    e.need(Feature::Program("skopeo"))?;
    let own = e.with_own_store();
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let buildah = |args: &[&str]| buildah(dir.path(), args);
    let at = |tag: &str| format!("{}/trip/buildah:{tag}", e.machine.registry);
    // Ours, to buildah.
    let image = own.image("busybox");
    let ours = at("ours");
    own.cmd(["push", "-q", &image, &ours]).limit(300).ok();
    let theirs = buildah(&["pull", "-q", "--tls-verify=false", &ours]);
    assert_eq!(format!("sha256:{}", theirs.trim()), id(&own, &image));
    let said = buildah(&[
        "inspect",
        "--type=image",
        "--format={{.FromImageDigest}}",
        &ours,
    ]);
    assert_eq!(said.trim(), digest(raw(&ours).as_bytes()));
    // buildah's, on top of it: to us, to another repository, and as an archive.
    let container = buildah(&["from", "--pull=never", &ours]);
    let file = e.file("added", "by buildah\n");
    buildah(&[
        "copy",
        "-q",
        container.trim(),
        file.to_str().unwrap(),
        "/added",
    ]);
    for format in ["oci", "docker"] {
        let made = at(format);
        buildah(&["commit", "-q", "--format", format, container.trim(), &made]);
        buildah(&["push", "-q", "--tls-verify=false", &made]);
        own.cmd(["pull", "-q", &made]).limit(300).ok();
        own.run_name(&["--pull=never"], &made, &["cat", "/added"])
            .ok()
            .out_is("by buildah\n");
        let again = format!("{}/trip/again:{format}", e.machine.registry);
        own.cmd(["push", "-q", &made, &again]).limit(300).ok();
        assert_eq!(raw(&again), raw(&made), "{format}");
        let archive = own.dir.join(format!("{format}.tar"));
        own.cmd(["save", "-o"]).arg(&archive).arg(&made).ok();
        let place = format!("oci-archive:{}", archive.display());
        let pulled = buildah(&["pull", "-q", &place]);
        assert_eq!(
            format!("sha256:{}", pulled.trim()),
            id(&own, &made),
            "{format}"
        );
    }
    Ok(())
}

fn podman_loads_a_docker_archive(e: &Env) -> Done {
    e.need(Feature::Root)?;
    e.need(Feature::Program("podman"))?;
    let own = e.with_own_store();
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let podman = |args: &[&str]| podman(dir.path(), args);
    // podman does not unpack the nasty ones, and writes no docker archive of one with zstd.
    let plain = own.image("busybox");
    kept(
        &own,
        "c",
        &[],
        &plain,
        "mkdir /d; ln -s x /d/l; echo new >/d/f",
    );
    own.cmd(["commit", "c", "localhost/made:1"]).ok();
    for (i, name) in [plain, "localhost/made:1".to_owned()].iter().enumerate() {
        let archive = own.dir.join(format!("{i}.tar"));
        own.cmd(["save", "-o"]).arg(&archive).arg(name).ok();
        // By both of its descriptions.
        for transport in ["docker-archive", "oci-archive"] {
            let place = format!("{transport}:{}", archive.display());
            let pulled = podman(&["pull", "-q", &place]);
            assert_eq!(
                format!("sha256:{}", pulled.trim()),
                id(&own, name),
                "{place}"
            );
            podman(&["rmi", "-f", pulled.trim()]);
        }
        let loaded = podman(&["load", "-q", "-i", archive.to_str().unwrap()]);
        assert!(loaded.contains(name.as_str()), "{loaded}");
        // And podman's archive, back.
        let theirs = own.dir.join(format!("theirs-{i}.tar"));
        podman(&["save", "-q", "-o", theirs.to_str().unwrap(), name]);
        Cmd::host(["chmod", "644"]).arg(&theirs).ok();
        let back = own.with_root(own.dir.join(format!("back-{i}")));
        back.cmd(["load", "-q", "-i"]).arg(&theirs).limit(300).ok();
        assert_eq!(id(&back, name), id(&own, name), "{name}");
    }
    Ok(())
}
