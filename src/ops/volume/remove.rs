//! `volume rm` and `volume prune`. podman-volume-rm(1), podman-volume-prune(1).

use rustix::fs::{Mode, OFlags};

use super::Error;
use super::list::{Filter, list};
use crate::ops::events::{self, Action, Event};
use crate::ops::rm;
use crate::store::{self, Store};
use crate::sys::{fork, userns};
use crate::trees;

/// Remove the volume of this name, or whose name starts like this; with `force` after all containers that were made
/// with it, which get so many seconds to end. Returns its name.
pub fn remove(
    store: &Store,
    name: &str,
    force: bool,
    timeout: Option<i64>,
) -> Result<String, Error> {
    let how = rm::How {
        force,
        timeout,
        volumes: true,
    };
    crate::ops::sweep(store);
    let name = store.volumes().find(name)?.record.name;
    if force {
        for id in store.volumes().users(&name)? {
            match rm::remove(store, &id, &how) {
                Ok(_) | Err(Error::Store(store::Error::NoSuchContainer(_))) => {}
                Err(e) => return Err(e),
            }
        }
    }
    match store.volumes().remove(&name) {
        // An anonymous one went with its container.
        Err(store::Error::NoSuchVolume(_)) if force => Ok(name),
        result => {
            result?;
            events::record(store, &Event::volume(Action::Remove, &name));
            Ok(name)
        }
    }
}

/// What shall go.
pub type Wanted = Vec<Filter>;

/// Remove the volumes that no container was made with and of which the filters hold. Returns their names, and the
/// bytes that are free now.
pub fn prune(store: &Store, wanted: &Wanted) -> Result<(Vec<String>, u64), Error> {
    crate::ops::sweep(store);
    let mut filters = wanted.clone();
    filters.push(Filter::Dangling(true));
    let (mut names, mut bytes) = (Vec::new(), 0);
    for volume in list(store, &filters)? {
        let name = volume.record.name;
        let size = size(store, &name);
        match store.volumes().remove(&name) {
            Ok(()) => {
                events::record(store, &Event::volume(Action::Remove, &name));
                names.push(name);
                bytes += size;
            }
            // Somebody has taken it since, or was faster, or fills it.
            Err(
                store::Error::VolumeInUse { .. }
                | store::Error::NoSuchVolume(_)
                | store::Error::VolumeBusy(_),
            ) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok((names, bytes))
}

/// Of the anonymous volumes among `names` those go that no other container than this one has. Returns the names of
/// those that went.
pub(in crate::ops) fn remove_unused(
    store: &Store,
    names: &[String],
    container: &str,
) -> Result<Vec<String>, store::Error> {
    match names {
        [] => Ok(Vec::new()),
        names => store.volumes().remove_anonymous(names, container),
    }
}

/// Bytes in a volume. As root of a user namespace if that can be had, since its directories may shut out their owner;
/// 0 for one that is gone.
pub(in crate::ops) fn size(store: &Store, name: &str) -> u64 {
    let Ok(Some(volume)) = store.volumes().get(name) else {
        return 0;
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(dir) = rustix::fs::open(volume.data(), flags, Mode::empty()) else {
        return 0;
    };
    let answer = fork::bytes_from_child(|| {
        let _without = userns::enter_as_root();
        trees::size(&dir).unwrap_or(0).to_ne_bytes().to_vec()
    });
    let bytes = answer.ok().and_then(|b| b.try_into().ok());
    bytes.map_or(0, u64::from_ne_bytes)
}
