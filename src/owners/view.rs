//! Whose record counts for a file of a running container, whose root is an overlay.
//!
//! A path alone does not say it: an upper layer may have replaced the file, and then a lower layer's
//! record is about another file. So a record counts only if the file comes from the tree beside it,
//! which is found out at the question by looking at the trees. Doing it when a container starts would
//! cost a system call a record and layer, and be wrong as soon as the container changes something.
//!
//! # Rules
//!
//! The question is about a file that exists in the merged tree, by its path there without symlinks,
//! and its inode as statx(2) through the overlay shows it ([`Node`]). From the top:
//!
//! 1. A record of the container itself counts if it is about this inode (see [`Owners::of`]).
//! 2. A tree that has the path decides: the layer's record for it, or that there is none.
//! 3. But a directory of the container without a record is a copy of the one below it (overlay makes
//!    them for what is written in them): the next tree decides, unless the directory is opaque. Not so
//!    in a layer: what an image's layers imply and do not list, a layer on top of them restates.
//!
//! Whiteouts need no look: what one hides does not exist, so nobody asks for it.
//!
//! The same holds for any other file of the container: without a record of its own it is what overlay
//! made of the layers' file at its path, whose record it has, if that is of the same type. Nobody is told
//! when that happens (chmod(2), utimensat(2), opening to write). **So whoever makes something new, or puts
//! something else, where a record is about a path ([`View::knows_path`]) gives it a record of its own**, be
//! it one that says nothing ([`View::set`]); and what leaves its path takes its record along. Where nobody
//! watched over that, a view of the container's tree has to do without the layers.
//!
//! Of what real root would see, one attribute ends earlier: a write takes the capabilities of a program away.
//! No mark tells of a write, but the content does; a copy that differs from its original has none. A record
//! of the container itself never holds capabilities: there the inode does, and the kernel sees to it.
//!
//! A hard-linked file is recorded under its first name only, and found by any, if the question says
//! that there are several. Of a copy, which has but one name, only the first one is.
//!
//! # Cost
//!
//! Nothing is opened before the first question. That reads the sidecars, which as a rule have a few
//! lines. A path that no sidecar mentions, nearly every one, then costs a look into a table for each
//! layer and no system call.

mod copied;

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat, StatxFlags, fstat, openat, statx};
use rustix::io::Errno;

use super::sidecar::Journal;
use super::{Error, Node, Owner, Owners, Record};
use crate::trees;

/// A tree and the sidecar beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The directory.
    pub tree: PathBuf,
    /// Its sidecar.
    pub sidecar: PathBuf,
}

/// The records of a stack.
#[derive(Debug)]
pub struct View {
    /// Top first.
    layers: Vec<Layer>,
    upper: Layer,
    loaded: OnceCell<Loaded>,
    journal: Option<Journal>,
    /// Others may write to the sidecar of `upper`.
    shared: bool,
}

#[derive(Debug)]
struct Loaded {
    upper: Owners,
    /// Bytes of the container's sidecar.
    sound: u64,
    layers: Vec<Owners>,
    /// Inode numbers of files in layers that have several names and a record; made when asked for.
    links: OnceCell<Vec<HashMap<u64, Vec<u8>>>>,
    /// Hashes of the last components of all paths with a record; made when asked for.
    names: OnceCell<HashSet<u64>>,
}

impl View {
    /// The layers of a container, the topmost first, and what it writes. Opens nothing. The container's
    /// sidecar need not exist; it is made when there is something to record.
    pub fn new(layers: Vec<Layer>, upper: Layer) -> Self {
        Self {
            layers,
            upper,
            loaded: OnceCell::new(),
            journal: None,
            shared: false,
        }
    }

    /// A volume, which other containers may have, too.
    pub fn of_volume(volume: Layer) -> Self {
        Self {
            shared: true,
            ..Self::new(Vec::new(), volume)
        }
    }

    /// What others have recorded in a volume since it was last looked at shows from now on.
    pub fn refresh(&mut self) {
        let length = || std::fs::metadata(&self.upper.sidecar).map_or(0, |m| m.len());
        if self.shared && self.loaded.get().is_some_and(|l| l.sound != length()) {
            self.loaded.take();
        }
    }

    /// Is there no record at all? Then no question needs to be asked.
    pub fn is_empty(&self) -> Result<bool, Error> {
        let loaded = self.loaded()?;
        Ok(loaded.upper.is_empty() && loaded.layers.iter().all(|o| telling(o).next().is_none()))
    }

    /// Does any record have this xattr? Looks at all of them.
    pub fn has_xattr(&self, name: &[u8]) -> Result<bool, Error> {
        let loaded = self.loaded()?;
        let mut all = std::iter::once(&loaded.upper).chain(&loaded.layers);
        Ok(all.any(|owners| owners.has_xattr(name)))
    }

    /// Does any record have the owner of a file or directory, which as a rule is on the inode? Looks at all.
    pub fn has_owner_of_files(&self) -> Result<bool, Error> {
        use super::FileType as Kind;
        let loaded = self.loaded()?;
        let elsewhere =
            |owner: Owner| !matches!(owner.file_type, Kind::Symlink | Kind::Pipe | Kind::Socket);
        let mut all = std::iter::once(&loaded.upper).chain(&loaded.layers);
        Ok(all.any(|owners| owners.iter().any(|(_, r)| r.owner.is_some_and(elsewhere))))
    }

    /// May a record be about a path that ends in this name? Costs no system call, and says no of nearly
    /// all: for those who make files, to whom [`View::knows_path`] would be too dear.
    pub fn knows_name(&self, name: &[u8]) -> Result<bool, Error> {
        let loaded = self.loaded()?;
        let names = loaded.names.get_or_init(|| {
            let all = std::iter::once(&loaded.upper).chain(&loaded.layers);
            all.flat_map(telling).map(|path| hash(last(path))).collect()
        });
        Ok(names.contains(&hash(name)))
    }

    /// Is a record about this path, be it one that does not show?
    pub fn knows_path(&self, path: &[u8]) -> Result<bool, Error> {
        let loaded = self.loaded()?;
        let mut all = std::iter::once(&loaded.upper).chain(&loaded.layers);
        Ok(all.any(|owners| owners.get(path).is_some()))
    }

    /// Has this inode, which is at `path`, a record of the container's own?
    pub fn is_own(&self, path: &[u8], node: Node) -> Result<bool, Error> {
        Ok(self.loaded()?.upper.of_node(path, node).is_some())
    }

    /// Names of xattrs that records had when they were read.
    pub fn xattr_names(&self) -> Result<HashSet<Vec<u8>>, Error> {
        let loaded = self.loaded()?;
        let all = std::iter::once(&loaded.upper).chain(&loaded.layers);
        Ok(all
            .flat_map(Owners::xattr_names)
            .map(<[u8]>::to_vec)
            .collect())
    }

    /// The record of the file at `path` (relative to the root, which is empty), whose inode is `node`.
    /// `links`: it has several names and is no directory.
    pub fn get(
        &self,
        path: &[u8],
        node: Node,
        links: bool,
    ) -> Result<Option<Cow<'_, Record>>, Error> {
        let loaded = self.loaded()?;
        if let Some(record) = loaded.upper.of(path, node) {
            return Ok(Some(Cow::Borrowed(record)));
        }
        let by_path = loaded
            .layers
            .iter()
            .any(|owners| owners.get(path).is_some());
        let by_link = || Ok(links && self.linked(loaded)?.iter().any(|l| !l.is_empty()));
        if !by_path && !by_link()? {
            return Ok(None);
        }
        match self.upper.look(path)? {
            // The root is nobody's copy, and cannot be another one.
            Some(stat) if !path.is_empty() => self.copied(loaded, path, &stat),
            _ => Ok(self.below(loaded, path)?.map(Cow::Borrowed)),
        }
    }

    /// The record of what shows of the layers alone.
    fn below<'a>(&self, loaded: &'a Loaded, path: &[u8]) -> Result<Option<&'a Record>, Error> {
        for (i, layer) in self.layers.iter().enumerate() {
            let Some(stat) = layer.look(path)? else {
                continue;
            };
            return self.in_layer(loaded, i, path, &stat);
        }
        Ok(None)
    }

    /// What the sidecar of a layer says of a file of its tree.
    fn in_layer<'a>(
        &self,
        loaded: &'a Loaded,
        layer: usize,
        path: &[u8],
        stat: &Stat,
    ) -> Result<Option<&'a Record>, Error> {
        let owners = &loaded.layers[layer];
        let record = owners.get(path);
        if record.is_some() || stat.st_nlink < 2 || is_dir(stat) {
            return Ok(record);
        }
        let first = self.linked(loaded)?[layer].get(&stat.st_ino);
        Ok(first.and_then(|path| owners.get(path)))
    }

    /// Record what is to be known of a file of the upper directory, in memory and on disk, in place of what
    /// was. `node` is the inode after it was copied up; without one (a file system that has no numbers
    /// that last) the path counts. A record that says nothing is one, too: of a file that is not what a
    /// layer has there.
    pub fn set(&mut self, path: &[u8], node: Option<Node>, record: Record) -> Result<(), Error> {
        self.set_moving(path, path, node, record)
    }

    /// The same of a file that is about to get another name.
    pub fn set_moving(
        &mut self,
        path: &[u8],
        to: &[u8],
        node: Option<Node>,
        mut record: Record,
    ) -> Result<(), Error> {
        if node.is_none() && record == Record::default() {
            // Without an inode, the path says so.
            record.owner = Some(ROOT);
        }
        let sound = self.loaded()?.sound;
        let before = self.journal.as_ref().map_or(0, Journal::written);
        let journal = match &mut self.journal {
            Some(journal) => journal,
            none if self.shared => none.insert(Journal::open_shared(&self.upper.sidecar)?),
            none => none.insert(Journal::open(&self.upper.sidecar, sound)?),
        };
        // What was copied up shows its old number until the kernel forgets it, and then the one that it has in
        // the upper directory, as it does to all who look at that alone.
        let at_rest = match node {
            Some(_) => self.upper.node(path)?.filter(|n| Some(*n) != node),
            None => None,
        };
        for node in [Some(node), at_rest.map(Some)].into_iter().flatten() {
            journal.set(to, node, &record)?;
            if let Some(loaded) = self.loaded.get_mut() {
                loaded.upper.set(to, node, record.clone());
                if node.is_none() {
                    loaded.names.take();
                }
            }
        }
        // Our own lines are known. If others have written meanwhile, the length will tell.
        if let Some(loaded) = self.loaded.get_mut() {
            loaded.sound += journal.written() - before;
        }
        Ok(())
    }

    /// A directory is about to be elsewhere. Where inodes tell nothing, the records of what is in it move, too.
    pub fn move_tree(&mut self, from: &[u8], to: &[u8]) -> Result<(), Error> {
        for (path, node, record) in self.loaded()?.upper.bound_below(from) {
            let to = [to, &path[from.len()..]].concat();
            self.set_moving(&path, &to, node, record)?;
        }
        Ok(())
    }

    /// The upper directory began as a copy of the layers, which nobody has changed yet: make the
    /// container's sidecar say what theirs do, so that they are needed no more. Reads files that may shut
    /// out their owner.
    pub fn settle(&self) -> Result<(), Error> {
        self.settle_below(b"")
    }

    /// The same where it began as a copy of the directory `base` of the layers (relative, empty for all).
    pub fn settle_below(&self, base: &[u8]) -> Result<(), Error> {
        let loaded = self.loaded()?;
        let mut journal = Journal::open(&self.upper.sidecar, loaded.sound)?;
        let mut links = HashMap::new();
        let paths = loaded
            .layers
            .iter()
            .flat_map(|l| l.iter().map(|(path, _)| path));
        for whole in paths.collect::<BTreeSet<_>>() {
            let Some(path) = strip(whole, base) else {
                continue;
            };
            let Some(record) = self.below(loaded, whole)? else {
                continue;
            };
            let silent = record.owner.is_none() && record.xattrs.is_empty();
            let Some(file) = self.upper.open(path, OFlags::PATH)?.filter(|_| !silent) else {
                continue;
            };
            let failed = || self.upper.failed(path);
            let stat = fstat(&file).map_err(failed())?;
            let node = Node::of_fd(&file).map_err(failed())?;
            let record = copied::with_capabilities_on(&file, record);
            if node.birth != 0 || !carries(&stat) {
                journal.set(path, Some(node), &record)?;
            } else {
                journal.set(path, None, &record)?;
                if stat.st_nlink > 1 && !is_dir(&stat) {
                    links.insert(stat.st_ino, record);
                }
            }
        }
        self.settle_links(&links, &mut journal)
    }

    /// Only one name of a file has a record in a layer; in the copy each gets it.
    fn settle_links(
        &self,
        links: &HashMap<u64, Cow<'_, Record>>,
        journal: &mut Journal,
    ) -> Result<(), Error> {
        let mut todo = match links.is_empty() {
            true => Vec::new(),
            false => vec![Vec::new()],
        };
        let root = self.upper.root()?;
        while let Some(dir) = todo.pop() {
            for (name, found) in trees::merge(&[&root], &dir, &[0])
                .map_err(|(_, path, e)| self.upper.failed(&path)(e))?
                .names
            {
                let path = trees::join(&dir, &name);
                match found {
                    trees::Name::Dir { .. } => todo.push(path),
                    trees::Name::File { stat, .. } if carries(&stat) => {
                        if let Some(record) = links.get(&stat.st_ino) {
                            journal.set(&path, None, record)?;
                        }
                    }
                    trees::Name::File { .. } => {}
                }
            }
        }
        Ok(())
    }

    fn loaded(&self) -> Result<&Loaded, Error> {
        if let Some(loaded) = self.loaded.get() {
            return Ok(loaded);
        }
        let (upper, sound) = match self.shared {
            true => Owners::read_shared(&self.upper.sidecar)?,
            false => Owners::read_journal(&self.upper.sidecar)?,
        };
        let layers = self.layers.iter().map(|l| Owners::read(&l.sidecar));
        let loaded = Loaded {
            upper,
            sound,
            layers: layers.collect::<Result<_, _>>()?,
            links: OnceCell::new(),
            names: OnceCell::new(),
        };
        Ok(self.loaded.get_or_init(|| loaded))
    }

    /// By layer: inode number to first name, of files that have several names and a record.
    fn linked<'a>(&self, loaded: &'a Loaded) -> Result<&'a [HashMap<u64, Vec<u8>>], Error> {
        if let Some(links) = loaded.links.get() {
            return Ok(links);
        }
        let mut links = Vec::with_capacity(self.layers.len());
        for (layer, owners) in self.layers.iter().zip(&loaded.layers) {
            let root = layer.root()?;
            links.push(owners.first_names(&root).map_err(layer.failed(b""))?);
        }
        Ok(loaded.links.get_or_init(|| links))
    }
}

/// Nobody's.
const ROOT: Owner = Owner {
    uid: 0,
    gid: 0,
    mode: 0,
    file_type: super::FileType::File,
};

/// Paths whose records say something: that a tar does not list a directory is the rule, and says nothing.
fn telling(owners: &Owners) -> impl Iterator<Item = &[u8]> {
    let telling = owners
        .iter()
        .filter(|(_, r)| r.owner.is_some() || !r.xattrs.is_empty());
    telling.map(|(path, _)| path)
}

/// A path as it is below another one, if it is.
fn strip<'a>(path: &'a [u8], base: &[u8]) -> Option<&'a [u8]> {
    match path.strip_prefix(base)? {
        rest if base.is_empty() || rest.is_empty() => Some(rest),
        rest => rest.strip_prefix(b"/"),
    }
}

/// The last component of a path.
fn last(path: &[u8]) -> &[u8] {
    path.rsplit(|b| *b == b'/').next().unwrap_or_default()
}

fn hash(name: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

/// Whether an inode takes user xattrs, and so its owner: without a time of birth its number may be that of
/// another by the time of the next question.
fn carries(stat: &Stat) -> bool {
    let file_type = rustix::fs::FileType::from_raw_mode(stat.st_mode);
    file_type.is_file() || file_type.is_dir()
}

fn is_dir(stat: &Stat) -> bool {
    rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir()
}

impl Layer {
    pub(super) fn root(&self) -> Result<OwnedFd, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(CWD, &self.tree, flags, Mode::empty()).map_err(self.failed(b""))
    }

    /// Open a file as such, through no symlink; `None` when the tree does not have it.
    pub(super) fn open(&self, path: &[u8], flags: OFlags) -> Result<Option<OwnedFd>, Error> {
        match trees::open_below(self.root()?, path, flags) {
            Ok(fd) => Ok(Some(fd)),
            // A parent that is something else here than in the layers above is as good as none.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(e) => Err(self.failed(path)(e)),
        }
    }

    fn node(&self, path: &[u8]) -> Result<Option<Node>, Error> {
        let fd = self.open(path, OFlags::PATH)?;
        fd.map(|fd| Node::of_fd(fd).map_err(self.failed(path)))
            .transpose()
    }

    fn look(&self, path: &[u8]) -> Result<Option<Stat>, Error> {
        let fd = self.open(path, OFlags::PATH)?;
        fd.map(|fd| fstat(fd).map_err(self.failed(path)))
            .transpose()
    }

    pub(super) fn failed(&self, path: &[u8]) -> impl FnOnce(Errno) -> Error {
        move |e| Error::Lookup {
            path: PathBuf::from(OsStr::from_bytes(path)),
            tree: self.tree.clone(),
            source: e.into(),
        }
    }
}

impl Node {
    /// The inode of an open file, `O_PATH` will do.
    pub fn of_fd(fd: impl AsFd) -> Result<Self, Errno> {
        let mask = StatxFlags::INO | StatxFlags::BTIME;
        statx(fd, c"", AtFlags::EMPTY_PATH, mask).map(|stat| Self::of(&stat))
    }
}

#[cfg(test)]
mod tests;
