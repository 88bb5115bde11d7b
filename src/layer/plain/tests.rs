use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::super::pack::archive::{Archive, Entry, Kind};
use super::super::pack::{Note, Notes};
use super::*;

fn open(dir: &Path) -> std::os::fd::OwnedFd {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(dir, flags, Mode::empty()).unwrap()
}

fn outside(naming: Naming) -> Writing {
    Writing {
        naming,
        owners: Owners::Writer,
        overwrite: false,
        inside: false,
    }
}

fn put(tar: &[u8], dir: &Path, writing: &Writing) -> Result<Notes, Error> {
    use std::os::fd::AsFd as _;
    write(tar, open(dir).as_fd(), writing)
}

fn get(dir: &Path, name: Option<&str>, reading: &Reading) -> Result<(Vec<u8>, Notes), Error> {
    use std::os::fd::AsFd as _;
    let mut tar = Vec::new();
    let fd = open(dir);
    let source = Source {
        dir: fd.as_fd(),
        name: name.map(str::as_bytes),
    };
    let notes = read(source, reading, &mut tar)?;
    Ok((tar, notes))
}

/// A tar whose files all have the content "bad".
fn tar(entries: &[(&str, Kind<'_>)]) -> Vec<u8> {
    let mut archive = Archive::new(Vec::new());
    for (path, kind) in entries {
        let entry = Entry {
            path: path.as_bytes(),
            kind: *kind,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: 1,
            xattrs: &[],
        };
        archive.entry(&entry).unwrap();
        if archive.left() > 0 {
            archive.data(b"bad").unwrap();
        }
    }
    archive.finish().unwrap()
}

const BAD: Kind<'_> = Kind::File(3);

fn tree(dir: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(next) = todo.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.symlink_metadata().unwrap().is_dir() {
                todo.push(path.clone());
            }
            let path = path.strip_prefix(dir).unwrap();
            all.push(path.display().to_string());
        }
    }
    all.sort();
    all
}

#[test]
fn what_became_a_link_is_not_copied_as_one() {
    let tmp = tempfile::tempdir().unwrap();
    symlink("/", tmp.path().join("d")).unwrap();
    let reading = Reading {
        name: Some(b"x".to_vec()),
        ..Reading::default()
    };
    let e = get(tmp.path(), Some("d"), &reading).unwrap_err();
    assert!(e.to_string().contains("cannot read"), "{e}");
}

#[test]
fn a_tree_comes_back_as_it_was() {
    let tmp = tempfile::tempdir().unwrap();
    let [from, to] = ["from", "to"].map(|n| tmp.path().join(n));
    fs::create_dir_all(from.join("d/deep")).unwrap();
    fs::create_dir(&to).unwrap();
    fs::write(from.join("d/f"), "f").unwrap();
    fs::set_permissions(from.join("d/f"), fs::Permissions::from_mode(0o4640)).unwrap();
    fs::hard_link(from.join("d/f"), from.join("d/deep/same")).unwrap();
    symlink("nowhere", from.join("d/link")).unwrap();
    xattr::set(from.join("d/f"), "user.mine", b"1").unwrap();
    xattr::set(from.join("d/f"), crate::owners::XATTR, b"5:6:0640:file").unwrap();
    // Shut for writing before anything is in it.
    fs::set_permissions(from.join("d/deep"), fs::Permissions::from_mode(0o555)).unwrap();
    let reading = Reading {
        name: Some(b"x".to_vec()),
        ..Reading::default()
    };
    let (tar, notes) = get(&from, Some("d"), &reading).unwrap();
    assert_eq!(notes, Notes::default());
    for (naming, at, names) in [
        (
            Naming::Tar,
            "x",
            &["x", "x/deep", "x/deep/same", "x/f", "x/link"][..],
        ),
        (
            Naming::As(b"y".to_vec()),
            "y",
            &["y", "y/deep", "y/deep/same", "y/f", "y/link"],
        ),
        (Naming::Within, "", &["deep", "deep/same", "f", "link"]),
    ] {
        let to = to.join(format!("{naming:?}").replace(|c: char| !c.is_alphanumeric(), ""));
        fs::create_dir(&to).unwrap();
        // Twice: what is there is replaced.
        for _ in 0..2 {
            assert_eq!(
                put(&tar, &to, &outside(naming.clone())).unwrap(),
                Notes::default()
            );
            assert_eq!(tree(&to), names);
            // An ordinary user cannot write to it the second time; in a container root can.
            fs::set_permissions(to.join(at).join("deep"), fs::Permissions::from_mode(0o755))
                .unwrap();
        }
        let f = to.join(at).join("f");
        let stat = f.metadata().unwrap();
        assert_eq!((stat.mode() & 0o7777, stat.nlink()), (0o640, 2));
        assert_eq!(stat.mtime(), from.join("d/f").metadata().unwrap().mtime());
        assert_eq!(xattr::get(&f, "user.mine").unwrap(), Some(b"1".to_vec()));
        assert_eq!(xattr::get(&f, crate::owners::XATTR).unwrap(), None);
    }
}

#[test]
fn what_a_stranger_writes_stays_where_it_belongs() {
    let tmp = tempfile::tempdir().unwrap();
    let (home, secret) = (tmp.path().join("home"), tmp.path().join("secret"));
    fs::create_dir_all(secret.join("d")).unwrap();
    fs::write(secret.join("f"), "good").unwrap();
    let into = secret.as_os_str().as_encoded_bytes();
    let file = [into, b"/f"].concat();
    for (what, entries) in [
        ("a parent", &[("../secret/f", BAD)][..]),
        ("a parent, later", &[("x/../../secret/f", BAD)]),
        (
            "a link that comes first",
            &[
                ("x", Kind::Dir),
                ("x/l", Kind::Symlink(into)),
                ("x/l/f", BAD),
            ],
        ),
        ("a link on the way", &[("x/old/d/f", BAD)]),
        ("a directory on the way", &[("x/old/d/new", Kind::Dir)]),
        ("a link that was there", &[("x/old/f", BAD)]),
        ("a hard link", &[("x/h", Kind::HardLink(b"../secret/f"))]),
        (
            "a hard link by a link",
            &[
                ("x/l", Kind::Symlink(into)),
                ("x/h", Kind::HardLink(b"x/l/f")),
            ],
        ),
        ("a hard link to itself", &[("x/h", Kind::HardLink(b"x/h"))]),
    ] {
        for naming in [Naming::Tar, Naming::As(b"x".to_vec()), Naming::Within] {
            let _ = fs::remove_dir_all(&home);
            fs::create_dir_all(home.join("x")).unwrap();
            symlink(&secret, home.join("x/old")).unwrap();
            symlink(&secret, home.join("old")).unwrap();
            assert!(
                put(&tar(entries), &home, &outside(naming)).is_err(),
                "{what}"
            );
            assert_eq!(tree(&secret), ["d", "f"], "{what}");
            assert_eq!(fs::read(secret.join("f")).unwrap(), b"good", "{what}");
        }
    }
    // A link to a file is replaced, and not written through.
    let link = [("x/l", Kind::Symlink(&file)), ("x/l", BAD)];
    put(&tar(&link), &home, &outside(Naming::Tar)).unwrap();
    assert_eq!(fs::read(home.join("x/l")).unwrap(), b"bad");
    assert_eq!(fs::read(secret.join("f")).unwrap(), b"good");
}

#[test]
fn names_of_a_strangers_choice_are_not_beside_the_one_that_was_asked_for() {
    let tmp = tempfile::tempdir().unwrap();
    let entries = [
        ("x", Kind::Dir),
        (".profile", BAD),
        ("x/f", BAD),
        ("/y/g", BAD),
    ];
    let naming = Naming::As(b"asked".to_vec());
    let wrong = put(&tar(&entries), tmp.path(), &outside(naming.clone()));
    assert!(matches!(wrong, Err(Error::IsDirectory(_))), "{wrong:?}");
    let entries = [(".profile", Kind::Dir), ("x/f", BAD), ("/y/g", BAD)];
    put(&tar(&entries), tmp.path(), &outside(naming)).unwrap();
    assert_eq!(tree(tmp.path()), ["asked", "asked/f", "asked/g"]);
}

#[test]
fn devices_and_capabilities_stay_inside() {
    let tmp = tempfile::tempdir().unwrap();
    let entries = [("c", Kind::Char(1, 3)), ("f", BAD)];
    let notes = put(&tar(&entries), tmp.path(), &outside(Naming::Tar)).unwrap();
    assert_eq!(notes.first, [(b"c".to_vec(), Note::Device)]);
    assert_eq!(tree(tmp.path()), ["f"]);
}

#[test]
fn what_is_no_tar_is_said_to_be_none() {
    let tmp = tempfile::tempdir().unwrap();
    let put = |bytes: &[u8]| put(bytes, tmp.path(), &outside(Naming::Tar));
    assert!(matches!(put(b"hello"), Err(Error::NoTar)));
    assert!(matches!(put(&[b'x'; 2048]), Err(Error::NoTar)));
    let whole = tar(&[("f", BAD)]);
    assert!(matches!(put(&whole[..700]), Err(Error::Truncated(_))));
    put(b"").unwrap();
}

#[test]
fn what_may_not_be_read_is_noted_where_that_will_do() {
    let tmp = tempfile::tempdir().unwrap();
    fs::create_dir(tmp.path().join("d")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(tmp.path().join("d/s")).unwrap();
    let reading = Reading {
        without: vec![b"d"],
        ..Reading::default()
    };
    let (_, notes) = get(tmp.path(), Some("d"), &Reading::default()).unwrap();
    assert_eq!(notes.first, [(b"s".to_vec(), Note::Socket)]);
    let (tar, notes) = get(tmp.path(), None, &reading).unwrap();
    assert_eq!((tar.len(), notes), (1024, Notes::default()));
    assert!(matches!(
        get(tmp.path(), Some("none"), &reading),
        Err(Error::Sys { .. })
    ));
}
