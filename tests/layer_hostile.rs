//! Layers that attack: each must end in a clear error or in something harmless, with nothing
//! written outside the destination (`Place` checks that after every unpacking).
#![allow(clippy::unwrap_used)]

mod layer_util;

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Cursor, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use coracle::layer::{Error, Limits};
use layer_util::{Header, Place, Tar, fix_checksum, gzip, pax_records, unpack, unpacked, zstd};

#[track_caller]
fn fails(tar: Tar) -> Error {
    let (_place, result) = unpack(tar.end());
    result.unwrap_err()
}

#[track_caller]
fn fails_with(tar: Tar, limits: &Limits) -> Error {
    Place::new()
        .apply(Cursor::new(tar.end()), limits)
        .unwrap_err()
}

macro_rules! assert_err {
    ($error:expr, $pattern:pat) => {
        match $error {
            $pattern => {}
            other => panic!("got {other:?}: {other}"),
        }
    };
}

// Names

#[test]
fn dotdot_is_refused_wherever_it_stands() {
    for name in [
        "..",
        "../x",
        "a/../../x",
        "/../x",
        "a/b/..",
        "a/../b",
        "./../x",
    ] {
        assert_err!(
            fails(Tar::new().file(name, b"x")),
            Error::EscapesRoot { .. }
        );
        assert_err!(fails(Tar::new().dir(name)), Error::EscapesRoot { .. });
        assert_err!(
            fails(Tar::new().symlink(name, "x")),
            Error::EscapesRoot { .. }
        );
        let pax = Tar::new().pax(&[("path", name.as_bytes())]).file("ok", b"");
        assert_err!(fails(pax), Error::EscapesRoot { .. });
        let long = Tar::new().long(b'L', name.as_bytes()).file("ok", b"");
        assert_err!(fails(long), Error::EscapesRoot { .. });
    }
}

#[test]
fn absolute_names_are_made_relative() {
    let outside = Place::new();
    let name = outside.outside().join("canary");
    let name = name.to_str().unwrap();
    let place = unpacked(Tar::new().file(name, b"evil").end());
    assert_eq!(place.read(name.trim_start_matches('/')), "evil");
    outside.assert_untouched();
}

#[test]
fn symlinked_parents_lead_only_inside() {
    let outside = Place::new();
    let target = outside.outside();
    let target = target.to_str().unwrap();
    for to in [
        target.to_owned(),
        format!("../../../../../../../../..{target}"),
    ] {
        let tar = Tar::new().symlink("l", &to).file("l/canary", b"evil");
        let place = unpacked(tar.end());
        assert_eq!(fs::read_link(place.at("l")).unwrap(), Path::new(&to));
        let inside = Path::new(target.trim_start_matches('/')).join("canary");
        assert_eq!(place.read(inside), "evil");
        outside.assert_untouched();
    }
}

#[test]
fn symlinked_parent_of_the_same_layer_is_followed() {
    let tar = Tar::new()
        .dir("usr")
        .dir("usr/lib")
        .symlink("lib", "usr/lib")
        .symlink("usr/up", "..")
        .file("lib/a", b"a")
        .file("usr/up/usr/up/lib/b", b"b")
        .hard_link("lib/c", "usr/up/lib/a");
    let place = unpacked(tar.end());
    assert_eq!(place.read("usr/lib/a") + &place.read("usr/lib/b"), "ab");
    assert_eq!(place.stat("usr/lib/c").ino(), place.stat("usr/lib/a").ino());
    // Made through two names, the directory still has the mtime of the tar.
    assert_eq!(place.stat("usr/lib").mtime(), 1_000_000_000);
}

#[test]
fn symlink_loops_end() {
    let tar = Tar::new()
        .symlink("a", "b")
        .symlink("b", "a")
        .file("a/x", b"");
    assert_err!(fails(tar), Error::Loop { .. });
    assert_err!(
        fails(Tar::new().symlink("a", "a/a").file("a/x", b"")),
        Error::Loop { .. }
    );
}

#[test]
fn last_component_is_never_followed() {
    let outside = Place::new();
    let canary = outside.outside().join("canary");
    let canary = canary.to_str().unwrap();
    let link = || Tar::new().symlink("l", canary);
    let place = unpacked(link().file("l", b"evil").end());
    assert_eq!(place.read("l"), "evil");
    assert!(place.stat("l").is_file());
    let place = unpacked(link().dir("l").end());
    assert!(place.stat("l").is_dir());
    let place = unpacked(link().add(Header::new(b'6', "l").mode(0o7777), b"").end());
    assert!(place.stat("l").file_type().is_fifo());
    // A hard link is to the symlink itself.
    let place = unpacked(link().hard_link("h", "l").end());
    assert!(place.stat("h").is_symlink());
    let place = unpacked(link().hard_link("h", "l").file("h", b"evil").end());
    assert!(place.stat("h").is_file());
    outside.assert_untouched();
}

#[test]
fn hard_links_reach_only_this_layer() {
    let outside = Place::new();
    let dir = outside.outside();
    let dir = dir.to_str().unwrap();
    for target in ["../outside/canary", "a/../../outside/canary"] {
        assert_err!(
            fails(Tar::new().hard_link("h", target)),
            Error::EscapesRoot { .. }
        );
    }
    for target in [
        format!("{dir}/canary"),
        String::new(),
        "h".into(),
        ".wh.x".into(),
    ] {
        assert_err!(
            fails(Tar::new().hard_link("h", target)),
            Error::HardLink { .. }
        );
    }
    let tar = Tar::new().symlink("l", dir).hard_link("h", "l/canary");
    assert_err!(fails(tar), Error::HardLink { .. });
    let tar = Tar::new().file("f", b"").hard_link("h", "f/x");
    assert_err!(fails(tar), Error::HardLink { .. });
    assert_err!(
        fails(Tar::new().dir("d").hard_link("h", "d")),
        Error::Sys { call: "linkat", .. }
    );
    // To itself, and to what making room for the link removes.
    assert_err!(
        fails(Tar::new().file("f", b"").hard_link("f", "f")),
        Error::HardLink { .. }
    );
    let tar = Tar::new().dir("d").file("d/f", b"").hard_link("d", "d/f");
    assert_err!(fails(tar), Error::HardLink { .. });
    outside.assert_untouched();
}

#[test]
fn names_are_bytes() {
    let name = b"\xff\xfe\x01\x1b[31m";
    let place = unpacked(Tar::new().file(name, b"x").symlink("l", b"\x80").end());
    assert_eq!(place.read(OsStr::from_bytes(name)), "x");
    assert_eq!(
        fs::read_link(place.at("l")).unwrap().as_os_str(),
        OsStr::from_bytes(b"\x80")
    );
    let tar = Tar::new().pax(&[("path", b"a\nb")]).file("x", b"");
    assert!(unpacked(tar.end()).stat("a\nb").is_file());
    let tar = Tar::new().pax(&[("path", b"a\0b")]).file("x", b"");
    assert_err!(fails(tar), Error::Name { .. });
    let tar = Tar::new().pax(&[("linkpath", b"a\0b")]).symlink("x", "y");
    assert_err!(fails(tar), Error::Name { .. });
    assert_err!(fails(Tar::new().symlink("x", "")), Error::Name { .. });
}

#[test]
fn control_characters_are_escaped_in_messages() {
    let text = fails(Tar::new().file("../\x1b[31mred\r\n", b"")).to_string();
    assert!(!text.contains(|c: char| c.is_control()), "{text:?}");
}

#[test]
fn long_names_are_bounded() {
    let long = |n: usize| "a/".repeat(n / 2).into_bytes();
    let limits = Limits {
        max_path: 1000,
        ..Limits::default()
    };
    let ok = Tar::new().long(b'L', &long(998)).file("x", b"");
    Place::new().apply(Cursor::new(ok.end()), &limits).unwrap();
    for tar in [
        Tar::new().long(b'L', &long(1002)).file("x", b""),
        Tar::new().pax(&[("path", &long(1002))]).file("x", b""),
        Tar::new()
            .pax(&[("linkpath", &long(1002))])
            .symlink("x", "y"),
        Tar::new()
            .pax(&[("linkpath", &long(1002))])
            .hard_link("x", "y"),
        // Through a symlink, twice 600.
        Tar::new()
            .pax(&[("linkpath", &long(600))])
            .symlink("x", "y")
            .pax(&[("path", &[&b"x/"[..], &long(600)].concat())])
            .file("z", b""),
    ] {
        assert_err!(fails_with(tar, &limits), Error::PathTooLong(1000));
    }
    let tar = Tar::new().long(b'L', &long(100_000)).file("x", b"");
    assert_err!(fails_with(tar, &limits), Error::HeaderTooLarge(_));
}

#[test]
fn deep_trees_use_few_descriptors() {
    let path = "d/".repeat(1500);
    let mut tar = Tar::new();
    // Two deep branches in turn, so that neither stays in the cache.
    for i in 0..4 {
        let name = format!("{}{path}f{i}", ["x/", "y/"][i % 2]);
        tar = tar.long(b'L', name.as_bytes()).file("x", b"deep");
    }
    let place = unpacked(tar.end());
    assert!(place.owners().get(b"x/d/d/d").unwrap().implied);
}

// Whiteouts

#[test]
fn whiteouts_of_dots_are_refused() {
    for name in [
        ".wh.",
        ".wh..",
        ".wh...",
        "a/.wh.",
        "a/.wh..",
        "a/.wh...",
        ".wh.a/b",
        "a/.wh.b/c",
    ] {
        assert_err!(
            fails(Tar::new().dir("a").file(name, b"")),
            Error::Whiteout { .. }
        );
    }
    assert_err!(
        fails(Tar::new().file(".wh./../x", b"")),
        Error::EscapesRoot { .. }
    );
}

#[test]
fn whiteouts_do_not_touch_what_links_point_to() {
    let outside = Place::new();
    let dir = outside.outside();
    let tar = Tar::new()
        .symlink("l", dir.to_str().unwrap())
        .file("l/.wh.canary", b"");
    unpacked(tar.end());
    outside.assert_untouched();
}

#[test]
fn aufs_bookkeeping_is_skipped() {
    let tar = Tar::new()
        .dir(".wh..wh.plnk")
        .file(".wh..wh.plnk/1.2", b"x")
        .file(".wh..wh.aufs", b"");
    assert_eq!(fs::read_dir(unpacked(tar.end()).at("")).unwrap().count(), 0);
}

// Types, owners, xattrs

#[test]
fn devices_are_never_made() {
    let tar = Tar::new()
        .add(Header::new(b'3', "null").mode(0o666).device(1, 3), b"")
        .add(Header::new(b'4', "sda").owner(0, 6).device(8, 0), b"")
        .add(Header::new(b'3', "fake-whiteout").device(0, 0), b"");
    let place = unpacked(tar.end());
    for (name, want) in [
        ("null", "0:0:0666:char-1-3"),
        ("sda", "0:6:0644:block-8-0"),
        ("fake-whiteout", "0:0:0644:char-0-0"),
    ] {
        assert!(place.stat(name).is_file(), "{name}");
        let value = place.xattr(name, "user.containers.override_stat").unwrap();
        assert_eq!(String::from_utf8(value).unwrap(), want);
    }
    let bad = Header::new(b'3', "x").raw(329, b"\xff\xff\xff\xff\xff\xff\xff\xff");
    assert_err!(fails(Tar::new().add(bad, b"")), Error::Number { .. });
}

#[test]
fn a_layer_cannot_speak_for_us() {
    let names = [
        "user.overlay.opaque",
        "user.overlay.redirect",
        "user.overlay.whiteout",
        "user.fuseoverlayfs.opaque",
        "user.containers.override_stat",
        "user.coracle.x",
        "trusted.overlay.opaque",
        "security.capability",
        "system.posix_acl_access",
    ];
    let records: Vec<(String, &[u8])> = names
        .iter()
        .map(|n| (format!("SCHILY.xattr.{n}"), &b"y"[..]))
        .chain([("SCHILY.xattr.user.mine".to_owned(), &b"a\nb\0"[..])])
        .collect();
    let records: Vec<(&str, &[u8])> = records.iter().map(|(k, v)| (k.as_str(), *v)).collect();
    let tar = Tar::new()
        .pax(&records)
        .file("f", b"")
        .pax(&records)
        .dir("d")
        .pax(&records)
        .dir(".");
    let place = unpacked(tar.end());
    for path in ["f", "d", ""] {
        let set: Vec<_> = xattr::list(place.at(path)).unwrap().collect();
        assert_eq!(set, ["user.mine"], "{path:?}");
        assert_eq!(place.xattr(path, "user.mine").unwrap(), b"a\nb\0");
        let owners = place.owners();
        let record = owners.get(path.as_bytes()).unwrap();
        let kept: Vec<&[u8]> = record.xattrs.iter().map(|(n, _)| n.as_slice()).collect();
        assert_eq!(kept, names.map(str::as_bytes), "{path:?}");
        assert_eq!(record.owner, None);
    }
}

#[test]
fn too_many_xattrs_are_refused() {
    let names: Vec<String> = (0..300).map(|i| format!("SCHILY.xattr.user.{i}")).collect();
    let records: Vec<(&str, &[u8])> = names.iter().map(|n| (n.as_str(), &b""[..])).collect();
    assert_err!(
        fails(Tar::new().pax(&records).file("f", b"")),
        Error::Pax { .. }
    );
}

#[test]
fn xattrs_beyond_the_kernels_limits_are_refused() {
    let name = format!("SCHILY.xattr.user.{}", "n".repeat(251));
    let large = vec![0; (64 << 10) + 1];
    for records in [
        [(name.as_str(), &b""[..])],
        [("SCHILY.xattr.security.x", &large)],
        [("SCHILY.xattr.", b"")],
        [("SCHILY.xattr.a\0b", b"")],
        [("LIBARCHIVE.xattr.user.x", b"not base64!")],
    ] {
        assert_err!(
            fails(Tar::new().pax(&records).file("f", b"")),
            Error::Pax { .. }
        );
    }
    // What the kernel allows but this file system may not is kept all the same.
    let value = vec![b'v'; 64 << 10];
    let tar = Tar::new()
        .pax(&[("SCHILY.xattr.user.large", &value)])
        .file("f", b"");
    let place = unpacked(tar.end());
    let set = place.xattr("f", "user.large");
    let kept = place.owners().get(b"f").map(|r| r.xattrs[0].1.clone());
    assert_eq!(set.or(kept).unwrap(), value);
}

#[test]
fn unknown_types_are_named() {
    for flag in [b'8', b'V', b'M', b'D', b'A', 0xff] {
        match fails(Tar::new().add(Header::new(flag, "x"), b"")) {
            Error::UnknownType { flag: got, .. } => assert_eq!(got, flag),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn root_must_be_a_directory() {
    for name in [".", "/", "./"] {
        assert_err!(fails(Tar::new().file(name, b"x")), Error::Name { .. });
        assert_err!(fails(Tar::new().symlink(name, "/etc")), Error::Name { .. });
    }
}

#[test]
fn a_file_is_no_directory() {
    let tar = Tar::new().file("f", b"").file("f/x", b"");
    assert_err!(fails(tar), Error::NotADirectory { .. });
    let tar = Tar::new().file("f", b"").symlink("l", "f").file("l/x", b"");
    assert_err!(fails(tar), Error::NotADirectory { .. });
}

#[test]
fn links_and_directories_have_no_data() {
    // The size field of a hard link is the size of its target in some tars.
    let tar = Tar::new()
        .file("f", b"12345")
        .add(Header::new(b'1', "h").link("f").size(5), b"")
        .add(Header::new(b'5', "d").size(999), b"")
        .file("after", b"ok");
    assert_eq!(unpacked(tar.end()).read("after"), "ok");
}

// Numbers and sizes

#[test]
fn bad_numbers_are_refused() {
    let size = |field: &[u8]| Header::new(b'0', "x").raw(124, field);
    for header in [
        size(&[0xff; 12]),
        size(b"\x80\0\0\0\x80\0\0\0\0\0\0\0"),
        size(b"\x80\x01\0\0\0\0\0\0\0\0\0\0"),
        size(b"-0000000001\0"),
        size(b"zzz\0"),
        Header::new(b'0', "x").raw(108, &[0xff; 8]),
        Header::new(b'0', "x").raw(108, b"\x80\0\0\0\xff\xff\xff\xff"),
        Header::new(b'0', "x").raw(116, b"8888888\0"),
        Header::new(b'0', "x").raw(100, b"rwxrwxr\0"),
        Header::new(b'0', "x").raw(136, b"tomorrow\0\0\0\0"),
    ] {
        assert_err!(fails(Tar::new().add(header, b"")), Error::Number { .. });
    }
    for (key, value) in [
        ("size", &b"-1"[..]),
        ("size", b"99999999999999999999"),
        ("size", b""),
        ("uid", b"-1"),
        ("gid", b"4294967296"),
        ("mtime", b"soon"),
    ] {
        assert_err!(
            fails(Tar::new().pax(&[(key, value)]).file("x", b"")),
            Error::Pax { .. }
        );
    }
    for (key, value) in [
        ("size", &b"9223372036854775808"[..]),
        ("uid", b"4294967295"),
    ] {
        assert_err!(
            fails(Tar::new().pax(&[(key, value)]).file("x", b"")),
            Error::Number { .. }
        );
    }
}

#[test]
fn huge_sizes_end_before_anything_huge_happens() {
    let huge = Header::new(b'0', "x").raw(124, b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff");
    assert_err!(fails(Tar::new().add(huge, b"data")), Error::TooLarge(_));
    let large = Header::new(b'0', "x").size(1 << 32);
    assert_err!(fails(Tar::new().add(large, b"data")), Error::Truncated(_));
    // Two files that are fine by themselves.
    let limits = Limits {
        max_bytes: 1 << 20,
        ..Limits::default()
    };
    let sparse = |name: &str| {
        let records = [
            ("GNU.sparse.map", &b"0,0"[..]),
            ("GNU.sparse.size", b"600000"),
        ];
        Tar::new().pax(&records).file(name, b"").0
    };
    let both = Tar([sparse("a"), sparse("b")].concat());
    assert_err!(fails_with(both, &limits), Error::TooLarge(_));
}

#[test]
fn pax_size_counts() {
    let tar = Tar::new()
        .pax(&[("size", b"5")])
        .add(Header::new(b'0', "x").size(0), b"hello")
        .file("y", b"after");
    let place = unpacked(tar.end());
    assert_eq!(place.read("x") + &place.read("y"), "helloafter");
}

#[test]
fn entries_are_counted_with_their_headers() {
    let limits = Limits {
        max_entries: 10,
        ..Limits::default()
    };
    let files = |n: usize| (0..n).fold(Tar::new(), |t, i| t.file(format!("{i}"), b""));
    Place::new()
        .apply(Cursor::new(files(10).end()), &limits)
        .unwrap();
    assert_err!(fails_with(files(11), &limits), Error::TooManyEntries(10));
    let headers = (0..11).fold(Tar::new(), |t, _| t.pax(&[("path", b"x")]));
    assert_err!(
        fails_with(headers.file("x", b""), &limits),
        Error::TooManyEntries(10)
    );
}

#[test]
fn bombs_stop_at_the_limit() {
    let limits = Limits {
        max_bytes: 1 << 20,
        ..Limits::default()
    };
    let tar = Tar::new().file("zeros", &vec![0; 64 << 20]).end();
    for blob in [gzip(&tar), zstd(&tar), tar.clone()] {
        let error = Place::new().apply(Cursor::new(blob), &limits).unwrap_err();
        assert_err!(error, Error::TooLarge(0x10_0000));
    }
    // Also after the end of the archive, where nothing is unpacked any more.
    let padded = [Tar::new().end(), vec![0; 64 << 20]].concat();
    let error = Place::new()
        .apply(Cursor::new(gzip(&padded)), &limits)
        .unwrap_err();
    assert_err!(error, Error::TooLarge(_));
}

#[test]
fn headers_are_bounded() {
    let limits = Limits {
        max_pax: 4096,
        ..Limits::default()
    };
    let value = vec![b'x'; 5000];
    let tar = Tar::new().pax(&[("comment", &value)]).file("x", b"");
    assert_err!(fails_with(tar, &limits), Error::HeaderTooLarge(4096));
    let global = Tar::new().pax_raw(b'g', &pax_records(&[("comment", &value)]));
    assert_err!(fails_with(global, &limits), Error::HeaderTooLarge(4096));
    // Says gigabytes, has none: nothing is reserved in advance.
    let liar = Tar::new().add(Header::new(b'x', "pax").size(1 << 33), b"");
    assert_err!(fails(liar), Error::HeaderTooLarge(_));
}

#[test]
fn malformed_pax_is_refused() {
    for data in [
        &b"path=x\n"[..],
        b"99 path=x\n",
        b"0 path=x\n",
        b"9 path=x!",
        b"7 pathx\n",
        b"\xff",
    ] {
        assert_err!(
            fails(Tar::new().pax_raw(b'x', data).file("x", b"")),
            Error::Pax { .. }
        );
    }
}

// Sparse files

#[test]
fn malformed_sparse_maps_are_refused() {
    let pax = |records: &[(&str, &[u8])], data: &[u8]| Tar::new().pax(records).file("x", data);
    let v1 = |map: &str| {
        let mut data = map.as_bytes().to_vec();
        data.resize(data.len().next_multiple_of(512), 0);
        let records = [
            ("GNU.sparse.major", &b"1"[..]),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.realsize", b"100"),
        ];
        pax(&records, &[data, b"12345".to_vec()].concat())
    };
    assert_eq!(unpacked(v1("1\n7\n5\n").end()).stat("x").len(), 100);
    let v0 = |map: &[u8]| {
        pax(
            &[("GNU.sparse.map", map), ("GNU.sparse.size", b"100")],
            b"12345",
        )
    };
    assert_eq!(unpacked(v0(b"7,5").end()).stat("x").len(), 100);
    for bad in [
        v0(b"0,3,2,2"),
        v0(b"50,3,2,2"),
        v0(b"96,5"),
        v0(b"0,4"),
        v0(b"0,6"),
        v0(b"0"),
        v0(b"18446744073709551615,5"),
        v1("1\n96\n5\n"),
        v1("2\n7\n5\n"),
        v1("x\n"),
        v1("1\n7\n99999999999999999999999\n"),
        v1(&"1".repeat(600)),
        pax(&[("GNU.sparse.map", b"7,5")], b"12345"),
        pax(
            &[("GNU.sparse.major", b"2"), ("GNU.sparse.size", b"9")],
            b"",
        ),
        pax(
            &[
                ("GNU.sparse.map", b"0,5"),
                ("GNU.sparse.size", b"18446744073709551615"),
            ],
            b"12345",
        ),
    ] {
        assert_err!(fails(bad), Error::Sparse { .. });
    }
    for bad in [v0(b"7,x"), pax(&[("GNU.sparse.numbytes", b"5")], b"")] {
        assert_err!(fails(bad), Error::Pax { .. });
    }
    assert_err!(fails(v1("99999999\n")), Error::HeaderTooLarge(_));
}

#[test]
fn malformed_old_sparse_headers_are_refused() {
    let old = |offset: &[u8], len: &[u8], real: &[u8]| {
        let header = Header::new(b'S', "x").gnu().size(5);
        Tar::new().add(
            header.raw(386, offset).raw(398, len).raw(483, real),
            b"12345",
        )
    };
    let ok = unpacked(old(b"00000001000\0", b"00000000005\0", b"00000002000\0").end());
    assert_eq!(
        (ok.stat("x").len(), &ok.read("x")[512..517]),
        (1024, "12345")
    );
    for bad in [
        old(&[0xff; 12], b"00000000005\0", b"00000002000\0"),
        old(b"00000002000\0", b"00000000005\0", b"00000002000\0"),
        old(b"00000000000\0", b"00000000006\0", b"00000002000\0"),
        old(b"00000000000\0", b"00000000005\0", b"junk\0"),
    ] {
        assert_err!(fails(bad), Error::Sparse { .. });
    }
    // Extension blocks without end.
    let header = Header::new(b'S', "x").gnu().raw(482, b"\x01");
    let mut block = [0; 512];
    block[504] = 1;
    let chain = (0..5000).fold(Tar::new().add(header, b""), |t, _| t.data(&block));
    assert_err!(fails(chain), Error::HeaderTooLarge(_));
}

// The stream

#[test]
fn every_cut_is_noticed() {
    let tar = Tar::new()
        .dir("d")
        .pax(&[("SCHILY.xattr.user.x", b"1")])
        .file("d/f", &[7; 1500])
        .long(b'L', &[b'n'; 200])
        .file("x", b"1")
        .end();
    let whole = gzip(&tar);
    for cut in (1..whole.len()).step_by(3) {
        let (_place, result) = unpack(whole[..cut].to_vec());
        assert!(result.is_err(), "cut at {cut}");
    }
    // A plain tar may end between two entries, or without the last padding, nowhere else. The blob's digest
    // catches that.
    let unpadded = 512 * 10 + 1;
    let boundaries = [
        512,
        512 * 7,
        unpadded,
        512 * 10 + 512,
        tar.len() - 512,
        tar.len(),
    ];
    for cut in (1..tar.len()).step_by(128) {
        let (_place, result) = unpack(tar[..cut].to_vec());
        assert_eq!(
            result.is_ok(),
            boundaries.contains(&cut),
            "cut at {cut}: {result:?}"
        );
    }
}

#[test]
fn damaged_streams_are_refused() {
    let tar = Tar::new()
        .file("f", &(0..=255).cycle().take(100_000).collect::<Vec<u8>>())
        .end();
    for blob in [gzip(&tar), zstd(&tar)] {
        let middle = blob.len() / 2;
        let mut flipped = blob.clone();
        flipped[middle] ^= 0x55;
        assert!(unpack(flipped).1.is_err());
        let trailing = [blob, b"garbage".to_vec()].concat();
        assert_err!(unpack(trailing).1.unwrap_err(), Error::Inflate { .. });
    }
    assert_err!(
        unpack(b"\xfd7zXZ\0\0".to_vec()).1.unwrap_err(),
        Error::Compression("xz")
    );
    assert_err!(
        unpack(b"BZh91AY&SY".to_vec()).1.unwrap_err(),
        Error::Compression("bzip2")
    );
    assert_err!(
        unpack(b"<html>".repeat(200)).1.unwrap_err(),
        Error::Checksum(0)
    );
    let mut flipped = Tar::new().file("f", b"").end();
    flipped[3] ^= 1;
    assert_err!(unpack(flipped).1.unwrap_err(), Error::Checksum(0));
    let stray = [vec![0; 512], Tar::new().file("f", b"").end()].concat();
    assert_err!(unpack(stray).1.unwrap_err(), Error::StrayZeroBlock(_));
}

#[test]
fn several_members_are_one_tar() {
    let tar = Tar::new().file("f", &[7; 5000]).end();
    let (a, b) = tar.split_at(1000);
    for blob in [[gzip(a), gzip(b)].concat(), [zstd(a), zstd(b)].concat()] {
        let (place, result) = unpack(blob);
        assert_eq!(result.unwrap().diff_id, coracle::oci::Digest::of(&tar));
        assert_eq!(place.stat("f").len(), 5000);
    }
}

/// Gives `data` in small pieces, counts what was taken, and fails at the end if told to.
struct Trickle<'a>(Cursor<Vec<u8>>, &'a std::sync::atomic::AtomicUsize, bool);

impl Read for Trickle<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = buf.len().min(3);
        let n = self.0.read(&mut buf[..len])?;
        self.1.fetch_add(n, std::sync::atomic::Ordering::Relaxed);
        if n == 0 && self.2 {
            return Err(io::Error::other("digest mismatch"));
        }
        Ok(n)
    }
}

#[test]
fn the_reader_sees_every_byte_and_has_the_last_word() {
    let tar = [Tar::new().file("f", b"x").end(), vec![0; 20_000]].concat();
    for blob in [tar.clone(), gzip(&tar), zstd(&tar)] {
        let len = blob.len();
        for fail in [false, true] {
            let seen = Default::default();
            let place = Place::new();
            let reader = Trickle(Cursor::new(blob.clone()), &seen, fail);
            let result = place.apply(reader, &Limits::default());
            assert_eq!(seen.into_inner(), len);
            match result {
                Ok(applied) => assert!(!fail && applied.tar_bytes == tar.len() as u64),
                Err(Error::Read(e)) => assert!(fail && e.to_string() == "digest mismatch"),
                Err(e) => panic!("{e:?}"),
            }
        }
    }
}

#[test]
fn nothing_is_overwritten() {
    let place = Place::new();
    fs::write(place.sidecar(), "precious").unwrap();
    let result = place.apply(Cursor::new(Tar::new().end()), &Limits::default());
    assert_err!(result.unwrap_err(), Error::Owners(_));
    assert_eq!(fs::read(place.sidecar()).unwrap(), b"precious");
}

/// Random damage to valid tars: any result is fine, except a panic or a trace outside.
mod mutation {
    use super::*;
    use proptest::prelude::*;

    fn seed() -> Vec<u8> {
        Tar::new()
            .dir("a")
            .pax(&[
                ("path", b"a/pax"),
                ("mtime", b"1.5"),
                ("SCHILY.xattr.user.x", b"v"),
            ])
            .file("x", &[1; 700])
            .symlink("a/l", "../outside")
            .file("a/l/f", b"data")
            .hard_link("h", "a/pax")
            .long(b'L', b"a/long")
            .file("x", b"1")
            .file("a/.wh.gone", b"")
            .file("a/.wh..wh..opq", b"")
            .add(Header::new(b'3', "dev").device(1, 3), b"")
            .add(Header::new(b'6', "fifo"), b"")
            .pax(&[("GNU.sparse.map", b"7,5"), ("GNU.sparse.size", b"100")])
            .file("s", b"12345")
            .add(
                Header::new(b'S', "old")
                    .gnu()
                    .size(5)
                    .raw(386, b"00000000000\0")
                    .raw(398, b"00000000005\0")
                    .raw(483, b"00000000005\0"),
                b"12345",
            )
            .end()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

        #[test]
        fn damaged_tars_do_no_harm(
            hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
            swap in any::<Option<(prop::sample::Index, prop::sample::Index)>>(),
            cut in any::<Option<prop::sample::Index>>(),
        ) {
            let mut tar = seed();
            let blocks = tar.len() / 512;
            if let Some((a, b)) = swap {
                let (a, b) = (a.index(blocks), b.index(blocks));
                let block = tar[a * 512..][..512].to_vec();
                tar.copy_within(b * 512..(b + 1) * 512, a * 512);
                tar[b * 512..][..512].copy_from_slice(&block);
            }
            for (at, byte) in hits {
                let at = at.index(tar.len());
                tar[at] = byte;
                // Nearly every hit would otherwise end at the checksum.
                let block = &mut tar[at / 512 * 512..][..512];
                if &block[257..262] == b"ustar" {
                    fix_checksum(block);
                }
            }
            if let Some(cut) = cut {
                tar.truncate(cut.index(tar.len()));
            }
            let _ = unpack(tar);
        }
    }
}
