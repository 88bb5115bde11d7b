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
//! A file that is copied up loses its layer's record, unless whoever copies it up ([`View::set`]) takes it
//! along. Overlay copies up at chown, and that is known; but also at utimensat(2), rename(2) and link(2)
//! of a symlink or fifo of a layer, where the record is lost and the owner becomes 0:0.
//!
//! A hard-linked file is recorded under its first name only, and found by any, if the question says
//! that there are several.
//!
//! # Cost
//!
//! Nothing is opened before the first question. That reads the sidecars, which as a rule have a few
//! lines. A path that no sidecar mentions, nearly every one, then costs a look into a table for each
//! layer and no system call.

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat, StatxFlags, fstat, openat, statx};
use rustix::io::Errno;

use super::sidecar::Journal;
use super::{Error, Node, Owners, Record};
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
}

#[derive(Debug)]
struct Loaded {
    upper: Owners,
    /// Bytes of the container's sidecar.
    sound: u64,
    layers: Vec<Owners>,
    /// Inode numbers of files in layers that have several names and a record; made when asked for.
    links: OnceCell<Vec<HashMap<u64, Vec<u8>>>>,
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
        }
    }

    /// Is there no record at all? Then no question needs to be asked.
    pub fn is_empty(&self) -> Result<bool, Error> {
        let loaded = self.loaded()?;
        // Directories that a tar does not list are the rule, and tell nothing.
        let telling = |o: &Owners| {
            o.iter()
                .any(|(_, r)| r.owner.is_some() || !r.xattrs.is_empty())
        };
        Ok(loaded.upper.is_empty() && !loaded.layers.iter().any(telling))
    }

    /// The record of the file at `path` (relative to the root, which is empty), whose inode is `node`.
    /// `links`: it has several names and is no directory.
    pub fn get(&self, path: &[u8], node: Node, links: bool) -> Result<Option<&Record>, Error> {
        let loaded = self.loaded()?;
        if let Some(record) = loaded.upper.of(path, node) {
            return Ok(Some(record));
        }
        let by_path = loaded
            .layers
            .iter()
            .any(|owners| owners.get(path).is_some());
        let by_link = || Ok(links && self.linked(loaded)?.iter().any(|l| !l.is_empty()));
        if !by_path && !by_link()? {
            return Ok(None);
        }
        if let Some(stat) = self.upper.look(path)?
            && (!is_dir(&stat) || self.upper.is_opaque(path)?)
        {
            return Ok(None);
        }
        self.below(loaded, path)
    }

    /// The record of what shows of the layers alone.
    fn below<'a>(&self, loaded: &'a Loaded, path: &[u8]) -> Result<Option<&'a Record>, Error> {
        for (i, (layer, owners)) in self.layers.iter().zip(&loaded.layers).enumerate() {
            let Some(stat) = layer.look(path)? else {
                continue;
            };
            let mut record = owners.get(path);
            if record.is_none() && stat.st_nlink > 1 && !is_dir(&stat) {
                let first = self.linked(loaded)?[i].get(&stat.st_ino);
                record = first.and_then(|path| owners.get(path));
            }
            return Ok(record);
        }
        Ok(None)
    }

    /// The inode of what the container has at `path`. An overlay may show another number.
    pub fn node(&self, path: &[u8]) -> Result<Option<Node>, Error> {
        let fd = self.upper.open(path, OFlags::PATH)?;
        fd.map(|fd| Node::of_fd(fd).map_err(self.upper.failed(path)))
            .transpose()
    }

    /// Record what is to be known of a file of the upper directory, in memory and on disk, in place of what
    /// was. `node` is the inode after it was copied up; without one (a file system that has no numbers
    /// that last) the path counts. For the root's ownership of what a layer gives to another, the
    /// owner 0:0 is a record too.
    pub fn set(&mut self, path: &[u8], node: Option<Node>, record: Record) -> Result<(), Error> {
        let loaded = self.loaded()?;
        let sound = loaded.sound;
        let outdated = node.is_some() && loaded.upper.get(path).is_some();
        let journal = match &mut self.journal {
            Some(journal) => journal,
            none => none.insert(Journal::open(&self.upper.sidecar, sound)?),
        };
        journal.set(path, node, &record)?;
        if let Some(loaded) = self.loaded.get_mut() {
            loaded.upper.set(path, node, record);
        }
        if outdated {
            self.set(path, None, Record::default())?;
        }
        Ok(())
    }

    /// The upper directory began as a copy of the layers, which nobody has changed yet: make the
    /// container's sidecar say what theirs do, so that they are needed no more. Reads files that may shut
    /// out their owner.
    pub fn settle(&self) -> Result<(), Error> {
        let loaded = self.loaded()?;
        let mut journal = Journal::open(&self.upper.sidecar, loaded.sound)?;
        let mut links = HashMap::new();
        let paths = loaded
            .layers
            .iter()
            .flat_map(|l| l.iter().map(|(path, _)| path));
        for path in paths.collect::<BTreeSet<_>>() {
            let Some(record) = self.below(loaded, path)? else {
                continue;
            };
            let silent = record.owner.is_none() && record.xattrs.is_empty();
            let Some(file) = self.upper.open(path, OFlags::PATH)?.filter(|_| !silent) else {
                continue;
            };
            let failed = || self.upper.failed(path);
            let stat = fstat(&file).map_err(failed())?;
            if carries(&stat) {
                journal.set(path, None, record)?;
                if stat.st_nlink > 1 && !is_dir(&stat) {
                    links.insert(stat.st_ino, record);
                }
            } else {
                let node = Node::of_fd(&file).map_err(failed())?;
                journal.set(path, Some(node), record)?;
            }
        }
        self.settle_links(&links, &mut journal)
    }

    /// Only one name of a file has a record in a layer; in the copy each gets it.
    fn settle_links(
        &self,
        links: &HashMap<u64, &Record>,
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
        let (upper, sound) = Owners::read_journal(&self.upper.sidecar)?;
        let layers = self.layers.iter().map(|l| Owners::read(&l.sidecar));
        let loaded = Loaded {
            upper,
            sound,
            layers: layers.collect::<Result<_, _>>()?,
            links: OnceCell::new(),
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

/// Whether an inode takes user xattrs, and so its owner; then its number may change while its name does
/// not (overlay shows that of the layer from which it was copied up), and records are by path.
fn carries(stat: &Stat) -> bool {
    let file_type = rustix::fs::FileType::from_raw_mode(stat.st_mode);
    file_type.is_file() || file_type.is_dir()
}

fn is_dir(stat: &Stat) -> bool {
    rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir()
}

impl Layer {
    fn root(&self) -> Result<OwnedFd, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(CWD, &self.tree, flags, Mode::empty()).map_err(self.failed(b""))
    }

    /// Open a file as such, through no symlink; `None` when the tree does not have it.
    fn open(&self, path: &[u8], flags: OFlags) -> Result<Option<OwnedFd>, Error> {
        match trees::open_below(self.root()?, path, flags) {
            Ok(fd) => Ok(Some(fd)),
            // A parent that is something else here than in the layers above is as good as none.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(e) => Err(self.failed(path)(e)),
        }
    }

    fn look(&self, path: &[u8]) -> Result<Option<Stat>, Error> {
        let fd = self.open(path, OFlags::PATH)?;
        fd.map(|fd| fstat(fd).map_err(self.failed(path)))
            .transpose()
    }

    /// Whether a directory hides what lower layers have in it.
    fn is_opaque(&self, path: &[u8]) -> Result<bool, Error> {
        // fgetxattr(2) takes no O_PATH descriptor, and the directory's mode may forbid another. By name it
        // is no less exact: nothing is a link on the way in a layer, and in what a container writes the
        // worst that a race can do is another answer.
        let name = self.tree.join(OsStr::from_bytes(path));
        let mut value = [0u8; 8];
        match rustix::fs::lgetxattr(name, c"user.overlay.opaque", &mut value) {
            Ok(n) => Ok(value.get(..n) == Some(b"y")),
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE | Errno::NOENT | Errno::NOTDIR) => {
                Ok(false)
            }
            Err(e) => Err(self.failed(path)(e)),
        }
    }

    fn failed(&self, path: &[u8]) -> impl FnOnce(Errno) -> Error {
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
mod tests {
    use super::*;
    use crate::owners::{FileType, Owner, Writer};
    use rustix::fs::XattrFlags;
    use std::fs;
    use std::os::unix::fs::symlink;

    const DIRECTORY: bool = false;
    const LINKED: bool = true;

    fn owned(uid: u32) -> Record {
        Record {
            owner: Some(Owner {
                uid,
                gid: uid,
                mode: 0o777,
                file_type: FileType::Symlink,
            }),
            ..Record::default()
        }
    }

    /// Two layers, 0 being the top one, and an upper directory.
    struct Place(tempfile::TempDir);

    impl Place {
        fn new(fill: impl Fn(&mut [Writer; 2])) -> Self {
            let place = Self(tempfile::tempdir().unwrap());
            let mut writers = ["0", "1"].map(|n| {
                fs::create_dir(place.0.path().join(n)).unwrap();
                Writer::create(&place.layer(n).sidecar).unwrap()
            });
            fs::create_dir(place.0.path().join("up")).unwrap();
            fill(&mut writers);
            for writer in writers {
                writer.finish().unwrap();
            }
            place
        }

        fn layer(&self, name: &str) -> Layer {
            Layer {
                tree: self.0.path().join(name),
                sidecar: self.0.path().join(format!("{name}.owners")),
            }
        }

        fn view(&self) -> View {
            View::new(vec![self.layer("0"), self.layer("1")], self.layer("up"))
        }

        fn link(&self, path: &str) -> Node {
            let path = self.0.path().join(path);
            let _ = fs::remove_file(&path);
            symlink("x", &path).unwrap();
            self.node(path)
        }

        fn node(&self, path: PathBuf) -> Node {
            let flags = OFlags::PATH | OFlags::NOFOLLOW;
            let fd = openat(CWD, self.0.path().join(path), flags, Mode::empty()).unwrap();
            Node::of_fd(&fd).unwrap()
        }
    }

    #[track_caller]
    fn uid(view: &View, path: &str, node: Node, links: bool) -> Option<u32> {
        let record = view.get(path.as_bytes(), node, links).unwrap();
        record.map(|r| r.owner.unwrap().uid)
    }

    #[test]
    fn a_record_counts_for_the_tree_beside_it() {
        let place = Place::new(|[top, low]| {
            for path in [&b"both"[..], b"low", b"plain"] {
                low.own(path, &owned(1).owner.unwrap()).unwrap();
            }
            top.own(b"both", &owned(2).owner.unwrap()).unwrap();
        });
        let low = place.link("1/low");
        let both = [place.link("1/both"), place.link("0/both")][1];
        place.link("1/plain");
        let plain = place.link("0/plain");
        let view = place.view();
        assert_eq!(uid(&view, "low", low, false), Some(1));
        assert_eq!(uid(&view, "both", both, false), Some(2));
        assert_eq!(uid(&view, "plain", plain, false), None);
        // Replaced in the container, after the view has looked at it.
        let new = place.link("up/low");
        assert_eq!(uid(&view, "low", new, false), None);
    }

    #[test]
    fn the_containers_own_records_outlive_renames_and_processes() {
        let place = Place::new(|[_, low]| low.own(b"a", &owned(1).owner.unwrap()).unwrap());
        let lower = place.link("1/a");
        let mut view = place.view();
        assert!(!view.is_empty().unwrap());
        assert_eq!(uid(&view, "a", lower, false), Some(1));
        let new = place.link("up/a.new");
        view.set(b"a.new", Some(new), owned(7)).unwrap();
        let up = place.0.path().join("up");
        fs::rename(up.join("a.new"), up.join("a")).unwrap();
        for view in [view, place.view()] {
            assert_eq!(uid(&view, "a", new, false), Some(7));
        }
        let mut view = place.view();
        view.set(b"a", Some(new), Record::default()).unwrap();
        for view in [view, place.view()] {
            assert_eq!(uid(&view, "a", new, false), None);
        }
    }

    #[test]
    fn a_record_by_inode_takes_the_place_of_one_by_path() {
        let place = Place::new(|_| ());
        let up = place.0.path().join("up");
        fs::write(up.join("a"), "").unwrap();
        let mut view = place.view();
        let node = view.node(b"a").unwrap();
        view.set(b"a", None, owned(7)).unwrap();
        view.set(b"a", node, owned(8)).unwrap();
        fs::rename(up.join("a"), up.join("b")).unwrap();
        fs::write(up.join("a"), "").unwrap();
        for view in [view, place.view()] {
            for (path, want) in [("a", None), ("b", Some(8))] {
                let node = view.node(path.as_bytes()).unwrap().unwrap();
                assert_eq!(uid(&view, path, node, false), want);
            }
        }
    }

    #[test]
    fn a_directory_of_the_container_is_that_of_the_layer_below() {
        let place = Place::new(|[top, low]| {
            for path in [&b"d"[..], b"listed"] {
                low.own(path, &owned(1).owner.unwrap()).unwrap();
            }
            top.implied(b"listed").unwrap();
        });
        for dir in ["1/d", "0/listed", "1/listed", "up/d"] {
            fs::create_dir(place.0.path().join(dir)).unwrap();
        }
        let view = place.view();
        let node = |p: &str| place.node(p.into());
        assert_eq!(uid(&view, "d", node("up/d"), DIRECTORY), Some(1));
        let listed = view.get(b"listed", node("0/listed"), DIRECTORY).unwrap();
        assert!(listed.unwrap().owner.is_none());
        let (path, flags) = (place.0.path().join("up/d"), XattrFlags::empty());
        rustix::fs::setxattr(path, c"user.overlay.opaque", b"y", flags).unwrap();
        assert_eq!(uid(&view, "d", node("up/d"), DIRECTORY), None);
    }

    #[test]
    fn every_name_of_a_hard_link_has_the_record() {
        let place = Place::new(|[top, _]| top.own(b"z", &owned(5).owner.unwrap()).unwrap());
        let node = place.link("0/z");
        let tree = place.0.path().join("0");
        fs::hard_link(tree.join("z"), tree.join("a")).unwrap();
        let view = place.view();
        assert_eq!(uid(&view, "a", node, LINKED), Some(5));
        assert_eq!(uid(&view, "z", node, LINKED), Some(5));
        let other = place.link("0/other");
        assert_eq!(uid(&view, "other", other, LINKED), None);
    }

    #[test]
    fn layers_without_news_are_empty() {
        let place = Place::new(|[top, _]| top.implied(b"").unwrap());
        assert!(place.view().is_empty().unwrap());
    }
}
