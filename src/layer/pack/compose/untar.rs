//! `ADD` of a tar: its entries become entries of the layer.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::pread;

use super::super::archive::{Entry, Kind, PAX_MAX, pax_size};
use super::super::{Error, Refusal};
use super::place::Written;
use super::stack::parent;
use super::{Composer, Opening, PATH_MAX};
use crate::layer::name::{clean, join};

/// What stands at the beginning of compressed files that we read.
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// And of those that docker reads, and we do not.
const BZIP2: &[u8] = b"BZh";
const XZ: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];

/// Prefix of an xattr in a PAX header.
const XATTR: &str = "SCHILY.xattr.";

fn head(file: impl AsFd) -> [u8; 512] {
    let mut head = [0; 512];
    // What cannot be read is told when it is copied.
    let _ = pread(file, &mut head[..], 0);
    head
}

fn reader(file: &OwnedFd) -> io::Result<Box<dyn Read>> {
    let head = head(file);
    let file = File::from(file.try_clone()?);
    Ok(match &head[..] {
        h if h.starts_with(GZIP) => Box::new(flate2::read::MultiGzDecoder::new(file)),
        h if h.starts_with(ZSTD) => Box::new(zstd::Decoder::new(file)?),
        _ => Box::new(file),
    })
}

/// Whether `ADD` unpacks a file: a tar, compressed or not. By content, as docker and buildah tell it.
pub(super) fn is_tar(file: &OwnedFd) -> bool {
    let compressed = head(file);
    if compressed.starts_with(BZIP2) || compressed.starts_with(XZ) {
        return true;
    }
    let mut block = [0; 512];
    let read = reader(file).and_then(|mut r| r.read_exact(&mut block));
    // The next reader begins at the beginning, whatever this one has read.
    let rewound = rustix::fs::seek(file, rustix::fs::SeekFrom::Start(0));
    read.is_ok()
        && rewound.is_ok()
        && &block[257..262] == b"ustar"
        && crate::layer::header::checksum_ok(&block)
}

impl<W: Write> Composer<'_, '_, W> {
    /// Its entries below a directory of the layer.
    pub(super) fn unpack(&mut self, file: &Opening, path: &[u8], at: &[u8]) -> Result<(), Error> {
        let compressed = head(&file.fd);
        if compressed.starts_with(BZIP2) || compressed.starts_with(XZ) {
            return Err(Error::refused(path, Refusal::Compression));
        }
        let broken = |_| Error::refused(path, Refusal::Tar);
        let mut tar = tar::Archive::new(reader(&file.fd).map_err(broken)?);
        for entry in tar.entries().map_err(broken)? {
            self.unpacked(&mut entry.map_err(broken)?, path, at)?;
        }
        Ok(())
    }

    fn unpacked<R: Read>(
        &mut self,
        e: &mut tar::Entry<'_, R>,
        path: &[u8],
        at: &[u8],
    ) -> Result<(), Error> {
        let broken = |_| Error::refused(path, Refusal::Tar);
        let refused = |_| Error::refused(path, Refusal::Escapes);
        let mut xattrs = Vec::new();
        let (mut uid, mut gid) = (None, None);
        if let Some(pax) = e.pax_extensions().map_err(broken)? {
            for extension in pax {
                let extension = extension.map_err(broken)?;
                let key = extension
                    .key()
                    .map_err(|_| Error::refused(path, Refusal::Tar))?;
                let value = extension.value_bytes();
                let number = || std::str::from_utf8(value).ok()?.parse::<u32>().ok();
                match key {
                    "uid" => uid = number(),
                    "gid" => gid = number(),
                    key if key.starts_with("GNU.sparse.") => {
                        return Err(Error::refused(path, Refusal::Sparse));
                    }
                    key => {
                        if let Some(name) = key.strip_prefix(XATTR) {
                            xattrs.push((name.as_bytes().to_vec(), value.to_vec()));
                        }
                    }
                }
            }
        }
        if pax_size(&xattrs) > PAX_MAX / 2 {
            return Err(Error::refused(path, Refusal::TooManyXattrs));
        }
        xattrs.sort();
        let header = e.header().clone();
        let name = clean(&e.path_bytes(), PATH_MAX).map_err(refused)?;
        let target = self.real(&join(at, &name))?;
        let link = e
            .link_name_bytes()
            .map(|l| l.into_owned())
            .unwrap_or_default();
        let device = |n: io::Result<Option<u32>>| n.ok().flatten().unwrap_or_default();
        let first;
        let kind = match e.header().entry_type().as_byte() {
            b'0' | b'\0' | b'7' | b'S' => Kind::File(e.size()),
            b'1' => {
                let to = clean(&link, PATH_MAX).map_err(refused)?;
                first = self.real(&join(at, &to))?;
                if self.written.get(&first) != Some(&Written::Other) {
                    return Err(Error::refused(path, Refusal::Tar));
                }
                Kind::HardLink(&first)
            }
            b'2' => Kind::Symlink(&link),
            b'3' => Kind::Char(device(header.device_major()), device(header.device_minor())),
            b'4' => Kind::Block(device(header.device_major()), device(header.device_minor())),
            b'5' => Kind::Dir,
            b'6' => Kind::Fifo,
            // Of the archive, and no file.
            b'g' | b'V' => return Ok(()),
            _ => return Err(Error::refused(path, Refusal::Tar)),
        };
        let number = |n: io::Result<u64>| n.ok().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        // The tar's own, whatever --chown says of files, as docker and buildah have it.
        let owner = (
            uid.unwrap_or_else(|| number(header.uid())),
            gid.unwrap_or_else(|| number(header.gid())),
        );
        let mode = header.mode().map_err(broken)? & 0o7777;
        match kind {
            // The directory into which it goes is there.
            Kind::Dir if name.is_empty() => return Ok(()),
            Kind::Dir => {
                self.list(parent(&target))?;
                self.written.insert(target.clone(), Written::Dir);
            }
            Kind::Symlink(to) => self.begin(&target, Written::Link(to.to_vec()))?,
            _ => self.begin(&target, Written::Other)?,
        }
        let entry = Entry {
            path: &target,
            kind,
            mode,
            uid: owner.0,
            gid: owner.1,
            mtime: self.clamped(header.mtime().map_or(0, |t| i64::try_from(t).unwrap_or(0))),
            xattrs: &xattrs,
        };
        self.archive.entry(&entry).map_err(Error::Output)?;
        let mut buffer = vec![0; 128 << 10];
        while self.archive.left() > 0 {
            match e.read(&mut buffer) {
                Ok(0) => return Err(Error::refused(path, Refusal::Tar)),
                Ok(n) => self.archive.data(&buffer[..n]).map_err(Error::Output)?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(Error::refused(path, Refusal::Tar)),
            }
        }
        Ok(())
    }
}
