//! `run`: an image (or a directory) and options to a program that has ended.
//!
//! Nothing here starts a thread or another process before the container's own: the launcher must be
//! single-threaded (`sys::clone`), and the whole start costs a few hundred system calls.

mod files;
mod options;
mod process;
mod spec;
mod user;

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use oci_spec::image::ImageConfiguration;
use oci_spec::runtime::Spec;
use rustix::fs::{Mode, OFlags};
use rustix::rand::{GetRandomFlags, getrandom};

pub use options::{
    Device, EnvVar, Namespace, Network, Options, SeccompChoice, Security, Ulimit, UserNamespace,
    Volume, What,
};

use self::process::ImageDefaults;
use self::spec::Facts;
use self::user::Ids;
use super::Error;
use super::progress::Progress;
use super::pull::{self, PullPolicy};
use crate::monitor::{self, Ended, Signals};
use crate::rootfs::{self, Driver, Root, Stack};
use crate::runtime::caps::Caps;
use crate::runtime::seccomp::Seccomp;
use crate::runtime::{self, Plan, Stdin, WindowSize};
use crate::store::{ContainerDir, Guard, ImageRecord, Store};

/// Image configurations are a few kilobytes; 4 MiB is the limit for manifests as well.
const CONFIG_MAX: u64 = 4 << 20;
/// Host files that we read whole.
const HOST_FILE_MAX: u64 = 1 << 20;

/// Layers and defaults of what is to run.
struct Source {
    image: Option<ImageRecord>,
    defaults: ImageDefaults,
    /// Top first.
    layers: Vec<PathBuf>,
}

/// Run it in the foreground; returns how the program ended. With `remove`, and whenever it did not
/// start, nothing of the container is left.
pub fn run(store: &Store, o: &Options, progress: &dyn Progress) -> Result<Ended, Error> {
    super::sweep(store);
    // From reading the image until the container pins it, nobody may collect its layers.
    let (source, guard) = source(store, o, progress)?;
    let id = random_id()?;
    let container = store
        .containers()
        .create(&id, o.name.as_deref(), o.remove)?;
    let pinned = source
        .image
        .as_ref()
        .map_or(Ok(()), |image| container.pin(image));
    drop(guard);
    let started = pinned
        .map_err(Error::from)
        .and_then(|()| start(o, &source, &container));
    match started {
        Ok(ended) => {
            if o.remove {
                container.remove()?;
            } else {
                record_end(&container, ended)?;
            }
            Ok(ended)
        }
        Err(e) => {
            // The first failure is the one to tell.
            let _ = container.remove();
            Err(e)
        }
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
        image = store.images().find(name).ok();
    }
    let image = match image {
        Some(image) => image,
        None => {
            // Pulling takes its own locks, also the exclusive one.
            drop(guard);
            let pulled = pull::ensure(store, name, o.pull, &o.pulling, progress)?;
            guard = store.shared()?;
            store.images().find(&pulled.id.to_string())?
        }
    };
    let config = store.blobs().read(&image.id, CONFIG_MAX)?;
    let config: ImageConfiguration =
        serde_json::from_slice(&config).map_err(|source| Error::ImageConfig {
            id: image.id.clone(),
            source,
        })?;
    let source = Source {
        defaults: ImageDefaults::of(&config),
        layers: image
            .diff_ids()
            .rev()
            .map(|d| store.layer_path(d))
            .collect(),
        image: Some(image),
    };
    Ok((source, guard))
}

fn start(o: &Options, source: &Source, container: &ContainerDir) -> Result<Ended, Error> {
    let dir = container.path();
    let outside = Ids {
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
    };
    let ids = match (o.userns, &o.user) {
        (UserNamespace::KeepId, None) => outside,
        (_, user) => user::resolve(
            user.as_deref().unwrap_or(&source.defaults.user),
            &source.layers,
        )?,
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
    write_files(o, dir, &hostname)?;
    let target = dir.join("merged");
    make_dir(&target)?;
    let spec = spec::build(
        o,
        Facts {
            ids,
            outside,
            args: process::args(o, &source.defaults)?,
            env: process::environment(o, &source.defaults, &hostname, |n| std::env::var(n).ok()),
            cwd: working_directory(o, &source.defaults),
            hostname: &hostname,
            caps,
            bundle: dir,
            rootfs: &target,
            cgroup2: is_cgroup2(),
            annotations: annotations(o, source),
        },
    )?;
    save(&dir.join("config.json"), &spec)?;
    let root = root(o, source, dir)?;
    let plan = Plan::new(
        &spec,
        root,
        &target,
        runtime::Options {
            seccomp: seccomp(o, caps)?,
            stdin: if o.interactive {
                Stdin::Inherit
            } else {
                Stdin::Null
            },
            init: o.init,
            die_with_parent: true,
            window: window(),
            preserve_fds: 0,
        },
    )
    .map_err(|e| Error::Runtime(e.into()))?;
    let signals = Signals::block().map_err(Error::Prepare)?;
    let started = runtime::spawn(&plan)?;
    Ok(monitor::watch(started, &signals, o.interactive)?)
}

/// 64 hex digits, as docker's.
fn random_id() -> Result<String, Error> {
    let mut bytes = [0u8; 32];
    getrandom(&mut bytes, GetRandomFlags::empty()).map_err(|e| Error::Prepare(e.into()))?;
    Ok(const_hex::encode(bytes))
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

fn annotations(o: &Options, source: &Source) -> HashMap<String, String> {
    let mut all: HashMap<String, String> = o.annotations.iter().cloned().collect();
    let labels: std::collections::BTreeMap<_, _> = source
        .defaults
        .labels
        .iter()
        .chain(&o.labels)
        .cloned()
        .collect();
    if !labels.is_empty()
        && let Ok(json) = serde_json::to_string(&labels)
    {
        all.insert("io.coracle.labels".to_owned(), json);
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
    all
}

fn write_files(o: &Options, dir: &Path, hostname: &str) -> Result<(), Error> {
    let host = |path: &str| read_host_file(Path::new(path));
    let hosts = files::hosts(o, hostname, &host("/etc/hosts"));
    let resolv = files::resolv_conf(&o.dns, &host("/etc/resolv.conf"));
    for (name, text) in [
        ("hosts", hosts),
        ("resolv.conf", resolv),
        ("hostname", format!("{hostname}\n")),
    ] {
        write(&dir.join(name), text.as_bytes())?;
    }
    Ok(())
}

/// A host without such a file gives its containers an empty one.
fn read_host_file(path: &Path) -> String {
    let mut text = String::new();
    let read = File::open(path).and_then(|f| f.take(HOST_FILE_MAX).read_to_string(&mut text));
    if read.is_ok() { text } else { String::new() }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    File::create(path)
        .and_then(|mut f| f.write_all(bytes))
        .map_err(|e| Error::file("write", path, e))
}

fn save(path: &Path, spec: &Spec) -> Result<(), Error> {
    let json = serde_json::to_vec(spec).map_err(|e| Error::Spec(e.to_string()))?;
    write(path, &json)
}

fn make_dir(path: &Path) -> Result<(), Error> {
    rustix::fs::mkdir(path, Mode::from_raw_mode(0o755))
        .map_err(|e| Error::file("create the directory", path, e.into()))
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
                .map_err(|e| Error::Runtime(runtime::PlanError::from(e).into()))
        }
    }
}

/// The root file system by the chosen driver.
fn root(o: &Options, source: &Source, dir: &Path) -> Result<Root, Error> {
    if let What::Directory(_) = o.what {
        return Ok(Root::Directory(source.layers[0].clone()));
    }
    let driver = o.driver.unwrap_or(Driver::Overlay);
    if driver == Driver::Copy {
        let target = dir.join("rootfs");
        make_dir(&target)?;
        let lowers: Vec<&Path> = source.layers.iter().map(PathBuf::as_path).collect();
        let dir = rustix::fs::open(
            &target,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|e| Error::file("open", &target, e.into()))?;
        rootfs::flatten(&lowers, dir.as_fd())?;
        return Ok(Root::Directory(target));
    }
    let stack = Stack {
        lowers: if source.layers.is_empty() {
            // An image without layers: an overlay needs one.
            let empty = dir.join("empty");
            make_dir(&empty)?;
            vec![empty]
        } else {
            source.layers.clone()
        },
        upper: dir.join("upper"),
        work: dir.join("work"),
        volatile: o.remove,
    };
    make_dir(&stack.upper)?;
    make_dir(&stack.work)?;
    Ok(match driver {
        Driver::Overlay => Root::Overlay(stack),
        Driver::FuseOverlayfs | Driver::Copy => Root::Fuse(stack),
    })
}

/// What later verbs show of a container that has ended.
fn record_end(container: &ContainerDir, ended: Ended) -> Result<(), Error> {
    let json = serde_json::json!({
        "status": "exited",
        "exitCode": ended.exit_code(),
        "finishedAt": jiff::Timestamp::now().to_string(),
    });
    write(
        &container.path().join("state.json"),
        json.to_string().as_bytes(),
    )
}
