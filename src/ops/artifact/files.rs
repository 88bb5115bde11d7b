//! An artifact's files to a directory. Their names are a stranger's: each stays below the directory, follows no
//! symlink, replaces nothing unless that is asked for, and has its name only when it is complete and is what its
//! digest says. openat2(2), renameat2(2).

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;

use super::{Artifact, ArtifactError, Entry, Wanted, look, name, tell};
use crate::oci::{Digest, Digester};
use crate::ops::progress::{Planned, Progress};
use crate::ops::{Error, jobs};
use crate::registry::Client;
use crate::store;

/// At a time.
const JOBS: usize = 2;

/// A file that is there now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// Where.
    pub path: PathBuf,
    /// Digest of its bytes.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
}

/// A file that is to be.
struct Place<'a> {
    entry: &'a Entry,
    /// For messages.
    path: PathBuf,
    parent: OwnedFd,
    last: String,
}

/// Write the files of the artifact called `name`. All names are looked at before the first byte is asked for.
pub fn pull(name: &str, wanted: &Wanted, progress: &dyn Progress) -> Result<Vec<Pulled>, Error> {
    let client = wanted.access.client()?;
    let pulled = look(&client, name).and_then(|artifact| {
        let places = places(&artifact, wanted)?;
        let plan = artifact.entries.iter().map(|e| Planned {
            digest: e.digest.clone(),
            size: e.size,
            present: false,
        });
        progress.plan(&plan.collect::<Vec<_>>());
        jobs::each(JOBS, &places, |place| {
            fetch(&client, &artifact, place, wanted.overwrite, progress)?;
            Ok(Pulled {
                path: place.path.clone(),
                digest: place.entry.digest.clone(),
                size: place.entry.size,
            })
        })
    });
    tell(&client, progress);
    pulled
}

fn places<'a>(artifact: &'a Artifact, wanted: &Wanted) -> Result<Vec<Place<'a>>, Error> {
    let entries = &artifact.entries;
    let size = entries.iter().try_fold(0u64, |n, e| n.checked_add(e.size));
    let size = size.unwrap_or(u64::MAX);
    let max = wanted.max_size;
    if size > max {
        return Err(ArtifactError::TooLarge { size, max }.into());
    }
    let mut named: Vec<(&Entry, String)> = Vec::with_capacity(entries.len());
    for entry in entries {
        // What has no name is called by what it is.
        let title = match &entry.title {
            Some(title) => title.clone(),
            None => format!("{}-{}", entry.digest.algorithm().name(), entry.digest.hex()),
        };
        name::parts(&title)?;
        if named.iter().any(|(_, other)| *other == title) {
            return Err(ArtifactError::Twice(title).into());
        }
        named.push((entry, title));
    }
    let top = &wanted.directory;
    let failed = |e: io::Error| Error::file("write to the directory", top, e);
    std::fs::create_dir_all(top).map_err(failed)?;
    let top_fd = rustix::fs::open(
        top,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|e| failed(e.into()))?;
    // What is there is seen before anything is made.
    for (_, title) in &named {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat2(&top_fd, title.as_str(), flags, Mode::empty(), BELOW) {
            Ok(_) if !wanted.overwrite => return Err(ArtifactError::Exists(top.join(title)).into()),
            Ok(_) | Err(Errno::NOENT) => {}
            Err(e) => return Err(Error::file("write", &top.join(title), e.into())),
        }
    }
    let place = |(entry, title): (&'a Entry, String)| {
        let path = top.join(&title);
        let mut parts = name::parts(&title)?;
        let last = parts.pop().unwrap_or_default().to_owned();
        let parent = parent(top_fd.as_fd(), &parts);
        Ok(Place {
            parent: parent.map_err(|e| Error::file("make the directory of", &path, e.into()))?,
            entry,
            path,
            last,
        })
    };
    named.into_iter().map(place).collect()
}

/// No way out, whatever there is already.
const BELOW: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS);

/// The directory of these parts below `top`, made as far as it is not there.
fn parent(top: BorrowedFd<'_>, parts: &[&str]) -> Result<OwnedFd, Errno> {
    let open = |dir: BorrowedFd<'_>, name: &str| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat2(dir, name, flags, Mode::empty(), BELOW)
    };
    let mut dir = open(top, ".")?;
    for part in parts {
        match rustix::fs::mkdirat(&dir, *part, Mode::from(0o777)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e),
        }
        dir = open(dir.as_fd(), part)?;
    }
    Ok(dir)
}

/// A file without its name as yet; removed on drop unless it got one.
struct Draft<'p> {
    place: &'p Place<'p>,
    name: String,
    named: bool,
}

impl<'p> Draft<'p> {
    fn new(place: &'p Place<'p>) -> io::Result<(Self, File)> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        loop {
            let n = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!(".coracle-{}-{n}.part", std::process::id());
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            match rustix::fs::openat(&place.parent, &name, flags, Mode::from(0o666)) {
                Ok(fd) => {
                    let named = false;
                    return Ok((Self { place, name, named }, fd.into()));
                }
                Err(Errno::EXIST) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn publish(mut self, overwrite: bool) -> Result<(), Error> {
        let Place {
            parent, last, path, ..
        } = self.place;
        let replace = || rustix::fs::renameat(parent, &self.name, parent, last);
        let renamed = match overwrite {
            true => replace(),
            false => {
                let no = RenameFlags::NOREPLACE;
                match rustix::fs::renameat_with(parent, &self.name, parent, last, no) {
                    // Not every file system knows that; a moment ago nothing was there.
                    Err(Errno::INVAL | Errno::NOSYS) => {
                        match rustix::fs::statat(parent, last, AtFlags::SYMLINK_NOFOLLOW) {
                            Err(Errno::NOENT) => replace(),
                            Ok(_) => Err(Errno::EXIST),
                            Err(e) => Err(e),
                        }
                    }
                    renamed => renamed,
                }
            }
        };
        match renamed {
            Ok(()) => self.named = true,
            Err(Errno::EXIST) => return Err(ArtifactError::Exists(path.clone()).into()),
            Err(e) => return Err(Error::file("write", path, e.into())),
        }
        Ok(())
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if !self.named {
            // The failure that led here is the one to tell.
            let _ = rustix::fs::unlinkat(&self.place.parent, &self.name, AtFlags::empty());
        }
    }
}

fn fetch(
    client: &Client,
    artifact: &Artifact,
    place: &Place<'_>,
    overwrite: bool,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let Entry { digest, size, .. } = place.entry;
    let failed = |e| Error::file("write", &place.path, e);
    let mut blob = client.blob(&artifact.name, digest, *size, 0)?;
    let (draft, mut file) = Draft::new(place).map_err(failed)?;
    progress.begin(digest, 0);
    let mut digester = Digester::new(digest.algorithm());
    let mut buffer = vec![0; 256 << 10];
    loop {
        // The stream ends after as many bytes as the manifest promises, or with an error.
        let n = match blob.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Error::from_reader(e)),
        };
        digester.update(&buffer[..n]);
        file.write_all(&buffer[..n]).map_err(failed)?;
        progress.advance(digest, n as u64);
    }
    let actual = digester.finish();
    if actual != *digest {
        let digest = digest.clone();
        return Err(store::Error::WrongDigest { digest, actual }.into());
    }
    draft.publish(overwrite)?;
    progress.done(digest);
    Ok(())
}
