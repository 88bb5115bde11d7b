//! Sidecars: text files that hold what inodes cannot.
//!
//! Lines end in `\n`, fields are separated by one space; bytes of a field outside `!`..`~`, and `%`,
//! are written `%XX`. Paths are relative to the tree's root, without a leading slash; the root is
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
//! @INO,BIRTH own ...            `own`, `xattr` or `reset` for an inode ([`Node`]), wherever it is by
//!                               now; PATH is where it was
//! end LINES                     last line of a sealed file; LINES counts those between
//! ```
//!
//! **Of a layer**: sealed, and then never changed. Written while the tar is read, so that memory does
//! not grow with it; that is why lines can take earlier ones back. Keyed by path, since the tree does not
//! change either. A hard-linked file is recorded under its first name only.
//!
//! **Of a container**: a journal, never sealed, of lines that are appended with one write(2) each as
//! things happen, so that a killed writer costs at most the line it was at. Keyed by inode: programs
//! rename what they have just made and given away (dpkg does so with every file), and a rename is
//! nobody's to see. The inode is that of the upper directory: of files that were copied up an overlay shows
//! the number that they had below.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, OFlags, fstat};
use rustix::io::Errno;

use super::record::{self, decimal, octal};
use super::{Error, Node, Owner, Record};
use crate::trees;

const MAGIC: &str = "coracle-owners 1\n";
/// Longest line read: more than an xattr of the largest size (64 KiB) and a path, with escapes.
const LINE_MAX: u64 = 1 << 20;

/// One line, without what stands before its last field.
struct Line(String);

impl Line {
    fn own(owner: &Owner) -> Self {
        let Owner {
            uid,
            gid,
            mode,
            file_type,
        } = owner;
        Self(format!("own {uid} {gid} {mode:04o} {file_type} "))
    }

    fn xattr(name: &[u8], value: &[u8]) -> Self {
        let mut line = Self::word("xattr");
        escape(name, &mut line.0);
        line.0.push_str(" =");
        escape(value, &mut line.0);
        line.0.push(' ');
        line
    }

    fn word(word: &str) -> Self {
        Self(format!("{word} "))
    }

    /// The whole line.
    fn of(mut self, path: &[u8]) -> String {
        escape(if path.is_empty() { b"." } else { path }, &mut self.0);
        self.0.push('\n');
        self.0
    }
}

fn escape(bytes: &[u8], out: &mut String) {
    for b in bytes {
        if b.is_ascii_graphic() && *b != b'%' {
            out.push(char::from(*b));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{b:02x}");
        }
    }
}

fn unescape(field: &[u8]) -> Option<Vec<u8>> {
    let hex = |digit: &u8| char::from(*digit).to_digit(16);
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field.iter();
    while let Some(b) = rest.next() {
        out.push(match b {
            b'%' => u8::try_from(hex(rest.next()?)? << 4 | hex(rest.next()?)?).ok()?,
            b => *b,
        });
    }
    Some(out)
}

/// Writes the sidecar of a layer. Without [`Writer::finish`] the file is incomplete and will be refused.
#[derive(Debug)]
pub struct Writer {
    out: BufWriter<File>,
    path: PathBuf,
    lines: u64,
}

impl Writer {
    /// Make a new file, mode 0600; it is an error if there is one.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        let mut out = BufWriter::new(file.map_err(Error::sidecar(path))?);
        let written = out.write_all(MAGIC.as_bytes());
        written.map_err(Error::sidecar(path))?;
        Ok(Self {
            out,
            path: path.to_owned(),
            lines: 0,
        })
    }

    /// The owner of `path`.
    pub fn own(&mut self, path: &[u8], owner: &Owner) -> Result<(), Error> {
        self.line(Line::own(owner).of(path))
    }

    /// One xattr of `path`.
    pub fn xattr(&mut self, path: &[u8], name: &[u8], value: &[u8]) -> Result<(), Error> {
        self.line(Line::xattr(name, value).of(path))
    }

    /// `path` is a directory that the tar does not list.
    pub fn implied(&mut self, path: &[u8]) -> Result<(), Error> {
        self.line(Line::word("implied").of(path))
    }

    /// Take back what was said of `path`.
    pub fn reset(&mut self, path: &[u8]) -> Result<(), Error> {
        self.line(Line::word("reset").of(path))
    }

    /// Take back what was said of `path` and of all below.
    pub fn gone(&mut self, path: &[u8]) -> Result<(), Error> {
        self.line(Line::word("gone").of(path))
    }

    /// Seal it.
    pub fn finish(mut self) -> Result<(), Error> {
        self.line(format!("end {}\n", self.lines))?;
        self.out.flush().map_err(Error::sidecar(&self.path))
    }

    fn line(&mut self, line: String) -> Result<(), Error> {
        self.lines += 1;
        let written = self.out.write_all(line.as_bytes());
        written.map_err(Error::sidecar(&self.path))
    }
}

/// The sidecar of a container, open for appending.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    /// Open it, or make one with mode 0600. `sound`: how much of it was read ([`Owners::read_journal`]); what
    /// follows is the line at which a writer was killed, and goes.
    pub fn open(path: &Path, sound: u64) -> Result<Self, Error> {
        let failed = || Error::sidecar(path);
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .map_err(failed())?;
        if file.metadata().map_err(failed())?.len() > sound {
            file.set_len(sound).map_err(failed())?;
        }
        let mut journal = Self {
            file,
            path: path.to_owned(),
        };
        if sound == 0 {
            journal.append(MAGIC)?;
        }
        Ok(journal)
    }

    /// Replace what was said of an inode; without one, of a path. In one write, so that no reader ever
    /// sees a half.
    pub fn set(&mut self, path: &[u8], node: Option<Node>, record: &Record) -> Result<(), Error> {
        let key = node.map_or_else(String::new, |n| format!("@{},{} ", n.ino, n.birth));
        let mut text = String::new();
        let mut put = |line: Line| {
            text.push_str(&key);
            text.push_str(&line.of(path));
        };
        put(Line::word("reset"));
        if let Some(owner) = &record.owner {
            put(Line::own(owner));
        }
        for (name, value) in &record.xattrs {
            put(Line::xattr(name, value));
        }
        self.append(&text)
    }

    fn append(&mut self, text: &str) -> Result<(), Error> {
        let written = self.file.write_all(text.as_bytes());
        written.map_err(Error::sidecar(&self.path))
    }
}

/// A sidecar in memory: by path (relative, the root is empty) and by inode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners {
    paths: BTreeMap<Vec<u8>, Record>,
    /// With the path where the inode was at its last line.
    nodes: HashMap<Node, (Vec<u8>, Record)>,
}

/// What the end of a file has to look like.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sealed,
    Journal,
}

impl Owners {
    /// Read the sidecar of a layer. Refuses other versions and incomplete files.
    pub fn read(path: &Path) -> Result<Self, Error> {
        Self::read_if(path, |_, _| true)
    }

    /// As [`Owners::read`], but of the lines that say something only those that `keep` wants, by their
    /// first word and their path. A layer can have millions.
    pub fn read_if(path: &Path, mut keep: impl FnMut(&[u8], &[u8]) -> bool) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::sidecar(path))?;
        let mut owners = Self::default();
        owners.fill(BufReader::new(file), path, Kind::Sealed, &mut keep)?;
        Ok(owners)
    }

    /// Read the sidecar of a container, and say how many bytes of it are whole lines. None is as good as
    /// an empty one.
    pub fn read_journal(path: &Path) -> Result<(Self, u64), Error> {
        let mut owners = Self::default();
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((owners, 0)),
            Err(e) => return Err(Error::sidecar(path)(e)),
        };
        let sound = owners.fill(BufReader::new(file), path, Kind::Journal, &mut |_, _| true)?;
        Ok((owners, sound))
    }

    /// Is there no record?
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.nodes.is_empty()
    }

    /// The record of `path`, if there is one.
    pub fn get(&self, path: &[u8]) -> Option<&Record> {
        self.paths.get(path)
    }

    /// The record of the inode `node`, which is at `path`; else that of the path. Where the file system
    /// has no times of birth, an inode counts only where it was.
    pub fn of(&self, path: &[u8], node: Node) -> Option<&Record> {
        let known = self.nodes.get(&node);
        let same = known.filter(|(at, _)| node.birth != 0 || at == path);
        same.map(|(_, record)| record).or_else(|| self.get(path))
    }

    /// All records that have a path for a key, in the order of their paths.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Record)> {
        self.paths
            .iter()
            .map(|(path, record)| (path.as_slice(), record))
    }

    /// Of files of `root` that have several names and a record: inode number to the name that has it.
    pub fn first_names(&self, root: impl AsFd) -> Result<HashMap<u64, Vec<u8>>, Errno> {
        let mut names = HashMap::new();
        for (path, _) in self.iter().filter(|(_, r)| !r.implied) {
            let file = match trees::open_below(&root, path, OFlags::PATH) {
                Ok(file) => file,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                Err(e) => return Err(e),
            };
            let stat = fstat(&file)?;
            if stat.st_nlink > 1 && !FileType::from_raw_mode(stat.st_mode).is_dir() {
                names.insert(stat.st_ino, path.to_vec());
            }
        }
        Ok(names)
    }

    /// What [`Journal::set`] wrote.
    pub(super) fn set(&mut self, path: &[u8], node: Option<Node>, record: Record) {
        let says_nothing = record == Record::default();
        match node {
            Some(node) if says_nothing => drop(self.nodes.remove(&node)),
            Some(node) => drop(self.nodes.insert(node, (path.to_vec(), record))),
            None if says_nothing => drop(self.paths.remove(path)),
            None => drop(self.paths.insert(path.to_vec(), record)),
        }
    }

    /// Bytes of whole lines.
    fn fill(
        &mut self,
        mut from: impl io::BufRead,
        path: &Path,
        kind: Kind,
        keep: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<u64, Error> {
        let mut number = 0;
        let mut sound = 0;
        let mut line = Vec::new();
        loop {
            number += 1;
            line.clear();
            let bad = |what| Error::Format {
                path: path.to_owned(),
                line: number,
                what,
            };
            let read = (&mut from).take(LINE_MAX).read_until(b'\n', &mut line);
            read.map_err(Error::sidecar(path))?;
            let Some(text) = line.strip_suffix(b"\n") else {
                return match kind {
                    Kind::Journal if (line.len() as u64) < LINE_MAX => Ok(sound),
                    _ => Err(bad("the file is incomplete")),
                };
            };
            sound += line.len() as u64;
            if number == 1 {
                if line != MAGIC.as_bytes() {
                    return Err(bad("unknown format or version"));
                }
                continue;
            }
            if let Some(count) = text.strip_prefix(b"end ") {
                if kind == Kind::Journal || decimal(count).map(u64::from) != Some(number - 2) {
                    return Err(bad("wrong number of lines"));
                }
                return Ok(sound);
            }
            self.line(text, keep).ok_or_else(|| bad("malformed line"))?;
        }
    }

    fn line(&mut self, text: &[u8], keep: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Option<()> {
        let mut fields: Vec<&[u8]> = text.split(|b| *b == b' ').collect();
        let mut path = unescape(fields.pop()?)?;
        if path == b"." {
            path.clear();
        }
        let node = match fields.first()?.strip_prefix(b"@") {
            Some(key) => {
                fields.remove(0);
                Some(parse_node(key)?)
            }
            None => None,
        };
        if let [kind @ (b"own" | b"xattr" | b"implied"), ..] = fields.as_slice()
            && !keep(kind, &path)
        {
            return Some(());
        }
        match fields.as_slice() {
            [b"own", uid, gid, mode, file_type] => {
                self.record(path, node).owner = Some(Owner {
                    uid: decimal(uid)?,
                    gid: decimal(gid)?,
                    mode: octal(mode)?,
                    file_type: record::FileType::parse(file_type)?,
                });
            }
            [b"xattr", name, value] => {
                let name = unescape(name)?;
                let value = unescape(value.strip_prefix(b"=")?)?;
                let record = self.record(path, node);
                record.xattrs.retain(|(n, _)| *n != name);
                record.xattrs.push((name, value));
            }
            [b"implied"] if node.is_none() => self.record(path, None).implied = true,
            [b"reset"] => match node {
                Some(node) => drop(self.nodes.remove(&node)),
                None => drop(self.paths.remove(&path)),
            },
            [b"gone"] if node.is_none() => self.forget_tree(&path),
            _ => return None,
        }
        Some(())
    }

    fn record(&mut self, path: Vec<u8>, node: Option<Node>) -> &mut Record {
        match node {
            Some(node) => {
                let (at, record) = self.nodes.entry(node).or_default();
                *at = path;
                record
            }
            None => self.paths.entry(path).or_default(),
        }
    }

    /// Drop the records of `path` and of all below it, at the cost of those only.
    fn forget_tree(&mut self, path: &[u8]) {
        let below = if path.is_empty() {
            Vec::new()
        } else {
            [path, b"/"].concat()
        };
        let within = |(p, _): &(&Vec<u8>, &Record)| p.starts_with(&below);
        let gone: Vec<Vec<u8>> = (self.paths.range(below.clone()..))
            .take_while(within)
            .map(|(p, _)| p.clone())
            .collect();
        self.paths.remove(path);
        for path in gone {
            self.paths.remove(&path);
        }
    }
}

fn parse_node(key: &[u8]) -> Option<Node> {
    let (ino, birth) = std::str::from_utf8(key).ok()?.split_once(',')?;
    Some(Node {
        ino: ino.parse().ok()?,
        birth: birth.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner = Owner {
        uid: 5,
        gid: 60000,
        mode: 0o4755,
        file_type: record::FileType::Char(1, 3),
    };

    fn written(fill: impl FnOnce(&mut Writer)) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("owners");
        let mut writer = Writer::create(&path).unwrap();
        fill(&mut writer);
        writer.finish().unwrap();
        (dir, path)
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
        let read = |text: &[u8]| {
            Owners::default().fill(text, Path::new("x"), Kind::Sealed, &mut |_, _| true)
        };
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
            b"coracle-owners 1\nown 1 2 77755 file a\nend 1\n",
            b"coracle-owners 1\nimplied %4\nend 1\n",
            b"coracle-owners 1\nwhat a\nend 1\n",
            b"coracle-owners 1\n@1 reset a\nend 1\n",
            b"coracle-owners 1\n@1,2 gone a\nend 1\n",
        ] {
            assert!(read(bad).is_err(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn a_journal_follows_its_inodes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("owners");
        let record = |uid| Record {
            owner: Some(Owner { uid, ..OWNER }),
            xattrs: vec![(b"trusted.x".to_vec(), b"1".to_vec())],
            implied: false,
        };
        let node = |ino, birth| Node { ino, birth };
        let mut journal = Journal::open(&path, 0).unwrap();
        journal.set(b"a.new", Some(node(7, 5)), &record(1)).unwrap();
        journal.set(b"a.new", Some(node(8, 5)), &record(2)).unwrap();
        journal.set(b"a.new", Some(node(8, 5)), &record(3)).unwrap();
        journal.set(b"old", Some(node(9, 0)), &record(4)).unwrap();
        journal.set(b"named", None, &record(5)).unwrap();
        let (owners, sound) = Owners::read_journal(&path).unwrap();
        let uid = |o: &Owners, path: &[u8], node| o.of(path, node).map(|r| r.owner.unwrap().uid);
        // Renamed, and another one of the same name after it.
        assert_eq!(uid(&owners, b"a", node(7, 5)), Some(1));
        assert_eq!(uid(&owners, b"b", node(8, 5)), Some(3));
        assert_eq!(owners.of(b"b", node(8, 5)).unwrap().xattrs.len(), 1);
        // The number of a dead inode, used again.
        assert_eq!(uid(&owners, b"a.new", node(7, 6)), None);
        assert_eq!(uid(&owners, b"old", node(9, 0)), Some(4));
        assert_eq!(uid(&owners, b"new", node(9, 0)), None);
        assert_eq!(uid(&owners, b"named", node(10, 0)), Some(5));

        // A writer that was killed, and its successor.
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(sound, whole.len() as u64);
        std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();
        let (cut, sound) = Owners::read_journal(&path).unwrap();
        assert_eq!(cut.of(b"named", node(10, 0)).unwrap().xattrs, []);
        let mut journal = Journal::open(&path, sound).unwrap();
        journal.set(b"named", None, &record(5)).unwrap();
        assert_eq!(Owners::read_journal(&path).unwrap().0, owners);
        // As if nothing had been written.
        std::fs::write(&path, &MAGIC[..5]).unwrap();
        let (none, sound) = Owners::read_journal(&path).unwrap();
        assert!(none.is_empty() && sound == 0);
        Journal::open(&path, sound).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), MAGIC);
    }
}
