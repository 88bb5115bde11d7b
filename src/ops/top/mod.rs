//! `top`: the processes of a container, as ps(1) and podman-top(1) show them. Read from the host's /proc, so
//! that neither the host nor the container needs a ps.

mod columns;
mod processes;

use std::os::fd::AsFd as _;
use std::path::Path;

pub use columns::{Column, UnknownColumn};

use self::processes::{Names, Process};
use super::{Error, live};
use crate::runtime::{self, Running};
use crate::store::Store;

/// Larger files of users exist only to hurt.
const FILE_MAX: u64 = 16 << 20;

/// The processes of a container, a row each, in the order of their numbers.
///
/// # Errors
/// [`Error::NotRunning`].
pub fn top(store: &Store, name: &str, columns: &[Column]) -> Result<Vec<Vec<String>>, Error> {
    let entry = store.containers().find(name)?;
    let description = live::connect(store, &entry)?.describe()?;
    let container = Running::look(description.pidfd.as_fd()).map_err(|e| match e {
        runtime::Error::Ended => Error::NotRunning(name.to_owned()),
        e => e.into(),
    })?;
    let mut processes = processes::of(description.pid, container.own_pids())?;
    if description.emulated {
        let numbers: Vec<i32> = processes.iter().map(|p| p.host_pid).collect();
        let whose = live::connect(store, &entry)?.whose(&numbers)?;
        for (process, (uid, gid)) in processes.iter_mut().zip(whose) {
            (process.uid, process.gid) = ([uid; 2], [gid; 2]);
        }
    }
    let text = |path: &str| {
        // A container without them, or with nonsense in their place, has numbers.
        let bytes = container.read_file(Path::new(path), FILE_MAX);
        String::from_utf8_lossy(&bytes.ok().flatten().unwrap_or_default()).into_owned()
    };
    let names = Names::new(text("/etc/passwd"), text("/etc/group"));
    let row = |p: &Process| columns.iter().map(|c| c.cell(p, &names)).collect();
    Ok(processes.iter().map(row).collect())
}
