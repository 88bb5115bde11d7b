//! Parts of a blob from a source, a few ahead of whoever reads them: each is a request, and would cost a round trip.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::layers::stopped;
use super::{Error, Source};
use crate::layer::chunked::Parts;
use crate::oci::Digest;
use crate::ops::progress::Progress;

/// Longest part of one request: what has come waits in memory.
const PART: u64 = 1 << 20;
/// Requests at a time.
const WORKERS: usize = 4;
/// Parts that have come or are about to, before they are read.
const AHEAD: usize = 8;

/// What is fetched, and how far that is.
pub(super) struct Fetch<'a> {
    pub(super) source: &'a dyn Source,
    pub(super) blob: &'a Digest,
    pub(super) size: u64,
    pub(super) progress: &'a dyn Progress,
    pub(super) stop: &'a AtomicBool,
}

/// Parts on their way.
struct Queue {
    parts: Vec<Range<u64>>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The next that nobody fetches yet.
    next: usize,
    /// The one that is read.
    read: usize,
    come: BTreeMap<usize, Result<Vec<u8>, Error>>,
    /// Nobody reads any more.
    over: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        (self.changed.wait(state)).unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fetch<'_> {
    /// The bytes of one part, which is short; `None` where there are none.
    pub(super) fn part(&self, range: &Range<u64>) -> Result<Option<Vec<u8>>, Error> {
        let Some(part) = (self.source).part(self.blob, self.size, range.clone()) else {
            return Ok(None);
        };
        let mut part = part?;
        let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len];
        let mut filled = 0;
        while filled < len {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::from_reader(stopped()));
            }
            match part.read(&mut bytes[filled..]) {
                Ok(0) => {
                    return Err(Error::from_reader(io::ErrorKind::UnexpectedEof.into()));
                }
                Ok(n) => {
                    filled += n;
                    self.progress.advance(self.blob, n as u64);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::from_reader(e)),
            }
        }
        // Having seen the end, the connection is free for the next.
        let rest = io::copy(&mut part, &mut io::sink());
        rest.map(|_| Some(bytes)).map_err(Error::from_reader)
    }

    /// Fetch these ranges while `read` reads them.
    pub(super) fn ahead<T>(
        &self,
        ranges: &[Range<u64>],
        read: impl FnOnce(&mut Ahead<'_>) -> T,
    ) -> T {
        let queue = Queue {
            parts: ranges.iter().flat_map(cut).collect(),
            state: Mutex::default(),
            changed: Condvar::new(),
        };
        std::thread::scope(|scope| {
            for _ in 0..WORKERS.min(queue.parts.len()) {
                scope.spawn(|| self.work(&queue));
            }
            let mut ahead = Ahead {
                queue: &queue,
                now: None,
            };
            let result = read(&mut ahead);
            // Ends the workers.
            drop(ahead);
            result
        })
    }

    fn work(&self, queue: &Queue) {
        loop {
            let mut state = queue.lock();
            while !state.over && state.next >= state.read + AHEAD {
                state = queue.wait(state);
            }
            let index = state.next;
            let Some(range) = queue.parts.get(index).filter(|_| !state.over) else {
                return;
            };
            state.next += 1;
            drop(state);
            let come = self.part(range).and_then(|part| {
                part.ok_or_else(|| Error::from_reader(io::ErrorKind::Unsupported.into()))
            });
            let failed = come.is_err();
            queue.lock().come.insert(index, come);
            queue.changed.notify_all();
            if failed {
                return;
            }
        }
    }
}

fn cut(range: &Range<u64>) -> impl Iterator<Item = Range<u64>> + use<> {
    let end = range.end;
    let starts = (range.start..end).step_by(usize::try_from(PART).unwrap_or(usize::MAX));
    starts.map(move |start| start..(start + PART).min(end))
}

/// Reader of what is fetched ahead.
pub(super) struct Ahead<'a> {
    queue: &'a Queue,
    /// The part that is read, if it has come.
    now: Option<(Range<u64>, Vec<u8>)>,
}

impl Parts for &mut Ahead<'_> {
    fn read(&mut self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some((range, bytes)) = &self.now {
                if range.contains(&at) {
                    let from = usize::try_from(at - range.start).unwrap_or(usize::MAX);
                    let rest = bytes.get(from..).unwrap_or_default();
                    let n = rest.len().min(buf.len());
                    buf[..n].copy_from_slice(&rest[..n]);
                    return Ok(n);
                }
                self.now = None;
                self.queue.lock().read += 1;
                self.queue.changed.notify_all();
            }
            let mut state = self.queue.lock();
            let index = state.read;
            let Some(range) = self.queue.parts.get(index) else {
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            let come = loop {
                match state.come.remove(&index) {
                    Some(come) => break come,
                    None => state = self.queue.wait(state),
                }
            };
            drop(state);
            self.now = Some((range.clone(), come.map_err(io::Error::other)?));
        }
    }
}

impl Drop for Ahead<'_> {
    fn drop(&mut self) {
        self.queue.lock().over = true;
        self.queue.changed.notify_all();
    }
}
