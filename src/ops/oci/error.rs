//! What the verbs of the runtime fail with. Their callers read messages: the words of runc and crun are kept where
//! podman and containerd look for them.

use std::io;
use std::path::{Path, PathBuf};

use crate::runtime;
use crate::runtime::bundle::{ConfigError, HookError};

/// Any of them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name that could be a path.
    #[error("invalid container id {0:?}: letters, digits and _ + - . make one")]
    Id(String),
    /// The name is taken.
    #[error("container with id {0:?} exists already")]
    Exists(String),
    /// No such container.
    #[error("container {0:?} does not exist")]
    NotFound(String),
    /// Whoever makes it has not finished.
    #[error(
        "container {0:?} is being created, or its creation was broken off (delete --force removes it)"
    )]
    Creating(String),
    /// It is something else than what the verb is for.
    #[error("cannot {verb} container {id:?}: it is {status}")]
    Status {
        /// The verb.
        verb: &'static str,
        /// Its name.
        id: String,
        /// What it is.
        status: &'static str,
    },
    /// The container is not running. As runc says it, since callers look for these words.
    #[error("container {0:?} not running")]
    NotRunning(String),
    /// No directory for the state.
    #[error(transparent)]
    Dirs(#[from] crate::config::DirsError),
    /// A file of ours.
    #[error("cannot {0} {path}: {2}", path = .1.display())]
    File(&'static str, PathBuf, #[source] io::Error),
    /// A file of the caller's.
    #[error("cannot read {path}: {1}", path = .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// The state was written by something else.
    #[error("{path}: {1}", path = .0.display())]
    State(PathBuf, #[source] serde_json::Error),
    /// A configuration.
    #[error("{path}: {1}", path = .0.display())]
    Config(PathBuf, #[source] ConfigError),
    /// It did not start.
    #[error("{}", spoken(.0))]
    Runtime(#[from] runtime::Error),
    /// A hook after the start.
    #[error("hook {path}: {1}", path = .0.display())]
    Hook(PathBuf, #[source] HookError),
    /// A signal that is none.
    #[error("there is no signal {0:?}")]
    Signal(String),
    /// It could not be sent.
    #[error("cannot signal container {0:?}: {1}")]
    Kill(String, #[source] io::Error),
    /// A terminal without anybody who takes it.
    #[error("the process wants a terminal: --console-socket says who gets it when it is detached")]
    NoConsoleSocket,
    /// The other way round.
    #[error("--console-socket is for a process that has a terminal, and is detached")]
    ConsoleSocket,
    /// Descriptors that are not there.
    #[error("--preserve-fds: descriptor {0} is not open")]
    PreserveFds(u32),
    /// Signals of ours.
    #[error("cannot hold signals back: {0}")]
    Signals(#[source] io::Error),
    /// Waiting for it.
    #[error(transparent)]
    Monitor(#[from] crate::monitor::Error),
    /// Its control group.
    #[error("container {0:?} has no control group of its own, which {1} takes")]
    NoCgroup(String, &'static str),
    /// A control group.
    #[error(transparent)]
    Cgroup(#[from] crate::cgroup::Error),
    /// Of an update.
    #[error("cannot read the limits: {0}")]
    Resources(#[source] serde_json::Error),
    /// What this runtime does not do.
    #[error("{0} is not supported: {1}")]
    Unsupported(&'static str, &'static str),
}

impl Error {
    pub(super) fn file(verb: &'static str, path: &Path, e: impl Into<io::Error>) -> Self {
        Self::File(verb, path.to_owned(), e.into())
    }
}

/// podman tells a missing program from a broken runtime by these words.
fn spoken(e: &runtime::Error) -> String {
    match e {
        runtime::Error::NotFound(program) => {
            format!("executable file `{program}` not found in $PATH: No such file or directory")
        }
        runtime::Error::CannotExecute { program, source } => {
            format!("cannot execute `{program}`: {source}")
        }
        other => other.to_string(),
    }
}
