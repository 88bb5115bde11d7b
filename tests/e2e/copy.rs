//! `copy` between registries, layouts and archives, with skopeo as referee.

use std::path::Path;

use serde_json::Value;

use crate::harness::{Cmd, Done, Env, Feature, digest};

suite!(
    digests_stay_from_place_to_place,
    an_index_is_copied_whole,
    one_image_of_an_index,
    the_store_is_a_place,
    docker_archives_of_several_images,
    a_layout_takes_several_images,
    what_is_damaged_is_not_copied,
    what_is_there_is_left_alone,
);

fn skopeo(e: &Env) -> Done {
    e.need(Feature::Program("skopeo"))
}

/// The manifest at a place, as skopeo sees it.
fn raw(place: &str) -> String {
    let tls = place
        .starts_with("docker://")
        .then_some("--tls-verify=false");
    Cmd::host(["skopeo", "inspect", "--raw"])
        .args(tls)
        .arg(place)
        .limit(120)
        .ok()
        .out()
}

/// Copied elsewhere with every digest checked.
fn is_complete(e: &Env, place: &str) {
    let name = place.replace(['/', ':', '.'], "-");
    let dir = e.subdir(&format!("check{}", &name[name.len().saturating_sub(80)..]));
    Cmd::host([
        "skopeo",
        "--insecure-policy",
        "copy",
        "--quiet",
        "--all",
        "--preserve-digests",
    ])
    .args(["--src-tls-verify=false", place])
    .arg(format!("dir:{}", dir.display()))
    .limit(300)
    .ok();
}

/// Copy, and see that what is there is what was printed.
fn copied(own: &Env, flags: &[&str], from: &str, to: &str) -> String {
    let out = own
        .cmd(["copy"])
        .args(flags)
        .args([from, to])
        .limit(300)
        .ok()
        .out();
    let there = raw(to);
    assert_eq!(out.trim(), digest(there.as_bytes()), "{to}: {there}");
    is_complete(own, to);
    there
}

fn digests_stay_from_place_to_place(e: &Env) -> Done {
    skopeo(e)?;
    let own = e.with_own_store();
    for image in ["nasty14", "nasty14-gzip-docker"] {
        let first = format!("docker://{}", own.machine.pushed(image));
        let want = raw(&first);
        let at = |name: &str| format!("{}/{image}-{name}", own.dir.display());
        let mut places = vec![
            first.clone(),
            format!("oci:{}:tag", at("layout")),
            format!("oci-archive:{}:1.0", at("archive.tar")),
            format!("dir:{}", at("dir")),
            format!("docker://{}/copy/{image}:1", e.machine.registry),
            format!("docker://{}/copy/{image}:2", e.machine.registry),
        ];
        if image.ends_with("docker") {
            // Not every tool reads docker's manifest in a layout (skopeo does not): that is told.
            for layout in places.drain(1..3) {
                own.cmd(["copy", "-q", &first, &layout])
                    .ok()
                    .err_has("docker's manifest");
            }
        }
        for pair in places.windows(2) {
            assert_eq!(copied(&own, &["-q"], &pair[0], &pair[1]), want, "{pair:?}");
        }
    }
    // Nothing of all that came into the store.
    assert_eq!(own.cmd(["images", "-q"]).ok().out(), "");
    own.nothing_unfinished();
    Ok(())
}

fn an_index_is_copied_whole(e: &Env) -> Done {
    skopeo(e)?;
    let own = e.with_own_store();
    let first = format!("docker://{}", own.machine.pushed("multi"));
    let want = raw(&first);
    assert!(want.contains("manifests"), "{want}");
    let places = [
        first,
        format!("oci:{}/layout:x", own.dir.display()),
        format!("oci-archive:{}/a.tar", own.dir.display()),
        format!("docker://{}/copy/multi:all", e.machine.registry),
        format!("dir:{}/dir", own.dir.display()),
        format!("docker://{}/copy/multi-2:all", e.machine.registry),
    ];
    for pair in places.windows(2) {
        assert_eq!(
            copied(&own, &["--all"], &pair[0], &pair[1]),
            want,
            "{pair:?}"
        );
    }
    own.cmd(["copy", "--all", &places[0], "localhost/x"])
        .run()
        .fails_with(125, "whole index");
    Ok(())
}

fn one_image_of_an_index(e: &Env) -> Done {
    skopeo(e)?;
    let own = e.with_own_store();
    let first = format!("docker://{}", own.machine.pushed("multi"));
    let index: Value = serde_json::from_str(&raw(&first)).unwrap();
    let to = format!("oci:{}/layout:s390x", own.dir.display());
    let got = copied(&own, &["--platform", "linux/s390x"], &first, &to);
    let entry = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .find(|m| m["platform"]["architecture"] == "s390x")
        .unwrap();
    assert_eq!(entry["digest"], digest(got.as_bytes()));
    own.cmd(["copy", "--platform", "linux/riscv64", &first, "oci:x"])
        .run()
        .fails_with(125, "riscv64");
    Ok(())
}

fn the_store_is_a_place(e: &Env) -> Done {
    skopeo(e)?;
    let own = e.with_own_store();
    let name = own.machine.pushed("nasty14-gzip");
    let first = format!("docker://{name}");
    // In: under both names.
    own.cmd(["copy", "-q", &first, "example.com/mine:1"]).ok();
    let names = own
        .cmd(["images", "--format", "{{.Repository}}:{{.Tag}}"])
        .ok()
        .out();
    assert!(names.contains("example.com/mine:1"), "{names}");
    // And out, to all places; digests stay where the registry can be asked.
    let to = format!("docker://{}/copy/store:1", e.machine.registry);
    assert_eq!(copied(&own, &[], "example.com/mine:1", &to), raw(&first));
    let id = own
        .cmd(["images", "-q", "--no-trunc", "example.com/mine"])
        .ok()
        .out();
    let id = id.lines().next().unwrap().to_owned();
    for place in [
        "oci:layout",
        "oci-archive:a.tar",
        "docker-archive:d.tar",
        "dir:dir",
    ] {
        let (word, path) = place.split_once(':').unwrap();
        let place = format!("{word}:{}/{path}", own.dir.display());
        own.cmd(["copy", "-q", "example.com/mine:1", &place]).ok();
        is_complete(&own, &place);
        let back = own.with_root(own.dir.join(format!("back-{word}")));
        if word != "dir" {
            back.cmd(["copy", "-q", &place, "example.com/back:1"]).ok();
            let got = back
                .cmd(["images", "-q", "--no-trunc", "example.com/back"])
                .ok()
                .out();
            assert_eq!(got.trim(), id, "{word}");
        }
    }
    own.cmd([
        "copy",
        "example.com/mine:1",
        &format!("oci:{}/layout", own.dir.display()),
    ])
    .run()
    .fails_with(125, "layout");
    own.cmd(["copy", "no-such-image", "oci:other"])
        .run()
        .fails_with(125, "no-such-image");
    Ok(())
}

fn docker_archives_of_several_images(e: &Env) -> Done {
    skopeo(e)?;
    let own = e.with_own_store();
    let (a, b) = (own.image("busybox"), own.image("nasty14-gzip"));
    let all = own.dir.join("all.tar");
    own.cmd(["save", "-o"]).arg(&all).args([&a, &b]).ok();
    let docker = own.subdir("docker");
    Cmd::host(["tar", "-C"])
        .arg(&docker)
        .arg("-xf")
        .arg(&all)
        .ok();
    std::fs::remove_file(docker.join("index.json")).unwrap();
    let only = own.dir.join("docker.tar");
    Cmd::host(["tar", "-C"])
        .arg(&docker)
        .arg("-cf")
        .arg(&only)
        .arg(".")
        .ok();
    for (name, id) in [(&a, "busybox"), (&b, "nasty")] {
        let to = format!("oci:{}/{id}:x", own.dir.display());
        let got = copied(
            &own,
            &[],
            &format!("docker-archive:{}:{name}", only.display()),
            &to,
        );
        let want = own.cmd(["inspect", "--format", "{{.Id}}", name]).ok().out();
        let got: Value = serde_json::from_str(&got).unwrap();
        let got = got["config"]["digest"].as_str().unwrap().to_owned();
        assert!(
            want.contains(got.trim_start_matches("sha256:")),
            "{want} {got}"
        );
    }
    own.cmd([
        "copy",
        &format!("docker-archive:{}:none/such:1", only.display()),
        "oci:x",
    ])
    .run()
    .fails_with(125, "none/such");
    Ok(())
}

fn a_layout_takes_several_images(e: &Env) -> Done {
    skopeo(e)?;
    let own = e.with_own_store();
    let place = |tag: &str| format!("oci:{}/layout:{tag}", own.dir.display());
    let from = |image: &str| format!("docker://{}", own.machine.pushed(image));
    let (a, b) = (raw(&from("busybox")), raw(&from("nasty14")));
    copied(&own, &[], &from("busybox"), &place("a"));
    copied(&own, &[], &from("nasty14"), &place("b"));
    assert_eq!((raw(&place("a")), raw(&place("b"))), (a.clone(), b.clone()));
    // Another image under a name takes it over.
    copied(&own, &[], &from("nasty14"), &place("a"));
    assert_eq!((raw(&place("a")), raw(&place("b"))), (b.clone(), b));
    own.cmd(["copy", &place("c"), "dir:x"])
        .run()
        .fails_with(125, "c");
    let without = format!("oci:{}/layout", own.dir.display());
    own.cmd(["copy", &without, "dir:x"]).run().code_is(125);
    Ok(())
}

/// Names in a directory tree that are no directories.
fn files(dir: &Path) -> Vec<String> {
    let out = Cmd::host(["find"]).arg(dir).args(["-type", "f"]).ok().out();
    out.lines().map(str::to_owned).collect()
}

fn what_is_damaged_is_not_copied(e: &Env) -> Done {
    skopeo(e)?;
    let own = e.with_own_store();
    let layout = own.dir.join("layout");
    let place = format!("oci:{}:x", layout.display());
    own.cmd([
        "copy",
        "-q",
        &format!("docker://{}", own.machine.pushed("nasty14-gzip")),
        &place,
    ])
    .ok();
    let manifest: Value = serde_json::from_str(&raw(&place)).unwrap();
    let victim = manifest["layers"][3]["digest"].as_str().unwrap().to_owned();
    let file = layout
        .join("blobs/sha256")
        .join(victim.trim_start_matches("sha256:"));
    let good = std::fs::read(&file).unwrap();
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    let longer = [&good[..], b"x"].concat();
    for (what, content) in [
        ("changed", &bad),
        ("short", &good[..good.len() - 1].to_vec()),
    ] {
        std::fs::write(&file, content).unwrap();
        let other = own.dir.join(format!("to-{what}"));
        for to in [
            format!("oci:{}:x", other.display()),
            format!("oci-archive:{}.tar:x", other.display()),
            format!("dir:{}-dir", other.display()),
            format!("docker://{}/copy/{what}:1", e.machine.registry),
        ] {
            own.cmd(["copy", &place, &to]).run().code_is(125);
        }
        // Nothing of that name, and no part of it that looks whole.
        let found = files(&other);
        assert!(
            !found
                .iter()
                .any(|f| f.contains("index.json") || f.ends_with(".part")),
            "{found:?}"
        );
        assert!(
            !found
                .iter()
                .any(|f| f.contains(victim.trim_start_matches("sha256:"))),
            "{found:?}"
        );
        assert!(!other.with_extension("tar").exists());
        own.cmd([
            "pull",
            "-q",
            &format!("{}/copy/{what}:1", e.machine.registry),
        ])
        .run()
        .code_is(125);
    }
    // What is behind the end is nobody's.
    std::fs::write(&file, longer).unwrap();
    let to = format!("oci:{}/whole:x", own.dir.display());
    copied(&own, &[], &place, &to);
    Ok(())
}

fn what_is_there_is_left_alone(e: &Env) -> Done {
    let own = e.with_own_store();
    let from = format!("docker://{}", own.machine.pushed("busybox"));
    let file = e.file("there.tar", "mine");
    own.cmd(["copy", &from, &format!("oci-archive:{}", file.display())])
        .run()
        .fails_with(125, "there.tar");
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    let dir = own.subdir("full");
    std::fs::write(dir.join("mine"), "mine").unwrap();
    for word in ["oci", "dir"] {
        own.cmd(["copy", &from, &format!("{word}:{}", dir.display())])
            .run()
            .fails_with(125, "full");
    }
    assert_eq!(files(&dir).len(), 1);
    for to in [
        "containers-storage:x",
        "docker-daemon:x",
        "docker-archive:new.tar",
    ] {
        own.cmd(["copy", &from, to]).run().code_is(125);
    }
    Ok(())
}
