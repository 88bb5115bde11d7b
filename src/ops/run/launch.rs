//! From options and an image to a program that runs: the configuration, and down the ladders of drivers and
//! identities.

use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use oci_spec::runtime::Spec;

use super::options::{
    IdentityChoice, Namespace, Network, Options, SeccompChoice, UserNamespace, Volume,
};
use super::process;
use super::secrets::{self, Given};
use super::spec::{self, Facts};
use super::user::{self, Ids};
use super::volumes::{self, Mounts};
use super::{ImageDefaults, Source, driver, files, identity};
use crate::ops::exec::{EXEC_ANNOTATION, Further};
use crate::ops::progress::Progress;
use crate::ops::written::UNWATCHED_ANNOTATION;
use crate::ops::{Error, LABELS_ANNOTATION, MONITOR_ANNOTATION, STOP_SIGNAL_ANNOTATION};
use crate::owners;
use crate::rootfs::{Driver, Root};
use crate::runtime::caps::Caps;
use crate::runtime::seccomp::Seccomp;
use crate::runtime::{self, Plan, Started, Stdin, Streams, WindowSize};
use crate::store::{ContainerDir, Guard, IMAGE_ANNOTATION, MOUNTS_ANNOTATION, Mounted, Store};
use crate::sys::exec::OwnExecutable;

/// What a start has beside the container.
pub(in crate::ops) struct Stage {
    /// Streams in place of the caller's.
    pub(in crate::ops) streams: Option<Rc<Streams>>,
    /// Size of its terminal, if it has one.
    pub(in crate::ops) window: WindowSize,
    /// The lock of the store, until the container's configuration pins the image.
    pub(in crate::ops) guard: Option<Guard>,
    /// A program of ours that has something to do there, in place of the container's: a copy of it, and its
    /// arguments. The container's configuration stays as it is.
    pub(in crate::ops) own: Option<(Rc<OwnedFd>, Vec<CString>)>,
}

/// Write its configuration, and do not start it.
pub(in crate::ops) fn write(
    store: &Store,
    o: &Options,
    source: &Source,
    volumes: &[Volume],
    container: &ContainerDir,
) -> Result<(), Error> {
    let hostname = hostname(o, container.id());
    let prepared = Prepared::new(store, o, source, volumes, container, &hostname, false)?;
    let spec = prepared.spec(identity::wanted(o))?;
    container.write_config(&spec.json()?)?;
    volumes::make(store, &prepared.mounts)
}

/// Start its program. The caller has one thread and has blocked the signals that it waits for.
pub(in crate::ops) fn launch(
    store: &Store,
    o: &Options,
    source: &Source,
    volumes: &[Volume],
    container: &ContainerDir,
    stage: &mut Stage,
    progress: &dyn Progress,
) -> Result<Started, Error> {
    let hostname = hostname(o, container.id());
    let ours = stage.own.is_some();
    let mut prepared = Prepared::new(store, o, source, volumes, container, &hostname, ours)?;
    prepared.secrets = secrets::given(store, container, &o.secrets, ours)?;

    let mut choice = identity::wanted(o);
    let mut spec = prepared.spec(choice)?;
    let write_config = |spec: &Written| match ours {
        true => Ok(()),
        false => container.write_config(&spec.json()?).map_err(Error::from),
    };
    write_config(&spec)?;
    // The configuration pins the image: collecting garbage may go on.
    drop(stage.guard.take());
    volumes::prepare(store, &prepared.mounts, &source.owners, prepared.ids)?;
    let mut attempts = 0;
    let started = loop {
        let attempt = |driver| prepared.attempt(store, driver, choice, &spec, stage);
        let result = match o.driver {
            Some(driver) => attempt(driver),
            None => driver::first_that_works(attempt, progress),
        };
        match result {
            Err(Error::Runtime(e)) if attempts == 0 && identity::is_impossible(&e) => {
                // Asked for by name, it is that or nothing.
                if o.identity.is_some() {
                    return Err(Error::Runtime(e));
                }
                if !o.groups.is_empty() {
                    return Err(Error::NoGroups(e));
                }
                progress.warn(&format!(
                    "users and owners are not emulated here ({e}): changing them succeeds and has no effect \
                     (--identity ids asks for that without this warning, `coracle doctor` tells more)"
                ));
                attempts += 1;
                choice = IdentityChoice::Ids;
                spec = prepared.spec(choice)?;
                write_config(&spec)?;
            }
            result => break result?,
        }
    };
    if !started.own_pids && o.pid == Namespace::Private {
        progress.warn(
            "an outer container masks parts of /proc, and the kernel then forbids a new one: this \
             container shares the outer pid namespace (--pid host asks for that without this warning)",
        );
    }
    Ok(started)
}

/// What does not change from one attempt to the next.
struct Prepared<'a> {
    o: &'a Options,
    source: &'a Source,
    mounts: Mounts,
    container: &'a ContainerDir,
    /// As it was asked for.
    user: &'a str,
    ids: Ids,
    /// Whom the program runs as.
    actor: Ids,
    outside: Ids,
    hostname: &'a str,
    caps: Caps,
    secrets: Given,
    target: PathBuf,
    /// The program is not the container's but ours ([`Stage::own`]): root there, with the capabilities over files.
    ours: bool,
}

/// A configuration, and the groups of the first process.
struct Written {
    spec: Spec,
    groups: Vec<u32>,
}

impl Written {
    fn json(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(&self.spec).map_err(|e| Error::Spec(e.to_string()))
    }
}

impl<'a> Prepared<'a> {
    fn new(
        store: &Store,
        o: &'a Options,
        source: &'a Source,
        volumes: &[Volume],
        container: &'a ContainerDir,
        hostname: &'a str,
        ours: bool,
    ) -> Result<Self, Error> {
        let outside = Ids {
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
        };
        let user = o.user.as_deref().unwrap_or(&source.defaults.user);
        let ids = match (o.userns, &o.user) {
            (UserNamespace::KeepId, None) => outside,
            _ => user::resolve(user, &source.layers)?,
        };
        let base = if o.privileged {
            Caps::ALL
        } else {
            Caps::default_set()
        };
        let caps = match ours {
            true => Caps::files(),
            false => base
                .adjusted(&o.cap_add, &o.cap_drop)
                .map_err(|e| Error::Runtime(runtime::PlanError::from(e).into()))?,
        };
        Ok(Self {
            o,
            source,
            mounts: volumes::plan(store, container, volumes)?,
            container,
            user,
            ids,
            actor: match ours {
                true => Ids { uid: 0, gid: 0 },
                false => ids,
            },
            outside,
            hostname,
            caps,
            secrets: Given::default(),
            target: store.mountpoint(),
            ours,
        })
    }

    fn spec(&self, choice: IdentityChoice) -> Result<Written, Error> {
        let Self { o, source, .. } = self;
        let emulated = matches!(choice, IdentityChoice::Full | IdentityChoice::Strict);
        // Where users are emulated the kernel knows the caller as root.
        let (mapped, groups) = if emulated {
            (
                Ids { uid: 0, gid: 0 },
                match self.ours {
                    true => Vec::new(),
                    false => user::groups(self.user, self.ids, &o.groups, &source.layers)?,
                },
            )
        } else {
            (self.actor, Vec::new())
        };
        let facts = Facts {
            ids: self.actor,
            mapped,
            groups: groups.clone(),
            outside: self.outside,
            args: process::args(o, &source.defaults)?,
            env: process::environment(o, &source.defaults, self.hostname, |n| {
                std::env::var(n).ok()
            }),
            cwd: working_directory(o, &source.defaults),
            hostname: self.hostname,
            caps: self.caps,
            rootfs: &self.target,
            cgroup2: is_cgroup2(),
            annotations: annotations(o, source, choice, &self.mounts.mounted)?,
            mounts: &self.mounts.planned,
        };
        Ok(Written {
            spec: spec::build(o, facts)?,
            groups,
        })
    }

    fn attempt(
        &self,
        store: &Store,
        driver: Driver,
        choice: IdentityChoice,
        written: &Written,
        stage: &Stage,
    ) -> Result<Started, Error> {
        let o = self.o;
        let root = driver::root(store, driver, self.source, self.container, o.remove)?;
        let upper = match &root {
            Root::Overlay(stack) | Root::Fuse(stack) => stack.upper.clone(),
            Root::Directory(dir) => dir.clone(),
        };
        let layers = match &root {
            // A copy has taken what it could from the layers.
            Root::Directory(_) => Vec::new(),
            _ => self.source.owners.clone(),
        };
        let place = identity::Place {
            layers,
            upper: owners::Layer {
                tree: upper,
                sidecar: self.container.owners(),
            },
            user: self.actor,
            groups: written.groups.clone(),
            caps: self.caps,
            host: self.mounts.host.clone(),
            kept: self.mounts.kept.clone(),
        };
        let settings = runtime::Options {
            seccomp: match self.ours {
                true => Seccomp::Unconfined,
                false => seccomp(o, self.caps)?,
            },
            stdin: if o.interactive {
                Stdin::Inherit
            } else {
                Stdin::Null
            },
            streams: stage.streams.clone(),
            init: o.init,
            die_with_parent: true,
            window: stage.window,
            files: files::all(o, self.hostname),
            secrets: self.secrets.files.clone(),
            env: self.secrets.env.clone(),
            preserve_fds: 0,
            executable: OwnExecutable::look(),
            identity: identity::identity(choice, o, place),
            own: stage.own.clone(),
        };
        let plan =
            Plan::new(&written.spec, root, &self.target, settings).map_err(runtime::Error::from)?;
        Ok(runtime::spawn(&plan)?)
    }
}

/// Docker's rule: the host's name where the network is the host's, else the short id.
fn hostname(o: &Options, id: &str) -> String {
    match &o.hostname {
        Some(name) => name.clone(),
        None if o.network == Network::Host || o.uts == Namespace::Host => rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned(),
        None => id[..12].to_owned(),
    }
}

fn working_directory(o: &Options, image: &ImageDefaults) -> PathBuf {
    let dir = match &o.workdir {
        Some(dir) => dir.clone(),
        None => PathBuf::from(&image.workdir),
    };
    // A relative WORKDIR is relative to the root.
    Path::new("/").join(dir)
}

/// Ours beside the user's: the image, which the store reads; labels and stop signal, which later verbs
/// show and use.
fn annotations(
    o: &Options,
    source: &Source,
    choice: IdentityChoice,
    mounted: &[Mounted],
) -> Result<HashMap<String, String>, Error> {
    let json = |e: serde_json::Error| Error::Spec(e.to_string());
    let mut all: HashMap<String, String> = o.annotations.iter().cloned().collect();
    let labels: std::collections::BTreeMap<_, _> = source
        .defaults
        .labels
        .iter()
        .chain(&o.labels)
        .cloned()
        .collect();
    if !labels.is_empty() {
        let labels = serde_json::to_string(&labels).map_err(json)?;
        all.insert(LABELS_ANNOTATION.to_owned(), labels);
    }
    let unwatched = match choice {
        IdentityChoice::Full | IdentityChoice::Strict => None,
        IdentityChoice::Ids => Some("ids"),
        IdentityChoice::Off => Some("off"),
    };
    if let Some(mode) = unwatched {
        all.insert(UNWATCHED_ANNOTATION.to_owned(), mode.to_owned());
    }
    let further = Further {
        seccomp: profile(o)?,
        strict: choice == IdentityChoice::Strict,
        no_new_privileges: identity::no_new_privileges(o),
    };
    if further != Further::default() {
        let further = serde_json::to_string(&further).map_err(json)?;
        all.insert(EXEC_ANNOTATION.to_owned(), further);
    }
    // Whoever wants something of a container that runs asks the process that watches it.
    let monitor = rustix::process::getpid().as_raw_nonzero();
    all.insert(MONITOR_ANNOTATION.to_owned(), monitor.to_string());
    if !mounted.is_empty() {
        let mounted = serde_json::to_string(mounted).map_err(json)?;
        all.insert(MOUNTS_ANNOTATION.to_owned(), mounted);
    }
    if let Some(image) = &source.image {
        let image = serde_json::to_string(image).map_err(json)?;
        all.insert(IMAGE_ANNOTATION.to_owned(), image);
    }
    if let Some(signal) = o
        .stop_signal
        .as_ref()
        .or(source.defaults.stop_signal.as_ref())
    {
        all.insert(STOP_SIGNAL_ANNOTATION.to_owned(), signal.clone());
    }
    Ok(all)
}

/// cgroup v2 is mounted where it belongs, alone (cgroups(7)).
fn is_cgroup2() -> bool {
    const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;
    rustix::fs::statfs(c"/sys/fs/cgroup").is_ok_and(|s| s.f_type as u64 == CGROUP2_SUPER_MAGIC)
}

/// What it may call, in the words of [`Further`].
fn profile(o: &Options) -> Result<Option<String>, Error> {
    match &o.security.seccomp {
        SeccompChoice::Default if !o.privileged => Ok(None),
        SeccompChoice::Default | SeccompChoice::Unconfined => {
            Ok(Some(Further::UNCONFINED.to_owned()))
        }
        SeccompChoice::File(path) => {
            let text = std::fs::read_to_string(path);
            text.map(Some).map_err(|e| Error::file("read", path, e))
        }
    }
}

fn seccomp(o: &Options, caps: Caps) -> Result<Seccomp, Error> {
    match (profile(o)?, &o.security.seccomp) {
        (None, _) => Ok(Seccomp::Default),
        (Some(text), SeccompChoice::File(path)) => Seccomp::parse(&text, caps)
            .map_err(|e| Error::file("use", path, std::io::Error::other(e))),
        (Some(_), _) => Ok(Seccomp::Unconfined),
    }
}
