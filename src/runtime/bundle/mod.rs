//! Bundles: a configuration of the OCI runtime-spec and a root file system to a container of any number of ids, that
//! is created first and started later. Called by the verbs of an OCI runtime (`ops::oci`); `run` has its own, shorter
//! way, with the same steps in [`init`](super::init).
//!
//! ```text
//! config.json --config--> Config --plan--> Bundle (pure data) --spawn--> created … start --> program
//! ```
//!
//! Who reads it should have the specification at hand: config.md, config-linux.md, runtime.md of version 1.2.

mod config;
pub(super) mod gate;
pub(super) mod hooks;
mod ids;
mod plan;
mod process;
mod spawn;

pub use config::{Changes, Config, ConfigError, Hook, Hooks, Process, State};
pub use hooks::HookError;
pub use plan::{Bundle, Notify, Settings};
pub(super) use plan::{NEWTIME, Node, NodeKind};
pub use spawn::{Created, Steps, connect_to, create, is_waiting, send_terminal, start};

use crate::sys::exec::OwnExecutable;

/// Run a hook of the host's side.
pub fn run_hook(hook: &Hook, state: &[u8]) -> Result<(), HookError> {
    hooks::run(hook, state, OwnExecutable::OutOfReach, || Ok(()))
}
