//! Containers: ids and names, who holds one, what goes with the last holder.

use rustix::fs::Mode;

use super::*;

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
        assert!(lock::try_lock(&look, lock::Kind::Shared).unwrap());
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

#[test]
fn what_an_rm_container_leaves_serves_the_next() {
    let (_dir, store) = store();
    let containers = store.containers();
    let inode = |path: &Path| rustix::fs::stat(path).unwrap().st_ino;
    let make = |id: &str| {
        let c = containers.create(id, None, true).unwrap();
        std::fs::create_dir(c.upper()).unwrap();
        let _ = std::fs::create_dir(c.work());
        c
    };
    let config = |id: &str| {
        let entry = containers.find(id).unwrap();
        containers.config::<serde_json::Value>(&entry).unwrap()
    };
    let first = make("111111111111");
    first.write_config(br#"{"long": "configuration"}"#).unwrap();
    let (dir, upper) = (inode(first.path()), inode(&first.upper()));
    // Held, so that its number is not given to another directory.
    let _old_upper = File::open(first.upper()).unwrap();
    first.remove().unwrap();
    assert_eq!(containers.list().unwrap(), []);
    store.sweep().unwrap();

    let second = make("222222222222");
    assert_eq!(inode(second.path()), dir, "it was not used again");
    assert_ne!(inode(&second.upper()), upper, "the writable layer was");
    assert_eq!(config("222222222222"), None, "of the first container");
    second.write_config(b"{}").unwrap();
    assert_eq!(config("222222222222"), Some(serde_json::json!({})));

    // Two at once: there is one spare.
    let third = make("333333333333");
    third.write_config(b"{}").unwrap();
    second.remove().unwrap();
    third.remove().unwrap();
    assert_eq!(atomic::names(&store.path("ephemeral")).unwrap(), [".spare"]);

    // Written to: nothing of it stays.
    let fourth = make("444444444444");
    fourth.write_config(b"{}").unwrap();
    std::fs::write(fourth.upper().join("file"), "").unwrap();
    fourth.remove().unwrap();
    assert_eq!(atomic::names(&store.path("ephemeral")).unwrap(), [""; 0]);
}
