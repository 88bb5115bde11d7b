//! What refers to a manifest: where a registry keeps account of it, where it does not, and where it lies.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle::registry::Referrer;
use serde_json::{Value, json};

use super::hub::Hub;
use super::layout::Place;
use super::*;

const TYPE: &str = "application/vnd.example.sbom";

fn subject() -> Digest {
    Digest::of(b"subject")
}

fn entry(text: &str, artifact_type: &str) -> Value {
    json!({
        "mediaType": media::OCI_MANIFEST,
        "digest": Digest::of(text.as_bytes()),
        "size": 7,
        "artifactType": artifact_type,
        "annotations": { "a": text },
    })
}

fn index(entries: &[Value]) -> Vec<u8> {
    let index = json!({ "schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": entries });
    index.to_string().into_bytes()
}

fn ask(s: &Server, artifact_type: Option<&str>) -> Result<Vec<String>, Error> {
    let found = client().referrers(&image(s), &subject(), artifact_type)?;
    let text = |r: Referrer| r.annotations["a"].clone();
    Ok(found.into_iter().map(text).collect())
}

#[test]
fn a_registry_is_asked_page_by_page() {
    let s = Server::start(|a, out| {
        let (path, query) = a.path.split_once('?').unwrap_or((&a.path, ""));
        assert_eq!(path, format!("/v2/some/image/referrers/{}", subject()));
        assert_eq!(a.header("accept"), Some(media::OCI_INDEX));
        let kind = ("Content-Type", media::OCI_INDEX);
        match query.contains("page=2") {
            true => out.reply(200, &[kind], &index(&[entry("b", "x/y"), entry("c", TYPE)])),
            false => {
                // Whatever host it names, we stay.
                let next = format!("<http://elsewhere.example{path}?page=2>; rel=\"next\"");
                let one = index(&[entry("a", TYPE)]);
                out.reply(200, &[kind, ("Link", &next)], &one)
            }
        }
    });
    assert_eq!(ask(&s, None).unwrap(), ["a", "b", "c"]);
    // Asked for a type, and looked at again: not every registry does so.
    assert_eq!(ask(&s, Some(TYPE)).unwrap(), ["a", "c"]);
    let asked = s.asked();
    let query = "artifactType=application%2Fvnd.example.sbom";
    assert!(asked[2].path.ends_with(query), "{}", asked[2].path);
    assert_eq!(s.connections(), 2);
}

#[test]
fn without_an_account_there_is_a_tag() {
    let hub = Arc::new(Hub::default());
    let shared = Arc::clone(&hub);
    let s = Server::start(move |a, out| shared.serve(a, out));
    assert_eq!(ask(&s, None).unwrap(), [""; 0]);
    let c = client();
    let tag = format!("sha256-{}", subject().hex());
    for text in ["a", "b", "a"] {
        let own = Referrer {
            media_type: media::OCI_MANIFEST.to_owned(),
            digest: Digest::of(text.as_bytes()),
            size: 0,
            artifact_type: Some(TYPE.to_owned()),
            annotations: BTreeMap::from([("a".to_owned(), text.to_owned())]),
        };
        let name = image(&s).with_digest(own.digest.clone());
        c.put_referrer(&name, text.as_bytes(), &subject(), &own)
            .unwrap();
    }
    assert_eq!(ask(&s, None).unwrap(), ["a", "b"]);
    assert_eq!(ask(&s, Some("x/y")).unwrap(), [""; 0]);
    let (kind, account) = hub.manifests.lock().unwrap()[&tag].clone();
    assert_eq!(kind, media::OCI_INDEX);
    let account: Value = serde_json::from_slice(&account).unwrap();
    assert_eq!(account["manifests"][0]["artifactType"], TYPE);
    assert_eq!(account["manifests"][0]["size"], 1);
}

#[test]
fn a_registry_that_notes_a_subject_needs_no_tag() {
    for (says, puts) in [(subject(), 1), (Digest::of(b"other"), 2)] {
        let says = says.to_string();
        let s = Server::start(move |a, out| match a.method.as_str() {
            "PUT" => out.reply(201, &[("OCI-Subject", &says)], b""),
            "HEAD" => out.head_only(404),
            _ => out.reply(404, &[], b""),
        });
        let own = Referrer {
            media_type: media::OCI_MANIFEST.to_owned(),
            digest: Digest::of(b"x"),
            size: 1,
            artifact_type: None,
            annotations: BTreeMap::new(),
        };
        client()
            .put_referrer(&image(&s), b"x", &subject(), &own)
            .unwrap();
        let sent = s.asked().iter().filter(|a| a.method == "PUT").count();
        assert_eq!(sent, puts);
    }
}

#[test]
fn accounts_that_make_no_sense() {
    let zeros = "0".repeat(64);
    for body in [
        b"<html>".to_vec(),
        b"[]".to_vec(),
        br#"{"manifests":[{"digest":"sha256:../../x","mediaType":"a/b","size":1}]}"#.to_vec(),
        br#"{"manifests":[{"mediaType":"a/b","size":1}]}"#.to_vec(),
        format!(r#"{{"manifests":[{{"digest":"sha256:{zeros}","mediaType":"a/b","size":-1}}]}}"#)
            .into_bytes(),
        format!("{}1", "[".repeat(100_000)).into_bytes(),
    ] {
        for by_tag in [false, true] {
            let body = body.clone();
            let s = Server::start(
                move |a, out| match a.path.contains("/referrers/") == by_tag {
                    true => out.reply(404, &[], b""),
                    false => out.reply(200, &[("Content-Type", media::OCI_INDEX)], &body),
                },
            );
            let e = client()
                .referrers(&image(&s), &subject(), None)
                .unwrap_err();
            match by_tag {
                true => assert!(matches!(e, Error::Account { .. }), "{e:?}"),
                false => assert!(matches!(e, Error::NoList { .. }), "{e:?}"),
            }
        }
    }
    // Pages without end, and one that is too large.
    let s = Server::start(|a, out| {
        let next = format!("<{}x>; rel=\"next\"", a.path);
        out.reply(200, &[("Link", &next)], &index(&[]))
    });
    let e = client()
        .referrers(&image(&s), &subject(), None)
        .unwrap_err();
    assert!(
        matches!(e, Error::ListTooLong { .. } | Error::HeaderTooLarge { .. }),
        "{e:?}"
    );
    let s = Server::start(|_, out| {
        let long = entry(&"x".repeat(5 << 20), TYPE);
        out.reply(200, &[], &index(&[long]))
    });
    let e = client()
        .referrers(&image(&s), &subject(), None)
        .unwrap_err();
    assert!(matches!(e, Error::ReplyTooLarge { .. }), "{e:?}");
}

/// An artifact of these files, as a registry has it: names, and bytes.
fn artifact(files: &[(Option<&str>, &[u8])]) -> (Hub, Vec<u8>) {
    let hub = Hub::default();
    let layers: Vec<Value> = files
        .iter()
        .map(|(name, bytes)| {
            hub.put_blob(bytes);
            let mut layer = json!({
                "mediaType": "a/b", "digest": Digest::of(bytes), "size": bytes.len(),
            });
            if let Some(name) = name {
                layer["annotations"] = json!({ "org.opencontainers.image.title": name });
            }
            layer
        })
        .collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media::OCI_MANIFEST,
        "artifactType": TYPE,
        "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::of(b"{}"), "size": 2 },
        "layers": layers,
    });
    let manifest = manifest.to_string().into_bytes();
    hub.put_manifest("1", media::OCI_MANIFEST, &manifest);
    (hub, manifest)
}

fn serve(hub: Hub) -> (Server, String) {
    let s = Server::start(move |a, out| hub.serve(a, out));
    let name = format!("{}/some/image:1", s.name());
    (s, name)
}

#[test]
fn files_of_an_artifact_stay_where_they_belong() {
    for name in [
        "../out",
        "/tmp/out",
        "a/../../out",
        "..",
        "",
        "a//b",
        "x\n",
        "\u{1b}[2J",
        "a\u{202e}b",
    ] {
        let (_s, image) = serve(artifact(&[(Some("first"), b"1"), (Some(name), b"2")]).0);
        let place = Place::new();
        let said = place.fails(&["artifact", "pull", "-q", "-o", "to", &image]);
        assert!(said.contains("no name for one"), "{name:?}: {said}");
        assert!(!said.contains('\u{1b}') && !said.contains('\u{202e}'));
        assert!(!place.path("out").exists() && !place.path("to").exists());
    }
    // Neither by a symlink that was there before, on the way or at the end of it.
    let (_s, image) = serve(artifact(&[(Some("dir/file"), b"mine")]).0);
    let place = Place::new();
    std::fs::create_dir_all(place.path("outside")).unwrap();
    std::fs::create_dir_all(place.path("to")).unwrap();
    std::os::unix::fs::symlink("../outside", place.path("to/dir")).unwrap();
    for flags in [&[][..], &["--overwrite"]] {
        let args = [&["artifact", "pull", "-q", "-o", "to"], flags, &[&image]].concat();
        place.fails(&args);
    }
    assert_eq!(place.path("outside").read_dir().unwrap().count(), 0);
    std::fs::remove_file(place.path("to/dir")).unwrap();
    std::fs::create_dir(place.path("to/dir")).unwrap();
    std::fs::write(place.path("outside/theirs"), "theirs").unwrap();
    std::os::unix::fs::symlink("../../outside/theirs", place.path("to/dir/file")).unwrap();
    place.fails(&["artifact", "pull", "-q", "-o", "to", &image]);
    place.ok(&["artifact", "pull", "-q", "--overwrite", "-o", "to", &image]);
    assert_eq!(
        std::fs::read(place.path("outside/theirs")).unwrap(),
        b"theirs"
    );
    assert_eq!(std::fs::read(place.path("to/dir/file")).unwrap(), b"mine");
}

#[test]
fn nothing_is_overwritten_and_nothing_is_half_there() {
    let (_s, image) = serve(artifact(&[(Some("a"), b"new"), (Some("d/b"), b"bb"), (None, b"c")]).0);
    let place = Place::new();
    std::fs::create_dir(place.path("to")).unwrap();
    std::fs::write(place.path("to/a"), "old").unwrap();
    let pull = ["artifact", "pull", "-q", "-o", "to", &image];
    let said = place.fails(&pull);
    assert!(said.contains("--overwrite"), "{said}");
    assert_eq!(layout::names(&place.path("to")), ["a"]);
    assert_eq!(std::fs::read(place.path("to/a")).unwrap(), b"old");
    let names = place.ok(&[&pull[..], &["--overwrite"]].concat());
    let nameless = format!("sha256-{}", Digest::of(b"c").hex());
    assert_eq!(names, format!("to/a\nto/d/b\nto/{nameless}\n"));
    assert_eq!(std::fs::read(place.path("to/a")).unwrap(), b"new");
    assert_eq!(std::fs::read(place.path("to/d/b")).unwrap(), b"bb");
    // Two of one name; more than is wanted; other bytes; bytes without end.
    let (_s, image) = serve(artifact(&[(Some("x"), b"1"), (Some("x"), b"2")]).0);
    assert!(
        place
            .fails(&["artifact", "pull", "-q", "-o", "no", &image])
            .contains("two files")
    );
    let (_s, image) = serve(artifact(&[(Some("x"), b"12345")]).0);
    let small = [
        "artifact",
        "pull",
        "-q",
        "--max-size",
        "4",
        "-o",
        "no",
        &image,
    ];
    assert!(place.fails(&small).contains("5 bytes"));
    for other in [&b"54321"[..], b"1234567", b"12"] {
        let (hub, _) = artifact(&[(Some("x"), b"12345")]);
        let digest = Digest::of(b"12345").to_string();
        hub.blobs.lock().unwrap().insert(digest, other.to_vec());
        let (_s, image) = serve(hub);
        place.fails(&["artifact", "pull", "-q", "-o", "half", &image]);
        assert_eq!(layout::names(&place.path("half")), [""; 0]);
    }
    assert!(!place.path("no").exists());
    // Sizes that no number holds.
    let (hub, manifest) = artifact(&[(Some("x"), b"1"), (Some("y"), b"2")]);
    let huge = String::from_utf8(manifest).unwrap();
    let huge = huge.replace("\"size\":1", &format!("\"size\":{}", u64::MAX / 2 + 9));
    hub.put_manifest("1", media::OCI_MANIFEST, huge.as_bytes());
    let (_s, image) = serve(hub);
    assert!(
        place
            .fails(&["artifact", "pull", "-q", "-o", "no", &image])
            .contains("limit")
    );
}

#[test]
fn names_of_files_are_shown_without_control_characters() {
    let (_s, image) = serve(artifact(&[(Some("x\u{1b}[2J"), b"1")]).0);
    let place = Place::new();
    for verb in ["ls", "inspect"] {
        let said = place.ok(&["artifact", verb, &image]);
        assert!(!said.contains('\u{1b}') && said.contains("[2J"), "{said:?}");
    }
}
