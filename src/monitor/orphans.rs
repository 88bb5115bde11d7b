//! Without a pid namespace nothing ends a container's other processes when the first one ends. The
//! launcher is their subreaper then (see `runtime::spawn`), and ends them itself.

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

/// More rounds than a process could have generations that fork while they are being ended.
const ROUNDS: usize = 10_000;

/// End and reap every child of this process, and the children that they leave to us.
pub(super) fn end() {
    for _ in 0..ROUNDS {
        let Ok(list) = std::fs::read_to_string("/proc/thread-self/children") else {
            return;
        };
        let children: Vec<i32> = list
            .split_whitespace()
            .filter_map(|p| p.parse().ok())
            .collect();
        if children.is_empty() {
            return;
        }
        for pid in children {
            // A child of ours that we have not waited for: its number cannot be somebody else's.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            while waitpid(Pid::from_raw(pid), None) == Err(Errno::EINTR) {}
        }
    }
}
