//! An image archive as a set of named byte ranges: its tar headers are read once, its contents only
//! where they are used, and nothing of it is ever unpacked under a name of its own choosing.
//!
//! Only what image tools write is understood: regular files, symbolic and hard links (docker save
//! writes the same layer once and links to it), GNU long names and the PAX records `path`, `linkpath`
//! and `size`. Other entries are skipped. Format: tar(5), POSIX pax.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use tar::EntryType;

use super::IntakeError;
use crate::ops::Error;
use crate::store::Store;

/// Entries in one archive: an image of 500 layers has 2,000 in the oldest format.
const ENTRIES_MAX: u64 = 200_000;
/// Bytes of one long name or PAX header. Names in image archives have under 100.
const EXTENSION_MAX: u64 = 64 << 10;
/// Links that are followed before the archive is called circular.
const LINKS_MAX: u32 = 8;
const BLOCK: u64 = 512;
const COPY_BUFFER: usize = 256 << 10;

/// Where an archive is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A file, or a directory with an OCI layout.
    Path(PathBuf),
    /// Standard input.
    Stdin,
}

impl Input {
    /// For messages.
    pub(in crate::ops) fn display(&self) -> PathBuf {
        match self {
            Self::Path(path) => path.clone(),
            Self::Stdin => PathBuf::from("(standard input)"),
        }
    }

    /// Open it.
    pub(in crate::ops) fn open(&self) -> io::Result<File> {
        match self {
            Self::Path(p) => File::open(p),
            Self::Stdin => Ok(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?.into()),
        }
    }
}

/// A tar whose members can be read in any order, by several threads.
#[derive(Debug)]
pub(in crate::ops) struct Archive {
    path: PathBuf,
    file: File,
    entries: HashMap<String, Entry>,
}

#[derive(Clone, Debug)]
enum Entry {
    File { offset: u64, size: u64 },
    Link(String),
}

impl Archive {
    /// Open and index. What cannot be read at will (a pipe, a compressed archive) goes through an
    /// unnamed file in the store's `tmp/`; at most `max_bytes` of it.
    pub(in crate::ops) fn open(
        store: &Store,
        input: &Input,
        max_bytes: u64,
    ) -> Result<Self, Error> {
        let path = input.display();
        let failed = |source: io::Error| IntakeError::Read {
            path: path.clone(),
            source,
        };
        let mut file = input.open().map_err(failed)?;
        let stat = rustix::fs::fstat(&file).map_err(|e| failed(e.into()))?;
        let seekable = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let mut magic = Vec::with_capacity(6);
        (&mut file)
            .take(6)
            .read_to_end(&mut magic)
            .map_err(failed)?;
        let start = io::Cursor::new(magic.clone());
        let file = match Packing::sniff(&magic) {
            Packing::Other(kind) => return Err(IntakeError::Compression { path, kind }.into()),
            Packing::None if seekable => file,
            Packing::None => spool(store, start.chain(file), &path, max_bytes)?,
            Packing::Gzip => {
                let plain = flate2::read::MultiGzDecoder::new(start.chain(file));
                spool(store, plain, &path, max_bytes)?
            }
            Packing::Zstd => {
                let plain = zstd::stream::Decoder::new(start.chain(file)).map_err(failed)?;
                spool(store, plain, &path, max_bytes)?
            }
        };
        let entries = index(&file, &path)?;
        Ok(Self {
            path,
            file,
            entries,
        })
    }

    /// For messages.
    pub(in crate::ops) fn path(&self) -> &Path {
        &self.path
    }

    pub(in crate::ops) fn has(&self, name: &str) -> bool {
        self.range(name).is_some()
    }

    /// Size of a member in bytes.
    pub(in crate::ops) fn size(&self, name: &str) -> Result<u64, Error> {
        self.range(name)
            .map(|(_, size)| size)
            .ok_or_else(|| self.missing(name))
    }

    /// The bytes of a member from `from` to its end.
    pub(in crate::ops) fn member(&self, name: &str, from: u64) -> Result<Member<'_>, Error> {
        let (offset, size) = self.range(name).ok_or_else(|| self.missing(name))?;
        Ok(Member {
            file: &self.file,
            at: offset + from.min(size),
            end: offset + size,
        })
    }

    /// A small member, whole.
    pub(in crate::ops) fn document(
        &self,
        name: &str,
        what: &'static str,
        max: u64,
    ) -> Result<Vec<u8>, Error> {
        let size = self.size(name)?;
        if size > max {
            return Err(IntakeError::TooLarge { what, size, max }.into());
        }
        let mut bytes = Vec::new();
        self.member(name, 0)?
            .read_to_end(&mut bytes)
            .map_err(|source| IntakeError::Read {
                path: self.path.clone(),
                source,
            })?;
        Ok(bytes)
    }

    fn missing(&self, name: &str) -> Error {
        IntakeError::Missing {
            path: self.path.clone(),
            name: name.to_owned(),
        }
        .into()
    }

    fn range(&self, name: &str) -> Option<(u64, u64)> {
        let mut name = normal(name)?;
        for _ in 0..=LINKS_MAX {
            match self.entries.get(&name)? {
                Entry::File { offset, size } => return Some((*offset, *size)),
                Entry::Link(target) => name.clone_from(target),
            }
        }
        None
    }
}

/// See [`Archive::member`].
#[derive(Debug)]
pub(in crate::ops) struct Member<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl Read for Member<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let want = buf.len().min(left);
        if want == 0 {
            return Ok(0);
        }
        let n = self.file.read_at(&mut buf[..want], self.at)?;
        if n == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the archive is cut off",
            ));
        }
        self.at += n as u64;
        Ok(n)
    }
}

/// How a stream is packed, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ops) enum Packing {
    None,
    Gzip,
    Zstd,
    Other(&'static str),
}

impl Packing {
    pub(in crate::ops) fn sniff(magic: &[u8]) -> Self {
        match magic {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', ..] => Self::Other("xz"),
            [b'B', b'Z', b'h', ..] => Self::Other("bzip2"),
            _ => Self::None,
        }
    }
}

fn spool(store: &Store, from: impl Read, path: &Path, max: u64) -> Result<File, Error> {
    let file = store.spool()?;
    let mut from = from.take(max.saturating_add(1));
    let mut buffer = vec![0; COPY_BUFFER];
    let mut at = 0;
    loop {
        let n = match from.read(&mut buffer) {
            Ok(0) => return Ok(file),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => {
                return Err(IntakeError::Read {
                    path: path.to_owned(),
                    source,
                }
                .into());
            }
        };
        if at + n as u64 > max {
            return Err(IntakeError::Limit {
                path: path.to_owned(),
                what: "bytes",
                limit: max,
            }
            .into());
        }
        file.write_all_at(&buffer[..n], at)
            .map_err(|e| Error::Store(store.spool_failed(e)))?;
        at += n as u64;
    }
}

fn index(file: &File, path: &Path) -> Result<HashMap<String, Entry>, Error> {
    let failed = |source: io::Error| IntakeError::Read {
        path: path.to_owned(),
        source,
    };
    let limit = |what, limit| IntakeError::Limit {
        path: path.to_owned(),
        what,
        limit,
    };
    let length = file.metadata().map_err(failed)?.len();
    let mut entries = HashMap::new();
    let mut next = Extension::default();
    let mut at = 0u64;
    let mut count = 0u64;
    while at + BLOCK <= length {
        let broken = || IntakeError::NotTar {
            path: path.to_owned(),
            offset: at,
        };
        let mut block = [0u8; BLOCK as usize];
        file.read_exact_at(&mut block, at).map_err(failed)?;
        if block == [0; BLOCK as usize] {
            break;
        }
        count += 1;
        if count > ENTRIES_MAX {
            return Err(limit("entries", ENTRIES_MAX).into());
        }
        let header = tar::Header::from_byte_slice(&block);
        if !checksum_fits(&block, header) {
            return Err(broken().into());
        }
        let claimed = header.entry_size().map_err(|_| broken())?;
        let offset = at + BLOCK;
        let kind = header.entry_type();
        let extends = matches!(
            kind,
            EntryType::GNULongName
                | EntryType::GNULongLink
                | EntryType::XHeader
                | EntryType::XGlobalHeader
        );
        let size = match next.size {
            Some(size) if !extends => size,
            _ => claimed,
        };
        let end = offset
            .checked_add(size)
            .filter(|&end| end <= length)
            .ok_or_else(broken)?;
        if extends {
            if size > EXTENSION_MAX {
                return Err(limit("bytes in one extended header", EXTENSION_MAX).into());
            }
            let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
            file.read_exact_at(&mut bytes, offset).map_err(failed)?;
            next.take(kind, &bytes).ok_or_else(broken)?;
        } else {
            let Extension {
                path: name, link, ..
            } = std::mem::take(&mut next);
            let name = name.unwrap_or_else(|| header.path_bytes().into_owned());
            // A name that is not UTF-8 is none that a manifest could mention.
            if let Some(name) = String::from_utf8(name).ok().and_then(|n| normal(&n)) {
                let link = || {
                    let link = link.or_else(|| header.link_name_bytes().map(|l| l.into_owned()));
                    String::from_utf8(link.unwrap_or_default()).ok()
                };
                let entry = match kind {
                    EntryType::Regular | EntryType::Continuous => {
                        Some(Entry::File { offset, size })
                    }
                    EntryType::Link => link().and_then(|l| normal(&l)).map(Entry::Link),
                    EntryType::Symlink => link().and_then(|l| beside(&name, &l)).map(Entry::Link),
                    _ => None,
                };
                if let Some(entry) = entry {
                    entries.insert(name, entry);
                }
            }
        }
        at = end.next_multiple_of(BLOCK);
    }
    if count == 0 {
        return Err(IntakeError::NotTar {
            path: path.to_owned(),
            offset: 0,
        }
        .into());
    }
    Ok(entries)
}

fn checksum_fits(block: &[u8; BLOCK as usize], header: &tar::Header) -> bool {
    // The checksum's own field counts as eight spaces.
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(i, &b)| u32::from(if (148..156).contains(&i) { b' ' } else { b }))
        .sum();
    header.cksum().is_ok_and(|want| want == sum)
}

/// What extended headers say about the entry that follows.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Extension {
    /// `None`: malformed.
    fn take(&mut self, kind: EntryType, bytes: &[u8]) -> Option<()> {
        let until_nul = || bytes.split(|&b| b == 0).next().unwrap_or_default().to_vec();
        match kind {
            EntryType::GNULongName => self.path = Some(until_nul()),
            EntryType::GNULongLink => self.link = Some(until_nul()),
            EntryType::XHeader => {
                for record in tar::PaxExtensions::new(bytes) {
                    let record = record.ok()?;
                    let value = record.value_bytes().to_vec();
                    match record.key_bytes() {
                        b"path" => self.path = Some(value),
                        b"linkpath" => self.link = Some(value),
                        b"size" => self.size = Some(String::from_utf8(value).ok()?.parse().ok()?),
                        _ => {}
                    }
                }
            }
            // Global headers carry comments (git archive).
            _ => {}
        }
        Some(())
    }
}

/// `./a//b/` is `a/b`. `None` for names that leave the archive.
fn normal(name: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// What the symlink `name` with this target means.
fn beside(name: &str, target: &str) -> Option<String> {
    let dir = name.rsplit_once('/').map_or("", |(dir, _)| dir);
    if target.starts_with('/') {
        return None;
    }
    normal(&format!("{dir}/{target}"))
}

#[cfg(test)]
mod tests;
