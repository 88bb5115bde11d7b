//! Health checks: a program in the container, run from time to time. docker-run(1) `--health-cmd`, Dockerfile
//! reference, HEALTHCHECK.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::keep::Health;

/// Results that are kept, as docker's.
const RESULTS: usize = 5;
/// Bytes of a test's output that are kept, as docker's.
const OUTPUT_MAX: usize = 4096;

/// What is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nothing yet.
    #[default]
    Starting,
    /// The last test went well.
    Healthy,
    /// So many in a row did not.
    Unhealthy,
}

impl Status {
    /// Docker's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One test that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// RFC 3339.
    pub start: String,
    /// RFC 3339.
    pub end: String,
    /// 0 is healthy; -1: it took too long.
    pub exit_code: i32,
    /// What it said, cut.
    pub output: String,
}

/// All that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The sum of it.
    pub status: Status,
    /// Failures in a row.
    pub failing_streak: u32,
    /// The last tests, the oldest first.
    pub log: Vec<Outcome>,
}

impl State {
    /// Take a result in. `grace`: a failure does not count yet.
    fn learn(&mut self, outcome: Outcome, retries: u32, grace: bool) {
        if outcome.exit_code == 0 {
            self.failing_streak = 0;
            self.status = Status::Healthy;
        } else if !(grace && self.status == Status::Starting) {
            self.failing_streak += 1;
            if self.failing_streak >= retries {
                self.status = Status::Unhealthy;
            }
        }
        self.log.push(outcome);
        let surplus = self.log.len().saturating_sub(RESULTS);
        self.log.drain(..surplus);
    }
}

#[derive(Debug)]
struct Running {
    child: std::process::Child,
    pidfd: OwnedFd,
    output: OwnedFd,
    said: Vec<u8>,
    began: String,
    deadline: Instant,
    late: bool,
}

/// The tests of a container that runs.
#[derive(Debug)]
pub struct Checks {
    health: Health,
    /// What runs the test in the container: our own `exec`, with its arguments but the test's.
    exec: Vec<OsString>,
    state: State,
    started: Instant,
    next: Instant,
    running: Option<Running>,
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}

impl Checks {
    /// Of a container that has just been started.
    pub fn new(health: Health, exec: Vec<OsString>) -> Self {
        let started = Instant::now();
        Self {
            next: started + health.interval,
            health,
            exec,
            state: State::default(),
            started,
            running: None,
        }
    }

    /// What is known by now.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// When there is something to do.
    pub(super) fn due(&self) -> Instant {
        self.running.as_ref().map_or(self.next, |r| match r.late {
            // It was killed: its end is what comes next.
            true => r.deadline + Duration::from_secs(3600),
            false => r.deadline,
        })
    }

    /// To poll, for [`serve`](Self::serve).
    pub(super) fn interests<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        if let Some(r) = &self.running {
            fds.push(PollFd::from_borrowed_fd(r.pidfd.as_fd(), PollFlags::IN));
            fds.push(PollFd::from_borrowed_fd(r.output.as_fd(), PollFlags::IN));
        }
    }

    /// How many [`interests`](Self::interests) there are.
    pub(super) fn descriptors(&self) -> usize {
        self.running.as_ref().map_or(0, |_| 2)
    }

    /// Begin, read, give up on or take the result of a test. True when something is known that was not.
    pub(super) fn serve(&mut self, ready: &[PollFlags], paused: bool) -> bool {
        let at = Instant::now();
        let Some(running) = &mut self.running else {
            if at >= self.next {
                self.next = at + self.health.interval;
                if !paused {
                    return self.begin();
                }
            }
            return false;
        };
        let ended = ready.first().is_some_and(|r| !r.is_empty());
        if ready.get(1).is_some_and(|r| !r.is_empty()) || ended {
            running.read();
        }
        if !ended {
            if at >= running.deadline && !running.late {
                running.late = true;
                let _ = pidfd_send_signal(&running.pidfd, Signal::KILL);
            }
            return false;
        }
        let Some(mut running) = self.running.take() else {
            return false;
        };
        self.next = at + self.health.interval;
        let code = running.child.wait().ok().and_then(|s| s.code());
        let (exit_code, output) = match running.late {
            true => (-1, "the test took too long".to_owned()),
            false => (
                code.unwrap_or(-1),
                String::from_utf8_lossy(&running.said).into_owned(),
            ),
        };
        self.learn(running.began, exit_code, output);
        true
    }

    fn learn(&mut self, start: String, exit_code: i32, output: String) {
        let grace = self.started.elapsed() < self.health.start_period;
        let outcome = Outcome {
            start,
            end: now(),
            exit_code,
            output,
        };
        self.state.learn(outcome, self.health.retries, grace);
    }

    fn begin(&mut self) -> bool {
        match self.spawn() {
            Ok(running) => {
                self.running = Some(running);
                false
            }
            Err(e) => {
                self.learn(now(), -1, format!("the test cannot be run: {e}"));
                true
            }
        }
    }

    fn spawn(&self) -> io::Result<Running> {
        let flags = rustix::pipe::PipeFlags::CLOEXEC;
        let (output, theirs) = rustix::pipe::pipe_with(flags)?;
        rustix::io::ioctl_fionbio(&output, true)?;
        let (program, args) = self
            .exec
            .split_first()
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let child = Command::new(program)
            .args(args)
            .args(&self.health.test)
            .stdin(Stdio::null())
            .stdout(theirs.try_clone()?)
            .stderr(theirs)
            .spawn()?;
        let pid = Pid::from_child(&child);
        Ok(Running {
            pidfd: pidfd_open(pid, PidfdFlags::empty())?,
            child,
            output,
            said: Vec::new(),
            began: now(),
            deadline: Instant::now() + self.health.timeout,
            late: false,
        })
    }
}

impl Running {
    fn read(&mut self) {
        let mut buffer = [0; 1024];
        loop {
            match rustix::io::read(&self.output, &mut buffer) {
                Ok(0) | Err(Errno::AGAIN) => return,
                Ok(n) => {
                    let room = OUTPUT_MAX.saturating_sub(self.said.len());
                    self.said.extend(&buffer[..n.min(room)]);
                }
                Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }
}

impl Drop for Checks {
    /// A test does not outlive what it tests.
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(exit_code: i32) -> Outcome {
        Outcome {
            start: String::new(),
            end: String::new(),
            exit_code,
            output: String::new(),
        }
    }

    #[test]
    fn failures_count_in_a_row_and_not_during_the_start() {
        let mut s = State::default();
        s.learn(outcome(1), 2, true);
        assert_eq!((s.status, s.failing_streak), (Status::Starting, 0));
        s.learn(outcome(1), 2, false);
        assert_eq!((s.status, s.failing_streak), (Status::Starting, 1));
        s.learn(outcome(1), 2, false);
        assert_eq!((s.status, s.failing_streak), (Status::Unhealthy, 2));
        s.learn(outcome(0), 2, false);
        assert_eq!((s.status, s.failing_streak), (Status::Healthy, 0));
        // Once it was healthy there is no grace.
        s.learn(outcome(1), 1, true);
        assert_eq!((s.status, s.log.len()), (Status::Unhealthy, 5));
        s.learn(outcome(0), 1, true);
        assert_eq!(s.log.len(), 5);
    }
}
