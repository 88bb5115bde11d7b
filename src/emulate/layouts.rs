//! The structures in which stat(2) answers, by architecture, as bytes. Pure. linux/arch/*/include/uapi/
//! asm/stat.h.

use rustix::fs::Statx;
use rustix::io::Errno;

use super::rules::Width;

/// Longest structure.
pub(super) const MAX: usize = 144;

struct Out<'a>(&'a mut [u8; MAX]);

impl Out<'_> {
    fn u16(&mut self, at: usize, v: u64) {
        self.0[at..at + 2].copy_from_slice(&(v as u16).to_ne_bytes());
    }
    fn u32(&mut self, at: usize, v: u64) {
        self.0[at..at + 4].copy_from_slice(&(v as u32).to_ne_bytes());
    }
    fn u64(&mut self, at: usize, v: u64) {
        self.0[at..at + 8].copy_from_slice(&v.to_ne_bytes());
    }
    /// Seconds and nanoseconds of atime, mtime and ctime, one word each.
    fn times(&mut self, at: usize, s: &Statx, wide: bool) {
        let times = [s.stx_atime, s.stx_mtime, s.stx_ctime];
        for (i, t) in times.iter().enumerate() {
            let (sec, nsec) = (t.tv_sec as u64, u64::from(t.tv_nsec));
            if wide {
                self.u64(at + 16 * i, sec);
                self.u64(at + 16 * i + 8, nsec);
            } else {
                self.u32(at + 8 * i, sec);
                self.u32(at + 8 * i + 4, nsec);
            }
        }
    }
}

/// `new_encode_dev`
fn device(major: u32, minor: u32) -> u64 {
    u64::from((minor & 0xff) | (major << 8) | ((minor & !0xff) << 12))
}

/// `old_encode_dev`
fn old_device(major: u32, minor: u32) -> u64 {
    u64::from((major & 0xff) << 8 | (minor & 0xff))
}

fn short_id(id: u32) -> u64 {
    u64::from(super::caller::narrow(id))
}

/// Fill in the structure that a caller expects; how long it is.
///
/// # Errors
/// `EOVERFLOW` when a size does not fit.
pub(super) fn stat(s: &Statx, width: Width, out: &mut [u8; MAX]) -> Result<usize, Errno> {
    *out = [0; MAX];
    let mut o = Out(out);
    let dev = device(s.stx_dev_major, s.stx_dev_minor);
    let rdev = device(s.stx_rdev_major, s.stx_rdev_minor);
    let (uid, gid) = (u64::from(s.stx_uid), u64::from(s.stx_gid));
    let (mode, nlink) = (u64::from(s.stx_mode), u64::from(s.stx_nlink));
    let small = matches!(width, Width::Short | Width::Stat32);
    if small && s.stx_size > i32::MAX as u64 {
        return Err(Errno::OVERFLOW);
    }
    Ok(match width {
        #[cfg(target_arch = "x86_64")]
        Width::Native => {
            o.u64(0, dev);
            o.u64(8, s.stx_ino);
            o.u64(16, nlink);
            o.u32(24, mode);
            o.u32(28, uid);
            o.u32(32, gid);
            o.u64(40, rdev);
            o.u64(48, s.stx_size);
            o.u64(56, s.stx_blksize.into());
            o.u64(64, s.stx_blocks);
            o.times(72, s, true);
            144
        }
        #[cfg(not(target_arch = "x86_64"))]
        Width::Native => {
            o.u64(0, dev);
            o.u64(8, s.stx_ino);
            o.u32(16, mode);
            o.u32(20, nlink);
            o.u32(24, uid);
            o.u32(28, gid);
            o.u64(32, rdev);
            o.u64(48, s.stx_size);
            o.u32(56, s.stx_blksize.into());
            o.u64(64, s.stx_blocks);
            o.times(72, s, true);
            128
        }
        Width::Stat64 => {
            o.u64(0, dev);
            o.u32(12, s.stx_ino);
            o.u32(16, mode);
            o.u32(20, nlink);
            o.u32(24, uid);
            o.u32(28, gid);
            o.u64(32, rdev);
            o.u64(44, s.stx_size);
            o.u32(52, s.stx_blksize.into());
            o.u64(56, s.stx_blocks);
            o.times(64, s, false);
            o.u64(88, s.stx_ino);
            96
        }
        Width::Stat32 => {
            o.u32(0, dev);
            o.u32(4, s.stx_ino);
            o.u16(8, mode);
            o.u16(10, nlink);
            o.u16(12, short_id(s.stx_uid));
            o.u16(14, short_id(s.stx_gid));
            o.u32(16, rdev);
            o.u32(20, s.stx_size);
            o.u32(24, s.stx_blksize.into());
            o.u32(28, s.stx_blocks);
            o.times(32, s, false);
            64
        }
        Width::Short => {
            o.u16(0, old_device(s.stx_dev_major, s.stx_dev_minor));
            o.u16(2, s.stx_ino);
            o.u16(4, mode);
            o.u16(6, nlink);
            o.u16(8, short_id(s.stx_uid));
            o.u16(10, short_id(s.stx_gid));
            o.u16(12, old_device(s.stx_rdev_major, s.stx_rdev_minor));
            o.u32(16, s.stx_size);
            o.u32(20, s.stx_atime.tv_sec as u64);
            o.u32(24, s.stx_mtime.tv_sec as u64);
            o.u32(28, s.stx_ctime.tv_sec as u64);
            32
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{AtFlags, CWD, StatxFlags};

    fn of(path: &str) -> Statx {
        let mask = StatxFlags::BASIC_STATS;
        rustix::fs::statx(CWD, path, AtFlags::empty(), mask).unwrap()
    }

    /// What the C library's structure has, as the kernel fills it, is what we write.
    #[test]
    fn the_native_structure_is_the_kernels() {
        for path in ["/dev/null", "/etc/passwd", "/usr"] {
            let real = rustix::fs::stat(path).unwrap();
            let mut out = [0; MAX];
            let len = stat(&of(path), Width::Native, &mut out).unwrap();
            assert_eq!(len, size_of_val(&real));
            let u64_at = |at: usize| u64::from_ne_bytes(out[at..at + 8].try_into().unwrap());
            let u32_at = |at: usize| u32::from_ne_bytes(out[at..at + 4].try_into().unwrap());
            assert_eq!((u64_at(0), u64_at(8)), (real.st_dev, real.st_ino));
            let (mode, uid, rdev) = if cfg!(target_arch = "x86_64") {
                (24, 28, 40)
            } else {
                (16, 24, 32)
            };
            assert_eq!((u32_at(mode), u32_at(uid)), (real.st_mode, real.st_uid));
            assert_eq!(u64_at(rdev), real.st_rdev);
            assert_eq!(u64_at(48), real.st_size as u64);
            assert_eq!(u64_at(64), real.st_blocks as u64);
            assert_eq!(u64_at(88), real.st_mtime as u64);
            assert_eq!(u64_at(112), real.st_ctime_nsec);
        }
    }

    #[test]
    fn old_structures_of_i386() {
        let mut s = of("/dev/null");
        s.stx_uid = 70_000;
        s.stx_gid = 33;
        let mut out = [0; MAX];
        let u16_at =
            |out: &[u8; MAX], at: usize| u16::from_ne_bytes(out[at..at + 2].try_into().unwrap());
        assert_eq!(stat(&s, Width::Stat32, &mut out), Ok(64));
        assert_eq!((u16_at(&out, 12), u16_at(&out, 14)), (65534, 33));
        assert_eq!(u16_at(&out, 16), 0x103);
        assert_eq!(stat(&s, Width::Short, &mut out), Ok(32));
        assert_eq!((u16_at(&out, 8), u16_at(&out, 12)), (65534, 0x103));
        assert_eq!(stat(&s, Width::Stat64, &mut out), Ok(96));
        assert_eq!(u16_at(&out, 28), 33);
        s.stx_size = 1 << 31;
        assert_eq!(stat(&s, Width::Stat32, &mut out), Err(Errno::OVERFLOW));
        assert!(stat(&s, Width::Stat64, &mut out).is_ok());
    }
}
