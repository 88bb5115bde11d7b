//! Read single files of an image before anything is mounted: `/etc/passwd` to resolve `USER`,
//! `/etc/group` for its groups; and find out where a path of a volume leads to.
//!
//! Looks a path up through the layer directories as overlay would merge them: whiteouts and opaque
//! directories hide, symlinks are resolved inside the merged root (`..` stops there). The tree is
//! hostile: each component is opened by itself with `O_NOFOLLOW`, so nothing outside the layers is
//! ever opened; nor is anything but a regular file, which cannot block. Needs no namespace; one
//! descriptor is open at a time, whatever the number of layers.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, openat, readlinkat};
use rustix::io::Errno;

use crate::trees::{Seen, is_opaque, look, open_child};

/// As the kernel's own limit (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    #[error("{call} {path:?} in layer {layer:?} failed")]
    Sys {
        /// The system call.
        call: &'static str,
        /// Path in the layer.
        path: PathBuf,
        /// Directory of the layer.
        layer: PathBuf,
        /// What the kernel said.
        #[source]
        source: Errno,
    },
    /// More than 40 symlinks on the way.
    #[error("{path:?} of the image: too many symbolic links")]
    Loop {
        /// The path asked for.
        path: PathBuf,
    },
    /// A directory, or something else that cannot be read to its end.
    #[error("{path:?} of the image is not a regular file")]
    NotAFile {
        /// The path asked for.
        path: PathBuf,
    },
    /// Larger than the caller is ready for.
    #[error("{path:?} of the image is larger than {max} bytes")]
    TooLarge {
        /// The path asked for.
        path: PathBuf,
        /// The limit in bytes.
        max: u64,
    },
}

impl Error {
    /// What the user can do about it, if we know.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Sys {
                source: Errno::NOENT,
                ..
            } => Some("the store is damaged: remove the image and pull it again".to_owned()),
            _ => None,
        }
    }
}

/// Unpacked layers as one tree.
#[derive(Clone, Debug)]
pub struct LayeredView {
    layers: Vec<PathBuf>,
}

/// What the merged tree has under a name.
enum Found {
    Dir,
    Symlink(Vec<u8>),
    File(OwnedFd),
    Other,
}

/// A path without symlinks, and what is there.
type Place = (Vec<Vec<u8>>, Found);

impl LayeredView {
    /// A view of layer directories, the top one first.
    pub fn new(layers: &[PathBuf]) -> Self {
        Self {
            layers: layers.to_vec(),
        }
    }

    /// Content of the file `path` (from the root of the image, with or without a leading slash), or
    /// `None` if there is none. Fails if it has more than `max` bytes.
    pub fn read_file(&self, path: &str, max: u64) -> Result<Option<Vec<u8>>, Error> {
        let asked = || PathBuf::from(path);
        let fd = match self.walk(path.as_bytes())? {
            None => return Ok(None),
            Some((_, Found::File(fd))) => fd,
            Some(_) => return Err(Error::NotAFile { path: asked() }),
        };
        let mut content = Vec::new();
        let read = File::from(fd)
            .take(max.saturating_add(1))
            .read_to_end(&mut content);
        read.map_err(|e| Error::Sys {
            call: "read",
            path: asked(),
            layer: PathBuf::new(),
            source: Errno::from_io_error(&e).unwrap_or(Errno::IO),
        })?;
        if content.len() as u64 > max {
            return Err(Error::TooLarge { path: asked(), max });
        }
        Ok(Some(content))
    }

    /// Where `path` leads to in the merged tree, relative and without symlinks, if that is a directory.
    pub fn directory(&self, path: &Path) -> Result<Option<Vec<u8>>, Error> {
        let found = self.walk(path.as_os_str().as_bytes())?;
        Ok(found.and_then(|(at, what)| matches!(what, Found::Dir).then(|| at.join(&b'/'))))
    }

    /// Follow a path, and its symlinks, from the root of the image.
    fn walk(&self, path: &[u8]) -> Result<Option<Place>, Error> {
        let mut todo: VecDeque<Vec<u8>> = components(path).collect();
        let mut at: Vec<Vec<u8>> = Vec::new();
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            if name == b".." {
                at.pop();
                continue;
            }
            at.push(name);
            match self.lookup(&at)? {
                None => return Ok(None),
                Some(Found::Dir) => {}
                Some(Found::Symlink(target)) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(Error::Loop {
                            path: PathBuf::from(OsStr::from_bytes(path)),
                        });
                    }
                    if target.starts_with(b"/") {
                        at.clear();
                    } else {
                        at.pop();
                    }
                    for part in components(&target).collect::<Vec<_>>().into_iter().rev() {
                        todo.push_front(part);
                    }
                }
                // A file used as a directory: there is nothing below it.
                Some(Found::File(_) | Found::Other) if !todo.is_empty() => return Ok(None),
                Some(found) => return Ok(Some((at, found))),
            }
        }
        Ok(Some((at, Found::Dir)))
    }

    /// Look up a path whose parents are directories of the merged tree, not symlinks.
    fn lookup(&self, path: &[Vec<u8>]) -> Result<Option<Found>, Error> {
        let Some((last, parents)) = path.split_last() else {
            return Ok(Some(Found::Dir));
        };
        for layer in &self.layers {
            let failed = |call, depth: usize| {
                move |source| Error::Sys {
                    call,
                    path: PathBuf::from(OsStr::from_bytes(&path[..depth].join(&b'/'))),
                    layer: layer.clone(),
                    source,
                }
            };
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let mut dir = openat(CWD, layer, flags, Mode::empty()).map_err(failed("openat", 0))?;
            let mut hides = is_opaque(dir.as_fd()).map_err(failed("getxattr", 0))?;
            let mut absent = false;
            for (i, name) in parents.iter().enumerate() {
                match look(dir.as_fd(), name).map_err(failed("fstatat", i + 1))? {
                    Seen::Nothing => {
                        absent = true;
                        break;
                    }
                    Seen::Entry(stat)
                        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {}
                    // A higher layer has a directory here, which this one does not merge with.
                    Seen::Whiteout | Seen::Entry(_) => return Ok(None),
                }
                dir = open_child(dir.as_fd(), name).map_err(failed("openat", i + 1))?;
                hides |= is_opaque(dir.as_fd()).map_err(failed("getxattr", i + 1))?;
            }
            if !absent {
                let depth = path.len();
                match look(dir.as_fd(), last).map_err(failed("fstatat", depth))? {
                    Seen::Nothing => {}
                    Seen::Whiteout => return Ok(None),
                    Seen::Entry(stat) => {
                        return Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
                            FileType::Directory => Found::Dir,
                            FileType::Symlink => Found::Symlink(
                                readlinkat(&dir, last.as_slice(), Vec::new())
                                    .map_err(failed("readlinkat", depth))?
                                    .into_bytes(),
                            ),
                            FileType::RegularFile => {
                                let flags = OFlags::RDONLY
                                    | OFlags::NOFOLLOW
                                    | OFlags::NONBLOCK
                                    | OFlags::CLOEXEC;
                                Found::File(
                                    openat(&dir, last.as_slice(), flags, Mode::empty())
                                        .map_err(failed("openat", depth))?,
                                )
                            }
                            _ => Found::Other,
                        }));
                    }
                }
            }
            if hides {
                return Ok(None);
            }
        }
        Ok(None)
    }
}

fn components(path: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    path.split(|b| *b == b'/')
        .filter(|p| !p.is_empty() && *p != b".")
        .map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{XattrFlags, mknodat, setxattr};
    use std::fs;
    use std::os::unix::fs::symlink;

    /// Layers in a temporary directory, `0` being the top one.
    struct Layers(tempfile::TempDir, usize);

    impl Layers {
        fn new(n: usize) -> Self {
            let dir = tempfile::tempdir().unwrap();
            for i in 0..n {
                fs::create_dir(dir.path().join(i.to_string())).unwrap();
            }
            Self(dir, n)
        }

        fn at(&self, layer: usize, path: &str) -> PathBuf {
            let path = self.0.path().join(layer.to_string()).join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        }

        fn file(&self, layer: usize, path: &str) -> &Self {
            fs::write(self.at(layer, path), layer.to_string()).unwrap();
            self
        }

        fn link(&self, layer: usize, path: &str, target: &str) -> &Self {
            symlink(target, self.at(layer, path)).unwrap();
            self
        }

        fn whiteout(&self, layer: usize, path: &str) -> &Self {
            let path = self.at(layer, path);
            mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
            self
        }

        fn opaque(&self, layer: usize, path: &str) -> &Self {
            let path = self.at(layer, path);
            fs::create_dir_all(&path).unwrap();
            setxattr(path, "user.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
            self
        }

        /// The layer that the file is read from.
        fn read(&self, path: &str) -> Result<Option<String>, Error> {
            let layers: Vec<PathBuf> = (0..self.1)
                .map(|i| self.0.path().join(i.to_string()))
                .collect();
            let found = LayeredView::new(&layers).read_file(path, 100)?;
            Ok(found.map(|v| String::from_utf8(v).unwrap()))
        }

        #[track_caller]
        fn is(&self, path: &str, layer: Option<usize>) {
            assert_eq!(
                self.read(path).unwrap(),
                layer.map(|n| n.to_string()),
                "{path}"
            );
        }
    }

    #[test]
    fn upper_layers_win_and_hide() {
        let l = Layers::new(3);
        l.file(2, "etc/passwd")
            .file(1, "etc/passwd")
            .file(2, "etc/group");
        l.whiteout(1, "etc/gone").file(2, "etc/gone");
        l.whiteout(1, "opt").file(2, "opt/x");
        l.opaque(1, "srv/a").file(2, "srv/a/x").file(1, "srv/a/y");
        l.file(0, "srv/a/z");
        l.is("/etc/passwd", Some(1));
        l.is("etc/group", Some(2));
        l.is("/etc/gone", None);
        l.is("/opt/x", None);
        l.is("/srv/a/x", None);
        l.is("/srv/a/y", Some(1));
        l.is("/srv/a/z", Some(0));
        l.is("/never", None);
        l.is("/etc/passwd/x", None);
    }

    #[test]
    fn opaque_root_hides_all_below() {
        let l = Layers::new(2);
        l.opaque(0, "").file(1, "x");
        l.is("x", None);
    }

    #[test]
    fn file_in_the_middle_stops_the_merge() {
        let l = Layers::new(3);
        l.file(0, "a/x").file(1, "a").file(2, "a/y");
        l.is("a/x", Some(0));
        l.is("a/y", None);
    }

    #[test]
    fn other_forms_of_whiteouts() {
        let l = Layers::new(2);
        l.file(1, "a/x")
            .file(0, "a/.wh.x")
            .file(1, "b/x")
            .file(0, "b/.wh..wh..opq");
        l.file(1, "c/x");
        fs::write(l.at(0, "c/x"), "").unwrap();
        let marked = l.at(0, "c/x");
        setxattr(marked, "user.overlay.whiteout", b"y", XattrFlags::empty()).unwrap();
        for path in ["a/x", "b/x", "c/x", "a/.wh.x", "b/.wh..wh..opq"] {
            l.is(path, None);
        }
    }

    #[test]
    fn symlinks_stay_inside_the_merged_root() {
        let outside = tempfile::NamedTempFile::new().unwrap();
        let l = Layers::new(2);
        l.file(1, "usr/lib/os").link(0, "etc/os", "../usr/lib/os");
        l.link(0, "lib", "/usr/lib")
            .link(0, "up", "../../../../usr/lib/os");
        l.link(0, "out", outside.path().to_str().unwrap());
        l.link(0, "outdir", "/").link(0, "dots", "../../..");
        l.is("etc/os", Some(1));
        l.is("lib/os", Some(1));
        l.is("up", Some(1));
        l.is("/../../usr/lib/os", Some(1));
        l.is("out", None);
        let path = Path::new("outdir").join(outside.path().strip_prefix("/").unwrap());
        l.is(path.to_str().unwrap(), None);
        l.is("dots/usr/lib/os", Some(1));
    }

    #[test]
    fn a_directory_is_found_through_links_and_inside_only() {
        let l = Layers::new(2);
        l.file(1, "run/app/x")
            .link(0, "var", "/run")
            .file(1, "file");
        l.link(0, "out", "../../../../run/app")
            .link(0, "host", "/etc")
            .link(0, "a", "b")
            .link(0, "b", "a");
        let layers: Vec<PathBuf> = (0..2).map(|i| l.at(i, "")).collect();
        let view = LayeredView::new(&layers);
        let found = |path: &str| view.directory(Path::new(path));
        for (path, want) in [
            ("/run/app", Some("run/app")),
            ("var/app/", Some("run/app")),
            ("/out", Some("run/app")),
            ("/out/../app", Some("run/app")),
            ("/", Some("")),
            ("/..", Some("")),
            ("/host", None),
            ("/file", None),
            ("/file/x", None),
            ("/none", None),
        ] {
            let want = want.map(|w| w.as_bytes().to_vec());
            assert_eq!(found(path).unwrap(), want, "{path}");
        }
        assert!(matches!(found("/a"), Err(Error::Loop { .. })));
    }

    #[test]
    fn what_is_no_file_or_too_large_is_refused() {
        let l = Layers::new(1);
        l.link(0, "a", "b").link(0, "b", "a");
        assert!(matches!(l.read("a"), Err(Error::Loop { .. })));
        let fifo = l.at(0, "fifo");
        mknodat(CWD, fifo, FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert!(matches!(l.read("fifo"), Err(Error::NotAFile { .. })));
        assert!(matches!(l.read("/"), Err(Error::NotAFile { .. })));
        fs::write(l.at(0, "big"), [b'x'; 101]).unwrap();
        assert!(matches!(
            l.read("big"),
            Err(Error::TooLarge { max: 100, .. })
        ));
        fs::write(l.at(0, "fits"), [b'x'; 100]).unwrap();
        assert_eq!(l.read("fits").unwrap().unwrap().len(), 100);
    }
}
