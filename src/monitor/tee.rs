//! What a program in the foreground writes, on its way to our own streams and, beside them, to its log.
//!
//! A piece is read when the one before it was shown, and shown when our stream takes it: signals are handed on also
//! while whoever reads from us is slow, and the program waits for that reader as if it wrote to it. When that reader is
//! gone the program learns of it by its next write (pipe(7)).

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{FileType, fstat};
use rustix::io::{Errno, read, write};
use rustix::stdio::{stderr, stdout};

use super::detached::Ends;
use super::log::{Stream, Writer};

/// Bytes of a piece.
const PIECE: usize = 16 << 10;
/// What a pipe takes without making us wait, once poll(2) says that it takes something (PIPE_BUF).
const AT_ONCE: usize = 4096;

/// Both streams of a program without a terminal.
#[derive(Debug)]
pub struct Tee {
    sides: [Side; 2],
    log: Writer,
}

#[derive(Debug)]
struct Side {
    /// Nothing once there is no more, or nobody to show it to.
    from: Option<OwnedFd>,
    stream: Stream,
    /// Read and logged, and not shown yet.
    pending: Vec<u8>,
    /// Bytes that our stream is given in one go.
    at_once: usize,
}

impl Tee {
    /// From our ends of the program's streams.
    pub fn new(ends: Ends, log: Writer) -> Self {
        let (output, errors) = ends.outputs();
        Self {
            sides: [
                Side::new(output, Stream::Stdout),
                Side::new(errors, Stream::Stderr),
            ],
            log,
        }
    }

    /// Descriptors to poll, in the order in which [`serve`](Self::serve) reads the answers.
    pub(super) fn interests<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        fds.extend(self.sides.iter().filter_map(Side::interest));
    }

    /// Move what can be moved.
    pub(super) fn serve(&mut self, ready: &[PollFlags]) {
        let mut ready = ready.iter();
        for side in &mut self.sides {
            if side.interest().is_some() && ready.next().is_some_and(|r| !r.is_empty()) {
                side.step(&mut self.log);
            }
        }
    }

    /// Everything that is left after the last process has ended.
    pub(super) fn drain(&mut self) {
        for side in &mut self.sides {
            while side.step(&mut self.log) {}
        }
        self.log.flush();
    }
}

impl Side {
    fn new(from: Option<OwnedFd>, stream: Stream) -> Self {
        let mut side = Self {
            from,
            stream,
            pending: Vec::new(),
            at_once: AT_ONCE,
        };
        if fstat(side.to()).is_ok_and(|s| FileType::from_raw_mode(s.st_mode).is_file()) {
            side.at_once = PIECE;
        }
        side
    }

    fn to(&self) -> BorrowedFd<'static> {
        match self.stream {
            Stream::Stdout => stdout(),
            Stream::Stderr => stderr(),
        }
    }

    fn interest(&self) -> Option<PollFd<'_>> {
        if !self.pending.is_empty() {
            let to = self.to();
            return Some(PollFd::from_borrowed_fd(to, PollFlags::OUT));
        }
        let from = self.from.as_ref()?;
        Some(PollFd::from_borrowed_fd(from.as_fd(), PollFlags::IN))
    }

    /// Show what is pending, or read more; false when there is nothing to be had now.
    fn step(&mut self, log: &mut Writer) -> bool {
        match self.pending.is_empty() {
            true => self.read(log),
            false => {
                self.show();
                true
            }
        }
    }

    fn read(&mut self, log: &mut Writer) -> bool {
        let Some(from) = &self.from else { return false };
        self.pending.resize(PIECE, 0);
        let n = match read(from, &mut self.pending[..]) {
            Ok(n) => n,
            Err(Errno::AGAIN | Errno::INTR) => {
                self.pending.clear();
                return false;
            }
            Err(_) => 0,
        };
        self.pending.truncate(n);
        if n == 0 {
            self.from = None;
            return false;
        }
        // What the disk has no room for is counted by the log, and no reason to end the program.
        log.write(self.stream, &self.pending);
        true
    }

    fn show(&mut self) {
        let piece = &self.pending[..self.pending.len().min(self.at_once)];
        match write(self.to(), piece) {
            Ok(n) => drop(self.pending.drain(..n)),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                // Somebody has set our stream so. At the end nobody polls it for us.
                let mut fds = [PollFd::from_borrowed_fd(self.to(), PollFlags::OUT)];
                let _ = rustix::event::poll(&mut fds, None);
            }
            // Nobody reads from us any more.
            Err(_) => {
                self.pending.clear();
                self.from = None;
            }
        }
    }
}
