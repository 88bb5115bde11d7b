//! Tests of the store on a real file system: contention, death of a maker, damage, hostile input.

mod blobs;
mod containers;
mod images;
mod volumes;

use std::os::unix::fs::PermissionsExt as _;
use std::sync::mpsc;
use std::time::Duration;

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
        members: None,
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
        packed: None,
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
    let (done, until) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        let _guard = waiting.exclusive().unwrap();
        send.send(()).unwrap();
        let _ = until.recv();
    });
    // Time for it to open the file; if it comes later, there is nothing to be confused by.
    std::thread::sleep(Duration::from_millis(50));
    std::fs::remove_file(store.path(LOCK)).unwrap();
    drop(held);
    receive.recv().unwrap();
    // The thread has the new file's lock, not that of the unlinked one.
    assert!(impatient(&store).exclusive().is_err());
    drop(done);
}

#[test]
fn who_waits_to_be_alone_is_let_go_first() {
    let (_dir, store) = store();
    let held = store.shared().unwrap();
    let (send, order) = mpsc::channel();
    let wait = |name: &'static str, lock: fn(&Store) -> Result<Guard, Error>| {
        let (store, send) = (store.clone(), send.clone());
        std::thread::spawn(move || {
            let _guard = lock(&store).unwrap();
            send.send(name).unwrap();
        })
    };
    let alone = wait("alone", Store::exclusive);
    while !store.path(WANTED).exists() {
        std::thread::yield_now();
    }
    // Made first, then locked.
    std::thread::sleep(Duration::from_millis(20));
    // Who comes now waits, but not one who is waited for.
    let shared = wait("shared", Store::shared);
    let since = std::time::Instant::now();
    drop(store.shared().unwrap());
    assert!(since.elapsed() < Duration::from_millis(500));
    assert!(order.recv_timeout(Duration::from_millis(100)).is_err());
    drop(held);
    assert_eq!(
        [order.recv().unwrap(), order.recv().unwrap()],
        ["alone", "shared"]
    );
    alone.join().unwrap();
    shared.join().unwrap();
    assert!(!store.path(WANTED).exists());
    // One who died while he waited holds up nobody.
    std::fs::write(store.path(WANTED), "").unwrap();
    let since = std::time::Instant::now();
    drop(store.shared().unwrap());
    assert!(since.elapsed() < Duration::from_millis(500));
    assert!(!store.path(WANTED).exists());
}
