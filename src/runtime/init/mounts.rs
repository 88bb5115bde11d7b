//! The mounts of the configuration, in their order, and the device nodes. Everything happens while the
//! host's files are still in reach; targets are resolved inside the root file system.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mkdirat, mknodat, symlinkat};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MoveMountFlags, OpenTreeFlags, mount, mount_bind, move_mount, open_tree,
};
use rustix::process::fchdir;

use super::memory::Memory;
use super::overlay::{self, OPTIONS_MAX};
use super::rootfs::{Kind, Links, RootDir};
use super::{Context as _, Plan, Result, Stage, own_proc};
use crate::runtime::plan::{Devices, Mount};
use crate::sys::mount::{Change, Depth, MountAttr, change_attributes, set_attributes};

/// Nodes that every container has (runtime-spec, config-linux.md "Default Devices").
const NODES: [(&CStr, &CStr); 6] = [
    (c"null", c"/dev/null"),
    (c"zero", c"/dev/zero"),
    (c"full", c"/dev/full"),
    (c"random", c"/dev/random"),
    (c"urandom", c"/dev/urandom"),
    (c"tty", c"/dev/tty"),
];

const LINKS: [(&CStr, &CStr); 6] = [
    (c"fd", c"/proc/self/fd"),
    (c"stdin", c"/proc/self/fd/0"),
    (c"stdout", c"/proc/self/fd/1"),
    (c"stderr", c"/proc/self/fd/2"),
    (c"core", c"/proc/kcore"),
    (c"ptmx", c"pts/ptmx"),
];

/// All of them.
pub(super) fn all(plan: &Plan, root: &RootDir, memory: &mut Memory) -> Result<()> {
    // First, so that the user's own mount at such a place covers it.
    for file in memory.files.drain(..) {
        let target = root.open_or_create(&file.target, Kind::File, Links::Follow);
        target
            .and_then(|target| place(&file.tree, &target))
            .at(Stage::Mount, || file.target.display().to_string())?;
    }
    let dev = Path::new("/dev");
    let mut populated = false;
    for (index, m) in plan.mounts.iter().enumerate() {
        // Devices right after /dev itself, so that what comes later may be mounted over them.
        match memory.take(index) {
            Some(tree) => point(&tree)
                .and_then(|kind| root.open_or_create(&m.destination, kind, Links::Follow))
                .and_then(|target| place(&tree, &target))
                .at(Stage::Mount, || describe(m))?,
            None => one(plan, root, m)?,
        }
        if m.destination == dev && plan.dev == Devices::Standard {
            standard_devices(root)?;
            populated = true;
        }
    }
    for secret in memory.secrets.drain(..) {
        let target = root.open_or_create(&secret.target, Kind::File, Links::Follow);
        target
            .and_then(|target| place(&secret.tree, &target))
            .at(Stage::Mount, || secret.target.display().to_string())?;
    }
    if !populated && plan.dev == Devices::Standard {
        standard_devices(root)?;
    }
    for d in &plan.devices {
        let what = || format!("device {}", d.source.display());
        let target = root
            .open_or_create(&d.path, Kind::File, Links::Follow)
            .at(Stage::Mount, what)?;
        clone_tree(CWD, &d.source, false)
            .and_then(|tree| place(&tree, &target))
            .at(Stage::Mount, what)?;
    }
    Ok(())
}

fn one(plan: &Plan, root: &RootDir, m: &Mount) -> Result<()> {
    match m.fstype.to_bytes() {
        _ if m.options.bind => bind(root, m),
        b"proc" => proc(plan, root, m),
        // A file system of a namespace that stays the outer one cannot be mounted anew.
        b"sysfs" if !plan.anew && !plan.has(libc::CLONE_NEWNET) => outer(root, m, "/sys"),
        b"sysfs" => or_outer(new(root, m, Links::Refuse), root, m, "/sys"),
        b"mqueue" if !plan.anew && !plan.has(libc::CLONE_NEWIPC) => {
            // A host that mounts none has none to share.
            match rustix::fs::stat(c"/dev/mqueue") {
                Ok(_) => outer(root, m, "/dev/mqueue"),
                Err(_) => Ok(()),
            }
        }
        b"cgroup" | b"cgroup2" => {
            let m = Mount {
                fstype: c"cgroup2".into(),
                ..m.clone()
            };
            or_outer(new(root, &m, Links::Follow), root, &m, "/sys/fs/cgroup")
        }
        b"mqueue" if plan.anew => or_outer(new(root, m, Links::Follow), root, m, "/dev/mqueue"),
        b"devpts" if plan.anew => {
            let mounted = new(root, m, Links::Follow);
            match without_group(m) {
                // As crun: tty's group, in a namespace that has none.
                Some(m) if is(&mounted, libc::EINVAL) => new(root, &m, Links::Follow),
                _ => mounted,
            }
            .at(Stage::Mount, || describe(m))
        }
        b"overlay" if m.options.data.len() > OPTIONS_MAX => root
            .open_or_create(&m.destination, Kind::Directory, Links::Follow)
            .and_then(|target| overlay::mount(&m.options.data, m.options.attr, &target))
            .at(Stage::Mount, || describe(m)),
        _ => new(root, m, Links::Follow).at(Stage::Mount, || describe(m)),
    }
}

fn is(result: &io::Result<()>, errno: i32) -> bool {
    matches!(result, Err(e) if e.raw_os_error() == Some(errno))
}

/// The same without the option that says whose group terminals are, if it has one.
fn without_group(m: &Mount) -> Option<Mount> {
    let words = m.options.data.split(',');
    let data: Vec<&str> = words.filter(|w| !w.starts_with("gid=")).collect();
    let mut other = m.clone();
    other.options.data = data.join(",");
    (other != *m).then_some(other)
}

fn describe(m: &Mount) -> String {
    format!("{} on {}", m.source.display(), m.destination.display())
}

/// A new instance of a file system.
fn new(root: &RootDir, m: &Mount, links: Links) -> io::Result<()> {
    let target = root.open_or_create(&m.destination, Kind::Directory, links)?;
    let covered = m.options.copy_up.then_some(target.as_fd());
    let data = CString::new(m.options.data.as_str())?;
    // mount(2) takes a path only, and "." is cheaper to resolve than one through /proc/self/fd.
    fchdir(&target)?;
    mount(
        &m.source,
        c".",
        &m.fstype,
        MountFlags::from_bits_retain(m.options.flags),
        Some(data.as_c_str()),
    )?;
    if let Some(covered) = covered {
        super::copy_up::copy(covered, root.open(&m.destination, links)?.as_fd())?;
    }
    if m.options.propagation != 0 {
        let mounted = root.open(&m.destination, links)?;
        set_attributes(
            mounted.as_fd(),
            c"",
            Depth::One,
            MountAttr::empty(),
            // Nothing is mounted below yet, and the call takes the type alone.
            u64::from(m.options.propagation) & !libc::MS_REC,
        )?;
    }
    Ok(())
}

fn proc(plan: &Plan, root: &RootDir, m: &Mount) -> Result<()> {
    if plan.anew && !plan.has(libc::CLONE_NEWPID) {
        return or_outer(new(root, m, Links::Refuse), root, m, "/proc");
    }
    if own_proc(plan) && plan.has(libc::CLONE_NEWPID) {
        new(root, m, Links::Refuse).at(Stage::Proc, || describe(m))
    } else {
        outer(root, m, "/proc")
    }
}

/// Where a new instance is forbidden (an outer container masks parts of its own), the outer one.
fn or_outer(result: io::Result<()>, root: &RootDir, m: &Mount, source: &str) -> Result<()> {
    match result {
        Err(e)
            if e.raw_os_error() == Some(libc::EPERM) || e.raw_os_error() == Some(libc::EBUSY) =>
        {
            outer(root, m, source)
        }
        other => other.at(Stage::Mount, || describe(m)),
    }
}

/// The caller's instance of a kernel file system, with the protections that the configuration asks for
/// on every mount below it.
fn outer(root: &RootDir, m: &Mount, source: &str) -> Result<()> {
    let bind = || -> io::Result<()> {
        let target = root.open_or_create(&m.destination, Kind::Directory, Links::Refuse)?;
        // Recursively: what an outer container mounted over parts of it is locked to it.
        let tree = clone_tree(CWD, Path::new(source), true)?;
        set_attributes(
            tree.as_fd(),
            c"",
            Depth::Recursive,
            m.options.attr,
            libc::MS_PRIVATE,
        )?;
        place(&tree, &target)
    };
    bind().at(Stage::Mount, || {
        format!("{source} on {}", m.destination.display())
    })
}

/// A file or directory of the host.
fn bind(root: &RootDir, m: &Mount) -> Result<()> {
    let o = &m.options;
    let go = || -> io::Result<()> {
        let tree = clone_tree(CWD, &m.source, o.recursive)?;
        // Attributes first, so that the mount is never reachable without them. Docker's "ro" is for
        // the mount itself, "rro" for all below; propagation goes with the tree.
        let propagation = u64::from(o.propagation) & !libc::MS_REC;
        if !o.attr.is_empty() {
            set_attributes(tree.as_fd(), c"", Depth::One, o.attr, 0)?;
        }
        if !o.attr_below.is_empty() || !o.clear_below.is_empty() {
            let change = Change {
                add: o.attr_below,
                clear: o.clear_below,
                ..Change::default()
            };
            change_attributes(tree.as_fd(), c"", Depth::Recursive, change)?;
        }
        if propagation != 0 {
            set_attributes(
                tree.as_fd(),
                c"",
                Depth::Recursive,
                MountAttr::empty(),
                propagation,
            )?;
        }
        let target = match root.open(&m.destination, Links::Follow) {
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {
                root.open_or_create(&m.destination, point(&tree)?, Links::Follow)
            }
            other => other,
        }?;
        place(&tree, &target)
    };
    go().at(Stage::Mount, || describe(m))
}

/// What a tree has to be mounted on.
fn point(tree: &OwnedFd) -> io::Result<Kind> {
    Ok(
        match FileType::from_raw_mode(rustix::fs::fstat(tree)?.st_mode) {
            FileType::Directory => Kind::Directory,
            _ => Kind::File,
        },
    )
}

pub(super) fn clone_tree(dir: BorrowedFd<'_>, path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if path.as_os_str().is_empty() {
        flags |= OpenTreeFlags::AT_EMPTY_PATH;
    }
    let tree = |recursive| {
        let extra = if recursive {
            OpenTreeFlags::AT_RECURSIVE
        } else {
            OpenTreeFlags::empty()
        };
        open_tree(dir, path, flags | extra)
    };
    match tree(recursive) {
        // Mounts of another user namespace below it are locked: all or nothing.
        Err(Errno::INVAL) if !recursive => Ok(tree(true)?),
        other => Ok(other?),
    }
}

pub(super) fn place(tree: &OwnedFd, target: &OwnedFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(tree, c"", target, c"", flags)?)
}

/// Mount points in a /dev that is new and empty.
const DIRECTORIES: [&CStr; 3] = [c"pts", c"shm", c"mqueue"];

/// Nodes cannot be made in a user namespace: those of the host are bound over empty files.
fn standard_devices(root: &RootDir) -> Result<()> {
    let dev = root
        .open_or_create(Path::new("/dev"), Kind::Directory, Links::Refuse)
        .at(Stage::Mount, || "/dev".into())?;
    fchdir(&dev).at(Stage::Mount, || "/dev".into())?;
    for (name, source) in NODES {
        let what = || format!("{source:?}");
        let mode = Mode::from_raw_mode(0o666);
        match mknodat(&dev, name, FileType::RegularFile, mode, 0) {
            Ok(()) => mount_bind(source, name).at(Stage::Mount, what)?,
            // The image's own /dev. It may be a link, which must lead to nowhere but the image.
            Err(Errno::EXIST) => {
                let path = Path::new("/dev").join(OsStr::from_bytes(name.to_bytes()));
                root.open_or_create(&path, Kind::File, Links::Follow)
                    .and_then(|target| {
                        let source = Path::new(OsStr::from_bytes(source.to_bytes()));
                        place(&clone_tree(CWD, source, false)?, &target)
                    })
                    .at(Stage::Mount, what)?;
            }
            Err(e) => return Err(e).at(Stage::Mount, what),
        }
    }
    for name in DIRECTORIES {
        match mkdirat(&dev, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e).at(Stage::Mount, || format!("{name:?}")),
        }
    }
    for (name, target) in LINKS {
        match symlinkat(target, &dev, name) {
            Err(Errno::EXIST) => {}
            other => other.at(Stage::Mount, || format!("symlink {name:?}"))?,
        }
    }
    Ok(())
}
