//! The walk through one tree or a stack. See [`super`] for what becomes of what.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, openat, readlinkat};
use rustix::io::Errno;

use super::archive::{Archive, Entry, Kind};
use super::attrs::{Attrs, Reader};
use super::changes::{Change, Comparer, Written};
use super::content::{self, Map};
use super::tree::Opened;
use super::{Error, Note, Notes, Options, Refusal};
use crate::layer::name::{OPAQUE, WHITEOUT, join};
use crate::owners::FileType as Recorded;
use crate::trees::{Name, is_opaque, merge, open_dir};

/// As the kernel's PATH_MAX, and as unpacking takes them.
const PATH_MAX: usize = 4096;

/// What a walk has found, besides the tar.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Done {
    pub(super) entries: u64,
    pub(super) notes: Notes,
}

/// What is wanted of the trees.
pub(super) enum Wanted {
    /// The one tree, with its whiteouts.
    Layer {
        /// The tree below, for comparing the root directory.
        below: Option<Opened>,
    },
    /// What shows.
    Whole,
    /// What the first differs in from what shows of the others.
    Changes,
    /// No tar, but a letter, a path and a NUL for each change.
    List(Written),
}

/// A directory that waits: its path, and the trees that take part in it, the top one first.
struct Task {
    path: Vec<u8>,
    trees: Vec<usize>,
}

/// Walk, and write what is wanted to `out`.
pub(super) fn walk(
    trees: &[Opened],
    wanted: &Wanted,
    options: &Options,
    mut out: impl Write,
) -> Result<Done, Error> {
    let roots = trees.iter().map(|tree| {
        let root = rustix::io::fcntl_dupfd_cloexec(&tree.root, 0);
        root.map_err(Error::sys("fcntl", b""))
    });
    let roots = &roots.collect::<Result<Vec<_>, _>>()?;
    if let Wanted::List(written) = wanted {
        list(Comparer::new(trees, roots, *written), &mut out)?;
        out.flush().map_err(Error::Output)?;
        return Ok(Done::default());
    }
    let mut walker = Walker {
        trees,
        roots,
        wanted,
        options,
        archive: Archive::new(out),
        reader: Reader::new(),
        links: HashMap::new(),
        buffer: Vec::new(),
        notes: Notes::default(),
    };
    match wanted {
        Wanted::Changes => walker.changes(Comparer::new(trees, roots, Written::Copy))?,
        _ => walker.everything()?,
    }
    let done = Done {
        entries: walker.archive.entries,
        notes: walker.notes,
    };
    walker.archive.finish().map_err(Error::Output)?;
    Ok(done)
}

/// Write a line for each change. A directory in which something changed counts as changed, too.
fn list(mut comparer: Comparer<'_>, out: &mut impl Write) -> Result<(), Error> {
    let mut parents = Parents::default();
    let mut todo = vec![comparer.root()?];
    while let Some(task) = todo.pop() {
        let found = match comparer.directory(&task) {
            // A container may run meanwhile.
            Err(Error::Sys { source, .. }) if !task.path.is_empty() && is_gone(source) => continue,
            found => found?,
        };
        for (name, change) in &found.names {
            let path = join(&task.path, name);
            let mut line = |path: &[u8], change: Change| {
                let line = [&[change.letter() as u8], path, b"\0"].concat();
                out.write_all(&line).map_err(Error::Output)
            };
            for parent in parents.before(&path) {
                line(&parent, Change::Changed)?;
            }
            let is_dir = matches!(found.own.names.get(name), Some(Name::Dir { .. }));
            if !is_dir || parents.once(&path) {
                line(&path, *change)?;
            }
        }
        todo.extend(found.below.into_iter().rev());
    }
    Ok(())
}

/// Directories that were told already.
#[derive(Default)]
struct Parents(HashSet<Vec<u8>>);

impl Parents {
    /// `true` the first time.
    fn once(&mut self, path: &[u8]) -> bool {
        self.0.insert(path.to_vec())
    }

    /// The directories above `path` but the root that were not told, the topmost first; now they are.
    fn before(&mut self, path: &[u8]) -> Vec<Vec<u8>> {
        let slashes = path.iter().enumerate().filter(|(_, b)| **b == b'/');
        let above = slashes.map(|(i, _)| &path[..i]);
        above
            .filter(|p| self.0.insert(p.to_vec()))
            .map(<[u8]>::to_vec)
            .collect()
    }
}

struct Walker<'a, W> {
    trees: &'a [Opened],
    roots: &'a [OwnedFd],
    wanted: &'a Wanted,
    options: &'a Options,
    archive: Archive<W>,
    reader: Reader,
    /// First names of files with several, and how many names are still to come: by tree, device, inode.
    links: HashMap<(usize, u64, u64), (Vec<u8>, usize)>,
    buffer: Vec<u8>,
    notes: Notes,
}

/// An open file and what it is.
struct Opening {
    fd: OwnedFd,
    stat: Stat,
}

impl<W: Write> Walker<'_, W> {
    fn everything(&mut self) -> Result<(), Error> {
        let mut taking_part = Vec::new();
        for (i, root) in self.roots.iter().enumerate() {
            taking_part.push(i);
            if is_opaque(root.as_fd()).map_err(Error::sys("getxattr", b""))? {
                break;
            }
        }
        let mut todo = vec![Task {
            path: Vec::new(),
            trees: taking_part,
        }];
        while let Some(task) = todo.pop() {
            let result = self.directory(&task, &mut todo);
            self.unless_gone(&task.path, result)?;
        }
        Ok(())
    }

    /// What vanishes while a container runs is noted, and no error; but the root cannot.
    fn unless_gone(&mut self, path: &[u8], result: Result<(), Error>) -> Result<(), Error> {
        match result {
            Err(Error::Sys { source, .. }) if !path.is_empty() && is_gone(source) => {
                self.notes.add(path, Note::Vanished);
                Ok(())
            }
            result => result,
        }
    }

    /// The changes of a copy against its original.
    fn changes(&mut self, mut comparer: Comparer<'_>) -> Result<(), Error> {
        let mut parents = Parents::default();
        if comparer.root_differs()? {
            self.listed(0, b"")?;
        }
        let mut todo = vec![comparer.root()?];
        while let Some(task) = todo.pop() {
            let found = match comparer.directory(&task) {
                Ok(found) => found,
                Err(e) => {
                    self.unless_gone(&task.path, Err(e))?;
                    continue;
                }
            };
            for (name, change) in &found.names {
                let path = join(&task.path, name);
                for parent in parents.before(&path) {
                    self.listed(0, &parent)?;
                }
                let result = match (change, found.own.names.get(name), found.own.dir(0)) {
                    (Change::Deleted, ..) => {
                        self.marker(&join(&task.path, &[WHITEOUT, name].concat()))
                    }
                    (_, Some(Name::Dir { .. }), _) if parents.once(&path) => self.listed(0, &path),
                    (_, Some(Name::File { stat, .. }), Some(dir)) => {
                        self.file(0, dir, name, &path, stat)
                    }
                    _ => Ok(()),
                };
                self.unless_gone(&path, result)?;
            }
            todo.extend(found.below.into_iter().rev());
        }
        Ok(())
    }

    /// The entry of a directory alone.
    fn listed(&mut self, tree: usize, path: &[u8]) -> Result<(), Error> {
        let fd = open_dir(&self.roots[tree], path).map_err(Error::sys("openat2", path))?;
        let stat = fstat(&fd).map_err(Error::sys("fstat", path))?;
        let dir = Opening { fd, stat };
        let attrs = self.attrs(tree, &dir, path)?;
        self.entry(path, Kind::Dir, &dir.stat, &attrs)
    }

    /// A directory, what it hides, its files; its directories wait.
    fn directory(&mut self, task: &Task, todo: &mut Vec<Task>) -> Result<(), Error> {
        let roots = self.roots;
        let path = task.path.as_slice();
        let Some(&top) = task.trees.first() else {
            return Ok(());
        };
        let fd = open_dir(&roots[top], path).map_err(Error::sys("openat2", path))?;
        let stat = fstat(&fd).map_err(Error::sys("fstat", path))?;
        let opaque = is_opaque(fd.as_fd()).map_err(Error::sys("getxattr", path))?;
        // Before anything is written, so that one that vanishes leaves no trace.
        let merged = merge(roots, path, &task.trees)
            .map_err(|(call, path, e)| Error::sys(call, &path)(e))?;
        let dir = Opening { fd, stat };
        let attrs = self.attrs(top, &dir, path)?;
        if self.lists(top, &dir, path, &attrs)? {
            self.entry(path, Kind::Dir, &dir.stat, &attrs)?;
        }
        if let Wanted::Layer { .. } = self.wanted {
            if opaque {
                self.marker(&join(path, OPAQUE))?;
            }
            for name in &merged.hidden {
                self.marker(&join(path, &[WHITEOUT, name].concat()))?;
            }
        }
        let mut below = Vec::new();
        for (name, what) in &merged.names {
            let path = join(path, name);
            if path.len() >= PATH_MAX {
                return Err(Error::refused(&path, Refusal::PathTooLong));
            }
            match what {
                Name::Dir { layers, .. } => below.push(Task {
                    path,
                    trees: layers.clone(),
                }),
                Name::File { layer, stat } => {
                    // Always there: the name was read from it.
                    let Some(dir) = merged.dir(*layer) else {
                        continue;
                    };
                    let result = self.file(*layer, dir, name, &path, stat);
                    self.unless_gone(&path, result)?;
                }
            }
        }
        todo.extend(below.into_iter().rev());
        Ok(())
    }

    /// Whether a directory has an entry of its own.
    fn lists(
        &mut self,
        tree: usize,
        dir: &Opening,
        path: &[u8],
        attrs: &Attrs,
    ) -> Result<bool, Error> {
        let Wanted::Layer { below } = self.wanted else {
            return Ok(true);
        };
        if let Some(record) = self.trees[tree].record(path, &dir.fd, &dir.stat)?
            && record.implied
        {
            return Ok(false);
        }
        let Some(below) = below.as_ref().filter(|_| path.is_empty()) else {
            return Ok(!path.is_empty() || !self.trees[tree].is_container());
        };
        let stat = fstat(&below.root).map_err(Error::sys("fstat", path))?;
        let theirs = self.reader.read(
            below,
            below.root.as_fd(),
            path,
            &stat,
            &mut Notes::default(),
        )?;
        Ok(stat.st_mode != dir.stat.st_mode || theirs != *attrs)
    }

    fn attrs(&mut self, tree: usize, file: &Opening, path: &[u8]) -> Result<Attrs, Error> {
        let tree = &self.trees[tree];
        self.reader
            .read(tree, file.fd.as_fd(), path, &file.stat, &mut self.notes)
    }

    /// What is no directory.
    fn file(
        &mut self,
        tree: usize,
        dir: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        seen: &Stat,
    ) -> Result<(), Error> {
        let file_type = FileType::from_raw_mode(seen.st_mode);
        if file_type == FileType::Socket {
            self.notes.add(path, Note::Socket);
            return Ok(());
        }
        // Nothing else may be opened: a fifo would wait, a device might act.
        let flags = match file_type {
            FileType::RegularFile => OFlags::RDONLY | OFlags::NONBLOCK,
            _ => OFlags::PATH,
        };
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(dir, name, flags, Mode::empty()).map_err(Error::sys("openat", path))?;
        let stat = fstat(&fd).map_err(Error::sys("fstat", path))?;
        if FileType::from_raw_mode(stat.st_mode) != file_type {
            // Replaced since it was listed; as if it had been removed.
            return Err(Error::sys("openat", path)(Errno::NOENT));
        }
        let file = Opening { fd, stat };
        let inode = (tree, file.stat.st_dev, file.stat.st_ino);
        if let Some((first, more)) = self.links.get_mut(&inode) {
            let first = first.clone();
            *more -= 1;
            if *more == 0 {
                self.links.remove(&inode);
            }
            let attrs = Attrs {
                xattrs: Vec::new(),
                ..self.attrs(tree, &file, path)?
            };
            return self.entry(path, Kind::HardLink(&first), &file.stat, &attrs);
        }
        let attrs = self.attrs(tree, &file, path)?;
        match (file_type, attrs.device) {
            (_, Some(Recorded::Char(major, minor))) => {
                self.entry(path, Kind::Char(major, minor), &file.stat, &attrs)?;
            }
            (_, Some(Recorded::Block(major, minor))) => {
                self.entry(path, Kind::Block(major, minor), &file.stat, &attrs)?;
            }
            (FileType::RegularFile, _) => self.regular(&file, path, &attrs)?,
            (FileType::Symlink, _) => {
                let target = readlinkat(&file.fd, c"", Vec::new())
                    .map_err(Error::sys("readlinkat", path))?;
                self.entry(path, Kind::Symlink(target.to_bytes()), &file.stat, &attrs)?;
            }
            (FileType::Fifo, _) => self.entry(path, Kind::Fifo, &file.stat, &attrs)?,
            (FileType::CharacterDevice, _) => {
                let kind = Kind::Char(major(&file.stat), minor(&file.stat));
                self.entry(path, kind, &file.stat, &attrs)?;
            }
            (FileType::BlockDevice, _) => {
                let kind = Kind::Block(major(&file.stat), minor(&file.stat));
                self.entry(path, kind, &file.stat, &attrs)?;
            }
            // No file system has others.
            _ => self.notes.add(path, Note::Vanished),
        }
        // Only now: a link needs what it leads to.
        if file.stat.st_nlink > 1 {
            let more = usize::try_from(file.stat.st_nlink).map_or(usize::MAX, |n| n - 1);
            self.links.insert(inode, (path.to_vec(), more));
        }
        Ok(())
    }

    fn regular(&mut self, file: &Opening, path: &[u8], attrs: &Attrs) -> Result<(), Error> {
        let map = Map::of(file.fd.as_fd(), &file.stat);
        let kind = Map::kind(map.as_ref(), &file.stat);
        self.entry(path, kind, &file.stat, attrs)?;
        let (archive, buffer) = (&mut self.archive, &mut self.buffer);
        if !content::write(archive, file.fd.as_fd(), map.as_ref(), path, buffer)? {
            self.notes.add(path, Note::Shrank);
        }
        Ok(())
    }

    fn entry(
        &mut self,
        path: &[u8],
        kind: Kind<'_>,
        stat: &Stat,
        attrs: &Attrs,
    ) -> Result<(), Error> {
        let entry = Entry {
            path,
            kind,
            mode: stat.st_mode & 0o7777,
            uid: attrs.uid,
            gid: attrs.gid,
            mtime: self.mtime(stat),
            xattrs: &attrs.xattrs,
        };
        self.archive.entry(&entry).map_err(Error::Output)
    }

    /// An empty file that says something about lower layers. Not every form of it on disk has a time, and
    /// nobody reads it: always the same.
    fn marker(&mut self, path: &[u8]) -> Result<(), Error> {
        let entry = Entry {
            path,
            kind: Kind::File(0),
            mode: 0o600,
            uid: 0,
            gid: 0,
            mtime: 0,
            xattrs: &[],
        };
        self.archive.entry(&entry).map_err(Error::Output)
    }

    /// Nanoseconds count forward, so leaving them out rounds down, also before 1970.
    fn mtime(&self, stat: &Stat) -> i64 {
        let clamp = self.options.clamp.unwrap_or(i64::MAX);
        stat.st_mtime.min(clamp)
    }
}

fn major(stat: &Stat) -> u32 {
    rustix::fs::major(stat.st_rdev)
}

fn minor(stat: &Stat) -> u32 {
    rustix::fs::minor(stat.st_rdev)
}

fn is_gone(e: Errno) -> bool {
    matches!(e, Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::STALE)
}
