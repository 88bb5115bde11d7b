//! The monitor's side of a container's control socket: who asks, who is attached, who waits.
//!
//! The socket lies in the container's directory, which only its user can enter. It is bound and reached through the
//! open directory, so that no path is too long for it. What a client sends is small and never trusted to be whole; a
//! client that reads slowly holds the container's output up, as a terminal does, and nobody else.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::AtFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen,
    socket_with, sockopt,
};

use super::keep::Restart;
use super::packet;
use super::wire::{ENDED, INPUT, Reply, Request, SIZE, Verb};

/// Its name in the container's directory.
pub const SOCKET: &str = "control";
/// Connections that wait to be taken.
const BACKLOG: i32 = 64;
/// Connections at a time. A client that only asks is gone in a moment.
const CLIENTS_MAX: usize = 256;

fn address(dir: BorrowedFd<'_>) -> Result<SocketAddrUnix, Errno> {
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd()))
}

fn socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC;
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

/// Reach the monitor of the container whose directory this is. What it has not answered after so long is `AGAIN`.
pub(super) fn reach(dir: BorrowedFd<'_>, patience: Duration) -> Result<OwnedFd, Errno> {
    let socket = socket()?;
    // The kernel takes a connection for a process that is stopped, too, and more of them wait for room.
    for direction in [sockopt::Timeout::Send, sockopt::Timeout::Recv] {
        sockopt::set_socket_timeout(&socket, direction, Some(patience))?;
    }
    connect(&socket, &address(dir)?)?;
    Ok(socket)
}

/// Whatever comes next over this socket may take its time.
pub(super) fn wait_long(socket: &OwnedFd) -> Result<(), Errno> {
    sockopt::set_socket_timeout(socket, sockopt::Timeout::Send, None)?;
    sockopt::set_socket_timeout(socket, sockopt::Timeout::Recv, None)
}

/// What a client wants of the container, which is for the monitor to do.
#[derive(Debug)]
pub(super) enum Wish {
    /// Input for the program.
    Input(Vec<u8>),
    /// There will be no more.
    EndOfInput,
    /// A client that could have sent some has left.
    Gone,
    /// Rows and columns.
    Size(u16, u16),
    /// Do not start it again.
    Stopping,
    /// It was paused, or goes on.
    Paused(bool),
    /// Start it again by this policy, and who waits for the answer.
    Restart(Restart, usize),
    /// Something of the supervisor, and who waits for the answer.
    Identity(Ask, usize),
}

/// What a supervisor is asked for.
#[derive(Debug)]
pub(super) enum Ask {
    /// To answer for another process.
    Supervise {
        listener: OwnedFd,
        process: OwnedFd,
        who: Vec<u8>,
    },
    /// Who these are.
    Whose(Vec<i32>),
}

/// What everybody may know.
#[derive(Debug)]
pub(super) struct About<'a> {
    pub pid: i32,
    /// `None` between two lives.
    pub pidfd: Option<BorrowedFd<'a>>,
    pub tty: bool,
    pub emulated: bool,
    pub input: bool,
    /// Its streams come through us.
    pub streams: bool,
    /// It is started again if its policy says so.
    pub restarts: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Role {
    New,
    Waits,
    Attached { input: bool },
}

#[derive(Debug)]
struct Client {
    /// Never used again.
    number: usize,
    socket: OwnedFd,
    role: Role,
    /// Packets that did not fit in its buffer, the oldest first.
    unsent: VecDeque<Vec<u8>>,
    gone: bool,
}

/// The socket and its clients.
#[derive(Debug, Default)]
pub struct Control {
    listener: Option<OwnedFd>,
    clients: Vec<Client>,
    next: usize,
}

impl Control {
    /// Take the place of a socket that an earlier monitor left. The caller has the container's lock.
    ///
    /// # Errors
    /// Of bind(2) and others.
    pub fn open(&mut self, dir: BorrowedFd<'_>) -> io::Result<()> {
        if self.listener.is_some() {
            return Ok(());
        }
        match rustix::fs::unlinkat(dir, SOCKET, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(e.into()),
        }
        let socket = socket()?;
        bind(&socket, &address(dir)?)?;
        listen(&socket, BACKLOG)?;
        self.listener = Some(socket);
        Ok(())
    }

    /// Take it away again; whoever comes finds nobody. Those who are connected stay.
    pub fn close(&mut self, dir: BorrowedFd<'_>) {
        if self.listener.take().is_some() {
            // The next monitor does it, if we cannot.
            let _ = rustix::fs::unlinkat(dir, SOCKET, AtFlags::empty());
        }
    }

    /// A client that is attached from the beginning.
    pub fn attach(&mut self, socket: OwnedFd, input: bool) {
        self.add(socket, Role::Attached { input });
    }

    fn add(&mut self, socket: OwnedFd, role: Role) {
        self.next += 1;
        self.clients.push(Client {
            number: self.next,
            socket,
            role,
            unsent: VecDeque::new(),
            gone: false,
        });
    }

    /// Somebody is attached and has not read what was sent: more must not be read from the program.
    pub(super) fn is_full(&self) -> bool {
        self.clients.iter().any(|c| !c.gone && !c.unsent.is_empty())
    }

    /// Descriptors to poll, in the order in which [`serve`](Self::serve) reads the answers. `input`: the program
    /// can take some.
    pub(super) fn interests<'a>(&'a self, input: bool, fds: &mut Vec<PollFd<'a>>) {
        fds.extend(
            self.listener
                .iter()
                .map(|l| PollFd::from_borrowed_fd(l.as_fd(), PollFlags::IN)),
        );
        fds.extend(self.clients.iter().map(|c| {
            let mut flags = PollFlags::empty();
            let sends = matches!(c.role, Role::Attached { input: true });
            flags.set(PollFlags::IN, !sends || input);
            flags.set(PollFlags::OUT, !c.unsent.is_empty());
            PollFd::from_borrowed_fd(c.socket.as_fd(), flags)
        }));
    }

    /// Answer, and return what is left to do.
    pub(super) fn serve(&mut self, ready: &[PollFlags], about: &About<'_>) -> Vec<Wish> {
        let mut wishes = Vec::new();
        let listening = usize::from(self.listener.is_some());
        let (first, rest) = ready.split_at(listening.min(ready.len()));
        for (client, ready) in self.clients.iter_mut().zip(rest).filter(|(c, _)| !c.gone) {
            if ready.contains(PollFlags::OUT) {
                client.flush();
            }
            if ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                client.hear(about, &mut wishes);
            }
        }
        self.clients.retain(|c| !c.gone);
        if first.first().is_some_and(|r| !r.is_empty()) {
            self.accept();
        }
        wishes
    }

    fn accept(&mut self) {
        let Some(listener) = &self.listener else {
            return;
        };
        let Ok(socket) = accept_with(listener, SocketFlags::CLOEXEC) else {
            return;
        };
        // The directory lets nobody else in; a container that was given it as a volume is the same user.
        let ours = sockopt::socket_peercred(&socket)
            .is_ok_and(|peer| peer.uid == rustix::process::geteuid());
        if ours && self.clients.len() < CLIENTS_MAX {
            self.add(socket, Role::New);
        }
    }

    /// Give everybody who is attached a piece of output.
    pub(super) fn show(&mut self, stream: u8, bytes: &[u8]) {
        for client in &mut self.clients {
            if matches!(client.role, Role::Attached { .. }) {
                for part in bytes.chunks(packet::MAX - 1) {
                    client.send(&[&[stream], part]);
                }
            }
        }
        // Who is gone stays in the list until what poll said of it was read.
    }

    /// Tell those who wait that it has ended, after all that they have yet to read, and let them go.
    pub fn ended(&mut self, code: u8) {
        for mut client in self.clients.extract_if(.., |c| c.role != Role::New) {
            // They may take their time, but not for ever.
            let patience = Duration::from_secs(5);
            let _ =
                sockopt::set_socket_timeout(&client.socket, sockopt::Timeout::Send, Some(patience));
            for packet in std::mem::take(&mut client.unsent) {
                if packet::send(&client.socket, &[&packet], &[], true).is_err() {
                    break;
                }
            }
            let _ = packet::send(&client.socket, &[&[ENDED, code]], &[], true);
        }
    }

    /// The answer to a [`Wish::Identity`] or [`Wish::Restart`].
    pub(super) fn answer(&mut self, client: usize, result: io::Result<Reply>) {
        let reply = result.unwrap_or_else(|e| Reply::error(&e.to_string()));
        if let Some(client) = self.clients.iter_mut().find(|c| c.number == client) {
            client.reply(&reply, &[]);
            client.gone = true;
        }
        self.clients.retain(|c| !c.gone);
    }
}

impl Client {
    fn reply(&mut self, reply: &Reply, fds: &[BorrowedFd<'_>]) {
        let json = serde_json::to_vec(reply).unwrap_or_default();
        self.gone |= packet::send(&self.socket, &[&json], fds, false).is_err();
    }

    fn send(&mut self, parts: &[&[u8]]) {
        if !self.unsent.is_empty() {
            return self.unsent.push_back(parts.concat());
        }
        match packet::send(&self.socket, parts, &[], false) {
            Ok(()) => {}
            Err(Errno::AGAIN) => self.unsent.push_back(parts.concat()),
            Err(_) => self.gone = true,
        }
    }

    fn flush(&mut self) {
        while let Some(packet) = self.unsent.front() {
            match packet::send(&self.socket, &[packet], &[], false) {
                Ok(()) => drop(self.unsent.pop_front()),
                Err(Errno::AGAIN) => return,
                Err(_) => return self.gone = true,
            }
        }
    }

    fn hear(&mut self, about: &About<'_>, wishes: &mut Vec<Wish>) {
        let mut buffer = vec![0; packet::MAX];
        let (n, fds) = match packet::receive(&self.socket, &mut buffer, false) {
            Ok((0, _)) => {
                self.gone = true;
                if self.role == (Role::Attached { input: true }) {
                    wishes.push(Wish::Gone);
                }
                return;
            }
            Ok(got) => got,
            Err(Errno::AGAIN) => return,
            Err(_) => return self.gone = true,
        };
        let bytes = &buffer[..n];
        match self.role {
            Role::New => self.first(bytes, fds, about, wishes),
            Role::Waits => {}
            Role::Attached { input } => match bytes {
                [INPUT] if input => wishes.push(Wish::EndOfInput),
                [INPUT, bytes @ ..] if input => wishes.push(Wish::Input(bytes.to_vec())),
                [SIZE, a, b, c, d] => wishes.push(Wish::Size(
                    u16::from_ne_bytes([*a, *b]),
                    u16::from_ne_bytes([*c, *d]),
                )),
                _ => {}
            },
        }
    }

    fn first(
        &mut self,
        bytes: &[u8],
        fds: Vec<OwnedFd>,
        about: &About<'_>,
        wishes: &mut Vec<Wish>,
    ) {
        let Ok(request) = serde_json::from_slice::<Request>(bytes) else {
            self.gone = true;
            return;
        };
        let reply = Reply {
            error: None,
            pid: about.pid,
            tty: about.tty,
            emulated: about.emulated,
            input: about.input,
            whose: Vec::new(),
        };
        match request.verb {
            // No answer is one: it does not run.
            Verb::Describe => {
                if let Some(pidfd) = about.pidfd {
                    self.reply(&reply, &[pidfd]);
                }
            }
            Verb::Wait => {
                self.reply(&reply, &[]);
                self.role = Role::Waits;
                return;
            }
            Verb::Attach if !about.streams => {
                let why = "it runs in the foreground of another terminal";
                self.reply(&Reply::error(why), &[]);
            }
            Verb::Attach => {
                self.reply(&reply, &[]);
                self.role = Role::Attached {
                    input: request.input && about.input,
                };
                return;
            }
            Verb::Stopping => {
                self.reply(&reply, &[]);
                wishes.push(Wish::Stopping);
            }
            Verb::Paused | Verb::Resumed => {
                self.reply(&reply, &[]);
                wishes.push(Wish::Paused(request.verb == Verb::Paused));
            }
            Verb::Restart if !about.restarts => {
                let why = "it runs in the foreground of a command, which does not start it again";
                self.reply(&Reply::error(why), &[]);
            }
            Verb::Restart => {
                if let Some(policy) = request.restart {
                    return wishes.push(Wish::Restart(policy, self.number));
                }
            }
            Verb::Supervise | Verb::Whose if !about.emulated => {
                self.reply(&Reply::error("its users are not emulated"), &[]);
            }
            Verb::Supervise => {
                let mut fds = fds.into_iter();
                if let (Some(listener), Some(process)) = (fds.next(), fds.next()) {
                    let ask = Ask::Supervise {
                        listener,
                        process,
                        who: request.who,
                    };
                    return wishes.push(Wish::Identity(ask, self.number));
                }
            }
            Verb::Whose => {
                if let Ok(pids) = serde_json::from_slice(&request.who) {
                    return wishes.push(Wish::Identity(Ask::Whose(pids), self.number));
                }
            }
        }
        self.gone = true;
    }
}
