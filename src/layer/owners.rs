//! Owners, device numbers and xattrs that the file system cannot hold for an ordinary user.
//!
//! # On the inode
//!
//! A file or directory whose owner in the layer is not 0:0, and the empty file that stands for a
//! device, carries the xattr [`XATTR`] in the format of containers/storage and fuse-overlayfs:
//! `UID:GID:MODE:TYPE`, ids decimal, mode octal with at least four digits, type `file`, `dir`,
//! `char-MAJOR-MINOR`, `block-MAJOR-MINOR` (here also `symlink`, `pipe`, in the sidecar only). The
//! inode has the same permission bits. No such xattr means 0:0.
//!
//! # In the sidecar
//!
//! One text file beside each unpacked layer, for what cannot be on the inode: owners of symlinks and
//! fifos (which take no user xattrs), owners on a file system without user xattrs, every xattr
//! outside `user.*`, and those inside it that mean something to overlay or to us and that a layer
//! must therefore not set (they are kept, without effect). A hard-linked file is recorded under its
//! first name only.
//!
//! Lines end in `\n`, fields are separated by one space; bytes of a field outside `!`..`~`, and `%`,
//! are written `%XX`. Paths are relative to the layer's root, without a leading slash; the root is
//! `.`. A later line wins over an earlier one.
//!
//! ```text
//! coracle-owners 1              first line: format and version
//! own UID GID MODE TYPE PATH    owner
//! xattr NAME =VALUE PATH        one extended attribute
//! implied PATH                  a directory that the tar does not list: it says nothing about
//!                               mode, owner and mtime, those of a lower layer should show
//! reset PATH                    forget all earlier lines for PATH
//! gone PATH                     forget all earlier lines for PATH and everything below it
//! end LINES                     last line; LINES counts the lines between first and last
//! ```
//!
//! The file is written while the tar is read, so that memory does not grow with it; that is why
//! lines can take earlier ones back. Written by `layer`, to be read by whoever shows or exports
//! owners.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::{Error, pax};

/// The extended attribute that holds an owner.
pub const XATTR: &str = "user.containers.override_stat";

const MAGIC: &[u8] = b"coracle-owners 1";
/// Longest line read: more than an xattr of the largest size (64 KiB) and a path, with escapes.
const LINE_MAX: u64 = 1 << 20;

/// Type of a file as its owner record names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileType {
    /// Regular file.
    File,
    /// Directory.
    Dir,
    /// Symbolic link.
    Symlink,
    /// Named pipe.
    Pipe,
    /// Character device with major and minor number.
    Char(u32, u32),
    /// Block device with major and minor number.
    Block(u32, u32),
}

/// Owner, permission bits and type of a file as they are in the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// User id in the image.
    pub uid: u32,
    /// Group id in the image.
    pub gid: u32,
    /// Permission bits, 0 to 0o7777.
    pub mode: u32,
    /// Type.
    pub file_type: FileType,
}

impl fmt::Display for FileType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("file"),
            Self::Dir => f.write_str("dir"),
            Self::Symlink => f.write_str("symlink"),
            Self::Pipe => f.write_str("pipe"),
            Self::Char(major, minor) => write!(f, "char-{major}-{minor}"),
            Self::Block(major, minor) => write!(f, "block-{major}-{minor}"),
        }
    }
}

impl FileType {
    /// Parse the form that [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        let device = |rest: &str| {
            let (major, minor) = rest.split_once('-')?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        };
        Some(match text {
            "file" => Self::File,
            "dir" => Self::Dir,
            "symlink" => Self::Symlink,
            "pipe" => Self::Pipe,
            _ => {
                if let Some(rest) = text.strip_prefix("char-") {
                    device(rest).map(|(major, minor)| Self::Char(major, minor))?
                } else {
                    device(text.strip_prefix("block-")?)
                        .map(|(major, minor)| Self::Block(major, minor))?
                }
            }
        })
    }
}

impl fmt::Display for Owner {
    /// The value of [`XATTR`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{:04o}:{}",
            self.uid, self.gid, self.mode, self.file_type
        )
    }
}

impl Owner {
    /// Parse the value of [`XATTR`]. A missing type, as old versions of containers/storage wrote,
    /// counts as `file`.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let mut parts = text.splitn(4, ':');
        Some(Self {
            uid: parts.next()?.parse().ok()?,
            gid: parts.next()?.parse().ok()?,
            mode: u32::from_str_radix(parts.next()?, 8)
                .ok()
                .filter(|m| *m <= 0o7777)?,
            file_type: match parts.next() {
                Some(t) => FileType::parse(t)?,
                None => FileType::File,
            },
        })
    }
}

/// Writes a sidecar. Without [`Writer::finish`] the file is incomplete and will be refused.
pub(super) struct Writer {
    out: BufWriter<File>,
    path: PathBuf,
    line: String,
    lines: u64,
}

impl Writer {
    /// Make a new file, mode 0600; it is an error if there is one.
    pub(super) fn create(path: &Path) -> Result<Self, Error> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        let mut writer = Self {
            out: BufWriter::new(file.map_err(|source| Error::Sidecar {
                path: path.to_owned(),
                source,
            })?),
            path: path.to_owned(),
            line: String::new(),
            lines: 0,
        };
        writer.line.push_str(&String::from_utf8_lossy(MAGIC));
        writer.flush_line()?;
        writer.lines = 0;
        Ok(writer)
    }

    pub(super) fn own(&mut self, path: &[u8], owner: &Owner) -> Result<(), Error> {
        let Owner {
            uid,
            gid,
            mode,
            file_type,
        } = owner;
        // Writing to a String cannot fail.
        let _ = write!(self.line, "own {uid} {gid} {mode:04o} {file_type} ");
        self.path_and_flush(path)
    }

    pub(super) fn xattr(&mut self, path: &[u8], name: &[u8], value: &[u8]) -> Result<(), Error> {
        self.line.push_str("xattr ");
        escape(name, &mut self.line);
        self.line.push_str(" =");
        escape(value, &mut self.line);
        self.line.push(' ');
        self.path_and_flush(path)
    }

    pub(super) fn implied(&mut self, path: &[u8]) -> Result<(), Error> {
        self.line.push_str("implied ");
        self.path_and_flush(path)
    }

    pub(super) fn reset(&mut self, path: &[u8]) -> Result<(), Error> {
        self.line.push_str("reset ");
        self.path_and_flush(path)
    }

    pub(super) fn gone(&mut self, path: &[u8]) -> Result<(), Error> {
        self.line.push_str("gone ");
        self.path_and_flush(path)
    }

    pub(super) fn finish(mut self) -> Result<(), Error> {
        let _ = write!(self.line, "end {}", self.lines);
        self.flush_line()?;
        let path = self.path;
        (self.out.flush()).map_err(|source| Error::Sidecar { path, source })
    }

    fn path_and_flush(&mut self, path: &[u8]) -> Result<(), Error> {
        escape(if path.is_empty() { b"." } else { path }, &mut self.line);
        self.flush_line()
    }

    fn flush_line(&mut self) -> Result<(), Error> {
        self.line.push('\n');
        self.lines += 1;
        let result = self.out.write_all(self.line.as_bytes());
        self.line.clear();
        result.map_err(|source| Error::Sidecar {
            path: self.path.clone(),
            source,
        })
    }
}

fn escape(bytes: &[u8], out: &mut String) {
    for b in bytes {
        if b.is_ascii_graphic() && *b != b'%' {
            out.push(char::from(*b));
        } else {
            let _ = write!(out, "%{b:02x}");
        }
    }
}

/// What the sidecar says about one path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The owner, if it could not be put on the inode.
    pub owner: Option<Owner>,
    /// Names and values of xattrs that are not on the inode.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The directory is not listed in the tar.
    pub implied: bool,
}

/// A sidecar in memory, by path (relative, the root is empty).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners(BTreeMap<Vec<u8>, Record>);

impl Owners {
    /// Read a sidecar. Refuses other versions and incomplete files.
    pub fn read(path: &Path) -> Result<Self, Error> {
        Self::read_if(path, |_, _| true)
    }

    /// As [`Owners::read`], but of the lines that say something only those that `keep` wants, by their
    /// first word and their path. A layer can have millions.
    pub fn read_if(path: &Path, mut keep: impl FnMut(&[u8], &[u8]) -> bool) -> Result<Self, Error> {
        let file = File::open(path).map_err(|source| Error::Sidecar {
            path: path.to_owned(),
            source,
        })?;
        let mut owners = Self::default();
        owners.fill(BufReader::new(file), path, &mut keep)?;
        Ok(owners)
    }

    /// The record of `path`, if there is one.
    pub fn get(&self, path: &[u8]) -> Option<&Record> {
        self.0.get(path)
    }

    /// All records in the order of their paths.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Record)> {
        self.0
            .iter()
            .map(|(path, record)| (path.as_slice(), record))
    }

    fn fill(
        &mut self,
        mut from: impl io::BufRead,
        path: &Path,
        keep: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        let mut number = 0;
        let mut line = Vec::new();
        loop {
            number += 1;
            line.clear();
            let bad = |what| Error::SidecarFormat {
                path: path.to_owned(),
                line: number,
                what,
            };
            let read = (&mut from).take(LINE_MAX).read_until(b'\n', &mut line);
            read.map_err(|source| Error::Sidecar {
                path: path.to_owned(),
                source,
            })?;
            let Some(text) = line.strip_suffix(b"\n") else {
                return Err(bad("the file is incomplete"));
            };
            if number == 1 {
                if text != MAGIC {
                    return Err(bad("unknown format or version"));
                }
                continue;
            }
            if let Some(count) = text.strip_prefix(b"end ") {
                return if super::header::decimal(count) == Some(number - 2) {
                    Ok(())
                } else {
                    Err(bad("wrong number of lines"))
                };
            }
            self.line(text, keep).ok_or_else(|| bad("malformed line"))?;
        }
    }

    fn line(&mut self, text: &[u8], keep: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Option<()> {
        let fields: Vec<&[u8]> = text.split(|b| *b == b' ').collect();
        let (path, fields) = fields.split_last()?;
        let mut path = unescape(path)?;
        if path == b"." {
            path.clear();
        }
        if let [kind @ (b"own" | b"xattr" | b"implied"), ..] = fields
            && !keep(kind, &path)
        {
            return Some(());
        }
        let number =
            |field: &[u8], radix| u32::from_str_radix(std::str::from_utf8(field).ok()?, radix).ok();
        match fields {
            [b"own", uid, gid, mode, file_type] => {
                self.0.entry(path).or_default().owner = Some(Owner {
                    uid: number(uid, 10)?,
                    gid: number(gid, 10)?,
                    mode: number(mode, 8)?,
                    file_type: FileType::parse(std::str::from_utf8(file_type).ok()?)?,
                });
            }
            [b"xattr", name, value] => {
                let name = unescape(name)?;
                let value = unescape(value.strip_prefix(b"=")?)?;
                let record = self.0.entry(path).or_default();
                record.xattrs.retain(|(n, _)| *n != name);
                record.xattrs.push((name, value));
            }
            [b"implied"] => self.0.entry(path).or_default().implied = true,
            [b"reset"] => {
                self.0.remove(&path);
            }
            [b"gone"] => self.forget_tree(&path),
            _ => return None,
        }
        Some(())
    }
}

impl Owners {
    /// Drop the records of `path` and of all below it, at the cost of those only.
    fn forget_tree(&mut self, path: &[u8]) {
        let below = if path.is_empty() {
            Vec::new()
        } else {
            [path, b"/"].concat()
        };
        let within = |(p, _): &(&Vec<u8>, &Record)| p.starts_with(&below);
        let gone: Vec<Vec<u8>> = (self.0.range(below.clone()..))
            .take_while(within)
            .map(|(p, _)| p.clone())
            .collect();
        self.0.remove(path);
        for path in gone {
            self.0.remove(&path);
        }
    }
}

fn unescape(field: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field.iter();
    while let Some(b) = rest.next() {
        out.push(match b {
            b'%' => pax::hex(*rest.next()?)? << 4 | pax::hex(*rest.next()?)?,
            b => *b,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(fill: impl FnOnce(&mut Writer)) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("owners");
        let mut writer = Writer::create(&path).unwrap();
        fill(&mut writer);
        writer.finish().unwrap();
        (dir, path)
    }

    const OWNER: Owner = Owner {
        uid: 5,
        gid: 60000,
        mode: 0o4755,
        file_type: FileType::Char(1, 3),
    };

    #[test]
    fn owner_record_round_trip() {
        assert_eq!(OWNER.to_string(), "5:60000:4755:char-1-3");
        assert_eq!(Owner::parse(b"5:60000:4755:char-1-3"), Some(OWNER));
        let none = Owner {
            mode: 0,
            file_type: FileType::File,
            ..OWNER
        };
        assert_eq!(none.to_string(), "5:60000:0000:file");
        assert_eq!(Owner::parse(b"5:60000:00"), Some(none));
        for bad in [
            &b""[..],
            b"5:6",
            b"5:6:888:file",
            b"-5:6:755:file",
            b"5:6:10000:file",
            b"5:6:755:x",
            b"5:6:755:char-1",
        ] {
            assert_eq!(Owner::parse(bad), None, "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn sidecar_round_trip() {
        let (_dir, path) = written(|w| {
            w.own(b"a b/\xff\n%", &OWNER).unwrap();
            w.xattr(b"", b"security.x", b"\0 \n=").unwrap();
            w.xattr(b"", b"trusted.empty", b"").unwrap();
            w.implied(b"usr").unwrap();
        });
        let owners = Owners::read(&path).unwrap();
        assert_eq!(owners.get(b"a b/\xff\n%").unwrap().owner, Some(OWNER));
        assert_eq!(
            owners.get(b"").unwrap().xattrs,
            [
                (b"security.x".to_vec(), b"\0 \n=".to_vec()),
                (b"trusted.empty".to_vec(), b"".to_vec())
            ]
        );
        assert!(owners.get(b"usr").unwrap().implied);
        assert_eq!(owners.iter().count(), 3);
        let some = Owners::read_if(&path, |kind, path| kind == b"implied" || path == b"").unwrap();
        let paths: Vec<&[u8]> = some.iter().map(|(p, _)| p).collect();
        assert_eq!(paths, [&b""[..], b"usr"]);
    }

    #[test]
    fn later_lines_take_back_earlier_ones() {
        let (_dir, path) = written(|w| {
            for p in [&b"a"[..], b"a/b", b"a-b", b"ab", b"c", b"c/d"] {
                w.own(p, &OWNER).unwrap();
            }
            w.gone(b"a").unwrap();
            w.reset(b"c").unwrap();
        });
        let owners = Owners::read(&path).unwrap();
        let left: Vec<&[u8]> = owners.iter().map(|(p, _)| p).collect();
        assert_eq!(left, [&b"a-b"[..], b"ab", b"c/d"]);
    }

    #[test]
    fn damaged_sidecars_are_refused() {
        let read = |text: &[u8]| Owners::default().fill(text, Path::new("x"), &mut |_, _| true);
        assert!(read(b"coracle-owners 1\nend 0\n").is_ok());
        for bad in [
            &b""[..],
            b"coracle-owners 2\nend 0\n",
            b"coracle-owners 1\n",
            b"coracle-owners 1\nend 1\n",
            b"coracle-owners 1\nend 0",
            b"coracle-owners 1\nimplied a\n",
            b"coracle-owners 1\nown 1 2 755 a\nend 1\n",
            b"coracle-owners 1\nown x 2 755 file a\nend 1\n",
            b"coracle-owners 1\nimplied %4\nend 1\n",
            b"coracle-owners 1\nwhat a\nend 1\n",
        ] {
            assert!(read(bad).is_err(), "{}", bad.escape_ascii());
        }
    }
}
