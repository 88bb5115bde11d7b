//! A tar to files.

use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Uid, XattrFlags, chmodat, chownat, fchmod,
    fchown, fsetxattr, fstat, ftruncate, futimens, linkat, makedev, mkdirat, mknodat, openat,
    statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::super::dirs::{make_accessible, mtime_only};
use super::super::entry::{Entries, Entry, Kind};
use super::super::name::{clean, is_within, join, path_buf, split};
use super::super::pack::{Note, Notes};
use super::super::{Limits, inflate, remove_tree, sparse};
use super::{Error, goes_along};
use crate::trees::{open_child, open_dir};

/// Times that a name may be taken again by somebody else before it is given up.
const ATTEMPTS: u32 = 16;

/// Whose the files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Owners {
    /// Who writes them.
    Writer,
    /// Everything is this user's and group's.
    One(u32, u32),
    /// As the tar says.
    Tar,
}

/// What becomes of the names in the tar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Naming {
    /// They stay.
    Tar,
    /// The first component of each becomes this one: nothing is written beside it.
    As(Vec<u8>),
    /// The first component of each goes, and with it the directory of that name.
    Within,
}

/// How a tar is written.
#[derive(Clone, Debug)]
pub struct Writing {
    /// What it is called.
    pub naming: Naming,
    /// Whose it is.
    pub owners: Owners,
    /// Directories are replaced by files, and files by directories.
    pub overwrite: bool,
    /// It is a container: it has devices, set-id programs and capabilities of its own. Outside there are none.
    pub inside: bool,
}

/// Write the tar (plain, or as [`super::super::apply`] takes it) to the open directory `dir`.
///
/// # Errors
/// What could not be written; what was before is there.
pub fn write(
    tar: impl Read + Send,
    dir: BorrowedFd<'_>,
    writing: &Writing,
) -> Result<Notes, Error> {
    // It is not the size of a file that is hostile to who asks for it.
    let limits = Limits {
        max_entries: u64::MAX,
        max_bytes: u64::MAX,
        ..Limits::default()
    };
    inflate::pipeline(tar, inflate::BUFFER, limits.max_bytes, |tar| {
        let writer = Writer {
            entries: Entries::new(tar, &limits),
            root: dir,
            writing,
            last: None,
            open: Vec::new(),
            notes: Notes::default(),
            max_path: limits.max_path,
        };
        Ok(writer.all())
    })?
}

/// A directory that gets its mode and time when what comes is no longer below it.
struct Pending {
    path: Vec<u8>,
    mode: u32,
    mtime: Timespec,
}

struct Writer<'a, 'e> {
    entries: Entries<'e>,
    root: BorrowedFd<'a>,
    writing: &'a Writing,
    /// The directory that was written to last, and its path.
    last: Option<(Vec<u8>, OwnedFd)>,
    /// From the outermost to the innermost; each is below the one before it.
    open: Vec<Pending>,
    notes: Notes,
    max_path: usize,
}

/// Where an entry goes.
struct Place<'p> {
    dir: &'p OwnedFd,
    name: &'p [u8],
    path: &'p [u8],
}

impl Writer<'_, '_> {
    fn all(mut self) -> Result<Notes, Error> {
        while let Some(entry) = self.entries.next()? {
            let path = self.renamed(&entry.path)?;
            // The directory that everything goes to stays as it is.
            if path.is_empty() {
                continue;
            }
            self.close_around(&path)?;
            self.entry(&entry, &path)?;
        }
        self.close_around(b"")?;
        // Whoever writes it shall not see us leave before.
        self.entries.finish()?;
        Ok(self.notes)
    }

    /// A name of the tar as it is to be here.
    fn renamed(&self, raw: &[u8]) -> Result<Vec<u8>, Error> {
        let path = clean(raw, self.max_path)?;
        let slash = path.iter().position(|b| *b == b'/');
        let rest = slash.map_or(&b""[..], |slash| &path[slash + 1..]);
        Ok(match &self.writing.naming {
            Naming::As(name) if !path.is_empty() => match rest {
                b"" => name.clone(),
                rest => join(name, rest),
            },
            Naming::Within => rest.to_vec(),
            Naming::Tar | Naming::As(_) => path,
        })
    }

    /// Complete the directories that `path` is not in.
    fn close_around(&mut self, path: &[u8]) -> Result<(), Error> {
        while let Some(dir) = self.open.pop_if(|d| !is_within(path, &d.path)) {
            // By its path again, since depth shall cost no descriptors.
            let fd = open_dir(self.root, &dir.path).map_err(Error::sys("open", &dir.path))?;
            let mode = Mode::from_raw_mode(dir.mode);
            fchmod(&fd, mode).map_err(Error::sys("write", &dir.path))?;
            futimens(&fd, &mtime_only(dir.mtime)).map_err(Error::sys("write", &dir.path))?;
        }
        Ok(())
    }

    fn entry(&mut self, e: &Entry, path: &[u8]) -> Result<(), Error> {
        let (parent, name) = split(path);
        let dir = self.directory_of(parent)?;
        let place = Place {
            dir: &dir,
            name,
            path,
        };
        match &e.kind {
            Kind::Dir => self.directory(e, &place)?,
            Kind::File(map) => self.file(e, &place, map.as_ref())?,
            Kind::Symlink => {
                self.create(&place, |dir, name| symlinkat(e.link.as_slice(), dir, name))?;
                self.special(e, &place)?;
            }
            Kind::HardLink => self.hard_link(e, &place)?,
            Kind::Fifo => self.node(e, &place, FileType::Fifo, 0)?,
            Kind::Char(..) | Kind::Block(..) if !self.writing.inside => {
                self.notes.add(path, Note::Device);
            }
            Kind::Char(major, minor) => {
                let number = makedev(*major, *minor);
                self.node(e, &place, FileType::CharacterDevice, number)?;
            }
            Kind::Block(major, minor) => {
                let number = makedev(*major, *minor);
                self.node(e, &place, FileType::BlockDevice, number)?;
            }
        }
        self.last = Some((parent.to_vec(), dir));
        Ok(())
    }

    /// The open directory of this path; what the tar has not listed is made.
    fn directory_of(&mut self, path: &[u8]) -> Result<OwnedFd, Error> {
        if let Some((last, fd)) = self.last.take()
            && last == path
        {
            return Ok(fd);
        }
        match open_dir(self.root, path) {
            Err(Errno::NOENT) => {}
            fd => return fd.map_err(Error::sys("open the directory", path)),
        }
        let (parent, name) = split(path);
        let dir = self.directory_of(parent)?;
        let made = mkdirat(&dir, name, Mode::from_raw_mode(0o755));
        made.map_err(Error::sys("make the directory", path))?;
        let fd = open_child(dir.as_fd(), name).map_err(Error::sys("open the directory", path))?;
        if let Owners::One(uid, gid) = self.writing.owners {
            self.own(&fd, uid, gid, path)?;
        }
        Ok(fd)
    }

    fn directory(&mut self, e: &Entry, place: &Place<'_>) -> Result<(), Error> {
        let Place { dir, name, path } = *place;
        let make = |dir: &OwnedFd| mkdirat(dir, name, Mode::RWXU);
        match make(dir) {
            Ok(()) => {}
            Err(Errno::EXIST) if is_dir(dir, name) => {
                // An ordinary user may have shut himself out of it; it gets its mode in the end.
                if !self.writing.inside {
                    make_accessible(dir.as_fd(), name).map_err(Error::sys("open", path))?;
                }
            }
            Err(Errno::EXIST) if self.writing.overwrite => {
                unlinkat(dir, name, AtFlags::empty()).map_err(Error::sys("replace", path))?;
                make(dir).map_err(Error::sys("make the directory", path))?;
            }
            Err(Errno::EXIST) => return Err(Error::NotADirectory(path_buf(path))),
            Err(err) => return Err(Error::sys("make the directory", path)(err)),
        }
        let fd = open_child(dir.as_fd(), name).map_err(Error::sys("open the directory", path))?;
        self.metadata(e, &fd, path)?;
        self.open.push(Pending {
            path: path.to_vec(),
            mode: self.mode(e),
            mtime: e.mtime,
        });
        Ok(())
    }

    fn file(
        &mut self,
        e: &Entry,
        place: &Place<'_>,
        map: Option<&sparse::Map>,
    ) -> Result<(), Error> {
        const FLAGS: OFlags = OFlags::WRONLY
            .union(OFlags::NOFOLLOW)
            .union(OFlags::NONBLOCK)
            .union(OFlags::NOCTTY)
            .union(OFlags::CLOEXEC);
        let path = place.path;
        let fd = self.create(place, |dir, name| {
            let mode = Mode::RUSR | Mode::WUSR;
            openat(dir, name, FLAGS | OFlags::CREATE | OFlags::EXCL, mode)
        });
        let fd = match fd {
            // Something is mounted there, as with a container's /etc/hosts.
            Err(Error::Sys { source, .. }) if source == Errno::BUSY => {
                let fd = openat(place.dir, place.name, FLAGS, Mode::empty())
                    .map_err(Error::sys("write", path))?;
                let stat = fstat(&fd).map_err(Error::sys("write", path))?;
                if !FileType::from_raw_mode(stat.st_mode).is_file() {
                    return Err(Error::sys("replace", path)(Errno::BUSY));
                }
                ftruncate(&fd, 0).map_err(Error::sys("write", path))?;
                fd
            }
            fd => fd?,
        };
        match map {
            None => {
                let len = self.entries.left();
                self.data(&fd, 0, len, path)?;
            }
            Some(map) => {
                ftruncate(&fd, map.real_size).map_err(Error::sys("write", path))?;
                for &(at, len) in &map.extents {
                    self.data(&fd, at, len, path)?;
                }
            }
        }
        self.metadata(e, &fd, path)?;
        // After the last write and the change of owner, both of which clear set-id bits.
        fchmod(&fd, Mode::from_raw_mode(self.mode(e))).map_err(Error::sys("write", path))?;
        futimens(&fd, &mtime_only(e.mtime)).map_err(Error::sys("write", path))
    }

    fn data(&mut self, fd: &OwnedFd, mut at: u64, mut len: u64, path: &[u8]) -> Result<(), Error> {
        while len > 0 {
            let mut chunk = self.entries.data(len)?;
            len -= chunk.len() as u64;
            while !chunk.is_empty() {
                match rustix::io::pwrite(fd, chunk, at) {
                    Ok(n) => {
                        chunk = &chunk[n..];
                        at += n as u64;
                    }
                    Err(Errno::INTR) => {}
                    Err(e) => return Err(Error::sys("write", path)(e)),
                }
            }
        }
        Ok(())
    }

    fn hard_link(&mut self, e: &Entry, place: &Place<'_>) -> Result<(), Error> {
        let target = self.renamed(&e.link)?;
        let (parent, name) = split(&target);
        let at = || Error::sys("link", &target);
        let from = open_dir(self.root, parent).map_err(at())?;
        // Before anything is removed: what it is a link to may be what is removed.
        let stat = statat(&from, name, AtFlags::SYMLINK_NOFOLLOW).map_err(at())?;
        if is_within(&target, place.path) || FileType::from_raw_mode(stat.st_mode).is_dir() {
            return Err(at()(Errno::INVAL));
        }
        self.create(place, |dir, to| {
            linkat(&from, name, dir, to, AtFlags::empty())
        })
    }

    fn node(
        &mut self,
        e: &Entry,
        place: &Place<'_>,
        kind: FileType,
        number: u64,
    ) -> Result<(), Error> {
        self.create(place, |dir, name| {
            mknodat(dir, name, kind, Mode::RUSR | Mode::WUSR, number)
        })?;
        let mode = Mode::from_raw_mode(self.mode(e));
        chmodat(place.dir, place.name, mode, AtFlags::empty())
            .map_err(Error::sys("write", place.path))?;
        self.special(e, place)
    }

    /// Make something; what has its name goes.
    fn create<T>(
        &self,
        place: &Place<'_>,
        make: impl Fn(&OwnedFd, &[u8]) -> Result<T, Errno>,
    ) -> Result<T, Error> {
        let Place { dir, name, path } = *place;
        for _ in 0..ATTEMPTS {
            match make(dir, name) {
                Err(Errno::EXIST) => {}
                made => return made.map_err(Error::sys("make", path)),
            }
            match unlinkat(dir, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR) if self.writing.overwrite => {
                    remove_tree(dir.as_fd(), OsStr::from_bytes(name)).map_err(Error::Remove)?;
                }
                Err(Errno::ISDIR) => return Err(Error::IsDirectory(path_buf(path))),
                Err(e) => return Err(Error::sys("replace", path)(e)),
            }
        }
        Err(Error::sys("make", path)(Errno::EXIST))
    }

    fn mode(&self, e: &Entry) -> u32 {
        match (&e.kind, self.writing.inside) {
            // Out there a set-id program of the container would make everybody the user.
            (Kind::File(_), false) => e.mode & 0o1777,
            _ => e.mode,
        }
    }

    /// Owner and attributes of what is open.
    fn metadata(&mut self, e: &Entry, fd: &OwnedFd, path: &[u8]) -> Result<(), Error> {
        match self.writing.owners {
            Owners::Writer => {}
            Owners::One(uid, gid) => self.own(fd, uid, gid, path)?,
            Owners::Tar => self.own(fd, e.uid, e.gid, path)?,
        }
        for (name, value) in e.xattrs.iter().filter(|(name, _)| goes_along(name)) {
            let capability = name == crate::owners::CAPABILITY.as_bytes();
            if capability && !self.writing.inside {
                continue;
            }
            match fsetxattr(fd, name.as_slice(), value, XattrFlags::empty()) {
                Ok(()) => {}
                Err(Errno::OPNOTSUPP | Errno::PERM) => self.notes.add(path, Note::Xattr),
                Err(e) => return Err(Error::sys("set an attribute of", path)(e)),
            }
        }
        Ok(())
    }

    fn own(&self, fd: &OwnedFd, uid: u32, gid: u32, path: &[u8]) -> Result<(), Error> {
        fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .map_err(Error::sys("give away", path))
    }

    /// Owner and time of what cannot be opened.
    fn special(&self, e: &Entry, place: &Place<'_>) -> Result<(), Error> {
        let Place { dir, name, path } = *place;
        let own = |uid: u32, gid: u32| {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(Error::sys("give away", path))
        };
        match self.writing.owners {
            Owners::Writer => {}
            Owners::One(uid, gid) => own(uid, gid)?,
            Owners::Tar => own(e.uid, e.gid)?,
        }
        let times = mtime_only(e.mtime);
        utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(Error::sys("write", path))
    }
}

fn is_dir(dir: &OwnedFd, name: &[u8]) -> bool {
    statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|s| FileType::from_raw_mode(s.st_mode).is_dir())
}
