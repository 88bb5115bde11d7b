//! `info`: what machine this is and what is in the store. podman-info(1), docker-info(1).

use std::path::PathBuf;

use super::Error;
use super::ps::{self, State};
use crate::config::{Env, registries::Registries};
use crate::host::{self, Machine};
use crate::store::Store;

/// All of it.
#[derive(Clone, Debug)]
pub struct Info {
    /// The host.
    pub machine: Machine,
    /// Whom the kernel takes us for.
    pub ids: (u32, u32),
    /// Where the store is.
    pub root: PathBuf,
    /// Its file system, and the bytes that it has and that are in use.
    pub file_system: FileSystem,
    /// How layers become one tree here: what a `run` would take first that works.
    pub driver: &'static str,
    /// Images, each once.
    pub images: usize,
    /// Containers that run.
    pub running: usize,
    /// Containers that stand still.
    pub paused: usize,
    /// All others.
    pub stopped: usize,
    /// Registries that a short name is looked for in.
    pub search: Vec<String>,
}

/// Where the store is kept.
#[derive(Clone, Debug, Default)]
pub struct FileSystem {
    /// Its kind, if it is known.
    pub kind: Option<&'static str>,
    /// Bytes that it has.
    pub size: u64,
    /// Bytes that are in use.
    pub used: u64,
}

/// Look at everything.
pub fn info(store: &Store) -> Result<Info, Error> {
    let all = ps::Wanted {
        all: true,
        ..ps::Wanted::default()
    };
    let containers = ps::ps(store, &all)?;
    let count = |wanted: fn(&State) -> bool| containers.iter().filter(|c| wanted(&c.state)).count();
    let running = count(|s| matches!(s, State::Running | State::Restarting { .. }));
    let paused = count(|s| *s == State::Paused);
    let mut images: Vec<_> = store
        .images()
        .summaries()?
        .into_iter()
        .map(|i| i.id)
        .collect();
    images.sort();
    images.dedup();
    Ok(Info {
        machine: Machine::read(),
        ids: (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        ),
        root: store.root().to_owned(),
        file_system: file_system(store),
        driver: host::storage_driver(store.root()),
        images: images.len(),
        running,
        paused,
        stopped: containers.len() - running - paused,
        search: Registries::load(Env::process())?.search_registries(),
    })
}

fn file_system(store: &Store) -> FileSystem {
    let Ok(stat) = rustix::fs::statvfs(store.root()) else {
        return FileSystem::default();
    };
    FileSystem {
        kind: host::file_system_of(store.root()),
        size: stat.f_blocks.saturating_mul(stat.f_frsize),
        used: stat
            .f_blocks
            .saturating_sub(stat.f_bfree)
            .saturating_mul(stat.f_frsize),
    }
}
