//! Entries to files. See [`super`] for what becomes of what, and for the rules that keep it safe.
//!
//! Making files is most of the cost of a pull, so calls are counted: an ordinary file of root is
//! openat, write, utimensat, close, whatever its directory; nothing is looked up before it is made,
//! and what is in the way is dealt with when `O_EXCL` says so.

use std::ffi::OsStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, fchmod, flistxattr, fremovexattr, fstat, ftruncate, futimens,
    linkat, mkdirat, mknodat, openat, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::{Errno, fcntl_dupfd_cloexec};

use super::attic::Attic;
use super::dirs::{Dirs, Slot, mtime_only};
use super::entry::{Entries, Entry, Kind};
use super::metadata::{Metadata, owner_of};
use super::name::{Meaning, clean, is_within, join, meaning, path_buf, split};
use super::stream::Tar;
use super::{Applied, Error, Limits, Recipe, recipe, remove_tree, sparse};
use crate::owners;

/// Unpack a whole tar.
pub(super) fn unpack(
    tar: &mut Tar,
    dest: BorrowedFd<'_>,
    sidecar: &Path,
    recipe: Option<&Recipe>,
    limits: &Limits,
) -> Result<Applied, Error> {
    let umask = probe_umask(dest)?;
    tar.recipe = recipe
        .map(|r| recipe::Writer::create(&r.file))
        .transpose()?;
    let mut unpacker = Unpacker {
        entries: Entries::new(tar, limits),
        dirs: Dirs::new(dest, limits.max_path)?,
        metadata: Metadata::new(owners::Writer::create(sidecar)?),
        attic: recipe.map(|r| Attic::new(&r.replaced)),
        limits,
        umask,
        root_listed: false,
        count: 0,
        size: 0,
        claimed: 0,
    };
    while let Some(entry) = unpacker.entries.next()? {
        unpacker.count += 1;
        unpacker.entry(&entry)?;
        for path in std::mem::take(&mut unpacker.dirs.implied) {
            unpacker.metadata.sidecar.implied(&path)?;
        }
    }
    unpacker.finish()
}

/// The bits that making a file does not grant, by umask(2) or a default ACL of `dest`. Found out by
/// making one: umask(2) can only be read by changing it, under the feet of other threads.
fn probe_umask(dest: BorrowedFd<'_>) -> Result<u32, Error> {
    const NAME: &[u8] = b".coracle-probe";
    let fd = openat(dest, NAME, CREATE, Mode::from_raw_mode(0o777))
        .map_err(Error::sys("openat", NAME))?;
    let stat = fstat(&fd).map_err(Error::sys("fstat", NAME))?;
    unlinkat(dest, NAME, AtFlags::empty()).map_err(Error::sys("unlinkat", NAME))?;
    Ok(0o777 & !stat.st_mode)
}

const CREATE: OFlags = OFlags::WRONLY
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

struct Unpacker<'a> {
    entries: Entries<'a>,
    dirs: Dirs,
    metadata: Metadata,
    /// Where what the tar replaces goes, if a recipe is written.
    attic: Option<Attic>,
    limits: &'a Limits,
    umask: u32,
    root_listed: bool,
    count: u64,
    size: u64,
    claimed: u64,
}

/// Where an entry goes: an open directory, a name in it, and the whole path.
struct Place<'a> {
    dir: Slot,
    name: &'a [u8],
    path: Vec<u8>,
}

/// What was there before.
#[derive(PartialEq, Eq)]
pub(super) enum Before {
    Nothing,
    /// A whiteout, or anything else that hid what lower layers have under this name.
    Hiding,
}

impl Unpacker<'_> {
    fn finish(mut self) -> Result<Applied, Error> {
        let (diff_id, tar_bytes, recorded) = self.entries.finish()?;
        if !self.root_listed {
            self.metadata.sidecar.implied(b"")?;
        }
        self.dirs.finish()?;
        self.metadata.sidecar.finish()?;
        Ok(Applied {
            diff_id,
            entries: self.count,
            size: self.size,
            tar_bytes,
            recorded,
        })
    }

    fn entry(&mut self, e: &Entry) -> Result<(), Error> {
        let path = clean(&e.path, self.limits.max_path)?;
        let (parent, last) = split(&path);
        let whiteout = match meaning(&path)? {
            Meaning::Entry => None,
            Meaning::Skip => return Ok(()),
            Meaning::Opaque => {
                let dir = self.dirs.make(parent)?;
                return self.dirs.set_opaque(dir);
            }
            Meaning::Whiteout(name) => Some(name),
        };
        if path.is_empty() {
            return self.root(e);
        }
        let dir = self.dirs.make(parent)?;
        let name = whiteout.unwrap_or(last);
        let place = Place {
            dir,
            name,
            path: join(self.dirs.path(dir), name),
        };
        if whiteout.is_some() {
            return self.whiteout(&place);
        }
        match &e.kind {
            Kind::File(map) => self.file(e, &place, map.as_ref()),
            Kind::Dir => self.directory(e, &place),
            Kind::Symlink => self.symlink(e, &place),
            Kind::HardLink => self.hard_link(e, &place),
            Kind::Fifo => self.fifo(e, &place),
            Kind::Char(..) | Kind::Block(..) => self.file(e, &place, None),
        }
    }

    /// The layer's own root directory.
    fn root(&mut self, e: &Entry) -> Result<(), Error> {
        if e.kind != Kind::Dir {
            return Err(Error::Name {
                path: path_buf(&e.path),
                what: "only a directory can be the root of a layer",
            });
        }
        if self.root_listed {
            self.forget_metadata(Dirs::ROOT)?;
        }
        self.root_listed = true;
        self.describe(Dirs::ROOT, e, Some(e.mode))
    }

    /// Make something, and if its name is taken, make room first.
    fn create<T>(
        &mut self,
        place: &Place<'_>,
        call: &'static str,
        mut make: impl FnMut(BorrowedFd<'_>, &[u8]) -> Result<T, Errno>,
    ) -> Result<(T, Before), Error> {
        match make(self.dirs.touch(place.dir), place.name) {
            Ok(made) => return Ok((made, Before::Nothing)),
            Err(Errno::EXIST) => {}
            Err(e) => return Err(Error::sys(call, &place.path)(e)),
        }
        let before = self.clear(place)?;
        let made = make(self.dirs.fd(place.dir), place.name);
        Ok((made.map_err(Error::sys(call, &place.path))?, before))
    }

    /// Remove what is at a place.
    fn clear(&mut self, place: &Place<'_>) -> Result<Before, Error> {
        self.dirs.forget(&place.path);
        self.metadata.sidecar.gone(&place.path)?;
        let dir = self.dirs.fd(place.dir);
        if let (Some(attic), Some(recipe)) = (&mut self.attic, self.entries.recipe())
            && let Some(before) = attic.keep(recipe, dir, place.name, &place.path)?
        {
            return Ok(before);
        }
        match unlinkat(dir, place.name, AtFlags::empty()) {
            Ok(()) => Ok(Before::Hiding),
            Err(Errno::ISDIR | Errno::PERM) => {
                remove_tree(dir, OsStr::from_bytes(place.name))?;
                Ok(Before::Nothing)
            }
            Err(e) => Err(Error::sys("unlinkat", &place.path)(e)),
        }
    }

    fn file(
        &mut self,
        e: &Entry,
        place: &Place<'_>,
        map: Option<&sparse::Map>,
    ) -> Result<(), Error> {
        // A sparse file may claim more than it stores; whoever copies the tree pays for the claim.
        let claimed = map.map_or(self.entries.left(), |m| m.real_size);
        self.claimed = (self.claimed.checked_add(claimed))
            .filter(|n| *n <= self.limits.max_bytes)
            .ok_or(Error::TooLarge(self.limits.max_bytes))?;

        let owner = owner_of(e);
        let perm = e.mode & 0o777;
        // user xattrs need write permission on the inode, also with a descriptor that has it.
        let plain = owner.is_none() && e.xattrs.is_empty();
        let mode = if plain { perm } else { perm | 0o600 };
        let (fd, _) = self.create(place, "openat", |dir, name| {
            openat(dir, name, CREATE, Mode::from_raw_mode(mode))
        })?;
        match map {
            None => self.write_all(&fd, &place.path)?,
            Some(map) => self.write_sparse(&fd, &place.path, map)?,
        }
        if let Some(owner) = owner {
            self.metadata.set_owner(fd.as_fd(), &place.path, &owner)?;
        }
        self.metadata
            .set_xattrs(fd.as_fd(), &place.path, &e.xattrs)?;
        // After the last write, which clears set-id bits.
        if e.mode != mode & !self.umask {
            fchmod(&fd, Mode::from_raw_mode(e.mode)).map_err(Error::sys("fchmod", &place.path))?;
        }
        futimens(&fd, &mtime_only(e.mtime)).map_err(Error::sys("futimens", &place.path))
    }

    fn write_all(&mut self, fd: &OwnedFd, path: &[u8]) -> Result<(), Error> {
        let len = self.entries.left();
        if len > 0
            && let Some(recipe) = self.entries.recipe()
        {
            recipe.file(path, 0, len)?;
        }
        while self.entries.left() > 0 {
            let mut chunk = self.entries.data(u64::MAX)?;
            self.size += chunk.len() as u64;
            while !chunk.is_empty() {
                match rustix::io::write(fd, chunk) {
                    Ok(n) => chunk = &chunk[n..],
                    Err(Errno::INTR) => {}
                    Err(e) => return Err(Error::sys("write", path)(e)),
                }
            }
        }
        Ok(())
    }

    fn write_sparse(&mut self, fd: &OwnedFd, path: &[u8], map: &sparse::Map) -> Result<(), Error> {
        ftruncate(fd, map.real_size).map_err(Error::sys("ftruncate", path))?;
        for (i, &(mut offset, mut len)) in map.extents.iter().enumerate() {
            match (i, self.entries.recipe()) {
                (0, Some(recipe)) => recipe.file(path, offset, len)?,
                (_, Some(recipe)) => recipe.more(offset, len)?,
                (_, None) => {}
            }
            while len > 0 {
                let mut chunk = self.entries.data(len)?;
                len -= chunk.len() as u64;
                self.size += chunk.len() as u64;
                while !chunk.is_empty() {
                    match rustix::io::pwrite(fd, chunk, offset) {
                        Ok(n) => {
                            chunk = &chunk[n..];
                            offset += n as u64;
                        }
                        Err(Errno::INTR) => {}
                        Err(e) => return Err(Error::sys("pwrite", path)(e)),
                    }
                }
            }
        }
        Ok(())
    }

    fn directory(&mut self, e: &Entry, place: &Place<'_>) -> Result<(), Error> {
        // Ours to fill, whatever it is to be in the end.
        let mode = e.mode & 0o777 | 0o700;
        let final_mode = (e.mode != mode & !self.umask).then_some(e.mode);
        let mkdir =
            |dir: BorrowedFd<'_>, name: &[u8]| mkdirat(dir, name, Mode::from_raw_mode(mode));
        let before = match mkdir(self.dirs.touch(place.dir), place.name) {
            Ok(()) => Before::Nothing,
            Err(Errno::EXIST) if self.type_of(place)? == FileType::Directory => {
                let dir = self.dirs.enter(place.dir, place.name)?;
                self.forget_metadata(dir)?;
                self.metadata.sidecar.reset(&place.path)?;
                return self.describe(dir, e, Some(e.mode));
            }
            Err(Errno::EXIST) => self.create(place, "mkdirat", mkdir)?.1,
            Err(err) => return Err(Error::sys("mkdirat", &place.path)(err)),
        };
        let dir = self.dirs.enter_new(place.dir, place.name)?;
        if before == Before::Hiding {
            // A whiteout, file or link hid what lower layers have here; so must the directory.
            self.dirs.set_opaque(dir)?;
        }
        self.describe(dir, e, final_mode)
    }

    /// Give a directory its metadata; mode and mtime follow when it is closed.
    fn describe(&mut self, dir: Slot, e: &Entry, mode: Option<u32>) -> Result<(), Error> {
        self.dirs.describe(dir, mode, e.mtime);
        let (fd, path) = (self.dirs.fd(dir), self.dirs.path(dir));
        if let Some(owner) = owner_of(e) {
            self.metadata.set_owner(fd, path, &owner)?;
        }
        self.metadata.set_xattrs(fd, path, &e.xattrs)
    }

    /// A directory is listed again: the xattrs of its first listing go.
    fn forget_metadata(&mut self, dir: Slot) -> Result<(), Error> {
        let (fd, path) = (self.dirs.fd(dir), self.dirs.path(dir));
        // The kernel's limit for a list of names (xattr(7)).
        let mut names = vec![0; 64 << 10];
        let len = match flistxattr(fd, &mut names[..]) {
            Err(Errno::OPNOTSUPP) => return Ok(()),
            result => result.map_err(Error::sys("flistxattr", path))?,
        };
        for name in names[..len].split(|b| *b == 0) {
            if name.starts_with(b"user.") && !name.starts_with(b"user.overlay.") {
                fremovexattr(fd, name).map_err(Error::sys("fremovexattr", path))?;
            }
        }
        Ok(())
    }

    fn symlink(&mut self, e: &Entry, place: &Place<'_>) -> Result<(), Error> {
        let what = match e.link.as_slice() {
            b"" => Some("a symbolic link without a target"),
            link if link.contains(&0) => Some("a link target cannot contain a zero byte"),
            _ => None,
        };
        if let Some(what) = what {
            return Err(Error::Name {
                path: path_buf(&e.path),
                what,
            });
        }
        if e.link.len() > self.limits.max_path {
            return Err(Error::PathTooLong(self.limits.max_path));
        }
        // Where it points is for the container to see; here it is only text.
        self.create(place, "symlinkat", |dir, name| {
            symlinkat(e.link.as_slice(), dir, name)
        })?;
        self.finish_special(e, place)
    }

    fn fifo(&mut self, e: &Entry, place: &Place<'_>) -> Result<(), Error> {
        let mode = Mode::from_raw_mode(e.mode & 0o777);
        self.create(place, "mknodat", |dir, name| {
            mknodat(dir, name, FileType::Fifo, mode, 0)
        })?;
        if e.mode != e.mode & 0o777 & !self.umask {
            // Follows symlinks, but this is the fifo just made in a tree that is private to us.
            let dir = self.dirs.fd(place.dir);
            rustix::fs::chmodat(
                dir,
                place.name,
                Mode::from_raw_mode(e.mode),
                AtFlags::empty(),
            )
            .map_err(Error::sys("fchmodat", &place.path))?;
        }
        self.finish_special(e, place)
    }

    /// Time and owner of what takes no user xattrs.
    fn finish_special(&mut self, e: &Entry, place: &Place<'_>) -> Result<(), Error> {
        let dir = self.dirs.fd(place.dir);
        utimensat(
            dir,
            place.name,
            &mtime_only(e.mtime),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .map_err(Error::sys("utimensat", &place.path))?;
        if let Some(owner) = owner_of(e) {
            self.metadata.sidecar.own(&place.path, &owner)?;
        }
        for (name, value) in &e.xattrs {
            self.metadata.sidecar.xattr(&place.path, name, value)?;
        }
        Ok(())
    }

    fn hard_link(&mut self, e: &Entry, place: &Place<'_>) -> Result<(), Error> {
        let target = clean(&e.link, self.limits.max_path)?;
        let missing = || Error::HardLink {
            path: path_buf(&e.path),
            target: path_buf(&e.link),
        };
        if target.is_empty() || meaning(&target)? != Meaning::Entry {
            return Err(missing());
        }
        let (parent, target_name) = split(&target);
        let from = match self.dirs.find(parent) {
            Ok(Some(slot)) => slot,
            Ok(None) | Err(Error::NotADirectory { .. }) => return Err(missing()),
            Err(e) => return Err(e),
        };
        // Its own target, or what goes when it comes.
        if is_within(&join(self.dirs.path(from), target_name), &place.path) {
            return Err(missing());
        }
        // A descriptor of its own: looking up the link's directory again, because the lookup above
        // may have pushed it out of the cache, may do the same to this one.
        let from =
            fcntl_dupfd_cloexec(self.dirs.fd(from), 0).map_err(Error::sys("fcntl", &place.path))?;
        let dir = self.dirs.make(split(&place.path).0)?;
        let fd = fcntl_dupfd_cloexec(self.dirs.touch(dir), 0)
            .map_err(Error::sys("fcntl", &place.path))?;
        let link = || linkat(&from, target_name, &fd, place.name, AtFlags::empty());
        let mut result = link();
        if result == Err(Errno::EXIST) {
            self.clear(&Place {
                dir,
                name: place.name,
                path: place.path.clone(),
            })?;
            result = link();
        }
        match result {
            Err(Errno::NOENT) => Err(missing()),
            result => result.map_err(Error::sys("linkat", &place.path)),
        }
    }

    fn whiteout(&mut self, place: &Place<'_>) -> Result<(), Error> {
        match self.dirs.whiteout(place.dir, place.name) {
            Ok(()) => Ok(()),
            // A file or link of this layer hides lower ones by itself; a directory would merge.
            Err(Errno::EXIST) if self.type_of(place)? == FileType::Directory => {
                let dir = self.dirs.enter(place.dir, place.name)?;
                self.dirs.set_opaque(dir)
            }
            Err(Errno::EXIST) => Ok(()),
            Err(e) => Err(Error::sys("mknodat", &place.path)(e)),
        }
    }

    fn type_of(&self, place: &Place<'_>) -> Result<FileType, Error> {
        let stat = statat(
            self.dirs.fd(place.dir),
            place.name,
            AtFlags::SYMLINK_NOFOLLOW,
        );
        let stat = stat.map_err(Error::sys("fstatat", &place.path))?;
        Ok(FileType::from_raw_mode(stat.st_mode))
    }
}
