//! One directory of a stack, merged.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Dir, FileType, Stat};
use rustix::io::Errno;

use super::{Seen, is_opaque, join, look, marker, open_child, open_dir};

/// What a merged directory has under a name.
#[derive(Debug)]
pub enum Name {
    /// Something that is no directory, from this layer.
    File {
        /// Index of the layer.
        layer: usize,
        /// What it is.
        stat: Box<Stat>,
    },
    /// A directory.
    Dir {
        /// Those that take part in it, the top one first.
        layers: Vec<usize>,
        /// That of the top one.
        stat: Box<Stat>,
    },
}

/// A directory as it shows.
#[derive(Debug)]
pub struct Merged {
    /// The directory in each layer that takes part, the top one first.
    pub dirs: Vec<(usize, OwnedFd)>,
    /// What it has, in the order of bytes.
    pub names: BTreeMap<Vec<u8>, Name>,
    /// What it hides of trees that are not among these.
    pub hidden: BTreeSet<Vec<u8>>,
}

impl Merged {
    /// The directory in one of its layers.
    pub fn dir(&self, layer: usize) -> Option<BorrowedFd<'_>> {
        let found = self.dirs.iter().find(|(l, _)| *l == layer);
        found.map(|(_, fd)| fd.as_fd())
    }
}

/// A system call that failed: its name, the path in the layer, and why.
pub type Failed = (&'static str, Vec<u8>, Errno);

/// Merge the directory `path` of the layers whose indices are given, the top one first; each has it as a
/// directory, and none but the last is opaque there.
pub fn merge(roots: &[impl AsFd], path: &[u8], layers: &[usize]) -> Result<Merged, Failed> {
    let failed = |call, path: &[u8]| {
        let path = path.to_vec();
        move |e| (call, path, e)
    };
    let mut merged = Merged {
        dirs: Vec::with_capacity(layers.len()),
        names: BTreeMap::new(),
        hidden: BTreeSet::new(),
    };
    // Names of which lower layers are not asked any more, though they have a directory.
    let mut closed: BTreeSet<Vec<u8>> = BTreeSet::new();
    for &layer in layers {
        let Some(root) = roots.get(layer) else {
            continue;
        };
        let dir = open_dir(root, path).map_err(failed("openat2", path))?;
        for entry in Dir::read_from(&dir).map_err(failed("getdents64", path))? {
            let entry = entry.map_err(failed("getdents64", path))?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            if let Some(hidden) = marker(name) {
                // Within this layer the name may also exist, and then is settled by that.
                if let Some(hidden) = hidden
                    && !matches!(look(dir.as_fd(), hidden), Ok(Seen::Entry(_)))
                {
                    close(&mut merged, &mut closed, hidden);
                }
                continue;
            }
            let settled = merged.hidden.contains(name)
                || closed.contains(name)
                || matches!(merged.names.get(name), Some(Name::File { .. }));
            if settled {
                continue;
            }
            let full = join(path, name);
            match look(dir.as_fd(), name).map_err(failed("fstatat", &full))? {
                Seen::Nothing => {}
                Seen::Whiteout => close(&mut merged, &mut closed, name),
                Seen::Entry(stat)
                    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory =>
                {
                    let child = match open_child(dir.as_fd(), name) {
                        // A container may run meanwhile: removed since it was looked at.
                        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                        child => child.map_err(failed("openat", &full))?,
                    };
                    if is_opaque(child.as_fd()).map_err(failed("getxattr", &full))? {
                        closed.insert(name.to_vec());
                    }
                    let new = || Name::Dir {
                        layers: Vec::new(),
                        stat,
                    };
                    let known = merged.names.entry(name.to_vec()).or_insert_with(new);
                    if let Name::Dir { layers, .. } = known {
                        layers.push(layer);
                    }
                }
                // A higher layer has a directory of this name.
                Seen::Entry(_) if merged.names.contains_key(name) => {
                    closed.insert(name.to_vec());
                }
                Seen::Entry(stat) => {
                    merged
                        .names
                        .insert(name.to_vec(), Name::File { layer, stat });
                }
            }
        }
        merged.dirs.push((layer, dir));
    }
    Ok(merged)
}

/// Nothing of lower layers shows under this name from here on.
fn close(merged: &mut Merged, closed: &mut BTreeSet<Vec<u8>>, name: &[u8]) {
    match merged.names.get(name) {
        Some(Name::Dir { .. }) => {
            closed.insert(name.to_vec());
        }
        Some(Name::File { .. }) => {}
        None => {
            merged.hidden.insert(name.to_vec());
        }
    }
}
