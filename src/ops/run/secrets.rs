//! `--secret`: what of it a container gets. Files come in memory, beside everything that is kept of the container;
//! variables go to its program alone, and into no configuration.
//!
//! As with podman a container keeps the content that a file had when it was made, and asks for that of a variable
//! whenever it starts.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::options::{SecretUse, SecretWay};
use crate::ops::Error;
use crate::ops::secret::SecretError;
use crate::owners;
use crate::runtime::MemoryFile;
use crate::store::{ContainerDir, Hidden, Store};

/// Where files are that have no place of their own.
pub(in crate::ops) const PLACE: &str = "/run/secrets";

/// A file as it was when the container was made.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    target: PathBuf,
    uid: u32,
    gid: u32,
    mode: u32,
    data: Hidden,
}

/// Files and variables of one start.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub files: Vec<MemoryFile>,
    /// `NAME=VALUE`
    pub env: Vec<CString>,
}

/// What of a container's secrets is to be kept with it; none if it has none.
pub(super) fn keep(
    store: &Store,
    container: &ContainerDir,
    all: &[SecretUse],
) -> Result<(), Error> {
    if all.is_empty() {
        return Ok(());
    }
    let json = serde_json::to_vec(&look_up(store, all)?).map_err(|e| Error::Spec(e.to_string()))?;
    Ok(container.write_secrets(&json)?)
}

/// What it is given now; `ours` is its program, and no variable means anything to it.
pub(super) fn given(
    store: &Store,
    container: &ContainerDir,
    all: &[SecretUse],
    ours: bool,
) -> Result<Given, Error> {
    if all.is_empty() {
        return Ok(Given::default());
    }
    let files = match container.secrets::<Vec<Kept>>()? {
        Some(kept) => kept,
        // One that goes with its first end.
        None => look_up(store, all)?,
    };
    let mut given = Given {
        files: files.into_iter().map(in_memory).collect(),
        env: Vec::new(),
    };
    for wanted in all {
        let SecretWay::Variable(name) = &wanted.way else {
            continue;
        };
        if !ours {
            let secret = store.secrets().find(&wanted.name)?;
            let pair = [name.as_bytes(), b"=", &secret.data.0].concat();
            let pair = CString::new(pair).map_err(|_| SecretError::Variable(secret.name))?;
            given.env.push(pair);
        }
    }
    Ok(given)
}

/// Whether one of them is where most are.
pub(super) fn has_place(all: &[SecretUse]) -> bool {
    all.iter().any(|s| match &s.way {
        SecretWay::File { target, .. } => target.parent() == Some(Path::new(PLACE)),
        SecretWay::Variable(_) => false,
    })
}

/// The files; and that variables have something to say.
fn look_up(store: &Store, all: &[SecretUse]) -> Result<Vec<Kept>, Error> {
    let mut files = Vec::new();
    for wanted in all {
        let secret = store.secrets().find(&wanted.name)?;
        if let SecretWay::File {
            target,
            uid,
            gid,
            mode,
        } = &wanted.way
        {
            files.push(Kept {
                target: target.clone(),
                uid: *uid,
                gid: *gid,
                mode: *mode,
                data: secret.data,
            });
        }
    }
    Ok(files)
}

fn in_memory(kept: Kept) -> MemoryFile {
    let Kept { uid, gid, mode, .. } = kept;
    let owner = format!("{uid}:{gid}:{mode:04o}:file").into_bytes();
    MemoryFile {
        target: kept.target,
        content: kept.data.0,
        mode,
        attribute: (uid != 0 || gid != 0).then_some((owners::XATTR, owner)),
    }
}
