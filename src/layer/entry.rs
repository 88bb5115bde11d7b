//! The entries of a tar: header blocks, long names and PAX headers put together.
//!
//! Written for hostile input: every header is bounded, every number checked. Where implementations
//! differ we follow Go's archive/tar, with which images are built: links, directories, fifos and
//! devices have no data whatever their size field says, and PAX wins over GNU long names. Global PAX
//! headers count for owner and mtime (POSIX); other records in them are ignored.

use rustix::fs::Timespec;
use tar::Header;

use super::header::{checksum_ok, decimal, number, pax_time};
use super::name::path_buf;
use super::stream::{BLOCK, Tar, padding};
use super::{Error, Limits, pax, recipe, sparse};

/// Most xattrs of one entry. Real ones have a handful; a megabyte of header could hold 50,000, and
/// each is compared with all before it.
const XATTRS_MAX: usize = 256;

/// The kernel's limits (xattr(7)).
const XATTR_NAME_MAX: usize = 255;
const XATTR_VALUE_MAX: usize = 64 << 10;

/// What an entry is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File(Option<sparse::Map>),
    Dir,
    Symlink,
    HardLink,
    Fifo,
    Char(u32, u32),
    Block(u32, u32),
}

/// One entry. Names are as they stand in the tar.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) kind: Kind,
    /// Permission bits, 0 to 0o7777.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Timespec,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What PAX headers and long-name headers say about the next entry.
#[derive(Default)]
pub(super) struct Extra {
    pub(super) long_name: Option<Vec<u8>>,
    pub(super) long_link: Option<Vec<u8>>,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    owner: Owner,
    sparse: sparse::Pax,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Of the last access and change. Nothing here goes by them, other readers may.
    other_times: [Option<Timespec>; 2],
}

/// All of that together.
pub(super) struct Fields {
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    /// As it stands there; the upper bits repeat the type in some tars.
    pub(super) mode: i64,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Timespec,
    /// Not more than an `i64` holds.
    pub(super) size: u64,
    pub(super) sparse: sparse::Pax,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) other_times: [Option<Timespec>; 2],
}

/// The part of a PAX header that may also be global.
#[derive(Clone, Copy, Default)]
pub(super) struct Owner {
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<Timespec>,
}

/// Reads entries one after the other.
pub(super) struct Entries<'a> {
    tar: &'a mut Tar,
    limits: &'a Limits,
    global: Owner,
    /// Bytes of the current entry's data that nobody has read yet, and padding after them.
    left: u64,
    padding: u64,
    /// That data is a file's, and not of a header that describes the next entry.
    in_file: bool,
    headers: u64,
}

impl<'a> Entries<'a> {
    pub(super) fn new(tar: &'a mut Tar, limits: &'a Limits) -> Self {
        Self {
            tar,
            limits,
            global: Owner::default(),
            left: 0,
            padding: 0,
            in_file: false,
            headers: 0,
        }
    }

    /// Stored bytes of the current entry that have not been read.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// At most `max` bytes of the current entry's data, at least one; `max` is not 0 and not more
    /// than [`Entries::left`]. The recipe knows where the caller puts them.
    pub(super) fn data(&mut self, max: u64) -> Result<&[u8], Error> {
        let chunk = self.tar.content(max.min(self.left))?;
        self.left -= chunk.len() as u64;
        Ok(chunk)
    }

    /// What is recorded of the tar, if anything is.
    pub(super) fn recipe(&mut self) -> Option<&mut recipe::Writer> {
        self.tar.recipe.as_mut()
    }

    /// The next entry; `None` after the last.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, Error> {
        let mut extra = Extra::default();
        loop {
            self.tar.skip(self.left)?;
            // `umoci insert` writes nothing behind the last file's content, and Go's reader accepts that.
            if self.in_file && self.padding > 0 && self.tar.is_at_end()? {
                return Ok(None);
            }
            self.tar.skip(self.padding)?;
            (self.left, self.padding, self.in_file) = (0, 0, false);
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            self.headers += 1;
            if self.headers > self.limits.max_entries {
                return Err(Error::TooManyEntries(self.limits.max_entries));
            }
            match header.as_old().linkflag[0] {
                b'L' => extra.long_name = Some(self.long_name(&header)?),
                b'K' => extra.long_link = Some(self.long_name(&header)?),
                b'x' => {
                    let data = self.payload(&header, self.limits.max_pax)?;
                    let offset = self.tar.offset();
                    extra
                        .take(&data)
                        .map_err(|what| Error::Pax { offset, what })?;
                }
                b'g' => {
                    let data = self.payload(&header, self.limits.max_pax)?;
                    let offset = self.tar.offset();
                    self.global
                        .take(&data)
                        .map_err(|what| Error::Pax { offset, what })?;
                }
                flag => return self.entry(&header, flag, extra).map(Some),
            }
        }
    }

    /// The next header block, checked; `None` at the end of the archive.
    fn header(&mut self) -> Result<Option<Header>, Error> {
        let Some(block) = self.tar.block()? else {
            return Ok(None);
        };
        if block.iter().all(|b| *b == 0) {
            // Two zero blocks are the end; some writers leave one or both out.
            return match self.tar.block()? {
                Some(block) if block.iter().any(|b| *b != 0) => {
                    Err(Error::StrayZeroBlock(self.tar.offset()))
                }
                _ => Ok(None),
            };
        }
        if !checksum_ok(block) {
            return Err(Error::Checksum(self.tar.offset() - BLOCK as u64));
        }
        Ok(Some(Header::from_byte_slice(block).clone()))
    }

    /// Data of a header that describes the next entry.
    fn payload(&mut self, header: &Header, max: usize) -> Result<Vec<u8>, Error> {
        let size = size_field(header)?;
        if size > max as u64 {
            return Err(Error::HeaderTooLarge(max));
        }
        // Not reserved in advance: the data may turn out to be shorter than it says.
        let mut data = Vec::new();
        self.tar.read(size, &mut data)?;
        self.padding = padding(size);
        Ok(data)
    }

    /// GNU long name: the data up to the first NUL.
    fn long_name(&mut self, header: &Header) -> Result<Vec<u8>, Error> {
        let mut name = self.payload(header, self.limits.max_path.saturating_add(BLOCK))?;
        if let Some(end) = name.iter().position(|b| *b == 0) {
            name.truncate(end);
        }
        Ok(name)
    }

    fn entry(&mut self, header: &Header, flag: u8, extra: Extra) -> Result<Entry, Error> {
        let fields = extra.fields(header, self.global)?;
        let path = fields.path;
        let bad = |field| Error::Number {
            path: path_buf(&path),
            field,
        };
        let device = || device(header).map_err(bad);
        let size = fields.size;
        let kind = match flag {
            // Before POSIX a directory was a file whose name ends in a slash.
            0 if path.ends_with(b"/") => Kind::Dir,
            0 | b'0' | b'7' | b'S' => {
                self.left = size;
                self.padding = padding(size);
                self.in_file = true;
                let map = match flag {
                    b'S' => Some(self.old_sparse(header, size)),
                    _ if fields.sparse.is_sparse() => Some(self.pax_sparse(&fields.sparse, size)),
                    _ => None,
                };
                Kind::File(map.transpose().map_err(|e| match e {
                    sparse::Bad::Stream(e) => e,
                    sparse::Bad::TooLong => Error::HeaderTooLarge(self.limits.max_pax),
                    sparse::Bad::Map(what) => Error::Sparse {
                        path: path_buf(&path),
                        what,
                    },
                })?)
            }
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' => device().map(|(major, minor)| Kind::Char(major, minor))?,
            b'4' => device().map(|(major, minor)| Kind::Block(major, minor))?,
            b'5' => Kind::Dir,
            b'6' => Kind::Fifo,
            flag => {
                return Err(Error::UnknownType {
                    path: path_buf(&path),
                    flag,
                });
            }
        };
        Ok(Entry {
            kind,
            // The upper bits repeat the type in some tars.
            mode: (fields.mode & 0o7777) as u32,
            uid: fields.uid,
            gid: fields.gid,
            mtime: fields.mtime,
            xattrs: fields.xattrs,
            path,
            link: fields.link,
        })
    }

    /// Numbers of a sparse map that fit in the memory allowed.
    fn max_numbers(&self) -> usize {
        self.limits.max_pax / size_of::<u64>()
    }

    fn old_sparse(&mut self, header: &Header, size: u64) -> Result<sparse::Map, sparse::Bad> {
        let gnu = header.as_gnu().ok_or(sparse::Bad::Map("no GNU header"))?;
        let real = number(&gnu.realsize).and_then(|n| u64::try_from(n).ok());
        let real = real.ok_or(sparse::Bad::Map("malformed size"))?;
        let max = self.max_numbers();
        let numbers = sparse::read_old_gnu(gnu, self.tar, max)?;
        sparse::check(&numbers, real, size)
    }

    fn pax_sparse(&mut self, pax: &sparse::Pax, size: u64) -> Result<sparse::Map, sparse::Bad> {
        let real = pax.real_size.ok_or(sparse::Bad::Map("no size"))?;
        if pax.map_in_data()? {
            let max = self.max_numbers();
            let (numbers, taken) = sparse::read_pax_1_0(self.tar, size, max)?;
            self.left -= taken;
            sparse::check(&numbers, real, size - taken)
        } else {
            sparse::check(&pax.numbers, real, size)
        }
    }

    /// Read the stream to its end, and complete its recipe. Also says whether there is one.
    pub(super) fn finish(&mut self) -> Result<(crate::oci::Digest, u64, bool), Error> {
        let (diff_id, bytes) = self.tar.finish()?;
        let recorded = self.tar.recipe.take().map(recipe::Writer::finish);
        Ok((diff_id, bytes, recorded.transpose()?.unwrap_or(false)))
    }
}

fn time(value: &[u8]) -> Option<Timespec> {
    let (tv_sec, tv_nsec) = pax_time(value)?;
    Some(Timespec { tv_sec, tv_nsec })
}

pub(super) fn size_field(header: &Header) -> Result<u64, Error> {
    let n = number(&header.as_old().size).and_then(|n| u64::try_from(n).ok());
    n.ok_or_else(|| Error::Number {
        path: path_buf(&header.path_bytes()),
        field: "size",
    })
}

/// Numbers of a device; the error is the name of a field.
pub(super) fn device(header: &Header) -> Result<(u32, u32), &'static str> {
    let (major, minor) = match (header.as_ustar(), header.as_gnu()) {
        (Some(u), _) => (&u.dev_major, &u.dev_minor),
        (_, Some(g)) => (&g.dev_major, &g.dev_minor),
        _ => return Err("device number"),
    };
    let uint = |field: &[u8]| number(field).and_then(|n| u32::try_from(n).ok());
    let major = uint(major).ok_or("major number")?;
    Ok((major, uint(minor).ok_or("minor number")?))
}

impl Owner {
    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<bool, &'static str> {
        let id = || decimal(value).and_then(|n| u32::try_from(n).ok());
        match key {
            b"uid" => self.uid = Some(id().ok_or("malformed uid")?),
            b"gid" => self.gid = Some(id().ok_or("malformed gid")?),
            b"mtime" => {
                self.mtime = Some(time(value).ok_or("malformed mtime")?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Take the records of a global header.
    pub(super) fn take(&mut self, data: &[u8]) -> Result<(), &'static str> {
        for record in pax::records(data) {
            let (key, value) = record?;
            self.record(key, value)?;
        }
        Ok(())
    }
}

impl Extra {
    /// What a header and those before it say of an entry, whatever it is.
    pub(super) fn fields(self, header: &Header, global: Owner) -> Result<Fields, Error> {
        let old = header.as_old();
        let path = (self.path)
            .or(self.long_name)
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let link = (self.link).or(self.long_link).unwrap_or_else(|| {
            let end = old.linkname.iter().position(|b| *b == 0);
            old.linkname[..end.unwrap_or(old.linkname.len())].to_vec()
        });
        let bad = |field| Error::Number {
            path: path_buf(&path),
            field,
        };
        let id = |pax: Option<u32>, global: Option<u32>, field: &[u8], name| {
            let n = match pax.or(global) {
                Some(n) => Some(n),
                None => number(field).and_then(|n| u32::try_from(n).ok()),
            };
            // The all-ones id means "no id" to the kernel.
            n.filter(|n| *n != u32::MAX).ok_or_else(|| bad(name))
        };
        let uid = id(self.owner.uid, global.uid, &old.uid, "uid")?;
        let gid = id(self.owner.gid, global.gid, &old.gid, "gid")?;
        let mode = number(&old.mode).ok_or_else(|| bad("mode"))?;
        let mtime = match self.owner.mtime.or(global.mtime) {
            Some(t) => t,
            None => Timespec {
                tv_sec: number(&old.mtime).ok_or_else(|| bad("mtime"))?,
                tv_nsec: 0,
            },
        };
        let size = match self.size {
            Some(n) => n,
            None => size_field(header)?,
        };
        if i64::try_from(size).is_err() {
            return Err(bad("size"));
        }
        Ok(Fields {
            path,
            link,
            mode,
            uid,
            gid,
            mtime,
            size,
            sparse: self.sparse,
            xattrs: self.xattrs,
            other_times: self.other_times,
        })
    }

    /// Take the records of a header for the next entry.
    pub(super) fn take(&mut self, data: &[u8]) -> Result<(), &'static str> {
        // A second header replaces the first, as in every reader we know.
        *self = Self {
            long_name: self.long_name.take(),
            long_link: self.long_link.take(),
            ..Self::default()
        };
        let mut sparse_name = None;
        for record in pax::records(data) {
            let (key, value) = record?;
            if self.owner.record(key, value)? {
                continue;
            }
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"atime" => self.other_times[0] = time(value),
                b"ctime" => self.other_times[1] = time(value),
                b"size" => self.size = Some(decimal(value).ok_or("malformed size")?),
                b"GNU.sparse.name" => sparse_name = Some(value.to_vec()),
                _ => {
                    if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                        self.sparse.record(key, value)?;
                    } else if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                        self.xattr(name, value.to_vec())?;
                    } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
                        let value = pax::base64_decode(value).ok_or("malformed base64 xattr")?;
                        self.xattr(&pax::percent_decode(name), value)?;
                    }
                }
            }
        }
        self.path = sparse_name.or(self.path.take());
        Ok(())
    }

    /// The last of several values counts (libarchive writes each xattr in both forms).
    fn xattr(&mut self, name: &[u8], value: Vec<u8>) -> Result<(), &'static str> {
        if name.is_empty() || name.len() > XATTR_NAME_MAX || name.contains(&0) {
            return Err("malformed xattr name");
        }
        if value.len() > XATTR_VALUE_MAX {
            return Err("xattr value is too large");
        }
        if let Some((_, old)) = self.xattrs.iter_mut().find(|(n, _)| n == name) {
            *old = value;
        } else if self.xattrs.len() == XATTRS_MAX {
            return Err("too many xattrs");
        } else {
            self.xattrs.push((name.to_vec(), value));
        }
        Ok(())
    }
}
