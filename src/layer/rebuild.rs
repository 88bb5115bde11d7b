//! A layer's tar again, byte for byte: from its tree and the [`Recipe`] that unpacking wrote.
//!
//! Files may shut out their owner, so a forked child reads them as root of a user namespace, as for
//! [`super::pack`], and writes the tar to a pipe. The caller hashes what comes: a tree that was changed gives an error
//! and never a tar that passes for the layer's. That is known only at the end: whoever takes the bytes must be able
//! to throw them away.
//!
//! Called by `ops`, by several threads at once.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};
use rustix::io::{Errno, pread};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use serde::{Deserialize, Serialize};

use super::fork_alone;
use super::name::path_buf;
use super::recipe::{self, Op, Recipe};
use crate::oci::{Algorithm, Digest, Digester};
use crate::sys::fork::{self, Failed};
use crate::sys::userns;

/// What an ordinary user may have (pipe(7)).
const PIPE: usize = 1 << 20;
const BUFFER: usize = 256 << 10;
/// Files of this size go into the pipe by their pages. Each takes one of its 256 places, and the buffer before it is
/// flushed.
const SPLICED: u64 = 64 << 10;

/// Why a layer's tar cannot be made again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The recipe is not there, or cannot be read.
    #[error("cannot read {}", path.display())]
    Recipe {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The tree is not there.
    #[error("cannot open {}", path.display())]
    Tree {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: Errno,
    },
    /// A file of the tree is gone, is shorter, or is none any more.
    #[error("the unpacked layer was changed: {path:?} is not as it was: {why}")]
    Changed {
        /// Which.
        path: PathBuf,
        /// Why.
        why: Errno,
    },
    /// Some file of the tree has another content.
    #[error("the unpacked layer was changed: its tar has the digest {got}, not {want}")]
    Digest {
        /// The layer's diff_id.
        want: Digest,
        /// What it is now.
        got: Digest,
    },
    /// Whoever takes the tar does not want it.
    #[error("cannot write the tar")]
    Output(#[source] io::Error),
    /// No pipe to the child.
    #[error("cannot make a pipe")]
    Pipe(#[source] io::Error),
    /// The child that reads did not end as it should.
    #[error("cannot read the tree: the process that does it: {0}")]
    Child(#[from] Failed),
}

impl Error {
    /// What the user can do about it, if we know.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Changed {
                why: Errno::ACCESS, ..
            } => {
                "a file that shuts out its owner can only be read where user namespaces are allowed: see `coracle doctor`"
            }
            Self::Changed { .. } | Self::Digest { .. } | Self::Recipe { .. } => {
                "remove the image and pull it again"
            }
            _ => return None,
        };
        Some(text.to_owned())
    }
}

#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Done,
    /// Nobody takes the tar any more.
    Unwanted,
    Recipe(Option<i32>),
    Changed {
        path: Vec<u8>,
        errno: i32,
    },
}

/// Write the tar of the layer `diff_id` to `out`. `tree` is what it was unpacked to.
pub fn rebuild(
    tree: &Path,
    recipe: &Recipe,
    diff_id: &Digest,
    mut out: impl Write,
) -> Result<(), Error> {
    let unreadable = |source| Error::Recipe {
        path: recipe.file.clone(),
        source,
    };
    let open = |path: &Path| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(CWD, path, flags, Mode::empty())
    };
    let attic = match open(&recipe.replaced) {
        Err(Errno::NOENT) => Ok(None),
        result => result.map(Some),
    };
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Tree { path, source }
    };
    let mut trees = Trees {
        diff: open(tree).map_err(failed(tree))?,
        attic: attic.map_err(failed(&recipe.replaced))?,
        replaced: HashMap::new(),
    };
    let file = || File::open(&recipe.file).and_then(recipe::Reader::new);
    let mut source = file().map_err(unreadable)?;
    if trees.attic.is_some() {
        trees.replaced = replaced(&mut file().map_err(unreadable)?).map_err(unreadable)?;
    }

    let guard = fork_alone();
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| Error::Pipe(e.into()))?;
    // Smaller is slower, and no more.
    let _ = fcntl_setpipe_size(&write, PIPE);
    let mut once = Some(write);
    let child = fork::start_bytes(|| {
        // Where there is none, most trees can be read all the same.
        let _ = userns::enter_as_root();
        let answer = match once.take() {
            Some(write) => {
                let out = io::BufWriter::with_capacity(BUFFER, File::from(write));
                trees.write(&mut source, out)
            }
            None => Answer::Unwanted,
        };
        serde_json::to_vec(&answer).unwrap_or_default()
    });
    // The child's end of the pipe must be the only one.
    drop(once);
    drop(guard);
    let child = child?;

    let mut read = File::from(read);
    let mut hash = Digester::new(Algorithm::Sha256);
    let mut buffer = vec![0; BUFFER];
    loop {
        match read.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                hash.update(&buffer[..n]);
                // The child gets a broken pipe when we leave here.
                out.write_all(&buffer[..n]).map_err(Error::Output)?;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::Pipe(e)),
        }
    }
    match serde_json::from_slice(&child.bytes()?) {
        Ok(Answer::Done) => {}
        Ok(Answer::Recipe(errno)) => {
            return Err(unreadable(match errno {
                Some(errno) => Errno::from_raw_os_error(errno).into(),
                None => io::ErrorKind::InvalidData.into(),
            }));
        }
        Ok(Answer::Changed { path, errno }) => {
            return Err(Error::Changed {
                path: path_buf(&path),
                why: Errno::from_raw_os_error(errno),
            });
        }
        Ok(Answer::Unwanted) | Err(_) => return Err(Error::Child(Failed::Silent(0))),
    }
    let got = hash.finish();
    match got == *diff_id {
        true => Ok(()),
        false => Err(Error::Digest {
            want: diff_id.clone(),
            got,
        }),
    }
}

/// For each path that was replaced: at which operations, and its number in the attic, in their order.
type Replaced = HashMap<Vec<u8>, Vec<(u64, u64)>>;

fn replaced(from: &mut impl Read) -> io::Result<Replaced> {
    let mut all = Replaced::new();
    let (mut count, mut data) = (0, Vec::new());
    for at in 0.. {
        match recipe::next(from, &mut data)? {
            Some(Op::Replaced) => {
                all.entry(data.clone()).or_default().push((at, count));
                count += 1;
            }
            Some(_) => {}
            None => break,
        }
    }
    Ok(all)
}

struct Trees {
    diff: OwnedFd,
    attic: Option<OwnedFd>,
    replaced: Replaced,
}

impl Trees {
    fn write(&self, recipe: &mut impl Read, mut out: io::BufWriter<File>) -> Answer {
        let mut data = Vec::new();
        let mut buffer = vec![0; BUFFER];
        let mut file = None;
        let mut path = Vec::new();
        for at in 0.. {
            let op = match recipe::next(recipe, &mut data) {
                Ok(Some(op)) => op,
                Ok(None) => break,
                Err(e) => return Answer::Recipe(e.raw_os_error()),
            };
            let changed = |path: &[u8], e: Errno| Answer::Changed {
                path: path.to_vec(),
                errno: e.raw_os_error(),
            };
            let written = match op {
                Op::Inline => out.write_all(&data),
                Op::Zeros(n) => io::copy(&mut io::repeat(0).take(n), &mut out).map(drop),
                Op::Replaced => Ok(()),
                Op::File(offset, len) | Op::More(offset, len) => {
                    if let Op::File(..) = op {
                        std::mem::swap(&mut path, &mut data);
                        file = match self.open(&path, at) {
                            Ok(file) => Some(file),
                            Err(e) => return changed(&path, e),
                        };
                    }
                    let Some(file) = &file else {
                        return Answer::Recipe(None);
                    };
                    match send(file.as_fd(), offset, len, &mut buffer, &mut out) {
                        Ok(written) => written,
                        Err(e) => return changed(&path, e),
                    }
                }
            };
            if written.is_err() {
                return Answer::Unwanted;
            }
        }
        match out.flush() {
            Ok(()) => Answer::Done,
            Err(_) => Answer::Unwanted,
        }
    }

    /// The file that had this path when operation `at` was recorded.
    fn open(&self, path: &[u8], at: u64) -> Result<OwnedFd, Errno> {
        match self.first_after(path, at) {
            None => open_file(self.diff.as_fd(), path),
            Some((number, below)) => {
                let attic = self.attic.as_ref().ok_or(Errno::NOENT)?;
                let path = [number.to_string().as_bytes(), &path[below..]].concat();
                open_file(attic.as_fd(), &path)
            }
        }
    }

    /// Whether it, or a directory above it, was replaced after `at`: the number that the first of them got, and
    /// the length of its path.
    fn first_after(&self, path: &[u8], at: u64) -> Option<(u64, usize)> {
        if self.replaced.is_empty() {
            return None;
        }
        let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/');
        ends.map(|(i, _)| i)
            .chain([path.len()])
            .filter_map(|end| {
                let times = self.replaced.get(&path[..end])?;
                let next = times.partition_point(|(when, _)| *when < at);
                times.get(next).map(|(when, number)| (when, *number, end))
            })
            .min()
            .map(|(_, number, end)| (number, end))
    }
}

/// A regular file; no link is followed on the way.
pub(super) fn open_file(dir: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let path = std::ffi::OsStr::from_bytes(path);
    let file = openat2(dir, path, flags, Mode::empty(), resolve)?;
    match FileType::from_raw_mode(fstat(&file)?.st_mode) {
        FileType::RegularFile => Ok(file),
        _ => Err(Errno::INVAL),
    }
}

/// A part of a file. The inner error is that of `out`.
fn send(
    file: BorrowedFd<'_>,
    at: u64,
    len: u64,
    buffer: &mut [u8],
    out: &mut io::BufWriter<File>,
) -> Result<io::Result<()>, Errno> {
    if len >= SPLICED {
        if let Err(e) = out.flush() {
            return Ok(Err(e));
        }
        if let Some(done) = splice_all(file, at, len, out.get_ref().as_fd())? {
            return Ok(done);
        }
    }
    copy(file, at, len, buffer, out)
}

/// From file to pipe without a copy of our own, which pays from some pages on. The inner error is that of the pipe;
/// `None` where the file system cannot do it.
fn splice_all(
    file: BorrowedFd<'_>,
    at: u64,
    len: u64,
    pipe: BorrowedFd<'_>,
) -> Result<Option<io::Result<()>>, Errno> {
    let end = at + len;
    let mut at = at;
    while at < end {
        let want = usize::try_from(end - at).unwrap_or(PIPE).min(PIPE);
        match splice(file, Some(&mut at), pipe, None, want, SpliceFlags::empty()) {
            // Shorter than it was.
            Ok(0) => return Err(Errno::NODATA),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::INVAL) if at + len == end => return Ok(None),
            Err(Errno::PIPE) => return Ok(Some(Err(Errno::PIPE.into()))),
            Err(e) => return Err(e),
        }
    }
    Ok(Some(Ok(())))
}

/// The inner error is that of `out`.
fn copy(
    file: BorrowedFd<'_>,
    mut at: u64,
    mut left: u64,
    buffer: &mut [u8],
    out: &mut impl Write,
) -> Result<io::Result<()>, Errno> {
    while left > 0 {
        let want = usize::try_from(left).map_or(buffer.len(), |n| n.min(buffer.len()));
        match pread(file, &mut buffer[..want], at) {
            // Shorter than it was.
            Ok(0) => return Err(Errno::NODATA),
            Ok(n) => {
                if let Err(e) = out.write_all(&buffer[..n]) {
                    return Ok(Err(e));
                }
                at += n as u64;
                left -= n as u64;
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(Ok(()))
}
