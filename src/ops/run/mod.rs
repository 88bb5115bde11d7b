//! `run`: an image (or a directory) and options to a program that has ended.
//!
//! Nothing here starts a thread or another process before the container's own: the launcher must be
//! single-threaded (`sys::clone`), and the whole start costs a few hundred system calls.

mod driver;
mod files;
mod health;
mod identity;
mod launch;
mod name;
mod options;
pub(super) mod process;
mod secrets;
mod spec;
pub(super) mod user;
mod volumes;

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use oci_spec::image::ImageConfiguration;
use rustix::rand::{GetRandomFlags, getrandom};

pub use options::{
    CommandLine, Device, EnvVar, HealthWish, IdentityChoice, ImageVolumes, Namespace, Network,
    Options, SHM_SIZE, SeccompChoice, SecretUse, SecretWay, Security, Ulimit, UserNamespace,
    Volume, VolumesFrom, What,
};

pub use crate::store::is_volume_name;

pub use crate::monitor::{Keep, Restart};

pub(super) use launch::{Stage, launch, write};
pub(super) use secrets::PLACE as SECRETS_PLACE;

use self::process::ImageDefaults;
use super::events::{self, Action, Event};
use super::progress::Progress;
use super::pull::{self, PullPolicy};
use super::state::State;
use super::{Error, stored, volume};
use crate::host;
use crate::monitor::{self, Ended, Signals, Tee, log};
use crate::owners;
use crate::rootfs;
use crate::runtime::{self, Started, Streams, WindowSize};
use crate::store::{self, ContainerDir, ContainerEntry, Guard, ImageRecord, Store};

/// Annotations that nobody else may set.
const RESERVED: &str = "io.coracle.";

/// Random names to try.
const NAME_ATTEMPTS: u32 = 20;

/// Layers and defaults of what is to run.
pub(super) struct Source {
    image: Option<ImageRecord>,
    defaults: ImageDefaults,
    /// Top first.
    layers: Vec<PathBuf>,
    /// The same with their sidecars.
    owners: Vec<owners::Layer>,
}

/// A container whose directory is there, locked, and what it was made for.
pub(super) struct Begun {
    pub(super) container: ContainerDir,
    pub(super) source: Source,
    /// What is mounted by the user's wish: [`Options::volumes`] and what else the options say of volumes, each with
    /// its name.
    pub(super) volumes: Vec<Volume>,
    /// The lock of the store, until the configuration pins the image.
    pub(super) guard: Option<Guard>,
    /// A file of the user's with its id in it.
    id_file: Option<PathBuf>,
}

impl Begun {
    /// Away with it: it does not start.
    pub(super) fn undo(self, store: &Store) {
        // The first failure is the one to tell.
        let Self {
            container,
            volumes,
            guard,
            id_file,
            ..
        } = self;
        drop(guard);
        forget_id(id_file.as_deref(), container.id());
        let _ = discard(store, container, &volumes);
    }
}

/// Remove a container that is over and goes, and the volumes that are its own.
pub(super) fn discard(
    store: &Store,
    container: ContainerDir,
    volumes: &[Volume],
) -> Result<(), Error> {
    volume::remove_unused(store, &volumes::names(volumes), container.id())?;
    Ok(container.remove()?)
}

/// Run it in the foreground; returns how the program ended. With `remove`, and whenever it did not
/// start, nothing of the container is left.
pub fn run(store: &Store, o: &Options, progress: &dyn Progress) -> Result<Ended, Error> {
    let mut begun = begin(store, o, progress)?;
    match in_foreground(store, o, &mut begun, None, progress) {
        Ok((ended, started)) => {
            let discarded = match o.remove {
                true => discard(store, begun.container, &begun.volumes),
                false => Ok(()),
            };
            // Before its lock is given up, if it stays: who starts it again finds nothing of it that runs.
            monitor::gone(&started);
            discarded.map(|()| ended)
        }
        Err(e) => {
            begun.undo(store);
            Err(explained(e))
        }
    }
}

/// A step of a build: run it in the foreground, on an image that has no name and whose configuration is `config`.
/// What it wrote is there until the container is removed by the caller.
pub(super) fn step(
    store: &Store,
    o: &Options,
    (image, config): (ImageRecord, &[u8]),
    streams: Option<Rc<Streams>>,
    progress: &dyn Progress,
) -> Result<(ContainerDir, Ended), Error> {
    let guard = store.shared()?;
    let source = of_image_as(store, image, config)?;
    let mut begun = begun(store, o, source, guard)?;
    match in_foreground(store, o, &mut begun, streams, progress) {
        Ok((ended, started)) => {
            // Its files are read next.
            monitor::gone(&started);
            Ok((begun.container, ended))
        }
        Err(e) => {
            begun.undo(store);
            Err(explained(e))
        }
    }
}

fn in_foreground(
    store: &Store,
    o: &Options,
    begun: &mut Begun,
    streams: Option<Rc<Streams>>,
    progress: &dyn Progress,
) -> Result<(Ended, Started), Error> {
    let guard = begun.guard.take();
    let Begun {
        container,
        source,
        volumes,
        ..
    } = begun;
    // Before the configuration says who asks us for what.
    let signals = Signals::block().map_err(Error::Prepare)?;
    if !o.remove {
        keep_options(store, container, source, volumes, o)?;
    }
    let (streams, tee) = match streams {
        Some(streams) => (Some(streams), None),
        None => output(o, container)?.unzip(),
    };
    let mut stage = Stage {
        streams,
        window: if o.tty {
            window()
        } else {
            WindowSize::default()
        },
        guard,
        own: None,
    };
    let started = launch(store, o, source, volumes, container, &mut stage, progress)?;
    // The program has its ends; ours would keep it from ever seeing the end.
    drop(stage);
    write_pid(o, started.pid.as_raw_nonzero().get())?;
    let mut state = State::default();
    if !o.remove {
        state.begin(started.pid.as_raw_nonzero().get());
        state.write(container)?;
        events::happened_to(store, container, |e| e, Action::Create);
        events::happened_to(store, container, |e| e, Action::Start);
    }
    let dir = Some(container.as_fd());
    let ended = monitor::watch(&started, &signals, o.interactive, dir, tee)?;
    if !o.remove {
        state.end(ended.exit_code());
        state.write(container)?;
        let with = |e: Event| e.ended(ended.exit_code());
        events::happened_to(store, container, with, Action::Died);
    }
    Ok((ended, started))
}

/// For one that stays, and can be asked for its log later: the program's ends of its streams, and what lies between
/// them and ours. Whatever writes straight to our streams is nobody's but the reader's.
fn output(o: &Options, container: &ContainerDir) -> Result<Option<(Rc<Streams>, Tee)>, Error> {
    if o.remove || o.tty || o.keep.log.driver == log::Driver::None {
        return Ok(None);
    }
    let path = container.log();
    let log =
        log::Writer::open(&path, o.keep.log.limits).map_err(|e| Error::file("open", &path, e))?;
    let (theirs, ours) = monitor::pipes(false).map_err(Error::Prepare)?;
    Ok(Some((Rc::new(theirs), Tee::new(ours, log))))
}

/// Make the directory of a container: its image is there, its name is taken, and it is locked. Nothing of it is
/// complete yet.
pub(super) fn begin(store: &Store, o: &Options, progress: &dyn Progress) -> Result<Begun, Error> {
    // The store trusts what stands there.
    if let Some((name, _)) = o.annotations.iter().find(|(n, _)| n.starts_with(RESERVED)) {
        return Err(Error::ReservedAnnotation(name.clone()));
    }
    super::sweep(store);
    // From reading the image until the container pins it, nobody may collect its layers.
    let (source, guard) = source(store, o, progress)?;
    begun(store, o, source, guard)
}

fn begun(store: &Store, o: &Options, source: Source, guard: Guard) -> Result<Begun, Error> {
    let volumes = volumes::resolve(store, o, &source.defaults)?;
    let id = random_id()?;
    let container = create(store, o, &id)?;
    if let Some(path) = &o.cidfile
        && let Err(e) = write_id(path, &id)
    {
        let _ = container.remove();
        return Err(e);
    }
    Ok(Begun {
        container,
        source,
        volumes,
        guard: Some(guard),
        id_file: o.cidfile.clone(),
    })
}

/// A file that is there already is of another container, which a script would lose.
fn write_id(path: &Path, id: &str) -> Result<(), Error> {
    let failed = |e| Error::file("write the id to", path, e);
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path);
    let mut file = file.map_err(failed)?;
    file.write_all(id.as_bytes()).map_err(|e| {
        // Half an id is nobody's.
        let _ = std::fs::remove_file(path);
        failed(e)
    })
}

/// A file with the id of a container that is no more names nothing, and would be in the way of the next attempt. One
/// that says something else by now is not ours.
pub(super) fn forget_id(path: Option<&Path>, id: &str) {
    if let Some(path) = path
        && std::fs::read(path).is_ok_and(|text| text == id.as_bytes())
    {
        // A file of the user's that stays is no reason to say something else than what failed.
        let _ = std::fs::remove_file(path);
    }
}

/// `--pidfile`
pub(super) fn write_pid(o: &Options, pid: i32) -> Result<(), Error> {
    match &o.pidfile {
        Some(path) => std::fs::write(path, pid.to_string())
            .map_err(|e| Error::file("write the pid to", path, e)),
        None => Ok(()),
    }
}

/// What a later start needs to know.
pub(super) fn keep_options(
    store: &Store,
    container: &ContainerDir,
    source: &Source,
    volumes: &[Volume],
    o: &Options,
) -> Result<(), Error> {
    let mut o = o.resolved();
    // It has the same ones whenever it starts.
    o.volumes = volumes.to_vec();
    o.volumes_from.clear();
    o.image_volumes = ImageVolumes::Ignore;
    secrets::keep(store, container, &o.secrets)?;
    o.keep.health = match &source.image {
        Some(image) => health::resolve(&stored::config(store, &image.id)?, &o.health),
        None => health::resolve(b"{}", &o.health),
    };
    let json = serde_json::to_vec(&o).map_err(|e| Error::Spec(e.to_string()))?;
    Ok(container.write_options(&json)?)
}

/// A container that stays has a name, if need be one of our choice. For one that goes it would only
/// cost time.
fn create(store: &Store, o: &Options, id: &str) -> Result<ContainerDir, Error> {
    let containers = store.containers();
    if o.name.is_some() || o.remove && !o.keep.detached {
        return Ok(containers.create(id, o.name.as_deref(), o.remove)?);
    }
    let mut attempts = 0;
    loop {
        match containers.create(id, Some(&name::random(attempts)?), o.remove) {
            Err(store::Error::NameTaken { .. }) if attempts < NAME_ATTEMPTS => attempts += 1,
            result => return Ok(result?),
        }
    }
}

/// Where no namespace can be had, a probe knows more than an errno says.
pub(super) fn explained(e: Error) -> Error {
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
            return Ok((of_directory(dir), store.shared()?));
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
    Ok((of_image(store, image)?, guard))
}

/// What a container that is there already is made of: what was found when it was made, whatever its name means now.
pub(super) fn source_of(
    store: &Store,
    entry: &ContainerEntry,
    o: &Options,
) -> Result<Source, Error> {
    match &o.what {
        What::Directory(dir) => Ok(of_directory(dir.clone())),
        What::Image(name) => {
            let image = store.containers().image(entry)?;
            of_image(
                store,
                image.ok_or_else(|| Error::NoImageBelow(name.clone()))?,
            )
        }
    }
}

fn of_directory(dir: PathBuf) -> Source {
    Source {
        image: None,
        defaults: ImageDefaults::default(),
        layers: vec![dir],
        owners: Vec::new(),
    }
}

fn of_image(store: &Store, image: ImageRecord) -> Result<Source, Error> {
    let config = stored::config(store, &image.id)?;
    of_image_as(store, image, &config)
}

fn of_image_as(store: &Store, image: ImageRecord, config: &[u8]) -> Result<Source, Error> {
    let config: ImageConfiguration =
        serde_json::from_slice(config).map_err(|source| Error::ImageConfig {
            id: image.id.clone(),
            source,
        })?;
    let layers = image.stack().map(|d| store.layer_path(d));
    let layers = rootfs::visible(layers.collect());
    Ok(Source {
        defaults: ImageDefaults::of(&config),
        owners: layers.iter().map(|tree| store.layer_owners(tree)).collect(),
        layers,
        image: Some(image),
    })
}

/// 64 hex digits, as docker's.
fn random_id() -> Result<String, Error> {
    let mut bytes = [0u8; 32];
    getrandom(&mut bytes, GetRandomFlags::empty()).map_err(|e| Error::Prepare(e.into()))?;
    Ok(base16ct::lower::encode_string(&bytes))
}

/// Of the caller's terminal.
pub(super) fn window() -> WindowSize {
    let size = [rustix::stdio::stdout(), rustix::stdio::stdin()]
        .into_iter()
        .find_map(|fd| rustix::termios::tcgetwinsize(fd).ok());
    size.map_or_else(WindowSize::default, |s| WindowSize {
        rows: s.ws_row,
        columns: s.ws_col,
    })
}
