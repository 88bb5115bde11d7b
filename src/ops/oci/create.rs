//! `create`: a bundle to a container that waits for its start.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, getegid, geteuid};

use super::container::{Container, Record, boot, start_time};
use super::{Error, Runtime};
use crate::cgroup::Cgroup;
use crate::runtime;
use crate::runtime::bundle::{self, Bundle, Config, Created, Settings, Steps};
use crate::sys::exec::OwnExecutable;

/// What `create` and `run` have in common.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Name of the container.
    pub id: String,
    /// Its bundle; the working directory by default.
    pub bundle: PathBuf,
    /// Its configuration, if that is not the bundle's.
    pub config: Option<PathBuf>,
    /// Who gets the terminal.
    pub console_socket: Option<PathBuf>,
    /// Where its process id is written.
    pub pid_file: Option<PathBuf>,
    /// Descriptors to hand on, from 3.
    pub preserve_fds: u32,
    /// Enter the root file system without pivot_root(2).
    pub no_pivot: bool,
    /// Keep the caller's keyring.
    pub no_new_keyring: bool,
}

/// A container that waits, and what its caller keeps of it.
pub(super) struct Made {
    pub container: Container,
    pub config: Config,
    pub created: Created,
    /// Of a foreground.
    pub terminal: Option<OwnedFd>,
}

/// How many descriptors are handed on, and the variables that say so.
pub(super) type Handed = (u32, Vec<String>);

/// Create it.
pub fn create(runtime: &Runtime, o: &Options) -> Result<(), Error> {
    let handed = descriptors(o.preserve_fds)?;
    make(runtime, o, handed, true).map(drop)
}

/// Create it; `detached`: nobody will relay its terminal.
pub(super) fn make(
    runtime: &Runtime,
    o: &Options,
    (preserve_fds, env): Handed,
    detached: bool,
) -> Result<Made, Error> {
    let bundle = std::path::absolute(&o.bundle).map_err(|e| Error::file("find", &o.bundle, e))?;
    let path = match &o.config {
        Some(path) => path.clone(),
        None => bundle.join("config.json"),
    };
    let text = std::fs::read(&path).map_err(|e| Error::Read(path.clone(), e))?;
    let config = Config::parse(&text).map_err(|e| Error::Config(path, e))?;
    let settings = Settings {
        pivot: !o.no_pivot,
        keyring: !o.no_new_keyring,
        ..settings(o.id.clone(), bundle, preserve_fds, env)
    };
    let plan = Bundle::new(&config, &settings).map_err(runtime::Error::from)?;
    match (&o.console_socket, plan.has_terminal()) {
        (None, true) if detached => return Err(Error::NoConsoleSocket),
        (Some(_), false) => return Err(Error::ConsoleSocket),
        _ => {}
    }
    let console = o.console_socket.as_deref().map(console).transpose()?;
    let container = runtime.containers.create(&o.id)?;
    let result = attempt(runtime, o, &config, &text, &plan, &container, console);
    match result {
        Ok((created, terminal)) => Ok(Made {
            container,
            config,
            created,
            terminal,
        }),
        Err(e) => {
            // It has ended, and what was prepared for it is to be taken away (runtime-spec, "Lifecycle"). The first
            // failure is the one to tell.
            let told = plan.state().json("stopped", None);
            for hook in &config.hooks().poststop {
                let _ = bundle::run_hook(hook, &told);
            }
            let _ = container.remove();
            Err(e)
        }
    }
}

fn attempt(
    runtime: &Runtime,
    o: &Options,
    config: &Config,
    text: &[u8],
    plan: &Bundle,
    container: &Container,
    console: Option<OwnedFd>,
) -> Result<(Created, Option<OwnedFd>), Error> {
    container.keep_config(text)?;
    let mut cgroup = if runtime.cgroups {
        Cgroup::make(
            &o.id,
            config.cgroups_path(),
            config.resources(),
            plan.keeps_user_namespace() && is_machines_root(),
        )?
    } else {
        Cgroup::none(config.resources())?
    };
    let mut making = Making {
        container,
        plan,
        options: o,
        cgroup: &mut cgroup,
        console,
        terminal: None,
        failed: None,
    };
    let created = bundle::create(plan, container.as_fd(), &mut making);
    let (failed, terminal) = (making.failed.take(), making.terminal.take());
    match created {
        Ok(created) => Ok((created, terminal)),
        Err(e) => {
            cgroup.remove();
            // Ours says more than what the runtime made of it.
            Err(failed.unwrap_or(e.into()))
        }
    }
}

struct Making<'a> {
    container: &'a Container,
    plan: &'a Bundle,
    options: &'a Options,
    cgroup: &'a mut Cgroup,
    console: Option<OwnedFd>,
    terminal: Option<OwnedFd>,
    failed: Option<Error>,
}

impl Making<'_> {
    fn written(&mut self, pid: Pid, terminal: Option<OwnedFd>) -> Result<(), Error> {
        match (&self.console, terminal) {
            (Some(console), Some(master)) => bundle::send_terminal(console.as_fd(), master.as_fd())
                .map_err(|e| Error::file("use", Path::new("the console socket"), e))?,
            (_, terminal) => self.terminal = terminal,
        }
        let mut state = self.plan.state().clone();
        state.status = "created".to_owned();
        state.pid = Some(pid.as_raw_pid());
        self.container.write(&Record {
            state,
            start_time: start_time(pid.as_raw_pid()).unwrap_or(0),
            boot: boot(),
            created: jiff::Timestamp::now().to_string(),
            owner: geteuid().as_raw(),
            rootfs: self.plan.rootfs().to_owned(),
            program: self.plan.program(),
            cgroup: self.cgroup.path().map(Path::to_owned),
            cgroup_made: self.cgroup.made().to_vec(),
        })?;
        // Last: whoever sees it may start the container.
        match &self.options.pid_file {
            Some(path) => write_pid(path, pid),
            None => Ok(()),
        }
    }
}

impl Steps for Making<'_> {
    fn cloned(&mut self, pid: Pid) -> io::Result<()> {
        self.cgroup.join(pid).map_err(|e| {
            self.failed = Some(e.into());
            io::Error::other("")
        })
    }

    fn created(&mut self, pid: Pid, terminal: Option<OwnedFd>) -> io::Result<()> {
        self.written(pid, terminal).map_err(|e| {
            self.failed = Some(e);
            io::Error::other("")
        })
    }
}

/// Whether root here is root of the machine, and not of a user namespace (user_namespaces(7)).
fn is_machines_root() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    geteuid().is_root() && map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// What the machine and the caller say.
pub(super) fn settings(
    id: String,
    bundle: PathBuf,
    preserve_fds: u32,
    env: Vec<String>,
) -> Settings {
    Settings {
        id,
        bundle,
        preserve_fds,
        env,
        pivot: true,
        keyring: true,
        uid: geteuid().as_raw(),
        gid: getegid().as_raw(),
        apparmor: std::fs::read("/sys/module/apparmor/parameters/enabled")
            .is_ok_and(|t| t.starts_with(b"Y")),
        selinux: Path::new("/sys/fs/selinux/enforce").exists(),
        executable: OwnExecutable::look(),
    }
}

/// In one step, so that nobody reads half a number.
pub(super) fn write_pid(path: &Path, pid: Pid) -> Result<(), Error> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    std::fs::write(&draft, pid.as_raw_pid().to_string())
        .and_then(|()| std::fs::rename(&draft, path))
        .map_err(|e| Error::file("write", path, e))
}

/// Connected now, so that it is the caller's and not what its name leads to later.
pub(super) fn console(path: &Path) -> Result<OwnedFd, Error> {
    bundle::connect_to(path).map_err(|e| Error::file("connect to", path, e))
}

/// How many are handed on, with those of socket activation (sd_listen_fds(3)), and what the program is told of them.
/// To be asked before anything is opened here that could take their numbers.
pub(super) fn descriptors(wanted: u32) -> Result<Handed, Error> {
    let number = |name: &str| -> Option<u32> { std::env::var(name).ok()?.parse().ok() };
    // Another process may be meant, whose variables were inherited.
    let ours = number("LISTEN_PID").is_none_or(|pid| pid == std::process::id());
    let activated = number("LISTEN_FDS").filter(|_| ours).unwrap_or(0);
    let count = wanted.saturating_add(activated);
    let open = |n: &u32| rustix::fs::readlink(format!("/proc/self/fd/{n}"), Vec::new()).is_ok();
    if let Some(missing) = (3..3u32.saturating_add(count)).find(|n| !open(n)) {
        return Err(Error::PreserveFds(missing));
    }
    let mut env = Vec::new();
    if activated > 0 {
        env.push(format!("LISTEN_FDS={activated}"));
        // The first process, in its own pid namespace.
        env.push("LISTEN_PID=1".to_owned());
        if let Ok(names) = std::env::var("LISTEN_FDNAMES") {
            env.push(format!("LISTEN_FDNAMES={names}"));
        }
    }
    Ok((count, env))
}
