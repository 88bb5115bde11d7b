//! Images: names, ids, and layers that appear whole; what is collected and what stays.

use super::*;
use crate::oci::Reference;

#[test]
fn layers_appear_whole_or_not_at_all() {
    let (_dir, store) = store();
    let diff_id = Digest::of(b"layer");
    {
        let draft = store.layers().begin(&diff_id).unwrap();
        let mode = rustix::fs::fstat(draft.dir()).unwrap().st_mode;
        assert_eq!(mode & 0o7777, 0o755);
        store.sweep().unwrap();
        assert_eq!(tmp_names(&store).len(), 1, "a live draft was swept");
    }
    assert_eq!(tmp_names(&store), [""; 0]);
    assert!(!store.has_layer(&diff_id));
    // Two at once: the second finds it done.
    let second = store.layers().begin(&diff_id).unwrap();
    publish_layer(&store, &diff_id);
    let info = store.layers().info(&diff_id).unwrap().unwrap();
    second.publish(&info).unwrap();
    assert!(store.has_layer(&diff_id) && store.layer_path(&diff_id).is_dir());
    assert_eq!(tmp_names(&store), [""; 0]);
    // Content that is not what was promised.
    let other = store.layers().begin(&Digest::of(b"other")).unwrap();
    assert!(matches!(
        other.publish(&info),
        Err(Error::WrongDigest { .. })
    ));
    assert!(!store.has_layer(&Digest::of(b"other")));
}

#[test]
fn what_a_dead_process_left_is_swept() {
    let (_dir, store) = store();
    for name in ["layer-dead", "trash-dead"] {
        let dir = store.tmp().join(name);
        std::fs::create_dir_all(dir.join("diff/locked")).unwrap();
        std::fs::write(dir.join("diff/locked/f"), "").unwrap();
        let none = std::fs::Permissions::from_mode(0o000);
        std::fs::set_permissions(dir.join("diff/locked"), none).unwrap();
    }
    std::fs::write(store.tmp().join("file-dead"), "half a rec").unwrap();
    std::fs::write(store.tmp().join("lease-dead"), "").unwrap();
    std::fs::write(store.tmp().join("partial-sha256-00"), "").unwrap();
    std::os::unix::fs::symlink("/etc", store.tmp().join("odd")).unwrap();
    let _ = store.sweep();
    let mut left = tmp_names(&store);
    left.sort();
    assert_eq!(left, ["odd", "partial-sha256-00"]);
    std::fs::remove_file(store.tmp().join("odd")).unwrap();
    store.prune(&[]).unwrap();
    assert_eq!(tmp_names(&store), [""; 0]);
}

#[test]
fn images_are_found_by_name_id_and_digest() {
    let (_dir, store) = store();
    let images = store.images();
    let mut a = record(Some("debian:12"), "a");
    a.repositories = vec!["docker.io/library/debian".to_owned()];
    let b = record(Some("localhost:5000/b"), "b");
    images.put(&a).unwrap();
    images.put(&b).unwrap();
    assert_eq!(images.list().unwrap(), [a.clone(), b.clone()]);
    assert_eq!(images.find("debian:12").unwrap(), a);
    assert_eq!(images.find("docker.io/library/debian:12").unwrap(), a);
    for id in [
        a.id.hex(),
        a.id.short(),
        &a.id.to_string(),
        &a.id.hex()[..3],
    ] {
        assert_eq!(images.find(id).unwrap(), a, "{id}");
    }
    assert_eq!(images.find(&format!("debian@{}", a.manifest)).unwrap(), a);
    for missing in [
        "debian",
        "sha256:",
        "",
        "../../etc/passwd",
        &format!("x@{}", a.manifest),
    ] {
        let e = images.find(missing).unwrap_err();
        assert!(matches!(e, Error::NoSuchImage { .. }), "{missing}: {e}");
    }
    // Enough images for two ids that start alike.
    for i in 0..17 {
        images
            .put(&record(Some(&format!("x{i}")), &i.to_string()))
            .unwrap();
    }
    let clash = ('a'..='f').chain('0'..='9').map(String::from).find(|p| {
        matches!(images.find(p), Err(Error::AmbiguousImage { matches, .. }) if matches.len() > 1)
    });
    assert!(clash.is_some());
}

#[test]
fn an_image_that_lost_its_name_stays_until_removed() {
    let (_dir, store) = store();
    let images = store.images();
    let old = record(Some("app"), "old");
    let new = record(Some("app"), "new");
    images.put(&old).unwrap();
    images.put(&new).unwrap();
    let nameless = images.find(old.id.hex()).unwrap();
    assert_eq!(nameless.reference, None);
    assert_eq!(images.find("app").unwrap(), new);
    // A name brings it back.
    let name = "again".parse().unwrap();
    images.tag(&nameless, &name).unwrap();
    assert_eq!(images.list().unwrap().len(), 2);
    let only = std::slice::from_ref(&name);
    assert!(images.remove(&old.id, only, only).unwrap());
    assert!(!images.remove(&old.id, only, only).unwrap());
    assert!(matches!(
        images.find(old.id.hex()),
        Err(Error::NoSuchImage { .. })
    ));
    assert!(matches!(
        images.tag(&nameless, &name),
        Err(Error::NoSuchImage { .. })
    ));
    assert!(
        images
            .remove(
                &new.id,
                &[new.reference.clone().unwrap()],
                &[new.reference.clone().unwrap()]
            )
            .unwrap()
    );
    assert_eq!(images.list().unwrap(), []);
}

#[test]
fn a_name_that_came_meanwhile_is_not_lost() {
    let (_dir, store) = store();
    let images = store.images();
    let named = record(Some("app"), "a");
    let app = [named.reference.clone().unwrap()];
    images.put(&named).unwrap();
    // Two look: one sees the one name and wants to remove the image, the other gives it another name.
    let other: Reference = "other".parse().unwrap();
    images.tag(&named, &other).unwrap();
    assert!(!images.remove(&named.id, &app, &app).unwrap());
    assert_eq!(images.list().unwrap().len(), 2);
    let both = [app[0].clone(), other.clone()];
    assert!(images.remove(&named.id, &both, &app).unwrap());
    assert_eq!(images.list().unwrap()[0].reference, Some(other.clone()));
    // One sees no name, and wants to remove what nobody can call any more.
    images.put(&record(Some("other"), "b")).unwrap();
    assert_eq!(images.find(named.id.hex()).unwrap().reference, None);
    images.put(&named).unwrap();
    assert!(!images.remove(&named.id, &[], &[]).unwrap());
    // What comes without a name does not take one from another image.
    images.put(&record(Some("app"), "b")).unwrap();
    let stored = images.put(&record(None, "a")).unwrap();
    assert_eq!(stored.reference, None);
    assert_eq!(images.find("app").unwrap().id, record(None, "b").id);
    assert_eq!(
        images.put(&record(None, "b")).unwrap().reference,
        Some(app[0].clone())
    );
    assert!(images.remove(&named.id, &[], &[]).unwrap());
    assert!(images.find(named.id.hex()).is_err());
}

#[test]
fn a_damaged_record_is_named() {
    let (_dir, store) = store();
    store.images().put(&record(Some("a"), "a")).unwrap();
    let name = atomic::names(&store.path("images")).unwrap().remove(0);
    std::fs::write(store.path("images").join(&name), "{").unwrap();
    let e = store.images().list().unwrap_err();
    assert!(e.to_string().contains(&name), "{e}");
    // And nothing is collected on the strength of it.
    assert!(store.gc(&[]).is_err());
}

#[test]
fn collection_keeps_what_is_referred_to() {
    let (_dir, store) = store();
    let image = record(Some("kept"), "kept");
    let pinned = record(None, "pinned");
    let leased = record(None, "leased");
    let passed = record(None, "passed");
    let dead = record(None, "dead");
    for r in [&image, &pinned, &leased, &passed, &dead] {
        publish_layer(&store, &r.layers[0].diff_id);
    }
    for r in [&image, &dead] {
        publish_layer(&store, r.restated.as_ref().unwrap());
    }
    let config = store.blobs().put(b"keptconfig").unwrap();
    assert_eq!(config, image.id);
    let loose = store.blobs().put(b"loose").unwrap();
    store.images().put(&image).unwrap();
    let container = store
        .containers()
        .create(&"a".repeat(64), None, false)
        .unwrap();
    container.write_config(&config_of(&pinned)).unwrap();
    let lease = store.lease(leased.roots()).unwrap();
    let in_use = [passed.layers[0].diff_id.clone()];
    let collected = store.gc(&in_use).unwrap();
    assert_eq!(
        (collected.layers, collected.blobs, collected.bytes),
        (2, 1, 7 + 7 + 5)
    );
    assert!(store.has_layer(image.restated.as_ref().unwrap()));
    let has = |r: &ImageRecord| store.has_layer(&r.layers[0].diff_id);
    assert!(has(&image) && has(&pinned) && has(&leased) && has(&passed) && !has(&dead));
    assert!(store.blobs().has(&config) && !store.blobs().has(&loose));
    drop(lease);
    container.remove().unwrap();
    assert_eq!(store.gc(&[]).unwrap().layers, 3);
    assert!(has(&image));
    assert_eq!(tmp_names(&store), [""; 0]);
}

/// The configuration of a container of this image.
fn config_of(image: &ImageRecord) -> Vec<u8> {
    let record = serde_json::to_string(image).unwrap();
    serde_json::to_vec(&serde_json::json!({"annotations": {IMAGE_ANNOTATION: record}})).unwrap()
}

/// A list of these images, under a name.
fn list_of(name: &str, images: &[&ImageRecord]) -> ImageRecord {
    let id = Digest::of(format!("{name} {}", images.len()).as_bytes());
    let member = |image: &&ImageRecord| Member {
        digest: image.manifest.clone(),
        name: String::new(),
        image: Some(Box::new((*image).clone())),
        repository: None,
    };
    ImageRecord {
        id: id.clone(),
        manifest: id,
        layers: Vec::new(),
        restated: None,
        members: Some(images.iter().map(member).collect()),
        ..record(Some(name), "list")
    }
}

#[test]
fn a_list_keeps_its_images_and_nothing_of_what_it_was() {
    let (_dir, store) = store();
    let images = store.images();
    let image = record(Some("a"), "a");
    publish_layer(&store, &image.layers[0].diff_id);
    images.put(&image).unwrap();
    let name: Reference = "list:1".parse().unwrap();
    let change = |images: &Images<'_>, to: &ImageRecord| {
        images
            .change_list::<Error>(&name, |_| Ok(to.clone()))
            .unwrap()
    };
    change(&images, &list_of("list:1", &[]));
    let list = change(&images, &list_of("list:1", &[&image]));
    assert_eq!(list.size(), image.size());
    let shown = images.summaries().unwrap();
    let shown = shown.iter().find(|s| s.id == list.id).unwrap();
    assert_eq!((shown.is_list(), shown.size()), (true, image.size()));
    // One state of a list takes the place of the other; an image that loses its name stays.
    assert_eq!(images.list().unwrap().len(), 2);
    let names = [image.reference.clone().unwrap()];
    assert!(images.remove(&image.id, &names, &names).unwrap());
    store.gc(&[]).unwrap();
    assert!(store.has_layer(&image.layers[0].diff_id));
    let kept = images.by_id(&image.id).unwrap().unwrap();
    assert_eq!(kept.layers, image.layers);
    change(&images, &list_of("list:1", &[]));
    assert_eq!(images.by_id(&image.id).unwrap(), None);
    store.gc(&[]).unwrap();
    assert!(!store.has_layer(&image.layers[0].diff_id));
    // Whoever fails to make another one leaves the one that there is.
    let failed = images.change_list(&name, |_| Err(Error::BlobMissing(image.id.clone())));
    assert!(failed.is_err() && images.get(&name).unwrap().is_some());
    // A record of before lists reads as an image.
    let mut old = serde_json::to_value(record(None, "old")).unwrap();
    old.as_object_mut().unwrap().remove("members");
    assert!(
        !serde_json::from_value::<ImageRecord>(old)
            .unwrap()
            .is_list()
    );
}
