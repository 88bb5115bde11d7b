//! One test's environment: its own HOME, work directory and, on request, its own store.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::machine::{self, Machine, remove};
use super::{Cmd, Output, walk};

/// What a test returns: done, or skipped. Failing is panicking.
pub type Done = Result<(), Skip>;

/// Why a test was skipped.
#[derive(Debug)]
pub struct Skip(pub String);

/// What runs the containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    Coracle,
    /// To test the tests: `E2E_RUNTIME=podman`.
    Podman,
}

impl Runtime {
    pub fn from_env() -> Self {
        match std::env::var("E2E_RUNTIME").as_deref() {
            Ok("podman") => Self::Podman,
            Ok("" | "coracle") | Err(_) => Self::Coracle,
            Ok(other) => panic!("E2E_RUNTIME={other}: want coracle or podman"),
        }
    }
}

/// What a test may need of the machine. Each is found out by doing it.
#[derive(Clone, Copy, Debug)]
pub enum Feature {
    /// Started by root: mounts, other users, devices.
    Root,
    /// The test user can make user namespaces.
    UserNamespaces,
    /// Overlay with `userxattr` in a user namespace, on the file system of the tests.
    Overlay,
    /// The test user can open /dev/fuse, and there is fuse-overlayfs.
    Fuse,
    /// A program of this machine.
    Program(&'static str),
}

/// The environment of one test; its directory is removed at the end.
#[derive(Debug)]
pub struct Env {
    pub machine: &'static Machine,
    pub runtime: Runtime,
    pub dir: PathBuf,
    pub home: PathBuf,
    /// Data root: the shared store, unless the test asked for its own.
    root: PathBuf,
}

impl Env {
    pub fn new(test: &str) -> Self {
        let machine = Machine::get();
        let dir = machine.dir.join("t").join(test.replace("::", "."));
        let home = dir.join("home");
        std::fs::create_dir_all(&home).unwrap();
        let e = Self {
            machine,
            runtime: Runtime::from_env(),
            root: machine.shared_root(),
            home,
            dir,
        };
        e.give(&e.dir);
        e.give(&e.home);
        e
    }

    /// The same with an empty store of its own.
    pub fn with_own_store(&self) -> Self {
        let root = self.dir.join("store");
        self.with_root(root)
    }

    /// The same with another data root.
    pub fn with_root(&self, root: PathBuf) -> Self {
        let dir = self.dir.join("own");
        std::fs::create_dir_all(&dir).unwrap();
        self.give(&dir);
        Self {
            machine: self.machine,
            runtime: self.runtime,
            home: self.home.clone(),
            dir,
            root,
        }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Make the test user the owner.
    pub fn give(&self, path: &Path) {
        let _ = std::os::unix::fs::chown(path, Some(self.machine.uid), Some(self.machine.gid));
    }

    /// A directory of the test user, mode 0755.
    pub fn subdir(&self, name: &str) -> PathBuf {
        let path = self.dir.join(name);
        std::fs::create_dir_all(&path).unwrap();
        self.give(&path);
        path
    }

    /// A file of the test user, mode 0644.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        self.give(&path);
        path
    }

    /// Skip unless the machine has a feature.
    pub fn need(&self, feature: Feature) -> Done {
        let answer = match feature {
            Feature::Root if self.machine.is_root => Ok(()),
            Feature::Root => Err("only root can set this up".to_owned()),
            Feature::Program(name) => self.probe(
                &format!("command -v {name}"),
                &format!("there is no {name}"),
            ),
            Feature::UserNamespaces => {
                self.probe("unshare --user --map-root-user true", "no user namespaces")
            }
            Feature::Overlay => {
                let d = self.subdir("probe");
                self.probe(
                    &format!(
                        "cd {} && mkdir -p l u w m && unshare -Urm mount -t overlay -o \
                         userxattr,lowerdir=l,upperdir=u,workdir=w none m",
                        d.display()
                    ),
                    "no overlay with userxattr",
                )
            }
            Feature::Fuse => self.probe(
                "command -v fuse-overlayfs && : <>/dev/fuse",
                "no fuse-overlayfs or no access to /dev/fuse",
            ),
        };
        answer.map_err(Skip)
    }

    fn probe(&self, script: &str, reason: &str) -> Result<(), String> {
        let path = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";
        let output = Cmd::new(self.machine.drop_privileges(), ["sh", "-c", script])
            .env("PATH", path)
            .run();
        if output.code() == 0 {
            return Ok(());
        }
        Err(format!("{reason}: {}", output.err().trim()))
    }

    /// Skip on the peer: `why` says in what it differs.
    pub fn coracle_only(&self, why: &str) -> Done {
        match self.runtime {
            Runtime::Coracle => Ok(()),
            Runtime::Podman => Err(Skip(format!("podman differs: {why}"))),
        }
    }

    /// A command as the test user, with an environment of HOME, PATH and the data root.
    pub fn user<A: AsRef<OsStr>>(&self, argv: impl IntoIterator<Item = A>) -> Cmd {
        let cmd = Cmd::new(self.machine.drop_privileges(), argv)
            .env("HOME", &self.home)
            .cwd(&self.dir);
        match self.runtime {
            Runtime::Coracle => cmd
                .env("PATH", self.machine.dir.join("bin"))
                .env("CORACLE_ROOT", &self.root),
            Runtime::Podman => cmd
                .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
                .env("XDG_RUNTIME_DIR", &self.root),
        }
    }

    /// The runtime with these arguments.
    pub fn cmd<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Cmd {
        match self.runtime {
            Runtime::Coracle => self.user(["coracle"]).args(args),
            Runtime::Podman => {
                std::fs::create_dir_all(&self.root).unwrap();
                self.give(&self.root);
                let part = |name: &str| self.root.join(name).into_os_string();
                let mut podman: Vec<OsString> =
                    vec!["podman".into(), "--root".into(), part("root")];
                podman.extend([
                    "--runroot".into(),
                    part("run"),
                    "--tmpdir".into(),
                    part("tmp"),
                ]);
                podman.extend(
                    [
                        "--cgroup-manager=cgroupfs",
                        "--events-backend=none",
                        "--log-level=error",
                    ]
                    .map(OsString::from),
                );
                let mut args: Vec<OsString> = args.into_iter().map(|a| a.as_ref().into()).collect();
                if args.first().is_some_and(|a| a == "run") {
                    // It refuses machines with both cgroup versions.
                    args.insert(1, "--cgroups=disabled".into());
                }
                self.user(podman).args(args)
            }
        }
    }

    /// The full name of a test image, present in the store.
    pub fn image(&self, image: &str) -> String {
        if self.root == self.machine.shared_root() {
            return self.machine.pulled(image, |name| self.pull(name));
        }
        let name = self.machine.pushed(image);
        self.pull(&name);
        name
    }

    fn pull(&self, name: &str) {
        let tls: &[&str] = match self.runtime {
            Runtime::Coracle => &[],
            Runtime::Podman => &["--tls-verify=false"],
        };
        self.cmd(["pull", "--quiet"])
            .args(tls)
            .arg(name)
            .limit(400)
            .ok();
    }

    /// `run --rm FLAGS IMAGE ARGS`, not started yet.
    pub fn run_cmd(&self, flags: &[&str], image: &str, args: &[&str]) -> Cmd {
        let name = self.image(image);
        let mut cmd = self.cmd(["run", "--rm"]);
        if !flags.iter().any(|f| f.starts_with("--network")) {
            // What coracle shares by default the tests should not; podman's default needs slirp4netns.
            cmd = cmd.arg("--network=none");
        }
        cmd.args(flags).arg(name).args(args)
    }

    /// `run --rm --network=none FLAGS NAME ARGS` with an image name as it is, not started yet.
    pub fn run_name(&self, flags: &[&str], name: &str, args: &[&str]) -> Cmd {
        self.cmd(["run", "--rm", "--network=none"])
            .args(flags)
            .arg(name)
            .args(args)
    }

    /// The unpacked layers, as text.
    pub fn layers(&self) -> Vec<String> {
        walk::tree(&self.root.join("layers"), &[])
    }

    /// No draft, no trash and no part of a blob is in the store.
    #[track_caller]
    pub fn nothing_unfinished(&self) {
        let left: Vec<_> = std::fs::read_dir(self.root.join("tmp"))
            .map(|d| d.flatten().map(|f| f.file_name()).collect())
            .unwrap_or_default();
        assert!(left.is_empty(), "{left:?}");
    }

    /// `run --rm FLAGS IMAGE ARGS`.
    #[track_caller]
    pub fn run(&self, flags: &[&str], image: &str, args: &[&str]) -> Output {
        self.run_cmd(flags, image, args).run()
    }

    /// A shell script in busybox; expects exit code 0 and returns stdout.
    #[track_caller]
    pub fn sh(&self, flags: &[&str], script: &str) -> String {
        self.run(flags, "busybox", &["sh", "-c", script])
            .code_is(0)
            .out()
    }

    /// A Python script in the python image; expects exit code 0 and returns stdout.
    #[track_caller]
    pub fn python(&self, flags: &[&str], script: &str) -> String {
        self.run(flags, "python", &["python3", "-c", script])
            .code_is(0)
            .out()
    }

    /// A shell script of this machine, in which `"$@"` is the command.
    pub fn around(&self, script: &str, cmd: &Cmd) -> Cmd {
        Cmd::host(["sh", "-c", script, "sh"])
            .args(cmd.argv())
            .cwd(&self.dir)
    }

    /// Directory of a test image's OCI layout, readable by the test user.
    pub fn layout(&self, image: &str) -> PathBuf {
        let copy = self.dir.join(format!("layout-{image}"));
        if !copy.exists() {
            Cmd::host(["cp", "-r", "--"])
                .arg(machine::layout(image))
                .arg(&copy)
                .ok();
            Cmd::host(["chmod", "-R", "a+rX"]).arg(&copy).ok();
        }
        copy
    }
}

impl Drop for Env {
    fn drop(&mut self) {
        end_monitors(&self.dir);
        if std::env::var_os("E2E_KEEP").is_none() {
            remove(&self.dir);
        }
    }
}

/// End the containers that a failed test left in the background: those whose monitor has something open below `dir`.
fn end_monitors(dir: &Path) {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes {
        let path = process.path();
        let name = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
        if name.trim_end() != "coracle-monitor" {
            continue;
        }
        let fds = std::fs::read_dir(path.join("fd")).into_iter().flatten();
        let ours = fds
            .flatten()
            .any(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to.starts_with(dir)));
        let pid = process.file_name().to_str().and_then(|n| n.parse().ok());
        if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw)
            && ours
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}
