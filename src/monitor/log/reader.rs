//! From the files of a log to records again, also while it is written.
//!
//! Only whole records are taken, and what comes after the last of them is read anew each time: a writer that could
//! not end its record removes it again.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use memchr::{memchr, memrchr};

use super::files::{self, Part};
use super::record::{RECORD_MAX, Record, Stream, TIME};
use super::tail::{self, Place};

/// Bytes that are read at once.
const BUFFER: usize = 4 * RECORD_MAX;

/// Reads a log from where it was opened to its end, and on when there is more.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    /// Those that are not read to the end, the oldest first.
    parts: VecDeque<Part>,
    /// How many came before the first of these.
    number: usize,
    /// Where in the first of them `buffer` begins.
    base: u64,
    /// Whole records, from `at` up to `end`; a byte more than is ever read.
    buffer: Vec<u8>,
    at: usize,
    end: usize,
    /// The record that begins at `at`, if it was looked for.
    found: Option<Found>,
    /// Of each stream, what comes before is not wanted.
    from: [Place; 2],
    /// Nobody writes to the last of them.
    ended: bool,
}

/// A record in the buffer: where, and what its header says.
#[derive(Clone, Debug)]
struct Found {
    line: Range<usize>,
    stream: Stream,
    whole: bool,
}

impl Reader {
    /// From the oldest record on; `None` where there is no log. With `tail` from the last so many lines on, of those
    /// that are not younger than `until`.
    pub fn open(
        path: &Path,
        tail: Option<u64>,
        until: Option<&[u8; TIME]>,
    ) -> io::Result<Option<Self>> {
        let mut parts = files::list(path, None)?;
        if parts.is_empty() {
            return Ok(None);
        }
        let mut from = [Place::default(); 2];
        if let Some(lines) = tail {
            from = tail::places(parts.make_contiguous(), lines, until)?;
        }
        let first = from[0].min(from[1]);
        parts.drain(..first.part);
        Ok(Some(Self {
            path: path.to_owned(),
            parts,
            number: first.part,
            base: first.offset,
            buffer: vec![0; BUFFER + 1],
            at: 0,
            end: 0,
            found: None,
            from,
            ended: false,
        }))
    }

    /// The next record; `None` when there is no other, or not yet ([`Reader::follow`]).
    pub fn next_record(&mut self) -> io::Result<Option<Record<'_>>> {
        self.find()?;
        let Some(Found {
            line,
            stream,
            whole,
        }) = self.found.take()
        else {
            return Ok(None);
        };
        self.at = line.end + 1;
        Ok(Record::of(&self.buffer[line], stream, whole))
    }

    /// When the next record was written.
    pub fn next_time(&mut self) -> io::Result<Option<[u8; TIME]>> {
        self.find()?;
        let found = self.found.as_ref();
        Ok(found.and_then(|f| self.buffer[f.line.clone()].first_chunk().copied()))
    }

    fn find(&mut self) -> io::Result<()> {
        while self.found.is_none() {
            let Some(length) = memchr(b'\n', &self.buffer[self.at..self.end]) else {
                if self.fill()? {
                    continue;
                }
                return Ok(());
            };
            let line = self.at..self.at + length;
            let place = Place {
                part: self.number,
                offset: self.base + self.at as u64,
            };
            match Record::parse(&self.buffer[line.clone()]) {
                Some(r) if place >= self.from[r.stream as usize] => {
                    self.found = Some(Found {
                        line,
                        stream: r.stream,
                        whole: r.whole,
                    });
                }
                _ => self.at = line.end + 1,
            }
        }
        Ok(())
    }

    /// More records; false when there are none now.
    fn fill(&mut self) -> io::Result<bool> {
        loop {
            self.base += self.at as u64;
            (self.at, self.end) = (0, 0);
            let Some(part) = self.parts.front() else {
                return Ok(false);
            };
            let n = part.file.read_at(&mut self.buffer[..BUFFER], self.base)?;
            if let Some(last) = memrchr(b'\n', &self.buffer[..n]) {
                self.end = last + 1;
                return Ok(true);
            }
            if n == BUFFER {
                // No record is as long: whatever it is, it is not ours.
                self.at = n;
            } else if self.parts.len() > 1 || self.ended {
                if self.take_torn(n) {
                    return Ok(true);
                }
                self.next_part();
            } else if n == 0 && part.size()? < self.base {
                // Somebody emptied it.
                self.base = 0;
            } else {
                return Ok(false);
            }
        }
    }

    /// What is left of a record whose writer was killed, at the end of a file that nobody will end any more.
    fn take_torn(&mut self, length: usize) -> bool {
        self.buffer[length] = b'\n';
        self.end = if length > 0 { length + 1 } else { 0 };
        length > 0
    }

    fn next_part(&mut self) {
        self.parts.pop_front();
        self.number += 1;
        self.base = 0;
    }

    /// Has another file been begun? Asked when [`Reader::next_record`] had no more.
    pub fn follow(&mut self) -> io::Result<()> {
        match self.parts.back() {
            Some(last) if last.is_at(&self.path) => {}
            last => {
                let mut younger = files::list(&self.path, last)?;
                self.parts.append(&mut younger);
            }
        }
        Ok(())
    }

    /// Nobody writes any more: what is left is all there will be. [`Reader::next_record`] has the rest.
    pub fn finish(&mut self) -> io::Result<()> {
        self.follow()?;
        self.ended = true;
        Ok(())
    }
}
