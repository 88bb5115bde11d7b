//! Between the caller's terminal and the container's: raw mode, bytes both ways, window size.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::io::{Errno, read, write};
use rustix::stdio::{stdin, stdout};
use rustix::termios::{
    OptionalActions, Termios, Winsize, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};

use super::attach::{Keys, Watcher};

type Result<T> = std::result::Result<T, Errno>;

/// Terminals move single keys and screenfuls; pipes more.
const BUFFER: usize = 16 * 1024;

/// Standard input in raw mode, until this is dropped.
#[derive(Debug)]
pub(super) struct Raw(Termios);

impl Raw {
    /// Nothing if it is no terminal.
    pub(super) fn enter() -> Result<Option<Self>> {
        if !isatty(stdin()) {
            return Ok(None);
        }
        let saved = tcgetattr(stdin())?;
        let mut raw = saved.clone();
        raw.make_raw();
        // At once: what was typed ahead is for the container.
        tcsetattr(stdin(), OptionalActions::Now, &raw)?;
        Ok(Some(Self(saved)))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(stdin(), OptionalActions::Drain, &self.0);
    }
}

/// The size of the caller's terminal: rows and columns.
pub(super) fn size() -> Option<Winsize> {
    let mut ends = [stdout(), stdin()].into_iter();
    ends.find_map(|fd| tcgetwinsize(fd).ok())
}

/// Puts the caller's terminal in raw mode, and back when dropped.
#[derive(Debug)]
pub(super) struct Relay<'a> {
    master: BorrowedFd<'a>,
    raw: Option<Raw>,
    /// What was typed and not yet taken by the container: a program that does not read must not block
    /// the screen.
    typed: Vec<u8>,
    input_open: bool,
    output_open: bool,
    /// Looks for the keys that leave the program alone.
    keys: Option<Watcher>,
    left: bool,
}

impl<'a> Relay<'a> {
    /// Without `input` (docker's `-t` alone) the container only writes.
    pub(super) fn start(master: BorrowedFd<'a>, input: bool) -> Result<Self> {
        rustix::io::ioctl_fionbio(master, true)?;
        let raw = if input { Raw::enter()? } else { None };
        let relay = Self {
            master,
            raw,
            typed: Vec::new(),
            input_open: input,
            output_open: true,
            keys: None,
            left: false,
        };
        relay.resize();
        Ok(relay)
    }

    /// The same, until somebody types these keys.
    pub(super) fn until(self, keys: Keys) -> Self {
        Self {
            keys: Some(Watcher::new(keys)),
            ..self
        }
    }

    /// Whether somebody has.
    pub(super) fn is_left(&self) -> bool {
        self.left
    }

    /// A closed terminal reports a hang-up for ever: then it must not be polled.
    fn wants_master(&self) -> bool {
        self.output_open || !self.typed.is_empty()
    }

    fn wants_input(&self) -> bool {
        self.input_open && self.typed.len() < BUFFER
    }

    /// Descriptors to poll, in the order in which [`Relay::serve`] reads the answers.
    pub(super) fn interests<'b>(&'b self, fds: &mut Vec<PollFd<'b>>) {
        if self.wants_master() {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, self.output_open);
            flags.set(PollFlags::OUT, !self.typed.is_empty());
            fds.push(PollFd::from_borrowed_fd(self.master, flags));
        }
        if self.wants_input() {
            fds.push(PollFd::from_borrowed_fd(stdin(), PollFlags::IN));
        }
    }

    /// Move what can be moved.
    pub(super) fn serve(&mut self, ready: &[PollFlags]) -> Result<()> {
        let mut ready = ready.iter();
        let mut answer = |wanted: bool| {
            wanted
                .then(|| ready.next().copied())
                .flatten()
                .unwrap_or(PollFlags::empty())
        };
        let master = answer(self.wants_master());
        let input = answer(self.wants_input());
        if !input.is_empty() {
            let mut buffer = [0; BUFFER];
            match read(stdin(), &mut buffer) {
                Ok(0) => self.end_of_input(),
                Ok(n) => self.type_on(&buffer[..n]),
                Err(Errno::INTR | Errno::AGAIN) => {}
                // Our terminal is gone.
                Err(_) => self.input_open = false,
            }
        }
        if !self.typed.is_empty() {
            match write(self.master, &self.typed) {
                Ok(n) => drop(self.typed.drain(..n)),
                Err(Errno::AGAIN | Errno::INTR) => {}
                // Nobody has the other end open, nor will read it.
                Err(_) => self.typed.clear(),
            }
        }
        if master.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            self.show()?;
        }
        Ok(())
    }

    fn type_on(&mut self, bytes: &[u8]) {
        let Some(keys) = &mut self.keys else {
            return self.typed.extend_from_slice(bytes);
        };
        let (bytes, left) = keys.filter(bytes);
        self.typed.extend(bytes);
        self.left |= left;
    }

    /// A file or pipe as input has ended: type the end-of-file character, which a program that reads a
    /// terminal takes as the end.
    fn end_of_input(&mut self) {
        self.input_open = false;
        if self.raw.is_none() {
            self.typed.push(4); // VEOF, ^D
        }
    }

    /// One buffer of output to the caller; false when there is no more.
    fn show(&mut self) -> Result<bool> {
        let mut buffer = [0; BUFFER];
        match read(self.master, &mut buffer) {
            Ok(0) => self.output_open = false,
            Ok(n) => {
                write_all(stdout(), &buffer[..n])?;
                return Ok(true);
            }
            Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
            // EIO: all processes of the container closed it. One may open it again, but then we are
            // about to end.
            Err(_) => self.output_open = false,
        }
        Ok(false)
    }

    /// Everything that the container wrote before it ended.
    pub(super) fn drain(&mut self) -> Result<()> {
        while self.output_open && self.show()? {}
        Ok(())
    }

    /// Give the container's terminal the size of ours.
    pub(super) fn resize(&self) {
        if let Some(size) = size() {
            // Only wrong on the screen if it fails.
            let _ = tcsetwinsize(self.master.as_fd(), size);
        }
    }
}

pub(super) fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match write(fd, bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
                rustix::event::poll(&mut fds, None)?;
            }
            // The reader of our output went away; the program in the container will see it too late,
            // but it is not our error.
            Err(Errno::PIPE) => return Ok(()),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
