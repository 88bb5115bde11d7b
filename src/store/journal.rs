//! What happened in the store, a line an event: `events`, and `events.1` from before it grew too large.
//!
//! Any number of processes append, each line with one write(2) to a file that is open for appending, so that none is
//! in the middle of another's. A line is preceded by a line end as well: what a killed process or a full disk tore does
//! not spoil the next. On a network file system two writers may still overwrite each other; who reads passes over
//! what is no record.
//!
//! It takes three system calls, and what fails is not worth failing for.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::Store;
use super::lock::{self, Kind};

const JOURNAL: &str = "events";
const OLD: &str = "events.1";
/// A file of so many bytes is put aside.
const SIZE_MAX: u64 = 4 << 20;
/// How often is looked at the size: each time would be a system call more.
const ONE_IN: u32 = 16;
/// Longest line that is read.
const LINE_MAX: usize = 64 << 10;

/// The store's journal.
#[derive(Debug)]
pub struct Journal<'a> {
    pub(super) store: &'a Store,
}

impl Journal<'_> {
    /// The directory that changes when something is appended.
    pub fn dir(&self) -> &Path {
        &self.store.root
    }

    fn path(&self) -> PathBuf {
        self.store.path(JOURNAL)
    }

    /// Add a line, given without its end. `chance`: any number, another one each time.
    pub fn append(&self, line: &str, chance: u32) -> io::Result<()> {
        self.append_up_to(
            line,
            if chance.is_multiple_of(ONE_IN) {
                SIZE_MAX
            } else {
                u64::MAX
            },
        )
    }

    fn append_up_to(&self, line: &str, size: u64) -> io::Result<()> {
        let path = self.path();
        let flags =
            OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)?;
        let mut file = File::from(fd);
        file.write_all(format!("\n{line}\n").as_bytes())?;
        if size < u64::MAX && file.metadata()?.len() > size {
            self.put_aside(&file, &path)?;
        }
        Ok(())
    }

    /// Under a lock on the file itself: of two that see it is too large, the second would put aside the new one.
    fn put_aside(&self, file: &File, path: &Path) -> io::Result<()> {
        if lock::try_lock(file, Kind::Exclusive)? && lock::still_named(file, path) {
            rustix::fs::rename(path, self.store.path(OLD))?;
        }
        Ok(())
    }

    /// Read it, from its oldest line on or only what comes from now on.
    pub fn reader(&self, from_now: bool) -> io::Result<Reader> {
        let aside = self.store.path(OLD);
        let old = Place::open(&aside)?;
        let passed = match &old {
            Some(old) => Some(old.id()?),
            None => None,
        };
        let mut file = old;
        if from_now {
            file = Place::open(&self.path())?;
            if let Some(place) = &mut file {
                place.offset = place.file.metadata()?.len();
            }
        }
        Ok(Reader {
            path: self.path(),
            aside,
            passed,
            file,
            before: None,
        })
    }
}

/// Reads a journal, also while it grows.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    /// Where the file before this one is, and which one was there at the start.
    aside: PathBuf,
    passed: Option<(u64, u64)>,
    file: Option<Place>,
    /// The one before it, to which somebody may still be about to write who opened it by its old name.
    before: Option<Place>,
}

/// A file, and where in it the next line begins.
#[derive(Debug)]
struct Place {
    file: File,
    offset: u64,
}

impl Place {
    fn open(path: &Path) -> io::Result<Option<Self>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(Self {
                file: File::from(fd),
                offset: 0,
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Device and inode.
    fn id(&self) -> io::Result<(u64, u64)> {
        let m = self.file.metadata()?;
        Ok((m.dev(), m.ino()))
    }

    /// Some whole lines; none when there are no more now.
    fn lines(&mut self) -> io::Result<Vec<String>> {
        let mut buffer = vec![0; 4 * LINE_MAX];
        loop {
            let n = self.file.read_at(&mut buffer, self.offset)?;
            let whole = match buffer[..n].iter().rposition(|b| *b == b'\n') {
                Some(at) => at + 1,
                // Too long for a line of ours.
                None if n == buffer.len() => n,
                None => return Ok(Vec::new()),
            };
            self.offset += whole as u64;
            let lines = buffer[..whole].split(|b| *b == b'\n');
            let lines: Vec<String> = lines
                .filter(|l| !l.is_empty() && l.len() <= LINE_MAX)
                .filter_map(|l| String::from_utf8(l.to_vec()).ok())
                .collect();
            if !lines.is_empty() {
                return Ok(lines);
            }
        }
    }
}

impl Reader {
    /// Lines that were added since the last call, without empty ones; of none there are no more now.
    pub fn lines(&mut self) -> io::Result<Vec<String>> {
        let lines = self.younger()?;
        let Some(before) = &mut self.before else {
            return Ok(lines);
        };
        // After the younger ones were read: whoever wrote one of them had written these before.
        let mut late = before.lines()?;
        late.extend(lines);
        Ok(late)
    }

    /// There was no journal: the first file since, which may have been put aside already.
    fn first(&self) -> io::Result<Option<Place>> {
        let current = Place::open(&self.path)?;
        match Place::open(&self.aside)? {
            Some(old) if Some(old.id()?) != self.passed => Ok(Some(old)),
            _ => Ok(current),
        }
    }

    fn younger(&mut self) -> io::Result<Vec<String>> {
        loop {
            let Some(place) = &mut self.file else {
                self.file = self.first()?;
                if self.file.is_none() {
                    return Ok(Vec::new());
                }
                continue;
            };
            // Asked before it is read: what was added before it was put aside is seen now.
            let last = lock::still_named(&place.file, &self.path);
            let lines = place.lines()?;
            if last || !lines.is_empty() {
                return Ok(lines);
            }
            let Some(next) = Place::open(&self.path)? else {
                return Ok(Vec::new());
            };
            self.before = self.file.replace(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(reader: &mut Reader) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let lines = reader.lines().unwrap();
            if lines.is_empty() {
                return all;
            }
            all.extend(lines);
        }
    }

    #[test]
    fn what_was_added_comes_out_again_and_what_was_torn_spoils_nothing() {
        let dir = tempfile::TempDir::new().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let journal = store.journal();
        let mut early = journal.reader(true).unwrap();
        assert_eq!(all(&mut early), [""; 0]);
        journal.append("one", 1).unwrap();
        let path = dir.path().join("store").join(JOURNAL);
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b"\n{torn").unwrap();
        journal.append("two", 1).unwrap();
        file.write_all(b"\n\xff\nnot yet").unwrap();
        assert_eq!(all(&mut early), ["one", "{torn", "two"]);
        assert_eq!(
            all(&mut journal.reader(false).unwrap()),
            ["one", "{torn", "two"]
        );
        let mut late = journal.reader(true).unwrap();
        journal.append("three", 1).unwrap();
        assert_eq!(all(&mut late), ["three"]);
        assert_eq!(all(&mut early), ["not yet", "three"]);
    }

    #[test]
    fn who_came_before_the_first_file_reads_it_where_it_was_put_aside() {
        let dir = tempfile::TempDir::new().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let journal = store.journal();
        let mut early = [true, false].map(|from_now| journal.reader(from_now).unwrap());
        journal.append_up_to("one", 1).unwrap();
        journal.append_up_to("two", u64::MAX).unwrap();
        for reader in &mut early {
            assert_eq!(all(reader), ["one", "two"]);
        }
        assert_eq!(all(&mut journal.reader(true).unwrap()), [""; 0]);
    }

    #[test]
    fn many_writers_and_a_change_of_files_lose_nothing() {
        const WRITERS: usize = 4;
        const EACH: usize = 500;
        let dir = tempfile::TempDir::new().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let mut follower = store.journal().reader(true).unwrap();
        let mut seen = Vec::new();
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|w| {
                    let store = &store;
                    scope.spawn(move || {
                        for n in 0..EACH {
                            let line = format!("{w} {n} {}", "x".repeat(50));
                            // One change in all that is written.
                            store.journal().append_up_to(&line, 70_000).unwrap();
                        }
                    })
                })
                .collect();
            while !writers
                .iter()
                .all(std::thread::ScopedJoinHandle::is_finished)
            {
                seen.extend(all(&mut follower));
            }
        });
        seen.extend(all(&mut follower));
        let read = all(&mut store.journal().reader(false).unwrap());
        for lines in [seen, read] {
            assert_eq!(lines.len(), WRITERS * EACH);
            for w in 0..WRITERS {
                let own = lines.iter().filter(|l| l.starts_with(&format!("{w} ")));
                let numbers: Vec<usize> = own
                    .map(|l| l.split(' ').nth(1).unwrap().parse().unwrap())
                    .collect();
                assert_eq!(numbers, (0..EACH).collect::<Vec<_>>());
            }
        }
    }
}
