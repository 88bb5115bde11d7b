//! The other side of a container's control socket: ask its monitor, or take part in its streams from a terminal.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::sys::signal::Signal;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, read};
use rustix::process::pidfd_send_signal;
use rustix::stdio::{stderr, stdin, stdout};

use super::keep::Restart;
use super::relay::{self, Raw};
use super::signals::Signals;
use super::wire::{ENDED, ERRORS, INPUT, OUTPUT, Reply, Request, SIZE, Verb};
use super::{control, packet};

/// Processes in one question: what is sent are the bytes of a list, a number each.
const WHOSE_MAX: usize = 1000;

/// What a monitor says of its container.
#[derive(Debug)]
pub struct Description {
    /// The first process, as the monitor's pid namespace counts.
    pub pid: i32,
    /// The same, as a descriptor.
    pub pidfd: OwnedFd,
    /// It has a terminal.
    pub tty: bool,
    /// Users and owners are emulated, so that every process needs the supervisor.
    pub emulated: bool,
    /// It reads what is sent to it.
    pub input: bool,
}

/// How a relay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// The program has ended with this code.
    Ended(u8),
    /// Somebody typed the keys for it; the program goes on.
    Detached,
    /// The monitor is gone without a word.
    Lost,
}

/// Keys that leave a container alone, in the bytes that a terminal sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys(Vec<u8>);

impl Keys {
    /// Docker's words: letters, or `ctrl-` and one of `a-z@[\]^_`, with commas between; nothing is no keys.
    pub fn parse(text: &str) -> Option<Self> {
        let parts = text.split(',').filter(|p| !p.is_empty());
        let keys: Option<Vec<u8>> = parts
            .map(|part| match part.as_bytes() {
                [c] if c.is_ascii() => Some(*c),
                [
                    b'c',
                    b't',
                    b'r',
                    b'l',
                    b'-',
                    c @ (b'a'..=b'z' | b'@' | b'['..=b'_'),
                ] => Some(c.to_ascii_uppercase() - b'@'),
                _ => None,
            })
            .collect();
        keys.map(Self)
    }
}

impl Default for Keys {
    /// ctrl-p,ctrl-q
    fn default() -> Self {
        Self(vec![0x10, 0x11])
    }
}

/// Looks for the keys in what is typed. A beginning of them is held back until it is known.
#[derive(Debug)]
pub(super) struct Watcher {
    keys: Keys,
    seen: usize,
}

impl Watcher {
    pub(super) fn new(keys: Keys) -> Self {
        Self { keys, seen: 0 }
    }

    /// What is to be sent of this, and whether the keys were complete at its end.
    pub(super) fn filter(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let keys = &self.keys.0;
        let mut out = Vec::with_capacity(typed.len());
        if keys.is_empty() {
            out.extend(typed);
            return (out, false);
        }
        for &byte in typed {
            if byte != keys[self.seen] && self.seen > 0 {
                out.extend(&keys[..self.seen]);
                self.seen = 0;
            }
            if byte != keys[self.seen] {
                out.push(byte);
                continue;
            }
            self.seen += 1;
            if self.seen == keys.len() {
                self.seen = 0;
                return (out, true);
            }
        }
        (out, false)
    }
}

/// A connection to a container's monitor.
#[derive(Debug)]
pub struct Client(OwnedFd);

impl From<OwnedFd> for Client {
    fn from(socket: OwnedFd) -> Self {
        Self(socket)
    }
}

impl Client {
    /// To the monitor of the container whose directory this is. An answer that does not come within `patience` is
    /// `WouldBlock`.
    ///
    /// # Errors
    /// `NotFound` and `ConnectionRefused` when nobody listens there.
    pub fn connect(dir: BorrowedFd<'_>, patience: Duration) -> io::Result<Self> {
        Ok(Self(control::reach(dir, patience)?))
    }

    fn ask(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> io::Result<(Reply, Vec<OwnedFd>)> {
        packet::send(&self.0, &[&serde_json::to_vec(request)?], fds, true)?;
        let mut buffer = vec![0; packet::MAX];
        let (n, fds) = packet::receive(&self.0, &mut buffer, true)?;
        if n == 0 {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let reply: Reply = serde_json::from_slice(&buffer[..n])?;
        match reply.error {
            Some(error) => Err(io::Error::other(error)),
            None => Ok((reply, fds)),
        }
    }

    /// Ends the connection, as the next ones do.
    ///
    /// # Errors
    /// Of the socket; `ConnectionReset` when the container ended meanwhile.
    pub fn describe(self) -> io::Result<Description> {
        let (reply, fds) = self.ask(&Request::new(Verb::Describe), &[])?;
        let pidfd = fds.into_iter().next();
        Ok(Description {
            pid: reply.pid,
            pidfd: pidfd.ok_or(io::ErrorKind::InvalidData)?,
            tty: reply.tty,
            emulated: reply.emulated,
            input: reply.input,
        })
    }

    /// Have the supervisor answer for a process: its listener, a pidfd, and who it is.
    ///
    /// # Errors
    /// Of the socket, and what the supervisor says.
    pub fn supervise(
        self,
        listener: BorrowedFd<'_>,
        process: BorrowedFd<'_>,
        who: Vec<u8>,
    ) -> io::Result<()> {
        let mut request = Request::new(Verb::Supervise);
        request.who = who;
        self.ask(&request, &[listener, process]).map(|_| ())
    }

    /// Effective users and groups of processes, where they are emulated, by their numbers in the monitor's pid
    /// namespace: of as many as one packet holds, of a thousand at least.
    ///
    /// # Errors
    /// Of the socket, and what the supervisor says.
    pub fn whose(self, pids: &[i32]) -> io::Result<Vec<(u32, u32)>> {
        let mut request = Request::new(Verb::Whose);
        request.who = serde_json::to_vec(&pids[..pids.len().min(WHOSE_MAX)])?;
        Ok(self.ask(&request, &[])?.0.whose)
    }

    /// It shall not be started again when it ends.
    ///
    /// # Errors
    /// Of the socket.
    pub fn stopping(self) -> io::Result<()> {
        self.ask(&Request::new(Verb::Stopping), &[]).map(|_| ())
    }

    /// It was paused, or goes on.
    ///
    /// # Errors
    /// Of the socket.
    pub fn paused(self, paused: bool) -> io::Result<()> {
        let verb = if paused { Verb::Paused } else { Verb::Resumed };
        self.ask(&Request::new(verb), &[]).map(|_| ())
    }

    /// It shall be started again by this policy.
    ///
    /// # Errors
    /// Of the socket, and why it cannot be.
    pub fn restart(self, policy: Restart) -> io::Result<()> {
        let mut request = Request::new(Verb::Restart);
        request.restart = Some(policy);
        self.ask(&request, &[]).map(|_| ())
    }

    /// Ask to be told of its end. Readable from then on when it has come: [`ended`](Self::ended).
    ///
    /// # Errors
    /// Of the socket.
    pub fn watch_end(&self) -> io::Result<()> {
        self.ask(&Request::new(Verb::Wait), &[])?;
        Ok(control::wait_long(&self.0)?)
    }

    /// Wait for the end; `None` when the monitor went without a word.
    ///
    /// # Errors
    /// Of the socket.
    pub fn ended(&self) -> io::Result<Option<u8>> {
        let mut buffer = [0; 2];
        match packet::receive(&self.0, &mut buffer, true)?.0 {
            2 if buffer[0] == ENDED => Ok(Some(buffer[1])),
            _ => Ok(None),
        }
    }

    /// Take part in its streams; `true` when it has a terminal.
    ///
    /// # Errors
    /// Of the socket.
    pub fn attach(&self, input: bool) -> io::Result<bool> {
        let mut request = Request::new(Verb::Attach);
        request.input = input;
        let tty = self.ask(&request, &[])?.0.tty;
        control::wait_long(&self.0)?;
        Ok(tty)
    }

    /// Relay between our standard streams and the container's until it ends or the keys are typed. `signals` that
    /// come are handed on to `process`.
    ///
    /// # Errors
    /// Of poll(2) and our streams.
    pub fn relay(
        &self,
        input: bool,
        tty: bool,
        keys: Keys,
        signals: Option<(&Signals, BorrowedFd<'_>)>,
    ) -> io::Result<Left> {
        let _raw = if input && tty { Raw::enter()? } else { None };
        let mut relay = Relaying {
            client: self,
            open: input,
            keys: tty.then(|| Watcher::new(keys)),
            buffer: vec![0; packet::MAX],
        };
        if tty {
            relay.resize();
        }
        loop {
            let mut fds = vec![PollFd::from_borrowed_fd(self.0.as_fd(), PollFlags::IN)];
            if let Some((signals, _)) = &signals {
                fds.push(PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN));
            }
            if relay.open {
                fds.push(PollFd::from_borrowed_fd(stdin(), PollFlags::IN));
            }
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            let ready: Vec<bool> = fds.iter().map(|f| !f.revents().is_empty()).collect();
            drop(fds);
            if let Some((signals, process)) = &signals
                && ready[1]
            {
                while let Some(signal) = signals.next() {
                    relay.signal(signal, process.as_fd(), tty);
                }
            }
            if relay.open && ready.last() == Some(&true) && relay.type_on()? {
                return Ok(Left::Detached);
            }
            if ready[0]
                && let Some(left) = relay.show()?
            {
                return Ok(left);
            }
        }
    }
}

struct Relaying<'a> {
    client: &'a Client,
    /// There may be more to read from us.
    open: bool,
    keys: Option<Watcher>,
    buffer: Vec<u8>,
}

impl Relaying<'_> {
    /// Hand on what was typed; true when the keys were among it.
    fn type_on(&mut self) -> io::Result<bool> {
        let mut typed = [0; 4096];
        let n = match read(stdin(), &mut typed) {
            Ok(n) => n,
            Err(Errno::INTR | Errno::AGAIN) => return Ok(false),
            // Our terminal is gone.
            Err(_) => 0,
        };
        if n == 0 {
            self.open = false;
            return self.send(&[&[INPUT]]).map(|()| false);
        }
        let (bytes, detach) = match &mut self.keys {
            Some(watcher) => watcher.filter(&typed[..n]),
            None => (typed[..n].to_vec(), false),
        };
        if !bytes.is_empty() {
            self.send(&[&[INPUT], &bytes])?;
        }
        Ok(detach)
    }

    fn send(&self, parts: &[&[u8]]) -> io::Result<()> {
        match packet::send(&self.client.0, parts, &[], true) {
            // It has ended: its last words are still to be read.
            Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    fn resize(&self) {
        if let Some(size) = relay::size() {
            let mut packet = vec![SIZE];
            packet.extend(size.ws_row.to_ne_bytes());
            packet.extend(size.ws_col.to_ne_bytes());
            // Only wrong on the screen if it fails.
            let _ = self.send(&[&packet]);
        }
    }

    fn signal(&self, signal: Signal, process: BorrowedFd<'_>, tty: bool) {
        if signal == Signal::SIGWINCH && tty {
            return self.resize();
        }
        if let Some(signal) = rustix::process::Signal::from_named_raw(signal as i32) {
            // It may have ended: then we hear of that next.
            let _ = pidfd_send_signal(process, signal);
        }
    }

    fn show(&mut self) -> io::Result<Option<Left>> {
        let (n, _) = packet::receive(&self.client.0, &mut self.buffer, true)?;
        match &self.buffer[..n] {
            [] => return Ok(Some(Left::Lost)),
            [OUTPUT, bytes @ ..] => relay::write_all(stdout(), bytes)?,
            [ERRORS, bytes @ ..] => relay::write_all(stderr(), bytes)?,
            [ENDED, code] => return Ok(Some(Left::Ended(*code))),
            _ => {}
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_docker_reads_them() {
        for (text, want) in [
            ("ctrl-p,ctrl-q", Some(vec![16, 17])),
            ("a,ctrl-@,ctrl-[,ctrl-_", Some(vec![b'a', 0, 27, 31])),
            ("", Some(vec![])),
            ("ctrl-1", None),
            ("ab", None),
            ("ä", None),
        ] {
            assert_eq!(Keys::parse(text), want.map(Keys), "{text}");
        }
    }

    #[test]
    fn keys_are_found_and_beginnings_given_back() {
        let mut w = Watcher::new(Keys(vec![1, 2]));
        assert_eq!(w.filter(b"ab\x01"), (b"ab".to_vec(), false));
        assert_eq!(w.filter(b"c"), (b"\x01c".to_vec(), false));
        assert_eq!(w.filter(b"\x01\x01\x02zz"), (b"\x01".to_vec(), true));
        let mut none = Watcher::new(Keys(vec![]));
        assert_eq!(none.filter(b"\x01\x02"), (b"\x01\x02".to_vec(), false));
    }
}
