//! Other processes: their memory, one of their limits, their descriptors. Everything here is
//! allowed or refused by the kernel's ptrace checks (ptrace(2), "Ptrace access mode checking").

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use rustix::io::Errno;

const PAGE: u64 = 4096;

fn last() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

fn remote(address: u64, len: usize) -> libc::iovec {
    libc::iovec {
        iov_base: address as *mut libc::c_void,
        iov_len: len,
    }
}

/// Read memory of `pid` from `address` on, as much of `buffer` as is mapped; returns how much.
///
/// # Errors
/// `EFAULT` when nothing is mapped there, `ESRCH`, `EPERM`.
pub fn read(pid: i32, address: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
    let len = buffer.len();
    // A page that is not mapped ends the transfer before its iovec, so none may cross into one.
    let first = len.min((PAGE - address % PAGE) as usize);
    let second = (len - first).min(PAGE as usize);
    let local = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: first + second,
    };
    let theirs = [
        remote(address, first),
        remote(address.wrapping_add(first as u64), second),
    ];
    let count = if second > 0 { 2 } else { 1 };
    // SAFETY: `local` describes a part of `buffer`, which is ours alone; the other side's addresses are
    // checked by the kernel.
    let n = unsafe { libc::process_vm_readv(pid, &raw const local, 1, theirs.as_ptr(), count, 0) };
    usize::try_from(n).map_err(|_| last())
}

/// Fill `buffer` from memory of `pid`.
///
/// # Errors
/// `EFAULT` when a part is not mapped.
pub fn read_exact(pid: i32, address: u64, buffer: &mut [u8]) -> Result<(), Errno> {
    let mut done = 0;
    while done < buffer.len() {
        match read(pid, address.wrapping_add(done as u64), &mut buffer[done..])? {
            0 => return Err(Errno::FAULT),
            n => done += n,
        }
    }
    Ok(())
}

/// Write `bytes` to memory of `pid`.
///
/// # Errors
/// `EFAULT` when a part is not mapped or not writable.
pub fn write(pid: i32, address: u64, bytes: &[u8]) -> Result<(), Errno> {
    let local = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let theirs = remote(address, bytes.len());
    // SAFETY: `local` describes `bytes`, which the kernel only reads; the other side's addresses are
    // checked by the kernel.
    let n = unsafe { libc::process_vm_writev(pid, &raw const local, 1, &raw const theirs, 1, 0) };
    match usize::try_from(n) {
        Ok(n) if n == bytes.len() => Ok(()),
        Ok(_) => Err(Errno::FAULT),
        Err(_) => Err(last()),
    }
}

const _: () = assert!(size_of::<rustix::fs::Statx>() == 256);

/// Write what statx(2) answers to memory of `pid`.
///
/// # Errors
/// As [`write()`].
pub fn write_statx(pid: i32, address: u64, stat: &rustix::fs::Statx) -> Result<(), Errno> {
    let start: *const u8 = std::ptr::from_ref(stat).cast();
    // SAFETY: the kernel's structure is 256 bytes of integers without padding between them, all
    // initialised, and it is borrowed for as long as the slice is used.
    let bytes = unsafe { std::slice::from_raw_parts(start, size_of_val(stat)) };
    write(pid, address, bytes)
}

/// The soft limit on file locks (`RLIMIT_LOCKS`) of `pid`, which no kernel since 2.4.25 looks at;
/// `u64::MAX` is none.
///
/// # Errors
/// `ESRCH`, `EPERM`.
pub fn locks_limit(pid: i32) -> Result<u64, Errno> {
    let mut now = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: a null pointer asks for no change, and the kernel writes one struct rlimit.
    let r = unsafe { libc::prlimit(pid, libc::RLIMIT_LOCKS, std::ptr::null(), &raw mut now) };
    if r == 0 {
        Ok(now.rlim_cur)
    } else {
        Err(last())
    }
}

/// Set that soft limit; the hard one becomes infinite, as it was.
///
/// # Errors
/// `ESRCH`, `EPERM`.
pub fn set_locks_limit(pid: i32, value: u64) -> Result<(), Errno> {
    let new = libc::rlimit {
        rlim_cur: value,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: the kernel reads one struct rlimit and is asked to write nothing.
    let r = unsafe {
        libc::prlimit(
            pid,
            libc::RLIMIT_LOCKS,
            &raw const new,
            std::ptr::null_mut(),
        )
    };
    if r == 0 { Ok(()) } else { Err(last()) }
}

/// A copy of descriptor `number` of the process behind `pidfd` (pidfd_getfd(2), Linux 5.6).
///
/// # Errors
/// `EBADF` when it has no such descriptor, `EPERM`.
pub fn descriptor(pidfd: BorrowedFd<'_>, number: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: three integers; no memory is involved.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0) };
    match i32::try_from(fd) {
        // SAFETY: the kernel has just made this descriptor, and nobody else owns it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(last()),
    }
}

/// Who is at the other end of a connected unix socket: pid (0 if not visible here), uid, gid.
///
/// # Errors
/// As getsockopt(2).
pub fn socket_peer(socket: BorrowedFd<'_>) -> Result<(i32, u32, u32), Errno> {
    let mut peer = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes to `peer`, and the length to `len`.
    let r = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut len,
        )
    };
    if r == 0 {
        Ok((peer.pid, peer.uid, peer.gid))
    } else {
        Err(last())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_a_process_up_to_the_end_of_what_is_mapped() {
        let pid = std::process::id().cast_signed();
        let text = b"hello, other process".to_vec();
        let mut out = [0u8; 20];
        read_exact(pid, text.as_ptr() as u64, &mut out).unwrap();
        assert_eq!(out, text[..]);
        assert_eq!(read(pid, 1, &mut out), Err(Errno::FAULT));
        let target = [0u8; 4];
        write(pid, target.as_ptr() as u64, b"abcd").unwrap();
        assert_eq!(std::hint::black_box(&target), b"abcd");
        assert_eq!(write(pid, 1, b"x"), Err(Errno::FAULT));
    }

    #[test]
    fn a_limit_of_locks_holds_a_number() {
        let pid = std::process::id().cast_signed();
        let before = locks_limit(pid).unwrap();
        set_locks_limit(pid, 1 << 41).unwrap();
        assert_eq!(locks_limit(pid).unwrap(), 1 << 41);
        set_locks_limit(pid, before).unwrap();
    }
}
