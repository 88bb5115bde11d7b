//! Sidecars: text files that hold what inodes cannot.
//!
//! Lines end in `\n`, fields are separated by one space; bytes of a field outside `!`..`~`, and `%`,
//! are written `%XX`. Paths are relative to the tree's root, without a leading slash; the root is
//! `.`. A later line wins over an earlier one.
//!
//! ```text
//! coracle-owners 1              first line: format and version
//! own UID GID MODE TYPE PATH    owner
//! xattr NAME =VALUE PATH        one extended attribute
//! implied PATH                  a directory that the tar does not list: it says nothing about
//!                               mode, owner and mtime, those of a lower layer should show
//! reset PATH                    forget all earlier lines for PATH
//! gone PATH                     forget all earlier lines for PATH and everything below it
//! @INO,BIRTH own ...            `own`, `xattr` or `reset` for an inode ([`Node`]), wherever it is by
//!                               now; PATH is where it was
//! end LINES                     last line of a sealed file; LINES counts those between
//! ```
//!
//! **Of a layer**: sealed, and then never changed. Written while the tar is read, so that memory does
//! not grow with it; that is why lines can take earlier ones back. Keyed by path, since the tree does not
//! change either. A hard-linked file is recorded under its first name only.
//!
//! **Of a container**: a journal, never sealed, of lines that are appended with one write(2) each as
//! things happen, so that a killed writer costs at most the line it was at. Keyed by inode: programs
//! rename what they have just made and given away (dpkg does so with every file). By path only where the
//! file system has no numbers that last.
//!
//! **Of a volume**: the same, with a writer in each container that has it. Nobody takes a line away, and whoever
//! opens it ends the line at which another was killed.

mod write;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{FileType, OFlags, fstat};
use rustix::io::Errno;

use super::record::{self, decimal, octal};
use super::{Error, Node, Owner, Record};
use crate::trees;

pub use write::{Journal, Writer};

const MAGIC: &str = "coracle-owners 1\n";
/// Longest line read: more than an xattr of the largest size (64 KiB) and a path, with escapes.
const LINE_MAX: u64 = 1 << 20;

fn unescape(field: &[u8]) -> Option<Vec<u8>> {
    let hex = |digit: &u8| char::from(*digit).to_digit(16);
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field.iter();
    while let Some(b) = rest.next() {
        out.push(match b {
            b'%' => u8::try_from(hex(rest.next()?)? << 4 | hex(rest.next()?)?).ok()?,
            b => *b,
        });
    }
    Some(out)
}

/// A sidecar in memory: by path (relative, the root is empty) and by inode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners {
    paths: BTreeMap<Vec<u8>, Record>,
    /// With the path where the inode was at its last line.
    nodes: HashMap<Node, (Vec<u8>, Record)>,
}

/// What the end of a file has to look like.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sealed,
    Journal,
    /// A journal of several writers: what a killed one left in the middle is skipped.
    Shared,
}

impl Owners {
    /// Read the sidecar of a layer. Refuses other versions and incomplete files.
    pub fn read(path: &Path) -> Result<Self, Error> {
        Self::read_if(path, |_, _| true)
    }

    /// As [`Owners::read`], but of the lines that say something only those that `keep` wants, by their
    /// first word and their path. A layer can have millions.
    pub fn read_if(path: &Path, mut keep: impl FnMut(&[u8], &[u8]) -> bool) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::sidecar(path))?;
        let mut owners = Self::default();
        owners.fill(BufReader::new(file), path, Kind::Sealed, &mut keep)?;
        Ok(owners)
    }

    /// Read the sidecar of a container, and say how many bytes of it are whole lines. None is as good as
    /// an empty one.
    pub fn read_journal(path: &Path) -> Result<(Self, u64), Error> {
        let mut owners = Self::default();
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((owners, 0)),
            Err(e) => return Err(Error::sidecar(path)(e)),
        };
        let sound = owners.fill(BufReader::new(file), path, Kind::Journal, &mut |_, _| true)?;
        Ok((owners, sound))
    }

    /// Read the sidecar of a volume, which several containers may write to at a time, and say how long it was.
    pub fn read_shared(path: &Path) -> Result<(Self, u64), Error> {
        let mut owners = Self::default();
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((owners, 0)),
            Err(e) => return Err(Error::sidecar(path)(e)),
        };
        let length = owners.fill(BufReader::new(file), path, Kind::Shared, &mut |_, _| true)?;
        Ok((owners, length))
    }

    /// Is there no record?
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.nodes.is_empty()
    }

    /// Does any record have this xattr?
    pub fn has_xattr(&self, name: &[u8]) -> bool {
        let mut all = self.paths.values().chain(self.nodes.values().map(|n| &n.1));
        all.any(|r| r.xattrs.iter().any(|(n, _)| n == name))
    }

    /// The names of all xattrs of all records, as often as they come.
    pub fn xattr_names(&self) -> impl Iterator<Item = &[u8]> {
        let all = self.paths.values().chain(self.nodes.values().map(|n| &n.1));
        all.flat_map(|r| r.xattrs.iter().map(|(name, _)| name.as_slice()))
    }

    /// The record of `path`, if there is one.
    pub fn get(&self, path: &[u8]) -> Option<&Record> {
        self.paths.get(path)
    }

    /// The record of the inode `node`, which is at `path`. Where the file system has no times of birth, an
    /// inode counts only where it was.
    pub fn of_node(&self, path: &[u8], node: Node) -> Option<&Record> {
        let known = self.nodes.get(&node);
        let same = known.filter(|(at, _)| node.birth != 0 || at == path);
        same.map(|(_, record)| record)
    }

    /// The same, or else that of the path.
    pub fn of(&self, path: &[u8], node: Node) -> Option<&Record> {
        self.of_node(path, node).or_else(|| self.get(path))
    }

    /// Records of `path` and all below it that count only where they are.
    pub(super) fn bound_below(&self, path: &[u8]) -> Vec<(Vec<u8>, Option<Node>, Record)> {
        let below = |p: &[u8]| {
            p.strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        };
        let paths = self.paths.iter().map(|(p, r)| (p, None, r));
        let nodes = self.nodes.iter().filter(|(node, _)| node.birth == 0);
        paths
            .chain(nodes.map(|(node, (p, r))| (p, Some(*node), r)))
            .filter(|(p, ..)| below(p))
            .map(|(p, node, r)| (p.clone(), node, r.clone()))
            .collect()
    }

    /// All records that have a path for a key, in the order of their paths.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Record)> {
        self.paths
            .iter()
            .map(|(path, record)| (path.as_slice(), record))
    }

    /// Of files of `root` that have several names and a record: inode number to the name that has it.
    pub fn first_names(&self, root: impl AsFd) -> Result<HashMap<u64, Vec<u8>>, Errno> {
        let mut names = HashMap::new();
        for (path, _) in self.iter().filter(|(_, r)| !r.implied) {
            let file = match trees::open_below(&root, path, OFlags::PATH) {
                Ok(file) => file,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                Err(e) => return Err(e),
            };
            let stat = fstat(&file)?;
            if stat.st_nlink > 1 && !FileType::from_raw_mode(stat.st_mode).is_dir() {
                names.insert(stat.st_ino, path.to_vec());
            }
        }
        Ok(names)
    }

    /// What [`Journal::set`] wrote.
    pub(super) fn set(&mut self, path: &[u8], node: Option<Node>, record: Record) {
        let says_nothing = record == Record::default();
        match node {
            // Kept where it says nothing: a path, or a layer, may say something.
            Some(node) => drop(self.nodes.insert(node, (path.to_vec(), record))),
            None if says_nothing => drop(self.paths.remove(path)),
            None => drop(self.paths.insert(path.to_vec(), record)),
        }
    }

    /// Bytes of whole lines.
    fn fill(
        &mut self,
        mut from: impl io::BufRead,
        path: &Path,
        kind: Kind,
        keep: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<u64, Error> {
        let mut number = 0;
        let mut sound = 0;
        let mut line = Vec::new();
        loop {
            number += 1;
            line.clear();
            let bad = |what| Error::Format {
                path: path.to_owned(),
                line: number,
                what,
            };
            let read = (&mut from).take(LINE_MAX).read_until(b'\n', &mut line);
            read.map_err(Error::sidecar(path))?;
            let Some(text) = line.strip_suffix(b"\n") else {
                return match kind {
                    Kind::Journal | Kind::Shared if (line.len() as u64) < LINE_MAX => Ok(sound),
                    _ => Err(bad("the file is incomplete")),
                };
            };
            sound += line.len() as u64;
            if number == 1 {
                if line != MAGIC.as_bytes() {
                    return Err(bad("unknown format or version"));
                }
                continue;
            }
            if let Some(count) = text.strip_prefix(b"end ") {
                if kind != Kind::Sealed || decimal(count).map(u64::from) != Some(number - 2) {
                    return Err(bad("wrong number of lines"));
                }
                return Ok(sound);
            }
            match self.line(text, keep) {
                None if kind != Kind::Shared => return Err(bad("malformed line")),
                _ => {}
            }
        }
    }

    fn line(&mut self, text: &[u8], keep: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Option<()> {
        let mut fields: Vec<&[u8]> = text.split(|b| *b == b' ').collect();
        let mut path = unescape(fields.pop()?)?;
        if path == b"." {
            path.clear();
        }
        let node = match fields.first()?.strip_prefix(b"@") {
            Some(key) => {
                fields.remove(0);
                Some(parse_node(key)?)
            }
            None => None,
        };
        if let [kind @ (b"own" | b"xattr" | b"implied"), ..] = fields.as_slice()
            && !keep(kind, &path)
        {
            return Some(());
        }
        match fields.as_slice() {
            [b"own", uid, gid, mode, file_type] => {
                self.record(path, node).owner = Some(Owner {
                    uid: decimal(uid)?,
                    gid: decimal(gid)?,
                    mode: octal(mode)?,
                    file_type: record::FileType::parse(file_type)?,
                });
            }
            [b"xattr", name, value] => {
                let name = unescape(name)?;
                let value = unescape(value.strip_prefix(b"=")?)?;
                let record = self.record(path, node);
                record.xattrs.retain(|(n, _)| *n != name);
                record.xattrs.push((name, value));
            }
            [b"implied"] if node.is_none() => self.record(path, None).implied = true,
            [b"reset"] => match node {
                Some(_) => *self.record(path, node) = Record::default(),
                None => drop(self.paths.remove(&path)),
            },
            [b"gone"] if node.is_none() => self.forget_tree(&path),
            _ => return None,
        }
        Some(())
    }

    fn record(&mut self, path: Vec<u8>, node: Option<Node>) -> &mut Record {
        match node {
            Some(node) => {
                let (at, record) = self.nodes.entry(node).or_default();
                *at = path;
                record
            }
            None => self.paths.entry(path).or_default(),
        }
    }

    /// Drop the records of `path` and of all below it, at the cost of those only.
    fn forget_tree(&mut self, path: &[u8]) {
        let below = if path.is_empty() {
            Vec::new()
        } else {
            [path, b"/"].concat()
        };
        let within = |(p, _): &(&Vec<u8>, &Record)| p.starts_with(&below);
        let gone: Vec<Vec<u8>> = (self.paths.range(below.clone()..))
            .take_while(within)
            .map(|(p, _)| p.clone())
            .collect();
        self.paths.remove(path);
        for path in gone {
            self.paths.remove(&path);
        }
    }
}

fn parse_node(key: &[u8]) -> Option<Node> {
    let (ino, birth) = std::str::from_utf8(key).ok()?.split_once(',')?;
    Some(Node {
        ino: ino.parse().ok()?,
        birth: birth.parse().ok()?,
    })
}

#[cfg(test)]
mod tests;
