//! A tar that has to wait.

use std::fs::File;
use std::io::{self, Seek as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::CpError;
use crate::store::Store;

/// All of a stream, in a file without a name on the file system of the store.
pub(super) fn keep(store: &Store, mut tar: File) -> Result<File, CpError> {
    let dir = store.root();
    let failed = |e| CpError::Spool {
        path: dir.to_owned(),
        source: e,
    };
    let mut file = nameless(dir).map_err(|e| failed(e.into()))?;
    io::copy(&mut tar, &mut file).map_err(failed)?;
    file.rewind().map_err(failed)?;
    Ok(file)
}

fn nameless(dir: &Path) -> Result<File, Errno> {
    let make = |dir: &Path| {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR).map(File::from)
    };
    match make(dir) {
        // NFS, for one, has none.
        Err(Errno::OPNOTSUPP) => make(&std::env::temp_dir()),
        made => made,
    }
}
