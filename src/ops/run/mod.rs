//! `run`: an image (or a directory) and options to a program that has ended.
//!
//! Nothing here starts a thread or another process before the container's own: the launcher must be
//! single-threaded (`sys::clone`), and the whole start costs a few hundred system calls.

mod driver;
mod files;
mod identity;
mod name;
mod options;
mod process;
mod spec;
mod user;
mod volumes;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use oci_spec::image::ImageConfiguration;
use oci_spec::runtime::Spec;
use rustix::rand::{GetRandomFlags, getrandom};

pub use options::{
    Device, EnvVar, IdentityChoice, ImageVolumes, Namespace, Network, Options, SeccompChoice,
    Security, Ulimit, UserNamespace, Volume, VolumesFrom, What,
};

pub use crate::store::is_volume_name;

use self::process::ImageDefaults;
use self::spec::Facts;
use self::user::Ids;
use self::volumes::Mounts;
use super::progress::Progress;
use super::pull::{self, PullPolicy};
use super::written::UNWATCHED_ANNOTATION;
use super::{Error, LABELS_ANNOTATION, state, stored, volume};
use crate::host;
use crate::monitor::{self, Ended, Signals};
use crate::owners;
use crate::rootfs::{self, Driver, Root};
use crate::runtime::caps::Caps;
use crate::runtime::seccomp::Seccomp;
use crate::runtime::{self, Plan, Stdin, WindowSize};
use crate::store::{
    self, ContainerDir, Guard, IMAGE_ANNOTATION, ImageRecord, MOUNTS_ANNOTATION, Mounted, Store,
};
use crate::sys::exec::OwnExecutable;

/// Annotations that nobody else may set.
const RESERVED: &str = "io.coracle.";

/// Random names to try.
const NAME_ATTEMPTS: u32 = 20;

/// Layers and defaults of what is to run.
struct Source {
    image: Option<ImageRecord>,
    defaults: ImageDefaults,
    /// Top first.
    layers: Vec<PathBuf>,
    /// The same with their sidecars.
    owners: Vec<owners::Layer>,
}

/// Run it in the foreground; returns how the program ended. With `remove`, and whenever it did not
/// start, nothing of the container is left.
pub fn run(store: &Store, o: &Options, progress: &dyn Progress) -> Result<Ended, Error> {
    // The store trusts what stands there.
    if let Some((name, _)) = o.annotations.iter().find(|(n, _)| n.starts_with(RESERVED)) {
        return Err(Error::ReservedAnnotation(name.clone()));
    }
    super::sweep(store);
    // From reading the image until the container pins it, nobody may collect its layers.
    let (source, guard) = source(store, o, progress)?;
    let volumes = volumes::resolve(store, o, &source.defaults)?;
    let id = random_id()?;
    let container = create(store, o, &id)?;
    match start(store, o, &source, &volumes, &container, guard, progress) {
        Ok(ended) => {
            if o.remove {
                volume::remove_unused(store, &volumes::names(&volumes), &id)?;
                container.remove()?;
            } else {
                record_end(&container, ended)?;
            }
            Ok(ended)
        }
        Err(e) => {
            // The first failure is the one to tell.
            let _ = volume::remove_unused(store, &volumes::names(&volumes), &id);
            let _ = container.remove();
            Err(explained(e))
        }
    }
}

/// A container that stays has a name, if need be one of our choice. For one that goes it would only
/// cost time.
fn create(store: &Store, o: &Options, id: &str) -> Result<ContainerDir, Error> {
    let containers = store.containers();
    if o.name.is_some() || o.remove {
        return Ok(containers.create(id, o.name.as_deref(), o.remove)?);
    }
    let mut attempts = 0;
    loop {
        match containers.create(id, Some(&name::random(attempts)?), false) {
            Err(store::Error::NameTaken { .. }) if attempts < NAME_ATTEMPTS => attempts += 1,
            result => return Ok(result?),
        }
    }
}

/// Where no namespace can be had, a probe knows more than an errno says.
fn explained(e: Error) -> Error {
    match e {
        Error::Runtime(runtime::Error::Clone(source)) => match host::explain_userns() {
            Some(finding) => Error::NoNamespaces { finding, source },
            None => Error::Runtime(runtime::Error::Clone(source)),
        },
        e => e,
    }
}

/// What is to run, and the lock under which it was found.
fn source(store: &Store, o: &Options, progress: &dyn Progress) -> Result<(Source, Guard), Error> {
    let name = match &o.what {
        What::Image(name) => name,
        What::Directory(dir) => {
            let dir = dir
                .canonicalize()
                .map_err(|e| Error::file("open", dir, e))?;
            let source = Source {
                image: None,
                defaults: ImageDefaults::default(),
                layers: vec![dir],
                owners: Vec::new(),
            };
            return Ok((source, store.shared()?));
        }
    };
    let mut guard = store.shared()?;
    let mut image = None;
    // The usual case: it is there, and reading one file says so.
    if matches!(o.pull, PullPolicy::Missing | PullPolicy::Never)
        && o.pulling.intake.platform.is_none()
    {
        image = store.images().find(name).ok().filter(|i| !i.is_list());
    }
    let image = match image {
        Some(image) => image,
        None => {
            // Pulling takes its own locks, also the exclusive one.
            drop(guard);
            let pulled = pull::ensure(store, name, o.pull, &o.pulling, progress)?;
            guard = store.shared()?;
            // It may have gone before the guard was had.
            match store.images().by_id(&pulled.id)? {
                Some(_) => pulled,
                None => store.images().find(&pulled.id.to_string())?,
            }
        }
    };
    let config = stored::config(store, &image.id)?;
    let config: ImageConfiguration =
        serde_json::from_slice(&config).map_err(|source| Error::ImageConfig {
            id: image.id.clone(),
            source,
        })?;
    let layers = image.stack().map(|d| store.layer_path(d));
    let layers = rootfs::visible(layers.collect());
    let source = Source {
        defaults: ImageDefaults::of(&config),
        owners: layers.iter().map(|tree| store.layer_owners(tree)).collect(),
        layers,
        image: Some(image),
    };
    Ok((source, guard))
}

fn start(
    store: &Store,
    o: &Options,
    source: &Source,
    volumes: &[Volume],
    container: &ContainerDir,
    guard: Guard,
    progress: &dyn Progress,
) -> Result<Ended, Error> {
    let outside = Ids {
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
    };
    let user = o.user.as_deref().unwrap_or(&source.defaults.user);
    let ids = match (o.userns, &o.user) {
        (UserNamespace::KeepId, None) => outside,
        _ => user::resolve(user, &source.layers)?,
    };
    let hostname = hostname(o, container.id());
    let base = if o.privileged {
        Caps::ALL
    } else {
        Caps::default_set()
    };
    let caps = base
        .adjusted(&o.cap_add, &o.cap_drop)
        .map_err(|e| Error::Runtime(runtime::PlanError::from(e).into()))?;
    let mounts = volumes::plan(store, container, volumes)?;
    let prepared = Prepared {
        o,
        source,
        mounts,
        container,
        user,
        ids,
        outside,
        hostname: &hostname,
        caps,
        target: store.mountpoint(),
    };
    let mut choice = identity::wanted(o);
    let mut spec = prepared.spec(choice)?;
    container.write_config(&spec.json()?)?;
    // The configuration pins the image: collecting garbage may go on.
    drop(guard);
    volumes::prepare(store, &prepared.mounts, &source.owners, ids)?;
    let signals = Signals::block().map_err(Error::Prepare)?;
    let mut attempts = 0;
    let started = loop {
        let attempt = |driver| prepared.attempt(store, driver, choice, &spec);
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
                container.write_config(&spec.json()?)?;
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
    Ok(monitor::watch(started, &signals, o.interactive)?)
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
    outside: Ids,
    hostname: &'a str,
    caps: Caps,
    target: PathBuf,
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

impl Prepared<'_> {
    fn spec(&self, choice: IdentityChoice) -> Result<Written, Error> {
        let Self { o, source, .. } = self;
        let emulated = matches!(choice, IdentityChoice::Full | IdentityChoice::Strict);
        // Where users are emulated the kernel knows the caller as root.
        let (mapped, groups) = if emulated {
            (
                Ids { uid: 0, gid: 0 },
                user::groups(self.user, self.ids, &o.groups, &source.layers)?,
            )
        } else {
            (self.ids, Vec::new())
        };
        let facts = Facts {
            ids: self.ids,
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
    ) -> Result<runtime::Started, Error> {
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
            user: self.ids,
            groups: written.groups.clone(),
            caps: self.caps,
            host: self.mounts.host.clone(),
            kept: self.mounts.kept.clone(),
        };
        let settings = runtime::Options {
            seccomp: seccomp(o, self.caps)?,
            stdin: if o.interactive {
                Stdin::Inherit
            } else {
                Stdin::Null
            },
            init: o.init,
            die_with_parent: true,
            window: if o.tty {
                window()
            } else {
                WindowSize::default()
            },
            files: files::all(o, self.hostname),
            preserve_fds: 0,
            executable: OwnExecutable::look(),
            identity: identity::identity(choice, o, place),
        };
        let plan =
            Plan::new(&written.spec, root, &self.target, settings).map_err(runtime::Error::from)?;
        Ok(runtime::spawn(&plan)?)
    }
}

/// 64 hex digits, as docker's.
fn random_id() -> Result<String, Error> {
    let mut bytes = [0u8; 32];
    getrandom(&mut bytes, GetRandomFlags::empty()).map_err(|e| Error::Prepare(e.into()))?;
    Ok(base16ct::lower::encode_string(&bytes))
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
        all.insert(
            "org.opencontainers.image.stopSignal".to_owned(),
            signal.clone(),
        );
    }
    Ok(all)
}

/// cgroup v2 is mounted where it belongs, alone (cgroups(7)).
fn is_cgroup2() -> bool {
    const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;
    rustix::fs::statfs(c"/sys/fs/cgroup").is_ok_and(|s| s.f_type as u64 == CGROUP2_SUPER_MAGIC)
}

fn window() -> WindowSize {
    let size = [rustix::stdio::stdout(), rustix::stdio::stdin()]
        .into_iter()
        .find_map(|fd| rustix::termios::tcgetwinsize(fd).ok());
    size.map_or_else(WindowSize::default, |s| WindowSize {
        rows: s.ws_row,
        columns: s.ws_col,
    })
}

fn seccomp(o: &Options, caps: Caps) -> Result<Seccomp, Error> {
    match &o.security.seccomp {
        SeccompChoice::Default if o.privileged => Ok(Seccomp::Unconfined),
        SeccompChoice::Default => Ok(Seccomp::Default),
        SeccompChoice::Unconfined => Ok(Seccomp::Unconfined),
        SeccompChoice::File(path) => {
            let text = std::fs::read_to_string(path).map_err(|e| Error::file("read", path, e))?;
            Seccomp::parse(&text, caps)
                .map_err(|e| Error::file("use", path, std::io::Error::other(e)))
        }
    }
}

/// What later verbs show of a container that has ended.
fn record_end(container: &ContainerDir, ended: Ended) -> Result<(), Error> {
    let json = serde_json::to_vec(&state::Ended::now(ended.exit_code()))
        .map_err(|e| Error::Spec(e.to_string()))?;
    Ok(container.write_state(&json)?)
}
