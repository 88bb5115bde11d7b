//! A layer of files that are copied from one stack of trees onto another: `COPY`, `ADD` and `WORKDIR` of a
//! Containerfile, without mounting either and without writing a file twice.
//!
//! What a root build would have in its overlay's upper directory stands in the tar: the files, and each directory
//! above them, with what the stack below says of it. Paths lead through the symlinks of the stack they are in, and
//! never out of it. It is done as root of a user namespace, as all packing ([`super`]).

mod place;
mod stack;
mod untar;

use std::collections::HashMap;
use std::io::Write;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, openat, readlinkat};

use super::archive::{Archive, Entry, Kind};
use super::attrs::{Attrs, Reader};
use super::content::{self, Map};
use super::tree::{Opened, Tree};
use super::walk::Done;
use super::{Error, Note, Notes, Options, Packed, Refusal, child};
use crate::layer::compress::Sink;
use crate::layer::name::join;
use crate::trees::{Name, merge, open_below};
use place::Written;
use stack::{Located, Stack};

/// As the kernel's PATH_MAX.
const PATH_MAX: usize = 4096;

/// What to copy, and where to.
pub struct Composition<'a> {
    /// What is there already, the topmost first.
    pub onto: &'a [Tree],
    /// What files are taken from, the topmost first.
    pub from: &'a [Tree],
    /// They are the caller's own and no image's: root's in the layer, without devices and ACLs.
    pub foreign: bool,
    /// In their order.
    pub pieces: Vec<Piece<'a>>,
    /// Where to, from the root.
    pub target: Vec<u8>,
    /// The target is a directory, whether or not it is there.
    pub into: bool,
    /// Owner and group of all that is new; else as in `from`, and root's.
    pub owner: Option<(u32, u32)>,
    /// Mode of what is copied, from the one it has; the second is whether it is a directory.
    pub mode: &'a dyn Fn(u32, bool) -> u32,
    /// What is left out: by the path below the root of `from`, and below the source that was named.
    pub ignored: &'a dyn Fn(&[u8], &[u8]) -> bool,
    /// Nothing below a directory that is left out is there after all.
    pub ignored_whole: bool,
    /// The time of what has none, in seconds since 1970.
    pub now: i64,
}

/// One source.
pub enum Piece<'a> {
    /// Files of `from`.
    Found {
        /// From its root.
        path: Vec<Component<'a>>,
        /// As it was written, for messages.
        text: &'a str,
        /// A tar is unpacked.
        unpack: bool,
    },
    /// A document.
    Bytes {
        /// Its name.
        name: &'a str,
        /// What it says.
        content: &'a [u8],
    },
}

/// Whether a name is one of those that are meant.
pub type Accepts<'a> = Box<dyn Fn(&[u8]) -> bool + 'a>;

/// A part of a path.
pub enum Component<'a> {
    /// A name, or `..`.
    Name(Vec<u8>),
    /// All names that are accepted.
    Matching(Accepts<'a>),
}

/// Write the layer. An empty one has no entries.
///
/// A child is forked; see [`sys::fork`](crate::sys::fork) for callers of several threads.
pub fn compose(c: &Composition<'_>, out: impl Write, options: &Options) -> Result<Packed, Error> {
    let onto = super::open(c.onto)?;
    let from = super::open(c.from)?;
    let mut sink = Sink::new(out, options.compression).map_err(Error::Output)?;
    let done = child::as_root(&mut sink, |out| {
        let mut composer = Composer::new(c, &onto, &from, options, out)?;
        composer.all()?;
        composer.finish()
    })?;
    let sums = sink.finish().map_err(Error::Output)?;
    Ok(Packed::of(sums, done))
}

struct Composer<'c, 'a, W> {
    c: &'c Composition<'a>,
    onto: Stack<'c>,
    from: Stack<'c>,
    options: &'c Options,
    archive: Archive<W>,
    reader: Reader,
    /// What the layer has so far.
    written: HashMap<Vec<u8>, Written>,
    /// First names in the layer of files with several: by tree, device, inode.
    links: HashMap<(usize, u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
    notes: Notes,
}

/// A file that is about to be written.
struct Opening {
    fd: OwnedFd,
    stat: Stat,
    tree: usize,
}

impl<'c, 'a, W: Write> Composer<'c, 'a, W> {
    fn new(
        c: &'c Composition<'a>,
        onto: &'c [Opened],
        from: &'c [Opened],
        options: &'c Options,
        out: W,
    ) -> Result<Self, Error> {
        Ok(Self {
            c,
            onto: Stack::new(onto)?,
            from: Stack::new(from)?,
            options,
            archive: Archive::new(out),
            reader: Reader::new(),
            written: HashMap::new(),
            links: HashMap::new(),
            buffer: Vec::new(),
            notes: Notes::default(),
        })
    }

    fn finish(self) -> Result<Done, Error> {
        let done = Done {
            entries: self.archive.entries,
            notes: self.notes,
        };
        self.archive.finish().map_err(Error::Output)?;
        Ok(done)
    }

    fn all(&mut self) -> Result<(), Error> {
        let mut found = Vec::new();
        for piece in &self.c.pieces {
            if let Piece::Found { path, text, unpack } = piece {
                let matches = self.matches(path)?;
                let matches: Vec<_> = matches
                    .into_iter()
                    .filter(|l| !self.is_left_out(l))
                    .collect();
                if matches.is_empty() {
                    return Err(Error::refused(text.as_bytes(), Refusal::NoSource));
                }
                found.push((matches, *unpack));
            }
        }
        let documents = self.c.pieces.len() - found.len();
        let several = documents + found.iter().map(|(m, _)| m.len()).sum::<usize>() > 1;
        let into = self.c.into || several;
        if self.c.pieces.is_empty() {
            self.directory(&self.c.target, None)?;
        }
        for (matches, unpack) in found {
            for source in matches {
                // Two copies of one file are no links to each other.
                self.links.clear();
                self.source(&source, into, unpack)?;
            }
        }
        for piece in &self.c.pieces {
            if let Piece::Bytes { name, content } = piece {
                self.document(name, content, into)?;
            }
        }
        Ok(())
    }

    /// A source of which nothing is part of the build. The root always is, whatever patterns say.
    fn is_left_out(&self, source: &Located) -> bool {
        let below: &[u8] = if source.is_dir() { b"" } else { &source.name };
        !source.path.is_empty()
            && (self.c.ignored_whole || !source.is_dir())
            && (self.c.ignored)(&source.path, below)
    }

    /// The path of a file that is copied to the target.
    fn target(&mut self, name: &[u8], into: bool) -> Result<Vec<u8>, Error> {
        let target = &self.c.target;
        match into || self.is_directory(target)? {
            true => self.real(&join(target, name)),
            // A link that is named is followed, one that is met is replaced.
            false => self.led_to(target),
        }
    }

    fn document(&mut self, name: &str, content: &[u8], into: bool) -> Result<(), Error> {
        let path = self.target(name.as_bytes(), into)?;
        self.begin(&path, Written::Other)?;
        let (uid, gid) = self.c.owner.unwrap_or((0, 0));
        let entry = Entry {
            path: &path,
            kind: Kind::File(content.len() as u64),
            mode: (self.c.mode)(0o644, false),
            uid,
            gid,
            mtime: self.clamped(self.c.now),
            xattrs: &[],
        };
        self.archive.entry(&entry).map_err(Error::Output)?;
        self.archive.data(content).map_err(Error::Output)
    }

    /// One thing that is named: a directory's contents, or a file.
    fn source(&mut self, source: &Located, into: bool, unpack: bool) -> Result<(), Error> {
        if source.is_dir() {
            let target = self.c.target.clone();
            let at = self.directory(&target, None)?;
            return self.contents(source, &at);
        }
        let file = self.open(source)?;
        if unpack && FileType::from_raw_mode(file.stat.st_mode).is_file() && untar::is_tar(&file.fd)
        {
            let target = self.c.target.clone();
            let at = self.directory(&target, None)?;
            return self.unpack(&file, &source.path, &at);
        }
        let path = self.target(&source.name, into)?;
        self.file(&file, &source.path, &path)
    }

    /// All that is in a directory, into another one.
    fn contents(&mut self, source: &Located, at: &[u8]) -> Result<(), Error> {
        let length = source.path.len() + usize::from(!source.path.is_empty());
        let mut todo = vec![(source.path.clone(), source.trees.clone(), at.to_vec())];
        while let Some((path, trees, at)) = todo.pop() {
            let merged = merge(&self.from.roots, &path, &trees)
                .map_err(|(call, path, e)| Error::sys(call, &path)(e))?;
            let mut below = Vec::new();
            for (name, what) in &merged.names {
                let (from, to) = (join(&path, name), join(&at, name));
                if from.len() >= PATH_MAX || to.len() >= PATH_MAX {
                    return Err(Error::refused(&from, Refusal::PathTooLong));
                }
                let ignored = (self.c.ignored)(&from, &from[length..]);
                match what {
                    Name::Dir { layers, stat } => {
                        if !ignored {
                            let tree = layers.first().copied().unwrap_or_default();
                            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                            let fd = open_below(&self.from.roots[tree], &from, flags)
                                .map_err(Error::sys("openat2", &from))?;
                            let dir = Opening {
                                fd,
                                stat: **stat,
                                tree,
                            };
                            let attrs = self.attrs(&dir, &from)?;
                            let to = self.directory(&to, Some((&dir.stat, &attrs)))?;
                            below.push((from, layers.clone(), to));
                        } else if !self.c.ignored_whole {
                            // Something in it may be wanted, and makes it then.
                            below.push((from, layers.clone(), to));
                        }
                    }
                    Name::File { .. } if ignored => {}
                    Name::File { layer, stat } => {
                        let Some(dir) = merged.dir(*layer) else {
                            continue;
                        };
                        let file = self.opened(dir, name, &from, stat, *layer)?;
                        let to = self.real(&to)?;
                        self.file(&file, &from, &to)?;
                    }
                }
            }
            todo.extend(below.into_iter().rev());
        }
        Ok(())
    }

    fn opened(
        &self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        seen: &Stat,
        tree: usize,
    ) -> Result<Opening, Error> {
        // Nothing else may be opened: a fifo would wait, a device might act.
        let flags = match FileType::from_raw_mode(seen.st_mode) {
            FileType::RegularFile => OFlags::RDONLY | OFlags::NONBLOCK,
            _ => OFlags::PATH,
        };
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(dir, name, flags, Mode::empty()).map_err(Error::sys("openat", path))?;
        let stat = fstat(&fd).map_err(Error::sys("fstat", path))?;
        Ok(Opening { fd, stat, tree })
    }

    fn open(&self, source: &Located) -> Result<Opening, Error> {
        let tree = source.trees.first().copied().unwrap_or_default();
        let flags = match FileType::from_raw_mode(source.stat.st_mode) {
            FileType::RegularFile => OFlags::RDONLY | OFlags::NONBLOCK,
            FileType::Directory => OFlags::RDONLY | OFlags::DIRECTORY,
            _ => OFlags::PATH,
        };
        let fd = open_below(&self.from.roots[tree], &source.path, flags)
            .map_err(Error::sys("openat2", &source.path))?;
        let stat = fstat(&fd).map_err(Error::sys("fstat", &source.path))?;
        Ok(Opening { fd, stat, tree })
    }

    /// What the layer says of a file that is copied.
    fn attrs(&mut self, file: &Opening, path: &[u8]) -> Result<Attrs, Error> {
        let (fd, notes) = (file.fd.as_fd(), &mut self.notes);
        let mut attrs = match self.c.foreign {
            true => self.reader.of_a_stranger(fd, path, &file.stat, notes)?,
            false => {
                let tree = &self.from.trees[file.tree];
                self.reader.read(tree, fd, path, &file.stat, notes)?
            }
        };
        if let Some(owner) = self.c.owner {
            (attrs.uid, attrs.gid) = owner;
        }
        Ok(attrs)
    }

    /// What is no directory. `path`: in `from`; `to`: in the layer, without symlinks but perhaps itself.
    fn file(&mut self, file: &Opening, path: &[u8], to: &[u8]) -> Result<(), Error> {
        let file_type = FileType::from_raw_mode(file.stat.st_mode);
        if file_type == FileType::Socket {
            self.notes.add(path, Note::Socket);
            return Ok(());
        }
        self.begin(to, Written::Other)?;
        let inode = (file.tree, file.stat.st_dev, file.stat.st_ino);
        if file.stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&inode).filter(|first| *first != to) {
                let first = first.clone();
                let attrs = Attrs {
                    xattrs: Vec::new(),
                    ..self.attrs(file, path)?
                };
                return self.entry(to, Kind::HardLink(&first), &file.stat, &attrs);
            }
            self.links.insert(inode, to.to_vec());
        }
        let attrs = self.attrs(file, path)?;
        match (file_type, attrs.device) {
            (_, Some(crate::owners::FileType::Char(major, minor))) => {
                self.entry(to, Kind::Char(major, minor), &file.stat, &attrs)
            }
            (_, Some(crate::owners::FileType::Block(major, minor))) => {
                self.entry(to, Kind::Block(major, minor), &file.stat, &attrs)
            }
            (FileType::RegularFile, _) => self.regular(file, path, to, &attrs),
            (FileType::Symlink, _) => {
                let target = readlinkat(&file.fd, c"", Vec::new())
                    .map_err(Error::sys("readlinkat", path))?;
                let target = target.to_bytes();
                self.written
                    .insert(to.to_vec(), Written::Link(target.to_vec()));
                self.entry(to, Kind::Symlink(target), &file.stat, &attrs)
            }
            (FileType::Fifo, _) => self.entry(to, Kind::Fifo, &file.stat, &attrs),
            _ => Err(Error::refused(path, Refusal::Device)),
        }
    }

    fn regular(
        &mut self,
        file: &Opening,
        path: &[u8],
        to: &[u8],
        attrs: &Attrs,
    ) -> Result<(), Error> {
        let map = Map::of(file.fd.as_fd(), &file.stat);
        let kind = Map::kind(map.as_ref(), &file.stat);
        self.entry(to, kind, &file.stat, attrs)?;
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
        let mode = stat.st_mode & 0o7777;
        let mode = match kind {
            // That of a link says nothing.
            Kind::Symlink(_) => mode,
            kind => (self.c.mode)(mode, kind == Kind::Dir),
        };
        let entry = Entry {
            path,
            kind,
            mode,
            uid: attrs.uid,
            gid: attrs.gid,
            mtime: self.clamped(stat.st_mtime),
            xattrs: &attrs.xattrs,
        };
        self.archive.entry(&entry).map_err(Error::Output)
    }

    fn clamped(&self, mtime: i64) -> i64 {
        mtime.min(self.options.clamp.unwrap_or(i64::MAX))
    }
}
