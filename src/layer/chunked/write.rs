//! A tar to zstd:chunked: see [`super`] for the form.
//!
//! One frame for each file, and one for all that is between two; so the same file is the same bytes in every layer, and
//! the same tar the same blob. A tar that has something for which the table has no words (sparse files, names
//! that are not UTF-8) becomes a stream without a table, which is still one that every reader takes.

use std::collections::BTreeMap;
use std::io::{self, Write};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use crc::{CRC_64_GO_ISO, Crc, Table};
use rustix::fs::Timespec;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use zstd::stream::raw::{Encoder, InBuffer, Operation as _, OutBuffer};

use super::scan::{Entry, Scan, Unfit};
use super::{SPLIT_POSITION, TOC_DIGEST, TOC_POSITION, TOC_TYPE, split};
use crate::layer::entry::device;
use crate::layer::header::number;
use crate::oci::Digest;

/// What is between two contents is cut into frames of this size, should it be longer.
const BETWEEN_MAX: usize = 1 << 20;
const OUTPUT: usize = 128 << 10;
/// For the table and the tar-split.
const LEVEL: i32 = 9;

/// RFC 8878, 3.1.2: a frame to be passed over.
const SKIPPABLE: [u8; 4] = [0x50, 0x2a, 0x4d, 0x18];
/// Its header: this and the length.
const SKIPPABLE_HEADER: u64 = 8;
/// The end of the footer.
const MAGIC: &[u8; 8] = b"GNUlInUx";

/// As Go's `crc64.ISO`, with which tar-split marks contents.
static CRC: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_GO_ISO);

/// What the manifest says of a layer, by name.
pub type Annotations = BTreeMap<String, String>;

/// Takes a tar, and writes the blob to `out`.
pub struct Writer<W> {
    out: W,
    /// Bytes written.
    at: u64,
    zstd: Encoder<'static>,
    buffer: Vec<u8>,
    /// What was between two contents, and is in no frame yet.
    between: Vec<u8>,
    file: Option<Content>,
    /// `None` once the tar has turned out to be one without a table.
    tables: Option<Box<Tables>>,
}

/// A file whose frame has begun.
struct Content {
    left: u64,
    from: u64,
    hash: Sha256,
    crc: crc::Digest<'static, u64, Table<16>>,
}

struct Tables {
    scan: Scan,
    toc: Json,
    split: split::Writer,
    /// Bytes of the tar since the last content or entry.
    segment: Vec<u8>,
    entry: Option<Listed>,
    entries: u64,
}

impl<W: Write> Writer<W> {
    /// Levels are those of zstd.
    pub fn new(out: W, level: i32) -> io::Result<Self> {
        let mut toc = Json::new()?;
        toc.text(r#"{"version":1,"entries":["#)?;
        Ok(Self {
            out,
            at: 0,
            zstd: Encoder::new(level)?,
            buffer: vec![0; OUTPUT],
            between: Vec::new(),
            file: None,
            tables: Some(Box::new(Tables {
                scan: Scan::new(),
                toc,
                split: split::Writer::new()?,
                segment: Vec::new(),
                entry: None,
                entries: 0,
            })),
        })
    }

    /// The tar is complete. Also what the manifest is to say of it; `None` if the tar has no table.
    pub fn finish(mut self) -> io::Result<(W, Option<Annotations>)> {
        if self.file.is_some() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.frame_between()?;
        let Some(tables) = self.tables.take() else {
            return Ok((self.out, None));
        };
        let Tables {
            mut toc,
            mut split,
            segment,
            ..
        } = *tables;
        split.segment(&segment)?;
        let (split, split_plain) = split.finish()?;
        toc.text(&format!(r#"],"tarSplitDigest":"{}"}}"#, Digest::of(&split)))?;
        let (toc, toc_plain) = toc.finish()?;
        let toc_at = self.at + SKIPPABLE_HEADER;
        self.skippable(&toc)?;
        let split_at = self.at + SKIPPABLE_HEADER;
        self.skippable(&split)?;
        let mut footer = Vec::new();
        let (toc_len, split_len) = (toc.len() as u64, split.len() as u64);
        for n in [
            toc_at,
            toc_len,
            toc_plain,
            TOC_TYPE,
            split_at,
            split_len,
            split_plain,
        ] {
            footer.extend_from_slice(&n.to_le_bytes());
        }
        footer.extend_from_slice(MAGIC);
        self.skippable(&footer)?;
        let annotations = [
            (TOC_DIGEST, Digest::of(&toc).to_string()),
            (
                TOC_POSITION,
                format!("{toc_at}:{toc_len}:{toc_plain}:{TOC_TYPE}"),
            ),
            (
                SPLIT_POSITION,
                format!("{split_at}:{split_len}:{split_plain}"),
            ),
        ];
        let annotations = annotations.map(|(key, value)| (key.to_owned(), value));
        Ok((self.out, Some(annotations.into())))
    }

    fn put(&mut self, n: usize) -> io::Result<()> {
        self.out.write_all(&self.buffer[..n])?;
        self.at += n as u64;
        Ok(())
    }

    /// A frame of this many bytes begins.
    fn begin(&mut self, size: u64) -> io::Result<()> {
        self.zstd.reinit()?;
        self.zstd.set_pledged_src_size(Some(size))
    }

    fn compress(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut input = InBuffer::around(bytes);
        while input.pos() < bytes.len() {
            let mut output = OutBuffer::around(&mut self.buffer[..]);
            self.zstd.run(&mut input, &mut output)?;
            let n = output.pos();
            self.put(n)?;
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        loop {
            let mut output = OutBuffer::around(&mut self.buffer[..]);
            let left = self.zstd.finish(&mut output, true)?;
            let n = output.pos();
            self.put(n)?;
            if left == 0 {
                return Ok(());
            }
        }
    }

    /// A frame for what was between two contents.
    fn frame_between(&mut self) -> io::Result<()> {
        let between = std::mem::take(&mut self.between);
        if !between.is_empty() {
            self.begin(between.len() as u64)?;
            self.compress(&between)?;
            self.end()?;
            self.between = between;
            self.between.clear();
        }
        Ok(())
    }

    fn between(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.between.extend_from_slice(bytes);
        match self.between.len() < BETWEEN_MAX {
            true => Ok(()),
            false => self.frame_between(),
        }
    }

    fn skippable(&mut self, bytes: &[u8]) -> io::Result<()> {
        // What is as long as that comes from no tar that anybody could read.
        let len = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        for part in [&SKIPPABLE[..], &len.to_le_bytes(), bytes] {
            self.out.write_all(part)?;
            self.at += part.len() as u64;
        }
        Ok(())
    }

    fn content(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(mut file) = self.file.take() else {
            return self.between(bytes);
        };
        file.hash.update(bytes);
        file.crc.update(bytes);
        file.left -= bytes.len() as u64;
        self.compress(bytes)?;
        if file.left > 0 {
            self.file = Some(file);
            return Ok(());
        }
        self.end()?;
        let to = self.at;
        if let Some(tables) = &mut self.tables {
            tables.list(file.from..to, Some((file.hash, file.crc)))?;
        }
        Ok(())
    }

    /// An entry begins; its headers are in `between`.
    fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        let Some(tables) = &mut self.tables else {
            return Ok(());
        };
        let listed = match Listed::of(entry) {
            Ok(listed) => listed,
            Err(why) => {
                self.unfit(why);
                return Ok(());
            }
        };
        let segment = std::mem::take(&mut tables.segment);
        tables.split.segment(&segment)?;
        tables.entry = Some(listed);
        if entry.content == 0 {
            return tables.list(0..0, None);
        }
        self.frame_between()?;
        self.begin(entry.content)?;
        self.file = Some(Content {
            left: entry.content,
            from: self.at,
            hash: Sha256::new(),
            crc: CRC.digest(),
        });
        Ok(())
    }

    fn unfit(&mut self, why: Unfit) {
        log::debug!("the layer gets no table of contents: it has {}", why.0);
        self.tables = None;
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tables) = &mut self.tables else {
            self.between(bytes)?;
            return Ok(bytes.len());
        };
        if bytes.is_empty() {
            return Ok(0);
        }
        let step = match tables.scan.step(bytes) {
            Ok(step) => step,
            Err(why) => {
                self.unfit(why);
                return self.write(bytes);
            }
        };
        let bytes = &bytes[..step.len];
        if step.content {
            self.content(bytes)?;
            return Ok(step.len);
        }
        tables.segment.extend_from_slice(bytes);
        if tables.segment.len() > split::SEGMENT_MAX {
            // Only what follows the archive is as long as that.
            let segment = std::mem::take(&mut tables.segment);
            tables.split.segment(&segment)?;
        }
        self.between(bytes)?;
        if let Some(entry) = step.entry {
            self.entry(&entry)?;
        }
        Ok(step.len)
    }

    /// Nothing: frames end where files do.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Tables {
    /// The entry is complete.
    fn list(
        &mut self,
        at: std::ops::Range<u64>,
        sums: Option<(Sha256, crc::Digest<'static, u64, Table<16>>)>,
    ) -> io::Result<()> {
        let Some(mut entry) = self.entry.take() else {
            return Ok(());
        };
        let mut crc = None;
        let mut size = 0;
        if let Some((hash, sum)) = sums {
            let hash = base16ct::lower::encode_string(&hash.finalize());
            entry.digest = Some(format!("sha256:{hash}"));
            (entry.offset, entry.end_offset) = (at.start, at.end);
            crc = Some(sum.finalize());
            size = entry.size;
        }
        self.split.file(&entry.name, size, crc)?;
        if self.entries > 0 {
            self.toc.text(",")?;
        }
        self.entries += 1;
        self.toc.value(&entry)
    }
}

/// An entry of the table. The names of the fields, and what is left out, are containers/storage's, which compares
/// them with the headers in the tar-split.
#[derive(Serialize)]
struct Listed {
    r#type: &'static str,
    name: String,
    #[serde(rename = "linkName", skip_serializing_if = "String::is_empty")]
    link: String,
    #[serde(skip_serializing_if = "is_zero")]
    mode: i64,
    #[serde(skip_serializing_if = "is_zero")]
    size: u64,
    #[serde(skip_serializing_if = "is_zero")]
    uid: u32,
    #[serde(skip_serializing_if = "is_zero")]
    gid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    modtime: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accesstime: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changetime: Option<String>,
    #[serde(rename = "devMajor", skip_serializing_if = "is_zero")]
    major: u32,
    #[serde(rename = "devMinor", skip_serializing_if = "is_zero")]
    minor: u32,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    xattrs: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(skip_serializing_if = "is_zero")]
    offset: u64,
    #[serde(rename = "endOffset", skip_serializing_if = "is_zero")]
    end_offset: u64,
}

fn is_zero<T: Default + PartialEq>(n: &T) -> bool {
    *n == T::default()
}

impl Listed {
    fn of(entry: &Entry) -> Result<Self, Unfit> {
        let Entry { header, fields, .. } = entry;
        let text = |bytes: &[u8]| {
            std::str::from_utf8(bytes)
                .map(str::to_owned)
                .map_err(|_| Unfit("a name that is not UTF-8"))
        };
        let (major, minor) = device(header).unwrap_or_default();
        let [access, change] = fields.other_times;
        // GNU's headers have room for them. The field is empty where nobody filled it.
        let gnu = |field: fn(&tar::GnuHeader) -> &[u8; 12]| {
            let field = field(header.as_gnu()?);
            let tv_sec = (field[0] != 0).then(|| number(field)).flatten()?;
            Some(Timespec { tv_sec, tv_nsec: 0 })
        };
        let mut xattrs = BTreeMap::new();
        for (name, value) in &fields.xattrs {
            xattrs.insert(text(name)?, BASE64_STANDARD.encode(value));
        }
        Ok(Self {
            r#type: match header.as_old().linkflag[0] {
                0 if fields.path.ends_with(b"/") => "dir",
                b'1' => "hardlink",
                b'2' => "symlink",
                b'3' => "char",
                b'4' => "block",
                b'5' => "dir",
                b'6' => "fifo",
                _ => "reg",
            },
            name: text(&fields.path)?,
            link: text(&fields.link)?,
            mode: fields.mode,
            size: fields.size,
            uid: fields.uid,
            gid: fields.gid,
            modtime: Some(rfc3339(fields.mtime)?),
            accesstime: access.or(gnu(|g| &g.atime)).map(rfc3339).transpose()?,
            changetime: change.or(gnu(|g| &g.ctime)).map(rfc3339).transpose()?,
            major,
            minor,
            xattrs,
            digest: None,
            offset: 0,
            end_offset: 0,
        })
    }
}

/// Years 1 to 9999, which is what Go writes.
fn rfc3339(time: Timespec) -> Result<String, Unfit> {
    const YEAR_1: i64 = -62_135_596_800;
    i32::try_from(time.tv_nsec)
        .ok()
        .filter(|_| time.tv_sec > YEAR_1)
        .and_then(|nanos| jiff::Timestamp::new(time.tv_sec, nanos).ok())
        .map(|time| time.to_string())
        .ok_or(Unfit("a time that cannot be written"))
}

/// JSON, compressed, in memory.
pub(super) struct Json {
    out: zstd::stream::write::Encoder<'static, Vec<u8>>,
    plain: u64,
}

impl Json {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            out: zstd::stream::write::Encoder::new(Vec::new(), LEVEL)?,
            plain: 0,
        })
    }

    pub(super) fn text(&mut self, text: &str) -> io::Result<()> {
        self.plain += text.len() as u64;
        self.out.write_all(text.as_bytes())
    }

    pub(super) fn value(&mut self, value: &impl Serialize) -> io::Result<()> {
        self.text(&serde_json::to_string(value)?)
    }

    /// The stream, and its length before it was compressed.
    pub(super) fn finish(self) -> io::Result<(Vec<u8>, u64)> {
        Ok((self.out.finish()?, self.plain))
    }
}
