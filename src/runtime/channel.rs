//! The words between the parent and the child until the program runs. One SEQPACKET socket pair, one
//! message a packet.
//!
//! ```text
//! parent (spawn)                         child (init)
//!   | clone3 --------------------------->  |
//!   |                                      | id maps, mount propagation
//!   | <---------------- NeedFuse --------- |   only with fuse-overlayfs
//!   | runs fuse-overlayfs on its mount, in |
//!   | the child's user namespace           |
//!   | ----------------- Go --------------> |
//!   |                                      | root, mounts, pivot
//!   | <--- Console + pty master ---------- |   only with a terminal
//!   |                                      | limits, capabilities, seccomp
//!   | <--- Failed, from any step --------- |   then _exit
//!   |                                      | exec of the stub
//!   | <--- errno, 4 raw bytes ------------ |   the stub could not execute the program
//!   | <--- end of file ------------------- |   the program runs
//! ```

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};

use super::Failure;

/// Larger than any message we send; a longer packet is cut and then fails to parse.
const PACKET_MAX: usize = 8192;

/// What the child says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromInit {
    Failed(Failure),
    NeedFuse,
    Console,
    /// Of a bundle: the child was made, and is the descriptor.
    Cloned,
    /// Of a bundle: its mounts are there, and its root is not yet entered.
    Prepared,
    /// Of a bundle: it waits for its start.
    Ready,
    /// Of a further process: what its calls are asked about by.
    Listener,
}

/// What the parent says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromParent {
    Go,
    /// To a bundle's child: go on. Its number, as the parent counts.
    Proceed {
        pid: i32,
    },
}

/// What arrives at the parent.
#[derive(Debug)]
pub(super) enum Received {
    Message(FromInit, Option<OwnedFd>),
    /// The stub's last word.
    ExecErrno(i32),
    /// The child's end is closed: the program runs, or the child is dead.
    Closed,
}

/// One end.
#[derive(Debug)]
pub(super) struct Channel(OwnedFd);

impl Channel {
    /// Two connected ends, both close-on-exec.
    pub(super) fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Self(a), Self(b)))
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// What is connected to somebody else.
    pub(super) fn of(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Go on with another socket, under the same number, which goes over exec or does not, as before.
    pub(super) fn replace(&mut self, socket: &OwnedFd) -> io::Result<()> {
        let flags = rustix::io::fcntl_getfd(&self.0)?;
        rustix::io::dup3(socket, &mut self.0, rustix::io::DupFlags::CLOEXEC)?;
        Ok(rustix::io::fcntl_setfd(&self.0, flags)?)
    }

    pub(super) fn send<T: Serialize>(
        &self,
        message: &T,
        fd: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        self.send_flagged(message, fd, SendFlags::NOSIGNAL)
    }

    /// The same by a process whose calls are asked about, while nobody answers yet.
    pub(super) fn send_unasked<T: Serialize>(
        &self,
        message: &T,
        fd: BorrowedFd<'_>,
    ) -> io::Result<()> {
        let unasked = SendFlags::from_bits_retain(crate::emulate::rules::UNASKED_MESSAGE);
        self.send_flagged(message, Some(fd), SendFlags::NOSIGNAL | unasked)
    }

    fn send_flagged<T: Serialize>(
        &self,
        message: &T,
        fd: Option<BorrowedFd<'_>>,
        flags: SendFlags,
    ) -> io::Result<()> {
        self.send_bytes(&serde_json::to_vec(message)?, fd, flags)
    }

    /// One packet as it is.
    pub(super) fn send_bytes(
        &self,
        packet: &[u8],
        fd: Option<BorrowedFd<'_>>,
        flags: SendFlags,
    ) -> io::Result<()> {
        let fds: Vec<BorrowedFd<'_>> = fd.into_iter().collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        }
        sendmsg(&self.0, &[IoSlice::new(packet)], &mut ancillary, flags)?;
        Ok(())
    }

    fn receive(&self) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
        let mut packet = vec![0; PACKET_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let got = loop {
            let mut parts = [IoSliceMut::new(&mut packet)];
            match recvmsg(&self.0, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
                Err(rustix::io::Errno::INTR) => {}
                // A child that was killed with something unread on its side.
                Err(rustix::io::Errno::CONNRESET) => return Ok((Vec::new(), None)),
                other => break other?,
            }
        };
        packet.truncate(got.bytes);
        let fd = ancillary.drain().find_map(|m| match m {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        Ok((packet, fd))
    }

    /// The next word of the child; waits for it.
    #[expect(clippy::wrong_self_convention, reason = "says who speaks")]
    pub(super) fn from_init(&self) -> io::Result<Received> {
        let (packet, fd) = self.receive()?;
        if packet.is_empty() {
            return Ok(Received::Closed);
        }
        if let Ok(errno) = <[u8; 4]>::try_from(packet.as_slice()) {
            return Ok(Received::ExecErrno(i32::from_ne_bytes(errno)));
        }
        Ok(Received::Message(serde_json::from_slice(&packet)?, fd))
    }

    /// The next word of the parent; waits for it. A closed channel means that the parent is gone.
    #[expect(clippy::wrong_self_convention, reason = "says who speaks")]
    pub(super) fn from_parent(&self) -> io::Result<FromParent> {
        let (packet, _) = self.receive()?;
        Ok(serde_json::from_slice(&packet)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Stage;

    #[test]
    fn messages_descriptors_and_raw_errnos_arrive() {
        let (a, b) = Channel::pair().unwrap();
        let failure = Failure::new(Stage::Proc, "mount(/proc)", rustix::io::Errno::PERM);
        b.send(&FromInit::Failed(failure), None).unwrap();
        b.send(&FromInit::Console, Some(b.fd())).unwrap();
        rustix::io::write(b.fd(), &13i32.to_ne_bytes()).unwrap();
        drop(b);
        assert!(matches!(
            a.from_init().unwrap(),
            Received::Message(
                FromInit::Failed(Failure {
                    stage: Stage::Proc,
                    errno: 1,
                    ..
                }),
                None
            )
        ));
        assert!(matches!(
            a.from_init().unwrap(),
            Received::Message(FromInit::Console, Some(_))
        ));
        assert!(matches!(a.from_init().unwrap(), Received::ExecErrno(13)));
        assert!(matches!(a.from_init().unwrap(), Received::Closed));
    }

    #[test]
    fn nonsense_is_an_error() {
        let (a, b) = Channel::pair().unwrap();
        rustix::io::write(b.fd(), b"{\"Fly\":1}").unwrap();
        assert!(a.from_init().is_err());
    }
}
