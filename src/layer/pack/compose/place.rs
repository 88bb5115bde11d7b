//! Where things come to stand: the stack below and what the layer has so far, as one tree.

use std::collections::VecDeque;
use std::io::Write;
use std::os::fd::AsFd as _;

use rustix::fs::{FileType, OFlags, Stat};

use super::super::archive::{Entry, Kind};
use super::super::attrs::Attrs;
use super::super::{Error, Notes, Refusal};
use super::Composer;
use super::stack::{components, parent};
use crate::layer::name::join;
use crate::trees::open_below;

const LINKS_MAX: u32 = 40;

/// What the layer has under a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Written {
    Dir,
    Link(Vec<u8>),
    Other,
}

impl<W: Write> Composer<'_, '_, W> {
    /// What stands under a path whose parents are directories.
    fn standing(&self, path: &[u8]) -> Result<Option<Written>, Error> {
        if path.is_empty() {
            return Ok(Some(Written::Dir));
        }
        if let Some(written) = self.written.get(path) {
            return Ok(Some(written.clone()));
        }
        let Some(below) = self.onto.at(path)? else {
            return Ok(None);
        };
        Ok(Some(match FileType::from_raw_mode(below.stat.st_mode) {
            FileType::Directory => Written::Dir,
            FileType::Symlink => Written::Link(self.onto.link(&below)?),
            _ => Written::Other,
        }))
    }

    /// Where a path is, if its directories' symlinks are followed: what is not there yet will be there. With `last`
    /// that of the path itself, too, if it leads somewhere.
    fn resolved(&self, path: &[u8], last: bool) -> Result<Vec<u8>, Error> {
        let mut at: Vec<u8> = Vec::new();
        let mut todo: VecDeque<Vec<u8>> = components(path).collect();
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            if name == b".." {
                at.truncate(parent(&at).len());
                continue;
            }
            let next = join(&at, &name);
            match self.standing(&next)? {
                Some(Written::Link(target)) if last || !todo.is_empty() => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(Error::refused(path, Refusal::Loop));
                    }
                    if target.starts_with(b"/") {
                        at.clear();
                    }
                    for part in components(&target).collect::<Vec<_>>().into_iter().rev() {
                        todo.push_front(part);
                    }
                }
                _ => at = next,
            }
        }
        Ok(at)
    }

    /// The place of a file: its directories' symlinks are followed, and what has its name is replaced.
    pub(super) fn real(&self, path: &[u8]) -> Result<Vec<u8>, Error> {
        self.resolved(path, false)
    }

    /// Whether a path leads to a directory.
    pub(super) fn is_directory(&self, path: &[u8]) -> Result<bool, Error> {
        let path = self.resolved(path, true)?;
        Ok(self.standing(&path)? == Some(Written::Dir))
    }

    /// Where a path leads to.
    pub(super) fn led_to(&self, path: &[u8]) -> Result<Vec<u8>, Error> {
        self.resolved(path, true)
    }

    /// See to it that there is a directory, and return where. With `like`, that is what the layer says of it; else one
    /// that is there stays as it is.
    pub(super) fn directory(
        &mut self,
        path: &[u8],
        like: Option<(&Stat, &Attrs)>,
    ) -> Result<Vec<u8>, Error> {
        let path = self.resolved(path, true)?;
        match self.standing(&path)? {
            Some(Written::Dir) if like.is_none() || path.is_empty() => self.list(&path)?,
            Some(Written::Dir) | None => {
                self.list(parent(&path))?;
                match like {
                    Some((stat, attrs)) => self.entry(&path, Kind::Dir, stat, attrs)?,
                    None => self.new_directory(&path)?,
                }
                self.written.insert(path.clone(), Written::Dir);
            }
            Some(_) => return Err(Error::refused(&path, Refusal::OverFile)),
        }
        Ok(path)
    }

    /// A directory is listed once, after those above it.
    pub(super) fn list(&mut self, path: &[u8]) -> Result<(), Error> {
        if path.is_empty() || self.written.get(path) == Some(&Written::Dir) {
            return Ok(());
        }
        self.list(parent(path))?;
        match self.standing(path)? {
            Some(Written::Dir) => self.existing(path)?,
            None => self.new_directory(path)?,
            Some(_) => return Err(Error::refused(path, Refusal::OverFile)),
        }
        self.written.insert(path.to_vec(), Written::Dir);
        Ok(())
    }

    /// Before what is no directory: those above it, and none in its place.
    pub(super) fn begin(&mut self, path: &[u8], what: Written) -> Result<(), Error> {
        if path.is_empty() || self.standing(path)? == Some(Written::Dir) {
            return Err(Error::refused(path, Refusal::OverDirectory));
        }
        self.list(parent(path))?;
        self.written.insert(path.to_vec(), what);
        Ok(())
    }

    /// As docker makes those that are missing on the way.
    fn new_directory(&mut self, path: &[u8]) -> Result<(), Error> {
        let (uid, gid) = self.c.owner.unwrap_or((0, 0));
        let entry = Entry {
            path,
            kind: Kind::Dir,
            mode: 0o755,
            uid,
            gid,
            mtime: self.clamped(self.c.now),
            xattrs: &[],
        };
        self.archive.entry(&entry).map_err(Error::Output)
    }

    /// The word of the stack below, as overlay copies it up.
    fn existing(&mut self, path: &[u8]) -> Result<(), Error> {
        let Some(below) = self.onto.at(path)? else {
            return self.new_directory(path);
        };
        let tree = below.trees.first().copied().unwrap_or_default();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let fd =
            open_below(&self.onto.roots[tree], path, flags).map_err(Error::sys("openat2", path))?;
        let attrs = self.reader.read(
            &self.onto.trees[tree],
            fd.as_fd(),
            path,
            &below.stat,
            &mut Notes::default(),
        )?;
        let entry = Entry {
            path,
            kind: Kind::Dir,
            mode: below.stat.st_mode & 0o7777,
            uid: attrs.uid,
            gid: attrs.gid,
            mtime: self.clamped(below.stat.st_mtime),
            xattrs: &attrs.xattrs,
        };
        self.archive.entry(&entry).map_err(Error::Output)
    }
}
