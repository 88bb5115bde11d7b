//! `export`: the root file system of a container as a tar. docker-container-export(1).

use std::io::Write;

use super::Error;
use super::progress::Progress;
use super::written::{Written, tell};
use crate::layer::pack::{Compression, Options, pack};
use crate::store::Store;

/// Write all that the container of this name sees to `out`: its image and what it wrote, without
/// volumes and what is mounted over it.
pub fn export(
    store: &Store,
    name: &str,
    out: impl Write,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let written = Written::of(store, name)?;
    let options = Options {
        compression: Compression::None,
        ..Options::default()
    };
    let packed = pack(&written.whole(), out, &options)?;
    written.check(store)?;
    tell(&packed.notes, progress);
    Ok(())
}
