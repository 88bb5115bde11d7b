//! `exec`: one more program in a container that runs. docker-exec(1).
//!
//! What the container may do stands in its configuration, which its monitor wrote and no process of the
//! container can reach. Users' names are looked up in the container's own files.

mod config;
mod keeper;
mod own;

use std::ffi::CString;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

pub(super) use config::{EXEC_ANNOTATION, Further};
pub(super) use own::{Own, own, primary_user};

use self::config::Config;
use super::run::EnvVar;
use super::run::process::latest;
use super::run::user::{self, Ids};
use super::written::UNWATCHED_ANNOTATION;
use super::{Error, live};
use crate::emulate::Mode;
use crate::emulate::creds::Cred;
use crate::monitor::{self, Description, Keys, Left, Signals};
use crate::runtime::caps::Caps;
use crate::runtime::seccomp::Seccomp;
use crate::runtime::{self, PlanError, Process, Running, Stdin, Streams, WindowSize};
use crate::store::{ContainerEntry, Store};
use crate::sys::exec::OwnExecutable;

/// Larger files of users exist only to hurt.
const FILE_MAX: u64 = 16 << 20;

/// What `exec` can be asked for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Name or id.
    pub container: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// `-i`
    pub interactive: bool,
    /// `-t`
    pub tty: bool,
    /// `-d`
    pub detach: bool,
    /// `--env-file`, then `-e`: later ones win.
    pub env: Vec<EnvVar>,
    /// `-u`; else whom the container's program runs as.
    pub user: Option<String>,
    /// `-w`; else that of the container's program.
    pub workdir: Option<PathBuf>,
    /// `--privileged`
    pub privileged: bool,
    /// `--detach-keys`
    pub keys: Keys,
    /// `--preserve-fds`
    pub preserve_fds: u32,
}

/// Run it; returns its exit code. 0 as soon as it runs in the background.
///
/// # Errors
/// [`Error::NotRunning`], and those of a start.
pub fn exec(store: &Store, o: &Options) -> Result<Left, Error> {
    let entry = store.containers().find(&o.container)?;
    let description = live::connect(store, &entry)?.describe()?;
    let config: Option<Config> = store.containers().config(&entry)?;
    let config = config.ok_or_else(|| not_running(&entry))?;
    let ended = |e| match e {
        runtime::Error::Ended => not_running(&entry),
        e => Error::Runtime(e),
    };
    let container = Running::look(description.pidfd.as_fd()).map_err(ended)?;
    let process = process(&config, o, &container, &description)?;
    let signals = Signals::block().map_err(Error::Prepare)?;
    if !container.own_pids() {
        // Nobody but us ends what it leaves behind.
        let own = rustix::process::getpid();
        rustix::process::set_child_subreaper(Some(own)).map_err(|e| Error::Prepare(e.into()))?;
    }
    let who = process.identity.as_ref().map(|i| i.to_bytes());
    let started = runtime::exec(&process, &container, &mut |listener, pidfd| {
        let who = who.clone().unwrap_or_default();
        live::connect(store, &entry)
            .and_then(|live| live.supervise(listener, pidfd, who))
            .map_err(|e| std::io::Error::other(e.whole()))
    })
    .map_err(ended)?;
    let first = description.pidfd.as_fd();
    if o.detach {
        keeper::leave(&started, first)?;
        return Ok(Left::Detached);
    }
    let left = monitor::follow(&started, first, &signals, o.interactive, o.keys.clone())?;
    if left == Left::Detached {
        keeper::leave(&started, first)?;
    }
    Ok(left)
}

fn not_running(entry: &ContainerEntry) -> Error {
    Error::NotRunning(
        entry
            .name
            .clone()
            .unwrap_or_else(|| entry.id[..12].to_owned()),
    )
}

fn process(
    config: &Config,
    o: &Options,
    container: &Running<'_>,
    description: &Description,
) -> Result<Process, Error> {
    let (ids, groups) = user(config, o, container)?;
    let mode = mode(config, description.emulated);
    if !description.emulated && ids != config.mapped() {
        let asked = format!("{}:{}", ids.uid, ids.gid);
        return Err(runtime::Error::from(PlanError::UnmappedUser(asked)).into());
    }
    let plan = |e: PlanError| Error::Runtime(e.into());
    let further = config.further()?;
    let caps = match o.privileged {
        true => Caps::ALL,
        false => Caps::EMPTY
            .adjusted(config.capabilities(), &[])
            .map_err(|e| plan(e.into()))?,
    };
    let seccomp = match further.seccomp.as_deref() {
        _ if o.privileged => Seccomp::Unconfined,
        None => Seccomp::Default,
        Some(Further::UNCONFINED) => Seccomp::Unconfined,
        Some(profile) => Seccomp::parse(profile, caps).map_err(|e| plan(e.into()))?,
    };
    let first = || {
        Cred::first(
            ids.uid,
            ids.gid,
            &groups,
            caps.bits().bits(),
            further.no_new_privileges,
        )
    };
    let strings = |all: &[String]| {
        let strings = all
            .iter()
            .map(|s| CString::new(s.as_str()).map_err(|_| plan(PlanError::Nul(s.clone()))));
        strings.collect::<Result<Vec<_>, Error>>()
    };
    let p = &config.process;
    Ok(Process {
        args: strings(&o.command)?,
        own: None,
        env: strings(&environment(config, o))?,
        cwd: o.workdir.clone().unwrap_or_else(|| p.cwd.clone()),
        terminal: o.tty.then(|| match o.detach {
            true => WindowSize::default(),
            false => super::run::window(),
        }),
        stdin: if o.interactive && !o.detach {
            Stdin::Inherit
        } else {
            Stdin::Null
        },
        streams: nowhere(o)?,
        uid: ids.uid,
        identity: description.emulated.then(|| Box::new(first())),
        caps,
        no_new_privileges: p.no_new_privileges && !o.privileged,
        filter: seccomp.compile(caps, mode).map_err(|e| plan(e.into()))?,
        rlimits: p
            .rlimits
            .iter()
            .map(|r| (runtime::resource(r.kind), r.soft, r.hard))
            .collect(),
        umask: p.user.umask.unwrap_or(0o022),
        oom_score_adj: p.oom_score_adj,
        preserve_fds: o.preserve_fds,
        executable: OwnExecutable::look(),
        user: None,
        scope_signals: config.has_pid_namespace() && !container.own_pids(),
    })
}

/// What runs in the background has nobody to talk to.
fn nowhere(o: &Options) -> Result<Option<Rc<Streams>>, Error> {
    if !o.detach || o.tty {
        return Ok(None);
    }
    let null = || {
        let file = std::fs::File::options().write(true).open("/dev/null");
        file.map_err(|e| Error::file("open", Path::new("/dev/null"), e))
    };
    Ok(Some(Rc::new(Streams {
        input: None,
        output: null()?.into(),
        errors: null()?.into(),
    })))
}

fn mode(config: &Config, emulated: bool) -> Option<Mode> {
    match config
        .annotations
        .get(UNWATCHED_ANNOTATION)
        .map(String::as_str)
    {
        _ if emulated => Some(match config.further() {
            Ok(Further { strict: true, .. }) => Mode::Strict,
            _ => Mode::Full,
        }),
        Some("ids") => Some(Mode::Ids),
        _ => None,
    }
}

/// As whom it runs, and in which groups.
fn user(config: &Config, o: &Options, container: &Running<'_>) -> Result<(Ids, Vec<u32>), Error> {
    let Some(spec) = &o.user else {
        let user = &config.process.user;
        let ids = Ids {
            uid: user.uid,
            gid: user.gid,
        };
        return Ok((ids, user.additional_gids.clone()));
    };
    let read = |path: &str| -> Result<String, Error> {
        let path = Path::new(path);
        let bytes = container
            .read_file(path, FILE_MAX)
            .map_err(|e| Error::file("read the container's", path, e))?;
        Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
    };
    let ids = user::resolve_by(spec, &read)?;
    Ok((ids, user::groups_by(spec, ids, &[], &read)?))
}

/// That of the container's program, and what was asked for.
fn environment(config: &Config, o: &Options) -> Vec<String> {
    let mut all = Vec::new();
    if o.tty {
        all.push("TERM=xterm".to_owned());
    }
    all.extend(config.process.env.iter().cloned());
    all.extend(
        o.env
            .iter()
            .filter_map(|e| e.text(|n| std::env::var(n).ok())),
    );
    latest(all)
}
