//! What is mounted by the user's wish: volumes, directories of the host, images, file systems in memory.
//!
//! In three steps. [`resolve`]: options, the image's volumes and those of other containers to a list in which every
//! volume has its name; whoever keeps it can start the container again. [`plan`]: the list to mounts of the
//! configuration, and to what is recorded of them there, which pins the volumes. [`prepare`], when that is written:
//! volumes are made and filled, owners changed. With an empty list none of them makes a system call.

use std::collections::HashSet;
use std::os::fd::AsFd as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::driver;
use super::options::{ImageVolumes, Options, Volume};
use super::process::ImageDefaults;
use super::user::Ids;
use crate::layer;
use crate::ops::volume::fill::{self, Conflict, Content};
use crate::ops::volume::{self, Backing, VolumeError, backing};
use crate::ops::{Error, stored};
use crate::owners;
use crate::rootfs::{self, LayeredView};
use crate::store::{self, ContainerDir, MountKind, Mounted, Store, VolumeDir, VolumeRecord};

/// More volumes than anybody needs; each is a directory and a mount.
const DECLARED_MAX: usize = 256;
/// Directory of a container for what is written over mounts that stay as they are.
const OVERLAYS: &str = "overlays";
/// As [`rootfs::overlay_options`] has it.
const UPPER: &str = "upper";
/// A volume that was made for the container: it goes with it.
const ANONYMOUS: &str = "anonymous";
/// Words of ours among mount options: the runtime must not see them.
const OURS: [&str; 4] = ["O", "U", "nocopy", ANONYMOUS];
/// What docker gives a tmpfs that a user asks for.
const TMPFS_OPTIONS: [&str; 3] = ["nosuid", "nodev", "noexec"];

/// A mount of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub fstype: &'static str,
    pub source: PathBuf,
    pub target: PathBuf,
    pub options: Vec<String>,
}

/// All that is mounted.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    /// Parents before what is mounted in them.
    pub planned: Vec<Planned>,
    /// For the configuration.
    pub mounted: Vec<Mounted>,
    /// Directories of the host, whose files are the container's user's.
    pub host: Vec<PathBuf>,
    /// Volumes, whose owners are recorded beside them.
    pub kept: Vec<(PathBuf, owners::Layer)>,
    todo: Vec<Todo>,
}

/// What has to be done before the container starts.
#[derive(Debug)]
enum Todo {
    /// A volume is there, and has been used.
    Volume {
        record: VolumeRecord,
        target: PathBuf,
        nocopy: bool,
    },
    /// Directories for what is written over something, which is there as well.
    Overlay { over: PathBuf, lower: PathBuf },
    /// All files of a volume get the container's user.
    GiveVolume(String),
    /// The same of a directory of the host.
    GiveDirectory(PathBuf),
}

/// The mounts of a container, each volume with its name.
pub(super) fn resolve(
    store: &Store,
    o: &Options,
    image: &ImageDefaults,
) -> Result<Vec<Volume>, Error> {
    let mut all = o.volumes.clone();
    let mut taken: HashSet<PathBuf> = all.iter().map(|v| v.target().to_owned()).collect();
    for from in &o.volumes_from {
        let entry = store.containers().find(&from.container)?;
        for mounted in store.containers().mounts(&entry)? {
            if taken.insert(mounted.target.clone()) {
                all.extend(repeated(mounted, from.read_only));
            }
        }
    }
    if o.image_volumes != ImageVolumes::Ignore {
        if image.volumes.len() > DECLARED_MAX {
            let path = image.volumes[DECLARED_MAX].clone();
            let why = "there are more than 256 of them";
            return Err(VolumeError::Declared { path, why }.into());
        }
        for path in &image.volumes {
            let target = declared(path)?;
            if taken.insert(target.clone()) {
                all.push(match o.image_volumes {
                    ImageVolumes::Tmpfs => Volume::Tmpfs {
                        target,
                        options: TMPFS_OPTIONS.map(str::to_owned).to_vec(),
                    },
                    _ => Volume::Named {
                        name: None,
                        target,
                        options: ["rbind", "nosuid", "nodev"].map(str::to_owned).to_vec(),
                    },
                });
            }
        }
    }
    for volume in &mut all {
        if let Volume::Named {
            name: name @ None,
            options,
            ..
        } = volume
        {
            *name = Some(volume::random_name()?);
            options.push(ANONYMOUS.to_owned());
        }
    }
    Ok(all)
}

/// A mount of another container; file systems in memory are its own.
fn repeated(mounted: Mounted, read_only: bool) -> Option<Volume> {
    let Mounted {
        kind,
        name,
        source,
        target,
        mut options,
        ..
    } = mounted;
    if read_only && !options.iter().any(|o| o == "ro" || o == "rro") {
        options.retain(|o| o != "O");
        options.push("rro".to_owned());
    }
    match kind {
        MountKind::Bind => Some(Volume::Bind {
            source,
            target,
            options,
        }),
        MountKind::Volume => Some(Volume::Named {
            name: Some(name),
            target,
            options,
        }),
        MountKind::Image | MountKind::Tmpfs => None,
    }
}

/// Where an image wants a volume. It is a stranger's word: what leads to the root or upwards is refused.
fn declared(path: &str) -> Result<PathBuf, VolumeError> {
    let wrong = |why| VolumeError::Declared {
        path: path.to_owned(),
        why,
    };
    if path.contains('\0') {
        return Err(wrong("a path has no NUL byte"));
    }
    let whole = Path::new("/").join(path);
    if whole.components().any(|c| c == Component::ParentDir) {
        return Err(wrong("the path has a .. in it"));
    }
    let whole: PathBuf = whole.components().collect();
    match whole == Path::new("/") {
        true => Err(wrong("the root of the container cannot be mounted over")),
        false => Ok(whole),
    }
}

/// What the configuration has of them. To be called with the store's guard, which keeps volumes and images until the
/// configuration is written.
pub(super) fn plan(
    store: &Store,
    container: &ContainerDir,
    volumes: &[Volume],
) -> Result<Mounts, Error> {
    let mut mounts = Mounts::default();
    // Parents before children, whatever the order of the options (docker sorts by depth).
    let mut sorted: Vec<&Volume> = volumes.iter().collect();
    sorted.sort_by_key(|v| v.target().components().count());
    for (index, volume) in sorted.into_iter().enumerate() {
        let over = container.path().join(OVERLAYS).join(index.to_string());
        match volume {
            Volume::Bind {
                source,
                target,
                options,
            } => {
                mounts.record(MountKind::Bind, "", source, target, options);
                mounts.host.push(target.clone());
                if has(options, "U") {
                    mounts.todo.push(Todo::GiveDirectory(source.clone()));
                }
                mounts.bind(source, target, options, over);
            }
            Volume::Named {
                name,
                target,
                options,
            } => mounts.named(store, name.as_deref(), target, options, over)?,
            Volume::Image {
                image,
                target,
                writable,
            } => mounts.image(store, image, target, *writable, over)?,
            Volume::Tmpfs { target, options } => {
                mounts.record(MountKind::Tmpfs, "", Path::new("tmpfs"), target, options);
                mounts.planned.push(Planned {
                    fstype: "tmpfs",
                    source: "tmpfs".into(),
                    target: target.clone(),
                    options: options.clone(),
                });
            }
        }
    }
    Ok(mounts)
}

fn has(options: &[String], word: &str) -> bool {
    options.iter().any(|o| o == word)
}

impl Mounts {
    fn record(
        &mut self,
        kind: MountKind,
        name: &str,
        source: &Path,
        target: &Path,
        options: &[String],
    ) {
        self.mounted.push(Mounted {
            kind,
            name: name.to_owned(),
            source: source.to_owned(),
            target: target.to_owned(),
            options: options.to_vec(),
            image: None,
        });
    }

    /// A directory that is there, or an overlay over it.
    fn bind(&mut self, source: &Path, target: &Path, options: &[String], over: PathBuf) {
        let words: Vec<String> = options
            .iter()
            .filter(|o| !OURS.contains(&o.as_str()))
            .cloned()
            .collect();
        if !has(options, "O") {
            self.planned.push(Planned {
                fstype: "bind",
                source: source.to_owned(),
                target: target.to_owned(),
                options: words,
            });
            return;
        }
        let mut words: Vec<String> = words.into_iter().filter(|o| !o.ends_with("bind")).collect();
        words.extend(rootfs::overlay_options(&[source], Some(&over)));
        self.overlay(target, words);
        self.todo.push(Todo::Overlay {
            over,
            lower: source.to_owned(),
        });
    }

    fn overlay(&mut self, target: &Path, options: Vec<String>) {
        self.planned.push(Planned {
            fstype: "overlay",
            source: "overlay".into(),
            target: target.to_owned(),
            options,
        });
    }

    fn named(
        &mut self,
        store: &Store,
        name: Option<&str>,
        target: &Path,
        options: &[String],
        over: PathBuf,
    ) -> Result<(), Error> {
        let Some(name) = name else {
            return Err(store::Error::BadVolumeName(String::new()).into());
        };
        let volumes = store.volumes();
        let found = volumes.get(name)?;
        let Backing {
            bind,
            options: own,
            nocopy,
        } = match &found {
            Some(volume) => backing(&volume.record.options)?,
            None => Backing::default(),
        };
        let mut options = options.to_vec();
        options.extend(
            own.into_iter()
                .filter(|o| !has(&options, o))
                .collect::<Vec<_>>(),
        );
        if let Some(dir) = bind {
            self.record(MountKind::Volume, name, &dir, target, &options);
            self.host.push(target.to_owned());
            if has(&options, "U") {
                self.todo.push(Todo::GiveDirectory(dir.clone()));
            }
            self.bind(&dir, target, &options, over);
            return Ok(());
        }
        let tree = volumes.layer(name)?;
        self.record(MountKind::Volume, name, &tree.tree, target, &options);
        self.todo.push(Todo::Volume {
            record: match found {
                Some(volume) => volume.record,
                None => volume::new(name.to_owned(), has(&options, ANONYMOUS)),
            },
            target: target.to_owned(),
            nocopy: nocopy || has(&options, "nocopy"),
        });
        if has(&options, "U") {
            self.todo.push(Todo::GiveVolume(name.to_owned()));
        }
        self.bind(&tree.tree, target, &options, over);
        self.kept.push((target.to_owned(), tree));
        Ok(())
    }

    /// The layers of an image. Even one alone is laid over an empty directory and not bound: a bind could be made
    /// writable again by a container with the capability to mount.
    fn image(
        &mut self,
        store: &Store,
        name: &str,
        target: &Path,
        writable: bool,
        over: PathBuf,
    ) -> Result<(), Error> {
        let image = stored::find(store, name)?;
        let layers = image.stack().map(|d| store.layer_path(d));
        let layers = rootfs::visible(layers.collect());
        // It is empty, and never the upper one of what cannot be written to.
        let own = over.join(UPPER);
        let mut lowers: Vec<&Path> = layers.iter().map(PathBuf::as_path).collect();
        let mut options = match writable {
            true => rootfs::overlay_options(&lowers, Some(&over)),
            false => {
                lowers.push(&own);
                rootfs::overlay_options(&lowers, None)
            }
        };
        if !writable {
            options.push("ro".to_owned());
        }
        options.extend(["nosuid", "nodev"].map(str::to_owned));
        self.overlay(target, options);
        self.todo.push(Todo::Overlay {
            lower: layers.first().unwrap_or(&over).clone(),
            over,
        });
        self.mounted.push(Mounted {
            kind: MountKind::Image,
            name: name.to_owned(),
            source: PathBuf::new(),
            target: target.to_owned(),
            options: vec![if writable { "rw" } else { "ro" }.to_owned()],
            image: Some(image),
        });
        Ok(())
    }
}

/// The names of all volumes among mounts that have names.
pub(super) fn names(volumes: &[Volume]) -> Vec<String> {
    let name = |v: &Volume| match v {
        Volume::Named { name, .. } => name.clone(),
        _ => None,
    };
    volumes.iter().filter_map(name).collect()
}

/// Make what is missing, as [`prepare`] would, and leave it as it is: the container may start later.
pub(super) fn make(store: &Store, mounts: &Mounts) -> Result<(), Error> {
    for todo in &mounts.todo {
        if let Todo::Volume { record, .. } = todo
            && record.needs_chown
        {
            store.volumes().create(record)?;
        }
    }
    Ok(())
}

/// Make and fill what is missing, now that nobody takes it away: the configuration names it.
pub(super) fn prepare(
    store: &Store,
    mounts: &Mounts,
    layers: &[owners::Layer],
    user: Ids,
) -> Result<(), Error> {
    let ids = (user.uid, user.gid);
    for todo in &mounts.todo {
        match todo {
            Todo::Volume {
                record,
                target,
                nocopy,
            } => {
                // The common case is one that has been used.
                if record.needs_chown || record.needs_copy_up {
                    store.volumes().create(record)?;
                    first_use(store, &record.name, target, *nocopy, layers, ids)?;
                }
            }
            Todo::Overlay { over, lower } => make_overlay(over, lower)?,
            Todo::GiveVolume(name) => {
                let _lock = store.volumes().lock(name)?;
                fill::give(&store.volumes().layer(name)?, ids, true)?;
            }
            Todo::GiveDirectory(dir) => fill::take_back(dir, ids)?,
        }
    }
    Ok(())
}

/// A volume that may still be as it was made.
fn first_use(
    store: &Store,
    name: &str,
    target: &Path,
    nocopy: bool,
    layers: &[owners::Layer],
    ids: (u32, u32),
) -> Result<(), Error> {
    let mut volume = store.volumes().lock(name)?;
    fill::complete(&volume)?;
    let mut record = volume.entry.record.clone();
    // It is not that: somebody was faster.
    if !record.needs_chown && !record.needs_copy_up {
        return Ok(());
    }
    let trees: Vec<PathBuf> = layers.iter().map(|l| l.tree.clone()).collect();
    let base = LayeredView::new(&trees).directory(target)?;
    let empty = fill::is_empty(&volume.entry.data())?;
    match &base {
        Some(base) if record.needs_copy_up && empty && !nocopy => {
            let content = Content { layers, base };
            fill::fill(&volume, &content, Conflict::Keep)?;
        }
        Some(base) if record.needs_chown && empty => {
            fill::look_like(&volume, &Content { layers, base })?;
        }
        // As podman has it: where the image has nothing, it is the user's.
        None if record.needs_chown && empty => give_root(store, &volume, ids)?,
        _ => {}
    }
    record.needs_chown = false;
    // An image that has nothing there leaves it to the next.
    record.needs_copy_up = fill::is_empty(&volume.entry.data())?;
    if record != volume.entry.record {
        volume.write(record)?;
    }
    Ok(())
}

fn give_root(store: &Store, volume: &VolumeDir, ids: (u32, u32)) -> Result<(), Error> {
    match ids {
        (0, 0) => Ok(()),
        ids => fill::give(
            &store.volumes().layer(&volume.entry.record.name)?,
            ids,
            false,
        ),
    }
}

/// Empty: what the container's last run wrote there went with it. The directory itself looks like the one below.
fn make_overlay(over: &Path, lower: &Path) -> Result<(), Error> {
    let failed = |e: Errno| Error::file("create the directory", over, e.into());
    let (Some(above), Some(name)) = (over.parent(), over.file_name()) else {
        return Err(failed(Errno::INVAL));
    };
    match rustix::fs::mkdir(above, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(failed(e)),
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(above, flags, Mode::empty()).map_err(failed)?;
    layer::remove_tree(dir.as_fd(), name).map_err(Error::Layer)?;
    for dir in [over.to_owned(), over.join("work")] {
        rustix::fs::mkdir(&dir, Mode::RWXU).map_err(failed)?;
    }
    driver::like(&over.join(UPPER), lower)
}
