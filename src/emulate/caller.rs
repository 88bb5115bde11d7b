//! The process that waits for an answer: its arguments, memory, credentials, descriptors.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::World;
use super::creds::Cred;
use super::rules::Call;
use crate::sys::notify::Notification;
use crate::sys::{notify, peer};

/// Longest path with its NUL, as the kernel's.
pub(super) const PATH_MAX: usize = 4096;

/// A path of the caller's, copied.
pub(super) struct PathBuffer {
    bytes: [u8; PATH_MAX],
    len: usize,
}

impl PathBuffer {
    pub(super) fn new() -> Self {
        Self {
            bytes: [0; PATH_MAX],
            len: 0,
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    pub(super) fn as_cstr(&self) -> &CStr {
        CStr::from_bytes_with_nul(&self.bytes[..=self.len]).unwrap_or(c"")
    }
}

/// One call of one process.
pub(super) struct Caller<'a> {
    pub(super) world: &'a World,
    pub(super) listener: BorrowedFd<'a>,
    pub(super) notification: &'a Notification,
    pub(super) call: Call,
}

impl Caller<'_> {
    pub(super) fn pid(&self) -> i32 {
        self.notification.pid
    }

    /// An argument as a pointer or a 64-bit number. Of a 32-bit caller, only what the kernel looks at: by
    /// `int $0x80` a program of 64 bits can have anything in the upper half.
    pub(super) fn arg(&self, index: usize) -> u64 {
        match self.notification.args[index] {
            arg if self.call.compat => arg & u64::from(u32::MAX),
            arg => arg,
        }
    }

    /// An argument as an `int`.
    pub(super) fn int(&self, index: usize) -> i32 {
        self.notification.args[index] as u32 as i32
    }

    /// An argument as an unsigned 32-bit number.
    pub(super) fn word(&self, index: usize) -> u32 {
        self.notification.args[index] as u32
    }

    pub(super) fn set_cred(&self, cred: Cred) -> Result<(), Errno> {
        self.world.creds.set(self.pid(), cred)
    }

    /// Whether it still waits. To be asked after the last look at what its number stands for and before
    /// anything is done: a number may have passed to another process.
    pub(super) fn still_waits(&self) -> Result<(), Errno> {
        if notify::is_valid(self.listener, self.notification.id) {
            Ok(())
        } else {
            Err(Errno::SRCH)
        }
    }

    /// A path argument.
    pub(super) fn path(&self, index: usize, into: &mut PathBuffer) -> Result<(), Errno> {
        self.string(self.arg(index), into)
    }

    /// A string of its memory, with the limit of a path.
    pub(super) fn string(&self, address: u64, into: &mut PathBuffer) -> Result<(), Errno> {
        // Most paths are short, and copying is what costs.
        const FIRST: usize = 192;
        let mut done = 0;
        while done < PATH_MAX {
            let want = if done == 0 { FIRST } else { PATH_MAX - done };
            let at = address.wrapping_add(done as u64);
            let n = peer::read(self.pid(), at, &mut into.bytes[done..done + want])?;
            if n == 0 {
                return Err(Errno::FAULT);
            }
            if let Some(end) = into.bytes[done..done + n].iter().position(|b| *b == 0) {
                into.len = done + end;
                return Ok(());
            }
            done += n;
        }
        Err(Errno::NAMETOOLONG)
    }

    pub(super) fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Errno> {
        peer::read_exact(self.pid(), address, into)
    }

    pub(super) fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        peer::write(self.pid(), address, bytes)
    }

    /// Ids of an array in its memory, 16 or 32 bits wide.
    pub(super) fn read_ids(
        &self,
        address: u64,
        count: usize,
        short: bool,
    ) -> Result<Vec<u32>, Errno> {
        let width = if short { 2 } else { 4 };
        let mut bytes = vec![0; count * width];
        self.read(address, &mut bytes)?;
        Ok(bytes
            .chunks_exact(width)
            .map(|c| match *c {
                [a, b] => widen(u16::from_ne_bytes([a, b])),
                [a, b, c, d] => u32::from_ne_bytes([a, b, c, d]),
                _ => 0,
            })
            .collect())
    }

    pub(super) fn write_ids(&self, address: u64, ids: &[u32], short: bool) -> Result<(), Errno> {
        let bytes: Vec<u8> = if short {
            ids.iter()
                .flat_map(|id| narrow(*id).to_ne_bytes())
                .collect()
        } else {
            ids.iter().flat_map(|id| id.to_ne_bytes()).collect()
        };
        self.write(address, &bytes)
    }

    /// The value of `field:` in its /proc/PID/status.
    pub(super) fn status(&self, pid: i32, field: &str) -> Result<String, Errno> {
        let mut path = [0u8; 32];
        let path = decimal_path(&mut path, pid, b"/status");
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.world.proc, path, flags, Mode::empty())?;
        let mut text = [0u8; 4096];
        let n = rustix::io::read(&fd, &mut text)?;
        let text = String::from_utf8_lossy(&text[..n]);
        text.lines()
            .find_map(|l| Some(l.strip_prefix(field)?.strip_prefix(':')?.trim().to_owned()))
            .ok_or(Errno::NODATA)
    }

    /// Its mask for the modes of new files.
    pub(super) fn umask(&self) -> Result<u32, Errno> {
        let text = self.status(self.pid(), "Umask")?;
        u32::from_str_radix(&text, 8).map_err(|_| Errno::INVAL)
    }
}

/// `-1` of 16 bits is "leave it", as everywhere.
pub(super) fn widen(id: u16) -> u32 {
    if id == u16::MAX {
        u32::MAX
    } else {
        u32::from(id)
    }
}

/// An id that does not fit is the overflow id, as the kernel has it.
pub(super) fn narrow(id: u32) -> u16 {
    u16::try_from(id).unwrap_or(65534)
}

/// `PID` and `rest` as a path below /proc, without allocating.
pub(super) fn decimal_path<'a>(buffer: &'a mut [u8], pid: i32, rest: &[u8]) -> &'a CStr {
    let mut digits = [0u8; 10];
    let digits = decimal(pid.unsigned_abs(), &mut digits);
    let len = digits.len() + rest.len();
    if len >= buffer.len() {
        return c"";
    }
    buffer[..digits.len()].copy_from_slice(digits);
    buffer[digits.len()..len].copy_from_slice(rest);
    buffer[len] = 0;
    CStr::from_bytes_with_nul(&buffer[..=len]).unwrap_or(c"")
}

/// A number in decimal.
pub(super) fn decimal(mut n: u32, buffer: &mut [u8; 10]) -> &[u8] {
    let mut at = buffer.len();
    loop {
        at -= 1;
        buffer[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            return &buffer[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_paths() {
        let mut b = [0; 32];
        assert_eq!(decimal_path(&mut b, 1207, b"/cwd"), c"1207/cwd");
        assert_eq!(decimal_path(&mut b, i32::MAX, b""), c"2147483647");
        assert_eq!(decimal_path(&mut b[..4], 1207, b""), c"");
        assert_eq!(decimal(0, &mut [0; 10]), b"0");
        assert_eq!(decimal(u32::MAX, &mut [0; 10]), b"4294967295");
    }

    #[test]
    fn ids_of_sixteen_bits() {
        assert_eq!(
            (widen(5), widen(65534), widen(u16::MAX)),
            (5, 65534, u32::MAX)
        );
        assert_eq!(
            (narrow(5), narrow(65536), narrow(u32::MAX)),
            (5, 65534, 65534)
        );
    }
}
