//! Watching a container from a process of its own: its output goes to the log and to who is attached, its input
//! comes from them, and whoever asks over the control socket gets an answer.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};
use rustix::termios::{Winsize, tcsetwinsize};

use super::control::{About, Control, Wish};
use super::foreground::{self, Ended, Error};
use super::health::{Checks, State as Health};
use super::keep::Restart;
use super::log::{Stream, Writer};
use super::packet;
use super::signals::{OPEN, Signals};
use super::wire::{self, Reply};
use crate::runtime::{Started, Streams};

/// Ends us, in the words of [`Signals`].
const TERM: nix::sys::signal::Signal = nix::sys::signal::Signal::SIGTERM;
/// What the program has not taken yet; more is not asked for.
const INPUT_MAX: usize = 64 << 10;
/// End of file, typed (termios(3), VEOF).
const TYPED_END: u8 = 4;

/// Who is told what others shall be able to read of the container.
pub trait Record {
    /// It was paused, or goes on.
    fn paused(&mut self, paused: bool);
    /// It lives, or does not, as its test says.
    fn health(&mut self, state: &Health);
    /// It is to be started again by another policy, from now on and whenever it runs.
    ///
    /// # Errors
    /// If that cannot be kept. Nothing has changed then.
    fn restart(&mut self, policy: Restart) -> io::Result<()>;
}

/// Our ends of the program's streams.
#[derive(Debug, Default)]
pub struct Ends {
    /// What the program reads; `None` once there is no more, or with a terminal.
    input: Option<OwnedFd>,
    output: Option<OwnedFd>,
    errors: Option<OwnedFd>,
}

impl Ends {
    /// What it writes to its standard output, and to its standard error.
    pub(super) fn outputs(self) -> (Option<OwnedFd>, Option<OwnedFd>) {
        (self.output, self.errors)
    }
}

/// Pipes for a program without a terminal: its ends and ours.
///
/// # Errors
/// Of pipe2(2).
pub fn pipes(input: bool) -> io::Result<(Streams, Ends)> {
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
    let (out, their_out) = pipe()?;
    let (err, their_err) = pipe()?;
    let (their_in, ours) = match input {
        true => pipe().map(|(theirs, ours)| (Some(theirs), Some(ours)))?,
        false => (None, None),
    };
    for ours in [Some(&out), Some(&err), ours.as_ref()]
        .into_iter()
        .flatten()
    {
        rustix::io::ioctl_fionbio(ours, true)?;
    }
    let streams = Streams {
        input: their_in,
        output: their_out,
        errors: their_err,
    };
    let ends = Ends {
        input: ours,
        output: Some(out),
        errors: Some(err),
    };
    Ok((streams, ends))
}

/// What a monitor has for its container.
pub struct Around<'a> {
    /// Our ends of its streams, if it has no terminal.
    pub ends: Ends,
    /// It reads what is sent to it.
    pub input: bool,
    /// The input ends with the first client that has sent some.
    pub input_once: bool,
    /// Where its output is kept.
    pub log: Option<&'a mut Writer>,
    /// Signals that came to us.
    pub signals: &'a Signals,
    /// Who asks.
    pub control: &'a mut Control,
    /// When it has to end.
    pub deadline: Option<Instant>,
    /// How to find out whether it lives.
    pub checks: Option<Checks>,
    /// Who is told.
    pub record: &'a mut dyn Record,
    /// Set when its end was wished for.
    pub stopping: &'a mut bool,
    /// How long it may take to end when we are ended.
    pub patience: Duration,
    /// Set when we are ended.
    pub leaving: &'a mut bool,
}

/// Wait until the program has ended, and all processes of its container with it.
///
/// # Errors
/// Of system calls of ours, and when its supervisor has failed. The container is gone then.
pub fn keep(container: &Started, around: Around<'_>) -> Result<Ended, Error> {
    let mut watch = Watch {
        container,
        a: around,
        terminal_open: container.terminal.is_some(),
        typed: Vec::new(),
        input_ends: false,
        paused: false,
        buffer: vec![0; packet::MAX - 1],
    };
    if let Some(master) = &container.terminal {
        rustix::io::ioctl_fionbio(master, true).map_err(foreground::at("ioctl"))?;
    }
    let result = watch.serve();
    let result = foreground::over(container, result);
    foreground::gone(container);
    // All of its processes are gone: what they wrote is in the pipes.
    for from in [From::Output, From::Errors, From::Terminal] {
        while watch.relay(from) {}
    }
    if let Some(log) = &mut watch.a.log {
        log.flush();
    }
    result
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Output,
    Errors,
    Terminal,
}

struct Watch<'a, 'b> {
    container: &'b Started,
    a: Around<'a>,
    terminal_open: bool,
    /// Input that the program has not taken yet.
    typed: Vec<u8>,
    /// There will be no more.
    input_ends: bool,
    paused: bool,
    buffer: Vec<u8>,
}

impl Watch<'_, '_> {
    fn source(&self, from: From) -> Option<BorrowedFd<'_>> {
        match from {
            From::Output => self.a.ends.output.as_ref(),
            From::Errors => self.a.ends.errors.as_ref(),
            From::Terminal => self
                .container
                .terminal
                .as_ref()
                .filter(|_| self.terminal_open),
        }
        .map(AsFd::as_fd)
    }

    fn sink(&self) -> Option<BorrowedFd<'_>> {
        let terminal = self.container.terminal.as_ref().filter(|_| self.a.input);
        terminal.or(self.a.ends.input.as_ref()).map(AsFd::as_fd)
    }

    /// One buffer of output; false when there is none now.
    fn relay(&mut self, from: From) -> bool {
        let mut buffer = std::mem::take(&mut self.buffer);
        let read = match self.source(from) {
            Some(source) => rustix::io::retry_on_intr(|| rustix::io::read(source, &mut buffer[..])),
            None => Err(Errno::AGAIN),
        };
        let more = match read {
            Ok(n) if n > 0 => {
                self.take(from, &buffer[..n]);
                true
            }
            Err(Errno::AGAIN) => false,
            // The end; a terminal says EIO while nobody has it open.
            _ => {
                match from {
                    From::Output => self.a.ends.output = None,
                    From::Errors => self.a.ends.errors = None,
                    From::Terminal => self.terminal_open = false,
                }
                false
            }
        };
        self.buffer = buffer;
        more
    }

    fn take(&mut self, from: From, bytes: &[u8]) {
        let (stream, tag) = match from {
            From::Errors => (Stream::Stderr, wire::ERRORS),
            From::Output | From::Terminal => (Stream::Stdout, wire::OUTPUT),
        };
        if let Some(log) = &mut self.a.log {
            // A full disk must not end the container; the log counts what it had to leave out.
            log.write(stream, bytes);
        }
        self.a.control.show(tag, bytes);
    }

    fn timeout(&self) -> Option<Timespec> {
        let due = self.a.checks.as_ref().map(Checks::due);
        let first = [due, self.a.deadline].into_iter().flatten().min()?;
        let left = first.saturating_duration_since(Instant::now());
        Some(Timespec {
            tv_sec: left.as_secs() as i64,
            // Not before it is due, which would be a turn for nothing.
            tv_nsec: i64::from(left.subsec_nanos()),
        })
    }

    fn serve(&mut self) -> Result<Ended, Error> {
        let mut supervisor = self.container.supervisor.is_some();
        loop {
            let ready = self.wait(supervisor)?;
            let (fixed, mut rest) = ready.split_at(2 + usize::from(supervisor));
            let (sources, typed) = (
                self.sources(),
                !self.typed.is_empty() && self.sink().is_some(),
            );
            for from in sources {
                let (this, others) = rest.split_at(1);
                rest = others;
                if !this[0].is_empty() && !self.a.control.is_full() {
                    self.relay(from);
                }
            }
            if typed {
                let (this, others) = rest.split_at(1);
                rest = others;
                if !this[0].is_empty() {
                    self.write_input();
                }
            }
            if let Some(mut checks) = self.a.checks.take() {
                let (these, others) = rest.split_at(checks.descriptors());
                rest = others;
                if checks.serve(these, self.paused) {
                    self.a.record.health(checks.state());
                }
                self.a.checks = Some(checks);
            }
            self.answer(rest);
            if !fixed[1].is_empty() {
                while let Some(signal) = self.a.signals.next() {
                    if signal == TERM {
                        self.leave();
                    }
                    // Our socket is there from the beginning.
                    if signal != OPEN {
                        foreground::hand_on(self.container, signal, None);
                    }
                }
            }
            if self.a.deadline.is_some_and(|d| Instant::now() >= d) {
                self.a.deadline = None;
                *self.a.stopping |= !*self.a.leaving;
                let _ = pidfd_send_signal(&self.container.pidfd, Signal::KILL);
            }
            if !fixed[0].is_empty() {
                return foreground::wait(self.container.pidfd.as_fd());
            }
            if let Some(s) = &self.container.supervisor
                && supervisor
                && !fixed[2].is_empty()
            {
                foreground::supervisor_ended(s.process.pidfd.as_fd())?;
                supervisor = false;
            }
        }
    }

    /// We are ended, as by systemd at a logout or when the machine goes down. The first process of a container does not
    /// hear SIGTERM unless it wants to, and systemd would wait for it for a minute and a half.
    fn leave(&mut self) {
        *self.a.leaving = true;
        let end = Instant::now() + self.a.patience;
        self.a.deadline = Some(self.a.deadline.map_or(end, |d| d.min(end)));
    }

    /// Those that are read from now on, in the order in which they are polled.
    fn sources(&self) -> Vec<From> {
        if self.a.control.is_full() {
            return Vec::new();
        }
        let all = [From::Output, From::Errors, From::Terminal];
        all.into_iter()
            .filter(|f| self.source(*f).is_some())
            .collect()
    }

    fn wait(&self, supervisor: bool) -> Result<Vec<PollFlags>, Error> {
        let of = PollFd::from_borrowed_fd;
        let mut fds = vec![
            of(self.container.pidfd.as_fd(), PollFlags::IN),
            of(self.a.signals.as_fd(), PollFlags::IN),
        ];
        if supervisor && let Some(s) = &self.container.supervisor {
            fds.push(of(s.process.pidfd.as_fd(), PollFlags::IN));
        }
        for from in self.sources() {
            fds.extend(self.source(from).map(|fd| of(fd, PollFlags::IN)));
        }
        if !self.typed.is_empty() {
            fds.extend(self.sink().map(|fd| of(fd, PollFlags::OUT)));
        }
        if let Some(checks) = &self.a.checks {
            checks.interests(&mut fds);
        }
        self.a
            .control
            .interests(self.typed.len() < INPUT_MAX, &mut fds);
        match poll(&mut fds, self.timeout().as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(foreground::at("poll")(e)),
        }
        Ok(fds.iter().map(PollFd::revents).collect())
    }

    fn write_input(&mut self) {
        let Some(sink) = self.sink() else { return };
        match rustix::io::write(sink, &self.typed) {
            Ok(n) => drop(self.typed.drain(..n)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            // The program has closed its end: whatever comes is for nobody.
            Err(_) => {
                self.typed.clear();
                self.a.ends.input = None;
            }
        }
        self.end_input_if_due();
    }

    fn end_input_if_due(&mut self) {
        if self.input_ends && self.typed.is_empty() {
            self.a.ends.input = None;
        }
    }

    fn answer(&mut self, ready: &[PollFlags]) {
        let about = About {
            pid: self.container.pid.as_raw_nonzero().get(),
            pidfd: Some(self.container.pidfd.as_fd()),
            tty: self.container.terminal.is_some(),
            emulated: self.container.supervisor.is_some(),
            input: self.a.input,
            streams: true,
            restarts: true,
        };
        for wish in self.a.control.serve(ready, &about) {
            self.grant(wish);
        }
    }

    fn grant(&mut self, wish: Wish) {
        match wish {
            Wish::Input(bytes) => {
                if self.sink().is_some() {
                    self.typed.extend(bytes);
                }
            }
            Wish::EndOfInput if self.container.terminal.is_some() => self.typed.push(TYPED_END),
            Wish::EndOfInput | Wish::Gone => {
                self.input_ends |= self.a.input_once;
                self.end_input_if_due();
            }
            Wish::Size(rows, columns) => {
                if let Some(master) = &self.container.terminal {
                    let size = Winsize {
                        ws_row: rows,
                        ws_col: columns,
                        ws_xpixel: 0,
                        ws_ypixel: 0,
                    };
                    // Only wrong on the screen if it fails.
                    let _ = tcsetwinsize(master, size);
                }
            }
            Wish::Stopping => *self.a.stopping = true,
            Wish::Paused(paused) => {
                self.paused = paused;
                self.a.record.paused(paused);
            }
            Wish::Restart(policy, client) => {
                let reply = self.a.record.restart(policy).map(|()| Reply::default());
                self.a.control.answer(client, reply);
            }
            Wish::Identity(ask, client) => {
                let reply = foreground::identity(self.container, ask);
                self.a.control.answer(client, reply);
            }
        }
    }
}

/// Answer those who ask while the container is down, until `end` or until its start is not wished for any more (`stopping`;
/// a signal for a container that is not there is such a wish) or we are ended (`leaving`).
pub fn idle(
    control: &mut Control,
    signals: &Signals,
    end: Instant,
    record: &mut dyn Record,
    stopping: &mut bool,
    leaving: &mut bool,
) {
    let about = About {
        pid: 0,
        pidfd: None,
        tty: false,
        emulated: false,
        input: false,
        streams: false,
        restarts: true,
    };
    while !*stopping && !*leaving {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        let mut fds = vec![PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN)];
        control.interests(false, &mut fds);
        let timeout = Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        if !matches!(poll(&mut fds, Some(&timeout)), Ok(_) | Err(Errno::INTR)) {
            return;
        }
        let ready: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        drop(fds);
        for wish in control.serve(&ready[1..], &about) {
            match wish {
                Wish::Stopping => *stopping = true,
                Wish::Restart(policy, client) => {
                    let reply = record.restart(policy).map(|()| Reply::default());
                    control.answer(client, reply);
                }
                // The others are about a program that runs.
                _ => {}
            }
        }
        match signals.next() {
            Some(TERM) => *leaving = true,
            other => *stopping |= other.is_some_and(|s| s != OPEN),
        }
    }
}
