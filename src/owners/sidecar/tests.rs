use super::*;
use std::path::PathBuf;

const OWNER: Owner = Owner {
    uid: 5,
    gid: 60000,
    mode: 0o4755,
    file_type: record::FileType::Char(1, 3),
};

fn written(fill: impl FnOnce(&mut Writer)) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("owners");
    let mut writer = Writer::create(&path).unwrap();
    fill(&mut writer);
    writer.finish().unwrap();
    (dir, path)
}

#[test]
fn sidecar_round_trip() {
    let (_dir, path) = written(|w| {
        w.own(b"a b/\xff\n%", &OWNER).unwrap();
        w.xattr(b"", b"security.x", b"\0 \n=").unwrap();
        w.xattr(b"", b"trusted.empty", b"").unwrap();
        w.implied(b"usr").unwrap();
    });
    let owners = Owners::read(&path).unwrap();
    assert_eq!(owners.get(b"a b/\xff\n%").unwrap().owner, Some(OWNER));
    assert_eq!(
        owners.get(b"").unwrap().xattrs,
        [
            (b"security.x".to_vec(), b"\0 \n=".to_vec()),
            (b"trusted.empty".to_vec(), b"".to_vec())
        ]
    );
    assert!(owners.get(b"usr").unwrap().implied);
    assert_eq!(owners.iter().count(), 3);
    let some = Owners::read_if(&path, |kind, path| kind == b"implied" || path == b"").unwrap();
    let paths: Vec<&[u8]> = some.iter().map(|(p, _)| p).collect();
    assert_eq!(paths, [&b""[..], b"usr"]);
}

#[test]
fn later_lines_take_back_earlier_ones() {
    let (_dir, path) = written(|w| {
        for p in [&b"a"[..], b"a/b", b"a-b", b"ab", b"c", b"c/d"] {
            w.own(p, &OWNER).unwrap();
        }
        w.gone(b"a").unwrap();
        w.reset(b"c").unwrap();
    });
    let owners = Owners::read(&path).unwrap();
    let left: Vec<&[u8]> = owners.iter().map(|(p, _)| p).collect();
    assert_eq!(left, [&b"a-b"[..], b"ab", b"c/d"]);
}

#[test]
fn damaged_sidecars_are_refused() {
    let read =
        |text: &[u8]| Owners::default().fill(text, Path::new("x"), Kind::Sealed, &mut |_, _| true);
    assert!(read(b"coracle-owners 1\nend 0\n").is_ok());
    for bad in [
        &b""[..],
        b"coracle-owners 2\nend 0\n",
        b"coracle-owners 1\n",
        b"coracle-owners 1\nend 1\n",
        b"coracle-owners 1\nend 0",
        b"coracle-owners 1\nimplied a\n",
        b"coracle-owners 1\nown 1 2 755 a\nend 1\n",
        b"coracle-owners 1\nown x 2 755 file a\nend 1\n",
        b"coracle-owners 1\nown 1 2 77755 file a\nend 1\n",
        b"coracle-owners 1\nimplied %4\nend 1\n",
        b"coracle-owners 1\nwhat a\nend 1\n",
        b"coracle-owners 1\n@1 reset a\nend 1\n",
        b"coracle-owners 1\n@1,2 gone a\nend 1\n",
    ] {
        assert!(read(bad).is_err(), "{}", bad.escape_ascii());
    }
}

#[test]
fn a_journal_follows_its_inodes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("owners");
    let record = |uid| Record {
        owner: Some(Owner { uid, ..OWNER }),
        xattrs: vec![(b"trusted.x".to_vec(), b"1".to_vec())],
        implied: false,
    };
    let node = |ino, birth| Node { ino, birth };
    let mut journal = Journal::open(&path, 0).unwrap();
    journal.set(b"a.new", Some(node(7, 5)), &record(1)).unwrap();
    journal.set(b"a.new", Some(node(8, 5)), &record(2)).unwrap();
    journal.set(b"a.new", Some(node(8, 5)), &record(3)).unwrap();
    journal.set(b"old", Some(node(9, 0)), &record(4)).unwrap();
    journal.set(b"named", None, &record(5)).unwrap();
    let (owners, sound) = Owners::read_journal(&path).unwrap();
    let uid = |o: &Owners, path: &[u8], node| o.of(path, node).map(|r| r.owner.unwrap().uid);
    // Renamed, and another one of the same name after it.
    assert_eq!(uid(&owners, b"a", node(7, 5)), Some(1));
    assert_eq!(uid(&owners, b"b", node(8, 5)), Some(3));
    assert_eq!(owners.of(b"b", node(8, 5)).unwrap().xattrs.len(), 1);
    // The number of a dead inode, used again.
    assert_eq!(uid(&owners, b"a.new", node(7, 6)), None);
    assert_eq!(uid(&owners, b"old", node(9, 0)), Some(4));
    assert_eq!(uid(&owners, b"new", node(9, 0)), None);
    assert_eq!(uid(&owners, b"named", node(10, 0)), Some(5));

    // A writer that was killed, and its successor.
    let whole = std::fs::read(&path).unwrap();
    assert_eq!(sound, whole.len() as u64);
    std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();
    let (cut, sound) = Owners::read_journal(&path).unwrap();
    assert_eq!(cut.of(b"named", node(10, 0)).unwrap().xattrs, []);
    let mut journal = Journal::open(&path, sound).unwrap();
    journal.set(b"named", None, &record(5)).unwrap();
    assert_eq!(Owners::read_journal(&path).unwrap().0, owners);
    // As if nothing had been written.
    std::fs::write(&path, &MAGIC[..5]).unwrap();
    let (none, sound) = Owners::read_journal(&path).unwrap();
    assert!(none.is_empty() && sound == 0);
    Journal::open(&path, sound).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), MAGIC);
}

#[test]
fn a_journal_of_several_writers_loses_nothing_to_a_killed_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("owners");
    let owner = |uid| Record {
        owner: Owner::parse(format!("{uid}:0:0777:symlink").as_bytes()),
        ..Record::default()
    };
    let mut first = Journal::open_shared(&path).unwrap();
    let mut second = Journal::open_shared(&path).unwrap();
    first.set(b"a", None, &owner(1)).unwrap();
    second.set(b"b", None, &owner(2)).unwrap();
    // One that dies in the middle of a line.
    let mut text = std::fs::read(&path).unwrap();
    text.extend(b"own 7 7");
    std::fs::write(&path, &text).unwrap();
    let mut third = Journal::open_shared(&path).unwrap();
    third.set(b"c", None, &owner(3)).unwrap();
    first.set(b"a", None, &owner(4)).unwrap();
    let (owners, length) = Owners::read_shared(&path).unwrap();
    let uid = |path: &[u8]| owners.get(path).and_then(|r| r.owner).map(|o| o.uid);
    assert_eq!([b"a", b"b", b"c"].map(|p| uid(p)), [4, 2, 3].map(Some));
    assert_eq!(length, std::fs::metadata(&path).unwrap().len());
    // Another version is refused all the same.
    std::fs::write(&path, "coracle-owners 2\n").unwrap();
    assert!(Owners::read_shared(&path).is_err());
}
