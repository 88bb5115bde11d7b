//! `volume export` and `volume import`: the files of a volume as a tar, with their owners. podman-volume-export(1).

use std::io::{Read, Write};

use super::fill::{self, Conflict, Content};
use super::{Error, VolumeError, backing};
use crate::layer::pack::{Compression, Options, Tree, What, pack};
use crate::layer::{self, Limits};
use crate::oci::Digest;
use crate::ops::progress::Progress;
use crate::ops::written::tell;
use crate::store::{Store, VolumeDir};

/// Write all that is in the volume.
pub fn export(
    store: &Store,
    name: &str,
    out: impl Write,
    progress: &dyn Progress,
) -> Result<(), Error> {
    // So that nobody removes or fills it meanwhile; containers may write.
    let volume = locked(store, name)?;
    let tree = Tree::volume(volume.entry.data(), volume.entry.owners());
    let options = Options {
        compression: Compression::None,
        ..Options::default()
    };
    let packed = pack(&What::Whole(vec![tree]), out, &options)?;
    tell(&packed.notes, progress);
    Ok(())
}

/// Read a tar (gzip, zstd or plain) into the volume: its files replace what has their names.
pub fn import(
    store: &Store,
    name: &str,
    tar: impl Read + Send,
    limits: &Limits,
) -> Result<(), Error> {
    let mut volume = locked(store, name)?;
    // A layer that is never published: what it is called does not matter.
    let draft = store.layers().begin(&Digest::of(name.as_bytes()))?;
    let applied = layer::apply(tar, draft.dir(), &draft.sidecar(), limits);
    applied.map_err(Error::from_layer)?;
    let layers = [draft.layer()];
    let content = Content {
        layers: &layers,
        base: b"",
    };
    fill::fill(&volume, &content, Conflict::Replace)?;
    let mut record = volume.entry.record.clone();
    (record.needs_chown, record.needs_copy_up) = (false, false);
    Ok(volume.write(record)?)
}

fn locked(store: &Store, name: &str) -> Result<VolumeDir, Error> {
    let name = store.volumes().find(name)?.record.name;
    let volume = store.volumes().lock(&name)?;
    match backing(&volume.entry.record.options)?.bind {
        Some(_) => Err(VolumeError::NotOurs(name).into()),
        None => {
            fill::complete(&volume)?;
            Ok(volume)
        }
    }
}
