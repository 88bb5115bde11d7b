//! Trees to pack, and what comes of it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use coracle::layer::pack::{Compression, Options, Packed, Tree, What, pack};
use coracle::owners::{Layer, Node, View};
use rustix::fs::{CWD, Mode, OFlags, XattrFlags, openat, setxattr};

use super::said::{Said, said};
use super::{Header, Place, Tar};

pub(crate) const PLAIN: Options = Options {
    compression: Compression::None,
    clamp: None,
};

pub(crate) fn tree(place: &Place) -> Tree {
    Tree::layer(place.at(""), place.sidecar())
}

pub(crate) fn packed(what: &What, options: &Options) -> (Vec<u8>, Packed) {
    let mut out = Vec::new();
    let packed = pack(what, &mut out, options).unwrap();
    (out, packed)
}

pub(crate) fn layer(tree: Tree) -> What {
    What::Layer { tree, below: None }
}

#[track_caller]
pub(crate) fn assert_same(got: &BTreeMap<Vec<u8>, Said>, want: &BTreeMap<Vec<u8>, Said>) {
    for (path, want) in want {
        assert_eq!(got.get(path), Some(want), "{}", path.escape_ascii());
    }
    let extra: Vec<_> = got.keys().filter(|p| !want.contains_key(*p)).collect();
    assert!(extra.is_empty(), "{extra:?}");
}

/// One of everything.
pub(crate) fn nasty() -> Vec<u8> {
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
        // Of the mode that it says, as an inode with it would have.
        .add(owned(b'0', "acl").mode(0o755).size(1), b"x")
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

/// An upper directory and its journal.
pub(crate) struct Upper(pub(crate) tempfile::TempDir);

impl Upper {
    pub(crate) fn new() -> Self {
        let tmp = tempfile::tempdir().unwrap();
        fs::create_dir(tmp.path().join("upper")).unwrap();
        fs::set_permissions(tmp.path().join("upper"), fs::Permissions::from_mode(0o755)).unwrap();
        Self(tmp)
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.0.path().join("upper").join(path)
    }

    pub(crate) fn sidecar(&self) -> PathBuf {
        self.0.path().join("owners")
    }

    pub(crate) fn tree(&self) -> Tree {
        Tree::container(self.at(""), self.sidecar())
    }

    pub(crate) fn view(&self) -> View {
        let upper = Layer {
            tree: self.at(""),
            sidecar: self.sidecar(),
        };
        View::new(Vec::new(), upper)
    }

    pub(crate) fn node(&self, path: &str) -> Node {
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let fd = openat(CWD, self.at(path), flags, Mode::empty()).unwrap();
        Node::of_fd(&fd).unwrap()
    }

    pub(crate) fn mark(&self, path: &str, name: &str, value: &[u8]) {
        setxattr(self.at(path), name, value, XattrFlags::empty()).unwrap();
    }

    pub(crate) fn said(&self, below: Option<Tree>) -> (BTreeMap<Vec<u8>, Said>, Packed) {
        let tree = self.tree();
        let (tar, packed) = packed(&What::Layer { tree, below }, &PLAIN);
        (said(&tar), packed)
    }
}

pub(crate) trait BytesStr {
    fn as_bytes_str(&self) -> &str;
}

impl BytesStr for Vec<u8> {
    fn as_bytes_str(&self) -> &str {
        std::str::from_utf8(self).unwrap()
    }
}
