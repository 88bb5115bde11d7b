//! The nasty images against `umoci unpack` as root, which writes what a real root build would have.
//!
//! Compared as a container sees the tree, through the overlay: names, types, modes, sizes, mtimes,
//! link counts, contents, targets and user xattrs. Owners, devices and privileged xattrs cannot be on
//! disk under one id: they are compared with the records beside it.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::harness::{Cmd, Done, Env, Feature};
use crate::storage_drivers::{assert_same, tree, view};

suite!(
    fourteen_layers,
    fourteen_layers_of_other_compression,
    fourteen_layers_by_copy,
    debian,
    old_pax_sparse_formats,
    implied_directories,
    implied_directories_by_copy,
    implied_directories_and_odd_headers,
    owners_are_kept,
    capabilities_are_kept,
);

pub fn umoci(e: &Env, image: &str) -> Result<PathBuf, crate::harness::Skip> {
    e.need(Feature::Root)?;
    e.need(Feature::Program("umoci"))?;
    e.need(Feature::Overlay)?;
    let bundle = e.dir.join(format!("umoci-{image}"));
    let source = format!("{}:latest", e.layout(image).display());
    Cmd::host(["umoci", "unpack", "--image", &source])
        .arg(&bundle)
        .limit(400)
        .ok();
    Ok(bundle.join("rootfs"))
}

/// Devices are empty files with a record, under one id; both sides say so in one way.
fn without_devices(lines: &[String], devices: &[String]) -> Vec<String> {
    lines
        .iter()
        .filter(|l| !devices.iter().any(|d| l.starts_with(&format!("{d} "))))
        .cloned()
        .collect()
}

fn compare(e: &Env, driver: &str, image: &str, reference: &str) -> Done {
    let want = tree(umoci(e, reference)?);
    let devices: Vec<String> = want
        .iter()
        .filter(|l| [" c ", " b "].iter().any(|k| l.contains(k)))
        .map(|l| l.split(' ').next().unwrap().to_owned())
        .collect();
    let got = view(e, driver, image);
    for d in &devices {
        assert!(
            got.iter().any(|l| l.starts_with(&format!("{d} "))),
            "{d} is not there"
        );
    }
    let what = format!("umoci's tree and the view of {image} by {driver}");
    assert_same(
        &what,
        &without_devices(&want, &devices),
        &without_devices(&got, &devices),
    );
    Ok(())
}

fn fourteen_layers(e: &Env) -> Done {
    compare(e, "overlay", "nasty14-gzip", "nasty14-gzip")
}

fn fourteen_layers_of_other_compression(e: &Env) -> Done {
    compare(e, "overlay", "nasty14", "nasty14-gzip")
}

fn fourteen_layers_by_copy(e: &Env) -> Done {
    compare(e, "copy", "nasty14", "nasty14-gzip")
}

fn debian(e: &Env) -> Done {
    compare(e, "overlay", "python", "python")
}

fn old_pax_sparse_formats(e: &Env) -> Done {
    compare(e, "overlay", "nasty-sparse0", "nasty-sparse0")
}

/// Layers that add to directories without listing them, which lower ones list.
fn implied_directories(e: &Env) -> Done {
    compare(e, "overlay", "nasty-implied", "nasty-implied")
}

fn implied_directories_by_copy(e: &Env) -> Done {
    compare(e, "copy", "nasty-implied", "nasty-implied")
}

fn implied_directories_and_odd_headers(e: &Env) -> Done {
    let script = "cat /contiguous /implicit/sub/old /implicit/sub/new /implicit/new/deep/file; \
                  for d in implicit implicit/sub implicit/new; do stat -c '%n %a %Y' /$d; done";
    let out = e
        .run(&[], "nasty-more", &["sh", "-c", script])
        .code_is(0)
        .out();
    // A layer without an entry for a directory says nothing about it: the lower layer's mode stays, and
    // what no layer lists has a mode and a time that are always the same.
    assert_eq!(
        out,
        "typeflag 7\nold\nno entry for the parents in this layer\nparents that exist nowhere\n\
         /implicit 700 1111111111\n/implicit/sub 711 1111111112\n/implicit/new 755 0\n"
    );
    Ok(())
}

/// Path → (uid, gid, kind) of one layer of umoci's view and of our records.
type Owners = BTreeMap<Vec<u8>, (u32, u32, String)>;

fn kind(meta: &std::fs::Metadata) -> String {
    let t = meta.file_type();
    let (major, minor) = (
        rustix::fs::major(meta.rdev()),
        rustix::fs::minor(meta.rdev()),
    );
    match () {
        () if t.is_dir() => "dir".into(),
        () if t.is_symlink() => "symlink".into(),
        () if t.is_fifo() => "pipe".into(),
        () if t.is_char_device() => format!("char-{major}-{minor}"),
        () if t.is_block_device() => format!("block-{major}-{minor}"),
        () => "file".into(),
    }
}

fn owners_of_tree(root: &Path) -> Owners {
    let mut found = Owners::new();
    let mut todo = vec![root.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(&dir).unwrap().flatten() {
            let meta = entry.metadata().unwrap();
            let name = entry
                .path()
                .strip_prefix(root)
                .unwrap()
                .as_os_str()
                .as_bytes()
                .to_vec();
            let kind = kind(&meta);
            if (meta.uid(), meta.gid()) != (0, 0)
                || kind.starts_with("char")
                || kind.starts_with("block")
            {
                found.insert(name, (meta.uid(), meta.gid(), kind));
            }
            if meta.is_dir() {
                todo.push(entry.path());
            }
        }
    }
    found
}

fn unescape(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut i = 0;
    while i < bytes.len() {
        if bytes[i] == b'%' {
            out.push(u8::from_str_radix(&text[i + 1..i + 3], 16).unwrap());
            i += 3;
        } else {
            out.push(bytes[i]);
            i += 1;
        }
    }
    out
}

/// Our records of one unpacked layer: xattrs on the tree, lines in the sidecar (see `owners`).
fn owners_of_layer(layer: &Path) -> Owners {
    let mut found = Owners::new();
    let root = layer.join("diff");
    let mut todo = vec![root.clone()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(&dir).unwrap().flatten() {
            let path = entry.path();
            let name = path
                .strip_prefix(&root)
                .unwrap()
                .as_os_str()
                .as_bytes()
                .to_vec();
            if let Ok(Some(value)) = xattr::get(&path, "user.containers.override_stat") {
                let text = String::from_utf8(value).unwrap();
                let mut fields = text.split(':');
                let mut next = || fields.next().unwrap().to_owned();
                let (uid, gid, _mode) = (next().parse().unwrap(), next().parse().unwrap(), next());
                found.insert(name, (uid, gid, next()));
            }
            if entry.file_type().unwrap().is_dir() {
                todo.push(path);
            }
        }
    }
    for line in std::fs::read_to_string(layer.join("owners"))
        .unwrap_or_default()
        .lines()
    {
        let words: Vec<&str> = line.split(' ').collect();
        if let ["own", uid, gid, _mode, kind, path] = words[..] {
            found.insert(
                unescape(path),
                (uid.parse().unwrap(), gid.parse().unwrap(), kind.to_owned()),
            );
        }
    }
    found
}

fn owners_are_kept(e: &Env) -> Done {
    let mut want = owners_of_tree(&umoci(e, "nasty14-gzip")?);
    let own = e.with_own_store();
    own.image("nasty14");
    let mut got = Owners::new();
    for layer in std::fs::read_dir(own.root().join("layers"))
        .unwrap()
        .flatten()
    {
        got.extend(owners_of_layer(&layer.path()));
    }
    // Hard links are recorded under one name: compare by their first.
    for linked in ["links/b/suid", "gnu/hard"] {
        let owner = want.remove(linked.as_bytes());
        assert!(owner.is_some(), "{linked} is not in umoci's tree");
        got.remove(linked.as_bytes());
    }
    // xattrs are on the inode, and so seen under each name.
    got.retain(|path, _| want.contains_key(path) || path != b"gnu/hard");
    assert_eq!(got, want);
    assert!(want.len() > 20);
    Ok(())
}

fn capabilities_are_kept(e: &Env) -> Done {
    let own = e.with_own_store();
    own.image("nasty14");
    let mut records = String::new();
    for layer in std::fs::read_dir(own.root().join("layers"))
        .unwrap()
        .flatten()
    {
        records += &std::fs::read_to_string(layer.path().join("owners")).unwrap_or_default();
    }
    let line = records
        .lines()
        .find(|l| l.starts_with("xattr security.capability "))
        .expect("no record");
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!(words[3], "xattr/caps");
    assert_eq!(
        unescape(&words[2][1..]),
        b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
    );
    Ok(())
}
