//! The data of files; holes stay holes.

use std::io::Write;
use std::os::fd::BorrowedFd;

use rustix::fs::{SeekFrom, Stat, seek};
use rustix::io::{Errno, pread};

use super::super::stream::{BLOCK, padding};
use super::Error;
use super::archive::{Archive, Kind};

/// Bytes at a time.
const BUFFER: usize = 256 << 10;
/// Holes of less than this in total are data: not every reader knows sparse files, and none gains.
const HOLES_MIN: u64 = 1 << 20;
/// Most extents of a sparse file; one with more is written whole. Its map must fit the limits of readers.
const EXTENTS_MAX: usize = 10_000;

/// Where the data of a sparse file is.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::layer) struct Map {
    /// Offsets and lengths, the last one at the end of the file and perhaps empty.
    extents: Vec<(u64, u64)>,
    /// The map as it stands before the data.
    text: Vec<u8>,
}

impl Map {
    /// The map of an open file; `None` when it is to be written whole.
    pub(in crate::layer) fn of(file: BorrowedFd<'_>, stat: &Stat) -> Option<Self> {
        let size = stat.st_size.cast_unsigned();
        let stored = stat.st_blocks.cast_unsigned().saturating_mul(512);
        if size.saturating_sub(stored) < HOLES_MIN {
            return None;
        }
        let mut extents = Vec::new();
        let mut at = 0;
        while at < size {
            let start = match seek(file, SeekFrom::Data(at)) {
                Ok(start) if start < size => start,
                // Nothing but a hole until the end.
                Ok(_) | Err(Errno::NXIO) => break,
                Err(_) => return None,
            };
            let end = seek(file, SeekFrom::Hole(start)).ok()?.min(size);
            extents.push((start, end.checked_sub(start)?));
            if extents.len() > EXTENTS_MAX {
                return None;
            }
            at = end;
        }
        let data: u64 = extents.iter().map(|e| e.1).sum();
        if size - data < HOLES_MIN {
            return None;
        }
        if extents.last().is_none_or(|(start, len)| start + len < size) {
            extents.push((size, 0));
        }
        let mut text = format!("{}\n", extents.len()).into_bytes();
        for (start, len) in &extents {
            text.extend_from_slice(format!("{start}\n{len}\n").as_bytes());
        }
        text.resize(text.len().next_multiple_of(BLOCK), 0);
        Some(Self { extents, text })
    }

    /// What the entry of a file is that has this map, or none.
    pub(in crate::layer) fn kind(map: Option<&Self>, stat: &Stat) -> Kind<'static> {
        let real = stat.st_size.cast_unsigned();
        match map {
            Some(map) => Kind::Sparse {
                real,
                stored: map.stored(),
            },
            None => Kind::File(real),
        }
    }

    /// Bytes in the tar.
    fn stored(&self) -> u64 {
        self.text.len() as u64 + self.extents.iter().map(|e| e.1).sum::<u64>()
    }
}

/// Write the data of the current entry; `false` when the file was shorter than its header says.
pub(in crate::layer) fn write<W: Write>(
    archive: &mut Archive<W>,
    file: BorrowedFd<'_>,
    map: Option<&Map>,
    path: &[u8],
    buffer: &mut Vec<u8>,
) -> Result<bool, Error> {
    buffer.resize(BUFFER, 0);
    let whole;
    let extents = match map {
        Some(map) => {
            archive.data(&map.text).map_err(Error::Output)?;
            &map.extents
        }
        None => {
            whole = vec![(0, archive.left())];
            &whole
        }
    };
    for &(mut at, mut left) in extents {
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
            let n = match pread(file, &mut buffer[..want], at) {
                Ok(0) => {
                    archive.fill().map_err(Error::Output)?;
                    return Ok(false);
                }
                Err(Errno::INTR) => continue,
                n => n.map_err(Error::sys("pread", path))?,
            };
            archive.data(&buffer[..n]).map_err(Error::Output)?;
            at += n as u64;
            left -= n as u64;
        }
    }
    debug_assert_eq!(archive.left(), 0);
    debug_assert_eq!(padding(0), 0);
    Ok(true)
}
