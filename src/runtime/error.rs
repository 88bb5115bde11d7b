//! What can go wrong between the plan and the program, told by the stage it happened in.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use super::PlanError;

/// The steps of starting a container, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Entering the namespaces of a container that runs.
    Join,
    /// Writing the id maps of the user namespace.
    IdMap,
    /// Joining a namespace, or making one that has to wait.
    Namespace,
    /// Separating from the caller: session, death signal, mount propagation.
    Detach,
    /// Mounting the root file system.
    Root,
    /// Mounting /proc. Its own stage, since a masked outer /proc forbids it and there is another way.
    Proc,
    /// Any other mount, and the devices.
    Mount,
    /// Masking and write-protecting paths.
    Mask,
    /// Making the root file system `/`.
    Pivot,
    /// Host name and loopback.
    Network,
    /// Kernel parameters of the container's namespaces.
    Sysctl,
    /// The pseudo-terminal.
    Terminal,
    /// Resource limits.
    Limits,
    /// The working directory.
    WorkingDirectory,
    /// Capabilities, no_new_privs, seccomp.
    Confine,
    /// Having a supervisor answer for users and owners. Its own stage, since there is another way.
    Identity,
    /// The same, when the program may have begun.
    Supervise,
    /// Becoming the program's user.
    User,
    /// A program of the caller's, by the word of the specification.
    Hook,
    /// Looking for the program.
    Find,
    /// Executing the program.
    Exec,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Join => "cannot enter the container",
            Self::IdMap => "cannot map the user's id into the container",
            Self::Namespace => "cannot enter a namespace",
            Self::User => "cannot become the user of the program",
            Self::Hook => "a hook failed",
            Self::Detach => "cannot separate the container from its caller",
            Self::Root => "cannot mount the root file system",
            Self::Proc => "cannot mount /proc",
            Self::Mount => "cannot set up a mount",
            Self::Mask => "cannot protect a path",
            Self::Pivot => "cannot enter the root file system",
            Self::Network => "cannot set up host name and loopback",
            Self::Sysctl => "cannot set a kernel parameter",
            Self::Terminal => "cannot make a terminal",
            Self::Limits => "cannot set a resource limit",
            Self::WorkingDirectory => "cannot enter the working directory",
            Self::Confine => "cannot confine the container",
            Self::Identity => "cannot emulate users and owners",
            Self::Supervise => "the supervisor of users and owners failed",
            Self::Find => "cannot find the program",
            Self::Exec => "cannot execute the program",
        })
    }
}

/// A step that failed in the child, as it travels over the channel.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// Where.
    pub stage: Stage,
    /// The call and its object, `mount(/proc)`.
    pub what: String,
    /// Why.
    pub errno: i32,
}

impl Failure {
    pub(super) fn new(stage: Stage, what: impl Into<String>, e: impl Into<io::Error>) -> Self {
        let e = e.into();
        Self {
            stage,
            what: what.into(),
            errno: e.raw_os_error().unwrap_or(libc::EIO),
        }
    }

    /// One that is told by words alone.
    pub(super) fn said(stage: Stage, what: String) -> Self {
        Self {
            stage,
            what,
            errno: 0,
        }
    }

    /// As an error with its text.
    pub fn source(&self) -> io::Error {
        io::Error::from_raw_os_error(self.errno)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.stage, self.what)?;
        if self.errno != 0 {
            write!(f, ": {}", self.source())?;
        }
        Ok(())
    }
}

/// Why a container did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot be honoured.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The namespaces were refused.
    #[error("cannot make the container's namespaces: {0}")]
    Clone(#[source] io::Error),
    /// A step inside the container's namespaces failed.
    #[error("{0}")]
    Init(Failure),
    /// The program is not there.
    #[error("{0:?}: no such program in the container")]
    NotFound(String),
    /// The program is there and cannot run.
    #[error("{program:?}: cannot be executed: {source}")]
    CannotExecute {
        /// As it was asked for.
        program: String,
        /// From execve(2).
        source: io::Error,
    },
    /// fuse-overlayfs could not be run, or failed.
    #[error("fuse-overlayfs failed: {}", one_line(.0))]
    FuseOverlayfs(String),
    /// The container that a process is to be started in has ended.
    #[error("the container has ended")]
    Ended,
    /// Nobody will answer for the users and owners of a further process.
    #[error(
        "the supervisor of the container's users and owners does not take one more process: {0}"
    )]
    Unsupervised(#[source] io::Error),
    /// The child ended without a word.
    #[error("the container's first process ended before it started the program")]
    Vanished,
    /// A system call of the parent.
    #[error("{0}: {1}")]
    Parent(&'static str, #[source] io::Error),
}

impl Error {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Clone(_) => Some("`coracle doctor` says what this machine allows, and what an admin can change".to_owned()),
            Self::NotFound(p) if !p.contains('/') => Some("it is in no directory of the container's PATH; give its full path, or look with `coracle run --entrypoint sh IMAGE`".to_owned()),
            Self::CannotExecute { source, .. } => match source.raw_os_error() {
                Some(libc::ENOEXEC) => Some("it is for another architecture (see --platform), or a script without a #! line".to_owned()),
                Some(libc::EACCES) => Some("it has no execute permission, or is a directory".to_owned()),
                _ => None,
            },
            Self::FuseOverlayfs(_) => Some(
                match std::fs::File::options().read(true).write(true).open("/dev/fuse") {
                    Ok(_) => "the program fuse-overlayfs must be in PATH; --storage-driver copy needs nothing".to_owned(),
                    Err(e) => format!("it needs /dev/fuse, which cannot be opened ({e}); --storage-driver copy needs nothing"),
                },
            ),
            Self::Init(f) => match (f.stage, f.errno) {
                (Stage::Root, libc::EINVAL) => Some("the store's file system cannot carry an overlay; try --storage-driver fuse-overlayfs, or move the store with --root (`coracle doctor` tells more)".to_owned()),
                (Stage::Root, libc::EPERM) => Some("overlay mounts in a user namespace are not allowed here; try --storage-driver fuse-overlayfs or copy".to_owned()),
                (Stage::Identity, _) => Some("`coracle doctor` says whether a seccomp supervisor is possible here; --identity ids does without, and pretends".to_owned()),
                (_, libc::ENOSPC) => Some("the disk or a quota is full, or a limit of namespaces or mounts is reached (`coracle doctor` shows them)".to_owned()),
                _ => None,
            },
            _ => None,
        }
    }
}

/// What a program wrote to stderr, as part of a sentence.
fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    match lines[..] {
        [] => "it did not say why".to_owned(),
        _ => lines.join("; "),
    }
}

#[cfg(test)]
mod tests {
    use super::Error;

    #[test]
    fn what_fuse_overlayfs_says_is_one_line() {
        for (said, want) in [
            (
                "fuse: device not found\n\nfuse-overlayfs: cannot mount\n",
                "failed: fuse: device not found; fuse-overlayfs: cannot mount",
            ),
            ("", "failed: it did not say why"),
        ] {
            let e = Error::FuseOverlayfs(said.to_owned());
            assert!(e.to_string().ends_with(want), "{e}");
            assert!(
                e.hint()
                    .is_some_and(|h| h.contains("--storage-driver copy"))
            );
        }
    }
}
