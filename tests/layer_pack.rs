//! Packing: a layer that is unpacked and packed again says what it said; and what a container's tree
//! says that no layer can have.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::{Cursor, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};

use coracle::layer::Limits;
use coracle::layer::pack::{Note, Options, Tree, What, pack};
use coracle::oci::Digest;
use coracle::owners::{FileType, Owner, Record};
use rustix::fs::{CWD, Mode, mknodat};

mod layer_util;
use layer_util::pack::{BytesStr as _, PLAIN, Upper, assert_same, layer, nasty, packed, tree};
use layer_util::said::{Said, markers, said, without_markers};
use layer_util::{Header, Place, Tar, unpacked};

#[test]
fn what_was_unpacked_is_packed_again() {
    let tar = nasty();
    let place = unpacked(tar.clone());
    let (again, sums) = packed(&layer(tree(&place)), &PLAIN);
    let (mut want, got) = (said(&tar), said(&again));
    let root = want.remove(&b"."[..]).or(want.remove(&b"./"[..])).unwrap();
    assert_eq!(got[&b"."[..]].mode, root.mode);
    want.insert(
        b".".to_vec(),
        Said {
            names: got[&b"."[..]].names.clone(),
            ..root
        },
    );
    assert_same(&without_markers(&got), &without_markers(&want));
    assert_eq!(markers(&got), markers(&want));
    assert!(got.len() > 320);
    assert_eq!(sums.diff_id, Digest::of(&again));
    assert_eq!((sums.notes.total, sums.tar_bytes), (0, again.len() as u64));
}

#[test]
fn two_packs_are_the_same_bytes_and_go_round_forever() {
    let place = unpacked(nasty());
    let gzip = Options::default();
    let (first, sums) = packed(&layer(tree(&place)), &gzip);
    let (second, _) = packed(&layer(tree(&place)), &gzip);
    assert!(first == second);
    assert_eq!(sums.blob, Digest::of(&first));
    let round = unpacked(first);
    let (third, third_sums) = packed(&layer(tree(&round)), &gzip);
    assert_eq!(third_sums, sums);
    assert_eq!(Digest::of(&third), sums.blob);
}

#[test]
fn directories_that_a_layer_does_not_list_stay_unlisted() {
    let tar = Tar::new().file("a/b/c", b"x").end();
    let place = unpacked(tar.clone());
    let (again, _) = packed(&layer(tree(&place)), &PLAIN);
    assert_same(&said(&again), &said(&tar));
}

#[test]
fn mtimes_are_whole_seconds_and_may_be_clamped() {
    let tar = Tar::new()
        .pax(&[("mtime", b"-1.5")])
        .file("old", b"")
        .pax(&[("mtime", b"100.999999999")])
        .file("new", b"")
        .end();
    let place = unpacked(tar);
    let mtimes = |options| {
        let said = said(&packed(&layer(tree(&place)), &options).0);
        (said[&b"old"[..]].mtime, said[&b"new"[..]].mtime)
    };
    assert_eq!(mtimes(PLAIN), (-2, 100));
    let clamp = Some(50);
    assert_eq!(mtimes(Options { clamp, ..PLAIN }), (-2, 50));
}

#[test]
fn holes_stay_holes() {
    let place = unpacked(Tar::new().dir("d").end());
    let path = place.at("d/sparse");
    let mut file = File::create_new(&path).unwrap();
    file.seek(SeekFrom::Start(3 << 30)).unwrap();
    file.write_all(b"in the middle").unwrap();
    file.set_len((4 << 30) + 1).unwrap();
    let hole = File::create_new(place.at("d/hole")).unwrap();
    hole.set_len(5 << 20).unwrap();
    let (tar, _) = packed(&layer(tree(&place)), &PLAIN);
    assert!(tar.len() < 100 << 10, "{}", tar.len());
    // Ours reads it, and so does GNU tar.
    let limits = Limits::default();
    let ours = Place::new();
    ours.apply(Cursor::new(tar.clone()), &limits).unwrap();
    let gnu = tempfile::tempdir().unwrap();
    let archive = gnu.path().join("a.tar");
    fs::write(&archive, &tar).unwrap();
    let status = std::process::Command::new("tar")
        .arg("-C")
        .arg(gnu.path())
        .arg("-xf")
        .arg(&archive)
        .status();
    assert!(status.unwrap().success());
    for copy in [ours.at("d"), gnu.path().join("d")] {
        let mut file = File::open(copy.join("sparse")).unwrap();
        assert_eq!(file.metadata().unwrap().len(), (4 << 30) + 1);
        file.seek(SeekFrom::Start((3 << 30) - 2)).unwrap();
        let mut text = [1; 17];
        file.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"\0\0in the middle\0\0");
        assert_eq!(fs::metadata(copy.join("hole")).unwrap().len(), 5 << 20);
    }
}

fn owner(uid: u32, file_type: FileType) -> Owner {
    Owner {
        uid,
        gid: uid + 1,
        // Nobody updates it: it must not show.
        mode: 0o123,
        file_type,
    }
}

#[test]
fn owners_of_what_a_container_wrote() {
    let u = Upper::new();
    fs::write(u.at("file"), "x").unwrap();
    fs::write(u.at("dev"), "").unwrap();
    symlink("x", u.at("link.new")).unwrap();
    for (path, owner) in [
        ("file", owner(5, FileType::File)),
        ("dev", owner(6, FileType::Char(10, 200))),
    ] {
        u.mark(
            path,
            "user.containers.override_stat",
            owner.to_string().as_bytes(),
        );
    }
    fs::set_permissions(u.at("file"), fs::Permissions::from_mode(0o4711)).unwrap();
    let mut view = u.view();
    let record = |uid, file_type| Record {
        owner: Some(owner(uid, file_type)),
        xattrs: vec![(b"trusted.x".to_vec(), b"1".to_vec())],
        implied: false,
    };
    let node = u.node("link.new");
    view.set(b"link.new", Some(node), record(7, FileType::Symlink))
        .unwrap();
    fs::rename(u.at("link.new"), u.at("link")).unwrap();
    // Of that name before, and not what the record is about.
    symlink("y", u.at("link.new")).unwrap();
    u.mark("file", "user.overlay.overlay.mine", b"1");
    u.mark("file", "user.overlay.origin", b"1");
    let (said, _) = u.said(None);
    let file = &said[&b"file"[..]];
    assert_eq!((file.owner, file.mode, file.kind), ((5, 6), 0o4711, b'0'));
    assert_eq!(
        file.xattrs.keys().collect::<Vec<_>>(),
        ["user.overlay.mine"]
    );
    let dev = &said[&b"dev"[..]];
    assert_eq!(
        (dev.owner, dev.kind, dev.device),
        ((6, 7), b'3', Some((10, 200)))
    );
    let link = &said[&b"link"[..]];
    assert_eq!((link.owner, link.mode), ((7, 8), 0o777));
    assert_eq!(link.xattrs["trusted.x"], b"1");
    let new = &said[&b"link.new"[..]];
    assert_eq!((new.owner, &new.link), ((0, 0), &b"y".to_vec()));
    assert_eq!(said.len(), 4);
}

#[test]
fn whiteouts_in_every_form() {
    let u = Upper::new();
    let device = rustix::fs::FileType::CharacterDevice;
    mknodat(CWD, u.at("gone"), device, Mode::empty(), 0).unwrap();
    fs::write(u.at(".wh.other"), "").unwrap();
    for dir in ["opaque", "opaque-file", "marked"] {
        fs::create_dir(u.at(dir)).unwrap();
    }
    u.mark("opaque", "user.overlay.opaque", b"y");
    fs::write(u.at("opaque-file/.wh..wh..opq"), "").unwrap();
    u.mark("marked", "user.overlay.opaque", b"x");
    fs::write(u.at("marked/gone"), "").unwrap();
    u.mark("marked/gone", "user.overlay.whiteout", b"y");
    fs::write(u.at("marked/.wh.kept"), "").unwrap();
    fs::write(u.at("marked/kept"), "").unwrap();
    let (said, _) = u.said(None);
    let want = [
        ".wh.gone",
        ".wh.other",
        "marked/.wh.gone",
        "opaque-file/.wh..wh..opq",
        "opaque/.wh..wh..opq",
    ];
    assert_eq!(markers(&said), want.map(String::from).into());
    let rest: Vec<_> = without_markers(&said).into_keys().collect();
    let want: [&[u8]; 4] = [b"marked", b"marked/kept", b"opaque", b"opaque-file"];
    assert_eq!(rest, want);
    // A marker stands before what it is about.
    let tar = packed(&layer(u.tree()), &PLAIN).0;
    let mut archive = tar::Archive::new(&tar[..]);
    let first = archive.entries().unwrap().next().unwrap().unwrap();
    assert_eq!(&*first.path_bytes(), b".wh.gone");
}

#[test]
fn the_root_is_an_entry_when_it_was_changed() {
    let below = unpacked(
        Tar::new()
            .add(Header::new(b'5', "./").mode(0o755).owner(9, 9), b"")
            .end(),
    );
    let below = || Some(tree(&below));
    let u = Upper::new();
    let owned = |uid| {
        Owner {
            gid: uid,
            ..owner(uid, FileType::Dir)
        }
        .to_string()
    };
    u.mark("", "user.containers.override_stat", owned(9).as_bytes());
    assert!(u.said(below()).0.is_empty());
    fs::set_permissions(u.at(""), fs::Permissions::from_mode(0o1777)).unwrap();
    assert_eq!(u.said(below()).0[&b"."[..]].mode, 0o1777);
    fs::set_permissions(u.at(""), fs::Permissions::from_mode(0o755)).unwrap();
    u.mark("", "user.containers.override_stat", owned(8).as_bytes());
    assert_eq!(u.said(below()).0[&b"."[..]].owner, (8, 8));
}

#[test]
fn what_no_layer_can_say_is_noted_or_refused() {
    let u = Upper::new();
    let socket = std::os::unix::net::UnixListener::bind(u.at("socket")).unwrap();
    fs::write(u.at("file"), "x").unwrap();
    u.mark("file", "user.a=b", b"1");
    let (said, packed) = u.said(None);
    assert_eq!(said.len(), 1);
    assert_eq!(packed.notes.total, 2);
    let notes: Vec<_> = packed
        .notes
        .first
        .iter()
        .map(|(p, n)| (p.as_slice(), *n))
        .collect();
    assert_eq!(
        notes,
        [(&b"file"[..], Note::XattrName), (b"socket", Note::Socket)]
    );
    drop(socket);
    for (name, value) in [
        ("user.overlay.metacopy", &b""[..]),
        ("user.overlay.redirect", b"/x"),
        ("user.containers.override_stat", b"nonsense"),
    ] {
        u.mark("file", name, value);
        let e = pack(&layer(u.tree()), &mut Vec::new(), &PLAIN).unwrap_err();
        assert!(e.to_string().contains("\"file\" cannot be packed"), "{e}");
        rustix::fs::removexattr(u.at("file"), name).unwrap();
    }
}

#[test]
fn a_stack_is_packed_as_it_shows() {
    let low = unpacked(
        Tar::new()
            .dir("./")
            .file("low", b"low")
            .file("both", b"low")
            .file("gone", b"")
            .add(Header::new(b'5', "d").mode(0o700).owner(3, 3), b"")
            .file("d/low", b"")
            .dir("opaque")
            .file("opaque/low", b"")
            .add(Header::new(b'2', "link").link("x").owner(4, 4), b"")
            .end(),
    );
    let top = unpacked(
        Tar::new()
            .file("both", b"top")
            .file(".wh.gone", b"")
            .dir("opaque")
            .file("opaque/.wh..wh..opq", b"")
            .add(Header::new(b'5', "d").mode(0o711).owner(5, 5), b"")
            .file("d/top", b"")
            .end(),
    );
    let u = Upper::new();
    fs::remove_dir(u.at("")).unwrap();
    fs::create_dir(u.at("")).unwrap();
    symlink("mine", u.at("mine")).unwrap();
    let what = What::Whole(vec![u.tree(), tree(&top), tree(&low)]);
    let said = said(&packed(&what, &PLAIN).0);
    let names: Vec<_> = said.keys().map(|p| p.as_bytes_str()).collect();
    let want = [
        ".", "both", "d", "d/low", "d/top", "link", "low", "mine", "opaque",
    ];
    assert_eq!(names, want);
    assert_eq!(said[&b"both"[..]].content, Some(Digest::of(b"top")));
    assert_eq!(
        (said[&b"d"[..]].owner, said[&b"d"[..]].mode),
        ((5, 5), 0o711)
    );
    assert_eq!(said[&b"link"[..]].owner, (4, 4));
}

#[test]
fn a_full_disk_is_the_error_that_it_is() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(rustix::io::Errno::NOSPC.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let place = unpacked(nasty());
    let e = pack(&layer(tree(&place)), Full, &PLAIN).unwrap_err();
    assert!(e.hint().unwrap().contains("free some space"), "{e}");
}

#[test]
fn a_tree_that_is_not_there_is_an_error() {
    let tmp = tempfile::tempdir().unwrap();
    let tree = Tree::container(tmp.path().join("none"), tmp.path().join("owners"));
    let e = pack(&layer(tree), &mut Vec::new(), &PLAIN).unwrap_err();
    assert!(e.to_string().contains("none\" failed"), "{e}");
}
