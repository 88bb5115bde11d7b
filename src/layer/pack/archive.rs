//! Tar headers and padding: POSIX pax archives as Go's archive/tar writes them for docker, buildah and
//! containerd, so that every builder's reader knows each byte of it.
//!
//! An entry is one ustar header. What does not fit there goes into a PAX header before it: names that
//! are longer than 100 bytes or not ASCII, large numbers, xattrs (`SCHILY.xattr.NAME`). Records are
//! sorted, names of users and groups stay empty, so equal entries are equal bytes.

use std::io::{self, Write};

use tar::Header;

use super::super::stream::{BLOCK, padding};

/// Largest value of a seven- and an eleven-digit octal field.
const OCTAL_7: u64 = 0o7_777_777;
const OCTAL_11: u64 = 0o77_777_777_777;
/// Most bytes of a PAX header: what Go's reader accepts, and [`Limits`](super::super::Limits) by default.
pub(super) const PAX_MAX: usize = 1 << 20;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::layer) enum Kind<'a> {
    /// A file with this many bytes, which follow.
    File(u64),
    /// A file of `real` bytes, of which `stored` follow: a map and what it maps (GNU sparse 1.0).
    Sparse {
        real: u64,
        stored: u64,
    },
    Dir,
    Symlink(&'a [u8]),
    HardLink(&'a [u8]),
    Fifo,
    Char(u32, u32),
    Block(u32, u32),
}

/// Names and values.
pub(in crate::layer) type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// One entry, its data apart. Paths have no leading slash; the root is empty.
#[derive(Clone, Copy, Debug)]
pub(in crate::layer) struct Entry<'a> {
    pub(in crate::layer) path: &'a [u8],
    pub(in crate::layer) kind: Kind<'a>,
    pub(in crate::layer) mode: u32,
    pub(in crate::layer) uid: u32,
    pub(in crate::layer) gid: u32,
    /// Seconds.
    pub(in crate::layer) mtime: i64,
    pub(in crate::layer) xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

/// A tar that is being written.
#[derive(Debug)]
pub(in crate::layer) struct Archive<W> {
    out: W,
    /// Bytes of data that the current entry still needs, and zeros after them.
    left: u64,
    padding: u64,
    pub(in crate::layer) entries: u64,
}

impl<W: Write> Archive<W> {
    pub(in crate::layer) fn new(out: W) -> Self {
        Self {
            out,
            left: 0,
            padding: 0,
            entries: 0,
        }
    }

    /// Begin an entry. The data of the one before is complete.
    pub(in crate::layer) fn entry(&mut self, e: &Entry<'_>) -> io::Result<()> {
        let (header, pax) = headers(e);
        if !pax.is_empty() {
            self.pax(e.path, &pax)?;
        }
        self.out.write_all(header.as_bytes())?;
        self.left = match e.kind {
            Kind::File(size) | Kind::Sparse { stored: size, .. } => size,
            _ => 0,
        };
        self.padding = padding(self.left);
        self.entries += 1;
        Ok(())
    }

    /// The next bytes of the current entry; what is too much for its size is dropped.
    pub(in crate::layer) fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        let n = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        self.out.write_all(&bytes[..n])?;
        self.left -= n as u64;
        if self.left == 0 {
            let zeros = std::mem::take(&mut self.padding);
            self.zeros(zeros)?;
        }
        Ok(())
    }

    /// Bytes that the current entry still needs.
    pub(in crate::layer) fn left(&self) -> u64 {
        self.left
    }

    /// Zeros in place of what the entry still needs.
    pub(in crate::layer) fn fill(&mut self) -> io::Result<()> {
        let zeros = std::mem::take(&mut self.left) + std::mem::take(&mut self.padding);
        self.zeros(zeros)
    }

    /// The two zero blocks at the end.
    pub(in crate::layer) fn finish(mut self) -> io::Result<W> {
        self.zeros(2 * BLOCK as u64)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn zeros(&mut self, n: u64) -> io::Result<()> {
        io::copy(&mut io::Read::take(io::repeat(0), n), &mut self.out).map(drop)
    }

    fn pax(&mut self, path: &[u8], records: &[(Vec<u8>, Vec<u8>)]) -> io::Result<()> {
        let mut data = Vec::new();
        for (key, value) in records {
            record(&mut data, key, value);
        }
        let mut header = Header::new_ustar();
        header.set_entry_type(tar::EntryType::XHeader);
        set_name(&mut header, &prefixed(b"PaxHeaders.0/", path));
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(data.len() as u64);
        header.set_cksum();
        self.out.write_all(header.as_bytes())?;
        self.out.write_all(&data)?;
        self.zeros(padding(data.len() as u64))
    }
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    out.extend_from_slice(format!("{len} ").as_bytes());
    for part in [key, b"=", value, b"\n"] {
        out.extend_from_slice(part);
    }
}

/// Bytes that xattrs take in a PAX header, at most.
pub(super) fn pax_size(xattrs: &[(Vec<u8>, Vec<u8>)]) -> usize {
    let one = |(n, v): &(Vec<u8>, Vec<u8>)| n.len() + v.len() + 32;
    xattrs.iter().map(one).sum()
}

/// The header of an entry, and the records that go before it.
fn headers(e: &Entry<'_>) -> (Header, Xattrs) {
    let mut pax = Xattrs::new();
    let mut header = Header::new_ustar();
    let mut name = if e.path.is_empty() { b"." } else { e.path }.to_vec();
    if e.kind == Kind::Dir {
        name.push(b'/');
    }
    let mut size = 0;
    let (flag, link) = match e.kind {
        Kind::File(n) => {
            size = n;
            (b'0', None)
        }
        Kind::Sparse { real, stored } => {
            size = stored;
            for (key, value) in [("major", "1"), ("minor", "0")] {
                pax.push((format!("GNU.sparse.{key}").into(), value.into()));
            }
            pax.push((b"GNU.sparse.realsize".to_vec(), real.to_string().into()));
            pax.push((b"GNU.sparse.name".to_vec(), name));
            name = prefixed(b"GNUSparseFile.0/", e.path);
            (b'0', None)
        }
        Kind::HardLink(target) => (b'1', Some(target)),
        Kind::Symlink(target) => (b'2', Some(target)),
        Kind::Char(..) => (b'3', None),
        Kind::Block(..) => (b'4', None),
        Kind::Dir => (b'5', None),
        Kind::Fifo => (b'6', None),
    };
    header.set_entry_type(tar::EntryType::new(flag));
    if let Kind::Char(major, minor) | Kind::Block(major, minor) = e.kind
        && let Some(ustar) = header.as_ustar_mut()
    {
        // 20 bits at most, which fit.
        ustar.set_device_major(major);
        ustar.set_device_minor(minor);
    }
    if !set_name(&mut header, &name) {
        pax.push((b"path".to_vec(), name));
    }
    if let Some(link) = link {
        let field = &mut header.as_old_mut().linkname;
        if !set_text(field, link) {
            pax.push((b"linkpath".to_vec(), link.to_vec()));
        }
    }
    header.set_mode(e.mode);
    let mut number = |key: &str, value: u64, max: u64| {
        if value > max {
            pax.push((key.into(), value.to_string().into()));
            return 0;
        }
        value
    };
    header.set_uid(number("uid", u64::from(e.uid), OCTAL_7));
    header.set_gid(number("gid", u64::from(e.gid), OCTAL_7));
    header.set_size(number("size", size, OCTAL_11));
    match u64::try_from(e.mtime) {
        Ok(mtime) => header.set_mtime(number("mtime", mtime, OCTAL_11)),
        Err(_) => pax.push((b"mtime".to_vec(), e.mtime.to_string().into())),
    }
    for (name, value) in e.xattrs {
        pax.push(([b"SCHILY.xattr.", name.as_slice()].concat(), value.clone()));
    }
    pax.sort();
    header.set_cksum();
    (header, pax)
}

/// `prefix` and the last component, for headers whose name nobody uses.
fn prefixed(prefix: &[u8], path: &[u8]) -> Vec<u8> {
    let last = super::super::name::split(path).1;
    [prefix, if last.is_empty() { b"." } else { last }].concat()
}

fn set_name(header: &mut Header, name: &[u8]) -> bool {
    set_text(&mut header.as_old_mut().name, name)
}

/// `false`: it does not fit, or is not ASCII, and what stands there is only a hint for old readers.
fn set_text(field: &mut [u8], text: &[u8]) -> bool {
    let fits = text.len() <= field.len() && text.is_ascii();
    for (to, from) in field.iter_mut().zip(text) {
        *to = if from.is_ascii() { *from } else { b'_' };
    }
    fits
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Entry<'_> = Entry {
        path: b"dir/file",
        kind: Kind::File(3),
        mode: 0o4755,
        uid: 33,
        gid: 65534,
        mtime: 1_000_000_000,
        xattrs: &[],
    };

    fn written(entries: &[Entry<'_>]) -> Vec<u8> {
        let mut archive = Archive::new(Vec::new());
        for e in entries {
            archive.entry(e).unwrap();
            if archive.left() > 0 {
                archive.data(b"abcdef").unwrap();
                archive.fill().unwrap();
            }
        }
        archive.finish().unwrap()
    }

    #[test]
    fn a_plain_file_needs_one_header() {
        let tar = written(&[PLAIN]);
        assert_eq!(tar.len(), 4 * BLOCK);
        let mut archive = tar::Archive::new(&tar[..]);
        let mut entries = archive.entries().unwrap();
        let mut e = entries.next().unwrap().unwrap();
        let h = e.header();
        assert_eq!(h.mode().unwrap(), 0o4755);
        assert_eq!((h.uid().unwrap(), h.gid().unwrap()), (33, 65534));
        assert_eq!(h.mtime().unwrap(), 1_000_000_000);
        assert_eq!(h.username_bytes(), Some(&b""[..]));
        let mut text = String::new();
        io::Read::read_to_string(&mut e, &mut text).unwrap();
        assert_eq!(text, "abc");
        assert!(entries.next().is_none());
    }

    #[test]
    fn what_does_not_fit_goes_before() {
        let long = [b"d/".as_slice(), &[b'x'; 120]].concat();
        let xattrs = [(b"user.x".to_vec(), b"\n\0".to_vec())];
        let entry = Entry {
            path: &long,
            kind: Kind::Symlink("ä".as_bytes()),
            uid: 4_000_000_000,
            mtime: -7,
            xattrs: &xattrs,
            ..PLAIN
        };
        let pax = headers(&entry).1;
        let keys: Vec<_> = pax.iter().map(|(k, _)| k.as_slice()).collect();
        let want: [&[u8]; 5] = [
            b"SCHILY.xattr.user.x",
            b"linkpath",
            b"mtime",
            b"path",
            b"uid",
        ];
        assert_eq!(keys, want);
        assert_eq!(pax[2].1, b"-7");
        let tar = written(&[entry, PLAIN]);
        let mut archive = tar::Archive::new(&tar[..]);
        let mut entries = archive.entries().unwrap();
        let e = entries.next().unwrap().unwrap();
        assert_eq!(&*e.path_bytes(), long);
        assert_eq!(&*e.link_name_bytes().unwrap(), "ä".as_bytes());
        assert_eq!(&*entries.next().unwrap().unwrap().path_bytes(), b"dir/file");
    }

    #[test]
    fn a_record_counts_its_own_length() {
        for n in [0, 1, 89, 90, 91, 92, 990, 991, 992] {
            let mut out = Vec::new();
            record(&mut out, b"k", &vec![b'v'; n]);
            let text = String::from_utf8(out).unwrap();
            let len: usize = text.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(len, text.len(), "{n}");
        }
    }

    #[test]
    fn devices_and_directories() {
        let entry = |kind| Entry { kind, ..PLAIN };
        let tar = written(&[
            entry(Kind::Dir),
            entry(Kind::Block(259, 1_048_575)),
            Entry {
                path: b"",
                ..entry(Kind::Dir)
            },
        ]);
        let mut archive = tar::Archive::new(&tar[..]);
        let all: Vec<_> = archive.entries().unwrap().map(Result::unwrap).collect();
        assert_eq!(&*all[0].path_bytes(), b"dir/file/");
        assert_eq!(&*all[2].path_bytes(), b"./");
        let device = all[1].header();
        assert_eq!(device.entry_type(), tar::EntryType::Block);
        assert_eq!(device.device_major().unwrap(), Some(259));
        assert_eq!(device.device_minor().unwrap(), Some(1_048_575));
    }
}
