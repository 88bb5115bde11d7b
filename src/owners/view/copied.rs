//! What overlay has copied up, without a word to anybody.

use std::borrow::Cow;
use std::os::fd::{AsFd, AsRawFd as _};

use rustix::fs::{FileType, OFlags, Stat, XattrFlags, fgetxattr, fstat, setxattr};
use rustix::io::Errno;

use super::{Layer, Loaded, View, carries};
use crate::owners::{CAPABILITY, Error, Record, XATTR};
use crate::trees;

/// Largest program that is compared with its original; a larger one that was touched has no capabilities.
const COMPARED_MAX: u64 = 256 << 20;

impl View {
    /// The record that a file of the container has from the layers, if it may be a copy of theirs.
    pub(super) fn copied<'a>(
        &self,
        loaded: &'a Loaded,
        path: &[u8],
        own: &Stat,
    ) -> Result<Option<Cow<'a, Record>>, Error> {
        let trees = std::iter::once(&self.upper).chain(&self.layers);
        let roots = trees.map(|tree| {
            let root = tree.open(b"", OFlags::RDONLY | OFlags::DIRECTORY)?;
            root.ok_or_else(|| tree.failed(b"")(Errno::NOENT))
        });
        let roots = roots.collect::<Result<Vec<_>, _>>()?;
        let all = trees::beneath(&roots, path).map_err(self.upper.failed(path))?;
        let Some((tree, original)) = all.into_iter().find(|(tree, _)| *tree > 0) else {
            return Ok(None);
        };
        let kind = |stat: &Stat| FileType::from_raw_mode(stat.st_mode);
        if kind(own) != kind(&original) {
            return Ok(None);
        }
        let layer = tree - 1;
        let Some(record) = self.in_layer(loaded, layer, path, &original)? else {
            return Ok(None);
        };
        let mut record = Cow::Borrowed(record);
        if record.implied {
            // What was written in is not implied any more.
            record.to_mut().implied = false;
        }
        if record.owner.is_some() && self.has_owner(path)? {
            // It was given away since, and there was room for that.
            record.to_mut().owner = None;
        }
        if record.xattrs.iter().any(is_capability) && !self.is_unwritten(layer, path)? {
            record.to_mut().xattrs.retain(|x| !is_capability(x));
        }
        Ok((*record != Record::default()).then_some(record))
    }

    /// Whether a file of the container has its owner on its inode.
    fn has_owner(&self, path: &[u8]) -> Result<bool, Error> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        match self.upper.look(path)? {
            Some(stat) if carries(&stat) => {
                let file = self.upper.open(path, flags)?;
                Ok(file.is_some_and(|f| fgetxattr(f, XATTR, &mut [0u8; 128]).is_ok()))
            }
            _ => Ok(false),
        }
    }

    /// Whether a file of the container has the content that it has in a layer.
    fn is_unwritten(&self, layer: usize, path: &[u8]) -> Result<bool, Error> {
        let open = |tree: &Layer| tree.open(path, OFlags::RDONLY | OFlags::NONBLOCK);
        let (Some(own), Some(original)) = (open(&self.upper)?, open(&self.layers[layer])?) else {
            return Ok(false);
        };
        same_content(own, original).map_err(self.upper.failed(path))
    }
}

fn is_capability((name, _): &(Vec<u8>, Vec<u8>)) -> bool {
    name == CAPABILITY.as_bytes()
}

fn same_content(one: impl AsFd, other: impl AsFd) -> Result<bool, Errno> {
    let (a, b) = (fstat(&one)?, fstat(&other)?);
    let is_file = FileType::from_raw_mode(a.st_mode).is_file();
    if !is_file || a.st_size != b.st_size || a.st_size.cast_unsigned() > COMPARED_MAX {
        return Ok(false);
    }
    let mut left = vec![0; 64 << 10];
    let mut right = left.clone();
    let mut at = 0;
    loop {
        let n = rustix::io::pread(&one, &mut left, at)?;
        let m = rustix::io::pread(&other, &mut right, at)?;
        // The original never changes; what is cut meanwhile differs.
        if n != m || left[..n] != right[..m] {
            return Ok(false);
        }
        if n == 0 {
            return Ok(true);
        }
        at += n as u64;
    }
}

/// A record of the container's own: its capabilities go on the inode. Those that do not stay there are
/// nobody's, or they would outlive a write.
pub(super) fn with_capabilities_on(file: impl AsFd, record: &Record) -> Cow<'_, Record> {
    if !record.xattrs.iter().any(is_capability) {
        return Cow::Borrowed(record);
    }
    let mut record = record.clone();
    let name = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    for (_, value) in record.xattrs.extract_if(.., |x| is_capability(x)) {
        let _ = setxattr(&name, CAPABILITY, &value, XattrFlags::empty());
    }
    Cow::Owned(record)
}
