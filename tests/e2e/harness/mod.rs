//! What the tests stand on: the machine (users, directories, registry), one environment a test, and
//! commands with time limits.

mod cmd;
mod env;
mod evil;
mod machine;
pub mod skips;
mod tarball;
pub mod walk;

pub use cmd::{Cmd, Output, Proc};
pub use env::{Done, Env, Feature, Runtime, Skip};
pub use evil::{Evil, Reply, Then};
pub use machine::{Machine, enter_own_mount_namespace, free_port, layout};
pub use tarball::{Image, Tar, digest, gzip};

use std::time::{Duration, Instant};

/// Wait until `what` holds; panics after ten seconds.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < end, "waited 10 s in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
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
