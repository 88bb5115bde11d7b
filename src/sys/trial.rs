//! System calls that only the probes of the `host` room make: to find out whether the kernel
//! answers them, not to build upon. Each is safe to call with any argument; those that change the
//! calling process for good are meant for a child of [`fork`](super::fork).
//!
//! See seccomp_unotify(2), landlock(7), execveat(2) and the kernel's tuntap.rst.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use rustix::io::Errno;

fn check(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result < 0 { Err(last()) } else { Ok(result) }
}

fn last() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Which Landlock ABI the kernel speaks (landlock_create_ruleset(2), `LANDLOCK_CREATE_RULESET_VERSION`).
///
/// # Errors
/// `ENOSYS` when not built in, `EOPNOTSUPP` when not among the active security modules.
pub fn landlock_abi() -> Result<u64, Errno> {
    const VERSION: libc::c_ulong = 1;
    // SAFETY: with this flag the kernel wants a null pointer and size 0, and touches no memory.
    let abi = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0_usize,
            VERSION,
        )
    };
    check(abi).map(i64::cast_unsigned)
}

/// Try to execute the file behind a descriptor. Give it a file with no format the kernel knows: then
/// every permission is checked and the call still returns, with `ENOEXEC` for "it would have run".
pub fn exec(file: BorrowedFd<'_>) -> Errno {
    let argv = [c"probe".as_ptr(), std::ptr::null()];
    let envp = [std::ptr::null::<libc::c_char>()];
    // SAFETY: path, argv and envp are valid, terminated arrays that outlive the call. The kernel only
    // reads them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    match check(result) {
        Err(errno) => errno,
        // Not reached: a successful exec does not return.
        Ok(_) => Errno::IO,
    }
}

/// Attach a tun interface named `probe0` to an open `/dev/net/tun` (`TUNSETIFF`); it lives in the
/// caller's network namespace until the descriptor is closed.
///
/// # Errors
/// `EPERM` without `CAP_NET_ADMIN` over the network namespace.
pub fn attach_tun(device: BorrowedFd<'_>) -> Result<(), Errno> {
    /// `struct ifreq`: a name and a union of 24 bytes that starts with the flags.
    #[repr(C)]
    struct Request {
        name: [u8; 16],
        flags: libc::c_short,
        rest: [u8; 22],
    }
    let mut request = Request {
        name: [0; 16],
        flags: (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short,
        rest: [0; 22],
    };
    request.name[..6].copy_from_slice(b"probe0");
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq`, which `request` is in size and layout.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    check(result.into()).map(drop)
}

/// What a filter made by [`install_filter`] does when the process calls [`trapped_call`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trap {
    /// The filter itself answers `EDOM`.
    Errno,
    /// A supervisor is asked; a signal that does not kill does not interrupt the question
    /// (`WAIT_KILLABLE_RECV`, Linux 5.19).
    NotifyKillable,
    /// A supervisor is asked, without that flag.
    Notify,
}

/// Install a seccomp filter that traps getppid(2) and nothing else. Returns the listener for the two
/// notifying kinds. The caller has set no_new_privs.
///
/// # Errors
/// `EINVAL` when filter or flag is unknown, `EBUSY` when an outer filter has a listener already.
pub fn install_filter(trap: Trap) -> Result<Option<OwnedFd>, Errno> {
    const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let (action, flags) = match trap {
        Trap::Errno => (libc::SECCOMP_RET_ERRNO | libc::EDOM.cast_unsigned(), 0),
        Trap::Notify => (
            libc::SECCOMP_RET_USER_NOTIF,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
        ),
        Trap::NotifyKillable => (
            libc::SECCOMP_RET_USER_NOTIF,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
        ),
    };
    let op = |code, jf, k| libc::sock_filter { code, jt: 0, jf, k };
    // Offset 0 of `struct seccomp_data` is the number. The architecture is not looked at: a child of
    // ours makes native calls only.
    let mut program = [
        op(LOAD_WORD, 0, 0),
        op(JUMP_EQUAL, 1, libc::SYS_getppid as u32),
        op(RETURN, 0, action),
        op(RETURN, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: `program` describes a live array of that length, which the kernel copies.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    let fd = check(result)?;
    if flags == 0 {
        return Ok(None);
    }
    let fd = i32::try_from(fd).map_err(|_| Errno::BADF)?;
    // SAFETY: with NEW_LISTENER the result is a new descriptor (close-on-exec) that nobody else owns.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// Make the call that [`install_filter`] traps. A supervisor may answer with a descriptor number.
///
/// # Errors
/// The errno that filter or supervisor gives.
pub fn trapped_call() -> Result<i64, Errno> {
    // SAFETY: getppid takes no argument and has no precondition.
    check(unsafe { libc::syscall(libc::SYS_getppid) })
}

/// Supervisor: wait for one notification and answer it with a copy of `gift` as a new descriptor of
/// the caller (`SECCOMP_ADDFD_FLAG_SEND`, Linux 5.14). Returns the number it got there.
///
/// # Errors
/// The kernel's: `ENOENT` when the caller died, `EINVAL` when the flag is unknown.
pub fn answer_with_fd(listener: impl AsFd, gift: impl AsFd) -> Result<i64, Errno> {
    /// Room for a `struct seccomp_notif` that a later kernel has made longer.
    #[repr(C)]
    struct Notification {
        known: libc::seccomp_notif,
        later: [u8; 512],
    }
    let listener = listener.as_fd().as_raw_fd();
    // SAFETY: both fields are plain integers, for which zero is a value; the kernel wants it zeroed.
    let mut notification: Notification = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one `struct seccomp_notif`, for which there is room.
    let received = unsafe {
        libc::ioctl(
            listener,
            libc::SECCOMP_IOCTL_NOTIF_RECV,
            &raw mut notification,
        )
    };
    check(received.into())?;
    let add = libc::seccomp_notif_addfd {
        id: notification.known.id,
        flags: libc::SECCOMP_ADDFD_FLAG_SEND as u32,
        srcfd: gift.as_fd().as_raw_fd().cast_unsigned(),
        newfd: 0,
        newfd_flags: libc::O_CLOEXEC.cast_unsigned(),
    };
    // SAFETY: the kernel reads one `struct seccomp_notif_addfd`.
    let sent = unsafe { libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw const add) };
    check(sent.into())
}
