//! The directory of a `--rm` container that is over, kept for the next one: making and removing its
//! directories and its file is otherwise a good part of the CPU time of a start, more on a file system
//! that discards each freed block at once.
//!
//! At most one, under a name that is no id. Whoever renames it has it. What the container could write
//! to is not in it: the writable layer is always a new directory, since somebody else may have been
//! given a descriptor of the old one. The configuration is spoiled by one byte, so that nobody takes
//! the old one for the new container's, and is written over in place.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with, rmdir};
use rustix::io::Errno;

use super::atomic;
use super::containers::{CONFIG, UPPER, WORK};
use crate::trees::clear_scratch;

/// Its name beside the containers.
const SPARE: &str = ".spare";
/// First byte of a configuration that is not one yet.
pub(super) const SPOILED: u8 = 0;

/// Make it the container `path`, if there is one.
pub(super) fn take(ephemeral: &Path, path: &Path) -> bool {
    rename(&ephemeral.join(SPARE), path)
}

/// Keep the directory of a container that is over; `dir` is the open directory `path`. `false`: it is
/// still there, to be removed.
pub(super) fn keep(ephemeral: &Path, path: &Path, dir: &OwnedFd) -> bool {
    // Whatever goes wrong, removing it is right.
    let known = || {
        let mut names = atomic::names_in(dir)?;
        names.sort();
        Ok::<_, Errno>(names == [CONFIG, UPPER, WORK])
    };
    known().unwrap_or(false)
        // Fails if the container has written anything.
        && rmdir(path.join(UPPER)).is_ok()
        && clear_scratch(&path.join(WORK)).is_ok()
        && spoil(&path.join(CONFIG)).is_ok()
        && rename(path, &ephemeral.join(SPARE))
}

fn spoil(config: &Path) -> io::Result<()> {
    open(config)?.write_all_at(&[SPOILED], 0)
}

/// Write the configuration of a container that was made by [`take`]. The first byte, which makes it
/// one, comes last.
pub(super) fn write_config(config: &Path, json: &[u8]) -> io::Result<()> {
    let (first, rest) = json.split_at(json.len().min(1));
    let file = open(config)?;
    // Not emptied first: blocks that are freed and taken again are what this saves.
    file.write_all_at(rest, 1)?;
    file.set_len(json.len() as u64)?;
    file.write_all_at(first, 0)
}

fn open(config: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(libc::O_NOFOLLOW)
        .open(config)
}

/// Without replacing anything. Where the file system cannot promise that, there are no spares.
fn rename(from: &Path, to: &Path) -> bool {
    renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE).is_ok()
}
