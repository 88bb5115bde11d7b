use super::*;
use crate::owners::{FileType, Owner, Writer};
use rustix::fs::XattrFlags;
use std::fs;
use std::os::unix::fs::symlink;

const DIRECTORY: bool = false;
const LINKED: bool = true;

fn owned(uid: u32) -> Record {
    Record {
        owner: Some(Owner {
            uid,
            gid: uid,
            mode: 0o777,
            file_type: FileType::Symlink,
        }),
        ..Record::default()
    }
}

/// Two layers, 0 being the top one, and an upper directory.
struct Place(tempfile::TempDir);

impl Place {
    fn new(fill: impl Fn(&mut [Writer; 2])) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let mut writers = ["0", "1"].map(|n| {
            fs::create_dir(place.0.path().join(n)).unwrap();
            Writer::create(&place.layer(n).sidecar).unwrap()
        });
        fs::create_dir(place.0.path().join("up")).unwrap();
        fill(&mut writers);
        for writer in writers {
            writer.finish().unwrap();
        }
        place
    }

    fn layer(&self, name: &str) -> Layer {
        Layer {
            tree: self.0.path().join(name),
            sidecar: self.0.path().join(format!("{name}.owners")),
        }
    }

    fn view(&self) -> View {
        View::new(vec![self.layer("0"), self.layer("1")], self.layer("up"))
    }

    fn link(&self, path: &str) -> Node {
        let path = self.0.path().join(path);
        let _ = fs::remove_file(&path);
        symlink("x", &path).unwrap();
        self.node(path)
    }

    fn node(&self, path: PathBuf) -> Node {
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let fd = openat(CWD, self.0.path().join(path), flags, Mode::empty()).unwrap();
        Node::of_fd(&fd).unwrap()
    }
}

#[track_caller]
fn uid(view: &View, path: &str, node: Node, links: bool) -> Option<u32> {
    let record = view.get(path.as_bytes(), node, links).unwrap();
    record.and_then(|r| r.owner).map(|o| o.uid)
}

#[test]
fn a_record_counts_for_the_tree_beside_it() {
    let place = Place::new(|[top, low]| {
        for path in [&b"both"[..], b"low", b"plain"] {
            low.own(path, &owned(1).owner.unwrap()).unwrap();
        }
        top.own(b"both", &owned(2).owner.unwrap()).unwrap();
    });
    let low = place.link("1/low");
    let both = [place.link("1/both"), place.link("0/both")][1];
    place.link("1/plain");
    let plain = place.link("0/plain");
    let view = place.view();
    assert_eq!(uid(&view, "low", low, false), Some(1));
    assert_eq!(uid(&view, "both", both, false), Some(2));
    assert_eq!(uid(&view, "plain", plain, false), None);
}

#[test]
fn a_copy_has_the_record_of_what_it_is_a_copy_of() {
    let place = Place::new(|[_, low]| {
        for path in ["a", "typed", "d/a", "hidden/a", "opaque/a"] {
            low.own(path.as_bytes(), &owned(1).owner.unwrap()).unwrap();
        }
    });
    let at = |path: &str| place.0.path().join(path);
    for dir in [
        "1/d",
        "up/d",
        "1/hidden",
        "up/hidden",
        "1/opaque",
        "up/opaque",
    ] {
        fs::create_dir(at(dir)).unwrap();
    }
    for path in [
        "1/a",
        "1/typed",
        "1/d/a",
        "1/hidden/a",
        "1/opaque/a",
        "up/d/a",
        "up/hidden/a",
        "up/opaque/a",
    ] {
        place.link(path);
    }
    let mark = |path: &str, name: &str| {
        rustix::fs::setxattr(at(path), name, b"y", XattrFlags::empty()).unwrap();
    };
    // A layer between them has no such directory, and another one is in the container.
    fs::write(at("0/.wh.hidden"), "").unwrap();
    mark("up/opaque", "user.overlay.opaque");
    fs::write(at("up/typed"), "").unwrap();
    let mut view = place.view();
    let copy = place.link("up/a");
    assert_eq!(uid(&view, "a", copy, false), Some(1));
    for (path, want) in [
        ("d/a", Some(1)),
        ("hidden/a", None),
        ("opaque/a", None),
        ("typed", None),
    ] {
        let node = place.node(at(&format!("up/{path}")));
        assert_eq!(uid(&view, path, node, false), want, "{path}");
    }
    for (name, knows) in [("a", true), ("typed", true), ("d", false), ("x", false)] {
        assert_eq!(view.knows_name(name.as_bytes()).unwrap(), knows, "{name}");
    }
    assert!(view.knows_path(b"d/a").unwrap() && !view.knows_path(b"d/typed").unwrap());
    // Replaced in the container, after the view has looked at it.
    let new = place.link("up/a");
    view.set(b"a", Some(new), Record::default()).unwrap();
    for view in [&view, &place.view()] {
        assert!(view.is_own(b"a", new).unwrap());
        assert_eq!(uid(view, "a", new, false), None);
    }
    // Where inodes tell nothing, the path does, for what is there from now on.
    view.set(b"d/a", None, Record::default()).unwrap();
    for view in [&view, &place.view()] {
        assert_eq!(uid(view, "d/a", place.node(at("up/d/a")), false), Some(0));
    }
}

/// A FUSE file system shows no times of birth.
#[test]
fn where_inodes_tell_nothing_records_move_with_their_directory() {
    let place = Place::new(|_| {});
    let at = |path: &str| place.0.path().join(path);
    for dir in ["up/d", "up/dd"] {
        fs::create_dir(at(dir)).unwrap();
    }
    let link = Node {
        birth: 0,
        ..place.link("up/d/l")
    };
    let mut view = place.view();
    for path in ["d", "d/f", "dd"] {
        view.set(path.as_bytes(), None, owned(3)).unwrap();
    }
    view.set(b"d/l", Some(link), owned(4)).unwrap();
    view.move_tree(b"d", b"e").unwrap();
    fs::rename(at("up/d"), at("up/e")).unwrap();
    for view in [&view, &place.view()] {
        let none = Node { ino: 1, birth: 0 };
        for (path, want) in [
            ("e", Some(3)),
            ("e/f", Some(3)),
            ("dd", Some(3)),
            ("ed", None),
        ] {
            assert_eq!(uid(view, path, none, false), want, "{path}");
        }
        assert_eq!(uid(view, "e/l", link, false), Some(4));
    }
}

#[test]
fn capabilities_end_with_the_content_that_they_were_given_to() {
    let place = Place::new(|[_, low]| {
        low.xattr(b"f", b"security.capability", b"c").unwrap();
        low.xattr(b"f", b"trusted.x", b"x").unwrap();
    });
    let at = |path: &str| place.0.path().join(path);
    let names = |content: &str| -> Vec<String> {
        fs::write(at("up/f"), content).unwrap();
        let view = place.view();
        let record = view.get(b"f", place.node(at("up/f")), false).unwrap();
        let xattrs = record.unwrap().into_owned().xattrs;
        let names = xattrs.into_iter().map(|(n, _)| n);
        names.map(|n| String::from_utf8(n).unwrap()).collect()
    };
    fs::write(at("1/f"), "content").unwrap();
    assert_eq!(names("content"), ["security.capability", "trusted.x"]);
    for other in ["contenT", "conten", "", "content+"] {
        assert_eq!(names(other), ["trusted.x"], "{other}");
    }
}

#[test]
fn the_containers_own_records_outlive_renames_and_processes() {
    let place = Place::new(|[_, low]| low.own(b"a", &owned(1).owner.unwrap()).unwrap());
    let lower = place.link("1/a");
    let mut view = place.view();
    assert!(!view.is_empty().unwrap());
    assert_eq!(uid(&view, "a", lower, false), Some(1));
    let new = place.link("up/a.new");
    view.set(b"a.new", Some(new), owned(7)).unwrap();
    let up = place.0.path().join("up");
    fs::rename(up.join("a.new"), up.join("a")).unwrap();
    for view in [view, place.view()] {
        assert_eq!(uid(&view, "a", new, false), Some(7));
    }
    let mut view = place.view();
    view.set(b"a", Some(new), Record::default()).unwrap();
    for view in [view, place.view()] {
        assert_eq!(uid(&view, "a", new, false), None);
    }
}

/// Overlay shows a copy under the number of its original, as long as it remembers.
#[test]
fn what_was_copied_up_is_known_by_both_its_numbers() {
    let place = Place::new(|[_, low]| low.own(b"a", &owned(1).owner.unwrap()).unwrap());
    let lower = place.link("1/a");
    let real = place.link("up/a");
    let shown = Node {
        birth: real.birth,
        ..lower
    };
    let mut view = place.view();
    view.set(b"a", Some(shown), owned(1)).unwrap();
    for view in [&view, &place.view()] {
        for node in [shown, real] {
            assert_eq!(uid(view, "elsewhere", node, false), Some(1));
        }
    }
    view.set(b"a", Some(shown), owned(2)).unwrap();
    assert_eq!(uid(&view, "a", real, false), Some(2));
}

#[test]
fn a_directory_of_the_container_is_that_of_the_layer_below() {
    let place = Place::new(|[top, low]| {
        for path in [&b"d"[..], b"listed"] {
            low.own(path, &owned(1).owner.unwrap()).unwrap();
        }
        top.implied(b"listed").unwrap();
    });
    for dir in ["1/d", "0/listed", "1/listed", "up/d"] {
        fs::create_dir(place.0.path().join(dir)).unwrap();
    }
    let view = place.view();
    let node = |p: &str| place.node(p.into());
    assert_eq!(uid(&view, "d", node("up/d"), DIRECTORY), Some(1));
    let listed = view.get(b"listed", node("0/listed"), DIRECTORY).unwrap();
    assert!(listed.unwrap().owner.is_none());
    let (path, flags) = (place.0.path().join("up/d"), XattrFlags::empty());
    rustix::fs::setxattr(path, c"user.overlay.opaque", b"y", flags).unwrap();
    assert_eq!(uid(&view, "d", node("up/d"), DIRECTORY), None);
}

#[test]
fn every_name_of_a_hard_link_has_the_record() {
    let place = Place::new(|[top, _]| top.own(b"z", &owned(5).owner.unwrap()).unwrap());
    let node = place.link("0/z");
    let tree = place.0.path().join("0");
    fs::hard_link(tree.join("z"), tree.join("a")).unwrap();
    let view = place.view();
    assert_eq!(uid(&view, "a", node, LINKED), Some(5));
    assert_eq!(uid(&view, "z", node, LINKED), Some(5));
    let other = place.link("0/other");
    assert_eq!(uid(&view, "other", other, LINKED), None);
}

#[test]
fn layers_without_news_are_empty() {
    let place = Place::new(|[top, _]| top.implied(b"").unwrap());
    assert!(place.view().is_empty().unwrap());
}
