//! `ps` and `rm` on containers made here: what they say of one that runs, has ended, was killed, or is
//! damaged, and what stays when one is removed. A container "runs" while its directory is locked, so
//! none of this needs a namespace.

#![allow(clippy::unwrap_used, reason = "tests")]

mod layout;

use coracle::store::ContainerDir;
use layout::{Image, Place};
use serde_json::{Value, json};

/// A container whose id is this, over and over; it runs until it is dropped.
fn container(place: &Place, digit: &str, name: Option<&str>, image: Option<&str>) -> ContainerDir {
    let store = place.store();
    let dir = store
        .containers()
        .create(&digit.repeat(64 / digit.len()), name, false)
        .unwrap();
    let mut annotations = json!({"io.coracle.labels": r#"{"a":"b","c":"d"}"#});
    if let Some(image) = image {
        let record = store.images().find(image).unwrap();
        annotations["io.coracle.image"] = serde_json::to_string(&record).unwrap().into();
    }
    let config = json!({
        "ociVersion": "1.2.0",
        "process": {"args": ["sleep", "a\u{1b}[2Jb"]},
        "linux": {"namespaces": [{"type": "user"}, {"type": "network"}]},
        "annotations": annotations,
    });
    dir.write_config(config.to_string().as_bytes()).unwrap();
    dir
}

fn ended(dir: ContainerDir, code: u8) {
    let state = json!({"status": "exited", "exitCode": code, "finishedAt": "2020-01-01T00:00:00Z"});
    dir.write_state(state.to_string().as_bytes()).unwrap();
    release(dir);
}

/// It runs no more. The process of another test that is just being made has a copy of its lock for a moment.
fn release(dir: ContainerDir) {
    use rustix::fs::{FlockOperation, flock};
    let path = std::fs::File::open(dir.path()).unwrap();
    drop(dir);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while flock(&path, FlockOperation::NonBlockingLockShared).is_err() {
        assert!(std::time::Instant::now() < end, "somebody keeps the lock");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// One that was made so many seconds ago and has ended; its name is the digit.
fn made(place: &Place, digit: &str, age: u64) {
    let dir = container(place, digit, Some(digit), None);
    let config = std::fs::File::options()
        .write(true)
        .open(dir.path().join("config.json"))
        .unwrap();
    let then = std::time::SystemTime::now() - std::time::Duration::from_secs(age);
    config.set_modified(then).unwrap();
    ended(dir, 0);
}

fn place_with_image() -> (Place, Image) {
    let place = Place::new();
    let image = Image::new("localhost/app:1", &[&[("a", b"one")]]);
    image.write(&place.path("lay"));
    place.ok(&["load", "-q", "lay"]);
    (place, image)
}

#[test]
fn containers_are_listed_by_what_they_do() {
    let (place, _) = place_with_image();
    assert_eq!(
        place.ok(&["ps", "-a"]),
        "CONTAINER ID  IMAGE  COMMAND  CREATED  STATUS  PORTS  NAMES\n"
    );
    let running = container(&place, "a", Some("web"), Some("localhost/app:1"));
    ended(container(&place, "b", Some("job"), None), 7);
    // Killed with everything that watched it.
    release(container(&place, "c", None, None));

    let table = place.ok(&["ps"]);
    assert_eq!(table.lines().count(), 2, "{table}");
    let row = table.lines().nth(1).unwrap();
    let id = "a".repeat(12);
    assert!(
        row.starts_with(&format!("{id}  localhost/app:1  \"sleep a\\u{{1b}}[2Jb\"")),
        "{row}"
    );
    assert!(row.contains("  Up ") && row.ends_with("  web"), "{row}");

    let status = place.ok(&["ps", "-a", "--format", "{{.Names}} {{.State}} {{.Status}}"]);
    let mut lines: Vec<&str> = status.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines[0], " exited Exited (unknown)");
    assert!(
        lines[1].starts_with("job exited Exited (7) ") && lines[1].ends_with(" years ago"),
        "{status}"
    );
    assert!(lines[2].starts_with("web running Up "), "{status}");

    assert_eq!(place.ok(&["ps", "-q"]), format!("{id}\n"));
    assert_eq!(place.ok(&["ps", "-aq"]).lines().count(), 3);
    let long = "a".repeat(64);
    assert_eq!(place.ok(&["ps", "-q", "--no-trunc"]), format!("{long}\n"));
    assert_eq!(place.ok(&["ps", "--format", "table"]), table);

    let json = place.ok(&["ps", "--format", "json"]);
    assert!(!json.contains('\u{1b}'), "{json}");
    let json: Value = serde_json::from_str(&json).unwrap();
    let json = &json[0];
    assert_eq!(json["Image"], "localhost/app:1");
    assert_eq!(json["Labels"], serde_json::json!({"a": "b", "c": "d"}));
    assert_eq!(json["Exited"], false);
    release(running);
}

#[test]
fn the_youngest_comes_first() {
    let place = Place::new();
    for (digit, age) in [("a", 20), ("b", 10), ("c", 30)] {
        made(&place, digit, age);
    }
    let names = place.ok(&["ps", "-a", "--format", "{{.Names}}"]);
    assert_eq!(names, "b\na\nc\n");
}

#[test]
fn filters_choose_containers() {
    let (place, image) = place_with_image();
    // An image that begins with the layers of the first, and one that does not.
    let (base, above): (layout::Files<'_>, layout::Files<'_>) =
        (&[("a", b"one")], &[("b", b"two")]);
    Image::new("localhost/derived:2", &[base, above]).write(&place.path("derived"));
    Image::new("localhost/other:1", &[above]).write(&place.path("other"));
    place.ok(&["load", "-q", "derived"]);
    place.ok(&["load", "-q", "other"]);
    let web = container(&place, "a", Some("web"), Some("localhost/app:1"));
    ended(
        container(&place, "ab", Some("web-old"), Some("localhost/derived:2")),
        7,
    );
    ended(
        container(&place, "b", Some("my-web"), Some("localhost/other:1")),
        0,
    );
    ended(container(&place, "c", Some("job"), None), 7);

    let names = |args: &[&str]| {
        let out = place.ok(&[&["ps", "--format", "{{.Names}}"], args].concat());
        let mut names: Vec<&str> = out.lines().collect();
        names.sort_unstable();
        names.join(" ")
    };
    let short = &image.id()[7..19];
    let by_id = format!("ancestor={short}");
    let all = "job my-web web web-old";
    for (filters, want) in [
        (&["id=aa"][..], "web"),
        (&["id=aa", "id=ab"], "web web-old"),
        (&["id=zz"], ""),
        (&["name=web"], "my-web web web-old"),
        (&["name=^web"], "web web-old"),
        (&["name=^/web$"], "web"),
        (&["name=web$"], "my-web web"),
        (&["label=a"], all),
        (&["label=a=b", "label=c=d"], all),
        (&["label=a=b", "label=c=e"], ""),
        (&["label=b"], ""),
        (&["status=exited"], "job my-web web-old"),
        (&["status=running"], "web"),
        (&["status=exited", "status=running"], all),
        (&["status=created"], ""),
        (&["exited=7"], "job web-old"),
        (&["exited=7", "exited=0"], "job my-web web-old"),
        (&["exited=7", "name=job"], "job"),
        (&["ancestor=localhost/app:1"], "web web-old"),
        (&[&by_id], "web web-old"),
        (&["ancestor=localhost/derived:2"], "web-old"),
        (&["ancestor=localhost/none"], ""),
    ] {
        let mut args = vec!["-a"];
        args.extend(filters.iter().flat_map(|f| ["--filter", f]));
        assert_eq!(names(&args), want, "{filters:?}");
    }
    // Who asks for those that have ended sees them.
    assert_eq!(names(&["-f", "exited=0"]), "my-web");
    assert_eq!(names(&["-f", "status=exited", "-f", "name=job"]), "job");
    assert_eq!(names(&["-f", "name=web"]), "web");
    // An image that is gone is known by what was recorded with the container.
    place.ok(&["rmi", "-f", "localhost/other:1"]);
    assert_eq!(names(&["-a", "-f", "ancestor=localhost/other:1"]), "my-web");

    for (filter, why) in [
        ("colour=red", "unknown filter"),
        ("web", "KEY=VALUE"),
        ("name=", "KEY=VALUE"),
        ("name=w.*b", "regular expressions"),
        ("status=flying", "created, exited, paused"),
        ("exited=many", "0 to 255"),
    ] {
        let ran = place.run(&["ps", "--filter", filter]);
        assert_eq!(ran.code, Some(125), "{filter}");
        assert!(ran.err.contains(why), "{filter}: {}", ran.err);
    }
    release(web);
}

#[test]
fn the_last_ones_alone() {
    let place = Place::new();
    for (digit, age) in [("a", 30), ("b", 10), ("c", 20)] {
        made(&place, digit, age);
    }
    let names = |args: &[&str]| place.ok(&[&["ps", "--format", "{{.Names}}"], args].concat());
    assert_eq!(names(&["-n", "2"]), "b\nc\n");
    assert_eq!(names(&["--last", "9"]), "b\nc\na\n");
    assert_eq!(names(&["-l"]), "b\n");
    // The last of those that pass.
    assert_eq!(names(&["-l", "--filter", "name=a"]), "a\n");
    assert_eq!(place.ok(&["ps", "-lq"]), format!("{}\n", "b".repeat(12)));
    assert_eq!(place.run(&["ps", "-l", "-n", "2"]).code, Some(125));
}

#[test]
fn one_that_is_being_made_is_not_running_yet() {
    let place = Place::new();
    let store = place.store();
    let dir = store
        .containers()
        .create(&"d".repeat(64), Some("soon"), false)
        .unwrap();
    for half in [&b""[..], br#"{"process":{"ar"#] {
        dir.write_config(half).unwrap();
        assert_eq!(place.ok(&["ps", "-q"]), "");
        assert_eq!(
            place.ok(&["ps", "-a", "--format", "{{.Names}} {{.Status}}"]),
            "soon Created\n"
        );
    }
    release(dir);
    assert_eq!(place.ok(&["ps", "-aq"]), "", "garbage is not listed");
}

#[test]
fn an_ephemeral_one_is_listed_while_it_runs() {
    let place = Place::new();
    let store = place.store();
    let dir = store
        .containers()
        .create(&"e".repeat(64), None, true)
        .unwrap();
    dir.write_config(br#"{"process":{"args":["true"]}}"#)
        .unwrap();
    assert_eq!(place.ok(&["ps", "-q"]).lines().count(), 1);
    release(dir);
    assert_eq!(place.ok(&["ps", "-aq"]), "");
}

#[test]
fn containers_are_removed_by_name_and_id() {
    let place = Place::new();
    ended(container(&place, "a", Some("web"), None), 0);
    ended(container(&place, "b", None, None), 0);
    ended(container(&place, "c", None, None), 0);
    assert_eq!(place.ok(&["rm", "web", "bbbb"]), "web\nbbbb\n");
    assert_eq!(place.ok(&["ps", "-aq"]), format!("{}\n", "c".repeat(12)));
    // The name is free, the rest is gone.
    assert_eq!(place.names("containers").len(), 2);
    assert_eq!(place.names("containers/.names"), [""; 0]);
    assert_eq!(place.names("tmp"), [""; 0]);

    let none = place.run(&["rm", "nope", "cc"]);
    assert_eq!((none.code, none.out.as_str()), (Some(1), "cc\n"));
    assert!(none.err.contains("nope: no such container"), "{}", none.err);
    assert_eq!(place.ok(&["rm", "-f", "nope"]), "");
    for usage in [&["rm"][..], &["rm", "-a", "x"]] {
        assert_eq!(place.run(usage).code, Some(125), "{usage:?}");
    }
}

#[test]
fn a_running_container_stays() {
    let place = Place::new();
    let running = container(&place, "a", Some("web"), None);
    ended(container(&place, "b", Some("job"), None), 0);
    // Nobody says who runs it, and so nobody can be asked to end it.
    for (args, code, what) in [
        (&["rm", "web"][..], 2, "is running"),
        (&["rm", "-f", "web"], 125, "does not answer"),
        (&["rm", "-af"], 125, "does not answer"),
    ] {
        let ran = place.run(args);
        assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.err);
        assert!(
            ran.err.contains(what) && ran.err.contains("hint: "),
            "{}",
            ran.err
        );
    }
    assert!(running.path().join("config.json").exists());
    assert_eq!(
        place.ok(&["ps", "-a", "--format", "{{.Names}}"]),
        "web\n",
        "--all removed the other one"
    );
    release(running);
    place.ok(&["rm", "web"]);
}

#[test]
fn an_image_that_was_removed_goes_with_its_last_container() {
    let (place, image) = place_with_image();
    ended(
        container(&place, "a", Some("web"), Some("localhost/app:1")),
        0,
    );
    assert_eq!(place.run(&["rmi", "localhost/app:1"]).code, Some(2));
    place.ok(&["rmi", "-f", "localhost/app:1"]);
    assert_eq!(place.names("layers").len(), 1, "the container needs it");
    assert!(
        place
            .ok(&["ps", "-a", "--no-trunc", "--format", "{{.ImageID}}"])
            .contains(image.id().trim_start_matches("sha256:"))
    );
    place.ok(&["rm", "web"]);
    for dir in ["layers", "blobs/sha256", "tmp"] {
        assert_eq!(place.names(dir), [""; 0], "{dir}");
    }
}

#[test]
fn annotations_of_ours_cannot_be_forged() {
    let place = Place::new();
    let e = place.fails(&[
        "run",
        "--rootfs",
        "--annotation",
        "io.coracle.image={}",
        "/",
    ]);
    assert!(e.contains("io.coracle.image"), "{e}");
    assert_eq!(place.names("containers"), [".names"]);
}

#[test]
fn a_name_like_an_id_stands_in_for_nobody() {
    let place = Place::new();
    let id = "a".repeat(64);
    let running = container(&place, "b", Some(&id), None);
    ended(container(&place, "a", Some("job"), None), 0);
    assert_eq!(
        place.ok(&["container", "prune", "-f"]).lines().next(),
        Some(&id[..])
    );
    assert_eq!(
        place.ok(&["ps", "-a", "--format", "{{.Names}}"]),
        format!("{id}\n")
    );
    release(running);
    ended(container(&place, "a", None, None), 0);
    place.ok(&["rm", &id]);
    assert_eq!(
        place.ok(&["ps", "-a", "--format", "{{.Names}}"]),
        format!("{id}\n")
    );
}
