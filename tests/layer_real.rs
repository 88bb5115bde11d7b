//! Layers as they should be: the same tree as tar(1) makes, and the overlay forms of whiteouts.
#![allow(clippy::unwrap_used)]

mod layer_util;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Cursor;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{
    FileExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink,
};
use std::path::{Path, PathBuf};
use std::process::Command;

use coracle::layer::{Limits, remove_tree};
use coracle::oci::Digest;
use coracle::owners::FileType;
use layer_util::{Header, Place, Tar, gzip, pax_records, unpacked, zstd};
use rustix::fs::{Timespec, Timestamps};

/// One line for each thing in a tree, with all that an unpacking can get wrong.
fn listing(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut out = BTreeMap::new();
    let mut first_names = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().to_owned();
        let mut line = format!(
            "{:o} {}.{:09}",
            meta.mode(),
            meta.mtime(),
            meta.mtime_nsec()
        );
        if meta.is_dir() {
            let mut entries: Vec<_> = fs::read_dir(&path)
                .unwrap()
                .map(|e| e.unwrap().path())
                .collect();
            entries.sort();
            todo.extend(entries.into_iter().rev());
        } else {
            let first = first_names
                .entry(meta.ino())
                .or_insert_with(|| name.clone());
            line += &format!(" links {} as {first:?}", meta.nlink());
        }
        if meta.is_symlink() {
            line += &format!(" -> {:?}", fs::read_link(&path).unwrap());
        } else if meta.is_file() {
            let content = fs::read(&path).unwrap();
            line += &format!(" {} bytes {}", meta.len(), Digest::of(&content));
            if meta.blocks() * 512 + (1 << 20) < meta.len() {
                line += " with holes";
            }
        }
        if !meta.is_symlink() && !meta.file_type().is_fifo() {
            let mut xattrs: Vec<_> = xattr::list(&path).unwrap().collect();
            xattrs.retain(|n| {
                n.to_str()
                    .is_some_and(|n| n.starts_with("user.") && !n.contains("override_stat"))
            });
            xattrs.sort();
            for n in xattrs {
                line += &format!(" {n:?}={:?}", xattr::get(&path, &n).unwrap());
            }
        }
        out.insert(name, line);
    }
    out
}

fn touch(path: &Path, secs: i64, nanos: i64) {
    let t = Timespec {
        tv_sec: secs,
        tv_nsec: nanos,
    };
    let times = Timestamps {
        last_access: t,
        last_modification: t,
    };
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, flags).unwrap();
}

/// A tree with everything in it that an ordinary user can make.
fn nasty_tree(root: &Path, sparse: bool) {
    let at = |p: &str| root.join(p);
    fs::create_dir_all(at("a/b/c")).unwrap();
    fs::create_dir_all(at("z")).unwrap();
    fs::write(at("empty"), "").unwrap();
    fs::write(at("a/small"), "small").unwrap();
    let large: Vec<u8> = (0..3_000_017u32)
        .map(|i| (i.wrapping_mul(i) >> 7) as u8)
        .collect();
    fs::write(at("a/b/large"), &large).unwrap();
    fs::hard_link(at("a/small"), at("z/across")).unwrap();
    fs::hard_link(at("a/small"), at("a/again")).unwrap();
    symlink("a/small", at("link")).unwrap();
    symlink("/nowhere/at/all", at("a/dangling")).unwrap();
    symlink("x".repeat(180), at("a/longlink")).unwrap();
    fs::hard_link(at("link"), at("z/linklink")).unwrap();
    let long = format!("{}/{}", "d".repeat(120), "e".repeat(90));
    fs::create_dir_all(at(&long)).unwrap();
    fs::write(at(&format!("{long}/{}", "f".repeat(80))), "long").unwrap();
    fs::write(at("spa ce\nnew\u{e9}"), "odd").unwrap();
    let pipe = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), pipe, rustix::fs::Mode::RUSR, 0).unwrap();
    for (name, mode) in [
        ("suid", 0o4755),
        ("sgid", 0o2711),
        ("none", 0o000),
        ("ro", 0o444),
        ("all", 0o777),
    ] {
        fs::write(at(name), name).unwrap();
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    if sparse {
        let file = File::create(at("sparse")).unwrap();
        file.set_len(50 << 20).unwrap();
        for i in 0..40 {
            file.write_all_at(format!("extent {i}").as_bytes(), i * (1 << 20) + 4096)
                .unwrap();
        }
        File::create(at("hole")).unwrap().set_len(20 << 20).unwrap();
    }
    touch(&at("a/small"), 1_234_567_890, 123_456_789);
    touch(&at("link"), 1_000_000_001, 0);
    touch(&at("empty"), 0, 0);
    for (name, mode) in [
        ("a/b/c", 0o500),
        ("a/b", 0o2775),
        ("z", 0o1777),
        ("a", 0o711),
    ] {
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
        touch(&at(name), 1_100_000_000, 0);
    }
}

fn tar(args: &[&str], dir: &Path) {
    let out = Command::new("tar")
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
}

#[test]
fn same_tree_as_tar() {
    let tmp = tempfile::tempdir().unwrap();
    let at = |p: &str| tmp.path().join(p);
    for sparse in [false, true] {
        let source = at(&format!("source-{sparse}"));
        fs::create_dir(&source).unwrap();
        nasty_tree(&source, sparse);
        xattr::set(source.join("a/small"), "user.text", b"with\nnewline").unwrap();
        xattr::set(source.join("z"), "user.dir", b"\0binary\xff").unwrap();
    }
    let formats: [(&str, &[&str]); 7] = [
        ("false", &["--format=gnu"]),
        ("false", &["--format=pax"]),
        (
            "false",
            &["--format=ustar", "--exclude=a/longlink", "--exclude=d*"],
        ),
        ("true", &["--format=gnu", "--sparse"]),
        (
            "true",
            &[
                "--format=pax",
                "--sparse",
                "--sparse-version=0.0",
                "--xattrs",
            ],
        ),
        (
            "true",
            &[
                "--format=pax",
                "--sparse",
                "--sparse-version=0.1",
                "--xattrs",
            ],
        ),
        (
            "true",
            &[
                "--format=pax",
                "--sparse",
                "--sparse-version=1.0",
                "--xattrs",
            ],
        ),
    ];
    for (i, (sparse, options)) in formats.into_iter().enumerate() {
        let file = at("layer.tar");
        let mut args = vec!["-cf", file.to_str().unwrap(), "--sort=name"];
        // GNU tar gives up on unreadable files; root reads them all.
        if !rustix::process::geteuid().is_root() {
            args.extend(["--exclude=./none"]);
        }
        args.extend(options);
        args.push(".");
        tar(&args, &at(&format!("source-{sparse}")));

        let reference = at(&format!("tar-{i}"));
        fs::create_dir(&reference).unwrap();
        let mut args = vec!["-xpf", file.to_str().unwrap(), "--no-same-owner"];
        if options.contains(&"--xattrs") {
            args.push("--xattrs");
        }
        tar(&args, &reference);

        let plain = fs::read(&file).unwrap();
        let blob = match i % 3 {
            0 => plain.clone(),
            1 => gzip(&plain),
            _ => zstd(&plain),
        };
        let place = Place::new();
        let applied = place.apply(Cursor::new(blob), &Limits::default()).unwrap();
        assert_eq!(applied.diff_id, Digest::of(&plain));
        assert_eq!(applied.tar_bytes, plain.len() as u64);

        let (mut want, mut got) = (listing(&reference), listing(&place.at("")));
        assert!(want.len() > 15);
        assert_eq!(want.contains_key(Path::new("sparse")), sparse == "true");
        for (path, line) in &want {
            assert_eq!(
                got.remove(path).as_ref(),
                Some(line),
                "{options:?} {path:?}"
            );
        }
        assert_eq!(got, BTreeMap::new(), "{options:?}");
        want.clear();
    }
    let dir = File::open(tmp.path()).unwrap();
    for entry in fs::read_dir(tmp.path()).unwrap() {
        remove_tree(dir.as_fd(), &entry.unwrap().file_name()).unwrap();
    }
}

#[test]
fn owners_are_recorded() {
    let owned = |flag, name: &str| Header::new(flag, name).owner(33, 65534).mode(0o4750);
    let tar = Tar::new()
        .add(owned(b'0', "file"), b"")
        .add(owned(b'0', "readonly").mode(0o400).size(2), b"ro")
        .add(owned(b'0', "shut").mode(0), b"")
        .add(owned(b'5', "dir"), b"")
        .add(owned(b'5', "dir/shut").mode(0), b"")
        .add(owned(b'0', "dir/shut/in"), b"")
        .add(owned(b'2', "link").link("x"), b"")
        .add(owned(b'6', "fifo"), b"")
        .file("root", b"")
        .pax(&[("uid", b"4000000000"), ("SCHILY.xattr.user.x", b"1")])
        .file("large", b"")
        .pax(&[
            ("LIBARCHIVE.xattr.user.l%61", b"AQID"),
            ("SCHILY.xattr.security.x", b"2"),
        ])
        .symlink("xlink", "x");
    let place = unpacked(tar.end());
    for (path, want) in [
        ("file", "33:65534:4750:file"),
        ("readonly", "33:65534:0400:file"),
        ("dir", "33:65534:4750:dir"),
        ("large", "4000000000:0:0644:file"),
    ] {
        let value = place.xattr(path, "user.containers.override_stat").unwrap();
        assert_eq!(String::from_utf8(value).unwrap(), want, "{path}");
    }
    assert_eq!(place.xattr("root", "user.containers.override_stat"), None);
    assert_eq!(place.xattr("large", "user.x").unwrap(), b"1");
    assert_eq!(place.read("readonly"), "ro");
    for (path, mode) in [
        ("file", 0o4750),
        ("readonly", 0o400),
        ("shut", 0),
        ("dir", 0o4750),
        ("dir/shut", 0),
    ] {
        assert_eq!(place.stat(path).mode() & 0o7777, mode, "{path}");
    }
    let owners = place.owners();
    for (path, file_type) in [("link", FileType::Symlink), ("fifo", FileType::Pipe)] {
        let owner = owners.get(path.as_bytes()).unwrap().owner.unwrap();
        assert_eq!(
            (owner.uid, owner.gid, owner.file_type),
            (33, 65534, file_type)
        );
    }
    let kept = &owners.get(b"xlink").unwrap().xattrs;
    let want: [(&[u8], &[u8]); 2] = [(b"user.la", &[1, 2, 3]), (b"security.x", b"2")];
    assert_eq!(*kept, want.map(|(n, v)| (n.to_vec(), v.to_vec())));
}

#[test]
fn global_headers_count_for_owner_and_time() {
    let tar = Tar::new()
        .pax_raw(
            b'g',
            &pax_records(&[("uid", b"7"), ("mtime", b"-1.5"), ("path", b"ignored")]),
        )
        .file("a", b"")
        .pax(&[("uid", b"0")])
        .file("b", b"");
    let place = unpacked(tar.end());
    let value = place.xattr("a", "user.containers.override_stat").unwrap();
    assert_eq!(value, b"7:0:0644:file");
    assert_eq!(place.xattr("b", "user.containers.override_stat"), None);
    let stat = place.stat("a");
    assert_eq!((stat.mtime(), stat.mtime_nsec()), (-2, 500_000_000));
}

fn is_whiteout(place: &Place, path: &str) -> bool {
    let stat = place.stat(path);
    stat.file_type().is_char_device() && stat.rdev() == 0
}

fn is_opaque(place: &Place, path: &str) -> bool {
    place.xattr(path, "user.overlay.opaque").as_deref() == Some(b"y")
}

#[test]
fn whiteouts_are_what_overlay_reads() {
    let tar = Tar::new()
        .file(".wh.top", b"")
        .dir("d")
        .file("d/.wh.gone", b"")
        .file("d/.wh.gone", b"")
        .dir("o")
        .file("o/kept", b"")
        .file("o/.wh..wh..opq", b"")
        // Names that are whited out and made in the same layer, in either order.
        .file(".wh.dir-after", b"")
        .dir("dir-after")
        .file("dir-after/x", b"")
        .dir("dir-before")
        .file("dir-before/x", b"")
        .file(".wh.dir-before", b"")
        .file(".wh.implied", b"")
        .file("implied/x", b"")
        .file(".wh.file-after", b"")
        .file("file-after", b"x")
        .file("file-before", b"x")
        .file(".wh.file-before", b"")
        .file("was-file", b"")
        .dir("was-file");
    let place = unpacked(tar.end());
    assert!(is_whiteout(&place, "top"));
    assert!(is_whiteout(&place, "d/gone"));
    assert!(!is_opaque(&place, "d"));
    for path in ["o", "dir-after", "dir-before", "implied", "was-file"] {
        assert!(is_opaque(&place, path), "{path}");
    }
    for path in [
        "o/kept",
        "dir-after/x",
        "dir-before/x",
        "implied/x",
        "file-after",
        "file-before",
    ] {
        assert!(place.stat(path).is_file(), "{path}");
    }
    assert!(place.owners().get(b"implied").unwrap().implied);
}

#[test]
fn later_entries_replace_earlier_ones() {
    let own = |flag, name: &str| Header::new(flag, name).owner(1, 1);
    let tar = Tar::new()
        .file("f", b"first, and longer")
        .file("f", b"second")
        .dir("tree")
        .add(own(b'2', "tree/link").link("x"), b"")
        .dir("tree/sub")
        .file("tree/sub/f", b"")
        .file("tree", b"now a file")
        .add(own(b'5', "merged"), b"")
        .file("merged/f", b"kept")
        .add(Header::new(b'5', "merged").mode(0o700), b"")
        .add(own(b'2', "l").link("x"), b"")
        .file("l", b"now a file")
        .file("a", b"")
        .hard_link("b", "a")
        .file("a", b"new");
    let place = unpacked(tar.end());
    assert_eq!(place.read("f"), "second");
    assert_eq!(place.read("tree"), "now a file");
    assert_eq!(place.read("merged/f"), "kept");
    assert_eq!(place.stat("merged").mode() & 0o7777, 0o700);
    assert_eq!(place.xattr("merged", "user.containers.override_stat"), None);
    assert_eq!(
        (place.read("a"), place.read("b")),
        ("new".into(), String::new())
    );
    // Nothing is left of what is gone, but the root, which this tar does not list.
    let owners = place.owners();
    assert_eq!(owners.iter().map(|(p, _)| p).collect::<Vec<_>>(), [b""]);
}

#[test]
fn directories_keep_time_and_mode_however_often_they_are_entered() {
    // More directories than stay open, entered twice, the second time after they were shut.
    let name = |i: usize| format!("d{i:03}");
    let mut tar = Tar::new();
    for i in 0..100 {
        tar = tar.add(Header::new(b'5', name(i)).mode(0o111), b"");
    }
    for round in ["x", "y"] {
        for i in 0..100 {
            tar = tar.file(format!("{}/{round}", name(i)), b"");
        }
    }
    let place = unpacked(tar.dir(".").end());
    for i in 0..100 {
        let stat = place.stat(name(i));
        assert_eq!((stat.mode() & 0o7777, stat.mtime()), (0o111, 1_000_000_000));
    }
    assert_eq!(place.stat("").mtime(), 1_000_000_000);
}

#[test]
fn figures_are_right() {
    let tar = Tar::new()
        .dir("d")
        .pax(&[("mtime", b"1")])
        .file("f", &[1; 1000])
        .file("g", b"12")
        .end();
    let place = Place::new();
    let applied = place
        .apply(Cursor::new(gzip(&tar)), &Limits::default())
        .unwrap();
    assert_eq!(applied.diff_id, Digest::of(&tar));
    assert_eq!((applied.entries, applied.size), (3, 1002));
    assert_eq!(applied.tar_bytes, tar.len() as u64);
    assert!(place.owners().get(b"").unwrap().implied);
    assert_eq!(place.stat("").mode() & 0o7777, 0o755);
}

#[test]
fn empty_layers_are_fine() {
    for blob in [Tar::new().end(), gzip(&Tar::new().end()), Vec::new()] {
        assert_eq!(fs::read_dir(unpacked(blob).at("")).unwrap().count(), 0);
    }
}
