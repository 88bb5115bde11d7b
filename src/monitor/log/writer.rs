//! From what a container writes to records in a file.
//!
//! One clock read a call, and one write unless there are more records than the buffer holds. Nothing is kept back from
//! one call to the next, so a monitor that is killed takes nothing with it.
//!
//! Nothing here can fail a container: what the disk has no room for is dropped and counted, and the log says so when
//! there is room again.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use memchr::{memchr_iter, memrchr};
use rustix::io::Errno;

use super::Limits;
use super::files;
use super::record::{DATA_MAX, HEADER, Header, RECORD_MAX, Record, Stream};

/// Records are gathered up to this many bytes. A monitor has one, and for a quiet container most of it is never touched.
const BUFFER: usize = RECORD_MAX;
/// Data from this size on is not copied to the buffer first.
const DIRECT: usize = 4 << 10;

/// Appends to a container's log.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    limits: Limits,
    file: File,
    /// Bytes in the file.
    size: u64,
    /// Whole records of one stream, not yet in the file. Empty between calls.
    buffer: Vec<u8>,
    /// The last record in the file, of each stream, continues.
    open: [bool; 2],
    /// The file ends in a part of a record, which could not be removed.
    torn: bool,
    lost: Option<Lost>,
}

/// What the log could not take.
#[derive(Debug)]
struct Lost {
    bytes: u64,
    /// Of which streams.
    streams: [bool; 2],
    reason: Errno,
}

impl Writer {
    /// Continue the log at `path`, or begin it. What a killed writer tore is ended.
    pub fn open(path: &Path, limits: Limits) -> io::Result<Self> {
        let file = files::open(path)?;
        let size = file.metadata()?.len();
        let mut writer = Self {
            path: path.to_owned(),
            limits,
            file,
            size,
            buffer: Vec::with_capacity(BUFFER),
            open: [false; 2],
            torn: false,
            lost: None,
        };
        if size > 0 {
            writer.mend()?;
        }
        Ok(writer)
    }

    /// If the last record is torn: with a whole header it is a line that was cut, else it is nothing.
    fn mend(&mut self) -> io::Result<()> {
        let length = usize::try_from(self.size).map_or(BUFFER, |size| size.min(BUFFER));
        let from = self.size - length as u64;
        self.buffer.resize(length, 0);
        self.file.read_exact_at(&mut self.buffer, from)?;
        let begin = memrchr(b'\n', &self.buffer).map_or(0, |at| at + 1);
        let tail = &self.buffer[begin..];
        // One that is longer than any record is none of ours: what follows must only not be its continuation.
        let known = begin > 0 || from == 0;
        if known && !tail.is_empty() && Record::parse(tail).is_none() {
            self.size = from + begin as u64;
            self.file.set_len(self.size)?;
        } else {
            self.torn = !tail.is_empty();
        }
        self.buffer.clear();
        Ok(())
    }

    /// Append what the container wrote to `stream`, with the time of now.
    pub fn write(&mut self, stream: Stream, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let now = Timestamp::now();
        self.tell_loss(now);
        if let Some(lost) = &mut self.lost {
            lost.add(stream, bytes.len() as u64);
            return;
        }
        let mut header = Header::new(now, stream);
        let mut begin = 0;
        for end in memchr_iter(b'\n', bytes) {
            self.line(&mut header, stream, &bytes[begin..end], true);
            begin = end + 1;
        }
        if begin < bytes.len() {
            self.line(&mut header, stream, &bytes[begin..], false);
        }
        self.emit(stream, None);
    }

    /// Say now what could not be said before. Called at the end; all else is in the file already.
    pub fn flush(&mut self) {
        self.tell_loss(Timestamp::now());
    }

    /// A line, or what there is of it.
    #[inline]
    fn line(&mut self, header: &mut Header, stream: Stream, mut data: &[u8], whole: bool) {
        while data.len() > DATA_MAX {
            let (piece, rest) = data.split_at(DATA_MAX);
            self.record(stream, header.whole(false), piece);
            data = rest;
        }
        self.record(stream, header.whole(whole), data);
    }

    #[inline]
    fn record(&mut self, stream: Stream, header: &[u8; HEADER], data: &[u8]) {
        let length = HEADER + data.len() + 1;
        if let Some(max) = self.limits.max_size
            && self.size + (self.buffer.len() + length) as u64 > max
        {
            self.emit(stream, None);
            self.rotate();
        }
        if data.len() >= DIRECT {
            self.emit(stream, Some((header, data)));
            return;
        }
        if self.buffer.len() + length > BUFFER {
            self.emit(stream, None);
        }
        self.buffer.extend_from_slice(header);
        self.buffer.extend_from_slice(data);
        self.buffer.push(b'\n');
    }

    /// An empty file is never rotated: a record larger than the limit has one for itself.
    fn rotate(&mut self) {
        if self.size == 0 {
            return;
        }
        // If it fails, a log that is too long is better than none; it is tried again when as much was added.
        if let Ok(file) = files::rotate(&self.path, self.limits.max_files.saturating_sub(1)) {
            self.file = file;
            self.torn = false;
        }
        self.size = 0;
    }

    /// Write the buffer, and behind it a record that is too large for it.
    fn emit(&mut self, stream: Stream, large: Option<(&[u8; HEADER], &[u8])>) {
        if self.buffer.is_empty() && large.is_none() {
            return;
        }
        let (header, data, end): (&[u8], &[u8], &[u8]) = match large {
            Some((header, data)) => (header, data, b"\n"),
            None => (b"", b"", b""),
        };
        // Once something was lost, what follows it in the same call is, too: else the log had a hole that it does
        // not tell of in its place.
        let (written, failed) = match &self.lost {
            Some(lost) => (0, Some(lost.reason)),
            None => {
                let mend: &[u8] = if self.torn { b"\n" } else { b"" };
                let mut parts = [mend, &self.buffer, header, data, end].map(IoSlice::new);
                write_all(&self.file, &mut parts)
            }
        };
        self.size += written as u64;
        match failed {
            None => {
                self.torn = false;
                self.open[stream as usize] = continues(large.map_or(&self.buffer, |(h, _)| h));
            }
            Some(reason) => {
                let kept = self.keep_whole(written);
                if kept > 0 {
                    self.open[stream as usize] = continues(&self.buffer[..kept]);
                }
                let line_end = u64::from(large.is_some() && !continues(header));
                let lost = payload(&self.buffer[kept..]) + data.len() as u64 + line_end;
                self.lost
                    .get_or_insert(Lost::because(reason))
                    .add(stream, lost);
            }
        }
        self.buffer.clear();
    }

    /// Of `written` bytes that are in the file, and more that are not, leave the records that are whole; returns how
    /// many bytes of the buffer these are.
    fn keep_whole(&mut self, written: usize) -> usize {
        let mended = usize::from(self.torn).min(written);
        let there = &self.buffer[..(written - mended).min(self.buffer.len())];
        let kept = memrchr(b'\n', there).map_or(0, |at| at + 1);
        let excess = (written - mended - kept) as u64;
        if excess > 0 {
            // Not from what we think is the size: others may have emptied the file.
            let cut = self.file.metadata();
            let cut = cut.and_then(|m| self.file.set_len(m.len().saturating_sub(excess)));
            self.torn = cut.is_err();
            self.size -= if self.torn { 0 } else { excess };
        } else if written > 0 {
            self.torn = false;
        }
        kept
    }

    /// Say in the log what it lacks, if there is room for that again.
    fn tell_loss(&mut self, now: Timestamp) {
        let Some(lost) = self.lost.take() else {
            return;
        };
        // A line that lost its end must not be continued by a later one.
        for stream in [Stream::Stdout, Stream::Stderr] {
            let ours = stream == Stream::Stderr;
            if self.open[stream as usize] && (ours || lost.streams[stream as usize]) {
                self.record(stream, Header::new(now, stream).whole(true), b"");
                self.emit(stream, None);
            }
        }
        let note = format!(
            "coracle: {} bytes are missing here, which could not be written: {}",
            lost.bytes,
            io::Error::from(lost.reason)
        );
        let mut header = Header::new(now, Stream::Stderr);
        self.record(Stream::Stderr, header.whole(true), note.as_bytes());
        self.emit(Stream::Stderr, None);
        if self.lost.is_some() {
            // Not the words about it are what is lost.
            self.lost = Some(lost);
        }
    }
}

impl Lost {
    fn because(reason: Errno) -> Self {
        Self {
            bytes: 0,
            streams: [false; 2],
            reason,
        }
    }

    fn add(&mut self, stream: Stream, bytes: u64) {
        self.bytes += bytes;
        self.streams[stream as usize] |= bytes > 0;
    }
}

/// Does the last of these records continue? A single one may be without its data.
fn continues(records: &[u8]) -> bool {
    let before = records.strip_suffix(b"\n").unwrap_or(records);
    let begin = memrchr(b'\n', before).map_or(0, |at| at + 1);
    Record::parse(&before[begin..]).is_some_and(|r| !r.whole)
}

/// Bytes of the container's in some records.
fn payload(records: &[u8]) -> u64 {
    let lines = records.split(|b| *b == b'\n').filter_map(Record::parse);
    lines
        .map(|r| r.data.len() as u64 + u64::from(r.whole))
        .sum()
}

/// How much was written, and what kept the rest from it.
fn write_all(file: &File, mut parts: &mut [IoSlice<'_>]) -> (usize, Option<Errno>) {
    let mut written = 0;
    IoSlice::advance_slices(&mut parts, 0);
    while !parts.is_empty() {
        match rustix::io::writev(file, parts) {
            // A regular file takes at least a byte, or says why not.
            Ok(0) => return (written, Some(Errno::IO)),
            Ok(n) => {
                written += n;
                IoSlice::advance_slices(&mut parts, n);
            }
            Err(Errno::INTR) => {}
            Err(e) => return (written, Some(e)),
        }
    }
    (written, None)
}
