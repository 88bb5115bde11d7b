//! What is known of one file. Pure, and without allocation where a supervisor asks at every stat(2).

use std::fmt;

use rustix::fs::Statx;

/// Type of a file as its owner record names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileType {
    /// Regular file.
    File,
    /// Directory.
    Dir,
    /// Symbolic link.
    Symlink,
    /// Named pipe.
    Pipe,
    /// Unix socket.
    Socket,
    /// Character device with major and minor number.
    Char(u32, u32),
    /// Block device with major and minor number.
    Block(u32, u32),
}

/// Owner, permission bits and type of a file as they are in the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// User id in the image.
    pub uid: u32,
    /// Group id in the image.
    pub gid: u32,
    /// Permission bits, 0 to 0o7777, when this was written; the inode's are the true ones.
    pub mode: u32,
    /// Type.
    pub file_type: FileType,
}

/// What a sidecar says about one path or inode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The owner, if it could not be put on the inode.
    pub owner: Option<Owner>,
    /// Names and values of xattrs that are not on the inode.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The directory is not listed in the tar.
    pub implied: bool,
}

/// An inode of a container's upper directory, as seen there: what a rename does not change. Of what takes
/// no user xattrs, an overlay shows the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node {
    /// Inode number.
    pub ino: u64,
    /// Time of birth in nanoseconds since 1970: tells an inode from the one that had its number
    /// before. 0 where the file system has none.
    pub birth: u64,
}

impl Node {
    /// From statx(2) with `STATX_INO | STATX_BTIME`.
    pub fn of(stat: &Statx) -> Self {
        let known = stat.stx_mask & rustix::fs::StatxFlags::BTIME.bits() != 0;
        let secs = u64::try_from(stat.stx_btime.tv_sec).unwrap_or(0);
        let birth = secs
            .wrapping_mul(1_000_000_000)
            .wrapping_add(u64::from(stat.stx_btime.tv_nsec));
        Self {
            ino: stat.stx_ino,
            birth: if known { birth } else { 0 },
        }
    }
}

impl fmt::Display for FileType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("file"),
            Self::Dir => f.write_str("dir"),
            Self::Symlink => f.write_str("symlink"),
            Self::Pipe => f.write_str("pipe"),
            Self::Socket => f.write_str("socket"),
            Self::Char(major, minor) => write!(f, "char-{major}-{minor}"),
            Self::Block(major, minor) => write!(f, "block-{major}-{minor}"),
        }
    }
}

impl FileType {
    /// Parse the form that [`fmt::Display`] writes.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let device = |rest: &[u8]| {
            let dash = rest.iter().position(|b| *b == b'-')?;
            Some((decimal(&rest[..dash])?, decimal(&rest[dash + 1..])?))
        };
        Some(match text {
            b"file" => Self::File,
            b"dir" => Self::Dir,
            b"symlink" => Self::Symlink,
            b"pipe" => Self::Pipe,
            b"socket" => Self::Socket,
            _ => {
                if let Some(rest) = text.strip_prefix(b"char-") {
                    device(rest).map(|(major, minor)| Self::Char(major, minor))?
                } else {
                    device(text.strip_prefix(b"block-")?)
                        .map(|(major, minor)| Self::Block(major, minor))?
                }
            }
        })
    }
}

impl fmt::Display for Owner {
    /// The value of [`XATTR`](super::XATTR).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{:04o}:{}",
            self.uid, self.gid, self.mode, self.file_type
        )
    }
}

impl Owner {
    /// Parse the value of [`XATTR`](super::XATTR). A missing type, as old versions of
    /// containers/storage wrote, counts as `file`.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let mut parts = value.splitn(4, |b| *b == b':');
        Some(Self {
            uid: decimal(parts.next()?)?,
            gid: decimal(parts.next()?)?,
            mode: octal(parts.next()?)?,
            file_type: match parts.next() {
                Some(t) => FileType::parse(t)?,
                None => FileType::File,
            },
        })
    }
}

/// Decimal digits, at least one, no sign.
pub(super) fn decimal(text: &[u8]) -> Option<u32> {
    digits(text, 10)
}

/// Permission bits in octal.
pub(super) fn octal(text: &[u8]) -> Option<u32> {
    digits(text, 8).filter(|mode| *mode <= 0o7777)
}

fn digits(text: &[u8], radix: u32) -> Option<u32> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u32, |n, b| {
        let digit = char::from(*b).to_digit(radix)?;
        n.checked_mul(radix)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_record_round_trip() {
        let owner = Owner {
            uid: 5,
            gid: 60000,
            mode: 0o4755,
            file_type: FileType::Char(1, 3),
        };
        assert_eq!(owner.to_string(), "5:60000:4755:char-1-3");
        assert_eq!(Owner::parse(b"5:60000:4755:char-1-3"), Some(owner));
        let none = Owner {
            mode: 0,
            file_type: FileType::File,
            ..owner
        };
        assert_eq!(none.to_string(), "5:60000:0000:file");
        assert_eq!(Owner::parse(b"5:60000:00"), Some(none));
        let largest = Owner::parse(b"4294967295:0:7777:block-8-1048575");
        assert_eq!(largest.map(|o| o.uid), Some(u32::MAX));
        for bad in [
            &b""[..],
            b"5:6",
            b"5:6:888:file",
            b"-5:6:755:file",
            b"+5:6:755:file",
            b"5::755:file",
            b"4294967296:6:755:file",
            b"5:6:10000:file",
            b"5:6:755:x",
            b"5:6:755:char-1",
            b"5:6:755:char-1-",
            b"5:6:755:file:",
        ] {
            assert_eq!(Owner::parse(bad), None, "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn types_are_written_as_they_are_read() {
        for t in [
            FileType::File,
            FileType::Dir,
            FileType::Symlink,
            FileType::Pipe,
            FileType::Socket,
            FileType::Char(0, 0),
            FileType::Block(4095, 1_048_575),
        ] {
            assert_eq!(FileType::parse(t.to_string().as_bytes()), Some(t));
        }
    }
}
