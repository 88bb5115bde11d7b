//! Paths in a stack of trees: symlinks lead on within it, `..` stops at its root.

use std::collections::VecDeque;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{FileType, OFlags, Stat, fstat, readlinkat};

use super::super::tree::Opened;
use super::super::{Error, Refusal};
use super::{Component, Composer};
use crate::layer::name::join;
use crate::trees::{beneath, is_opaque, merge, open_below};

/// As the kernel's own limit (path_resolution(7)).
const LINKS_MAX: u32 = 40;

/// Trees, and a descriptor for the root of each.
pub(super) struct Stack<'t> {
    pub(super) trees: &'t [Opened],
    pub(super) roots: Vec<OwnedFd>,
}

/// Something in a stack.
#[derive(Clone)]
pub(super) struct Located {
    /// What it was called.
    pub(super) name: Vec<u8>,
    /// Where it is, without symlinks.
    pub(super) path: Vec<u8>,
    pub(super) stat: Stat,
    /// The trees that take part in it, the top one first; one, unless it is a directory.
    pub(super) trees: Vec<usize>,
}

impl Located {
    pub(super) fn is_dir(&self) -> bool {
        FileType::from_raw_mode(self.stat.st_mode).is_dir()
    }
}

impl<'t> Stack<'t> {
    pub(super) fn new(trees: &'t [Opened]) -> Result<Self, Error> {
        let roots = trees.iter().map(|tree| {
            let root = rustix::io::fcntl_dupfd_cloexec(&tree.root, 0);
            root.map_err(Error::sys("fcntl", b""))
        });
        Ok(Self {
            trees,
            roots: roots.collect::<Result<_, _>>()?,
        })
    }

    /// What has this path, of which all parents are directories and no symlinks; itself it may be one.
    pub(super) fn at(&self, path: &[u8]) -> Result<Option<Located>, Error> {
        let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
        if path.is_empty() {
            return self.root();
        }
        let found = beneath(&self.roots, path).map_err(Error::sys("openat", path))?;
        let Some((top, stat)) = found.first() else {
            return Ok(None);
        };
        let is_dir = |stat: &Stat| FileType::from_raw_mode(stat.st_mode).is_dir();
        let trees = match is_dir(stat) {
            false => vec![*top],
            true => {
                let dirs = found.iter().take_while(|(_, s)| is_dir(s));
                dirs.map(|(i, _)| *i).collect()
            }
        };
        Ok(Some(Located {
            name: name.to_vec(),
            path: path.to_vec(),
            stat: **stat,
            trees,
        }))
    }

    /// Of an empty stack there is none.
    fn root(&self) -> Result<Option<Located>, Error> {
        let Some(top) = self.roots.first() else {
            return Ok(None);
        };
        let stat = fstat(top).map_err(Error::sys("fstat", b""))?;
        let mut trees = Vec::new();
        for (i, root) in self.roots.iter().enumerate() {
            trees.push(i);
            if is_opaque(root.as_fd()).map_err(Error::sys("getxattr", b""))? {
                break;
            }
        }
        Ok(Some(Located {
            name: Vec::new(),
            path: Vec::new(),
            stat,
            trees,
        }))
    }

    /// Where a symlink leads to.
    pub(super) fn link(&self, link: &Located) -> Result<Vec<u8>, Error> {
        let tree = link.trees.first().copied().unwrap_or_default();
        let fd = open_below(&self.roots[tree], &link.path, OFlags::PATH)
            .map_err(Error::sys("openat2", &link.path))?;
        let target =
            readlinkat(&fd, c"", Vec::new()).map_err(Error::sys("readlinkat", &link.path))?;
        Ok(target.into_bytes())
    }

    /// What a path leads to from a directory of the stack.
    fn follow(&self, base: &[u8], path: &[u8]) -> Result<Option<Located>, Error> {
        let mut at = base.to_vec();
        let mut todo: VecDeque<Vec<u8>> = components(path).collect();
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            if name == b".." {
                at.truncate(parent(&at).len());
                continue;
            }
            let Some(found) = self.at(&join(&at, &name))? else {
                return Ok(None);
            };
            if FileType::from_raw_mode(found.stat.st_mode).is_symlink() {
                links += 1;
                if links > LINKS_MAX {
                    return Err(Error::refused(path, Refusal::Loop));
                }
                let target = self.link(&found)?;
                if target.starts_with(b"/") {
                    at.clear();
                }
                for part in components(&target).collect::<Vec<_>>().into_iter().rev() {
                    todo.push_front(part);
                }
            } else if !found.is_dir() && !todo.is_empty() {
                return Ok(None);
            } else {
                at = found.path;
            }
        }
        self.at(&at)
    }
}

impl<W: std::io::Write> Composer<'_, '_, W> {
    /// All that a source means, each where it really is; in the order of the names.
    pub(super) fn matches(&self, path: &[Component<'_>]) -> Result<Vec<Located>, Error> {
        let mut found: Vec<Located> = self.from.at(b"")?.into_iter().collect();
        for component in path {
            let mut next = Vec::new();
            for dir in found.iter().filter(|l| l.is_dir()) {
                match component {
                    Component::Name(name) => {
                        if let Some(mut located) = self.from.follow(&dir.path, name)? {
                            located.name.clone_from(name);
                            next.push(located);
                        }
                    }
                    Component::Matching(accepts) => {
                        let merged = merge(&self.from.roots, &dir.path, &dir.trees)
                            .map_err(|(call, path, e)| Error::sys(call, &path)(e))?;
                        for name in merged.names.keys().filter(|n| accepts(n)) {
                            // What is ignored is not there, for a pattern.
                            let path = join(&dir.path, name);
                            if (self.c.ignored)(&path, name) && self.c.ignored_whole {
                                continue;
                            }
                            if let Some(mut located) = self.from.follow(&dir.path, name)? {
                                located.name.clone_from(name);
                                next.push(located);
                            }
                        }
                    }
                }
            }
            found = next;
        }
        Ok(found)
    }
}

/// The path above; empty for the root.
pub(super) fn parent(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|b| *b == b'/').unwrap_or(0);
    &path[..end]
}

pub(super) fn components(path: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    path.split(|b| *b == b'/')
        .filter(|p| !p.is_empty() && *p != b".")
        .map(<[u8]>::to_vec)
}
