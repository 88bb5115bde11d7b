//! Unix sockets: the owner of one that is bound to a name, and who is at the other end.
//!
//! `SO_PEERCRED`: who is at the other end of a unix socket. unix(7). What the kernel knows is that it is
//! the container's root; the tag of the process says who it is. It is asked for now, the kernel noted it
//! when the connection was made: a difference only for who changed its user meanwhile.

use std::os::fd::AsFd as _;

use rustix::fs::{AtFlags, StatxFlags, statx};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{DONE, Reply, Result};
use crate::emulate::caller::Caller;
use crate::emulate::ownership::Object;
use crate::emulate::resolve::{AT_FDCWD, Last, split};
use crate::emulate::rules::Op;
use crate::sys::peer;

const SOL_SOCKET: u32 = 1;
const SO_PEERCRED: u32 = 17;

pub(super) fn handle(c: &Caller<'_>) -> Result {
    // descriptor, level, option, value, length
    let args = match c.call.op {
        Op::Socketcall => {
            let mut bytes = [0u8; 20];
            if c.read(c.arg(1), &mut bytes).is_err() {
                return Ok(Reply::Continue);
            }
            let mut args = [0u64; 5];
            for (i, word) in bytes.chunks_exact(4).enumerate() {
                args[i] = u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
            }
            args
        }
        _ => [c.arg(0), c.arg(1), c.arg(2), c.arg(3), c.arg(4)],
    };
    if (args[1] as u32, args[2] as u32) != (SOL_SOCKET, SO_PEERCRED) {
        return Ok(Reply::Continue);
    }
    peer_of(c, args).or(Ok(Reply::Continue))
}

fn peer_of(c: &Caller<'_>, args: [u64; 5]) -> Result {
    let leader = c.status(c.pid(), "Tgid")?;
    let leader = leader.parse().ok().and_then(Pid::from_raw);
    let pidfd = pidfd_open(leader.ok_or(Errno::SRCH)?, PidfdFlags::empty())?;
    let socket = peer::descriptor(pidfd.as_fd(), args[0] as i32)?;
    let (pid, ..) = peer::socket_peer(socket.as_fd())?;
    if pid <= 0 {
        return Ok(Reply::Continue);
    }
    // As many pid namespaces deep as the caller, or it is a stranger to the container.
    let depth = |numbers: &str| numbers.split('\t').count();
    let theirs = c.status(pid, "NSpid")?;
    if depth(&theirs) < depth(&c.status(c.pid(), "NSpid")?) {
        return Ok(Reply::Continue);
    }
    let inside = theirs
        .rsplit('\t')
        .next()
        .and_then(|n| n.parse::<i32>().ok());
    let cred = c.world.creds.of(pid);
    let mut length = [0u8; 4];
    c.read(args[4], &mut length)?;
    let length = u32::from_ne_bytes(length).min(12);
    let mut out = [0u8; 12];
    let fields = [
        inside.unwrap_or(0).cast_unsigned(),
        cred.uid.effective,
        cred.gid.effective,
    ];
    for (at, field) in fields.iter().enumerate() {
        out[4 * at..4 * at + 4].copy_from_slice(&field.to_ne_bytes());
    }
    c.still_waits()?;
    c.write(args[3], &out[..length as usize])?;
    c.write(args[4], &length.to_ne_bytes())?;
    Ok(DONE)
}

/// bind(2) to a path makes a file, of somebody who may not be root. The kernel does it, since the name
/// that the socket then has is for its peers to see; whose the file is, is settled when it is next looked
/// at.
pub(super) fn bind(c: &Caller<'_>) -> Result {
    let cred = c.cred();
    let (uid, gid) = (cred.uid.fs, cred.gid.fs);
    let mut address = [0u8; 110];
    let length = address.len().min(c.word(2) as usize);
    if (uid, gid) == (0, 0) || length < 4 || c.read(c.arg(1), &mut address[..length]).is_err() {
        return Ok(Reply::Continue);
    }
    let (family, path) = address[..length].split_at(2);
    let path = path.split(|b| *b == 0).next().unwrap_or_default();
    // A name that begins with NUL is no file's.
    let is_unix = u16::from_ne_bytes([family[0], family[1]]) == libc::AF_UNIX as u16;
    let Some((dir, name)) = split(path).filter(|_| is_unix) else {
        return Ok(Reply::Continue);
    };
    let dir = if dir.is_empty() { b"." } else { dir };
    let parent = c.open(AT_FDCWD, dir, Last::Follow).and_then(Object::new);
    // What is there already stays whose it is: the kernel will refuse.
    let is_there = |parent: &Object| {
        statx(
            &parent.fd,
            name,
            AtFlags::SYMLINK_NOFOLLOW,
            StatxFlags::TYPE,
        )
        .is_ok()
    };
    if let Ok(parent) = parent
        && !is_there(&parent)
    {
        c.world.ownership.expect(parent, name, uid, gid);
    }
    Ok(Reply::Continue)
}
