//! Device nodes of a bundle: made where the kernel lets us, else those of the host, bound. mknod(2).

use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid, chmodat, chownat, fstat, major, makedev, minor,
    mknodat, openat, statat, symlinkat,
};
use rustix::io::Errno;

use super::rootfs::{Kind, Links, RootDir};
use super::{Context as _, Result, Stage, mounts};
use crate::runtime::bundle::{Bundle, Node, NodeKind};

const LINKS: [(&CStr, &CStr); 4] = [
    (c"fd", c"/proc/self/fd"),
    (c"stdin", c"/proc/self/fd/0"),
    (c"stdout", c"/proc/self/fd/1"),
    (c"stderr", c"/proc/self/fd/2"),
];

/// After all mounts, since /dev is one of them.
pub(super) fn all(b: &Bundle, root: &RootDir) -> Result<()> {
    if b.nodes.is_empty() {
        return Ok(());
    }
    for node in &b.nodes {
        one(root, node).at(Stage::Mount, || format!("device {}", node.path.display()))?;
    }
    let dev = root
        .open_or_create(Path::new("/dev"), Kind::Directory, Links::Follow)
        .at(Stage::Mount, || "/dev".into())?;
    for (name, target) in LINKS {
        match symlinkat(target, &dev, name) {
            Err(Errno::EXIST) => {}
            other => other.at(Stage::Mount, || format!("symlink {name:?}"))?,
        }
    }
    if statat(&dev, c"pts/ptmx", AtFlags::SYMLINK_NOFOLLOW).is_ok() {
        match symlinkat(c"pts/ptmx", &dev, c"ptmx") {
            Err(Errno::EXIST) => {}
            other => other.at(Stage::Mount, || "symlink ptmx".into())?,
        }
    }
    Ok(())
}

fn one(root: &RootDir, node: &Node) -> io::Result<()> {
    let (Some(above), Some(name)) = (node.path.parent(), node.path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let parent = root.open_or_create(above, Kind::Directory, Links::Follow)?;
    let device = makedev(node.major, node.minor);
    match mknodat(
        &parent,
        name,
        node.kind.file_type(),
        Mode::from_raw_mode(node.mode),
        device,
    ) {
        Ok(()) => own(&parent, name, node),
        Err(Errno::EXIST) if is(&parent, name, node) => Ok(()),
        // In a user namespace devices cannot be made.
        Err(Errno::EXIST | Errno::PERM) if node.kind != NodeKind::Fifo => bind(root, node),
        Err(e) => Err(e.into()),
    }
}

fn own(parent: &OwnedFd, name: &OsStr, node: &Node) -> io::Result<()> {
    if (node.uid, node.gid) != (0, 0) {
        chownat(
            parent,
            name,
            Some(Uid::from_raw(node.uid)),
            Some(Gid::from_raw(node.gid)),
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
    }
    Ok(chmodat(
        parent,
        name,
        Mode::from_raw_mode(node.mode),
        AtFlags::empty(),
    )?)
}

fn is(parent: &OwnedFd, name: &OsStr, node: &Node) -> bool {
    statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|s| {
        FileType::from_raw_mode(s.st_mode) == node.kind.file_type()
            && (node.kind == NodeKind::Fifo
                || (major(s.st_rdev), minor(s.st_rdev)) == (node.major, node.minor))
    })
}

/// The host's node of these numbers, wherever it is there.
fn bind(root: &RootDir, node: &Node) -> io::Result<()> {
    let class = match node.kind {
        NodeKind::Block => "block",
        _ => "char",
    };
    let by_number = PathBuf::from(format!("/dev/{class}/{}:{}", node.major, node.minor));
    for source in [&node.path, &by_number] {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let Ok(file) = openat(CWD, source, flags, Mode::empty()) else {
            continue;
        };
        let stat = fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) == node.kind.file_type()
            && (major(stat.st_rdev), minor(stat.st_rdev)) == (node.major, node.minor)
        {
            let target = root.open_or_create(&node.path, Kind::File, Links::Follow)?;
            let tree = mounts::clone_tree(file.as_fd(), Path::new(""), false)?;
            return mounts::place(&tree, &target);
        }
    }
    Err(Errno::NODEV.into())
}

impl NodeKind {
    fn file_type(self) -> FileType {
        match self {
            Self::Character => FileType::CharacterDevice,
            Self::Block => FileType::BlockDevice,
            Self::Fifo => FileType::Fifo,
        }
    }
}
