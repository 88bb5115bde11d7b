//! A program of ours in a container that runs: root there, with the capabilities over files and the default filter,
//! so that who might trace it there gains next to nothing. What it does there is done as by any process of the
//! container, and so are the records of it.

use std::ffi::CString;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;

use super::config::Config;
use super::{mode, not_running};
use crate::emulate::creds::Cred;
use crate::ops::run::user::Ids;
use crate::ops::{Error, live};
use crate::runtime::caps::Caps;
use crate::runtime::seccomp::Seccomp;
use crate::runtime::{self, PlanError, Process, Running, Started, Stdin, Streams};
use crate::store::{ContainerEntry, Store};
use crate::sys::exec::OwnExecutable;

/// Such a program.
pub(in crate::ops) struct Own {
    /// A copy of this program in memory.
    pub copy: Rc<OwnedFd>,
    /// Its arguments, of which the first says what it is to be.
    pub args: Vec<CString>,
    /// Its streams.
    pub streams: Rc<Streams>,
}

/// Start it. Also says whether identities are emulated there.
///
/// # Errors
/// [`Error::NotRunning`], and those of a start.
pub(in crate::ops) fn own(
    store: &Store,
    entry: &ContainerEntry,
    own: &Own,
) -> Result<(Started, bool), Error> {
    let description = live::connect(store, entry)?.describe()?;
    let config = config(store, entry)?.ok_or_else(|| not_running(entry))?;
    let ended = |e| match e {
        runtime::Error::Ended => not_running(entry),
        e => Error::Runtime(e),
    };
    let container = Running::look(description.pidfd.as_fd()).map_err(ended)?;
    let emulated = description.emulated;
    let uid = match emulated {
        true => 0,
        false => config.mapped().uid,
    };
    let caps = Caps::files();
    let root = || Cred::first(0, 0, &[], caps.bits().bits(), false);
    let filter = Seccomp::Default.compile(caps, mode(&config, emulated));
    let process = Process {
        args: own.args.clone(),
        own: Some(own.copy.clone()),
        env: Vec::new(),
        cwd: PathBuf::from("/"),
        terminal: None,
        stdin: Stdin::Inherit,
        streams: Some(own.streams.clone()),
        uid,
        identity: emulated.then(|| Box::new(root())),
        caps,
        no_new_privileges: false,
        filter: filter.map_err(|e| Error::Runtime(PlanError::from(e).into()))?,
        rlimits: Vec::new(),
        umask: 0,
        oom_score_adj: None,
        preserve_fds: 0,
        executable: OwnExecutable::Exposed,
        user: None,
        scope_signals: false,
    };
    let started = runtime::exec(&process, &container, &mut |listener, pidfd| {
        live::connect(store, entry)
            .and_then(|live| live.supervise(listener, pidfd, root().to_bytes()))
            .map_err(|e| std::io::Error::other(e.whole()))
    });
    Ok((started.map_err(ended)?, emulated))
}

/// Whom the container's own program runs as, and its working directory.
pub(in crate::ops) fn primary_user(
    store: &Store,
    entry: &ContainerEntry,
) -> Result<(Ids, PathBuf), Error> {
    let process = config(store, entry)?.unwrap_or_default().process;
    let ids = Ids {
        uid: process.user.uid,
        gid: process.user.gid,
    };
    Ok((ids, process.cwd))
}

fn config(store: &Store, entry: &ContainerEntry) -> Result<Option<Config>, Error> {
    Ok(store.containers().config(entry)?)
}
