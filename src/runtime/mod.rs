//! From a bundle (an OCI runtime configuration and a root file system) to a running process. Sees
//! neither store nor registry nor cli, so that it serves `run` and the OCI runtime verbs alike.
//!
//! ```text
//! Spec + Root --plan--> Plan (pure data) --spawn--> parent <--channel--> init (child) --exec--> program
//! ```
//!
//! Invariants:
//! - the launcher has one thread from `main` to clone3, so the child may allocate;
//! - whatever the child opens is close-on-exec, and the child leaves by exec or `_exit` only;
//! - a path inside the root file system is resolved by openat2(2) with `RESOLVE_IN_ROOT`, or after
//!   pivot_root(2); never by string concatenation from the outside.

pub mod bundle;
pub mod caps;
mod channel;
mod error;
mod exec;
mod init;
mod mounts;
mod plan;
mod process;
mod running;
pub mod seccomp;
mod spawn;

pub use error::{Error, Failure, Stage};
pub use exec::{Supervise, exec};
pub(crate) use init::reaper::{NAME as INIT_NAME, main as init_main};
pub use mounts::{MountOptionError, MountOptions};
pub use plan::{
    Devices, IdMap, Identity, Mapping, MemoryFile, Options, Plan, PlanError, ProcFs, Stdin,
    Streams, WindowSize, resource,
};
pub use process::Process;
pub use running::{Running, pid};
pub use spawn::{Started, spawn};
