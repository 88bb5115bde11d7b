//! What a tar says, entry by entry.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use coracle::oci::Digest;

/// All that an entry says. Names of one file are one group, whichever of them is the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) kind: u8,
    pub(crate) mode: u32,
    pub(crate) owner: (u64, u64),
    pub(crate) mtime: i64,
    pub(crate) size: u64,
    pub(crate) content: Option<Digest>,
    pub(crate) link: Vec<u8>,
    pub(crate) device: Option<(u32, u32)>,
    pub(crate) xattrs: BTreeMap<String, Vec<u8>>,
    pub(crate) names: BTreeSet<Vec<u8>>,
}

pub(crate) fn said(tar: &[u8]) -> BTreeMap<Vec<u8>, Said> {
    let mut all: BTreeMap<Vec<u8>, Said> = BTreeMap::new();
    let mut archive = tar::Archive::new(tar);
    for entry in archive.entries().unwrap() {
        let mut e = entry.unwrap();
        let path = e.path_bytes().into_owned();
        let path = path.strip_suffix(b"/").unwrap_or(&path).to_vec();
        let (mut xattrs, mut mtime, mut owner) = (BTreeMap::new(), None, [None; 2]);
        let mut real = None;
        for record in e.pax_extensions().unwrap().into_iter().flatten() {
            let record = record.unwrap();
            let number = || record.value().unwrap().parse::<i64>().unwrap();
            match record.key().unwrap() {
                "mtime" => mtime = Some(number()),
                "uid" => owner[0] = Some(number() as u64),
                "gid" => owner[1] = Some(number() as u64),
                "GNU.sparse.realsize" => real = Some(number() as u64),
                key => {
                    if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                        xattrs.insert(name.to_owned(), record.value_bytes().to_vec());
                    }
                }
            }
        }
        let h = e.header().clone();
        let link = e.link_name_bytes().unwrap_or_default().into_owned();
        let kind = h.entry_type().as_byte();
        if kind == b'1' {
            let mut said = all[&link].clone();
            said.names.insert(path);
            for name in said.names.clone() {
                all.insert(name, said.clone());
            }
            continue;
        }
        let mut content = Vec::new();
        e.read_to_end(&mut content).unwrap();
        let device = matches!(kind, b'3' | b'4').then(|| {
            (
                h.device_major().unwrap().unwrap(),
                h.device_minor().unwrap().unwrap(),
            )
        });
        let entry = Said {
            kind,
            mode: h.mode().unwrap() & 0o7777,
            owner: (
                owner[0].unwrap_or_else(|| h.uid().unwrap()),
                owner[1].unwrap_or_else(|| h.gid().unwrap()),
            ),
            mtime: mtime.unwrap_or_else(|| h.mtime().unwrap() as i64),
            size: real.unwrap_or(content.len() as u64),
            content: real.is_none().then(|| Digest::of(&content)),
            link,
            device,
            xattrs,
            names: BTreeSet::from([path.clone()]),
        };
        assert!(all.insert(path, entry).is_none());
    }
    all
}

pub(crate) fn is_marker(path: &[u8]) -> bool {
    path.rsplit(|b| *b == b'/')
        .next()
        .unwrap()
        .starts_with(b".wh.")
}

/// Markers have no metadata that means anything.
pub(crate) fn without_markers(said: &BTreeMap<Vec<u8>, Said>) -> BTreeMap<Vec<u8>, Said> {
    let told = said.iter().filter(|(p, _)| !is_marker(p));
    told.map(|(p, s)| (p.clone(), s.clone())).collect()
}

pub(crate) fn markers(said: &BTreeMap<Vec<u8>, Said>) -> BTreeSet<String> {
    let markers = said.keys().filter(|p| is_marker(p));
    markers
        .map(|p| String::from_utf8(p.clone()).unwrap())
        .collect()
}
