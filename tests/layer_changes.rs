//! What a container changed, found by looking at its tree and at those below.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use coracle::layer::pack::{Tree, What, Written, changes};
use coracle::owners::{Layer, View};
use rustix::fs::{CWD, Mode, mknodat};

mod layer_util;
use layer_util::pack::{BytesStr as _, PLAIN, Upper, assert_same, nasty, packed, tree};
use layer_util::said::{Said, markers, said, without_markers};
use layer_util::{Header, Place, Tar, unpacked};

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
        coracle::rootfs::flatten(&[&a, &b], dir.as_fd()).unwrap();
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
