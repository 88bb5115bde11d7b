//! What keeps a store in order: filters, sizes, prune, and the check that finds and puts aside what is
//! broken.

#![allow(clippy::unwrap_used, reason = "tests")]

mod layout;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;

use layout::{Image, Place, noise, write_layout};
use serde_json::{Value, json};

/// Two images that share their lowest layer; the second is the younger one and has no label.
fn two_images(place: &Place) -> [Image; 2] {
    let base: &[(&str, &[u8])] = &[("base", &[b'b'; 1000])];
    let old = Image::new("localhost/old:1", &[base, &[("o", b"old")]]);
    let mut young = Image::new("quay.io/team/young:2", &[base, &[("y", b"young!")]]);
    young.config["created"] = json!("2025-06-01T00:00:00Z");
    young.config["config"]["Labels"] = json!(null);
    write_layout(&place.path("lay"), &[&old, &young]);
    place.ok(&["load", "-q", "lay"]);
    [old, young]
}

fn names_of(place: &Place, filters: &[&str]) -> String {
    let mut args = vec!["images", "--format", "{{.Repository}}"];
    args.extend(filters);
    place.ok(&args).trim_end().replace('\n', " ")
}

#[test]
fn images_are_filtered() {
    let place = Place::new();
    let [_, young] = two_images(&place);
    let (old_name, young_name) = ("localhost/old", "quay.io/team/young");
    let both = format!("{young_name} {old_name}");
    let id = young.id();
    let start = format!("id={}", &id[7..12]);
    for (filters, want) in [
        (&[][..], both.as_str()),
        (&["-f", "label=x.y"], old_name),
        (&["-f", "label=x.y=z"], old_name),
        (&["-f", "label=x.y=no"], ""),
        (&["-f", "label!=x.y"], young_name),
        (&["--filter", "before=quay.io/team/young:2"], old_name),
        (&["--filter", "since=localhost/old:1"], young_name),
        (&["--filter", "until=2025-01-01"], old_name),
        (&["--filter", "until=1h"], &both),
        (&["--filter", "reference=quay.io/*/*"], young_name),
        (&["--filter", "reference=*/old:?"], old_name),
        (
            &["-f", "reference=*/old", "-f", "reference=*/*/young"],
            &both,
        ),
        (&["-f", "reference=*/old", "-f", "label!=x.y"], ""),
        (&["-f", &start], young_name),
        (&["-f", "dangling=true"], ""),
        (&["-f", "dangling=0"], &both),
        (&["*/*/y*"], young_name),
    ] {
        assert_eq!(names_of(&place, filters), want, "{filters:?}");
    }
    // Another image takes the name away.
    place.ok(&["tag", "localhost/old:1", "quay.io/team/young:2"]);
    assert_eq!(names_of(&place, &["-f", "dangling=true"]), "<none>");
    for bad in [
        "colour=red",
        "dangling",
        "dangling=maybe",
        "until=soon",
        "reference=[",
    ] {
        let ran = place.run(&["images", "-f", bad]);
        assert_eq!(ran.code, Some(125), "{bad}");
        assert!(ran.err.contains("--filter"), "{bad}: {}", ran.err);
    }
    assert!(
        place
            .fails(&["images", "-f", "before=nope"])
            .contains("not known")
    );
}

#[test]
fn shared_layers_count_once() {
    let place = Place::new();
    let [old, young] = two_images(&place);
    let format = "{{.Type}} {{.Total}} {{.Active}} {{.RawSize}} {{.RawReclaimable}}";
    let summary = place.ok(&["system", "df", "--format", format]);
    let images = summary.lines().next().unwrap();
    let documents: usize = [&old, &young]
        .iter()
        .map(|i| i.config_bytes().len() + i.manifest().to_string().len())
        .sum();
    let bytes = 1000 + 3 + 6 + documents;
    assert_eq!(images, format!("Images 2 0 {bytes} {bytes}"));
    let tree = place.ok(&["image", "tree", "localhost/old:1"]);
    let shared: Vec<_> = tree.lines().filter(|l| l.contains("also in")).collect();
    assert_eq!(shared.len(), 1, "{tree}");
    assert!(
        shared[0].ends_with("1kB  also in quay.io/team/young:2"),
        "{tree}"
    );
    let verbose = place.ok(&["system", "df", "-v"]);
    let row = verbose
        .lines()
        .find(|l| l.starts_with("localhost/old"))
        .unwrap();
    let fields: Vec<&str> = row.split_whitespace().collect();
    // SIZE, SHARED SIZE, UNIQUE SIZE, CONTAINERS
    assert_eq!(fields[fields.len() - 3..][..1], ["1kB"], "{row}");
    let json = place.ok(&["system", "df", "--format", "json"]);
    let first: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(first[0]["Type"], "Images");
    assert_eq!(
        place.run(&["image", "exists", "localhost/old:1"]).code,
        Some(0)
    );
    assert_eq!(
        place.run(&["image", "exists", "localhost/older"]).code,
        Some(1)
    );
    assert_eq!(place.run(&["container", "exists", "web"]).code, Some(1));
}

#[test]
fn prune_takes_what_has_no_name_and_asks_first() {
    let place = Place::new();
    let [old, young] = two_images(&place);
    place.ok(&["tag", "localhost/old:1", "quay.io/team/young:2"]);
    let count = || place.ok(&["images", "-aq"]).lines().count();

    // No answer, and no, are no.
    let silent = place.run(&["image", "prune"]);
    assert_eq!((silent.code, count()), (Some(0), 2));
    assert!(silent.err.contains("continue? [y/N]"), "{}", silent.err);
    let answer = |args: &[&str], text: &str| {
        let mut child = place
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        layout::Ran::from(child.wait_with_output().unwrap())
    };
    assert_eq!(answer(&["image", "prune"], "n\n").out, "");
    assert_eq!(count(), 2);

    let none = place.ok(&["image", "prune", "-f", "--filter", "label=x.y"]);
    assert_eq!((none.as_str(), count()), ("Total reclaimed space: 0B\n", 2));
    let yes = answer(&["image", "prune"], "y\n");
    assert!(
        yes.out.starts_with(&format!("Deleted: {}\n", young.id())),
        "{}",
        yes.out
    );
    assert!(place.file("localhost/old:1", "base").is_some());
    assert_eq!(count(), 1);

    let kept = place.ok(&["image", "prune", "-af", "--filter", "until=2020-01-01"]);
    assert_eq!(kept, "Total reclaimed space: 0B\n");
    let all = place.ok(&["image", "prune", "-af"]);
    assert!(all.contains(&format!("Deleted: {}\n", old.id())), "{all}");
    for dir in ["layers", "blobs/sha256", "images"] {
        assert_eq!(place.names(dir), [""; 0], "{dir}");
    }
    two_images(&place);
    let rest = place.ok(&["rmi", "--all"]);
    assert_eq!(rest.matches("Deleted: ").count(), 2, "{rest}");
    assert_eq!(place.run(&["rmi", "--ignore", "nope"]).code, Some(0));
}

#[test]
fn what_interrupted_work_left_is_pruned() {
    let place = Place::new();
    place.ok(&["images"]);
    let partial = place
        .root()
        .join(format!("tmp/partial-sha256-{}", "a".repeat(64)));
    fs::write(&partial, noise(5000, 1)).unwrap();
    let stray = place
        .root()
        .join(format!("blobs/sha256/{}", "b".repeat(64)));
    fs::write(&stray, noise(700, 2)).unwrap();
    let summary = place.ok(&[
        "system",
        "df",
        "--format",
        "{{.Type}} {{.Total}} {{.RawSize}}",
    ]);
    assert!(summary.ends_with("Leftovers 1 700\n"), "{summary}");
    let out = place.ok(&["system", "prune", "-f"]);
    assert_eq!(out, "Total reclaimed space: 700B\n");
    assert!(!partial.exists() && !stray.exists());
}

fn check(place: &Place, args: &[&str]) -> (Option<i32>, Value) {
    let mut all = vec!["system", "check", "--json"];
    all.extend(args);
    let ran = place.run(&all);
    let json = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{}{}", ran.out, ran.err));
    (ran.code, json)
}

fn said(report: &Value) -> Vec<String> {
    let faults = report["Faults"].as_array().unwrap().iter();
    faults
        .map(|f| {
            format!(
                "{}: {}",
                f["What"].as_str().unwrap(),
                f["Why"].as_str().unwrap()
            )
        })
        .collect()
}

/// Where the layer with the file `name` is.
fn layer_with(place: &Place, name: &str) -> PathBuf {
    let layers = place.root().join("layers");
    let with = |d: &String| layers.join(d).join("diff").join(name).exists();
    layers.join(place.names("layers").into_iter().find(with).unwrap())
}

#[test]
fn a_sound_store_is_found_sound() {
    let place = Place::new();
    two_images(&place);
    let (code, report) = check(&place, &[]);
    assert_eq!((code, said(&report)), (Some(0), vec![]));
    assert_eq!(
        (&report["Images"], &report["Layers"]),
        (&json!(2), &json!(3))
    );
    let text = place.ok(&["system", "check"]);
    assert!(
        text.ends_with("and 0 containers: nothing is broken.\n"),
        "{text}"
    );
}

#[test]
fn a_broken_blob_is_found_and_put_aside_and_comes_back() {
    let place = Place::new();
    let [old, _] = two_images(&place);
    let hex = old.id()[7..].to_owned();
    let blob = place.root().join("blobs/sha256").join(&hex);
    fs::set_permissions(&blob, fs::Permissions::from_mode(0o600)).unwrap();
    let mut bytes = fs::read(&blob).unwrap();
    bytes[10] ^= 1;
    fs::write(&blob, &bytes).unwrap();

    assert_eq!(check(&place, &["--quick"]).0, Some(0), "nothing is read");
    let (code, report) = check(&place, &[]);
    let want = [
        format!("blob {}: its content has another digest", old.id()),
        format!("image localhost/old:1: it has lost the blob {}", old.id()),
    ];
    assert_eq!((code, said(&report)), (Some(1), want.to_vec()));
    assert!(blob.exists(), "looking changes nothing");

    let (code, report) = check(&place, &["--repair"]);
    assert_eq!((code, said(&report)), (Some(0), want.to_vec()));
    let moved = report["Faults"][0]["MovedTo"].as_str().unwrap();
    assert_eq!(fs::read(moved).unwrap(), bytes, "kept as it was");
    assert_eq!(names_of(&place, &[]), "quay.io/team/young");
    assert_eq!(check(&place, &[]).0, Some(0));
    // Removed with the image: nothing else refers to it.
    assert!(report["Leftovers"]["Layers"].as_u64().unwrap() >= 1);
    place.ok(&["load", "-q", "lay"]);
    assert_eq!(place.file("localhost/old:1", "o").unwrap(), b"old");
    assert_eq!(check(&place, &[]).0, Some(0));
}

#[test]
fn a_layer_that_lost_its_parts_is_found() {
    let place = Place::new();
    two_images(&place);
    let layer = layer_with(&place, "y");
    fs::remove_file(layer.join("info.json")).unwrap();
    let (code, report) = check(&place, &["--quick"]);
    let said = said(&report);
    assert_eq!((code, said.len()), (Some(1), 2), "{said:?}");
    assert!(said[0].ends_with("its info.json is missing"), "{said:?}");
    assert!(
        said[1].starts_with("image quay.io/team/young:2: it has lost the layer "),
        "{said:?}"
    );
    let text = place.run(&["system", "check", "--repair"]);
    assert_eq!(text.code, Some(0), "{}", text.err);
    assert!(
        text.out.contains("coracle pull quay.io/team/young:2"),
        "{}",
        text.out
    );
    place.ok(&["load", "-q", "lay"]);
    assert_eq!(place.file("quay.io/team/young:2", "y").unwrap(), b"young!");
}

#[test]
fn a_file_that_was_changed_in_a_layer_is_found() {
    let place = Place::new();
    two_images(&place);
    let layer = layer_with(&place, "y");
    fs::write(layer.join("diff/y"), b"older!").unwrap();
    assert_eq!(check(&place, &["--quick"]).0, Some(0), "nothing is read");
    let (code, report) = check(&place, &["--repair"]);
    let said = said(&report);
    assert_eq!((code, said.len()), (Some(0), 2), "{said:?}");
    assert!(
        said[0].contains("the unpacked layer was changed"),
        "{said:?}"
    );
    place.ok(&["load", "-q", "lay"]);
    assert_eq!(place.file("quay.io/team/young:2", "y").unwrap(), b"young!");
    assert_eq!(check(&place, &[]).0, Some(0));
}

#[test]
fn records_that_cannot_be_read_do_not_stop_everything_for_ever() {
    let place = Place::new();
    let [old, _] = two_images(&place);
    let container = place.root().join("containers").join("c".repeat(64));
    fs::create_dir(&container).unwrap();
    fs::write(container.join("config.json"), "[1").unwrap();
    fs::write(container.join("config.json"), "{\"annotations\": 7}").unwrap();
    for name in place.names("images") {
        let path = place.root().join("images").join(name);
        if fs::read_to_string(&path).unwrap().contains(&old.id()) {
            fs::write(&path, "{\"reference\":\x1b[31m").unwrap();
        }
    }
    assert!(place.fails(&["images"]).contains("is damaged"));
    let text = place.run(&["system", "check"]);
    assert_eq!(text.code, Some(1));
    assert!(!text.out.contains('\x1b'), "{:?}", text.out);
    let (code, report) = check(&place, &["--repair"]);
    assert_eq!((code, said(&report).len()), (Some(0), 2), "{report}");
    assert_eq!(names_of(&place, &[]), "quay.io/team/young");
    assert_eq!(place.names("quarantine").len(), 2);
    assert!(!container.exists());
}

#[test]
fn strangers_in_the_store_are_put_aside() {
    let place = Place::new();
    two_images(&place);
    fs::write(place.root().join("blobs/sha256/not-a-digest"), "x").unwrap();
    fs::create_dir(place.root().join("layers/nor-this")).unwrap();
    let (code, report) = check(&place, &[]);
    let said = said(&report);
    assert_eq!((code, said.len()), (Some(1), 2), "{said:?}");
    assert!(
        said.iter().all(|s| s.ends_with("its name is no digest")),
        "{said:?}"
    );
    assert_eq!(check(&place, &["-r"]).0, Some(0));
    assert_eq!(place.names("quarantine").len(), 2);
    assert_eq!(names_of(&place, &[]), "quay.io/team/young localhost/old");
}
