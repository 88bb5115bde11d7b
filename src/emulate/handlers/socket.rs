//! Unix sockets: the owner of one that is bound to a name, who is at the other end, and who says he sends.
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
const SCM_CREDENTIALS: u32 = 2;
/// Longer than what a program sends beside a message: 253 descriptors and its credentials.
const CONTROL_MAX: usize = 2048;

const SYS_SENDMSG: u32 = 16;

pub(super) fn handle(c: &Caller<'_>) -> Result {
    let mut args = [c.arg(0), c.arg(1), c.arg(2), c.arg(3), c.arg(4)];
    let mut sends = c.call.op == Op::Sendmsg;
    if c.call.op == Op::Socketcall {
        sends = c.word(0) == SYS_SENDMSG;
        let mut bytes = [0u8; 20];
        let given = &mut bytes[..if sends { 12 } else { 20 }];
        if c.read(c.arg(1), given).is_err() {
            return Ok(Reply::Continue);
        }
        for (arg, word) in args.iter_mut().zip(bytes.chunks_exact(4)) {
            *arg = u64::from(number(word));
        }
    }
    if sends {
        return send(c, args[1]);
    }
    // descriptor, level, option, value, length
    if (args[1] as u32, args[2] as u32) != (SOL_SOCKET, SO_PEERCRED) {
        return Ok(Reply::Continue);
    }
    peer_of(c, args).or(Ok(Reply::Continue))
}

/// An `int` or, by its lower half, a longer word.
fn number(bytes: &[u8]) -> u32 {
    let low = bytes.first_chunk().copied().unwrap_or_default();
    u32::from_ne_bytes(low)
}

fn pointer(bytes: &[u8]) -> u64 {
    match bytes.first_chunk() {
        Some(all) => u64::from_ne_bytes(*all),
        None => u64::from(number(bytes)),
    }
}

/// `SCM_CREDENTIALS`: who says who it is, says who it is here, and the kernel has never heard of that. What
/// is allowed becomes the one id that the kernel knows, in the message itself; the kernel checks the rest
/// and sends.
fn send(c: &Caller<'_>, message: u64) -> Result {
    let (word, at) = if c.call.compat { (4, 16) } else { (8, 32) };
    let mut header = [0u8; 48];
    let header = &mut header[..at + 2 * word];
    if message == 0 || c.read(message, header).is_err() {
        return Ok(Reply::Continue);
    }
    let control = pointer(&header[at..at + word]);
    let length = pointer(&header[at + word..]);
    let mut buffer = [0u8; CONTROL_MAX];
    let length = usize::try_from(length).unwrap_or(0).min(CONTROL_MAX);
    // Nearly always there is none.
    if length < word + 8 + 12 || c.read(control, &mut buffer[..length]).is_err() {
        return Ok(Reply::Continue);
    }
    for at in credentials(&buffer[..length], word) {
        // pid, uid, gid
        let (uid, gid) = (number(&buffer[at + 4..]), number(&buffer[at + 8..]));
        if !c.cred().may_claim(uid, gid) {
            return Err(Errno::PERM);
        }
        if (uid, gid) != (0, 0) {
            c.still_waits()?;
            c.write(control.wrapping_add(at as u64 + 4), &[0; 8])?;
        }
    }
    Ok(Reply::Continue)
}

/// Where the data of each `SCM_CREDENTIALS` is. cmsg(3).
fn credentials(control: &[u8], word: usize) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = 0;
    let head = word + 8;
    while let Some(message) = control.get(at..).filter(|m| m.len() >= head) {
        let length = usize::try_from(pointer(&message[..word])).unwrap_or(usize::MAX);
        if length < head || length > message.len() {
            break;
        }
        let (level, kind) = (number(&message[word..]), number(&message[word + 4..]));
        if (level, kind, length) == (SOL_SOCKET, SCM_CREDENTIALS, head + 12) {
            found.push(at + head);
        }
        at += length.next_multiple_of(word);
    }
    found
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
    let cred = c.world.cred_of(pid);
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
    let ownership = &c.world.ownership;
    let is_root = (uid, gid) == (0, 0);
    let usual = is_root && ownership.is_quiet();
    if usual || length < 4 || c.read(c.arg(1), &mut address[..length]).is_err() {
        return Ok(Reply::Continue);
    }
    let (family, path) = address[..length].split_at(2);
    let path = path.split(|b| *b == 0).next().unwrap_or_default();
    // A name that begins with NUL is no file's.
    let is_unix = u16::from_ne_bytes([family[0], family[1]]) == libc::AF_UNIX as u16;
    let Some((dir, name)) = split(path).filter(|_| is_unix) else {
        return Ok(Reply::Continue);
    };
    let may_inherit = ownership.may_inherit(name);
    if is_root && !may_inherit {
        return Ok(Reply::Continue);
    }
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
        let anew = may_inherit && ownership.would_inherit(&parent, name);
        ownership.expect(parent, name, uid, gid, anew);
    }
    Ok(Reply::Continue)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(word: usize, kind: u32, data: &[u8]) -> Vec<u8> {
        let mut out = (word + 8 + data.len()).to_ne_bytes()[..word].to_vec();
        out.extend(SOL_SOCKET.to_ne_bytes());
        out.extend(kind.to_ne_bytes());
        out.extend(data);
        out.resize(out.len().next_multiple_of(word), 0);
        out
    }

    #[test]
    fn credentials_are_found_beside_others() {
        for word in [4, 8] {
            let rights = message(word, 1, &[0; 4]);
            let cred = message(word, SCM_CREDENTIALS, &[0; 12]);
            let both = [rights.clone(), cred.clone()].concat();
            assert_eq!(credentials(&both, word), [rights.len() + word + 8]);
            assert_eq!(credentials(&cred, word), [word + 8]);
            assert_eq!(credentials(&rights, word), [0; 0]);
            let short = &both[..both.len() - 5];
            assert_eq!(credentials(short, word), [0; 0]);
            for bad in [&[0xff_u8; 64][..], &[0; 64], &[1], &[]] {
                assert_eq!(credentials(bad, word), [0; 0]);
            }
        }
    }
}
