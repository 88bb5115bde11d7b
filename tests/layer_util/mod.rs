//! Tars built block by block, so that they can be malformed, and a place to unpack them in.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "shared by several tests, not all of which use all of it"
)]

pub(crate) mod pack;
pub(crate) mod recorded;
pub(crate) mod said;

use std::fs::{self, File};
use std::io::{Cursor, Read, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use coracle::layer::{Applied, Error, Limits, apply};
use coracle::owners::Owners;

/// A header block; every field is as raw as the test wants it.
#[derive(Clone)]
pub(crate) struct Header(pub [u8; 512]);

impl Header {
    pub(crate) fn new(flag: u8, name: impl AsRef<[u8]>) -> Self {
        let mut h = Self([0; 512]);
        h.bytes(0, name.as_ref());
        h.0[156] = flag;
        h.bytes(257, b"ustar\x0000");
        let mode = if flag == b'5' { 0o755 } else { 0o644 };
        h.mode(mode).owner(0, 0).size(0).mtime(1_000_000_000)
    }

    pub(crate) fn bytes(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Any field, as it is.
    pub(crate) fn raw(mut self, at: usize, bytes: &[u8]) -> Self {
        self.bytes(at, bytes);
        self
    }

    fn octal(self, at: usize, width: usize, n: u64) -> Self {
        let text = format!("{n:0>width$o}\0", width = width - 1);
        self.raw(at, text.as_bytes())
    }

    pub(crate) fn mode(self, mode: u64) -> Self {
        self.octal(100, 8, mode)
    }

    pub(crate) fn owner(self, uid: u64, gid: u64) -> Self {
        self.octal(108, 8, uid).octal(116, 8, gid)
    }

    pub(crate) fn size(self, size: u64) -> Self {
        self.octal(124, 12, size)
    }

    pub(crate) fn mtime(self, mtime: u64) -> Self {
        self.octal(136, 12, mtime)
    }

    pub(crate) fn link(self, target: impl AsRef<[u8]>) -> Self {
        self.raw(157, target.as_ref())
    }

    pub(crate) fn device(self, major: u64, minor: u64) -> Self {
        self.octal(329, 8, major).octal(337, 8, minor)
    }

    /// GNU magic instead of ustar.
    pub(crate) fn gnu(self) -> Self {
        self.raw(257, b"ustar  \0")
    }

    pub(crate) fn checksummed(mut self) -> Self {
        fix_checksum(&mut self.0);
        self
    }
}

pub(crate) fn fix_checksum(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block[..512].iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// A tar in the making.
#[derive(Clone, Default)]
pub(crate) struct Tar(pub Vec<u8>);

impl Tar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A header and its data, padded; the size field is the test's business.
    pub(crate) fn add(mut self, header: Header, data: &[u8]) -> Self {
        self.0.extend_from_slice(&header.checksummed().0);
        self.data(data)
    }

    pub(crate) fn data(mut self, data: &[u8]) -> Self {
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, name: impl AsRef<[u8]>, data: &[u8]) -> Self {
        self.add(Header::new(b'0', name).size(data.len() as u64), data)
    }

    pub(crate) fn dir(self, name: impl AsRef<[u8]>) -> Self {
        self.add(Header::new(b'5', name), b"")
    }

    pub(crate) fn symlink(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.add(Header::new(b'2', name).link(target), b"")
    }

    pub(crate) fn hard_link(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.add(Header::new(b'1', name).link(target), b"")
    }

    /// A PAX header for the next entry.
    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        self.pax_raw(b'x', &pax_records(records))
    }

    pub(crate) fn pax_raw(self, flag: u8, data: &[u8]) -> Self {
        self.add(Header::new(flag, "pax").size(data.len() as u64), data)
    }

    /// GNU long name (`L`) or long link (`K`).
    pub(crate) fn long(self, flag: u8, name: &[u8]) -> Self {
        let data = [name, b"\0"].concat();
        let header = Header::new(flag, "././@LongLink").gnu();
        self.add(header.size(data.len() as u64), &data)
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

pub(crate) fn pax_records(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let mut len = rest + 1;
        while len != rest + len.to_string().len() {
            len = rest + len.to_string().len();
        }
        out.extend_from_slice(format!("{len} {key}=").as_bytes());
        out.extend_from_slice(value);
        out.push(b'\n');
    }
    out
}

/// A directory to unpack in, with something beside it that must not change.
pub(crate) struct Place {
    pub(crate) tmp: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let tmp = tempfile::tempdir().unwrap();
        fs::create_dir(tmp.path().join("dest")).unwrap();
        fs::create_dir(tmp.path().join("outside")).unwrap();
        fs::write(tmp.path().join("outside/canary"), "alive").unwrap();
        Self { tmp }
    }

    pub(crate) fn outside(&self) -> PathBuf {
        self.tmp.path().join("outside")
    }

    pub(crate) fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        self.tmp.path().join("dest").join(path)
    }

    pub(crate) fn sidecar(&self) -> PathBuf {
        self.tmp.path().join("owners")
    }

    pub(crate) fn owners(&self) -> Owners {
        Owners::read(&self.sidecar()).unwrap()
    }

    /// Unpack, and see to it that nothing but `dest` and the sidecar was touched.
    pub(crate) fn apply(&self, blob: impl Read + Send, limits: &Limits) -> Result<Applied, Error> {
        let dest = File::open(self.tmp.path().join("dest")).unwrap();
        let result = apply(blob, dest.as_fd(), &self.sidecar(), limits);
        self.assert_untouched();
        result
    }

    pub(crate) fn assert_untouched(&self) {
        let names = |path: &Path| {
            let mut names: Vec<_> = fs::read_dir(path)
                .unwrap()
                .map(|e| e.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names.retain(|n| n != "owners");
            names
        };
        assert_eq!(names(self.tmp.path()), ["dest", "outside"]);
        assert_eq!(names(&self.outside()), ["canary"]);
        let canary = self.outside().join("canary");
        assert_eq!(fs::read(&canary).unwrap(), b"alive");
        assert_eq!(
            std::os::unix::fs::MetadataExt::nlink(&fs::metadata(canary).unwrap()),
            1
        );
    }

    pub(crate) fn read(&self, path: impl AsRef<Path>) -> String {
        String::from_utf8(fs::read(self.at(path)).unwrap()).unwrap()
    }

    pub(crate) fn stat(&self, path: impl AsRef<Path>) -> fs::Metadata {
        fs::symlink_metadata(self.at(path)).unwrap()
    }

    pub(crate) fn xattr(&self, path: impl AsRef<Path>, name: &str) -> Option<Vec<u8>> {
        xattr::get(self.at(path), name).unwrap()
    }
}

impl Drop for Place {
    /// Directories of mode 0 would stop tempfile's own removal.
    fn drop(&mut self) {
        let tmp = File::open(self.tmp.path()).unwrap();
        let _ = coracle::layer::remove_tree(tmp.as_fd(), "dest".as_ref());
    }
}

/// Unpack a blob with default limits into a new place.
pub(crate) fn unpack(blob: Vec<u8>) -> (Place, Result<Applied, Error>) {
    let place = Place::new();
    let result = place.apply(Cursor::new(blob), &Limits::default());
    (place, result)
}

/// Unpack what must succeed.
#[track_caller]
pub(crate) fn unpacked(blob: Vec<u8>) -> Place {
    let (place, result) = unpack(blob);
    result.unwrap();
    place
}

pub(crate) fn gzip(data: &[u8]) -> Vec<u8> {
    let mut z = flate2::read::GzEncoder::new(data, flate2::Compression::fast());
    let mut out = Vec::new();
    z.read_to_end(&mut out).unwrap();
    out
}

pub(crate) fn zstd(data: &[u8]) -> Vec<u8> {
    let mut z = zstd::Encoder::new(Vec::new(), 1).unwrap();
    z.include_checksum(true).unwrap();
    z.write_all(data).unwrap();
    z.finish().unwrap()
}
