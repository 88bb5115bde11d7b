//! Run a closure in a forked child and get a small typed answer back.
//!
//! A question such as "may I make a user namespace?" has only one honest answer: try it. The trial
//! changes the process that makes it, so a child does it and is thrown away. The child never returns
//! to the caller's code: it leaves by `_exit`, so that no destructor, exit handler or stdio buffer
//! of the parent runs twice. It answers over a close-on-exec pipe: one number, or the stage that
//! failed and its errno. It is always reaped, its time is bounded ([`LIMIT`]), and it dies with its
//! parent (`PR_SET_PDEATHSIG`), also when it was itself started by a child. [`bytes_from_child`] is the
//! same for work: as many bytes as it likes, and as much time as it takes.
//!
//! # Threads
//!
//! Coracle's own processes have one thread when they call this. In a process with several threads
//! (tests) the child has only the calling one, and a lock that another thread held at the fork stays
//! locked: glibc's `fork` puts its own locks (malloc, stdio) in order, but those of Rust's standard
//! library for `std::env` and for stdout are not. So a closure given to this module reads no
//! environment variable and prints nothing; it makes system calls, reads and writes files, and
//! allocates. If it hangs all the same, the time limit ends it.

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::clone::exit_now;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Pid, Signal, WaitOptions, getpid, getppid, kill_process, set_parent_process_death_signal,
    waitpid,
};

/// How long [`in_child`] waits before it kills the child.
pub const LIMIT: Duration = Duration::from_secs(5);

/// Exit status of a child whose closure panicked; never seen otherwise.
const EXIT_PANIC: i32 = 70;
const TAG_DONE: u8 = 1;
const TAG_STOPPED: u8 = 2;

/// Where a closure stopped, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop {
    /// The step that failed, in a few words: usually the system call and what it was for.
    pub stage: &'static str,
    /// What the kernel said.
    pub errno: Errno,
}

/// Turns a failed call into a [`Stop`] by naming its stage.
pub trait At<T> {
    /// Name the stage at which this call failed.
    fn at(self, stage: &'static str) -> Result<T, Stop>;
}

impl<T> At<T> for Result<T, Errno> {
    fn at(self, stage: &'static str) -> Result<T, Stop> {
        self.map_err(|errno| Stop { stage, errno })
    }
}

impl<T> At<T> for std::io::Result<T> {
    fn at(self, stage: &'static str) -> Result<T, Stop> {
        // An error without a number is one of std's own making ("failed to fill whole buffer").
        self.map_err(|e| Stop {
            stage,
            errno: Errno::from_io_error(&e).unwrap_or(Errno::IO),
        })
    }
}

impl<T> At<T> for Result<T, Failed> {
    fn at(self, stage: &'static str) -> Result<T, Stop> {
        // The stage of an inner child is a string of its own; its errno is what matters here.
        self.map_err(|failed| Stop {
            stage,
            errno: failed.errno().unwrap_or(Errno::IO),
        })
    }
}

/// Why there is no answer from a child, or which one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// No child could be made.
    #[error("{call}: {errno}")]
    Start {
        /// `fork` or `pipe`.
        call: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
    /// The closure gave up at a stage.
    #[error("{stage}: {errno}")]
    Stopped {
        /// The stage that failed.
        stage: String,
        /// What the kernel said.
        errno: Errno,
    },
    /// The child was still busy when its time was over, and was killed.
    #[error("no answer after {} s", .0.as_secs())]
    TimedOut(Duration),
    /// A signal ended the child (SIGSYS: a seccomp filter that kills).
    #[error("ended by signal {0}")]
    Signal(i32),
    /// The child left without an answer (status -1: reaped by the kernel, nobody knows).
    #[error("ended with status {0} and no answer")]
    Silent(i32),
}

impl Failed {
    /// The errno behind the failure, if there is one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Start { errno, .. } | Self::Stopped { errno, .. } => Some(*errno),
            Self::TimedOut(_) | Self::Signal(_) | Self::Silent(_) => None,
        }
    }

    /// The stage that failed, if the child named one.
    pub fn stage(&self) -> Option<&str> {
        match self {
            Self::Stopped { stage, .. } => Some(stage),
            _ => None,
        }
    }
}

/// A child that is at work. Dropped without [`finish`](Self::finish), it is killed and reaped.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    answer: OwnedFd,
    reaped: bool,
}

/// Run `work` in a forked child, for at most [`LIMIT`].
///
/// # Errors
/// [`Failed::Stopped`] with the stage and errno that `work` returned; the other variants when there
/// is no answer.
pub fn in_child(work: impl FnOnce() -> Result<u64, Stop>) -> Result<u64, Failed> {
    start(work)?.finish(LIMIT)
}

/// Run `work` in a forked child for as long as it takes, and get its bytes.
///
/// # Errors
/// Those of [`in_child`] but the ones that concern stages and time.
pub fn bytes_from_child(work: impl FnOnce() -> Vec<u8>) -> Result<Vec<u8>, Failed> {
    start_bytes(work)?.bytes()
}

/// The same in two steps, so that the caller can play its part meanwhile; then comes [`Child::bytes`].
/// What `work` owns is closed in the parent.
///
/// # Errors
/// [`Failed::Start`].
pub fn start_bytes(work: impl FnOnce() -> Vec<u8>) -> Result<Child, Failed> {
    start_raw(work)
}

/// Run `work` in a forked child and go on at once, so that the caller can play its part (write the
/// child's id map, answer its system calls). What `work` owns is closed in the parent.
///
/// # Errors
/// [`Failed::Start`].
pub fn start(work: impl FnOnce() -> Result<u64, Stop>) -> Result<Child, Failed> {
    start_raw(|| match work() {
        Ok(value) => {
            let mut m = vec![TAG_DONE];
            m.extend_from_slice(&value.to_ne_bytes());
            m
        }
        Err(stop) => {
            let mut m = vec![TAG_STOPPED];
            m.extend_from_slice(&stop.errno.raw_os_error().to_ne_bytes());
            m.extend_from_slice(stop.stage.as_bytes());
            m
        }
    })
}

fn start_raw(work: impl FnOnce() -> Vec<u8>) -> Result<Child, Failed> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(|errno| Failed::Start {
        call: "pipe",
        errno,
    })?;
    let parent = getpid();
    // SAFETY: fork has no precondition of its own. The child runs only `child` below, which never
    // returns into the caller's frames; see "Threads" above for what its closure keeps to.
    match unsafe { libc::fork() } {
        0 => {
            drop(read);
            child(parent, write, work)
        }
        pid => match (pid > 0).then(|| Pid::from_raw(pid)).flatten() {
            Some(pid) => Ok(Child {
                pid,
                answer: read,
                reaped: false,
            }),
            None => Err(Failed::Start {
                call: "fork",
                errno: Errno::from_io_error(&std::io::Error::last_os_error())
                    .unwrap_or(Errno::AGAIN),
            }),
        },
    }
}

/// The child's whole life.
fn child(parent: Pid, answer: OwnedFd, work: impl FnOnce() -> Vec<u8>) -> ! {
    let leave = Leave(EXIT_PANIC);
    // Failure leaves a child that outlives a killed parent by as long as its trial takes: harmless.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    // The parent may have died before that call. In a new pid namespace it has no number here.
    if getppid().is_some_and(|now| now != parent) {
        std::process::abort();
    }
    let message = work();
    let sent = std::fs::File::from(answer).write_all(&message);
    std::mem::forget(leave);
    exit_now(if sent.is_ok() { 0 } else { 1 })
}

/// Ends the process when dropped, so that a panic cannot unwind into the parent's frames.
struct Leave(i32);

impl Drop for Leave {
    fn drop(&mut self) {
        exit_now(self.0)
    }
}

impl Child {
    /// The child's process id. It stays valid until [`finish`](Self::finish), which reaps it.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Wait for the answer, for at most `limit`, and reap the child.
    ///
    /// # Errors
    /// As [`in_child`].
    pub fn finish(mut self, limit: Duration) -> Result<u64, Failed> {
        let message = self.read(Some(limit));
        if message.is_none() {
            let _ = kill_process(self.pid, Signal::KILL);
        }
        let status = reap(self.pid);
        // The number is free now: the destructor must not kill whoever gets it next.
        self.reaped = true;
        let message = message.ok_or(Failed::TimedOut(limit))?;
        decode(&message).unwrap_or(Err(silent(status)))
    }

    /// Wait for the bytes of [`start_bytes`] for as long as it takes, and reap the child.
    ///
    /// # Errors
    /// As [`bytes_from_child`].
    pub fn bytes(mut self) -> Result<Vec<u8>, Failed> {
        let message = self.read(None).unwrap_or_default();
        let status = reap(self.pid);
        self.reaped = true;
        match status {
            // Only a child that wrote everything ends with 0.
            Some(Ended::Exit(0)) => Ok(message),
            status => Err(silent(status)),
        }
    }

    /// What the child wrote until it closed its end; `None` when the time is over.
    fn read(&self, limit: Option<Duration>) -> Option<Vec<u8>> {
        let deadline = limit.map(|limit| Instant::now() + limit);
        let mut message = Vec::with_capacity(64);
        let mut chunk = [0_u8; 256];
        loop {
            let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return None;
            }
            let timeout = left.map(|left| Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            });
            let mut fds = [PollFd::new(&self.answer, PollFlags::IN)];
            match poll(&mut fds, timeout.as_ref()) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(_) => return Some(message),
            }
            match rustix::io::read(&self.answer, &mut chunk) {
                Ok(0) => return Some(message),
                Ok(n) => message.extend_from_slice(&chunk[..n]),
                Err(Errno::INTR) => {}
                Err(_) => return Some(message),
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = kill_process(self.pid, Signal::KILL);
            reap(self.pid);
        }
    }
}

enum Ended {
    Exit(i32),
    Signal(i32),
}

/// `None` when the kernel reaped it for us (the caller ignores SIGCHLD).
fn reap(pid: Pid) -> Option<Ended> {
    loop {
        match waitpid(Some(pid), WaitOptions::empty()) {
            Ok(Some((_, status))) => {
                return match (status.exit_status(), status.terminating_signal()) {
                    (Some(n), _) => Some(Ended::Exit(n)),
                    (None, Some(n)) => Some(Ended::Signal(n)),
                    (None, None) => continue,
                };
            }
            Ok(None) | Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

fn silent(status: Option<Ended>) -> Failed {
    match status {
        Some(Ended::Signal(n)) => Failed::Signal(n),
        Some(Ended::Exit(n)) => Failed::Silent(n),
        None => Failed::Silent(-1),
    }
}

fn decode(message: &[u8]) -> Option<Result<u64, Failed>> {
    match message.split_first()? {
        (&TAG_DONE, rest) => Some(Ok(u64::from_ne_bytes(rest.try_into().ok()?))),
        (&TAG_STOPPED, rest) => {
            let (errno, stage) = rest.split_first_chunk::<4>()?;
            Some(Err(Failed::Stopped {
                stage: String::from_utf8_lossy(stage).into_owned(),
                errno: Errno::from_raw_os_error(i32::from_ne_bytes(*errno)),
            }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_fds() -> usize {
        std::fs::read_dir("/proc/self/fd").unwrap().count()
    }

    #[test]
    fn a_value_comes_back() {
        assert_eq!(
            in_child(|| Ok(0xdead_beef_0000_0001)),
            Ok(0xdead_beef_0000_0001)
        );
    }

    #[test]
    fn a_stage_and_its_errno_come_back() {
        let got = in_child(|| {
            std::fs::read("/nonexistent/file").at("reading a file")?;
            Ok(0)
        });
        let failed = got.unwrap_err();
        assert_eq!(failed.stage(), Some("reading a file"));
        assert_eq!(failed.errno(), Some(Errno::NOENT));
    }

    #[test]
    fn many_bytes_come_back_or_none() {
        let long: Vec<u8> = (0..1_000_000_u32).map(|i| i as u8).collect();
        assert_eq!(bytes_from_child(|| long.clone()), Ok(long.clone()));
        assert_eq!(bytes_from_child(Vec::new), Ok(Vec::new()));
        let killed = bytes_from_child(|| {
            let _ = kill_process(getpid(), Signal::KILL);
            vec![1]
        });
        assert_eq!(killed, Err(Failed::Signal(9)));
    }

    #[test]
    fn a_hung_child_is_killed_in_time() {
        let began = Instant::now();
        let child = start(|| {
            std::thread::sleep(Duration::from_secs(60));
            Ok(0)
        })
        .unwrap();
        let pid = child.pid();
        let limit = Duration::from_millis(50);
        assert_eq!(child.finish(limit), Err(Failed::TimedOut(limit)));
        assert!(began.elapsed() < Duration::from_secs(10));
        assert_eq!(
            rustix::process::test_kill_process(pid),
            Err(Errno::SRCH),
            "reaped, so that no zombie stays"
        );
    }

    #[test]
    fn a_dropped_child_and_its_own_child_are_gone() {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let child = start(move || {
            let inner = start(|| {
                std::thread::sleep(Duration::from_secs(60));
                Ok(0)
            })
            .at("inner")?;
            let pid = inner.pid().as_raw_nonzero().get();
            rustix::io::write(&write, &pid.to_ne_bytes()).at("write")?;
            inner.finish(Duration::from_secs(60)).at("inner")
        })
        .unwrap();
        let mut pid = [0_u8; 4];
        assert_eq!(rustix::io::read(&read, &mut pid), Ok(4));
        let inner = Pid::from_raw(i32::from_ne_bytes(pid)).unwrap();
        drop(child);
        // Killed by the kernel, reaped by whoever adopts orphans: a zombie is dead as well.
        let gone = || match std::fs::read_to_string(format!("/proc/{inner}/stat")) {
            Ok(stat) => stat.contains(") Z "),
            Err(_) => true,
        };
        let began = Instant::now();
        while !gone() {
            assert!(
                began.elapsed() < Duration::from_secs(5),
                "the inner child lives on"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_signal_and_a_panic_are_told_apart_from_an_answer() {
        let killed = in_child(|| {
            let _ = kill_process(getpid(), Signal::TERM);
            Ok(0)
        });
        assert_eq!(killed, Err(Failed::Signal(15)));
        let silent = in_child(|| std::panic::resume_unwind(Box::new(())));
        assert_eq!(silent, Err(Failed::Silent(EXIT_PANIC)));
    }

    #[test]
    fn descriptors_do_not_leak() {
        // Other tests of this process open files meanwhile: a leak of 200 stands out.
        let before = open_fds();
        for _ in 0..100 {
            let _ = in_child(|| Ok(0));
            let _ = in_child(|| {
                Err(Stop {
                    stage: "x",
                    errno: Errno::PERM,
                })
            });
        }
        assert!(open_fds() < before + 100);
    }
}
