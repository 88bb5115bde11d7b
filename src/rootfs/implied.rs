//! Directories that a layer has only because something below them is listed in its tar.
//!
//! Such a layer says nothing about them, but its directory is on top of the others, and overlay shows
//! the mode, times and xattrs of the topmost. What should show are those of the highest layer that
//! lists the directory and is not hidden. [`restated`] finds where that differs, so that one more
//! layer on top can put it right, whatever the driver.
//!
//! The trees are hostile and are opened without following symlinks. Used by `ops` when an image comes
//! in; needs no namespace.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Stat, fgetxattr, flistxattr, openat, statat,
};
use rustix::io::Errno;

use super::view::Error;
use crate::trees::{Seen, is_opaque, look, open_child, open_dir};

/// Name and value.
pub type Xattr = (Vec<u8>, Vec<u8>);

/// A directory, as the layer has it whose word counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restated {
    /// Path in the image, relative; empty for the root.
    pub path: Vec<u8>,
    /// Index of the layer.
    pub layer: usize,
    /// Permission bits.
    pub mode: u32,
    /// Seconds and nanoseconds.
    pub mtime: (i64, u32),
    /// Names and values of user xattrs.
    pub xattrs: Vec<Xattr>,
}

/// What a layer on top of `layers` (the topmost first) has to say, sorted by path: directories that
/// the layer showing them merely implies, while a lower one lists them, with their parents. `implied`
/// has for each layer the directories that its tar does not list.
///
/// A directory below one that shuts out its owner cannot be looked up without privileges, and is left
/// as it is.
pub fn restated(layers: &[PathBuf], implied: &[BTreeSet<Vec<u8>>]) -> Result<Vec<Restated>, Error> {
    let mut stack = Layers {
        layers,
        implied,
        known: HashMap::new(),
    };
    let mut found: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    // Nothing is below the lowest one.
    let upper = implied.len().saturating_sub(1);
    for path in implied[..upper].iter().flatten() {
        if path.is_empty() || found.contains_key(path) {
            continue;
        }
        let parts = stack.parts(path)?;
        if parts
            .first()
            .is_some_and(|top| implied[*top].contains(path))
            && let Some(layer) = stack.lists(path)?
        {
            found.insert(path.clone(), layer);
        }
    }
    for path in found.keys().cloned().collect::<Vec<_>>() {
        let mut rest = path.as_slice();
        while let Some(at) = rest.iter().rposition(|b| *b == b'/') {
            rest = &rest[..at];
            if !found.contains_key(rest)
                && let Some(layer) = stack.lists(rest)?
            {
                found.insert(rest.to_vec(), layer);
            }
        }
    }
    // Every layer has a root. That it is not listed is usual, and the mode is all that could be missed.
    if let Some(layer) = stack.lists(b"")? {
        let top = stack.stat(0, b"")?.st_mode;
        if !found.is_empty() || top != stack.stat(layer, b"")?.st_mode {
            found.insert(Vec::new(), layer);
        }
    }
    found
        .into_iter()
        .map(|(path, layer)| stack.describe(path, layer))
        .collect()
}

struct Layers<'a> {
    layers: &'a [PathBuf],
    implied: &'a [BTreeSet<Vec<u8>>],
    /// See [`Layers::parts`].
    known: HashMap<Vec<u8>, Vec<usize>>,
}

impl Layers<'_> {
    /// The layers that take part in a directory of the merged tree, the topmost first; none if it has
    /// no such directory.
    fn parts(&mut self, path: &[u8]) -> Result<Vec<usize>, Error> {
        if let Some(parts) = self.known.get(path) {
            return Ok(parts.clone());
        }
        let parts = match split(path) {
            None => self.roots()?,
            Some((parent, name)) => {
                let above = self.parts(parent)?;
                self.children(&above, parent, name, path)?
            }
        };
        self.known.insert(path.to_vec(), parts.clone());
        Ok(parts)
    }

    fn roots(&self) -> Result<Vec<usize>, Error> {
        let mut parts = Vec::new();
        for layer in 0..self.layers.len() {
            parts.push(layer);
            let root = self.open(layer, b"")?;
            if is_opaque(root.as_fd()).map_err(self.failed("getxattr", layer, b""))? {
                break;
            }
        }
        Ok(parts)
    }

    fn children(
        &self,
        above: &[usize],
        parent: &[u8],
        name: &[u8],
        path: &[u8],
    ) -> Result<Vec<usize>, Error> {
        let mut parts = Vec::new();
        for &layer in above {
            let dir = match self.open(layer, parent) {
                Err(Error::Sys {
                    source: Errno::ACCESS,
                    ..
                }) => break,
                dir => dir?,
            };
            match look(dir.as_fd(), name) {
                Ok(Seen::Nothing) => continue,
                Ok(Seen::Entry(stat))
                    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {}
                // What is not a directory hides one, and so does a directory that cannot be read.
                Ok(Seen::Whiteout | Seen::Entry(_)) | Err(Errno::ACCESS) => break,
                Err(e) => return Err(self.failed("fstatat", layer, path)(e)),
            }
            parts.push(layer);
            match open_child(dir.as_fd(), name).and_then(|child| is_opaque(child.as_fd())) {
                Ok(false) => {}
                // Unreadable, so not implied: its word counts, and what is below it does not.
                Ok(true) | Err(Errno::ACCESS) => break,
                Err(e) => return Err(self.failed("openat", layer, path)(e)),
            }
        }
        Ok(parts)
    }

    /// The highest layer that lists a directory, among those that take part in it.
    fn lists(&mut self, path: &[u8]) -> Result<Option<usize>, Error> {
        let parts = self.parts(path)?;
        Ok(parts.into_iter().find(|l| !self.implied[*l].contains(path)))
    }

    fn describe(&self, path: Vec<u8>, layer: usize) -> Result<Restated, Error> {
        let stat = self.stat(layer, &path)?;
        let xattrs = match self.open(layer, &path) {
            Ok(dir) => user_xattrs(&dir).map_err(self.failed("getxattr", layer, &path))?,
            Err(Error::Sys {
                source: Errno::ACCESS,
                ..
            }) => Vec::new(),
            Err(e) => return Err(e),
        };
        Ok(Restated {
            layer,
            mode: stat.st_mode & 0o7777,
            mtime: (
                stat.st_mtime,
                u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
            ),
            xattrs,
            path,
        })
    }

    fn stat(&self, layer: usize, path: &[u8]) -> Result<Stat, Error> {
        let (parent, name) = split(path).unwrap_or((b"", b"."));
        let dir = self.open(layer, parent)?;
        statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(self.failed("fstatat", layer, path))
    }

    fn open(&self, layer: usize, path: &[u8]) -> Result<OwnedFd, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(CWD, &self.layers[layer], flags, Mode::empty())
            .and_then(|root| open_dir(root, path))
            .map_err(self.failed("openat2", layer, path))
    }

    fn failed(&self, call: &'static str, layer: usize, path: &[u8]) -> impl Fn(Errno) -> Error {
        let (layer, path) = (
            self.layers[layer].clone(),
            PathBuf::from(OsStr::from_bytes(path)),
        );
        move |source| Error::Sys {
            call,
            path: path.clone(),
            layer: layer.clone(),
            source,
        }
    }
}

/// Parent and last component; `None` for the root.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    let at = path.iter().rposition(|b| *b == b'/');
    Some(at.map_or((&b""[..], path), |at| (&path[..at], &path[at + 1..])))
}

fn user_xattrs(dir: &OwnedFd) -> Result<Vec<Xattr>, Errno> {
    let mut names = vec![0; 1 << 16];
    let len = match flistxattr(dir, &mut names[..]) {
        Err(Errno::OPNOTSUPP) => 0,
        len => len?,
    };
    let mut value = vec![0; 1 << 16];
    let names = names[..len].split(|b| *b == 0);
    names
        .filter(|name| name.starts_with(b"user."))
        .map(|name| {
            let len = fgetxattr(dir, name, &mut value[..])?;
            Ok((name.to_vec(), value[..len].to_vec()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use rustix::fs::{XattrFlags, setxattr};

    use super::*;

    /// Layers, the topmost first: directories with a mode; 0 stands for an implied one.
    fn stack(
        layers: &[&[(&str, u32)]],
    ) -> (tempfile::TempDir, Vec<PathBuf>, Vec<BTreeSet<Vec<u8>>>) {
        let dir = tempfile::tempdir().unwrap();
        let (mut paths, mut implied) = (Vec::new(), Vec::new());
        for (i, layer) in layers.iter().enumerate() {
            let root = dir.path().join(i.to_string());
            fs::create_dir(&root).unwrap();
            let mut unlisted = BTreeSet::new();
            for (path, mode) in *layer {
                let at = root.join(path);
                fs::create_dir_all(&at).unwrap();
                let mode = if *mode == 0 {
                    unlisted.insert(path.as_bytes().to_vec());
                    0o755
                } else {
                    *mode
                };
                fs::set_permissions(&at, Permissions::from_mode(mode)).unwrap();
            }
            paths.push(root);
            implied.push(unlisted);
        }
        (dir, paths, implied)
    }

    fn found(paths: &[PathBuf], implied: &[BTreeSet<Vec<u8>>]) -> Vec<(String, usize, u32)> {
        let found = restated(paths, implied).unwrap();
        let tell = |r: Restated| (String::from_utf8(r.path).unwrap(), r.layer, r.mode);
        found.into_iter().map(tell).collect()
    }

    #[test]
    fn the_highest_layer_that_lists_a_directory_counts() {
        let (_dir, paths, implied) = stack(&[
            &[("", 0), ("a", 0), ("a/b", 0), ("new", 0), ("listed", 0o711)],
            &[("", 0), ("a", 0o750), ("a/b", 0)],
            &[
                ("", 0o755),
                ("a", 0o700),
                ("a/b", 0o1777),
                ("listed", 0o755),
            ],
        ]);
        let want = [("", 2, 0o755), ("a", 1, 0o750), ("a/b", 2, 0o1777)];
        let want: Vec<_> = want.map(|(p, l, m)| (p.to_owned(), l, m)).into();
        assert_eq!(found(&paths, &implied), want);
    }

    #[test]
    fn nothing_to_say_makes_no_layer() {
        let (_dir, paths, implied) = stack(&[
            &[("", 0), ("a", 0o755), ("b", 0)],
            &[("", 0o755), ("a", 0o700)],
        ]);
        assert_eq!(found(&paths, &implied), []);
        // The mode of the root is not to be lost, even so.
        fs::set_permissions(&paths[1], Permissions::from_mode(0o700)).unwrap();
        assert_eq!(found(&paths, &implied), [(String::new(), 1, 0o700)]);
    }

    #[test]
    fn what_is_hidden_does_not_count() {
        let hidden = |hide: &dyn Fn(&PathBuf)| {
            let (_dir, paths, implied) = stack(&[
                &[("", 0o755), ("a", 0), ("a/b", 0)],
                &[("", 0o755)],
                &[("", 0o755), ("a", 0o700), ("a/b", 0o700)],
            ]);
            hide(&paths[1]);
            found(&paths, &implied)
        };
        assert_eq!(hidden(&|_| ()).len(), 3);
        let opaque = |at: &PathBuf| {
            setxattr(at, c"user.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
        };
        assert_eq!(hidden(&opaque), []);
        assert_eq!(hidden(&|l| fs::write(l.join("a"), "a file").unwrap()), []);
        assert_eq!(hidden(&|l| fs::write(l.join(".wh.a"), "").unwrap()), []);
        let b_alone = hidden(&|l| {
            fs::create_dir(l.join("a")).unwrap();
            opaque(&l.join("a"));
        });
        // That layer lists `a`, and hides what was in it.
        let a: Vec<_> = b_alone.iter().map(|(p, l, _)| (p.as_str(), *l)).collect();
        assert_eq!(a, [("", 0), ("a", 1)]);
    }
}
