//! Packets over a SEQPACKET socket: whole or not at all, with descriptors beside them. unix(7).

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// Bytes of a packet at most. Well below what an unprivileged socket buffers (net.core.wmem_default).
pub const MAX: usize = 32 << 10;
/// Descriptors in a packet at most.
const FDS_MAX: usize = 2;

/// Two connected ends, both close-on-exec.
pub fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
}

/// Send `parts` as one packet. `wait`: for room in the buffer, else it is `AGAIN`.
pub fn send(
    socket: impl AsFd,
    parts: &[&[u8]],
    fds: &[BorrowedFd<'_>],
    wait: bool,
) -> Result<(), Errno> {
    let parts: Vec<IoSlice<'_>> = parts.iter().map(|p| IoSlice::new(p)).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    let mut flags = SendFlags::NOSIGNAL;
    flags.set(SendFlags::DONTWAIT, !wait);
    rustix::io::retry_on_intr(|| sendmsg(&socket, &parts, &mut control, flags)).map(|_| ())
}

/// Receive one packet into `buffer`; 0 bytes say that the other end is closed.
pub fn receive(
    socket: impl AsFd,
    buffer: &mut [u8],
    wait: bool,
) -> Result<(usize, Vec<OwnedFd>), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut flags = RecvFlags::CMSG_CLOEXEC;
    flags.set(RecvFlags::DONTWAIT, !wait);
    let mut reset = false;
    let got = loop {
        let mut parts = [IoSliceMut::new(buffer)];
        match recvmsg(&socket, &mut parts, &mut control, flags) {
            Err(Errno::INTR) => {}
            // The other side went with something of ours unread. That is said once, and before its last words.
            Err(Errno::CONNRESET) if !reset => reset = true,
            Err(Errno::CONNRESET) => return Ok((0, Vec::new())),
            other => break other?,
        }
    };
    let fds = control.drain().flat_map(|m| match m {
        RecvAncillaryMessage::ScmRights(fds) => fds.collect::<Vec<_>>(),
        _ => Vec::new(),
    });
    Ok((got.bytes, fds.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_heard_of_who_did_not_listen() {
        let (ours, theirs) = pair().unwrap();
        send(&theirs, &[b"bye"], &[], true).unwrap();
        send(&ours, &[b"and?"], &[], true).unwrap();
        drop(theirs);
        let mut buffer = [0; MAX];
        for want in [&b"bye"[..], b"", b""] {
            let (n, _) = receive(&ours, &mut buffer, true).unwrap();
            assert_eq!(&buffer[..n], want);
        }
    }
}
