//! `cp`: files into a container, out of one, or from one to another. docker-cp(1), podman-cp(1).
//!
//! A copy of this program, the copier, goes into the container and does there what is to be done there: as root of
//! the container, in its mounts, under its supervisor. So volumes and what is mounted over each other are what the
//! container sees, no path can lead out of it, whatever is moved meanwhile (CVE-2018-15664), and owners are recorded by
//! the supervisor as those of any other file. A container that does not run is started with the copier in place of its
//! program, its mounts around it; its lock keeps it from starting meanwhile.
//!
//! What is between the two sides is a tar, and neither believes the other: whatever is in the container may be in
//! the copier's place.
//!
//! ```text
//! here                                        copier
//!   arguments: which side it is, a path -------> looks
//!   <----------- what is there (Seen), or an errno -
//!   decides what goes where, by what names
//!   what is to be done (Job) ------------------>
//!   the tar ----------------------------------->  writes, or
//!   <------------------------------- the tar ---  reads
//!   <------ how that went (Report), and its end -
//! ```

mod copier;
mod decide;
mod enter;
mod place;
mod spool;
mod wire;

use std::io::{self, BufWriter};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

pub(crate) use copier::{NAME, main};
pub use decide::Refusal;

use self::decide::{Destination, Target, decide};
use self::enter::Agent;
use self::wire::{Job, Seen};
use super::progress::Progress;
use super::run::user::Ids;
use super::written::tell;
use super::{Error, Store};
use crate::layer::plain::{self, Naming, Owners, Reading, ShownOwners, Writing};

/// Bytes that are written to a pipe at a time.
const BUFFER: usize = 256 << 10;
/// What a directory is called on the way whose name nobody asked for.
const NAMELESS: &[u8] = b"contents";

/// One end of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// A path of the caller's.
    Here(PathBuf),
    /// A path in a container, relative to its working directory.
    In {
        /// Name or id.
        container: String,
        /// As it was typed.
        path: PathBuf,
    },
    /// A tar: standard input or output.
    Stream,
}

/// What `cp` can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// From where.
    pub from: End,
    /// To where.
    pub to: End,
    /// `--archive`: what comes into a container belongs to whom its program runs as; else whose it was.
    pub archive: bool,
    /// `--overwrite`: directories are replaced by files, and files by directories.
    pub overwrite: bool,
}

/// Why a copy failed.
#[derive(Debug, thiserror::Error)]
pub enum CpError {
    /// Neither end is in a container.
    #[error("neither {0:?} nor {1:?} is in a container")]
    NoContainer(PathBuf, PathBuf),
    /// A path cannot be looked at.
    #[error("cannot find {path:?} {place}: {source}")]
    Find {
        /// As it was typed.
        path: PathBuf,
        /// On which side.
        place: String,
        /// Why.
        source: io::Error,
    },
    /// The two do not go together.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Files on this side.
    #[error(transparent)]
    Files(#[from] plain::Error),
    /// What the process in the container said.
    #[error("{place}: {message}")]
    Said {
        /// Which container.
        place: String,
        /// Its words.
        message: String,
        /// What it thinks the user can do.
        hint: Option<String>,
    },
    /// It was killed, or is none of ours.
    #[error("{0}: the process that copies ended before it was done")]
    Vanished(String),
    /// A pipe, or standard input or output.
    #[error("cannot hand on the data")]
    Pipe(#[source] io::Error),
    /// A directory in which a tar can wait.
    #[error("cannot keep the data meanwhile in {}", path.display())]
    Spool {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl CpError {
    /// What the user can do about it, if we know.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoContainer(..) => Some("want CONTAINER:PATH for one of them".to_owned()),
            Self::Files(e) => e.hint().map(str::to_owned),
            Self::Said { hint, .. } => hint.clone(),
            _ => None,
        }
    }
}

/// Copy.
///
/// # Errors
/// [`CpError`]; those of reaching a container.
pub fn cp(store: &Store, o: &Options, progress: &dyn Progress) -> Result<(), Error> {
    match (&o.from, &o.to) {
        (End::In { .. }, End::In { .. }) => between(store, o, progress),
        (End::In { container, path }, to) => {
            let from = Agent::enter(store, container, path, progress)?;
            outward(from, path, to, o, progress)
        }
        (from, End::In { container, path }) => {
            let to = Agent::enter(store, container, path, progress)?;
            inward(from, to, path, o, progress)
        }
        (from, to) => {
            let shown = |end: &End| match end {
                End::Here(path) => path.clone(),
                End::In { .. } | End::Stream => PathBuf::from("-"),
            };
            Err(CpError::NoContainer(shown(from), shown(to)).into())
        }
    }
}

/// Out of a container.
fn outward(
    mut from: Agent,
    path: &Path,
    to: &End,
    o: &Options,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let seen = from.there()?;
    let name = place::typed_name(path);
    match to {
        End::Here(to) => {
            let here = |source| not_found(to, "here", source);
            let there = place::find(None, to).map_err(here)?;
            let destination = Destination::typed(there.seen(), to);
            let target = decide(seen, name.as_deref(), &destination).map_err(CpError::from)?;
            let (dir, naming) = there.target(target).map_err(here)?;
            from.send(&Job::Read {
                name: Some(name.unwrap_or_else(|| NAMELESS.to_vec())),
                owner: None,
            })?;
            let writing = Writing {
                naming,
                owners: Owners::Writer,
                overwrite: o.overwrite,
                inside: false,
            };
            let written = plain::write(from.output()?, dir.as_fd(), &writing);
            // What the other side says comes first: our error may be but what came of it.
            tell(&from.finish()?, progress);
            tell(&written.map_err(CpError::from)?, progress);
        }
        End::Stream | End::In { .. } => {
            let owner = from.user().filter(|_| o.archive);
            from.send(&Job::Read {
                name,
                owner: owner.map(|Ids { uid, gid }| (uid, gid)),
            })?;
            let copied = io::copy(&mut from.output()?, &mut io::stdout().lock());
            tell(&from.finish()?, progress);
            copied.map_err(CpError::Pipe)?;
        }
    }
    Ok(())
}

/// Into a container.
fn inward(
    from: &End,
    mut to: Agent,
    path: &Path,
    o: &Options,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let destination = Destination::typed(to.seen()?, path);
    match from {
        End::Here(from) => {
            let here = |source| not_found(from, "here", source);
            let source = place::find(None, from).map_err(here)?;
            let name = place::typed_name(from);
            let seen = source.seen();
            if seen == Seen::Missing {
                return Err(here(Errno::NOENT.into()));
            }
            let target = decide(seen, name.as_deref(), &destination).map_err(CpError::from)?;
            send_write(&mut to, target, o)?;
            let uid = rustix::process::getuid().as_raw();
            let gid = rustix::process::getgid().as_raw();
            let reading = Reading {
                name: Some(name.unwrap_or_else(|| NAMELESS.to_vec())),
                owners: ShownOwners::Mapped(uid, gid),
                ..Reading::default()
            };
            let output = BufWriter::with_capacity(BUFFER, to.input()?);
            let read = plain::read(source.source(), &reading, output);
            // Its end of the pipe says that this is all: of half a copy nothing but an error may come.
            let said = to.finish();
            match read {
                // Nobody read on, and who should have says why.
                Err(plain::Error::Output(e)) if e.kind() == io::ErrorKind::BrokenPipe => {
                    tell(&said?, progress);
                    return Err(CpError::Pipe(e).into());
                }
                Err(e) => return Err(CpError::from(e).into()),
                Ok(notes) => tell(&notes, progress),
            }
            tell(&said?, progress);
        }
        End::Stream | End::In { .. } => {
            if destination.seen != Seen::Directory {
                return Err(CpError::from(Refusal::StreamNeedsDirectory).into());
            }
            send_write(&mut to, Target::Into(Naming::Tar), o)?;
            let copied = io::copy(&mut io::stdin().lock(), &mut to.input()?);
            tell(&to.finish()?, progress);
            copied.map_err(CpError::Pipe)?;
        }
    }
    Ok(())
}

/// From one container to another, or the same.
fn between(store: &Store, o: &Options, progress: &dyn Progress) -> Result<(), Error> {
    let (
        End::In {
            container: a,
            path: from,
        },
        End::In {
            container: b,
            path: to,
        },
    ) = (&o.from, &o.to)
    else {
        return Ok(());
    };
    let mut source = Agent::enter(store, a, from, progress)?;
    let seen = source.there()?;
    let name = place::typed_name(from);
    source.send(&Job::Read {
        name: Some(name.clone().unwrap_or_else(|| NAMELESS.to_vec())),
        owner: None,
    })?;
    let mut tar = source.output()?;
    // One that does not run cannot be entered twice at a time; and a directory that is copied into itself must have
    // been read before it grows.
    let mut source = Some(source);
    if let Some(source) = source.take_if(|s| s.is_in(store, b)) {
        tar = spool::keep(store, tar)?;
        tell(&source.finish()?, progress);
    }
    let mut target = Agent::enter(store, b, to, progress)?;
    let destination = Destination::typed(target.seen()?, to);
    let whither = decide(seen, name.as_deref(), &destination).map_err(CpError::from)?;
    send_write(&mut target, whither, o)?;
    let mut input = target.input()?;
    let copied = io::copy(&mut tar, &mut input);
    drop((tar, input));
    // Of half a tar the reader has more to say than the writer.
    if let Some(source) = source {
        tell(&source.finish()?, progress);
    }
    tell(&target.finish()?, progress);
    copied.map_err(CpError::Pipe)?;
    Ok(())
}

fn send_write(to: &mut Agent, target: Target, o: &Options) -> Result<(), Error> {
    let owners = match (to.user(), o.archive) {
        (None, _) => Owners::Writer,
        (Some(Ids { uid, gid }), true) => Owners::One(uid, gid),
        (Some(_), false) => Owners::Tar,
    };
    to.send(&Job::Write {
        target,
        owners,
        overwrite: o.overwrite,
    })
}

fn not_found(path: &Path, place: &str, source: io::Error) -> Error {
    let (path, place) = (path.to_owned(), place.to_owned());
    CpError::Find {
        path,
        place,
        source,
    }
    .into()
}
