//! Which files of a layer are here already, in other layers.
//!
//! There is no index. The recipe of a layer's tar names its files with their sizes, and is read in milliseconds; a file
//! that has name and size of one that is looked for is hashed. So nothing is to be kept up to date, and a store that
//! somebody meddled with cannot mislead.

use std::collections::HashMap;
use std::fs::File as Fd;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, fstat, openat};
use rustix::io::{Errno, pread};
use sha2::{Digest as _, Sha256};

use super::toc::{File, key};
use crate::layer::rebuild::open_file;
use crate::layer::recipe::{self, Op};

/// Layers that are looked through.
const LAYERS_MAX: usize = 1000;
/// Layers that something is taken from: each is an open directory meanwhile.
const TREES_MAX: usize = 64;
/// Bytes that are hashed, as a multiple of what is looked for: files of the same name and size that differ.
const HASHED: u64 = 2;
const BUFFER: usize = 256 << 10;

/// Where a file's content is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Have {
    /// Number of the tree in [`Found::trees`].
    pub(super) tree: usize,
    pub(super) path: Box<[u8]>,
}

/// What of a layer is here.
#[derive(Debug, Default)]
pub struct Found {
    pub(super) trees: Vec<OwnedFd>,
    /// For each file of the table.
    pub(super) files: Vec<Option<Have>>,
}

impl Found {
    /// Whether the content of this file of the table is here.
    pub fn has(&self, index: usize) -> bool {
        matches!(self.files.get(index), Some(Some(_)))
    }
}

/// Look for `files` in layers, each a tree and the file of its recipe. What cannot be read is not here: the modes of
/// some files shut out their owner.
pub fn find(files: &[File], layers: impl IntoIterator<Item = (PathBuf, PathBuf)>) -> Found {
    let mut wanted: HashMap<u64, Vec<usize>> = HashMap::new();
    for (index, file) in files.iter().enumerate() {
        wanted.entry(file.key).or_default().push(index);
    }
    let bytes: u64 = files.iter().map(|f| f.size).sum();
    let mut search = Search {
        files,
        wanted,
        left: bytes.saturating_mul(HASHED),
        buffer: vec![0; BUFFER],
        found: Found {
            trees: Vec::new(),
            files: vec![None; files.len()],
        },
    };
    for (tree, recipe) in layers.into_iter().take(LAYERS_MAX) {
        if search.wanted.is_empty() || search.found.trees.len() == TREES_MAX {
            break;
        }
        if let Err(e) = search.layer(&tree, &recipe) {
            log::debug!("{} is not looked through: {e}", tree.display());
        }
    }
    search.found
}

struct Search<'a> {
    files: &'a [File],
    /// By key, those that are not found yet.
    wanted: HashMap<u64, Vec<usize>>,
    /// Bytes that may still be hashed.
    left: u64,
    buffer: Vec<u8>,
    found: Found,
}

impl Search<'_> {
    fn layer(&mut self, tree: &Path, recipe: &Path) -> std::io::Result<()> {
        let mut reader = recipe::Reader::new(Fd::open(recipe)?)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(CWD, tree, flags, Mode::empty())?;
        let number = self.found.trees.len();
        let (mut data, mut taken) = (Vec::new(), false);
        while let Some(op) = recipe::next(&mut reader, &mut data)? {
            // Of a sparse file the recipe names the extents: what has several is not looked for.
            let Op::File(0, len) = op else { continue };
            let Some(same) = self.wanted.get(&key(&data, len)) else {
                continue;
            };
            if len > self.left || !same.iter().any(|i| self.files[*i].size == len) {
                continue;
            }
            self.left -= len;
            // It may be another file by now, or none: what counts is what it holds.
            let hashed =
                open_file(dir.as_fd(), &data).and_then(|file| hash(&file, len, &mut self.buffer));
            let Ok(Some(digest)) = hashed else { continue };
            taken |= self.take(&data, len, &digest, number);
        }
        if taken {
            self.found.trees.push(dir);
        }
        Ok(())
    }

    /// A file has this content: those that were looked for are found.
    fn take(&mut self, path: &[u8], len: u64, digest: &[u8; 32], tree: usize) -> bool {
        let key = key(path, len);
        let Some(same) = self.wanted.get_mut(&key) else {
            return false;
        };
        let before = same.len();
        let (files, found) = (self.files, &mut self.found.files);
        same.retain(|index| {
            let is_it = files[*index].digest == *digest && files[*index].size == len;
            if is_it {
                found[*index] = Some(Have {
                    tree,
                    path: path.into(),
                });
            }
            !is_it
        });
        let taken = same.len() < before;
        if same.is_empty() {
            self.wanted.remove(&key);
        }
        taken
    }
}

/// SHA-256 of a file, if it has this length.
fn hash(file: &OwnedFd, len: u64, buffer: &mut [u8]) -> Result<Option<[u8; 32]>, Errno> {
    if u64::try_from(fstat(file)?.st_size) != Ok(len) {
        return Ok(None);
    }
    let mut hash = Sha256::new();
    let mut at = 0;
    while at < len {
        match pread(file, &mut *buffer, at) {
            Ok(0) => return Ok(None),
            Ok(n) => {
                hash.update(&buffer[..n]);
                at += n as u64;
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok((at == len).then(|| hash.finalize().into()))
}
