//! Volumes: names, two makers, who pins one, what goes with its container.

use std::time::Duration;

use super::*;

const ID: &str = "0123456789abcdef";
const OTHER: &str = "fedcba9876543210";

fn named(name: &str) -> VolumeRecord {
    VolumeRecord {
        name: name.to_owned(),
        created_at: "2026-01-01T00:00:00Z".to_owned(),
        ..VolumeRecord::default()
    }
}

fn anonymous(name: &str) -> VolumeRecord {
    VolumeRecord {
        anonymous: true,
        ..named(name)
    }
}

fn names(store: &Store) -> Vec<String> {
    let all = store.volumes().list().unwrap().into_iter();
    all.map(|v| v.record.name).collect()
}

/// A container that mounts these volumes.
fn container(store: &Store, id: &str, volumes: &[&str], autoremove: bool) -> ContainerDir {
    let container = store.containers().create(id, None, autoremove).unwrap();
    let mounted: Vec<Mounted> = volumes
        .iter()
        .map(|name| Mounted {
            kind: MountKind::Volume,
            name: (*name).to_owned(),
            source: PathBuf::new(),
            target: format!("/{name}").into(),
            options: vec![],
            image: None,
        })
        .collect();
    let mounted = serde_json::to_string(&mounted).unwrap();
    let config = serde_json::json!({"annotations": {MOUNTS_ANNOTATION: mounted}});
    container
        .write_config(config.to_string().as_bytes())
        .unwrap();
    container
}

#[test]
fn a_volume_is_made_once_and_found_by_its_name() {
    let (_dir, store) = store();
    let volumes = store.volumes();
    let record = VolumeRecord {
        labels: [("a".to_owned(), "b".to_owned())].into(),
        needs_copy_up: true,
        ..named("data")
    };
    assert!(volumes.create(&record).unwrap());
    assert!(!volumes.create(&named("data")).unwrap());
    let found = volumes.get("data").unwrap().unwrap();
    assert_eq!(found.record, record, "the first one's");
    assert!(found.data().is_dir());
    assert_eq!(volumes.layer("data").unwrap().tree, found.data());
    volumes.create(&named("date")).unwrap();
    assert_eq!(volumes.find("data").unwrap().record.name, "data");
    let e = volumes.find("da").unwrap_err();
    assert!(
        matches!(&e, Error::AmbiguousVolume { matches, .. } if matches.len() == 2),
        "{e}"
    );
    for none in ["x", "", "../meta.json", "."] {
        let e = volumes.find(none).unwrap_err();
        assert!(matches!(e, Error::NoSuchVolume(_)), "{none}: {e}");
    }
    for bad in [
        "",
        ".",
        "..",
        "a/b",
        "../x",
        "-a",
        "a b",
        "a\0",
        &"a".repeat(201),
    ] {
        let e = volumes.create(&named(bad)).unwrap_err();
        assert!(matches!(e, Error::BadVolumeName(_)), "{bad}: {e}");
        assert!(
            volumes.lock(bad).is_err()
                && volumes.remove(bad).is_err()
                && volumes.layer(bad).is_err()
        );
    }
    assert_eq!(names(&store), ["data", "date"]);
    assert!(tmp_names(&store).is_empty());
}

#[test]
fn of_two_makers_one_makes_it() {
    let (_dir, store) = store();
    let made = std::thread::scope(|scope| {
        let makers: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| store.volumes().create(&named("data")).unwrap()))
            .collect();
        let made = makers.into_iter().map(|m| m.join().unwrap());
        made.filter(|m| *m).count()
    });
    assert_eq!(made, 1);
    assert!(tmp_names(&store).is_empty());
}

#[test]
fn a_configuration_pins_a_volume() {
    let (_dir, store) = store();
    let volumes = store.volumes();
    volumes.create(&named("data")).unwrap();
    // It need not exist: its container is about to make it.
    let ended = container(&store, ID, &["data", "data", "other"], false);
    drop(ended);
    assert_eq!(volumes.users("data").unwrap(), [ID]);
    assert_eq!(volumes.users("other").unwrap(), [ID]);
    let e = volumes.remove("data").unwrap_err();
    assert!(
        matches!(&e, Error::VolumeInUse { container, .. } if container == ID),
        "{e}"
    );
    let entry = store.containers().find(ID).unwrap();
    store.containers().remove(&entry).unwrap();
    // Somebody imports into it.
    let lock = volumes.lock("data").unwrap();
    let e = volumes.remove("data").unwrap_err();
    assert!(matches!(e, Error::VolumeBusy(_)), "{e}");
    let e = impatient(&store).volumes().lock("data").unwrap_err();
    assert!(matches!(e, Error::LockTimeout { .. }), "{e}");
    drop(lock);
    // Another test may have forked meanwhile, and with it everybody's locks.
    let removed = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        volumes.remove("data").is_ok()
    });
    assert!(removed);
    assert!(matches!(
        volumes.remove("data"),
        Err(Error::NoSuchVolume(_))
    ));
    assert!(matches!(volumes.lock("data"), Err(Error::NoSuchVolume(_))));
    assert!(names(&store).is_empty() && tmp_names(&store).is_empty());
}

#[test]
fn whoever_waits_for_the_lock_of_a_volume_that_goes_finds_none() {
    let (_dir, store) = store();
    store.volumes().create(&named("data")).unwrap();
    let lock = store.volumes().lock("data").unwrap();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| store.volumes().lock("data").map(drop));
        std::thread::sleep(Duration::from_millis(50));
        // As a removal would, had it the lock.
        let path = store.root().join("volumes/data");
        std::fs::rename(path, store.root().join("tmp/trash-x")).unwrap();
        drop(lock);
        assert!(matches!(waits.join().unwrap(), Err(Error::NoSuchVolume(_))));
    });
}

#[test]
fn anonymous_volumes_go_with_the_last_container() {
    let (_dir, store) = store();
    let volumes = store.volumes();
    for record in [anonymous("own"), anonymous("shared"), named("kept")] {
        volumes.create(&record).unwrap();
    }
    let all = ["own", "shared", "kept"];
    let first = container(&store, ID, &all, false);
    let second = container(&store, OTHER, &["shared"], false);
    let all = all.map(str::to_owned);
    assert_eq!(volumes.remove_anonymous(&all, ID).unwrap(), ["own"]);
    assert_eq!(names(&store), ["kept", "shared"]);
    first.remove().unwrap();
    assert_eq!(volumes.remove_anonymous(&all, OTHER).unwrap(), ["shared"]);
    second.remove().unwrap();
    assert_eq!(names(&store), ["kept"]);
    // What is no name, or is not there, is nobody's.
    let odd = ["../kept".to_owned(), "none".to_owned()];
    assert!(volumes.remove_anonymous(&odd, ID).unwrap().is_empty());
}

#[test]
fn a_sweep_takes_the_volumes_of_a_dead_container_along() {
    let (_dir, store) = store();
    let volumes = store.volumes();
    for record in [anonymous("own"), anonymous("shared"), named("kept")] {
        volumes.create(&record).unwrap();
    }
    let dead = container(&store, ID, &["own", "shared", "kept"], true);
    let other = container(&store, OTHER, &["shared"], false);
    store.sweep().unwrap();
    assert_eq!(names(&store), ["kept", "own", "shared"], "it lives");
    drop(dead);
    store.sweep().unwrap();
    assert_eq!(names(&store), ["kept", "shared"]);
    assert!(store.containers().find(ID).is_err());
    drop(other);
    assert!(tmp_names(&store).is_empty());
}

#[test]
fn a_mounted_image_keeps_its_layers() {
    let (_dir, store) = store();
    let mut image = record(None, "mounted");
    image.restated = None;
    for id in image.stack() {
        publish_layer(&store, id);
    }
    let created = store.containers().create(ID, None, false).unwrap();
    let mounted = [Mounted {
        kind: MountKind::Image,
        name: "i".to_owned(),
        source: PathBuf::new(),
        target: "/i".into(),
        options: vec![],
        image: Some(image.clone()),
    }];
    let mounted = serde_json::to_string(&mounted).unwrap();
    let config = serde_json::json!({"annotations": {MOUNTS_ANNOTATION: mounted}});
    created.write_config(config.to_string().as_bytes()).unwrap();
    store.gc(&[]).unwrap();
    assert!(image.stack().all(|id| store.has_layer(id)));
    created.remove().unwrap();
    store.gc(&[]).unwrap();
    assert!(!image.stack().any(|id| store.has_layer(id)));
}
