//! Finding what a path means: on this side as the caller's, in a container below its root.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, readlinkat, statat,
};
use rustix::io::Errno;

use super::decide::Target;
use super::wire::Seen;
use crate::layer::plain::{Naming, Source};
use crate::sys::scoped::openat2;

/// As the kernel's (path_resolution(7)).
const LINKS_MAX: u32 = 40;
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// What a path means, its links followed.
#[derive(Debug)]
pub(super) struct Place {
    /// The directory that it is in; or itself, if it has no name there.
    dir: OwnedFd,
    /// One component, which is no symbolic link.
    name: Option<Vec<u8>>,
    seen: Seen,
}

impl Place {
    pub(super) fn seen(&self) -> Seen {
        self.seen
    }

    /// To be read.
    pub(super) fn source(&self) -> Source<'_> {
        Source {
            dir: self.dir.as_fd(),
            name: self.name.as_deref(),
        }
    }

    /// Where a copy goes that has this target, and by what names.
    pub(super) fn target(self, target: Target) -> io::Result<(OwnedFd, Naming)> {
        match (target, self.name) {
            (Target::Into(naming), None) => Ok((self.dir, naming)),
            (Target::Into(naming), Some(name)) => {
                let flags = DIRECTORY | OFlags::NOFOLLOW;
                Ok((openat(&self.dir, name, flags, Mode::empty())?, naming))
            }
            (Target::Beside, Some(name)) => Ok((self.dir, Naming::As(name))),
            (Target::Beside, None) => Err(Errno::ISDIR.into()),
        }
    }

    /// Whether it is this directory.
    pub(super) fn is(&self, dir: BorrowedFd<'_>) -> bool {
        let id = |fd: BorrowedFd<'_>| fstat(fd).map(|s| (s.st_dev, s.st_ino));
        self.name.is_none() && id(self.dir.as_fd()).is_ok_and(|own| id(dir) == Ok(own))
    }
}

/// Follow `path`, below `root` if there is one. That its last component is missing is no error.
///
/// # Errors
/// Of openat2(2): what is on the way.
pub(super) fn find(root: Option<BorrowedFd<'_>>, path: &Path) -> io::Result<Place> {
    let mut path = path.as_os_str().as_bytes().to_vec();
    if path.is_empty() {
        return Err(Errno::NOENT.into());
    }
    for _ in 0..LINKS_MAX {
        let (parent, name, slash) = split(&path);
        let Some(name) = name else {
            return Ok(Place {
                dir: open(root, &path)?,
                name: None,
                seen: Seen::Directory,
            });
        };
        let dir = open(root, if parent.is_empty() { b"." } else { parent })?;
        let seen = match statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink => {
                    let target = readlinkat(&dir, name, Vec::new())?;
                    path = followed(parent, target.as_bytes(), slash);
                    continue;
                }
                FileType::Directory => Seen::Directory,
                _ if slash => return Err(Errno::NOTDIR.into()),
                _ => Seen::Other,
            },
            Err(Errno::NOENT) => Seen::Missing,
            Err(e) => return Err(e.into()),
        };
        return Ok(Place {
            name: Some(name.to_vec()),
            dir,
            seen,
        });
    }
    Err(Errno::LOOP.into())
}

fn open(root: Option<BorrowedFd<'_>>, path: &[u8]) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    Ok(match root {
        Some(root) => openat2(root, path, DIRECTORY, Mode::empty(), resolve)?,
        None => openat(CWD, path, DIRECTORY, Mode::empty())?,
    })
}

/// The directory on the way, the last component unless that is no name, and whether a slash follows it.
fn split(path: &[u8]) -> (&[u8], Option<&[u8]>, bool) {
    let end = path.iter().rposition(|b| *b != b'/').map_or(0, |i| i + 1);
    let trimmed = &path[..end];
    let start = trimmed
        .iter()
        .rposition(|b| *b == b'/')
        .map_or(0, |i| i + 1);
    let name = match &trimmed[start..] {
        b"" | b"." | b".." => None,
        name => Some(name),
    };
    (&path[..start], name, end < path.len())
}

/// The path that a link in the directory `parent` leads to.
fn followed(parent: &[u8], target: &[u8], slash: bool) -> Vec<u8> {
    let slash: &[u8] = if slash { b"/" } else { b"" };
    match target.starts_with(b"/") {
        true => [target, slash].concat(),
        false => [parent, target, slash].concat(),
    }
}

/// What is copied is called like this; none where the path says "what is in it".
pub(super) fn typed_name(path: &Path) -> Option<Vec<u8>> {
    let (_, name, _) = split(path.as_os_str().as_bytes());
    name.map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_path_is_split() {
        for (path, parent, name, slash) in [
            ("a", "", Some("a"), false),
            ("/a", "/", Some("a"), false),
            ("/a/b//", "/a/", Some("b"), true),
            ("a/.", "a/", None, false),
            ("a/./", "a/", None, true),
            ("..", "", None, false),
            ("/", "", None, true),
            (".", "", None, false),
        ] {
            let name = name.map(str::as_bytes);
            assert_eq!(
                split(path.as_bytes()),
                (parent.as_bytes(), name, slash),
                "{path}"
            );
        }
    }

    #[test]
    fn links_are_followed_and_never_out_of_a_root() {
        let tmp = tempfile::tempdir().unwrap();
        let root = tmp.path().join("root");
        fs::create_dir_all(root.join("etc/d")).unwrap();
        fs::write(root.join("etc/f"), "").unwrap();
        fs::write(tmp.path().join("secret"), "").unwrap();
        for (target, link) in [
            ("/etc", "abs"),
            ("etc/f", "file"),
            ("../../secret", "out"),
            ("/no", "dangling"),
            ("loop", "loop"),
            ("/etc/d", "etc/up"),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        let fd = open(None, root.as_os_str().as_bytes()).unwrap();
        let at = |path: &str| {
            let found = find(Some(fd.as_fd()), Path::new(path));
            let found = found.map_err(|e| e.raw_os_error().unwrap());
            found.map(|p| (p.seen, p.name.map(|n| String::from_utf8(n).unwrap())))
        };
        let some = |name: &str| Some(name.to_owned());
        for (path, want) in [
            ("/etc/f", Ok((Seen::Other, some("f")))),
            ("/abs/f", Ok((Seen::Other, some("f")))),
            ("/abs/up/", Ok((Seen::Directory, some("d")))),
            ("/abs/.", Ok((Seen::Directory, None))),
            ("/file", Ok((Seen::Other, some("f")))),
            ("/file/", Err(libc::ENOTDIR)),
            // Where `..` ends is the root.
            ("/out", Ok((Seen::Missing, some("secret")))),
            ("/../../secret", Ok((Seen::Missing, some("secret")))),
            ("/dangling", Ok((Seen::Missing, some("no")))),
            ("/loop", Err(libc::ELOOP)),
            ("/none/f", Err(libc::ENOENT)),
            ("/etc/f/x", Err(libc::ENOTDIR)),
        ] {
            assert_eq!(at(path), want, "{path}");
        }
    }
}
