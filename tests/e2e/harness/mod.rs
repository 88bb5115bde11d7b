//! What the tests stand on: the machine (users, directories, registry), one environment a test, and
//! commands with time limits.

mod bundle;
mod cmd;
mod env;
mod evil;
mod machine;
mod registry;
pub mod skips;
mod tarball;
pub mod walk;

pub use bundle::Bundle;
pub use cmd::{Cmd, Output, Proc};
pub use env::{Done, Env, Feature, Runtime, Skip};
pub use evil::{Evil, Reply, Then};
pub use machine::{Machine, closed_port, enter_own_mount_namespace, layout};
pub use registry::{Registry, USER};
pub use tarball::{Image, Tar, digest, gzip};

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Wait until `what` holds; panics after a minute, which a loaded machine may need.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "waited 60 s in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// `sleep N` for some hours, with a number that no other test and no other suite on this machine has, so
/// that its process can be found by its command line.
pub fn unique_sleep() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("sleep {}{n:03}", 10_000 + std::process::id())
}

/// The process whose command line, joined by spaces, is exactly this.
pub fn pid_of(command: &str) -> Option<rustix::process::Pid> {
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .find(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<_> = line
                .split(|&b| b == 0)
                .map(|w| String::from_utf8_lossy(w).into_owned())
                .collect();
            words.join(" ").trim_end() == command
        })
        .and_then(rustix::process::Pid::from_raw)
}
