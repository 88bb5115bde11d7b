//! Maps of sparse files: where in the file the stored bytes belong. Pure but for reading the blocks.
//! GNU tar manual, "Storing Sparse Files": the old GNU form and PAX 0.0, 0.1 and 1.0.

use super::header::{decimal, number};
use super::stream::{BLOCK, Tar};

/// Why a map is refused, or why the stream under it failed.
pub(super) enum Bad {
    /// The format is broken.
    Map(&'static str),
    /// More extents than the limit allows.
    TooLong,
    /// Reading failed.
    Stream(super::Error),
}

impl From<super::Error> for Bad {
    fn from(e: super::Error) -> Self {
        Self::Stream(e)
    }
}

/// A checked map: extents ascend, do not overlap, lie within `real_size`, and their lengths add up
/// to the bytes stored.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Map {
    pub(super) extents: Vec<(u64, u64)>,
    pub(super) real_size: u64,
}

/// What a PAX header says about a sparse file, before it is checked.
#[derive(Default)]
pub(super) struct Pax {
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) real_size: Option<u64>,
    /// Offsets and lengths in turn.
    pub(super) numbers: Vec<u64>,
    pub(super) has_map: bool,
}

impl Pax {
    /// Take one `GNU.sparse.` record; `key` is the part after the prefix.
    pub(super) fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let num = || decimal(value).ok_or("malformed sparse number");
        match key {
            b"major" => self.major = Some(num()?),
            b"minor" => self.minor = Some(num()?),
            b"size" | b"realsize" => self.real_size = Some(num()?),
            b"offset" | b"numbytes" => {
                if self.numbers.len().is_multiple_of(2) != (key == b"offset") {
                    return Err("sparse offset and length do not alternate");
                }
                self.has_map = true;
                self.numbers.push(num()?);
            }
            b"map" => {
                self.has_map = true;
                self.numbers.clear();
                if !value.is_empty() {
                    for n in value.split(|b| *b == b',') {
                        self.numbers.push(decimal(n).ok_or("malformed sparse map")?);
                    }
                }
            }
            // numblocks is implied by the map; unknown ones may come later.
            _ => {}
        }
        Ok(())
    }

    /// Whether the map stands in front of the data (format 1.0).
    pub(super) fn map_in_data(&self) -> Result<bool, Bad> {
        match (self.major, self.minor) {
            (Some(1), Some(0)) => Ok(true),
            (None | Some(0), None | Some(0 | 1)) => Ok(false),
            _ => Err(Bad::Map("unknown sparse format version")),
        }
    }

    /// Whether the file is sparse at all.
    pub(super) fn is_sparse(&self) -> bool {
        self.has_map || self.major.is_some()
    }
}

/// Check pairs of offset and length against the file's size and the bytes `stored`.
pub(super) fn check(numbers: &[u64], real_size: u64, stored: u64) -> Result<Map, Bad> {
    if !numbers.len().is_multiple_of(2) {
        return Err(Bad::Map("an offset without a length"));
    }
    if i64::try_from(real_size).is_err() {
        return Err(Bad::Map("the size is too large"));
    }
    let (mut end, mut sum) = (0u64, 0u64);
    let mut extents = Vec::with_capacity(numbers.len() / 2);
    for pair in numbers.chunks_exact(2) {
        let (offset, len) = (pair[0], pair[1]);
        if offset < end {
            return Err(Bad::Map("extents overlap or are out of order"));
        }
        end = (offset.checked_add(len))
            .filter(|end| *end <= real_size)
            .ok_or(Bad::Map("an extent exceeds the file"))?;
        // Cannot overflow: the extents are disjoint parts of real_size.
        sum += len;
        if len > 0 {
            extents.push((offset, len));
        }
    }
    if sum != stored {
        return Err(Bad::Map("the map does not fit the bytes stored"));
    }
    Ok(Map { extents, real_size })
}

/// Read the map in front of the data of PAX 1.0: decimal lines in whole blocks, first the number of
/// extents. Returns the numbers and how many bytes of the entry they took.
pub(super) fn read_pax_1_0(
    tar: &mut Tar,
    entry_size: u64,
    max_numbers: usize,
) -> Result<(Vec<u64>, u64), Bad> {
    let mut numbers = Vec::new();
    let mut want = None;
    let mut digits = Vec::new();
    let mut taken = 0;
    loop {
        if entry_size - taken < BLOCK as u64 {
            return Err(Bad::Map("the map is cut off"));
        }
        let block = tar.block()?.ok_or(Bad::Map("the map is cut off"))?;
        taken += BLOCK as u64;
        for b in block {
            if *b != b'\n' {
                if digits.len() == 20 {
                    return Err(Bad::Map("malformed sparse map"));
                }
                digits.push(*b);
                continue;
            }
            let n = decimal(&digits).ok_or(Bad::Map("malformed sparse map"))?;
            digits.clear();
            match want {
                None => {
                    let n = usize::try_from(n).ok().and_then(|n| n.checked_mul(2));
                    want = Some(n.filter(|n| *n <= max_numbers).ok_or(Bad::TooLong)?);
                }
                Some(_) => numbers.push(n),
            }
            if want == Some(numbers.len()) {
                return Ok((numbers, taken));
            }
        }
    }
}

/// Read the map of an old GNU sparse header (type `S`) and its extension blocks.
pub(super) fn read_old_gnu(
    first: &tar::GnuHeader,
    tar: &mut Tar,
    max_numbers: usize,
) -> Result<Vec<u64>, Bad> {
    let mut numbers = Vec::new();
    take_old_gnu(&mut numbers, &first.sparse)?;
    let mut extended = first.isextended[0] != 0;
    let mut blocks = 0;
    while extended {
        // Blocks are counted, not what they hold: a chain of empty ones is as endless.
        blocks += 1;
        if blocks * 2 * 21 > max_numbers {
            return Err(Bad::TooLong);
        }
        let bytes = tar.block()?.ok_or(Bad::Map("the map is cut off"))?;
        let mut block = tar::GnuExtSparseHeader::new();
        block.as_mut_bytes().copy_from_slice(bytes);
        take_old_gnu(&mut numbers, &block.sparse)?;
        extended = block.isextended[0] != 0;
    }
    Ok(numbers)
}

fn take_old_gnu(numbers: &mut Vec<u64>, from: &[tar::GnuSparseHeader]) -> Result<(), Bad> {
    for extent in from
        .iter()
        .take_while(|e| e.offset[0] != 0 && e.numbytes[0] != 0)
    {
        for field in [&extent.offset, &extent.numbytes] {
            let n = number(field).and_then(|n| u64::try_from(n).ok());
            numbers.push(n.ok_or(Bad::Map("malformed sparse number"))?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_checked() {
        let ok = check(&[0, 5, 10, 5, 20, 0], 20, 10).ok().unwrap();
        assert_eq!(ok.extents, [(0, 5), (10, 5)]);
        for (numbers, real, stored, why) in [
            (&[0, 5, 4, 5][..], 20, 10, "overlap"),
            (&[10, 5, 0, 5], 20, 10, "order"),
            (&[0, 21], 20, 21, "beyond the end"),
            (&[u64::MAX, 2], 20, 2, "overflow"),
            (&[0, 5], 20, 6, "sum"),
            (&[0], 20, 0, "odd"),
            (&[], u64::MAX, 0, "size"),
        ] {
            assert!(
                matches!(check(numbers, real, stored), Err(Bad::Map(_))),
                "{why}"
            );
        }
    }
}
