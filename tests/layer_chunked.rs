//! zstd:chunked: a blob is made of a tar, and the tar again of the blob's parts and of files that are here already.
//! Tables of contents that lie make no tar that passes for the layer's.
#![allow(clippy::unwrap_used)]

mod layer_util;

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::ops::Range;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use coracle::layer::chunked::{self, Error, Found, Parts, Position, Section, Toc};
use coracle::layer::{Compression, Sink, Sums};
use coracle::oci::Digest;
use layer_util::recorded::Layer;
use layer_util::{Header, Tar, pax_records};
use proptest::prelude::*;
use serde_json::{Value, json};

const MAX: u64 = 1 << 40;

fn packed(tar: &[u8]) -> (Vec<u8>, Sums) {
    let mut out = Vec::new();
    let mut sink = Sink::new(&mut out, Compression::zstd_chunked(None)).unwrap();
    sink.write_all(tar).unwrap();
    let sums = sink.finish().unwrap();
    (out, sums)
}

/// A blob with its tables, which a test may change.
struct Blob {
    bytes: Vec<u8>,
    position: Position,
    toc: Vec<u8>,
    split: Vec<u8>,
}

impl Blob {
    fn new(tar: &[u8]) -> Self {
        let (bytes, sums) = packed(tar);
        let annotations: HashMap<_, _> = sums.annotations.unwrap().into_iter().collect();
        let position = Position::of(&annotations, bytes.len() as u64)
            .unwrap()
            .unwrap();
        let section = |s: &Section| bytes[s.at.start as usize..s.at.end as usize].to_vec();
        Self {
            toc: section(&position.toc),
            split: section(&position.split),
            position,
            bytes,
        }
    }

    fn table(&self) -> Value {
        serde_json::from_slice(&zstd::decode_all(&self.toc[..]).unwrap()).unwrap()
    }

    /// Another table, with the digest that belongs to it.
    fn change_table(&mut self, change: impl FnOnce(&mut Value)) {
        let mut table = self.table();
        change(&mut table);
        let plain = serde_json::to_vec(&table).unwrap();
        self.toc = zstd::encode_all(&plain[..], 3).unwrap();
        self.position.toc.plain = plain.len() as u64;
        self.position.digest = Digest::of(&self.toc);
    }

    /// Another tar-split, of which the table knows.
    fn change_split(&mut self, change: impl FnOnce(&mut Vec<Value>)) {
        let plain = zstd::decode_all(&self.split[..]).unwrap();
        let lines = plain.split(|b| *b == b'\n').filter(|l| !l.is_empty());
        let mut lines = lines.map(|l| serde_json::from_slice(l).unwrap()).collect();
        change(&mut lines);
        let plain: String = lines.iter().map(|l| format!("{l}\n")).collect();
        self.split = zstd::encode_all(plain.as_bytes(), 3).unwrap();
        self.position.split.plain = plain.len() as u64;
        let digest = Digest::of(&self.split);
        self.change_table(|table| table["tarSplitDigest"] = json!(digest));
    }

    /// The tar, with what is in these layers not fetched. Also how many bytes were fetched.
    fn tar(&self, layers: &[&Layer]) -> Result<(Vec<u8>, u64), io::Error> {
        let toc = Toc::read(&self.toc, &self.position, MAX)?;
        let found = chunked::find(toc.files(), layers.iter().map(|l| tree(l)));
        let missing: Vec<Range<u64>> = (toc.files().iter().enumerate())
            .filter(|(i, _)| !found.has(*i))
            .map(|(_, f)| f.at.clone())
            .collect();
        let ranges = chunked::wanted(&missing);
        let bytes = ranges.iter().map(|r| r.end - r.start).sum();
        let parts = Fetched {
            bytes: &self.bytes,
            ranges,
            last: 0,
        };
        let mut tar = Vec::new();
        chunked::Tar::open(&toc, &self.position, &self.split, &found, parts)?
            .read_to_end(&mut tar)?;
        Ok((tar, bytes))
    }

    fn refused(&self, what: &str) -> Error {
        let e = self.tar(&[]).unwrap_err();
        let text = format!("{e:?}");
        e.downcast().unwrap_or_else(|_| panic!("{what}: {text}"))
    }
}

fn tree(layer: &Layer) -> (PathBuf, PathBuf) {
    (layer.at(""), layer.recipe().file)
}

/// Has nothing but what was asked for.
struct Fetched<'a> {
    bytes: &'a [u8],
    ranges: Vec<Range<u64>>,
    last: u64,
}

impl Parts for Fetched<'_> {
    fn read(&mut self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        assert!(at >= self.last, "back from {} to {at}", self.last);
        let range = self.ranges.iter().find(|r| r.contains(&at)).unwrap();
        let n = buf.len().min((range.end - at) as usize).min(1000);
        buf[..n].copy_from_slice(&self.bytes[at as usize..at as usize + n]);
        self.last = at + n as u64;
        Ok(n)
    }
}

/// Text that shrinks, and is another for each number.
fn text(n: usize, len: usize) -> Vec<u8> {
    let line = format!("line of file {n}, number ");
    let mut out = Vec::new();
    for i in 0.. {
        if out.len() >= len {
            break;
        }
        out.extend(format!("{line}{i} {}\n", i * n % 7919).bytes());
    }
    out.truncate(len);
    out
}

/// 100 files; the contents of those that `changed` says are others, as large as before.
fn hundred(dir: &str, changed: impl Fn(usize) -> bool) -> Vec<u8> {
    let mut tar = Tar::new().dir("usr/").dir(dir);
    for n in 0..100 {
        let seed = if changed(n) { n + 1000 } else { n };
        let content = text(seed, 3000 + 37 * n);
        tar = tar.file(format!("{dir}/f{n}"), &content);
        if n % 10 == 0 {
            tar = tar
                .symlink(format!("{dir}/l{n}"), "f1")
                .file(format!("{dir}/e{n}"), b"");
        }
    }
    tar.end()
}

#[test]
fn the_blob_is_zstd_for_everybody_and_in_parts_for_us() {
    let tar = hundred("usr/lib", |_| false);
    let (blob, sums) = packed(&tar);
    assert!(zstd::decode_all(&blob[..]).unwrap() == tar);
    assert_eq!(sums.diff_id, Digest::of(&tar));
    assert_eq!(
        (sums.blob, sums.blob_size),
        (Digest::of(&blob), blob.len() as u64)
    );
    let blob = Blob::new(&tar);
    let (again, bytes) = blob.tar(&[]).unwrap();
    assert!(again == tar);
    assert!(bytes < blob.position.toc.at.start);
    // The footer says what the annotations say.
    let footer = &blob.bytes[blob.bytes.len() - 64..];
    let number = |i: usize| u64::from_le_bytes(footer[i * 8..i * 8 + 8].try_into().unwrap());
    assert_eq!((number(0), number(3)), (blob.position.toc.at.start, 1));
    assert_eq!(
        (number(1), number(2)),
        (blob.toc.len() as u64, blob.position.toc.plain)
    );
    assert_eq!(
        (number(4), number(6)),
        (blob.position.split.at.start, blob.position.split.plain)
    );
    assert_eq!(
        (number(5), &footer[56..]),
        (blob.split.len() as u64, &b"GNUlInUx"[..])
    );
}

#[test]
fn what_is_here_is_not_fetched() {
    let old = Layer::new(&hundred("usr/lib", |_| false));
    let all = Blob::new(&hundred("usr/lib", |_| false))
        .tar(&[])
        .unwrap()
        .1;
    // A tenth is new; some of it has moved elsewhere, too.
    for dir in ["usr/lib", "usr/lib64"] {
        let new = hundred(dir, |n| n % 10 == 3);
        let (tar, bytes) = Blob::new(&new).tar(&[&old]).unwrap();
        assert!(tar == new);
        assert!(bytes > all / 20 && bytes < all / 7, "{bytes} of {all}");
    }
    // From several layers, and nothing at all.
    let new = hundred("usr/lib", |n| n % 10 == 3);
    let newer = Layer::new(&new);
    let (tar, bytes) = Blob::new(&new).tar(&[&old, &newer]).unwrap();
    assert!(tar == new);
    assert_eq!(bytes, 0);
}

#[test]
fn a_store_that_was_changed_only_costs_bytes() {
    let tar = hundred("usr/lib", |_| false);
    let old = Layer::new(&tar);
    std::fs::write(old.at("usr/lib/f1"), text(5000, 3037)).unwrap();
    std::fs::write(old.at("usr/lib/f2"), "short").unwrap();
    std::fs::remove_file(old.at("usr/lib/f3")).unwrap();
    std::os::unix::fs::symlink("f5", old.at("usr/lib/f3")).unwrap();
    std::fs::remove_file(old.at("usr/lib/f4")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        old.at("usr/lib/f4"),
        rustix::fs::FileType::Fifo,
        0o644.into(),
        0,
    )
    .unwrap();
    let shut = std::fs::Permissions::from_mode(0o0);
    std::fs::set_permissions(old.at("usr/lib/f6"), shut).unwrap();
    let blob = Blob::new(&tar);
    let (again, bytes) = blob.tar(&[&old]).unwrap();
    assert!(again == tar);
    let all = blob.tar(&[]).unwrap().1;
    assert!(bytes > all / 50 && bytes < all / 10, "{bytes} of {all}");
    // No recipe, or none that can be read: as if the layer were not there.
    std::fs::write(old.recipe().file, "nonsense").unwrap();
    assert_eq!(blob.tar(&[&old]).unwrap().1, all);
}

#[test]
fn what_changes_between_look_and_use_is_no_layer() {
    let tar = hundred("usr/lib", |_| false);
    let old = Layer::new(&tar);
    let blob = Blob::new(&tar);
    let toc = Toc::read(&blob.toc, &blob.position, MAX).unwrap();
    let found = chunked::find(toc.files(), [tree(&old)]);
    let read = || {
        let parts = Fetched {
            bytes: &[],
            ranges: vec![],
            last: 0,
        };
        let mut out = Vec::new();
        chunked::Tar::open(&toc, &blob.position, &blob.split, &found, parts)
            .unwrap()
            .read_to_end(&mut out)
            .map(|_| out)
    };
    assert!(read().unwrap() == tar);
    std::fs::write(old.at("usr/lib/f1"), text(5000, 3037)).unwrap();
    // It is the diff_id that tells.
    assert_ne!(Digest::of(&read().unwrap()), Digest::of(&tar));
    std::fs::write(old.at("usr/lib/f1"), "short").unwrap();
    assert!(read().unwrap_err().downcast::<Error>().is_ok());
    std::fs::remove_file(old.at("usr/lib/f1")).unwrap();
    assert!(read().unwrap_err().downcast::<Error>().is_ok());
}

#[test]
fn tables_are_what_others_expect() {
    let mut odd = Header::new(b'0', "bin/su").mode(0o4755).owner(7, 8);
    odd.bytes(265, b"root");
    let tar = Tar::new()
        .dir("bin/")
        .add(odd.size(4), b"suid")
        .pax(&[
            ("SCHILY.xattr.user.a", b"\x00\xff"),
            ("mtime", b"1700000000.25"),
            ("atime", b"1700000001"),
            ("path", "bin/\u{e9}".as_bytes()),
        ])
        .file("bin/e", b"content")
        .hard_link("bin/h", "bin/su")
        .symlink("bin/l", "su")
        .add(Header::new(b'3', "dev").device(1, 3), b"")
        .add(Header::new(b'6', "fifo"), b"")
        .file("empty", b"")
        .end();
    let blob = Blob::new(&tar);
    assert!(blob.tar(&[]).unwrap().0 == tar);
    let table = blob.table();
    let mut entries = table["entries"].as_array().unwrap().clone();
    let (su, e) = (entries[1].clone(), entries[2].clone());
    for entry in &mut entries {
        for key in ["offset", "endOffset", "digest"] {
            entry.as_object_mut().unwrap().remove(key);
        }
    }
    let time = "2001-09-09T01:46:40Z";
    let want = json!([
        { "type": "dir", "name": "bin/", "mode": 0o755, "modtime": time },
        { "type": "reg", "name": "bin/su", "mode": 0o4755, "size": 4, "uid": 7, "gid": 8, "modtime": time },
        { "type": "reg", "name": "bin/\u{e9}", "mode": 0o644, "size": 7, "modtime": "2023-11-14T22:13:20.25Z",
          "accesstime": "2023-11-14T22:13:21Z", "xattrs": { "user.a": "AP8=" } },
        { "type": "hardlink", "name": "bin/h", "linkName": "bin/su", "mode": 0o644, "modtime": time },
        { "type": "symlink", "name": "bin/l", "linkName": "su", "mode": 0o644, "modtime": time },
        { "type": "char", "name": "dev", "mode": 0o644, "modtime": time, "devMajor": 1, "devMinor": 3 },
        { "type": "fifo", "name": "fifo", "mode": 0o644, "modtime": time },
        { "type": "reg", "name": "empty", "mode": 0o644, "modtime": time },
    ]);
    assert_eq!(json!(entries), want);
    assert_eq!(su["digest"], json!(Digest::of(b"suid")));
    let at = |key: &str| e[key].as_u64().unwrap() as usize;
    let frame = &blob.bytes[at("offset")..at("endOffset")];
    assert_eq!(zstd::decode_all(frame).unwrap(), b"content");
    // tar-split: a segment that ends with the headers before each entry, CRC-64 of Go's ISO table for contents.
    let plain = String::from_utf8(zstd::decode_all(&blob.split[..]).unwrap()).unwrap();
    let lines: Vec<Value> = plain
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(lines.len(), 8 * 2 + 1);
    assert_eq!(
        lines[3],
        json!({"type": 1, "name": "bin/su", "size": 4, "payload": "M2mJzEAAAAA=", "position": 3})
    );
    assert_eq!(
        lines[1],
        json!({"type": 1, "name": "bin/", "payload": null, "position": 1})
    );
}

#[test]
fn a_tar_without_words_for_it_is_zstd_without_a_table() {
    let sparse = pax_records(&[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0")]);
    for (what, tar) in [
        (
            "name",
            Tar::new()
                .file("a", b"x")
                .file(b"caf\xe9", b"content")
                .end(),
        ),
        (
            "sparse",
            Tar::new().pax_raw(b'x', &sparse).file("s", b"0\n").end(),
        ),
        (
            "old sparse",
            Tar::new().add(Header::new(b'S', "s"), b"").end(),
        ),
        (
            "type",
            Tar::new().add(Header::new(b'V', "label"), b"").end(),
        ),
        (
            "checksum",
            [Tar::new().file("a", b"x").data(&[7; 512]).end()].concat(),
        ),
        ("no tar", b"something else".repeat(1000)),
    ] {
        let (blob, sums) = packed(&tar);
        assert!(sums.annotations.is_none(), "{what}");
        assert!(zstd::decode_all(&blob[..]).unwrap() == tar, "{what}");
    }
    // Half a tar is an error rather than a blob.
    let mut sink = Sink::new(io::sink(), Compression::zstd_chunked(None)).unwrap();
    sink.write_all(&Tar::new().file("a", &[b'x'; 2000]).end()[..1500])
        .unwrap();
    assert!(sink.finish().is_err());
}

#[test]
fn the_encoder_is_known_again() {
    let tar = hundred("usr/lib", |_| false);
    for level in [None, Some(1), Some(9), Some(19)] {
        let mut blob = Vec::new();
        let made_by = Compression::zstd_chunked(level);
        let mut sink = Sink::new(&mut blob, made_by).unwrap();
        sink.write_all(&tar).unwrap();
        sink.finish().unwrap();
        let head = &blob[..2048];
        let all = Compression::candidates(head, tar.len() as u64);
        let fits: Vec<_> = all
            .into_iter()
            .filter(|c| c.begins(&tar, true, head))
            .collect();
        assert!(fits.contains(&made_by), "{level:?}: {fits:?}");
    }
}

#[test]
fn lies_about_contents() {
    let tar = hundred("usr/lib", |_| false);
    let entry = |table: &mut Value, name: &str| -> usize {
        let entries = table["entries"].as_array().unwrap();
        entries.iter().position(|e| e["name"] == name).unwrap()
    };
    // The digest of another file: what is fetched is not that.
    let mut blob = Blob::new(&tar);
    blob.change_table(|table| {
        let (a, b) = (entry(table, "usr/lib/f7"), entry(table, "usr/lib/f8"));
        table["entries"][a]["digest"] = table["entries"][b]["digest"].clone();
    });
    assert!(matches!(blob.refused("digest"), Error::Digest { .. }));
    // Where the store has that other file, it is taken: and the tar is not the layer's.
    let mut other = Tar::new().dir("usr/").dir("usr/lib");
    other = other.file("usr/lib/f7", &text(4711, 3000 + 37 * 7));
    let other = Layer::new(&other.end());
    let mut blob = Blob::new(&tar);
    blob.change_table(|table| {
        let a = entry(table, "usr/lib/f7");
        table["entries"][a]["digest"] = json!(Digest::of(&text(4711, 3000 + 37 * 7)));
    });
    let (got, _) = blob.tar(&[&other]).unwrap();
    assert!(got.len() == tar.len() && Digest::of(&got) != Digest::of(&tar));
    // Frames of another file, of half a file, of a file and what follows it.
    type Change = fn(&mut Value, u64);
    let changes: [(&str, Change); 6] = [
        ("begins later", |e, _| {
            e["offset"] = json!(e["offset"].as_u64().unwrap() + 1)
        }),
        ("ends sooner", |e, _| {
            e["endOffset"] = json!(e["endOffset"].as_u64().unwrap() - 1)
        }),
        ("ends later", |e, next| e["endOffset"] = json!(next)),
        ("is longer", |e, _| {
            e["size"] = json!(e["size"].as_u64().unwrap() + 1)
        }),
        ("is shorter", |e, _| {
            e["size"] = json!(e["size"].as_u64().unwrap() - 1)
        }),
        ("is endless", |e, _| e["size"] = json!(MAX / 2)),
    ];
    for (what, change) in changes {
        let mut blob = Blob::new(&tar);
        blob.change_table(|table| {
            let (a, b) = (entry(table, "usr/lib/f7"), entry(table, "usr/lib/f8"));
            let next = table["entries"][b]["offset"].as_u64().unwrap();
            change(&mut table["entries"][a], next);
        });
        // What the table says of the size, the tar-split says as well.
        let sizes = blob.table();
        let n = entry(&mut sizes.clone(), "usr/lib/f7");
        let size = sizes["entries"][n]["size"].clone();
        blob.change_split(|lines| {
            let line = lines
                .iter_mut()
                .find(|l| l["name"] == "usr/lib/f7")
                .unwrap();
            line["size"] = size;
        });
        let e = blob.refused(what);
        assert!(
            matches!(
                e,
                Error::Senseless { .. } | Error::Damaged { .. } | Error::Digest { .. }
            ),
            "{what}: {e}"
        );
    }
}

#[test]
fn lies_about_the_tar() {
    let tar = hundred("usr/lib", |_| false);
    // Files that the table does not have, or has and that are not there; other sizes; another order.
    type Change = fn(&mut Vec<Value>);
    let changes: [(&str, Change); 5] = [
        ("one more", |l| {
            l.push(json!({"type": 1, "name": "x", "size": 5, "position": 0}))
        }),
        ("one less", |l| {
            let at = l
                .iter()
                .rposition(|l| l["type"] == 1 && l["size"] != Value::Null)
                .unwrap();
            l.remove(at);
        }),
        ("larger", |l| {
            let at = l
                .iter()
                .position(|l| l["type"] == 1 && l["size"] != Value::Null)
                .unwrap();
            l[at]["size"] = json!(MAX);
        }),
        ("negative", |l| {
            let at = l
                .iter()
                .position(|l| l["type"] == 1 && l["size"] != Value::Null)
                .unwrap();
            l[at]["size"] = json!(-1);
        }),
        ("backwards", |l| l.reverse()),
    ];
    for (what, change) in changes {
        let mut blob = Blob::new(&tar);
        blob.change_split(change);
        let e = blob.refused(what);
        assert!(matches!(e, Error::Senseless { .. }), "{what}: {e}");
    }
    // Other headers make another tar.
    let mut blob = Blob::new(&tar);
    blob.change_split(|l| l[0] = json!({"type": 2, "payload": "AAAA"}));
    assert_ne!(Digest::of(&blob.tar(&[]).unwrap().0), Digest::of(&tar));
    // Digests of the tables themselves.
    let mut blob = Blob::new(&tar);
    blob.split[20] ^= 1;
    assert!(matches!(blob.refused("split"), Error::Digest { .. }));
    let mut blob = Blob::new(&tar);
    blob.toc[20] ^= 1;
    assert!(matches!(blob.refused("toc"), Error::Digest { .. }));
    let mut blob = Blob::new(&tar);
    blob.change_table(|t| drop(t.as_object_mut().unwrap().remove("tarSplitDigest")));
    assert!(matches!(blob.refused("no digest"), Error::Digest { .. }));
    // It says that it is short, and inflates without end.
    let mut blob = Blob::new(&tar);
    blob.change_split(|l| *l = vec![json!({"type": 2, "payload": "A".repeat(1 << 20)}); 100]);
    blob.position.split.plain = 1000;
    assert!(matches!(blob.refused("bomb"), Error::Damaged { .. }));
}

#[test]
fn bytes_that_are_not_the_blobs() {
    let tar = hundred("usr/lib", |_| false);
    let mut blob = Blob::new(&tar);
    let end = blob.position.toc.at.start as usize;
    let toc = Toc::read(&blob.toc, &blob.position, MAX).unwrap();
    let middle = toc.files()[50].at.clone();
    for at in [
        middle.start,
        middle.start + 7,
        middle.end - 1,
        toc.files()[99].at.end - 1,
    ] {
        let mut other = Blob::new(&tar);
        other.bytes[at as usize] ^= 0x10;
        let e = other.refused("flipped");
        assert!(
            matches!(
                e,
                Error::Damaged { .. } | Error::Digest { .. } | Error::Senseless { .. }
            ),
            "{e}"
        );
    }
    blob.bytes[..end].fill(0);
    assert!(matches!(blob.refused("zeros"), Error::Damaged { .. }));
}

#[test]
fn nothing_is_found_in_nothing() {
    let toc = Toc::read(
        &Blob::new(&Tar::new().end()).toc,
        &Blob::new(&Tar::new().end()).position,
        MAX,
    );
    assert_eq!(toc.unwrap().files(), []);
    let found: Found = chunked::find(&[], []);
    assert!(!found.has(0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever is in it, whatever pieces it comes in, and whatever of it is here.
    #[test]
    fn any_tar_comes_back(
        files in proptest::collection::vec((0..9_usize, 0..9000_usize, any::<bool>()), 0..30),
        tail in 0..3_usize,
        piece in 1..5000_usize,
    ) {
        let (mut tar, mut here) = (Tar::new(), Tar::new());
        for (n, (kind, len, known)) in files.iter().enumerate() {
            let content = text(n, *len);
            let name = format!("n{n}");
            match kind {
                0 => tar = tar.dir(&name),
                1 => tar = tar.symlink(&name, "x"),
                2 => tar = tar.long(b'L', "long/".repeat(40).as_bytes()).file("long", &content),
                3 => tar = tar.pax(&[("comment", &content[..content.len().min(900)])]).file(&name, &content),
                // The same name again.
                4 => tar = tar.file("again", &content),
                _ => tar = tar.file(&name, &content),
            }
            if *known {
                here = here.file(&name, &content);
            }
        }
        let mut tar = tar.end();
        tar.extend(vec![0; tail * 10_240]);
        let here = Layer::new(&here.end());
        let blob = Blob::new(&tar);
        prop_assert!(zstd::decode_all(&blob.bytes[..]).unwrap() == tar);
        prop_assert!(blob.tar(&[]).unwrap().0 == tar);
        prop_assert!(blob.tar(&[&here]).unwrap().0 == tar);
        let mut pieces = Vec::new();
        let mut sink = Sink::new(&mut pieces, Compression::zstd_chunked(None)).unwrap();
        for part in tar.chunks(piece) {
            sink.write_all(part).unwrap();
        }
        sink.finish().unwrap();
        prop_assert!(pieces == blob.bytes);
    }
}
