//! Identity emulation: under one id, everything that expects several users works and is seen
//! consistently from inside.
//!
//! A filter ([`rules`]) has the kernel ask a supervisor about the calls that are concerned with who
//! somebody is and whom a file belongs to. The supervisor is a process of its own, forked by the command
//! before the container, in the container's user and mount namespaces and outside of its pid namespace.
//!
//! ```text
//! command                    supervisor                          container's first process
//!   start ---- fork ------->  waits for the listener
//!   clone3 --------------------------------------------------->   sets up
//!                             can work: says so ------------->    await_ready
//!                                                                 installs the filter
//!                             <------- listener, own pidfd ----   hand_over
//!                             setns(user, mnt), drops rights      exec
//!                             answers ----------------------->    whatever it asks
//!   ...
//!                             ends when nobody is left            ends
//! ```
//!
//! - [`creds`]: who a process is, by rules that are the kernel's own; the index of its credentials travels in
//!   a limit that the kernel passes on for us.
//! - `ownership`: whom a file belongs to, on its inode or in a record beside it ([`crate::owners`]).
//! - `resolve`: from a path of a caller to a file.
//! - `executing`: whether an exec that was asked about has happened.
//! - `handlers`: what is done about each family of calls.
//!
//! # What it is not
//!
//! A security boundary. The supervisor has no more authority than the container's own root, over the
//! user's own files; a lost race can spoil the container's own view of owners, and nothing else. What the
//! container may do to the host is decided by the kernel. All the same a hostile container must not be
//! able to stop it: it is out of reach for signals and ptrace(2) (another pid namespace, not dumpable),
//! and what grows has a bound. It waits for nothing that a container controls, but for file systems: a
//! thread that one lets wait is replaced, and holds no lock.
//!
//! # Limits
//!
//! Credentials are those of a process: a thread that changes its own by the bare system call changes
//! them for all. What is not asked about shows the one id: `/proc/PID/status` (docs/design.md says why), the
//! sender of a signal. A socket that is bound in a directory with a recorded default ACL does not get it.
//! A file that is made anew where the image has a record, by way of a dangling symlink or through another mount
//! of the root, is taken for the image's. By fuse-overlayfs each name of a hard link has an owner of its own.
//! With [`Mode::Strict`], stat(2), readlink(2), connect(2), and attributes (`user.*`) of others' files are not
//! refused, nor is the interpreter of a program looked at.
//! readdir(3) calls a device a regular file, where stat(2) says what it is: so `find -type c`, which asks no
//! further, misses it.
//!
//! `SCM_CREDENTIALS`: a sender may say who it is, and is refused what unix(7) refuses; sendmmsg(2) is not
//! asked about. A receiver with `SO_PASSCRED` sees 0:0 for everybody of the container, with the true pid,
//! whose owner `/proc/PID` shows. Who sends is known when the message is there, while recvmsg(2) is asked about
//! before: the supervisor would have to wait in the receiver's place, and for every message of every socket,
//! since no filter sees whether a control buffer is given.

mod access;
mod caller;
pub mod creds;
mod executing;
mod further;
mod handlers;
mod layouts;
mod ownership;
mod resolve;
pub mod rules;
mod serve;
mod supervisor;

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

pub use rules::Mode;
pub use supervisor::{Setup, Supervisor, await_ready, hand_over, own_pidfd, start};

/// All that the threads of a supervisor share.
struct World {
    /// The outer /proc, which is also the working directory.
    proc: OwnedFd,
    creds: creds::table::Table,
    ownership: ownership::Ownership,
    /// Our root directory, and the container's.
    root: resolve::Place,
    /// Whether a process of the container may have another one.
    roots_vary: AtomicBool,
    /// Whether a file system may let us wait for as long as it likes: one of the host, or one that the
    /// container mounts.
    may_wait: bool,
    /// Whether access is refused as owners and modes have it.
    strict: bool,
    /// Whether the container can see the supervisor's pid namespace.
    shared_pids: bool,
}

impl World {
    fn roots_vary(&self) -> bool {
        self.roots_vary.load(Ordering::Relaxed)
    }

    fn let_roots_vary(&self) {
        self.roots_vary.store(true, Ordering::Relaxed);
    }

    /// Whether /proc in the container shows its own processes only.
    fn own_proc(&self) -> bool {
        !self.shared_pids
    }
}
