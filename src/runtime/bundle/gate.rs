//! What a created container waits at: a Unix socket in the directory of its state, on which its first process
//! listens until somebody says that it may go on.
//!
//! Who can reach the directory, which is the caller's alone, can open the gate; nobody inside can, since the
//! container was cut off from the directory before. A connection that says nothing is a look: so whoever asks for the
//! state can tell for certain whether the process still waits. The one that opens it stays open until the program
//! runs, and carries why it does not.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with,
    bind, connect, listen, recv, send, socket_with,
};

/// Name of the socket in the directory.
const NAME: &str = "start";
/// What opens it.
const WORD: &[u8] = b"start";
/// Those who look at the same time.
const BACKLOG: i32 = 64;

fn socket() -> io::Result<OwnedFd> {
    Ok(socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// By the descriptor, so that the length of the directory's path does not matter (unix(7)).
fn address(dir: BorrowedFd<'_>) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new(format!(
        "/proc/self/fd/{}/{NAME}",
        dir.as_raw_fd()
    ))?)
}

/// Make the gate, closed.
pub(super) fn make(dir: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let listener = socket()?;
    bind(&listener, &address(dir)?)?;
    listen(&listener, BACKLOG)?;
    Ok(listener)
}

/// Wait until it is opened; returns where to report to.
pub(in crate::runtime) fn wait(listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    loop {
        let caller = match accept_with(listener, SocketFlags::CLOEXEC) {
            Err(Errno::INTR | Errno::CONNABORTED) => continue,
            other => other?,
        };
        let mut word = [0; 16];
        let got = loop {
            match recv(&caller, &mut word[..], RecvFlags::empty()) {
                Err(Errno::INTR) => {}
                other => break other.map_or(0, |(n, _)| n),
            }
        };
        if &word[..got] == WORD {
            return Ok(caller);
        }
    }
}

/// Whether somebody waits there.
pub(super) fn is_closed(dir: BorrowedFd<'_>) -> bool {
    address(dir).is_ok_and(|a| socket().is_ok_and(|s| connect(&s, &a).is_ok()))
}

/// Open it; what comes back is read from there. `None`: nobody waits.
pub(super) fn open(dir: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let ours = socket()?;
    match connect(&ours, &address(dir)?) {
        Err(Errno::CONNREFUSED | Errno::NOENT) => return Ok(None),
        other => other?,
    }
    send(&ours, WORD, SendFlags::NOSIGNAL)?;
    Ok(Some(ours))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn a_look_does_not_open_it() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = OwnedFd::from(std::fs::File::open(tmp.path()).unwrap());
        assert!(!is_closed(dir.as_fd()) && open(dir.as_fd()).unwrap().is_none());
        let listener = make(dir.as_fd()).unwrap();
        let waiting = std::thread::spawn(move || wait(listener.as_fd()).map(drop));
        for _ in 0..3 {
            assert!(is_closed(dir.as_fd()));
        }
        let other = socket().unwrap();
        connect(&other, &address(dir.as_fd()).unwrap()).unwrap();
        send(&other, b"open", SendFlags::NOSIGNAL).unwrap();
        assert!(!waiting.is_finished());
        assert!(open(dir.as_fd()).unwrap().is_some());
        waiting.join().unwrap().unwrap();
        assert!(!is_closed(dir.as_fd()), "the listener is gone");
    }
}
