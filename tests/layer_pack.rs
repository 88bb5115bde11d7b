//! Packing: a layer that is unpacked and packed again says what it said; and what a container's tree
//! says that no layer can have.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Cursor, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use coracle::layer::Limits;
use coracle::layer::pack::{
    Compression, Note, Options, Packed, Tree, What, Written, changes, pack,
};
use coracle::oci::Digest;
use coracle::owners::{FileType, Layer, Node, Owner, Record, View};
use rustix::fs::{CWD, Mode, OFlags, XattrFlags, mknodat, openat, setxattr};

mod layer_util;
use layer_util::said::{Said, markers, said, without_markers};
use layer_util::{Header, Place, Tar, unpacked};

const PLAIN: Options = Options {
    compression: Compression::None,
    clamp: None,
};

fn tree(place: &Place) -> Tree {
    Tree::layer(place.at(""), place.sidecar())
}

fn packed(what: &What, options: &Options) -> (Vec<u8>, Packed) {
    let mut out = Vec::new();
    let packed = pack(what, &mut out, options).unwrap();
    (out, packed)
}

fn layer(tree: Tree) -> What {
    What::Layer { tree, below: None }
}

#[track_caller]
fn assert_same(got: &BTreeMap<Vec<u8>, Said>, want: &BTreeMap<Vec<u8>, Said>) {
    for (path, want) in want {
        assert_eq!(got.get(path), Some(want), "{}", path.escape_ascii());
    }
    let extra: Vec<_> = got.keys().filter(|p| !want.contains_key(*p)).collect();
    assert!(extra.is_empty(), "{extra:?}");
}

/// One of everything.
fn nasty() -> Vec<u8> {
    let owned = |flag, name: &str| Header::new(flag, name).owner(33, 65534);
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let acl = b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x04\0\x05\0\xff\xff\xff\xff\x20\0\x05\0\xff\xff\xff\xff";
    let long = "n".repeat(200);
    let mut tar = Tar::new()
        .add(Header::new(b'5', "./").mode(0o711), b"")
        .add(owned(b'5', "d").mode(0o3770).mtime(7), b"")
        .add(owned(b'0', "d/set-id").mode(0o6755).size(2), b"hi")
        .add(owned(b'0', "d/shut").mode(0).size(4), b"shut")
        .add(Header::new(b'5', "d/shut-dir").mode(0), b"")
        .add(owned(b'0', "d/shut-dir/in").mode(0o400).size(2), b"in")
        .add(owned(b'2', "link").link("/else where").mode(0o777), b"")
        .add(Header::new(b'2', "plain-link").link("d").mode(0o777), b"")
        .add(owned(b'6', "fifo").mode(0o620), b"")
        .add(owned(b'3', "null").device(1, 3).mode(0o666), b"")
        .add(
            Header::new(b'4', "disk").device(259, 300_000).mode(0o660),
            b"",
        )
        .pax(&[("SCHILY.xattr.security.capability", capability)])
        .add(Header::new(b'0', "zz-ping").mode(0o755).size(4), b"ping")
        .hard_link("aa-ping", "zz-ping")
        .hard_link("d/ping", "zz-ping")
        .hard_link("null-too", "null")
        .pax(&[("SCHILY.xattr.system.posix_acl_access", acl)])
        .add(owned(b'0', "acl").size(1), b"x")
        .pax(&[
            ("SCHILY.xattr.user.kept", b"1"),
            ("SCHILY.xattr.user.overlay.opaque", b"y"),
            ("SCHILY.xattr.trusted.x", b"2"),
        ])
        .dir("attrs")
        .pax(&[
            ("path", long.as_bytes()),
            ("uid", b"4000000000"),
            ("mtime", b"-5"),
        ])
        .file("short", b"long name")
        .pax(&[("linkpath", long.as_bytes())])
        .add(Header::new(b'2', "long-link").mode(0o777), b"")
        .pax(&[("path", "umläut".as_bytes())])
        .file("umlaut", b"")
        .dir("opaque")
        .file("opaque/.wh..wh..opq", b"")
        .file("opaque/kept", b"")
        .file("d/.wh.gone", b"")
        .file(".wh.top", b"")
        .dir("many");
    for i in 0..300 {
        let header = Header::new(b'0', format!("many/{i:03}")).owner(i, 1000 + i);
        tar = tar.add(header.mtime(i), b"");
    }
    tar.end()
}

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

/// An upper directory and its journal.
struct Upper(tempfile::TempDir);

impl Upper {
    fn new() -> Self {
        let tmp = tempfile::tempdir().unwrap();
        fs::create_dir(tmp.path().join("upper")).unwrap();
        fs::set_permissions(tmp.path().join("upper"), fs::Permissions::from_mode(0o755)).unwrap();
        Self(tmp)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join("upper").join(path)
    }

    fn sidecar(&self) -> PathBuf {
        self.0.path().join("owners")
    }

    fn tree(&self) -> Tree {
        Tree::container(self.at(""), self.sidecar())
    }

    fn view(&self) -> View {
        let upper = Layer {
            tree: self.at(""),
            sidecar: self.sidecar(),
        };
        View::new(Vec::new(), upper)
    }

    fn node(&self, path: &str) -> Node {
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let fd = openat(CWD, self.at(path), flags, Mode::empty()).unwrap();
        Node::of_fd(&fd).unwrap()
    }

    fn mark(&self, path: &str, name: &str, value: &[u8]) {
        setxattr(self.at(path), name, value, XattrFlags::empty()).unwrap();
    }

    fn said(&self, below: Option<Tree>) -> (BTreeMap<Vec<u8>, Said>, Packed) {
        let tree = self.tree();
        let (tar, packed) = packed(&What::Layer { tree, below }, &PLAIN);
        (said(&tar), packed)
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

trait BytesStr {
    fn as_bytes_str(&self) -> &str;
}

impl BytesStr for Vec<u8> {
    fn as_bytes_str(&self) -> &str {
        std::str::from_utf8(self).unwrap()
    }
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

/// A stack, and a copy of it that was changed.
struct Copied {
    low: Place,
    top: Place,
    own: Upper,
}

impl Copied {
    fn new() -> Self {
        let low = unpacked(nasty());
        let top = unpacked(
            Tar::new()
                .dir("./")
                .file("attrs/new", b"")
                .file(".wh.fifo", b"")
                .add(
                    Header::new(b'2', "own-link")
                        .link("x")
                        .owner(8, 8)
                        .mode(0o777),
                    b"",
                )
                .end(),
        );
        let own = Upper::new();
        let dir = File::open(own.at("")).unwrap();
        let (a, b) = (top.at(""), low.at(""));
        coracle::rootfs::flatten(&[&a, &b], std::os::fd::AsFd::as_fd(&dir)).unwrap();
        let layer = |place: &Place| Layer {
            tree: place.at(""),
            sidecar: place.sidecar(),
        };
        let upper = Layer {
            tree: own.at(""),
            sidecar: own.sidecar(),
        };
        View::new(vec![layer(&top), layer(&low)], upper)
            .settle()
            .unwrap();
        Self { low, top, own }
    }

    fn below(&self) -> Vec<Tree> {
        vec![tree(&self.top), tree(&self.low)]
    }

    fn list(&self) -> Vec<String> {
        let list = changes(&self.own.tree(), &self.below(), Written::Copy).unwrap();
        list.iter()
            .map(|(p, c)| format!("{} {}", c.letter(), p.as_bytes_str()))
            .collect()
    }

    fn layer(&self) -> BTreeMap<Vec<u8>, Said> {
        let what = What::Changes {
            tree: self.own.tree(),
            below: self.below(),
        };
        said(&packed(&what, &PLAIN).0)
    }
}

#[test]
fn a_copy_that_nobody_touched_has_no_changes() {
    let copied = Copied::new();
    assert_eq!(copied.list(), [""; 0]);
    assert!(copied.layer().is_empty());
    // And it says what the stack said.
    let whole = |trees| said(&packed(&What::Whole(trees), &PLAIN).0);
    assert_same(&whole(vec![copied.own.tree()]), &whole(copied.below()));
}

#[test]
fn changes_of_a_copy_are_found_by_comparing() {
    let copied = Copied::new();
    let own = &copied.own;
    fs::remove_dir_all(own.at("many")).unwrap();
    fs::remove_file(own.at("plain-link")).unwrap();
    symlink("elsewhere", own.at("plain-link")).unwrap();
    fs::remove_file(own.at("d/set-id")).unwrap();
    fs::create_dir_all(own.at("new/deep")).unwrap();
    fs::set_permissions(own.at("opaque/kept"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(
        copied.list(),
        [
            "C d",
            "D d/set-id",
            "D many",
            "A new",
            "A new/deep",
            "C opaque",
            "C opaque/kept",
            "C plain-link",
        ]
    );
    let layer = copied.layer();
    assert_eq!(
        markers(&layer),
        [".wh.many", "d/.wh.set-id"].map(String::from).into()
    );
    let names: Vec<_> = without_markers(&layer).into_keys().collect();
    let want: [&[u8]; 6] = [
        b"d",
        b"new",
        b"new/deep",
        b"opaque",
        b"opaque/kept",
        b"plain-link",
    ];
    assert_eq!(names, want);
    assert_eq!(
        (layer[&b"d"[..]].owner, layer[&b"d"[..]].mode),
        ((33, 65534), 0o3770)
    );
    assert_eq!(layer[&b"opaque/kept"[..]].mode, 0o600);
}

#[test]
fn changes_of_an_overlay_are_what_is_in_its_upper_directory() {
    let (low, u) = (unpacked(nasty()), Upper::new());
    let device = rustix::fs::FileType::CharacterDevice;
    for dir in ["d", "opaque"] {
        fs::create_dir(u.at(dir)).unwrap();
    }
    mknodat(CWD, u.at("d/shut"), device, Mode::empty(), 0).unwrap();
    fs::write(u.at("d/new"), "").unwrap();
    fs::write(u.at("acl"), "changed").unwrap();
    u.mark("opaque", "user.overlay.opaque", b"y");
    let list = changes(&u.tree(), &[tree(&low)], Written::Over).unwrap();
    let list: Vec<_> = list
        .iter()
        .map(|(p, c)| format!("{} {}", c.letter(), p.as_bytes_str()))
        .collect();
    assert_eq!(
        list,
        [
            "C acl",
            "C d",
            "A d/new",
            "D d/shut",
            "C opaque",
            "D opaque/kept"
        ]
    );
}
