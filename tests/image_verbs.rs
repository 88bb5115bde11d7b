//! The image verbs on images made here: what they print, what they store, and what hostile images
//! come to.

#![allow(clippy::unwrap_used, reason = "tests")]

mod layout;

use std::io::Write as _;
use std::process::Stdio;

use coracle::oci::Digest;
use layout::{Image, Place, gzip, noise, tar, write_layout};
use serde_json::{Value, json};

fn two_layers() -> Image {
    Image::new(
        "localhost/app:1",
        &[&[("a", b"one"), ("b", b"two")], &[("a", b"three")]],
    )
}

#[test]
fn an_image_is_loaded_listed_shown_renamed_and_removed() {
    let place = Place::new();
    let image = two_layers();
    image.write(&place.path("lay"));
    let id = image.id();
    let hex = id.strip_prefix("sha256:").unwrap();

    assert_eq!(
        place.ok(&["load", "lay"]),
        "Loaded image: localhost/app:1\n"
    );
    assert_eq!(place.file("localhost/app:1", "a").unwrap(), b"three");
    assert_eq!(place.file(&hex[..5], "b").unwrap(), b"two");
    assert_eq!(place.names("tmp"), [""; 0]);
    // Once more: nothing to do, nothing changes.
    place.ok(&["load", "-q", "lay"]);

    let table = place.ok(&["images"]);
    let mut lines = table.lines();
    let heading: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(heading.join(" "), "REPOSITORY TAG IMAGE ID CREATED SIZE");
    let row: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(row[..3], ["localhost/app", "1", &hex[..12]]);
    assert!(row.ends_with(&["ago", "11B"]), "{row:?}");
    assert_eq!(lines.next(), None);
    assert_eq!(place.ok(&["images", "-q", "--no-trunc"]), format!("{id}\n"));
    assert_eq!(place.ok(&["images", "debian"]).lines().count(), 1);
    assert_eq!(
        place.ok(&[
            "images",
            "--format",
            "{{.Repository}}:{{.Tag}} {{.CreatedAt}}"
        ]),
        "localhost/app:1 2024-11-12 00:00:00 +0000 UTC\n"
    );
    let json: Value = serde_json::from_str(&place.ok(&["images", "--format", "json"])).unwrap();
    assert_eq!(json[0]["Id"], hex);

    let shown: Value = serde_json::from_str(&place.ok(&["inspect", "localhost/app:1"])).unwrap();
    let shown = &shown[0];
    assert_eq!(shown["Id"], id);
    assert_eq!(shown["RepoTags"], json!(["localhost/app:1"]));
    assert_eq!(shown["Os"], "linux");
    assert_eq!(shown["Config"]["Env"], json!(["A=b"]));
    assert_eq!(
        shown["RootFS"]["Layers"],
        image.config["rootfs"]["diff_ids"]
    );
    assert_eq!(shown["Size"], 11);
    let label = r#"{{index .Config.Labels "x.y"}} {{json .Config.Cmd}}"#;
    assert_eq!(place.ok(&["inspect", "-f", label, hex]), "z [\"sh\"]\n");

    let history = place.ok(&[
        "history",
        "--format",
        "{{.ID}} {{.CreatedBy}} {{.Size}}",
        hex,
    ]);
    assert_eq!(
        history,
        format!("{} step 2 5B\n<missing> step 1 6B\n", &hex[..12])
    );

    place.ok(&["tag", "localhost/app:1", "other"]);
    let by_id = place.run(&["rmi", hex]);
    assert_eq!(
        (by_id.code, by_id.out.as_str()),
        (Some(2), ""),
        "{}",
        by_id.err
    );
    assert_eq!(
        place.ok(&["rmi", "localhost/app:1"]),
        "Untagged: localhost/app:1\n"
    );
    assert_eq!(place.names("layers").len(), 2);
    assert_eq!(
        place.ok(&["rmi", "other"]),
        format!("Untagged: docker.io/library/other:latest\nDeleted: {id}\n")
    );
    for dir in ["layers", "blobs/sha256", "images", "tmp"] {
        assert_eq!(place.names(dir), [""; 0], "{dir}");
    }
}

#[test]
fn what_is_not_there_is_said() {
    let place = Place::new();
    let none = place.run(&["rmi", "nope"]);
    assert_eq!(none.code, Some(1));
    assert!(none.err.contains("nope: image not known"), "{}", none.err);
    assert_eq!(place.run(&["rmi", "-f", "nope"]).code, Some(0));
    assert!(place.fails(&["inspect", "nope"]).contains("neither"));
    assert_eq!(place.run(&["inspect", "nope"]).out, "[]\n");
    place.fails(&["history", "nope"]);
    place.fails(&["tag", "nope", "x"]);
    assert!(place.fails(&["load", "-i", "nope"]).contains("nope"));
    assert!(place.fails(&["load", "."]).contains("no image found"));
    assert!(
        place
            .fails(&["pull", "UPPER"])
            .contains("not an image name")
    );
    assert!(
        place
            .fails(&["images", "--format", "{{.Nope}"])
            .contains("format")
    );
    // With images there is something to fill the template with.
    two_layers().write(&place.path("lay"));
    place.ok(&["load", "lay"]);
    let e = place.fails(&["images", "--format", "{{.Nope}}"]);
    assert!(e.contains(".Nope") && e.contains("Repository"), "{e}");
}

#[test]
fn layouts_give_names_and_nameless_images() {
    let place = Place::new();
    let full = two_layers();
    let mut short = Image::new("v2", &[&[("x", b"1")]]);
    let mut none = Image::new("", &[&[("y", b"1")]]);
    none.tag = None;
    write_layout(&place.path("my-app"), &[&full, &short, &none]);
    let out = place.ok(&["load", "my-app"]);
    let want = format!(
        "Loaded image: localhost/app:1\nLoaded image: localhost/my-app:v2\nLoaded image ID: {}\n",
        none.id()
    );
    assert_eq!(out, want);
    let table = place.ok(&["images"]);
    assert!(table.contains("<none>"), "{table}");
    place.ok(&["rmi", &none.id()]);
    // One of several, by transport.
    let other = Place::new();
    let from = format!("oci:{}:v2", place.path("my-app").display());
    let id = short.id().replace("sha256:", "");
    assert_eq!(other.ok(&["pull", &from]), format!("{id}\n"));
    let e = other.fails(&["pull", &from.replace(":v2", ":v3")]);
    assert!(e.contains("v3") && e.contains("localhost/app:1, v2"), "{e}");
    // A new image under an old name: the old one stays, nameless.
    short.config["author"] = "somebody".into();
    write_layout(&place.path("my-app"), &[&short]);
    place.ok(&["load", "my-app"]);
    assert_eq!(place.ok(&["images", "-q"]).lines().count(), 3);
}

/// `docker save`, in its oldest form: a directory a layer, links for repeated ones.
fn docker_archive(images: &[(&Image, &[&str])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, name, bytes).unwrap();
    };
    let mut manifest = Vec::new();
    let mut links = Vec::new();
    for (n, (image, tags)) in images.iter().enumerate() {
        let config = format!("{}.json", image.id().replace("sha256:", ""));
        add(&config, &image.config_bytes());
        let mut layers = Vec::new();
        for (i, (blob, _)) in image.layers.iter().enumerate() {
            let name = format!("{n}{i}/layer.tar");
            if n == 0 {
                let mut plain = Vec::new();
                let mut inflate = flate2::read::GzDecoder::new(&blob[..]);
                std::io::Read::read_to_end(&mut inflate, &mut plain).unwrap();
                add(&name, &plain);
            } else {
                links.push((name.clone(), format!("../0{i}/layer.tar")));
            }
            layers.push(name);
        }
        manifest.push(json!({"Config": config, "RepoTags": tags, "Layers": layers}));
    }
    add(
        "manifest.json",
        Value::from(manifest).to_string().as_bytes(),
    );
    for (name, target) in links {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, name, target).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn docker_archives_are_read_from_files_and_pipes_plain_and_packed() {
    let image = two_layers();
    let mut twin = two_layers();
    twin.config["author"] = "twin".into();
    let plain = docker_archive(&[(&image, &["a:1", "b:2"]), (&twin, &["c"])]);
    let want = "Loaded image: docker.io/library/a:1\nLoaded image: docker.io/library/b:2\nLoaded image: docker.io/library/c:latest\n";
    for archive in [
        plain.clone(),
        gzip(&plain),
        zstd::encode_all(&plain[..], 1).unwrap(),
    ] {
        let place = Place::new();
        std::fs::write(place.path("x.tar"), &archive).unwrap();
        assert_eq!(place.ok(&["load", "-i", "x.tar"]), want);
        assert_eq!(place.file("a:1", "a").unwrap(), b"three");
        assert_eq!(place.file("c", "b").unwrap(), b"two");

        let place = Place::new();
        let mut child = place
            .command(&["load"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&archive).unwrap();
        let out = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(out.stdout).unwrap(), want);
        assert_eq!(place.file("b:2", "b").unwrap(), b"two");
        assert_eq!(place.names("tmp"), [""; 0]);
    }
}

#[test]
fn an_archive_cannot_name_a_file_of_ours() {
    let place = Place::new();
    std::fs::write(place.path("secret"), two_layers().config_bytes()).unwrap();
    let secret = place.path("secret").display().to_string();
    for name in ["../secret", "../../../../../../etc/passwd", &secret] {
        let manifest = json!([{"Config": name, "RepoTags": ["a"], "Layers": []}]).to_string();
        let archive = tar(&[("manifest.json", manifest.as_bytes())]);
        std::fs::write(place.path("x.tar"), archive).unwrap();
        let e = place.fails(&["load", "-i", "x.tar"]);
        assert!(e.contains("is missing"), "{e}");
    }
    // A layout directory with a fifo in it must not hold us up.
    let image = two_layers();
    image.write(&place.path("lay"));
    let config = image.id().replace("sha256:", "");
    let path = place.path("lay/blobs/sha256").join(config);
    std::fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    let e = place.fails(&["load", "lay"]);
    assert!(e.contains("not a regular file"), "{e}");
}

/// Spoil an image, load it, and see that it is refused and leaves nothing.
fn refused(says: &str, spoil: impl FnOnce(&mut Image)) {
    let place = Place::new();
    let mut image = two_layers();
    spoil(&mut image);
    image.write(&place.path("lay"));
    let e = place.fails(&["load", "lay"]);
    assert!(e.contains(says), "want {says:?}: {e}");
    assert_eq!(place.ok(&["images", "-q"]), "");
    let good: Vec<String> = two_layers().config["rootfs"]["diff_ids"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| d.as_str().unwrap().replace("sha256:", ""))
        .collect();
    // A sound layer of a bad image may stay until the next collection, a bad one never.
    for layer in place.names("layers") {
        assert!(good.contains(&layer), "{says}: published {layer}");
    }
    for name in place.names("tmp") {
        assert!(name.starts_with("partial-"), "{says}: left {name}");
    }
    // And the store is fit for use.
    let image = Image::new("fine", &[&[("f", b"fine")]]);
    image.write(&place.path("good"));
    place.ok(&["load", "good"]);
    place.ok(&["rmi", "localhost/good:fine"]);
    assert_eq!(place.names("layers"), [""; 0], "{says}");
}

#[test]
fn a_layer_that_is_not_what_it_claims_is_refused() {
    refused("damaged", |i| i.layers[0].0[30] ^= 1);
    // In gzip's header: a time, which no decoder looks at.
    refused("wrong content", |i| i.layers[0].0[5] ^= 1);
    refused("bytes that its descriptor promises", |i| {
        i.layers[0].0.push(0)
    });
    refused("ends after", |i| {
        let half = i.layers[0].0.len() / 2;
        i.layers[0].0.truncate(half);
    });
    refused("wrong content", |i| {
        // Sound gzip, sound tar, another content.
        let other = gzip(&tar(&[("a", b"evil")]));
        i.layers[1].1["size"] = other.len().into();
        i.layers[1].0 = other;
    });
    refused("as the image configuration promises", |i| {
        i.config["rootfs"]["diff_ids"][1] = Digest::of(b"something else").to_string().into();
    });
    refused("as the image configuration promises", |i| {
        // The diff_ids of two layers exchanged: each digest is right, the image is not.
        i.config["rootfs"]["diff_ids"]
            .as_array_mut()
            .unwrap()
            .reverse();
    });
}

#[test]
fn bytes_of_an_earlier_attempt_that_are_bad_are_replaced() {
    let place = Place::new();
    let image = Image::new("localhost/app:1", &[&[("f", &noise(100_000, 1))]]);
    image.write(&place.path("lay"));
    let (blob, descriptor) = &image.layers[0];
    let hex = descriptor["digest"]
        .as_str()
        .unwrap()
        .replace("sha256:", "");
    place.store();
    let partial = place.root().join(format!("tmp/partial-sha256-{hex}"));
    // Damage that the decoder finds, and damage that only the digest shows.
    for at in [1000, 5] {
        let mut bad = blob[..50_000].to_vec();
        bad[at] ^= 0x55;
        std::fs::write(&partial, &bad).unwrap();
        let ran = place.run(&["load", "--keep-blobs", "lay"]);
        assert!(ran.err.contains("resuming after 50kB"), "{}", ran.err);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        place.ok(&["rmi", "localhost/app:1"]);
    }
    // A complete blob that is damaged, beside a layer that is missing.
    std::fs::create_dir_all(place.root().join("blobs/sha256")).unwrap();
    for at in [1000, 5] {
        let mut bad = blob.clone();
        bad[at] ^= 0x55;
        std::fs::write(place.root().join("blobs/sha256").join(&hex), &bad).unwrap();
        place.ok(&["load", "lay"]);
        place.ok(&["rmi", "localhost/app:1"]);
    }
}

#[test]
fn blobs_of_layers_stay_only_when_asked_for() {
    let place = Place::new();
    let image = Image::new("localhost/app:1", &[&[("f", &noise(3 << 20, 1))]]);
    image.write(&place.path("lay"));
    let hex = image.layers[0].1["digest"]
        .as_str()
        .unwrap()
        .replace("sha256:", "");
    let blob = place.root().join("blobs/sha256").join(hex);
    place.ok(&["load", "lay"]);
    assert!(!blob.exists());
    assert_eq!(place.names("tmp"), [""; 0]);
    place.ok(&["rmi", "localhost/app:1"]);
    place.ok(&["load", "--keep-blobs", "lay"]);
    assert_eq!(std::fs::read(&blob).unwrap(), image.layers[0].0);
}

#[test]
fn a_manifest_that_makes_no_sense_is_refused() {
    refused("inconsistent", |i| {
        i.config["rootfs"]["diff_ids"].as_array_mut().unwrap().pop();
    });
    refused("not valid", |i| i.config["rootfs"] = json!("none"));
    refused("artifact", |i| {
        i.config_type = "application/vnd.cncf.helm.config.v1+json"
    });
    refused("layer media type", |i| {
        i.layers[0].1["mediaType"] = "application/vnd.oci.image.layer.v1.tar+lzma".into();
    });
    refused("not valid", |i| i.layers[0].1["size"] = json!(-1));
    refused("not valid", |i| i.layers[0].1["size"] = json!(1e30));
    refused("ends after", |i| i.layers[0].1["size"] = json!(u64::MAX));
    refused("media type", |i| {
        i.layers[0].1["mediaType"] = "text/html".into()
    });
}

#[test]
fn huge_documents_are_refused_unread() {
    let place = Place::new();
    two_layers().write(&place.path("lay"));
    // 100 GiB, sparse: reading it would not end well.
    let index = std::fs::File::create(place.path("lay/index.json")).unwrap();
    index.set_len(100 << 30).unwrap();
    assert!(place.fails(&["load", "lay"]).contains("limit"));
    let image = two_layers();
    image.write(&place.path("lay"));
    let mut index: Value =
        serde_json::from_slice(&std::fs::read(place.path("lay/index.json")).unwrap()).unwrap();
    index["manifests"][0]["size"] = json!(100u64 << 30);
    std::fs::write(place.path("lay/index.json"), index.to_string()).unwrap();
    assert!(place.fails(&["load", "lay"]).contains("limit"));
}

#[test]
fn a_bomb_stops_at_the_limit() {
    let place = Place::new();
    let image = Image::new("bomb", &[&[("zeros", &vec![0; 8 << 20])]]);
    image.write(&place.path("lay"));
    place.fails(&["load", "--max-layer-size", "1000000", "lay"]);
    assert_eq!(place.names("layers"), [""; 0]);
    place.ok(&["load", "lay"]);
}

#[test]
fn text_of_strangers_does_not_reach_the_terminal() {
    let place = Place::new();
    let mut image = two_layers();
    let evil = "\u{1b}]0;owned\u{7}\u{202e}";
    image.config["author"] = evil.into();
    image.config["history"][0]["created_by"] = evil.into();
    image.config["config"]["Labels"] = json!({ evil: evil });
    image.tag = Some(format!("x{evil}"));
    image.write(&place.path("lay"));
    let mut all = place.ok(&["load", "lay"]);
    let id = image.id();
    all += &place.ok(&["history", &id]);
    all += &place.ok(&["history", "--format", "{{.CreatedBy}}", &id]);
    all += &place.ok(&["history", "--format", "json", &id]);
    let shown = place.ok(&["inspect", &id]);
    all += &shown;
    all += &place.ok(&["inspect", "-f", "{{.Author}} {{.Config.Labels}}", &id]);
    all += &place.ok(&["inspect", "-f", "json", &id]);
    let from = format!("oci:{}:nope{evil}", place.path("lay").display());
    all += &place.fails(&["pull", &from]);
    for bad in ['\u{1b}', '\u{7}', '\u{202e}'] {
        assert!(!all.contains(bad), "{bad:?} in {all}");
    }
    // Escaped, and still the same value for a program.
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown[0]["Author"], evil);
}

#[test]
fn an_image_in_use_stays() {
    let place = Place::new();
    two_layers().write(&place.path("lay"));
    place.ok(&["load", "lay"]);
    let store = place.store();
    let image = store.images().find("localhost/app:1").unwrap();
    let container = store
        .containers()
        .create("0123456789abcdef", Some("web"), false)
        .unwrap();
    container.write_config(&config_of(&image)).unwrap();
    for force in [false, true] {
        let args = if force {
            &["rmi", "-f", "localhost/app:1"][..]
        } else {
            &["rmi", "localhost/app:1"]
        };
        let ran = place.run(args);
        assert_eq!(ran.code, Some(2));
        assert!(
            ran.err
                .contains("in use by container web, which is running"),
            "{}",
            ran.err
        );
    }
    drop(container);
    let ran = place.run(&["rmi", "localhost/app:1"]);
    assert_eq!(ran.code, Some(2), "{}", ran.err);
    // By force the name goes; what the container needs stays.
    place.ok(&["rmi", "-f", "localhost/app:1"]);
    assert_eq!(place.names("layers").len(), 2);
    let web = store.containers().find("web").unwrap();
    store.containers().remove(&web).unwrap();
    store.gc(&[]).unwrap();
    assert_eq!(place.names("layers"), [""; 0]);
}

#[test]
fn a_lock_that_is_held_is_explained() {
    let place = Place::new();
    two_layers().write(&place.path("lay"));
    place.ok(&["load", "lay"]);
    let guard = place.store().exclusive().unwrap();
    let out = place
        .command(&["tag", "localhost/app:1", "x"])
        .env("CORACLE_LOCK_TIMEOUT", "1")
        .output()
        .unwrap();
    let err = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(125), "{err}");
    let lock = place.root().join("lock");
    assert!(
        err.contains(&format!(
            "timeout (1s) when waiting for the lock {}",
            lock.display()
        )),
        "{err}"
    );
    assert!(err.contains("CORACLE_LOCK_TIMEOUT"), "{err}");
    // Reading needs no lock.
    place.ok(&["images"]);
    drop(guard);
    place.ok(&["tag", "localhost/app:1", "x"]);
    let out = place
        .command(&["images"])
        .env("CORACLE_LOCK_TIMEOUT", "soon")
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(125));
}

#[test]
fn loading_the_same_at_once_is_fine() {
    let place = Place::new();
    let big = noise(3 << 20, 1);
    let image = Image::new("localhost/app:1", &[&[("big", &big)], &[("a", b"x")]]);
    image.write(&place.path("lay"));
    let children: Vec<_> = (0..4)
        .map(|_| {
            let mut command = place.command(&["load", "lay"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    for child in children {
        let out = child.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{err}");
    }
    assert_eq!(place.names("layers").len(), 2);
    assert_eq!(place.names("tmp"), [""; 0]);
    assert_eq!(place.file("localhost/app:1", "big").unwrap(), big);
}

/// The configuration of a container of this image.
fn config_of(image: &coracle::store::ImageRecord) -> Vec<u8> {
    let record = serde_json::to_string(image).unwrap();
    serde_json::to_vec(
        &serde_json::json!({"annotations": {coracle::store::IMAGE_ANNOTATION: record}}),
    )
    .unwrap()
}
