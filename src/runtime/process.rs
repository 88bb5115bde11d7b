//! A program that is to run in a container, as its first process or as a further one: pure data, from the
//! runtime-spec's `process`.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;

use super::caps::Caps;
use super::plan::{Stdin, Streams, WindowSize};
use super::seccomp::Filter;
use crate::emulate::creds::Cred;
use crate::sys::exec::OwnExecutable;
use crate::sys::process::{IoPriority, Schedule};

/// A user of a namespace of several, with the five sets of capabilities(7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// As the namespace counts.
    pub uid: u32,
    /// As above.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Capabilities.
    pub caps: CapSets,
    /// Whether it is root first, since its namespace is not the caller's.
    pub enters: bool,
    /// What AppArmor or SELinux make of the process at exec.
    pub label: Option<Label>,
    /// Scheduling.
    pub schedule: Option<Schedule>,
    /// As above, of input and output.
    pub io_priority: Option<IoPriority>,
}

/// Five sets, as the program begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapSets {
    /// What exec can give at most.
    pub bounding: Caps,
    /// What is in force.
    pub effective: Caps,
    /// What goes over exec of a file that wants it.
    pub inheritable: Caps,
    /// What may be put in force.
    pub permitted: Caps,
    /// What goes over exec.
    pub ambient: Caps,
}

/// A security label that is written before exec: the file below `/proc/thread-self/attr`, and the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Its file.
    pub file: &'static str,
    /// What is written.
    pub text: String,
}

/// All that concerns the process alone, and not the container around it.
#[derive(Clone, Debug)]
pub struct Process {
    /// The program, looked up in the `PATH` of `env` if it has no slash, and its arguments.
    pub args: Vec<CString>,
    /// Nothing is looked up: what is executed is this copy of our own program in memory, which knows by the first
    /// argument what it is to be.
    pub own: Option<Rc<OwnedFd>>,
    /// `NAME=VALUE`. Without a HOME it gets that of its user.
    pub env: Vec<CString>,
    /// Working directory, in the container.
    pub cwd: PathBuf,
    /// A terminal of its own, of this size.
    pub terminal: Option<WindowSize>,
    /// Standard input without one.
    pub stdin: Stdin,
    /// Streams of its own, without one.
    pub streams: Option<Rc<Streams>>,
    /// Who the program sees itself as.
    pub uid: u32,
    /// The same and more, where users are emulated.
    pub identity: Option<Box<Cred>>,
    /// What it may do at most.
    pub caps: Caps,
    /// Whether exec gives no privilege any more.
    pub no_new_privileges: bool,
    /// What it may call; for a container with emulated identities with the rules for that.
    pub filter: Option<Filter>,
    /// Resource, soft and hard limit; `u64::MAX` is none.
    pub rlimits: Vec<(u32, u64, u64)>,
    /// Mask for the modes of new files.
    pub umask: u32,
    /// Readiness to be killed when memory is short.
    pub oom_score_adj: Option<i32>,
    /// Sockets and other inherited descriptors to keep, beyond 0 to 2: how many from 3 on.
    pub preserve_fds: u32,
    /// Whether the file that the caller was started from must be kept out of the container's hands.
    pub executable: OwnExecutable,
    /// Who it is to the kernel, where there is more than the one id that it has anyway.
    pub user: Option<Box<User>>,
    /// It sees processes that are not the container's, and shall not be able to end them.
    pub scope_signals: bool,
}
