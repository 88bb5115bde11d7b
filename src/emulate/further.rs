//! Further processes of a container: how the one who started the supervisor hands their listeners in.
//!
//! ```text
//! command, or monitor                              supervisor
//!   | who it is (JSON); listener, pidfd ---------->  |  its credentials become those of the process,
//!   | <----------------------------- errno, 4 bytes  |  and a thread answers its calls
//!   | processes (a list of pids) ----------------->  |
//!   | <----------- effective users and groups (JSON) |
//! ```

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use super::World;
use super::creds::table::Tag;
use super::creds::{Cred, cap};
use super::supervisor::Supervisor;
use crate::sys::peer;

/// Bytes of a message at most: a process may have many groups.
const MESSAGE_MAX: usize = 64 << 10;

/// How long a supervisor may take. It only waits for a file system, and the thread that is asked never does.
const PATIENCE: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};

impl Supervisor {
    /// Have one more process answered for: by the listener of its filter, and a descriptor of it. `who` is what
    /// [`Cred::to_bytes`] made of its credentials. The process waits meanwhile.
    ///
    /// # Errors
    /// `AGAIN` when there are too many processes or credentials; `SRCH` when it has ended; `TIMEDOUT`.
    pub fn add(
        &self,
        listener: BorrowedFd<'_>,
        process: BorrowedFd<'_>,
        who: &[u8],
    ) -> io::Result<()> {
        let fds = [listener, process];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        sendmsg(&self.socket, &[IoSlice::new(who)], &mut control, flags)?;
        let mut errno = [0; 4];
        match self.answer(&mut errno)? {
            4 => match i32::from_ne_bytes(errno) {
                0 => Ok(()),
                errno => Err(io::Error::from_raw_os_error(errno)),
            },
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Effective user and group of processes, by their numbers in our pid namespace.
    ///
    /// # Errors
    /// Of the socket.
    pub fn whose(&self, pids: &[i32]) -> io::Result<Vec<(u32, u32)>> {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let mut all = Vec::with_capacity(pids.len());
        let mut buffer = vec![0; MESSAGE_MAX];
        // Each answer fits.
        for some in pids.chunks(MESSAGE_MAX / 32) {
            rustix::net::send(&self.socket, &serde_json::to_vec(some)?, flags)?;
            let n = self.answer(&mut buffer)?;
            all.extend(serde_json::from_slice::<Vec<(u32, u32)>>(&buffer[..n])?);
        }
        Ok(all)
    }

    fn answer(&self, into: &mut [u8]) -> io::Result<usize> {
        let mut answer = [PollFd::new(&self.socket, PollFlags::IN)];
        if rustix::io::retry_on_intr(|| poll(&mut answer, Some(&PATIENCE)))? == 0 {
            return Err(Errno::TIMEDOUT.into());
        }
        Ok(rustix::io::read(&self.socket, into)?)
    }
}

/// What is asked.
pub(super) enum Asked {
    /// To answer for a process.
    Add(Further),
    /// Who these are.
    Whose(Vec<i32>),
}

/// A process, as it was handed in.
pub(super) struct Further {
    listener: OwnedFd,
    process: OwnedFd,
    who: Vec<u8>,
}

/// The next message. `None` when the other end is closed.
pub(super) fn receive(socket: BorrowedFd<'_>) -> Result<Option<Asked>, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut who = vec![0; MESSAGE_MAX];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let mut parts = [IoSliceMut::new(&mut who)];
    let n = match recvmsg(socket, &mut parts, &mut control, flags) {
        Err(Errno::CONNRESET) => 0,
        other => other?.bytes,
    };
    who.truncate(n);
    if n == 0 {
        return Ok(None);
    }
    if let Ok(pids) = serde_json::from_slice(&who) {
        return Ok(Some(Asked::Whose(pids)));
    }
    let mut fds = control.drain().flat_map(|m| match m {
        RecvAncillaryMessage::ScmRights(fds) => fds.collect::<Vec<_>>(),
        _ => Vec::new(),
    });
    let (Some(listener), Some(process)) = (fds.next(), fds.next()) else {
        return Err(Errno::BADMSG);
    };
    Ok(Some(Asked::Add(Further {
        listener,
        process,
        who,
    })))
}

/// Make its credentials those of the process; the listener is what is left to serve.
pub(super) fn introduce(world: &World, further: Further) -> Result<OwnedFd, Errno> {
    let cred = Cred::from_bytes(&further.who).ok_or(Errno::BADMSG)?;
    let pid = pid(world, &further.process)?;
    // Who may mount may also have another mount namespace or root.
    if cred.bounding & 1 << cap::SYS_ADMIN != 0 {
        world.let_roots_vary();
    }
    // It waits for us, so that this is its number. Where it is who everybody is at first, as mostly, nothing is
    // written: without any tags none has to be looked up.
    let now = world.creds.tagged(peer::locks_limit(pid)?);
    if !matches!(now, Tag::Is(is) if *is == cred) {
        world.creds.set(pid, cred)?;
    }
    Ok(further.listener)
}

/// The number of a process in our pid namespace. proc(5), `/proc/PID/fdinfo`.
fn pid(world: &World, process: &OwnedFd) -> Result<i32, Errno> {
    let path = format!("self/fdinfo/{}", process.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = openat(&world.proc, path, flags, Mode::empty())?;
    let mut text = [0u8; 512];
    let n = rustix::io::read(&file, &mut text)?;
    let text = String::from_utf8_lossy(&text[..n]);
    let number = text.lines().find_map(|l| l.strip_prefix("Pid:"));
    let number = number.and_then(|n| n.trim().parse().ok());
    number.filter(|n| *n > 0).ok_or(Errno::SRCH)
}

/// Say who they are.
pub(super) fn tell(world: &World, socket: BorrowedFd<'_>, pids: &[i32]) {
    let who = |pid: &i32| {
        let cred = world.cred_of(*pid);
        (cred.uid.effective, cred.gid.effective)
    };
    let all: Vec<(u32, u32)> = pids.iter().map(who).collect();
    let json = serde_json::to_vec(&all).unwrap_or_default();
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    let _ = rustix::net::send(socket, &json, flags);
}

/// Say what came of it.
pub(super) fn reply(socket: BorrowedFd<'_>, result: Result<(), Errno>) {
    let errno = result.err().map_or(0, Errno::raw_os_error);
    // Who does not read it has ended.
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    let _ = rustix::net::send(socket, &errno.to_ne_bytes(), flags);
}
