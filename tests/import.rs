//! `import`: a tar becomes an image, whoever made it.

#![allow(clippy::unwrap_used, reason = "tests")]

mod layout;

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use coracle::oci::Digest;
use layout::{Place, gzip, noise, tar};
use serde_json::{Value, json};

fn files() -> Vec<u8> {
    tar(&[("etc/motd", b"hello\n"), ("bin/true", &noise(3000, 1))])
}

fn inspected(place: &Place, name: &str) -> Value {
    let shown: Value = serde_json::from_str(&place.ok(&["inspect", name])).unwrap();
    shown[0].clone()
}

#[test]
fn a_tar_is_the_layer_as_it_came() {
    let place = Place::new();
    let plain = files();
    let zstd = zstd::encode_all(&plain[..], 3).unwrap();
    for (file, bytes) in [
        ("plain.tar", plain.clone()),
        ("packed.tar.gz", gzip(&plain)),
        ("packed.tar.zst", zstd),
    ] {
        fs::write(place.path(file), &bytes).unwrap();
        let name = format!("localhost/{}", file.split('.').next_back().unwrap());
        let id = place.ok(&["import", file, &name]);
        let shown = inspected(&place, &name);
        assert_eq!(shown["Id"], id.trim_end());
        assert_eq!(shown["RootFS"]["Layers"], json!([Digest::of(&plain)]));
        assert_eq!(place.file(&name, "etc/motd").unwrap(), b"hello\n");
        let blob = place.store().blobs().path(&Digest::of(&bytes));
        assert_eq!(fs::read(blob).unwrap(), bytes, "{file}");
        place.ok(&["save", "-o", "out.tar", &name]);
        place.ok(&["rmi", &name]);
        place.ok(&["load", "-q", "out.tar"]);
        assert_eq!(inspected(&place, &name)["Id"], id.trim_end(), "{file}");
        fs::remove_file(place.path("out.tar")).unwrap();
        place.ok(&["rmi", &name]);
    }
    for dir in ["layers", "blobs/sha256", "images", "tmp"] {
        assert_eq!(place.names(dir), [""; 0], "{dir}");
    }
}

#[test]
fn the_configuration_is_what_the_user_says() {
    let place = Place::new();
    let mut child = place
        .command(&[
            "image",
            "import",
            "-c",
            "CMD [\"/bin/true\", \"x\"]",
            "-c",
            "ENV A=b C=d",
        ])
        .args([
            "--change",
            "USER 7",
            "-m",
            "from nowhere",
            "--platform",
            "linux/arm/v7",
        ])
        .args(["-", "localhost/in:1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&files()).unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
    let shown = inspected(&place, "localhost/in:1");
    assert_eq!(
        shown["Config"],
        json!({"Cmd": ["/bin/true", "x"], "Env": ["A=b", "C=d"], "User": "7"})
    );
    assert_eq!(
        (&shown["Architecture"], &shown["Variant"]),
        (&json!("arm"), &json!("v7"))
    );
    assert_eq!(shown["Comment"], "from nowhere");
    assert_eq!(
        place
            .ok(&["history", "-q", "localhost/in:1"])
            .lines()
            .count(),
        1
    );
}

#[test]
fn what_is_no_tar_leaves_nothing() {
    let place = Place::new();
    let escape = {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        header.as_mut_bytes()[..9].copy_from_slice(b"../escape");
        header.set_cksum();
        builder.append(&header, &b"x"[..]).unwrap();
        builder.into_inner().unwrap()
    };
    let cut = gzip(&files());
    for (file, bytes, want) in [
        ("text", b"not a tar at all\n".repeat(60), "tar"),
        ("escape.tar", escape, ".."),
        ("cut.tar.gz", cut[..cut.len() / 2].to_vec(), "gzip"),
        ("some.xz", b"\xfd7zXZ\0 and so on".to_vec(), "xz"),
    ] {
        fs::write(place.path(file), bytes).unwrap();
        let err = place.fails(&["import", file, "localhost/bad"]);
        assert!(err.contains(want), "{file}: {err}");
    }
    fs::write(place.path("big.tar"), files()).unwrap();
    let err = place.fails(&["import", "--max-layer-size", "1000", "big.tar"]);
    assert!(err.contains("1000"), "{err}");
    assert!(
        place
            .fails(&["import", "no-such-file"])
            .contains("no-such-file")
    );
    let err = place.fails(&["import", "https://example.com/x.tar", "x"]);
    assert!(
        err.contains("curl -fL https://example.com/x.tar |"),
        "{err}"
    );
    place.fails(&["import", "big.tar", &format!("x@{}", Digest::of(b""))]);
    for dir in ["layers", "blobs/sha256", "images", "tmp"] {
        assert_eq!(place.names(dir), [""; 0], "{dir}");
    }
    assert!(!place.path("escape").exists() && !place.root().join("escape").exists());
}
