//! gzip by several threads: the tar is cut into blocks of one size, and each is a gzip member of its own (RFC 1952,
//! 2.2: readers take them for one stream, and eStargz's layers are made so).
//!
//! Invariants: what comes out depends on the tar and the level alone, not on how many threads there are or which
//! of them is done first; memory is bounded by [`WORKERS_MAX`] blocks and what they become.
//!
//! The first member says in an extra field what made it, so that the same can be made again: [`Made`]. A golden
//! digest in the tests breaks when another version of the library makes something else; then [`VERSION`] counts up.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use libdeflater::{CompressionLvl, Compressor, crc32};

/// Bytes of the tar in a member. Twice as many make a blob 0.2 % smaller, half as many one 0.3 % larger.
pub(super) const BLOCK: usize = 512 << 10;

/// More would wait for the one thread that hashes.
const WORKERS_MAX: usize = 4;

/// Magic, deflate, no flags, no time; the level's hint and the system come behind.
const START: [u8; 8] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0];
/// "Unknown": of no system, so that the same tar is the same blob.
const SYSTEM: u8 = 0xff;
/// RFC 1952, FLG: an extra field follows.
const EXTRA: u8 = 4;
/// Of its one subfield; not in the RFC's list.
const NAME: [u8; 2] = *b"Cr";
/// Of cutting and encoder together.
const VERSION: u8 = 1;

/// What made a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Made {
    /// 1 to 9.
    pub(super) level: u32,
}

impl Made {
    /// By the beginning of a blob; `None` if it was not made here, or by a version that this one is not.
    pub(super) fn by(head: &[u8]) -> Option<Self> {
        let [.., level] = *head.get(..FIRST)? else {
            return None;
        };
        let made = Self {
            level: u32::from(level),
        };
        (made.header()[..] == head[..FIRST] && (1..=9).contains(&level)).then_some(made)
    }

    /// Of the first member.
    fn header(self) -> [u8; FIRST] {
        let mut header = [0; FIRST];
        header[..PLAIN].copy_from_slice(&plain(self.level));
        header[3] = EXTRA;
        // Length of all subfields; name, length and content of the only one.
        header[PLAIN..].copy_from_slice(&[6, 0, NAME[0], NAME[1], 2, 0, VERSION, self.level as u8]);
        header
    }
}

const PLAIN: usize = 10;
const FIRST: usize = PLAIN + 8;

/// Of any other member.
fn plain(level: u32) -> [u8; PLAIN] {
    let hint = super::hint(level);
    let mut header = [0; PLAIN];
    header[..8].copy_from_slice(&START);
    header[8..].copy_from_slice(&[hint, SYSTEM]);
    header
}

/// A block on its way there and back.
struct Job {
    block: Vec<u8>,
    /// Deflated, in the first `len` bytes; kept for the next.
    out: Vec<u8>,
    len: usize,
    crc: u32,
}

impl Job {
    fn run(&mut self, compressor: &mut Compressor) -> io::Result<()> {
        let bound = compressor.deflate_compress_bound(self.block.len());
        if self.out.len() < bound {
            // Of pages that nothing is written to none is there: more than half of them.
            self.out = vec![0; bound];
        }
        self.len = compressor
            .deflate_compress(&self.block, &mut self.out)
            .map_err(io::Error::other)?;
        self.crc = crc32(&self.block);
        Ok(())
    }
}

/// Takes every so manieth block, so that nobody has to look for who is free, and what comes out has its order.
struct Worker {
    /// `None` once there is nothing more to do.
    todo: Option<SyncSender<Job>>,
    done: Receiver<io::Result<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    fn start(level: CompressionLvl) -> io::Result<Self> {
        let (todo, jobs) = sync_channel::<Job>(2);
        let (results, done) = sync_channel(2);
        let work = move || {
            let mut compressor = Compressor::new(level);
            for mut job in jobs {
                let result = job.run(&mut compressor).map(|()| job);
                if results.send(result).is_err() {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("deflate".to_owned())
            .spawn(work)?;
        Ok(Self {
            todo: Some(todo),
            done,
            thread: Some(thread),
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.todo = None;
        // One that cannot hand over its last result would never end.
        while self.done.recv().is_ok() {}
        if let Some(thread) = self.thread.take() {
            // A panic has been told by the missing result.
            let _ = thread.join();
        }
    }
}

/// Where blocks go to.
pub(super) struct Members<W> {
    out: W,
    made: Made,
    level: CompressionLvl,
    compressor: Compressor,
    threads: usize,
    /// None before the second block: most layers are small.
    workers: Vec<Worker>,
    /// Which of them has which, the oldest first.
    pending: VecDeque<usize>,
    next: usize,
    spare: Vec<Job>,
    begun: bool,
}

impl<W: Write> Members<W> {
    /// `threads` is how many compress beside the caller's; with less than two it does so itself.
    pub(super) fn new(out: W, level: u32, threads: usize) -> io::Result<Self> {
        let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
        let number = i32::try_from(level).map_err(|_| io::ErrorKind::InvalidInput)?;
        let level = CompressionLvl::new(number).map_err(invalid)?;
        Ok(Self {
            out,
            made: Made {
                level: number.unsigned_abs(),
            },
            level,
            compressor: Compressor::new(level),
            threads: threads.min(WORKERS_MAX),
            workers: Vec::new(),
            pending: VecDeque::new(),
            next: 0,
            spare: Vec::new(),
            begun: false,
        })
    }

    /// The next [`BLOCK`] bytes, or the last ones; `block` is empty afterwards.
    pub(super) fn block(&mut self, block: &mut Vec<u8>) -> io::Result<()> {
        if self.begun && self.threads > 1 && self.workers.is_empty() {
            self.start();
        }
        if self.pending.len() > self.workers.len() {
            self.collect()?;
        }
        let mut job = self.spare.pop().unwrap_or_else(|| Job {
            block: Vec::with_capacity(BLOCK),
            out: Vec::new(),
            len: 0,
            crc: 0,
        });
        job.block.clear();
        std::mem::swap(&mut job.block, block);
        if self.workers.is_empty() {
            job.run(&mut self.compressor)?;
            return self.member(job);
        }
        let todo = self.workers[self.next].todo.as_ref();
        // One that is gone shows when its result is missing.
        if todo.is_none_or(|todo| todo.send(job).is_err()) {
            return Err(gone());
        }
        self.pending.push_back(self.next);
        self.next = (self.next + 1) % self.workers.len();
        Ok(())
    }

    /// The last of `block`. Returns what everything was written to.
    pub(super) fn finish(mut self, block: &mut Vec<u8>) -> io::Result<W> {
        // A stream has one member at least.
        if !block.is_empty() || !self.begun {
            self.block(block)?;
        }
        while !self.pending.is_empty() {
            self.collect()?;
        }
        Ok(self.out)
    }

    /// As many as can be had: fewer are slower, and no more.
    fn start(&mut self) {
        while self.workers.len() < self.threads {
            match Worker::start(self.level) {
                Ok(worker) => self.workers.push(worker),
                Err(_) => break,
            }
        }
        if self.workers.is_empty() {
            self.threads = 1;
        }
    }

    fn collect(&mut self) -> io::Result<()> {
        let Some(worker) = self.pending.pop_front() else {
            return Ok(());
        };
        let job = self.workers[worker].done.recv().map_err(|_| gone())??;
        self.member(job)
    }

    fn member(&mut self, job: Job) -> io::Result<()> {
        match self.begun {
            false => self.out.write_all(&self.made.header())?,
            true => self.out.write_all(&plain(self.made.level))?,
        }
        self.begun = true;
        self.out.write_all(&job.out[..job.len])?;
        self.out.write_all(&job.crc.to_le_bytes())?;
        let len = job.block.len() as u32;
        self.out.write_all(&len.to_le_bytes())?;
        self.spare.push(job);
        Ok(())
    }
}

fn gone() -> io::Error {
    io::Error::other("a thread that compresses has ended")
}
