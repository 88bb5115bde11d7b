//! One more layer for images whose layers add to directories that they do not list.
//!
//! OCI's layers are applied one upon the other, and a layer that adds `a/b` without listing `a` leaves
//! the mode, owner and times of `a` alone (image-spec, layer.md; `umoci unpack` does so). Ours are
//! unpacked each by itself, to be shared, and a directory that one of them merely implies would hide
//! what a lower one says of it, as it does with docker and podman. So the image gets a layer on top
//! that repeats the lower layer's word: directories alone, written as a tar and unpacked as every
//! other layer, under the digest of that tar. Most images need none.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use super::Error;
use crate::layer::{self, Limits};
use crate::oci::Digest;
use crate::ops::progress::Progress;
use crate::owners::{self, Owners};
use crate::rootfs::{self, Restated};
use crate::store::{LayerInfo, Lease, Store};

/// The kernel's most lower layers are 500 (`OVL_MAX_STACK`), of which this one and the skeleton take two.
const STACK_MAX: usize = 498;

/// Most directories that are looked at, and most that the layer may have. Real images have a few; the
/// bounds are for those that nobody made for use, since both are held in memory.
const IMPLIED_MAX: usize = 100_000;
const FOUND_MAX: usize = 10_000;

/// Make the layer, if these (diff_ids, bottom first, all present) need one. The lease keeps it until the
/// image's record does.
pub(super) fn layer(
    store: &Store,
    diff_ids: &[&Digest],
    progress: &dyn Progress,
) -> Result<Option<(Digest, Lease)>, Error> {
    if diff_ids.len() < 2 {
        return Ok(None);
    }
    let top_first = || diff_ids.iter().rev().copied();
    let mut implied: Vec<BTreeSet<Vec<u8>>> = Vec::with_capacity(diff_ids.len());
    let mut count = 0;
    for id in top_first() {
        let unlisted = |kind: &[u8], _: &[u8]| {
            count += usize::from(kind == b"implied");
            kind == b"implied" && count <= IMPLIED_MAX
        };
        let said = Owners::read_if(&store.layers().owners(id), unlisted)?;
        let said = said.iter().filter(|(_, record)| record.implied);
        implied.push(said.map(|(path, _)| path.to_vec()).collect());
    }
    // All but the roots, which every layer has.
    if count > IMPLIED_MAX || (count > diff_ids.len() && diff_ids.len() > STACK_MAX) {
        return Ok(give_up(count, progress));
    }
    let paths: Vec<PathBuf> = top_first().map(|id| store.layer_path(id)).collect();
    let found = rootfs::restated(&paths, &implied)?;
    if found.is_empty() {
        return Ok(None);
    }
    if found.len() > FOUND_MAX {
        return Ok(give_up(count, progress));
    }
    let ids: Vec<&Digest> = top_first().collect();
    let tar = written(&found, |layer| store.layers().owners(ids[layer]))?;
    let diff_id = Digest::of(&tar);
    let lease = store.lease([&diff_id])?;
    if !store.has_layer(&diff_id) {
        let draft = store.layers().begin(&diff_id)?;
        let applied = layer::apply(&tar[..], draft.dir(), &draft.sidecar(), &Limits::default())
            .map_err(Error::from_layer)?;
        draft.publish(&LayerInfo {
            diff_id: applied.diff_id,
            size: applied.size,
            entries: applied.entries,
            tar_bytes: applied.tar_bytes,
            packed: None,
        })?;
    }
    Ok(Some((diff_id, lease)))
}

fn give_up<T>(count: usize, progress: &dyn Progress) -> Option<T> {
    progress.warn(&format!(
        "{count} directories or more that the layers use without listing them have mode 0755, whatever lower layers say"
    ));
    None
}

/// The directories as a tar, and so always the same for the same ones. `sidecar`: that of a layer.
fn written(found: &[Restated], sidecar: impl Fn(usize) -> PathBuf) -> Result<Vec<u8>, Error> {
    let mut by_layer: BTreeMap<usize, BTreeSet<&[u8]>> = BTreeMap::new();
    for directory in found {
        let paths = by_layer.entry(directory.layer).or_default();
        paths.insert(&directory.path);
    }
    let mut sidecars = BTreeMap::new();
    for (layer, paths) in by_layer {
        let wanted = |_: &[u8], path: &[u8]| paths.contains(path);
        let said = Owners::read_if(&sidecar(layer), wanted)?;
        sidecars.insert(layer, said);
    }
    let mut tar = tar::Builder::new(Vec::new());
    for directory in found {
        let said = sidecars[&directory.layer].get(&directory.path);
        append(&mut tar, directory, said).map_err(Error::Stream)?;
    }
    tar.into_inner().map_err(Error::Stream)
}

fn append(
    tar: &mut tar::Builder<Vec<u8>>,
    directory: &Restated,
    said: Option<&owners::Record>,
) -> io::Result<()> {
    let on_inode = directory.xattrs.iter();
    let owner = on_inode
        .clone()
        .find(|(name, _)| name == owners::XATTR.as_bytes())
        .and_then(|(_, value)| owners::Owner::parse(value))
        .or_else(|| said.and_then(|s| s.owner));
    let (uid, gid) = owner.map_or((0, 0), |o| (o.uid, o.gid));
    // Marks of overlay and records of ours are not the image's; the sidecar has what it said itself.
    let ours = |name: &[u8]| name.starts_with(b"user.overlay.") || name == owners::XATTR.as_bytes();
    let xattrs = on_inode
        .filter(|(name, _)| !ours(name))
        .chain(said.iter().flat_map(|s| &s.xattrs))
        .filter_map(|(name, value)| {
            // Names of a pax header are text.
            let name = std::str::from_utf8(name).ok()?;
            Some((format!("SCHILY.xattr.{name}"), value.as_slice()))
        });
    let path = [b"./", &directory.path[..]].concat();
    let mtime = decimal(directory.mtime);
    let (uid, gid) = (uid.to_string(), gid.to_string());
    let standard: [(&str, &[u8]); 4] = [
        ("path", &path),
        ("mtime", mtime.as_bytes()),
        ("uid", uid.as_bytes()),
        ("gid", gid.as_bytes()),
    ];
    let records: Vec<(String, &[u8])> = standard
        .map(|(key, value)| (key.to_owned(), value))
        .into_iter()
        .chain(xattrs)
        .collect();
    tar.append_pax_extensions(records.iter().map(|(key, value)| (key.as_str(), *value)))?;
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_path("directory")?;
    header.set_mode(directory.mode);
    header.set_size(0);
    header.set_cksum();
    tar.append(&header, io::empty())
}

/// Seconds and nanoseconds as pax has them: the fraction counts away from zero.
fn decimal((seconds, nanoseconds): (i64, u32)) -> String {
    let all = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    let sign = if all < 0 { "-" } else { "" };
    let all = all.unsigned_abs();
    format!("{sign}{}.{:09}", all / 1_000_000_000, all % 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_the_epoch_keep_their_fraction() {
        assert_eq!(decimal((5, 1)), "5.000000001");
        assert_eq!(decimal((-5, 0)), "-5.000000000");
        assert_eq!(decimal((-1, 750_000_000)), "-0.250000000");
    }
}
