//! Whole trees that get one owner: what `chown -R -h` would do where there are many ids.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, Dir, FileType as Kind, OFlags, StatxFlags, XattrFlags, getxattr, removexattr,
    setxattr, statx,
};
use rustix::io::Errno;

use super::sidecar::{Journal, Owners};
use super::{Error, FileType, Layer, Node, Owner, XATTR};
use crate::trees;

/// Longest value of [`XATTR`].
const VALUE_MAX: usize = 128;

/// Give a directory to somebody, with all that is in it if `all`. Symlinks are given, not followed; what stands for
/// a device stays one. To be called with the rights of root over the caller's files, since directories may shut out
/// their owner.
pub fn give(tree: &Layer, uid: u32, gid: u32, all: bool) -> Result<(), Error> {
    let (known, _) = Owners::read_shared(&tree.sidecar)?;
    let mut giver = Giver {
        root: tree.root()?,
        tree,
        to: (uid, gid),
        known,
        journal: None,
    };
    giver.walk(all, &|giver, path, file| giver.give(path, file))
}

/// Take all owners away that were recorded in a directory of the host, whose files then belong to whoever a
/// container makes them belong to.
pub fn take_back(dir: &Path, uid: u32, gid: u32) -> Result<(), Error> {
    let tree = Layer {
        tree: dir.to_owned(),
        sidecar: dir.to_owned(),
    };
    let mut giver = Giver {
        root: tree.root()?,
        tree: &tree,
        to: (uid, gid),
        known: Owners::default(),
        journal: None,
    };
    giver.walk(true, &|giver, path, file| giver.take_back(path, file))
}

struct Giver<'a> {
    root: OwnedFd,
    tree: &'a Layer,
    to: (u32, u32),
    known: Owners,
    /// Opened when there is something to write.
    journal: Option<Journal>,
}

/// What is done to one file, by its path and an `O_PATH` descriptor.
type Act<'a> = &'a dyn Fn(&mut Giver<'_>, &[u8], &OwnedFd) -> Result<(), Error>;

impl Giver<'_> {
    fn walk(&mut self, all: bool, act: Act<'_>) -> Result<(), Error> {
        let mut todo: Vec<Vec<u8>> = vec![Vec::new()];
        while let Some(path) = todo.pop() {
            let Some(file) = self.tree.open(&path, OFlags::PATH)? else {
                // A container that runs has removed it.
                continue;
            };
            act(self, &path, &file)?;
            let stat = rustix::fs::fstat(&file).map_err(self.tree.failed(&path))?;
            if !all || !Kind::from_raw_mode(stat.st_mode).is_dir() {
                continue;
            }
            let dir = match trees::open_dir(&self.root, &path) {
                Ok(dir) => dir,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                Err(e) => return Err(self.tree.failed(&path)(e)),
            };
            for entry in Dir::read_from(&dir).map_err(self.tree.failed(&path))? {
                let entry = entry.map_err(self.tree.failed(&path))?;
                let name = entry.file_name().to_bytes();
                if name != b"." && name != b".." {
                    todo.push(trees::join(&path, name));
                }
            }
        }
        Ok(())
    }

    fn give(&mut self, path: &[u8], file: &OwnedFd) -> Result<(), Error> {
        let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        let stat = statx(file, c"", AtFlags::EMPTY_PATH, mask).map_err(self.tree.failed(path))?;
        let kind = Kind::from_raw_mode(stat.stx_mode.into());
        let file_type = match kind {
            Kind::Directory => FileType::Dir,
            Kind::Symlink => FileType::Symlink,
            Kind::Fifo => FileType::Pipe,
            Kind::Socket => FileType::Socket,
            _ => FileType::File,
        };
        let owner = Owner {
            uid: self.to.0,
            gid: self.to.1,
            mode: u32::from(stat.stx_mode) & 0o7777,
            file_type,
        };
        if matches!(kind, Kind::RegularFile | Kind::Directory) {
            match set(file, owner) {
                Ok(()) => return Ok(()),
                // No user attributes on this file system.
                Err(Errno::OPNOTSUPP | Errno::PERM) => {}
                Err(e) => return Err(self.tree.failed(path)(e)),
            }
        }
        let node = Node::of(&stat);
        let mut record = self.known.of(path, node).cloned().unwrap_or_default();
        record.owner = Some(owner);
        let journal = match &mut self.journal {
            Some(journal) => journal,
            none => none.insert(Journal::open_shared(&self.tree.sidecar)?),
        };
        let lasts = node.birth != 0 || !matches!(kind, Kind::RegularFile | Kind::Directory);
        journal.set(path, lasts.then_some(node), &record)
    }

    fn take_back(&mut self, path: &[u8], file: &OwnedFd) -> Result<(), Error> {
        let name = format!("/proc/self/fd/{}", file.as_raw_fd());
        let done = match recorded(&name) {
            None => Ok(()),
            Some(owner) if is_device(owner.file_type) => set(
                file,
                Owner {
                    uid: self.to.0,
                    gid: self.to.1,
                    ..owner
                },
            ),
            Some(_) => removexattr(&name, XATTR),
        };
        done.map_err(self.tree.failed(path))
    }
}

fn is_device(file_type: FileType) -> bool {
    matches!(file_type, FileType::Char(..) | FileType::Block(..))
}

fn recorded(name: &str) -> Option<Owner> {
    let mut value = [0u8; VALUE_MAX];
    let n = getxattr(name, XATTR, &mut value).ok()?;
    Owner::parse(&value[..n])
}

/// Put it on an inode; that it is root's is said by nothing.
fn set(file: &OwnedFd, owner: Owner) -> Result<(), Errno> {
    let name = format!("/proc/self/fd/{}", file.as_raw_fd());
    let before = recorded(&name)
        .map(|o| o.file_type)
        .filter(|t| is_device(*t));
    let owner = Owner {
        file_type: before.unwrap_or(owner.file_type),
        ..owner
    };
    if (owner.uid, owner.gid) == (0, 0) && before.is_none() {
        return match removexattr(&name, XATTR) {
            Err(Errno::NODATA) => Ok(()),
            done => done,
        };
    }
    let value = owner.to_string();
    setxattr(&name, XATTR, value.as_bytes(), XattrFlags::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_tree_is_given_away_and_taken_back() {
        let tmp = tempfile::tempdir().unwrap();
        let tree = Layer {
            tree: tmp.path().join("tree"),
            sidecar: tmp.path().join("owners"),
        };
        fs::create_dir_all(tree.tree.join("a/b")).unwrap();
        fs::write(tree.tree.join("a/f"), "").unwrap();
        fs::write(tree.tree.join("null"), "").unwrap();
        fs::create_dir(tmp.path().join("outside")).unwrap();
        symlink("../outside", tree.tree.join("link")).unwrap();
        let attr = |p: &str| {
            let value = xattr::get(tree.tree.join(p), XATTR).unwrap();
            value.map(|v| String::from_utf8(v).unwrap())
        };
        xattr::set(tree.tree.join("null"), XATTR, b"0:0:0644:char-1-3").unwrap();
        give(&tree, 5, 6, false).unwrap();
        assert!(attr("").unwrap().starts_with("5:6:"));
        assert_eq!(attr("a"), None, "not what is in it");
        give(&tree, 5, 6, true).unwrap();
        for path in ["a", "a/b", "a/f"] {
            assert!(attr(path).unwrap().starts_with("5:6:"), "{path}");
        }
        assert_eq!(attr("null").unwrap(), "5:6:0644:char-1-3");
        let link = tree.open(b"link", OFlags::PATH).unwrap().unwrap();
        let of_link = |known: &Owners| {
            let record = known.of(b"link", Node::of_fd(&link).unwrap());
            record.and_then(|r| r.owner).map(|o| (o.uid, o.gid))
        };
        let (known, _) = Owners::read_shared(&tree.sidecar).unwrap();
        assert_eq!(of_link(&known), Some((5, 6)));
        assert_eq!(xattr::get(tmp.path().join("outside"), XATTR).unwrap(), None);
        give(&tree, 0, 0, true).unwrap();
        assert_eq!((attr("a/f"), attr("")), (None, None));
        let (known, _) = Owners::read_shared(&tree.sidecar).unwrap();
        assert_eq!(of_link(&known), Some((0, 0)));

        give(&tree, 7, 8, true).unwrap();
        take_back(&tree.tree, 9, 9).unwrap();
        assert_eq!((attr("a/f"), attr("")), (None, None));
        assert_eq!(attr("null").unwrap(), "9:9:0644:char-1-3");
    }
}
