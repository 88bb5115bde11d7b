//! Writing: the sealed sidecar of a layer, and the journal of a container. The lines are described in
//! [`super`].

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::MAGIC;
use crate::owners::{Error, Node, Owner, Record};

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
    /// Bytes of ours.
    written: u64,
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
            written: 0,
        };
        if sound == 0 {
            journal.append(MAGIC)?;
        }
        Ok(journal)
    }

    /// The same of a volume, where others may be writing.
    pub fn open_shared(path: &Path) -> Result<Self, Error> {
        let failed = || Error::sidecar(path);
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .map_err(failed())?;
        // Two that make it at once make one beginning.
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)
            .map_err(|e| failed()(e.into()))?;
        let mut journal = Self {
            file,
            path: path.to_owned(),
            written: 0,
        };
        let length = journal.file.metadata().map_err(failed())?.len();
        let mut last = [0u8; 1];
        if length == 0 {
            journal.append(MAGIC)?;
        } else if journal
            .file
            .read_at(&mut last, length - 1)
            .map_err(failed())?
            == 1
            && last != *b"\n"
        {
            journal.append("\n")?;
        }
        rustix::fs::flock(&journal.file, rustix::fs::FlockOperation::Unlock)
            .map_err(|e| failed()(e.into()))?;
        Ok(journal)
    }

    /// Append what another journal says.
    pub fn take_over(&mut self, other: &Path) -> Result<(), Error> {
        match std::fs::read_to_string(other) {
            Ok(text) => match text.strip_prefix(MAGIC) {
                Some("") | None => Ok(()),
                Some(lines) => self.append(lines),
            },
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(Error::sidecar(other)(e)),
        }
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

    /// How many bytes this writer has appended.
    pub fn written(&self) -> u64 {
        self.written
    }

    fn append(&mut self, text: &str) -> Result<(), Error> {
        self.written += text.len() as u64;
        let written = self.file.write_all(text.as_bytes());
        written.map_err(Error::sidecar(&self.path))
    }
}
