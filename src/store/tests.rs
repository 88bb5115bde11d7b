//! Tests of the store on a real file system: contention, death of a maker, damage, hostile input.

use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::mpsc;
use std::time::Duration;

use rustix::fs::Mode;

use super::*;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("s")).unwrap();
    (dir, store)
}

fn impatient(store: &Store) -> Store {
    Store {
        timeout: Duration::from_millis(60),
        ..store.clone()
    }
}

fn record(name: Option<&str>, seed: &str) -> ImageRecord {
    let d = |s: &str| Digest::of(format!("{seed}{s}").as_bytes());
    ImageRecord {
        reference: name.map(|n| n.parse().unwrap()),
        id: d("config"),
        manifest: d("manifest"),
        index: None,
        platform: "linux/amd64".to_owned(),
        layers: vec![ImageLayer {
            diff_id: d("diff"),
            blob: d("blob"),
            blob_size: 1,
            size: 2,
        }],
        restated: Some(d("restated")),
        created: None,
        repositories: vec![],
    }
}

fn publish_layer(store: &Store, diff_id: &Digest) {
    let draft = store.layers().begin(diff_id).unwrap();
    std::fs::write(draft.sidecar(), "").unwrap();
    let info = LayerInfo {
        diff_id: diff_id.clone(),
        size: 7,
        entries: 1,
        tar_bytes: 512,
    };
    draft.publish(&info).unwrap();
}

fn tmp_names(store: &Store) -> Vec<String> {
    atomic::names(&store.tmp()).unwrap()
}

#[test]
fn a_new_store_is_private_and_opens_again() {
    let (_dir, store) = store();
    let mode = std::fs::metadata(store.root())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
    Store::open(store.root()).unwrap();
    assert_eq!(tmp_names(&store), [""; 0]);
}

#[test]
fn another_version_is_refused() {
    let (_dir, store) = store();
    std::fs::write(store.path(META), r#"{"version":2,"future":[1,2]}"#).unwrap();
    let e = Store::open(store.root()).unwrap_err();
    assert!(matches!(e, Error::Version { found: 2, .. }), "{e}");
    assert!(
        e.to_string().contains("version 2") && e.hint().is_some(),
        "{e}"
    );
    std::fs::write(store.path(META), "").unwrap();
    assert!(matches!(Store::open(store.root()), Err(Error::Meta { .. })));
}

#[test]
fn a_directory_with_other_things_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("thesis.tex"), "").unwrap();
    let e = Store::open(dir.path()).unwrap_err();
    assert!(matches!(e, Error::NotAStore { .. }), "{e}");
    assert_eq!(atomic::names(dir.path()).unwrap(), ["thesis.tex"]);
}

#[test]
fn a_creation_that_was_interrupted_is_completed() {
    let (_dir, store) = store();
    std::fs::remove_file(store.path(META)).unwrap();
    std::fs::remove_dir(store.path("layers")).unwrap();
    let again = Store::open(store.root()).unwrap();
    publish_layer(&again, &Digest::of(b"x"));
}

#[test]
fn locks_exclude_and_time_out_with_the_holder() {
    let (_dir, store) = store();
    let a = store.shared().unwrap();
    let b = store.shared().unwrap();
    let e = impatient(&store).exclusive().unwrap_err();
    let Error::LockTimeout { path, holder, .. } = &e else {
        panic!("{e}")
    };
    assert_eq!(*path, store.path(LOCK));
    if let Some(holder) = holder {
        assert!(
            holder.contains(&format!("pid {}", std::process::id())),
            "{holder}"
        );
    }
    assert!(e.hint().unwrap().contains("CORACLE_LOCK_TIMEOUT"));
    drop((a, b));
    let _alone = store.exclusive().unwrap();
    assert!(impatient(&store).shared().is_err());
}

#[test]
fn a_lock_file_that_was_unlinked_does_not_lock() {
    let (_dir, store) = store();
    let held = store.exclusive().unwrap();
    let waiting = store.clone();
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || send.send(waiting.exclusive().unwrap()).unwrap());
    // Time for it to open the file; if it comes later, there is nothing to be confused by.
    std::thread::sleep(Duration::from_millis(50));
    std::fs::remove_file(store.path(LOCK)).unwrap();
    drop(held);
    let _guard = receive.recv().unwrap();
    // The thread has the new file's lock, not that of the unlinked one.
    assert!(impatient(&store).exclusive().is_err());
}

#[test]
fn blobs_are_checked_when_read() {
    let (_dir, store) = store();
    let blobs = store.blobs();
    let digest = blobs.put(b"{}").unwrap();
    assert!(blobs.has(&digest));
    assert_eq!(blobs.read(&digest, 2).unwrap(), b"{}");
    assert!(matches!(
        blobs.read(&digest, 1),
        Err(Error::BlobTooLarge { .. })
    ));
    std::fs::write(blobs.path(&digest), "{ ").unwrap();
    let e = blobs.read(&digest, 9).unwrap_err();
    assert!(matches!(e, Error::BlobCorrupt { .. }), "{e}");
    // Putting it again heals it.
    blobs.put(b"{}").unwrap();
    assert_eq!(blobs.read(&digest, 2).unwrap(), b"{}");
    let none = Digest::of(b"none");
    assert!(matches!(blobs.read(&none, 9), Err(Error::BlobMissing(_))));
    assert!(matches!(
        blobs.put_as(&none, b"x"),
        Err(Error::WrongDigest { .. })
    ));
}

/// A source that breaks after `n` bytes.
struct Breaks<'a>(&'a [u8], usize);

impl Read for Breaks<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.1 == 0 {
            return Err(io::Error::other("connection reset"));
        }
        let n = buf.len().min(self.1).min(self.0.len());
        buf[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        self.1 -= n;
        Ok(n)
    }
}

fn drain(mut r: impl Read) -> Result<Vec<u8>, Error> {
    let mut all = Vec::new();
    match r.read_to_end(&mut all) {
        Ok(_) => Ok(all),
        Err(e) => Err(*e.into_inner().unwrap().downcast().unwrap()),
    }
}

fn content() -> Vec<u8> {
    (0..3_000_000u32).flat_map(u32::to_le_bytes).collect()
}

#[test]
fn a_fetch_that_broke_is_resumed() {
    let (_dir, store) = store();
    let bytes = content();
    let digest = Digest::of(&bytes);
    let size = bytes.len() as u64;
    {
        let mut ingest = store.blobs().ingest(&digest, size, Keep::Blob).unwrap();
        assert_eq!(ingest.resume_offset(), 0);
        let mut sink = Vec::new();
        let broken = ingest
            .reader(Breaks(&bytes, 1_234_567))
            .read_to_end(&mut sink);
        assert!(broken.is_err());
        assert!(!ingest.is_complete());
    }
    store.sweep().unwrap();
    {
        let mut ingest = store.blobs().ingest(&digest, size, Keep::Blob).unwrap();
        assert_eq!(ingest.resume_offset(), 1_234_567);
        let rest = &bytes[1_234_567..];
        assert_eq!(drain(ingest.reader(rest)).unwrap(), bytes);
        assert!(ingest.is_complete());
    }
    assert!(store.blobs().is_sound(&digest).unwrap());
    assert_eq!(tmp_names(&store), [""; 0]);
    // Once it is there the source is not asked.
    let mut ingest = store.blobs().ingest(&digest, size, Keep::Blob).unwrap();
    assert_eq!(ingest.resume_offset(), size);
    assert_eq!(drain(ingest.reader(Breaks(&[], 0))).unwrap(), bytes);
}

#[test]
fn wrong_bytes_are_never_published_nor_kept() {
    let (_dir, store) = store();
    let bytes = content();
    let digest = Digest::of(&bytes);
    let size = bytes.len() as u64;
    let mut evil = bytes.clone();
    evil[5] ^= 1;
    let long = [&bytes[..], b"x"].concat();
    for (sent, kept) in [(&evil[..], 0), (&long, 0), (&bytes[..9], 9)] {
        let mut ingest = store.blobs().ingest(&digest, size, Keep::Blob).unwrap();
        let e = drain(ingest.reader(sent)).unwrap_err();
        match e {
            Error::WrongDigest { .. } | Error::Overlong { .. } => assert_eq!(kept, 0, "{e}"),
            Error::Truncated { have: 9, .. } => assert_eq!(kept, 9, "{e}"),
            e => panic!("{e}"),
        }
        drop(ingest);
        assert!(!store.blobs().has(&digest));
        let again = store.blobs().ingest(&digest, size, Keep::Blob).unwrap();
        assert_eq!(again.resume_offset(), kept);
    }
}

#[test]
fn a_blob_damaged_on_disk_is_found_out_and_fetched_anew() {
    let (_dir, store) = store();
    let bytes = content();
    let digest = Digest::of(&bytes);
    let size = bytes.len() as u64;
    drain(
        store
            .blobs()
            .ingest(&digest, size, Keep::Blob)
            .unwrap()
            .reader(&bytes[..]),
    )
    .unwrap();
    let mut bad = bytes.clone();
    bad[77] ^= 1;
    std::fs::write(store.blobs().path(&digest), &bad).unwrap();
    let mut ingest = store.blobs().ingest(&digest, size, Keep::Blob).unwrap();
    let e = drain(ingest.reader(io::empty())).unwrap_err();
    assert!(matches!(e, Error::BlobCorrupt { .. }), "{e}");
    drop(ingest);
    let mut ingest = store.blobs().ingest(&digest, size, Keep::Blob).unwrap();
    assert_eq!(ingest.resume_offset(), 0);
    drain(ingest.reader(&bytes[..])).unwrap();
    drop(ingest);
    // Cut short on disk: the same.
    std::fs::write(store.blobs().path(&digest), &bytes[..10]).unwrap();
    assert_eq!(
        store
            .blobs()
            .ingest(&digest, size, Keep::Blob)
            .unwrap()
            .resume_offset(),
        0
    );
}

#[test]
fn a_lie_about_the_size_does_not_cost_others_their_blob() {
    let (_dir, store) = store();
    let digest = store.blobs().put(b"shared by two images").unwrap();
    let e = store.blobs().ingest(&digest, 5, Keep::Blob).unwrap_err();
    assert!(
        matches!(
            e,
            Error::WrongSize {
                have: 20,
                want: 5,
                ..
            }
        ),
        "{e}"
    );
    assert!(store.blobs().has(&digest));
}

#[test]
fn two_fetches_of_one_blob_make_one() {
    let (_dir, store) = store();
    let bytes = content();
    let digest = Digest::of(&bytes);
    let size = bytes.len() as u64;
    let fetched: Vec<u64> = std::thread::scope(|s| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                s.spawn(|| {
                    let mut ingest = store.blobs().ingest(&digest, size, Keep::Blob).unwrap();
                    let from = ingest.resume_offset();
                    let rest = &bytes[usize::try_from(from).unwrap()..];
                    assert_eq!(drain(ingest.reader(rest)).unwrap().len(), bytes.len());
                    size - from
                })
            })
            .collect();
        workers.into_iter().map(|w| w.join().unwrap()).collect()
    });
    assert_eq!(fetched.iter().sum::<u64>(), size, "{fetched:?}");
}

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
    assert!(images.untag(&name, false).unwrap());
    assert!(!images.untag(&name, false).unwrap());
    assert!(matches!(
        images.find(old.id.hex()),
        Err(Error::NoSuchImage { .. })
    ));
    assert!(matches!(
        images.tag(&nameless, &name),
        Err(Error::NoSuchImage { .. })
    ));
    assert_eq!(images.remove(&new.id).unwrap().len(), 1);
    assert_eq!(images.list().unwrap(), []);
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

const ID: &str = "0123456789abcdef";

#[test]
fn a_configuration_cut_short_by_a_kill_is_none() {
    let (_dir, store) = store();
    let containers = store.containers();
    let container = containers.create(ID, Some("web"), false).unwrap();
    container.write_config(br#"{"annotations":{"a"#).unwrap();
    container.write_state(b"").unwrap();
    drop(container);
    let entry = containers.find("web").unwrap();
    assert!(containers.image(&entry).unwrap().is_none());
    assert!(containers.state::<u8>(&entry).unwrap().is_none());
    store.gc(&[]).unwrap();
    assert!(containers.list().unwrap().is_empty(), "garbage was kept");
    // Damage of any other kind is told.
    let container = containers.create(ID, None, false).unwrap();
    container.write_config(b"{]").unwrap();
    drop(container);
    assert!(matches!(store.gc(&[]), Err(Error::Record { .. })));
}

#[test]
fn containers_have_unique_ids_and_names() {
    let (_dir, store) = store();
    let containers = store.containers();
    let a = containers.create(ID, Some("web"), false).unwrap();
    let e = containers.create(ID, None, false).unwrap_err();
    assert!(matches!(e, Error::NameTaken { .. }), "{e}");
    let e = containers
        .create("fedcba987654", Some("web"), false)
        .unwrap_err();
    assert!(matches!(&e, Error::NameTaken { id, .. } if id == ID), "{e}");
    assert_eq!(
        containers.list().unwrap().len(),
        1,
        "the loser left its directory"
    );
    for bad in [
        "",
        "short",
        "../../../../etc",
        "0123456789ABCDEF",
        &"a".repeat(65),
    ] {
        let e = containers.create(bad, None, false).unwrap_err();
        assert!(matches!(e, Error::BadContainerId(_)), "{bad}");
    }
    for bad in [
        "",
        ".",
        "..",
        "a/b",
        "-a",
        ".names",
        "a b",
        &"n".repeat(300),
    ] {
        let e = containers
            .create("fedcba987654", Some(bad), false)
            .unwrap_err();
        assert!(matches!(e, Error::BadContainerName(_)), "{bad}");
    }
    let entry = containers.find("web").unwrap();
    assert_eq!(containers.find("0123").unwrap(), entry);
    assert!(containers.is_locked(&entry).unwrap());
    assert!(matches!(
        containers.remove(&entry),
        Err(Error::ContainerBusy(_))
    ));
    drop(a);
    assert!(!containers.is_locked(&entry).unwrap());
    // Somebody who looks on for a moment is not in the way. On a busy machine the moment may be long,
    // and so there are several.
    let removed = (0..20).any(|_| {
        let look = rustix::fs::open(&entry.path, atomic::DIR_FLAGS, Mode::empty()).unwrap();
        assert!(lock::try_lock(&look, Kind::Shared).unwrap());
        assert!(!containers.is_locked(&entry).unwrap());
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            drop(look);
        });
        containers.remove(&entry).is_ok()
    });
    assert!(removed);
    assert!(matches!(
        containers.find("web"),
        Err(Error::NoSuchContainer(_))
    ));
    // A name whose remover died between two steps is free again.
    std::os::unix::fs::symlink(ID, containers.store.path("containers/.names/web")).unwrap();
    containers.create(ID, Some("web"), false).unwrap();
}

#[test]
fn a_name_is_won_by_one() {
    let (_dir, store) = store();
    // Stale at the start: the takeover is part of the race.
    std::os::unix::fs::symlink(ID, store.path("containers/.names/n")).unwrap();
    // Nobody lets go before all have tried: a container whose maker left is stale, too.
    let attempts: Vec<_> = std::thread::scope(|s| {
        let workers: Vec<_> = (0..8)
            .map(|i| {
                let store = &store;
                let create = move || {
                    let id = format!("{i:012x}");
                    store.containers().create(&id, Some("n"), false)
                };
                s.spawn(create)
            })
            .collect();
        workers.into_iter().map(|w| w.join().unwrap()).collect()
    });
    assert_eq!(attempts.iter().filter(|a| a.is_ok()).count(), 1);
    assert_eq!(store.containers().list().unwrap().len(), 1);
}

#[test]
fn an_rm_container_is_swept_once_nobody_holds_it() {
    let (_dir, store) = store();
    let containers = store.containers();
    let run = containers.create(ID, Some("web"), true).unwrap();
    store.sweep().unwrap();
    assert_eq!(
        containers.list().unwrap().len(),
        1,
        "a live container was swept"
    );
    // A child has a duplicate: its parent's death alone frees nothing.
    let child = rustix::io::fcntl_dupfd_cloexec(&run, 0).unwrap();
    drop(run);
    store.sweep().unwrap();
    assert_eq!(containers.list().unwrap().len(), 1);
    drop(child);
    let kept = containers.create("fedcba987654", None, false).unwrap();
    drop(kept);
    std::fs::create_dir(store.path("ephemeral/abcabcabcabc")).unwrap();
    store.sweep().unwrap();
    let left = containers.list().unwrap();
    assert_eq!((left.len(), left[0].id.as_str()), (1, "fedcba987654"));
    assert_eq!(atomic::names(&store.path("ephemeral")).unwrap(), [""; 0]);
    assert_eq!(
        atomic::names(&store.path("containers/.names")).unwrap(),
        [""; 0]
    );
    // Its maker died before it was complete.
    store.gc(&[]).unwrap();
    assert_eq!(containers.list().unwrap(), []);
}

/// The configuration of a container of this image.
fn config_of(image: &ImageRecord) -> Vec<u8> {
    let record = serde_json::to_string(image).unwrap();
    serde_json::to_vec(&serde_json::json!({"annotations": {IMAGE_ANNOTATION: record}})).unwrap()
}
