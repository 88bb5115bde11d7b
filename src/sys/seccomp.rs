//! Installing a seccomp filter. seccomp(2).

use std::io;

/// One instruction of classic BPF, as the kernel's `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when a comparison holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// Put `filter` on this thread, irrevocably. Needs no_new_privs or CAP_SYS_ADMIN in the user
/// namespace. `flags` are `SECCOMP_FILTER_FLAG_*` bits without `NEW_LISTENER`.
pub fn install(filter: &[Instruction], flags: u64) -> io::Result<()> {
    set_filter(filter, flags).map(drop)
}

/// The call itself; with `NEW_LISTENER` the result is a descriptor.
pub(super) fn set_filter(filter: &[Instruction], flags: u64) -> io::Result<i64> {
    let len = u16::try_from(filter.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog {
        len,
        filter: filter.as_ptr().cast::<libc::sock_filter>().cast_mut(),
    };
    // SAFETY: Instruction has the layout of sock_filter, len is the slice's length, and the kernel
    // copies the program before the call returns.
    let r = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    if r >= 0 {
        Ok(r)
    } else {
        Err(io::Error::last_os_error())
    }
}
