//! What the engine gives a container in memory: /etc/hosts and the like, /dev, /dev/shm, and the empty
//! directory that covers what is hidden. One file system for all, whose parts are bound one by one: making
//! and ending one costs more than all that is put into it, and so a start writes no file to disk for them.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, XattrFlags, fchmod, fsetxattr, mkdirat, open, openat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, OpenTreeFlags, mount, open_tree};

use super::{Context as _, Plan, Result, Stage};
use crate::runtime::plan::{Devices, MemoryFile, Mount};
use crate::sys::mount::{Depth, MountAttr, set_attributes};

/// The parts, not yet anywhere.
#[derive(Default)]
pub(super) struct Memory {
    pub files: Vec<Detached>,
    /// The same, for after all mounts.
    pub secrets: Vec<Detached>,
    /// What mounts of the configuration are to be, by their index: /dev, where [`is_dev`] says so, and
    /// with it /dev/shm, where [`is_shm`] does.
    mounts: Vec<(usize, OwnedFd)>,
    /// An empty directory, read-only.
    pub empty: Option<OwnedFd>,
}

/// A file and where it goes.
pub(super) struct Detached {
    pub tree: OwnedFd,
    pub target: PathBuf,
}

/// Whether a mount is the /dev that the engine fills.
pub(super) fn is_dev(plan: &Plan, m: &Mount) -> bool {
    plan.dev == Devices::Standard
        && m.destination == Path::new("/dev")
        && m.fstype.as_bytes() == b"tmpfs"
        && m.options.propagation == 0
}

/// Whether a mount is the /dev/shm that may share the memory of `dev`: no less and no more may be put
/// into it than if it were a file system of its own.
fn is_shm(dev: &Mount, m: &Mount) -> bool {
    let size = |m: &Mount| {
        let mut words = m.options.data.split(',');
        words.find_map(|w| Some(w.strip_prefix("size=")?.to_owned()))
    };
    m.destination == Path::new("/dev/shm")
        && m.fstype.as_bytes() == b"tmpfs"
        && m.options.propagation == 0
        && size(dev).is_some_and(|size| m.options.data == format!("mode=1777,size={size}"))
}

impl Memory {
    /// Parts that somebody else made: mounts by their index, and what covers what is hidden.
    pub(super) fn given(mounts: Vec<(usize, OwnedFd)>, empty: Option<OwnedFd>) -> Self {
        Self {
            mounts,
            empty,
            ..Self::default()
        }
    }

    /// The part that mount number `index` of the configuration is to be, if it is one.
    pub(super) fn take(&mut self, index: usize) -> Option<OwnedFd> {
        let found = self.mounts.iter().position(|(i, _)| *i == index)?;
        Some(self.mounts.swap_remove(found).1)
    }
}

/// Make them. The file system is mounted where the root will be, which covers it, and goes with the
/// caller's mounts.
pub(super) fn prepare(plan: &Plan) -> Result<Memory> {
    let mut mounts = plan.mounts.iter().enumerate();
    let dev = mounts.find(|(_, m)| is_dev(plan, m));
    // Not one before /dev, which will be covered.
    let shm = dev.and_then(|(_, dev)| mounts.find(|(_, m)| is_shm(dev, m)));
    let mut parts = Memory::default();
    if plan.files.is_empty() && plan.secrets.is_empty() && plan.masked.is_empty() && dev.is_none() {
        return Ok(parts);
    }
    let what = || "files in memory".to_owned();
    // As much as the configuration allows for /dev: the rest is next to nothing.
    let (flags, data) = match dev {
        Some((_, m)) => (m.options.flags, m.options.data.as_str()),
        None => (0, "mode=755,size=4m,nr_inodes=64"),
    };
    let (flags, place) = (MountFlags::from_bits_retain(flags), &plan.mountpoint);
    let data = std::ffi::CString::new(data).map_err(io::Error::from);
    let all = data
        .and_then(|data| {
            mount(c"tmpfs", place, c"tmpfs", flags, data.as_c_str())?;
            let path = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            Ok(open(place, path, Mode::empty())?)
        })
        .at(Stage::Mount, what)?;
    if let Some((index, _)) = dev {
        let tree = directory(&all, "dev", 0o755).at(Stage::Mount, what)?;
        parts.mounts.push((index, tree));
    }
    if let Some((index, m)) = shm {
        let tree = directory(&all, "shm", 0o1777).at(Stage::Mount, what)?;
        set_attributes(tree.as_fd(), c"", Depth::One, m.options.attr, 0).at(Stage::Mount, what)?;
        parts.mounts.push((index, tree));
    }
    // What is no place for devices needs neither them nor programs.
    let least = MountAttr::NOSUID | MountAttr::NODEV | MountAttr::NOEXEC;
    set_attributes(all.as_fd(), c"", Depth::One, least, 0).at(Stage::Mount, what)?;
    for (number, (target, content)) in plan.files.iter().enumerate() {
        parts.files.push(Detached {
            tree: file(&all, &number.to_string(), content.as_bytes())
                .at(Stage::Mount, || target.display().to_string())?,
            target: target.clone(),
        });
    }
    for (number, secret) in plan.secrets.iter().enumerate() {
        parts.secrets.push(Detached {
            tree: private_file(&all, &format!("s{number}"), secret)
                .at(Stage::Mount, || secret.target.display().to_string())?,
            target: secret.target.clone(),
        });
    }
    if !plan.masked.is_empty() {
        let empty = directory(&all, "empty", 0o755).at(Stage::Mount, what)?;
        set_attributes(empty.as_fd(), c"", Depth::One, MountAttr::RDONLY, 0)
            .at(Stage::Mount, what)?;
        parts.empty = Some(empty);
    }
    Ok(parts)
}

fn detached(dir: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    Ok(open_tree(dir, name, clone)?)
}

fn directory(dir: &OwnedFd, name: &str, mode: u32) -> io::Result<OwnedFd> {
    mkdirat(dir, name, Mode::from_raw_mode(mode))?;
    detached(dir, name)
}

fn file(dir: &OwnedFd, name: &str, content: &[u8]) -> io::Result<OwnedFd> {
    written(dir, name, 0o644, content)?;
    detached(dir, name)
}

fn private_file(dir: &OwnedFd, name: &str, secret: &MemoryFile) -> io::Result<OwnedFd> {
    let file = written(dir, name, 0o600, &secret.content)?;
    if let Some((name, value)) = &secret.attribute {
        match fsetxattr(&file, *name, value, XattrFlags::empty()) {
            // Before Linux 6.6 a file system in memory has none of the user's: it is root's then.
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(e) => return Err(e.into()),
        }
    }
    // After that, which needs the right to write.
    fchmod(&file, Mode::from_raw_mode(secret.mode))?;
    detached(dir, name)
}

fn written(dir: &OwnedFd, name: &str, mode: u32, mut content: &[u8]) -> io::Result<OwnedFd> {
    let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = openat(dir, name, create, Mode::from_raw_mode(mode))?;
    while !content.is_empty() {
        let n = rustix::io::write(&file, content)?;
        content = &content[n..];
    }
    Ok(file)
}
