//! Copy the content of files by the cheapest means there is: reflink, else in the kernel, else by
//! ourselves; holes stay holes.

use std::os::fd::OwnedFd;

use rustix::fs::{SeekFrom, Stat, copy_file_range, ftruncate, ioctl_ficlone, seek};
use rustix::io::Errno;

/// Bytes at a time where we copy ourselves.
const BUFFER: usize = 256 << 10;

/// The system call that failed, and why.
pub(super) type Failed = (&'static str, Errno);

fn failed(call: &'static str) -> impl FnOnce(Errno) -> Failed {
    move |e| (call, e)
}

/// Which means have not failed yet, all files being on the same two file systems.
pub(super) struct Contents {
    can_clone: bool,
    can_copy_range: bool,
    buffer: Vec<u8>,
}

impl Default for Contents {
    fn default() -> Self {
        Self {
            can_clone: true,
            can_copy_range: true,
            buffer: Vec::new(),
        }
    }
}

impl Contents {
    /// Copy all of `from` into the empty file `to`.
    pub(super) fn copy(&mut self, from: &OwnedFd, to: &OwnedFd, stat: &Stat) -> Result<(), Failed> {
        let size = stat.st_size.cast_unsigned();
        if size == 0 {
            return Ok(());
        }
        if self.can_clone {
            match ioctl_ficlone(to, from) {
                Ok(()) => return Ok(()),
                Err(e @ (Errno::NOSPC | Errno::DQUOT | Errno::IO)) => {
                    return Err(("ioctl FICLONE", e));
                }
                // Not on this file system, or not between these two.
                Err(_) => self.can_clone = false,
            }
        }
        if stat.st_blocks.cast_unsigned() >= size.div_ceil(512) {
            return self.copy_range(from, to, 0, size);
        }
        ftruncate(to, size).map_err(failed("ftruncate"))?;
        let mut at = 0;
        while at < size {
            at = match seek(from, SeekFrom::Data(at)) {
                Ok(at) => at,
                Err(Errno::NXIO) => break,
                // A file system that does not know holes has none.
                Err(_) => return self.copy_range(from, to, at, size),
            };
            let end = seek(from, SeekFrom::Hole(at)).map_err(failed("lseek"))?;
            self.copy_range(from, to, at, end.min(size))?;
            at = end;
        }
        Ok(())
    }

    fn copy_range(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        mut at: u64,
        end: u64,
    ) -> Result<(), Failed> {
        while self.can_copy_range && at < end {
            let len = usize::try_from(end - at).unwrap_or(usize::MAX).min(1 << 30);
            let (mut off_in, mut off_out) = (at, at);
            match copy_file_range(from, Some(&mut off_in), to, Some(&mut off_out), len) {
                // Some file systems answer 0 instead of an error.
                Ok(0) => break,
                Ok(n) => at += n as u64,
                Err(Errno::INTR) => {}
                Err(e @ (Errno::NOSPC | Errno::DQUOT | Errno::IO | Errno::FBIG)) => {
                    return Err(("copy_file_range", e));
                }
                Err(_) => self.can_copy_range = false,
            }
        }
        self.buffer.resize(BUFFER, 0);
        while at < end {
            let want = usize::try_from(end - at).unwrap_or(BUFFER).min(BUFFER);
            let n = match rustix::io::pread(from, &mut self.buffer[..want], at) {
                Ok(0) => break,
                Err(Errno::INTR) => continue,
                result => result.map_err(failed("pread"))?,
            };
            let mut chunk = &self.buffer[..n];
            while !chunk.is_empty() {
                match rustix::io::pwrite(to, chunk, at) {
                    Ok(n) => {
                        chunk = &chunk[n..];
                        at += n as u64;
                    }
                    Err(Errno::INTR) => {}
                    Err(e) => return Err(("pwrite", e)),
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};

    #[test]
    fn every_means_gives_the_same_copy() {
        let tmp = tempfile::tempdir().unwrap();
        let from = tmp.path().join("from");
        let file = File::create_new(&from).unwrap();
        file.set_len(10 << 20).unwrap();
        file.write_all_at(&[7; 300_000], 5_000_000).unwrap();
        let stat = rustix::fs::stat(&from).unwrap();
        for (i, (can_clone, can_copy_range)) in [(true, true), (false, true), (false, false)]
            .into_iter()
            .enumerate()
        {
            let to = tmp.path().join(i.to_string());
            let mut contents = Contents {
                can_clone,
                can_copy_range,
                buffer: Vec::new(),
            };
            let source = File::open(&from).unwrap().into();
            let target = File::create_new(&to).unwrap().into();
            contents.copy(&source, &target, &stat).unwrap();
            assert!(fs::read(&to).unwrap() == fs::read(&from).unwrap());
            assert!(
                fs::metadata(&to).unwrap().blocks() * 512 < 2 << 20,
                "no holes"
            );
        }
    }
}
