//! Layers and options to a root file system: a kernel overlay, fuse-overlayfs, or a plain directory
//! (a copy of the layers, or one that the user brings).
//!
//! [`Root`] is a plan, made outside; [`Root::attach`] carries it out inside the container's user and
//! mount namespaces.

mod content;
mod flatten;
mod implied;
mod overlay;
mod view;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

pub use flatten::{Error as FlattenError, flatten, flatten_below};
pub use implied::{Restated, Xattr, restated};
pub use overlay::options as overlay_options;
pub use view::{Error as ViewError, LayeredView};

/// How layers become one tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Driver {
    /// The kernel's overlay with `userxattr`, Linux 5.11.
    Overlay,
    /// The fuse-overlayfs program.
    FuseOverlayfs,
    /// A copy of all layers in a directory.
    Copy,
}

impl Driver {
    /// The word for `--storage-driver`, as podman's configuration has it where it has one.
    pub fn name(self) -> &'static str {
        match self {
            Self::Overlay => "overlay",
            Self::FuseOverlayfs => "fuse-overlayfs",
            Self::Copy => "copy",
        }
    }
}

/// The directories of a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// Read-only layers, the topmost first. Never empty.
    pub lowers: Vec<PathBuf>,
    /// What the container writes.
    pub upper: PathBuf,
    /// Scratch space of the overlay, on the file system of `upper`.
    pub work: PathBuf,
    /// What is written goes when the container does: nothing needs to be forced to disk. Without this, the
    /// end of an overlay waits until everything on the file system of `upper` is written, also what others
    /// have written there.
    pub volatile: bool,
}

/// The layers that can be seen: those below one whose root directory is opaque cannot, and the kernel
/// does not look for that mark on the root of a layer. `layers` has the topmost first.
pub fn visible(mut layers: Vec<PathBuf>) -> Vec<PathBuf> {
    let opaque = |layer: &PathBuf| {
        let mut value = [0u8; 1];
        rustix::fs::getxattr(layer, c"user.overlay.opaque", &mut value)
            .is_ok_and(|n| value[..n] == *b"y")
    };
    if let Some(last) = layers.iter().position(opaque) {
        layers.truncate(last + 1);
    }
    layers
}

/// A root file system to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// A kernel overlay.
    Overlay(Stack),
    /// A fuse-overlayfs mount, which the child makes and the parent serves: the program must not be a
    /// process of the container.
    Fuse(Stack),
    /// A directory as it is.
    Directory(PathBuf),
}

/// Why a root file system could not be attached.
#[derive(Debug, thiserror::Error)]
#[error("{call}({path}): {source}")]
pub struct Error {
    /// The system call that failed.
    pub call: &'static str,
    /// What it was about.
    pub path: String,
    /// The errno.
    pub source: io::Error,
}

impl Error {
    fn new(call: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self {
            call,
            path: path.display().to_string(),
            source: source.into(),
        }
    }
}

impl Root {
    /// Mount at `target`, an existing directory, in the mount namespace of the caller, which must be
    /// the container's.
    pub fn attach(&self, target: &Path) -> Result<(), Error> {
        match self {
            Self::Overlay(stack) => overlay::attach(stack, target),
            // Already there: see `Root::Fuse`.
            Self::Fuse(_) => Ok(()),
            // Recursively, since mounts below that came from the outside are locked together.
            Self::Directory(dir) => rustix::mount::mount_bind_recursive(dir, target)
                .map_err(|e| Error::new("mount", dir, e)),
        }
    }
}

/// Arguments of fuse-overlayfs(1) for a stack mounted at `target`.
pub fn fuse_arguments(stack: &Stack, target: &Path) -> Vec<OsString> {
    let mut options = OsString::from("lowerdir=");
    for (i, lower) in stack.lowers.iter().enumerate() {
        if i > 0 {
            options.push(":");
        }
        options.push(lower);
    }
    options.push(",upperdir=");
    options.push(&stack.upper);
    options.push(",workdir=");
    options.push(&stack.work);
    vec!["-o".into(), options, target.into()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_shows_below_an_opaque_root() {
        let dir = tempfile::tempdir().unwrap();
        let layers: Vec<PathBuf> = (0..3).map(|n| dir.path().join(n.to_string())).collect();
        layers.iter().for_each(|l| std::fs::create_dir(l).unwrap());
        assert_eq!(visible(layers.clone()), layers);
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(&layers[1], c"user.overlay.opaque", b"y", flags).unwrap();
        assert_eq!(visible(layers.clone()), layers[..2]);
    }
}
