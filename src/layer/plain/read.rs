//! Files to a tar.

use std::collections::HashMap;
use std::io::Write;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Stat, fgetxattr, flistxattr, fstat, major, minor, openat,
    readlinkat, statat,
};
use rustix::io::Errno;

use super::super::pack::archive::{Archive, Entry, Kind, Xattrs};
use super::super::pack::{Note, Notes, content};
use super::{Error, goes_along};
use crate::trees::{join, open_dir};

/// The kernel's limits for the list of names and for a value (xattr(7)).
const XATTR_MAX: usize = 64 << 10;
/// No path of the kernel's is longer, and no reader of ours takes one.
const PATH_MAX: usize = 4096;

/// What is read: a name in an open directory, which is no symbolic link that is to be followed; or without a name,
/// the directory.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// May be open as a path only.
    pub dir: BorrowedFd<'a>,
    /// One component.
    pub name: Option<&'a [u8]>,
}

/// Whose files are in a tar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ShownOwners {
    /// Whose they are.
    #[default]
    Own,
    /// This user's and group's.
    One(u32, u32),
    /// Root's if they are this user's, as in a container of his; nobody's else. The same for the group.
    Mapped(u32, u32),
}

/// No id of a container (user_namespaces(7)).
const NOBODY: u32 = 65534;

impl ShownOwners {
    fn of(self, stat: &Stat) -> (u32, u32) {
        let mapped = |id, mine| if id == mine { 0 } else { NOBODY };
        match self {
            Self::Own => (stat.st_uid, stat.st_gid),
            Self::One(uid, gid) => (uid, gid),
            Self::Mapped(uid, gid) => (mapped(stat.st_uid, uid), mapped(stat.st_gid, gid)),
        }
    }
}

/// How it is read.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// What it is called in the tar. `None`: a directory, and only what is in it.
    pub name: Option<Vec<u8>>,
    /// Owner and group in the tar.
    pub owners: ShownOwners,
    /// Names in the directory that are left out.
    pub without: Vec<&'static [u8]>,
    /// What may not be read is noted and left out, unless it is all there is.
    pub lenient: bool,
}

/// Write a tar of `source` to `out`.
///
/// # Errors
/// Those of the source, and of what it is written to. What is removed meanwhile is noted.
pub fn read(source: Source<'_>, reading: &Reading, out: impl Write) -> Result<Notes, Error> {
    let mut reader = Reader {
        reading,
        archive: Archive::new(out),
        links: HashMap::new(),
        buffer: Vec::new(),
        notes: Notes::default(),
    };
    let top = reading.name.clone().unwrap_or_default();
    match open_source(source, &top)? {
        Some(dir) => reader.tree(&dir, &top)?,
        None => {
            let name = source.name.unwrap_or_default();
            let stat = statat(source.dir, name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(Error::sys("read", &top))?;
            // It was none a moment ago. Whoever put it there must not choose where the copy's name leads.
            if FileType::from_raw_mode(stat.st_mode).is_symlink() {
                return Err(Error::sys("read", &top)(Errno::STALE));
            }
            reader.file(source.dir, name, &top, &stat)?;
        }
    }
    reader.archive.finish().map_err(Error::Output)?;
    Ok(reader.notes)
}

/// The directory that the source is, if it is one.
fn open_source(source: Source<'_>, top: &[u8]) -> Result<Option<OwnedFd>, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let name = source.name.unwrap_or(b".");
    match openat(source.dir, name, flags, Mode::empty()) {
        Ok(dir) => Ok(Some(dir)),
        Err(Errno::NOTDIR | Errno::LOOP) if source.name.is_some() => Ok(None),
        Err(e) => Err(Error::sys("open", top)(e)),
    }
}

struct Reader<'a, W> {
    reading: &'a Reading,
    archive: Archive<W>,
    /// First names of files with several, and how many names are still to come: by device and inode.
    links: HashMap<(u64, u64), (Vec<u8>, u64)>,
    buffer: Vec<u8>,
    notes: Notes,
}

impl<W: Write> Reader<'_, W> {
    /// A directory and all that is below it. Depth costs no descriptors.
    fn tree(&mut self, root: &OwnedFd, top: &[u8]) -> Result<(), Error> {
        let mut todo = vec![Vec::new()];
        while let Some(path) = todo.pop() {
            let shown = match (top.is_empty(), path.is_empty()) {
                (_, true) => top.to_vec(),
                (true, false) => path.clone(),
                (false, false) => join(top, &path),
            };
            let result = self.directory(root, &path, &shown, &mut todo);
            self.unless_gone(&shown, path.is_empty(), result)?;
        }
        Ok(())
    }

    /// What vanishes meanwhile, or may not be read, is noted; but what was asked for itself cannot.
    fn unless_gone(
        &mut self,
        shown: &[u8],
        all: bool,
        result: Result<(), Error>,
    ) -> Result<(), Error> {
        let note = match &result {
            Err(Error::Sys { source, .. }) if !all => match *source {
                // A symbolic link may have taken the place of a directory.
                Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::STALE => Note::Vanished,
                Errno::ACCESS | Errno::PERM if self.reading.lenient => Note::Unreadable,
                _ => return result,
            },
            _ => return result,
        };
        self.notes.add(shown, note);
        Ok(())
    }

    /// The directory and its files; its directories wait.
    fn directory(
        &mut self,
        root: &OwnedFd,
        path: &[u8],
        shown: &[u8],
        todo: &mut Vec<Vec<u8>>,
    ) -> Result<(), Error> {
        let dir = open_dir(root, path).map_err(Error::sys("open", shown))?;
        let stat = fstat(&dir).map_err(Error::sys("read", shown))?;
        let mut names = list(&dir).map_err(Error::sys("read", shown))?;
        if path.is_empty() {
            names.retain(|n| !self.reading.without.contains(&n.as_slice()));
        }
        names.sort();
        if !shown.is_empty() {
            let xattrs = self.xattrs(dir.as_fd(), shown)?;
            self.entry(shown, Kind::Dir, &stat, &xattrs)?;
        }
        let mut below = Vec::new();
        for name in names {
            let shown = match shown.is_empty() {
                true => name.clone(),
                false => join(shown, &name),
            };
            if shown.len() >= PATH_MAX {
                return Err(Error::sys("read", &shown)(Errno::NAMETOOLONG));
            }
            let result = match statat(&dir, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_dir() => {
                    below.push(join(path, &name));
                    Ok(())
                }
                Ok(stat) => self.file(dir.as_fd(), &name, &shown, &stat),
                Err(e) => Err(Error::sys("read", &shown)(e)),
            };
            self.unless_gone(&shown, false, result)?;
        }
        todo.extend(below.into_iter().rev());
        Ok(())
    }

    /// Anything but a directory.
    fn file(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        shown: &[u8],
        stat: &Stat,
    ) -> Result<(), Error> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Socket {
            self.notes.add(shown, Note::Socket);
            return Ok(());
        }
        if let Some(first) = self.earlier(stat) {
            return self.entry(shown, Kind::HardLink(&first), stat, &Xattrs::new());
        }
        let none = Xattrs::new();
        match kind {
            FileType::RegularFile => self.regular(dir, name, shown, stat)?,
            FileType::Symlink => {
                let target =
                    readlinkat(dir, name, Vec::new()).map_err(Error::sys("read", shown))?;
                self.entry(shown, Kind::Symlink(target.as_bytes()), stat, &none)?;
            }
            FileType::Fifo => self.entry(shown, Kind::Fifo, stat, &none)?,
            FileType::CharacterDevice | FileType::BlockDevice => {
                let (major, minor) = (major(stat.st_rdev), minor(stat.st_rdev));
                let kind = match kind {
                    FileType::CharacterDevice => Kind::Char(major, minor),
                    _ => Kind::Block(major, minor),
                };
                self.entry(shown, kind, stat, &none)?;
            }
            // The caller has seen a directory, and now it is something else; or nobody knows what.
            _ => self.notes.add(shown, Note::Vanished),
        }
        self.remember(stat, shown);
        Ok(())
    }

    fn regular(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        shown: &[u8],
        seen: &Stat,
    ) -> Result<(), Error> {
        // A fifo or device may have taken its place: neither is waited for.
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = openat(dir, name, flags, Mode::empty()).map_err(Error::sys("open", shown))?;
        let stat = fstat(&file).map_err(Error::sys("read", shown))?;
        if (stat.st_dev, stat.st_ino) != (seen.st_dev, seen.st_ino)
            || !FileType::from_raw_mode(stat.st_mode).is_file()
        {
            return Err(Error::sys("open", shown)(Errno::STALE));
        }
        let xattrs = self.xattrs(file.as_fd(), shown)?;
        let map = content::Map::of(file.as_fd(), &stat);
        let kind = content::Map::kind(map.as_ref(), &stat);
        self.entry(shown, kind, &stat, &xattrs)?;
        let whole = content::write(
            &mut self.archive,
            file.as_fd(),
            map.as_ref(),
            shown,
            &mut self.buffer,
        );
        match whole {
            Ok(true) => Ok(()),
            Ok(false) => {
                self.notes.add(shown, Note::Shrank);
                Ok(())
            }
            Err(super::super::pack::Error::Output(e)) => Err(Error::Output(e)),
            Err(super::super::pack::Error::Sys { source, .. }) => {
                // The entry is begun: it cannot be left out any more.
                Err(Error::Output(source.into()))
            }
            Err(e) => Err(Error::Output(std::io::Error::other(e))),
        }
    }

    fn entry(
        &mut self,
        shown: &[u8],
        kind: Kind<'_>,
        stat: &Stat,
        xattrs: &Xattrs,
    ) -> Result<(), Error> {
        let (uid, gid) = self.reading.owners.of(stat);
        let entry = Entry {
            path: shown,
            kind,
            mode: stat.st_mode & 0o7777,
            uid,
            gid,
            mtime: stat.st_mtime,
            xattrs,
        };
        self.archive.entry(&entry).map_err(Error::Output)
    }

    /// Under which name a file was read already.
    fn earlier(&mut self, stat: &Stat) -> Option<Vec<u8>> {
        let key = (stat.st_dev, stat.st_ino);
        let (first, left) = self.links.get_mut(&key)?;
        *left -= 1;
        match *left {
            0 => self.links.remove(&key).map(|(first, _)| first),
            _ => Some(first.clone()),
        }
    }

    /// It has further names, which may come.
    fn remember(&mut self, stat: &Stat, shown: &[u8]) {
        if stat.st_nlink > 1 {
            let key = (stat.st_dev, stat.st_ino);
            self.links.insert(key, (shown.to_vec(), stat.st_nlink - 1));
        }
    }

    fn xattrs(&mut self, file: BorrowedFd<'_>, shown: &[u8]) -> Result<Xattrs, Error> {
        let mut buffer = vec![0; XATTR_MAX];
        let n = match flistxattr(file, &mut buffer) {
            Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Xattrs::new()),
            n => n.map_err(Error::sys("read the attributes of", shown))?,
        };
        let names = buffer[..n].to_vec();
        let mut all = Xattrs::new();
        for name in names.split(|b| *b == 0).filter(|n| goes_along(n)) {
            if name.contains(&b'=') {
                self.notes.add(shown, Note::XattrName);
                continue;
            }
            match fgetxattr(file, name, &mut buffer) {
                Ok(n) => all.push((name.to_vec(), buffer[..n].to_vec())),
                // Removed since it was listed.
                Err(Errno::NODATA) => {}
                Err(e) => return Err(Error::sys("read the attributes of", shown)(e)),
            }
        }
        all.sort();
        Ok(all)
    }
}

fn list(dir: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    Ok(names)
}
