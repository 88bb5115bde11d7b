//! Commands with a time limit, and what came out of them.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// Against what hangs, not against what is slow: generous, as the machine may be busy.
const LIMIT: Duration = Duration::from_secs(120);

/// A command to run. The environment is empty but for what is added.
#[derive(Clone, Debug)]
pub struct Cmd {
    argv: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    prefix: Vec<OsString>,
    stdin: Option<Vec<u8>>,
    cwd: Option<PathBuf>,
    limit: Duration,
}

impl Cmd {
    /// `argv` behind `prefix` (a program and arguments that end in running another program).
    pub fn new<A: AsRef<OsStr>>(prefix: Vec<OsString>, argv: impl IntoIterator<Item = A>) -> Self {
        Self {
            argv: argv
                .into_iter()
                .map(|a| a.as_ref().to_os_string())
                .collect(),
            env: Vec::new(),
            prefix,
            stdin: None,
            cwd: None,
            limit: LIMIT,
        }
    }

    /// A program of this machine, as the user that started the suite.
    pub fn host<A: AsRef<OsStr>>(argv: impl IntoIterator<Item = A>) -> Self {
        let mut cmd = Self::new(Vec::new(), argv);
        for name in ["PATH", "HOME"] {
            if let Some(value) = std::env::var_os(name) {
                cmd = cmd.env(name, value);
            }
        }
        cmd
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.argv.push(arg.as_ref().to_os_string());
        self
    }

    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.argv
            .extend(args.into_iter().map(|a| a.as_ref().to_os_string()));
        self
    }

    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.retain(|(n, _)| n.as_os_str() != name.as_ref());
        self.env
            .push((name.as_ref().to_os_string(), value.as_ref().to_os_string()));
        self
    }

    pub fn without_env(mut self, name: &str) -> Self {
        self.env.retain(|(n, _)| n.as_os_str() != name);
        self
    }

    pub fn stdin(mut self, data: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(data.into());
        self
    }

    pub fn cwd(mut self, dir: impl Into<PathBuf>) -> Self {
        self.cwd = Some(dir.into());
        self
    }

    pub fn limit(mut self, seconds: u64) -> Self {
        self.limit = Duration::from_secs(seconds);
        self
    }

    /// Run the command by `wrapper`, which runs before privileges are dropped.
    pub fn wrapped<A: AsRef<OsStr>>(mut self, wrapper: impl IntoIterator<Item = A>) -> Self {
        let wrapper = wrapper.into_iter().map(|a| a.as_ref().to_os_string());
        self.prefix.splice(0..0, wrapper);
        self
    }

    /// Run the command by a shell script, as the suite's user, in a mount namespace of its own. The script
    /// ends in `exec "$@"`.
    pub fn prepared(self, script: &str) -> Self {
        let private = ["unshare", "--mount", "--propagation", "private"];
        self.wrapped(private.into_iter().chain(["sh", "-c", script, "sh"]))
    }

    /// Prefix and arguments, for a program that starts the command itself (a terminal, say).
    pub fn argv(&self) -> Vec<OsString> {
        let mut all = self.prefix.clone();
        all.push("env".into());
        all.push("-i".into());
        for (name, value) in &self.env {
            let mut pair = name.clone();
            pair.push("=");
            pair.push(value);
            all.push(pair);
        }
        all.extend(self.argv.iter().cloned());
        all
    }

    fn line(&self) -> String {
        let words: Vec<_> = self
            .argv
            .iter()
            .map(|a| a.to_string_lossy().into_owned())
            .collect();
        words.join(" ")
    }

    #[track_caller]
    pub fn spawn(&self) -> Proc {
        let argv = self.argv();
        let mut command = Command::new(&argv[0]);
        command
            .args(&argv[1..])
            .stdin(if self.stdin.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if let Some(dir) = &self.cwd {
            command.current_dir(dir);
        }
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(e) => panic!("cannot start {}: {e}", argv[0].to_string_lossy()),
        };
        if let (Some(data), Some(mut pipe)) = (self.stdin.clone(), child.stdin.take()) {
            // The program may end without reading: that is its affair.
            std::thread::spawn(move || drop(pipe.write_all(&data)));
        }
        let stdout = collect(child.stdout.take());
        let stderr = collect(child.stderr.take());
        Proc {
            line: self.line(),
            child,
            stdout,
            stderr,
            end: Instant::now() + self.limit,
        }
    }

    /// Run to the end.
    #[track_caller]
    pub fn run(&self) -> Output {
        self.spawn().wait()
    }

    /// Run, and expect exit code 0.
    #[track_caller]
    pub fn ok(&self) -> Output {
        self.run().code_is(0)
    }
}

/// Read a pipe to its end in the background, in pieces.
fn collect<R: Read + Send + 'static>(pipe: Option<R>) -> Receiver<Vec<u8>> {
    let (send, receive) = mpsc::channel();
    if let Some(mut pipe) = pipe {
        std::thread::spawn(move || {
            let mut block = vec![0; 1 << 16];
            while let Ok(n @ 1..) = pipe.read(&mut block) {
                if send.send(block[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
    }
    receive
}

/// A running command.
#[derive(Debug)]
pub struct Proc {
    line: String,
    child: Child,
    stdout: Receiver<Vec<u8>>,
    stderr: Receiver<Vec<u8>>,
    end: Instant,
}

impl Proc {
    /// Process id of the program itself: what stands before it replaces itself by exec.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn signal(&self, signal: Signal) {
        // It may have ended already.
        let _ = kill_process(self.pid(), signal);
    }

    /// Wait until `text` has come out on stdout; returns all that came until then.
    #[track_caller]
    pub fn wait_for(&self, text: &str) -> String {
        let mut seen = Vec::new();
        loop {
            let left = self.end.saturating_duration_since(Instant::now());
            match self.stdout.recv_timeout(left) {
                Ok(block) => seen.extend(block),
                Err(e) => {
                    let _ = kill_process_group(self.pid(), Signal::KILL);
                    let stderr: Vec<u8> = self.stderr.try_iter().flatten().collect();
                    panic!(
                        "`{}` did not print {text:?} ({e}), but {:?}; stderr: {}",
                        self.line,
                        String::from_utf8_lossy(&seen),
                        String::from_utf8_lossy(&stderr)
                    );
                }
            }
            let text_so_far = String::from_utf8_lossy(&seen);
            if text_so_far.contains(text) {
                return text_so_far.into_owned();
            }
        }
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Wait for the end; kills the process group and panics when the time is up.
    #[track_caller]
    pub fn wait(mut self) -> Output {
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if Instant::now() < self.end => {
                    std::thread::sleep(Duration::from_millis(3));
                }
                Ok(None) => {
                    let _ = kill_process_group(self.pid(), Signal::KILL);
                    let _ = self.child.wait();
                    let stdout: Vec<u8> = self.stdout.try_iter().flatten().collect();
                    let stderr: Vec<u8> = self.stderr.try_iter().flatten().collect();
                    panic!(
                        "`{}` took too long; stdout: {:?}; stderr: {}",
                        self.line,
                        String::from_utf8_lossy(&stdout),
                        String::from_utf8_lossy(&stderr)
                    );
                }
                Err(e) => panic!("cannot wait for `{}`: {e}", self.line),
            }
        };
        // The pipes end with the last process that holds them. One that outlives the command is a leak;
        // one that was killed with it may take a moment to go.
        let drain = |pipe: &Receiver<Vec<u8>>| {
            let end = Instant::now() + Duration::from_secs(20);
            let mut all = Vec::new();
            loop {
                match pipe.recv_timeout(end.saturating_duration_since(Instant::now())) {
                    Ok(block) => all.extend(block),
                    Err(mpsc::RecvTimeoutError::Disconnected) => return (all, true),
                    Err(mpsc::RecvTimeoutError::Timeout) => return (all, false),
                }
            }
        };
        let (stdout, out_closed) = drain(&self.stdout);
        let (stderr, err_closed) = drain(&self.stderr);
        let output = Output {
            line: self.line,
            status,
            stdout,
            stderr,
        };
        assert!(
            out_closed && err_closed,
            "something still holds the pipes of a command that has ended: {output:?}"
        );
        output
    }
}

/// How a command ended and what it printed.
pub struct Output {
    line: String,
    status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cut = |bytes: &[u8]| {
            let end = bytes.len().min(6000);
            String::from_utf8_lossy(&bytes[..end]).into_owned()
        };
        write!(
            f,
            "`{}`: {}\n--- stdout\n{}\n--- stderr\n{}\n---",
            self.line,
            self.status,
            cut(&self.stdout),
            cut(&self.stderr)
        )
    }
}

impl Output {
    /// Exit code; a program killed by signal n counts as 128+n, as a shell has it.
    pub fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    pub fn killed_by(&self) -> Option<i32> {
        self.status.signal()
    }

    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    #[track_caller]
    pub fn code_is(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "exit code of {self:?}");
        self
    }

    /// Exactly this on stdout.
    #[track_caller]
    pub fn out_is(self, text: &str) -> Self {
        assert_eq!(self.out(), text, "stdout of {self:?}");
        self
    }

    #[track_caller]
    pub fn out_has(self, text: &str) -> Self {
        assert!(
            self.out().contains(text),
            "no {text:?} on stdout of {self:?}"
        );
        self
    }

    #[track_caller]
    pub fn out_lacks(self, text: &str) -> Self {
        assert!(!self.out().contains(text), "{text:?} on stdout of {self:?}");
        self
    }

    /// Part of stderr, without regard to case.
    #[track_caller]
    pub fn err_has(self, text: &str) -> Self {
        assert!(
            self.err().to_lowercase().contains(&text.to_lowercase()),
            "no {text:?} on stderr of {self:?}"
        );
        self
    }

    #[track_caller]
    pub fn err_lacks(self, text: &str) -> Self {
        assert!(!self.err().contains(text), "{text:?} on stderr of {self:?}");
        self
    }

    #[track_caller]
    pub fn err_is(self, text: &str) -> Self {
        assert_eq!(self.err(), text, "stderr of {self:?}");
        self
    }

    /// Our own failure: this exit code, nothing on stdout, one clear message, no panic, and no control
    /// characters.
    #[track_caller]
    pub fn fails_with(self, code: i32, message: &str) -> Self {
        let output = self.code_is(code).err_has(message);
        let err = output.err();
        assert!(!err.contains("panicked"), "a panic: {output:?}");
        assert!(
            err.chars()
                .all(|c| c == '\n' || c == '\t' || !c.is_control()),
            "control characters reach the terminal: {err:?}"
        );
        assert!(err.lines().count() < 12, "too many words: {output:?}");
        output
    }
}
