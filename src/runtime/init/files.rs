//! Files that the engine gives a container: /etc/hosts and the like. They are made in one small file
//! system in memory and bound one by one, so that starting a container writes no file to disk for them.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags, open, openat};
use rustix::mount::{MountFlags, OpenTreeFlags, mount, open_tree};

use super::{Context as _, Plan, Result, Stage};

/// A file, not yet anywhere, and where it goes.
pub(super) struct Detached {
    pub tree: OwnedFd,
    pub target: PathBuf,
}

/// Make them. The file system is mounted where the root will be: that covers it, and what leads to it
/// goes with the caller's mounts. Where the root is there already, as with fuse-overlayfs, it is
/// uncovered again.
pub(super) fn prepare(plan: &Plan) -> Result<Vec<Detached>> {
    if plan.files.is_empty() {
        return Ok(Vec::new());
    }
    let what = |name: &'static str| move || format!("{name} in memory");
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount(
        c"tmpfs",
        &plan.mountpoint,
        c"tmpfs",
        flags,
        c"mode=755,size=4m,nr_inodes=64",
    )
    .at(Stage::Mount, what("files"))?;
    let dir = open(
        &plan.mountpoint,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .at(Stage::Mount, what("files"))?;
    plan.files
        .iter()
        .enumerate()
        .map(|(number, (target, content))| {
            let at = || target.display().to_string();
            let name = number.to_string();
            let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let file =
                openat(&dir, &name, create, Mode::from_raw_mode(0o644)).at(Stage::Mount, at)?;
            rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644)).at(Stage::Mount, at)?;
            let mut rest = content.as_bytes();
            while !rest.is_empty() {
                let n = rustix::io::write(&file, rest).at(Stage::Mount, at)?;
                rest = &rest[n..];
            }
            let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
            Ok(Detached {
                tree: open_tree(&dir, &name, clone).at(Stage::Mount, at)?,
                target: target.clone(),
            })
        })
        .collect()
}
