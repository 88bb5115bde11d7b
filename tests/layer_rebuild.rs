//! A tar is unpacked, and made again from the tree and the recipe: the same bytes, however odd the tar is.
#![allow(clippy::unwrap_used)]

mod layer_util;

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use coracle::layer::{Limits, RebuildError, Recipe, apply_recorded, rebuild};
use coracle::oci::Digest;
use layer_util::recorded::Layer;
use layer_util::{Header, Tar, gzip, pax_records, zstd};
use proptest::prelude::*;

#[track_caller]
fn same(what: &str, tar: &[u8]) -> Layer {
    let layer = Layer::new(tar);
    let again = layer.rebuild().unwrap();
    let differs = again.iter().zip(tar).position(|(a, b)| a != b);
    assert!(
        again == tar,
        "{what}: {} bytes became {}, the first that differs is {differs:?}",
        tar.len(),
        again.len()
    );
    layer
}

fn base() -> Tar {
    Tar::new()
        .dir("d")
        .file("d/a", b"content of a")
        .file("empty", b"")
        .symlink("d/l", "a")
        .hard_link("d/h", "d/a")
        .add(Header::new(b'6', "fifo"), b"")
        .add(Header::new(b'3', "null").device(1, 3), b"")
        .file("d/.wh.gone", b"")
        .file("d/.wh..wh..opq", b"")
}

#[test]
fn ordinary_tars_and_their_ends() {
    let whole = base().end();
    same("two zero blocks", &whole);
    same("no end", &base().0);
    let last = base().file("last", b"of umoci").0;
    let unpadded = same("no padding", &last[..last.len() - 504]);
    assert_eq!(fs::read(unpadded.at("last")).unwrap(), b"of umoci");
    let half = last[..last.len() - 300].to_vec();
    assert!(
        layer_util::unpack(half).1.is_err(),
        "half of the padding is a cut"
    );
    same("one zero block", &[base().0, vec![0; 512]].concat());
    same("ten kibibytes", &[whole.clone(), vec![0; 10240]].concat());
    same(
        "garbage behind",
        &[&whole[..], b"garbage \0\0 and more"].concat(),
    );
    same(
        "two archives",
        &[whole.clone(), Tar::new().file("x", b"not read").end()].concat(),
    );
    same(
        "megabytes behind",
        &[whole.clone(), vec![7; 3_000_000], vec![0; 2_000_001]].concat(),
    );
    same("nothing at all", b"");
    same("only an end", &[0; 1024]);
    // However it is compressed, the tar is the same.
    for blob in [
        gzip(&whole),
        zstd(&whole),
        [gzip(&whole[..512]), gzip(&whole[512..])].concat(),
    ] {
        assert!(Layer::new(&blob).rebuild().unwrap() == whole);
    }
}

#[test]
fn headers_of_every_kind() {
    let long = "long/".repeat(50) + "name";
    let old = Header::new(b'\0', "v7").raw(257, &[0; 80]).size(2);
    let tar = base()
        .long(b'L', long.as_bytes())
        .file("cut", b"behind a long name")
        .long(b'K', long.as_bytes())
        .symlink("longlink", "cut")
        .pax(&[
            ("path", long.as_bytes()),
            ("comment", b"\xff\n\0nobody reads this"),
        ])
        .file("cut", b"behind a PAX header")
        .pax_raw(b'g', &pax_records(&[("comment", b"global")]))
        .add(old, b"v7")
        .file("./dots/../dots", b"")
        .0;
    // The last one is refused, for its `..`: without it.
    let tar = Tar(tar[..tar.len() - 512].to_vec())
        .add(
            Header::new(b'0', "size in base 256")
                .size(0)
                .raw(124, b"\x80\0\0\0\0\0\0\0\0\0\0\x03"),
            b"abc",
        )
        .add(
            Header::new(b'0', "junk in the header")
                .raw(500, b"junk")
                .size(1),
            b"x",
        )
        .file("./dotted", b"with a dot")
        .file("/rooted", b"with a slash")
        .add(Header::new(b'0', "d/.wh.with-data").size(5), b"12345")
        .add(Header::new(b'0', ".wh..wh.plnk/1.2").size(3), b"hid");
    same("headers", &tar.clone().end());
    // What is not zero in the padding of a file, a PAX header and a whiteout.
    let mut bytes = tar.0;
    for (i, b) in Tar::new()
        .file("p", b"x")
        .pax(&[("comment", b"c")])
        .file("q", b"yy")
        .0
        .iter()
        .enumerate()
    {
        let padding = i % 1024 > 512 + 40 && i % 3 == 0;
        bytes.push(if padding && *b == 0 { 0xa5 } else { *b });
    }
    let bytes = Tar(bytes).end();
    same("padding", &bytes);
}

#[test]
fn what_the_tar_itself_replaces() {
    let layer = same(
        "files",
        &Tar::new()
            .file("a", b"first")
            .file("a", b"the second")
            .file("b", b"kept by its link")
            .hard_link("c", "b")
            .file("b", b"and replaced")
            .file("a", b"3")
            .symlink("a", "b")
            .file("a", b"fourth")
            .file("e", b"")
            .file("e", b"was empty")
            .end(),
    );
    assert_eq!(layer.replaced(), 4);
    assert_eq!(fs::read(layer.at("a")).unwrap(), b"fourth");
    assert_eq!(fs::read(layer.at("c")).unwrap(), b"kept by its link");

    let layer = same(
        "directories",
        &Tar::new()
            .add(Header::new(b'5', "d").mode(0o500), b"")
            .file("d/x", b"x in d")
            .file("d/x", b"x in d again")
            .dir("d/e")
            .file("d/e/y", b"y")
            .file("d/e", b"e is a file")
            .file("d", b"d is a file")
            .dir("d")
            .file("d/x", b"x in the second d")
            .symlink("s", "d")
            .file("s/x", b"through a link")
            .file("s/z", b"z through a link")
            .file("d", b"gone again")
            .end(),
    );
    assert_eq!(fs::read(layer.at("d")).unwrap(), b"gone again");
    // Names that only look like those of what was replaced.
    same(
        "neighbours",
        &Tar::new()
            .file("d", b"1")
            .file("dd", b"2")
            .file("d-d", b"3")
            .dir("d")
            .file("d/d", b"4")
            .file("dd", b"5")
            .end(),
    );
}

#[test]
fn a_link_to_what_makes_room_for_it_is_refused() {
    let tar = Tar::new()
        .dir("d")
        .file("d/x", b"x")
        .hard_link("d", "d/x")
        .end();
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("diff")).unwrap();
    let dest = File::open(dir.path().join("diff")).unwrap();
    let recipe = Recipe {
        file: dir.path().join("tar"),
        replaced: dir.path().join("replaced"),
    };
    let owners = dir.path().join("owners");
    let result = apply_recorded(&tar[..], dest.as_fd(), &owners, &recipe, &Limits::default());
    assert!(
        matches!(result, Err(coracle::layer::Error::HardLink { .. })),
        "{result:?}"
    );
}

#[test]
fn files_that_shut_out_their_owner() {
    let tar = Tar::new()
        .add(Header::new(b'5', "locked").mode(0), b"")
        .add(
            Header::new(b'0', "locked/secret").mode(0).size(6),
            b"secret",
        )
        .add(Header::new(b'5', "").mode(0o555), b"")
        .end();
    same("mode 000", &tar);
}

#[test]
fn tars_of_tar() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir_all(root.join("sub")).unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    for at in [0, 1 << 20, 5 << 20] {
        sparse.write_all_at(&vec![b's'; 70_000], at).unwrap();
    }
    sparse.set_len(9 << 20).unwrap();
    // More extents than the first header of the old format holds.
    let many = File::create(root.join("many")).unwrap();
    for at in 0..60u64 {
        many.write_all_at(b"data", at << 17).unwrap();
    }
    fs::write(root.join("sub/file"), vec![b'f'; 123_457]).unwrap();
    fs::hard_link(root.join("sub/file"), root.join("link")).unwrap();
    let long = "n".repeat(150);
    fs::write(root.join(&long), "long").unwrap();
    for format in ["v7", "ustar", "gnu", "oldgnu", "posix"] {
        for sparse in [
            &[][..],
            &["--sparse"],
            &["--sparse", "--sparse-version=0.0"],
            &["--sparse", "--sparse-version=0.1"],
        ] {
            let mut tar = Command::new("tar");
            tar.arg("-C")
                .arg(&root)
                .arg(format!("--format={format}"))
                .args(sparse);
            if matches!(format, "v7" | "ustar") {
                if !sparse.is_empty() {
                    continue;
                }
                tar.arg(format!("--exclude={long}"));
            }
            let out = tar.args(["-cf", "-", "."]).output().unwrap();
            assert!(
                out.status.success(),
                "{format}: {}",
                String::from_utf8_lossy(&out.stderr)
            );
            let layer = same(&format!("{format} {sparse:?}"), &out.stdout);
            assert_eq!(
                fs::read(layer.at("many")).unwrap(),
                fs::read(root.join("many")).unwrap()
            );
        }
    }
}

#[test]
fn a_tree_that_was_changed_is_told() {
    let tar = Tar::new()
        .file("a", b"one")
        .file("a", b"two")
        .file("b", &[b'b'; 2000])
        .end();
    let write = |path: &Path, data: &[u8]| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(path, data).unwrap();
    };
    let layer = Layer::new(&tar);
    write(&layer.at("b"), &[b'c'; 2000]);
    assert!(matches!(layer.rebuild(), Err(RebuildError::Digest { .. })));
    write(&layer.at("b"), &[b'b'; 1999]);
    assert!(matches!(layer.rebuild(), Err(RebuildError::Changed { .. })));
    fs::remove_file(layer.at("b")).unwrap();
    let said = layer.rebuild().unwrap_err().to_string();
    assert!(said.contains("was changed") && said.contains('b'), "{said}");
    // What is no file any more is not followed, and not waited for.
    std::os::unix::fs::symlink("/etc/passwd", layer.at("b")).unwrap();
    assert!(matches!(layer.rebuild(), Err(RebuildError::Changed { .. })));
    fs::remove_file(layer.at("b")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        layer.at("b"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    assert!(matches!(layer.rebuild(), Err(RebuildError::Changed { .. })));

    let layer = Layer::new(&tar);
    fs::write(layer.recipe().replaced.join("0"), "ONE").unwrap();
    assert!(matches!(layer.rebuild(), Err(RebuildError::Digest { .. })));
    fs::remove_file(layer.recipe().replaced.join("0")).unwrap();
    assert!(matches!(layer.rebuild(), Err(RebuildError::Changed { .. })));
    let recipe = fs::read(layer.recipe().file).unwrap();
    fs::write(layer.recipe().file, &recipe[..recipe.len() / 2]).unwrap();
    assert!(matches!(layer.rebuild(), Err(RebuildError::Recipe { .. })));
}

#[test]
fn who_takes_the_tar_may_stop() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.0 = self
                .0
                .checked_sub(buf.len())
                .ok_or(io::ErrorKind::StorageFull)?;
            Ok(buf.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let layer = Layer::new(&Tar::new().file("a", &vec![1; 20_000_000]).end());
    let result = rebuild(
        &layer.at(""),
        &layer.recipe(),
        &layer.applied.diff_id,
        Full(1_000_000),
    );
    assert!(matches!(result, Err(RebuildError::Output(_))), "{result:?}");
}

#[test]
fn a_recipe_is_small() {
    let mut tar = Tar::new();
    for n in 0..2000 {
        tar = tar.file(
            format!("usr/share/doc/package-{n}/copyright"),
            &vec![n as u8; 600],
        );
    }
    let tar = tar.end();
    let layer = same("many", &tar);
    let size = fs::metadata(layer.recipe().file).unwrap().len();
    assert!(size * 50 < tar.len() as u64, "{size} of {}", tar.len());
}

/// What comes next in a tar: few names, so that they meet.
#[derive(Clone, Debug)]
enum Next {
    File(usize, Vec<u8>),
    Dir(usize),
    Symlink(usize, usize),
    HardLink(usize, usize),
    Whiteout(usize),
}

const NAMES: [&str; 7] = ["a", "b", "a/b", "b/a", "a/b/c", "c", "c/a"];

fn nexts() -> impl Strategy<Value = Vec<Next>> {
    let name = || 0..NAMES.len();
    let data = proptest::collection::vec(any::<u8>(), 0..1500);
    let one = prop_oneof![
        4 => (name(), data).prop_map(|(n, d)| Next::File(n, d)),
        2 => name().prop_map(Next::Dir),
        1 => (name(), name()).prop_map(|(n, t)| Next::Symlink(n, t)),
        1 => (name(), name()).prop_map(|(n, t)| Next::HardLink(n, t)),
        1 => name().prop_map(Next::Whiteout),
    ];
    proptest::collection::vec(one, 0..25)
}

fn tar_of(all: &[Next]) -> Vec<u8> {
    let mut tar = Tar::new();
    for next in all {
        tar = match next {
            Next::File(n, data) => tar.file(NAMES[*n], data),
            Next::Dir(n) => tar.dir(NAMES[*n]),
            Next::Symlink(n, to) => tar.symlink(NAMES[*n], NAMES[*to]),
            Next::HardLink(n, to) => tar.hard_link(NAMES[*n], NAMES[*to]),
            Next::Whiteout(n) => {
                let (dir, last) = NAMES[*n].rsplit_once('/').unwrap_or((".", NAMES[*n]));
                tar.file(format!("{dir}/.wh.{last}"), b"")
            }
        };
    }
    tar.end()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever can be unpacked comes back, and the tree is the same as without a recipe.
    #[test]
    fn tars_that_meet_themselves(all in nexts()) {
        // Entries that cannot be unpacked (a file as a parent, a link to nothing) end it: cut before them.
        let mut good = all.len();
        let tar = loop {
            let tar = tar_of(&all[..good]);
            let (_, result) = layer_util::unpack(tar.clone());
            if result.is_ok() {
                break tar;
            }
            good -= 1;
        };
        let layer = same("a random tar", &tar);
        let plain = layer_util::unpacked(tar);
        let (want, got) = (contents(&plain.at("")), contents(&layer.at("")));
        prop_assert_eq!(want, got);
    }
}

fn contents(root: &Path) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut todo = vec![root.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).unwrap().flatten() {
            let meta = entry.metadata().unwrap();
            let what = match () {
                () if meta.is_dir() => "directory".to_owned(),
                () if meta.is_file() => Digest::of(&fs::read(entry.path()).unwrap()).to_string(),
                () => format!(
                    "{:?} {:?}",
                    meta.file_type(),
                    fs::read_link(entry.path()).ok()
                ),
            };
            if meta.is_dir() {
                todo.push(entry.path());
            }
            let name = entry.path().strip_prefix(root).unwrap().to_owned();
            all.push((name.to_string_lossy().into_owned(), what));
        }
    }
    all.sort();
    all
}
