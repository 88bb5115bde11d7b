//! Control groups of version 2, also beside version 1 (a "hybrid" host), whose hierarchies are left alone: without a
//! controller there is still freezing, killing, and knowing what belongs together. cgroups(7), and the kernel's
//! admin-guide/cgroup-v2.rst.
//!
//! Invariant: a group that cannot be made is no error, unless something was asked for that only it can give. Then
//! the error says what.

mod devices;
mod resources;
mod stats;

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Pid;
use serde_json::Value;

use self::resources::Setting;
pub use self::stats::stats;

/// How long the processes of a group may take to go.
const PATIENCE: Duration = Duration::from_secs(5);

/// `CGROUP2_SUPER_MAGIC` of statfs(2).
const CGROUP2: u32 = 0x6367_7270;

/// Why limits cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No group can be made.
    #[error("{what} cannot be limited: no control group can be made ({why})")]
    NoGroup {
        /// The first limit.
        what: String,
        /// The reason.
        why: String,
    },
    /// A group was made, and lacks it.
    #[error("{what} cannot be limited: {file}: {source}")]
    Setting {
        /// What was asked for.
        what: String,
        /// The file that says it.
        file: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The processes of the container cannot be put into it.
    #[error("cannot put the container into its control group {path}: {1}", path = .0.display())]
    Join(PathBuf, #[source] io::Error),
    /// The limits are none.
    #[error("the limits are not valid: {0}")]
    Resources(#[from] serde_json::Error),
    /// A value that the kernel's files have no form for.
    #[error("the limit {0} is not valid")]
    Value(&'static str),
    /// A group that is there cannot be changed.
    #[error("cannot change the control group {path}: {1}", path = .0.display())]
    Change(PathBuf, #[source] io::Error),
}

impl Error {
    /// What the user can do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoGroup { .. } | Self::Setting { .. } => Some(
                "limits need a writable control group of version 2: `coracle doctor` says what this machine allows",
            ),
            _ => None,
        }
    }
}

/// A group of a container to be, or none.
#[derive(Debug)]
pub struct Cgroup {
    path: Option<PathBuf>,
    limited: bool,
    /// Directories that were made for it, the last first.
    made: Vec<PathBuf>,
}

impl Cgroup {
    /// None, since the caller wants none.
    pub fn none(resources: Option<&Value>) -> Result<Self, Error> {
        match resources::settings(resources)?.iter().find(|s| !s.usual) {
            Some(first) => Err(Error::NoGroup {
                what: first.what.to_owned(),
                why: "they were switched off".to_owned(),
            }),
            None => Ok(Self {
                path: None,
                limited: false,
                made: Vec::new(),
            }),
        }
    }

    /// The group at `path` (below where they are mounted if it is absolute, else below the caller's own) with limits.
    ///
    /// `guarded`: the container is root's of the machine, and could make any device: so what is said of devices has to
    /// be in force.
    pub fn make(
        id: &str,
        path: Option<&str>,
        resources: Option<&Value>,
        guarded: bool,
    ) -> Result<Self, Error> {
        let settings = resources::settings(resources)?;
        let devices = devices::program(resources)?.filter(|_| guarded);
        let made = place().and_then(|place| match path {
            Some(path) => create(&place, &relative(path), &settings, false),
            None => own(&place, id, &settings),
        });
        let first = settings.iter().find(|s| !s.usual).map(|s| s.what);
        let first = first.or(devices.as_ref().map(|_| "access to devices"));
        let (path, made) = match (made, first) {
            (Ok(made), _) => made,
            (Err(_), None) => {
                return Ok(Self {
                    path: None,
                    limited: false,
                    made: Vec::new(),
                });
            }
            (Err(e), Some(first)) => {
                return Err(Error::NoGroup {
                    what: first.to_owned(),
                    // Not the system's words: podman takes "no such file" for a missing program.
                    why: match e.kind() {
                        io::ErrorKind::PermissionDenied => "it is not ours to write to".to_owned(),
                        io::ErrorKind::NotFound => "there is no place for one".to_owned(),
                        _ => e.to_string(),
                    },
                });
            }
        };
        let group = Self {
            path: Some(path.clone()),
            limited: first.is_some(),
            made,
        };
        let restrict = || match &devices {
            Some(program) => devices::attach(&path, program).map_err(|source| Error::Setting {
                what: "access to devices".to_owned(),
                file: path.display().to_string(),
                source,
            }),
            None => Ok(()),
        };
        match set(&path, &settings).and_then(|()| restrict()) {
            Ok(()) => Ok(group),
            Err(e) => {
                group.remove();
                Err(e)
            }
        }
    }

    /// Put a process in. Where that is refused, and no limit depends on it, there is no group.
    pub fn join(&mut self, pid: Pid) -> Result<(), Error> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        match fs::write(path.join("cgroup.procs"), pid.as_raw_pid().to_string()) {
            Ok(()) => Ok(()),
            Err(e) if self.limited => Err(Error::Join(path.clone(), e)),
            Err(_) => {
                self.remove();
                self.path = None;
                Ok(())
            }
        }
    }

    /// Where it is, if there is one.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Directories that were made for it, the last first.
    pub fn made(&self) -> &[PathBuf] {
        &self.made
    }

    /// Take it away again, with what was made for it.
    pub fn remove(&self) {
        if let Some(path) = &self.path {
            remove(path, &self.made);
        }
    }
}

/// Where version 2 is mounted, and the caller's group below it.
struct Place {
    mount: PathBuf,
    own: PathBuf,
}

fn place() -> io::Result<Place> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let found = mounts.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        (right.split(' ').next()? == "cgroup2").then(|| left.split(' ').nth(4))?
    });
    // One may be covered by another mount.
    let visible = |path: &&str| rustix::fs::statfs(*path).is_ok_and(|s| s.f_type as u32 == CGROUP2);
    let mount = { found }.find(visible);
    let mount = mount.ok_or_else(|| io::Error::other("version 2 is not mounted"))?;
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let own = own
        .lines()
        .find_map(|l| l.strip_prefix("0::/"))
        .unwrap_or("");
    Ok(Place {
        mount: PathBuf::from(mount),
        own: PathBuf::from(own),
    })
}

/// Groups of containers that are called alike, which have their states in different places.
const ALIKE_MAX: u32 = 1000;

/// A group of our choice, which nobody else has: what is killed and removed with it is the container's alone.
fn own(place: &Place, id: &str, settings: &[Setting]) -> io::Result<(PathBuf, Vec<PathBuf>)> {
    let mut count = 0;
    loop {
        let name = match count {
            0 => format!("coracle-oci-{id}"),
            n => format!("coracle-oci-{id}.{n}"),
        };
        match create(place, &Err(PathBuf::from(name)), settings, true) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && count < ALIKE_MAX => count += 1,
            made => return made,
        }
    }
}

/// Where a group goes: `Ok` from the top, `Err` below the caller's.
fn relative(path: &str) -> Result<PathBuf, PathBuf> {
    // systemd's form, as it would lay its groups out.
    if let [slice, prefix, name] = path.split(':').collect::<Vec<_>>()[..] {
        let leaf = match (prefix, name) {
            (_, name) if name.ends_with(".slice") => name.to_owned(),
            ("", name) => format!("{name}.scope"),
            (prefix, name) => format!("{prefix}-{name}.scope"),
        };
        return Err(slices(slice).join(leaf));
    }
    let inside = |path: &Path| {
        path.components()
            .filter(|c| matches!(c, Component::Normal(_)))
            .collect::<PathBuf>()
    };
    let inner = inside(Path::new(path));
    if path.starts_with('/') {
        Ok(inner)
    } else {
        Err(inner)
    }
}

/// `a-b.slice` lies in `a.slice` (systemd.slice(5)).
fn slices(slice: &str) -> PathBuf {
    let name = slice.strip_suffix(".slice").unwrap_or(slice);
    let mut path = PathBuf::new();
    for (at, _) in name.match_indices('-').filter(|(at, _)| *at > 0) {
        path.push(format!("{}.slice", &name[..at]));
    }
    if !name.is_empty() && name != "-" {
        path.push(format!("{name}.slice"));
    }
    path
}

/// Make a group and what is missing above it. One that is there already must have nobody in it, since its processes end
/// with the container; if it shall be `fresh` it must not be there at all.
fn create(
    place: &Place,
    wanted: &Result<PathBuf, PathBuf>,
    settings: &[Setting],
    fresh: bool,
) -> io::Result<(PathBuf, Vec<PathBuf>)> {
    let (start, below) = match wanted {
        Ok(path) => (place.mount.clone(), path),
        Err(path) => (place.mount.join(&place.own), path),
    };
    let controllers = controllers(settings);
    let mut made = Vec::new();
    let mut path = start;
    for part in below.components() {
        pass_on(&path, &controllers);
        path.push(part);
        match fs::create_dir(&path) {
            Ok(()) => made.insert(0, path.clone()),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => {
                for dir in &made {
                    let _ = fs::remove_dir(dir);
                }
                return Err(e);
            }
        }
    }
    if made.first() != Some(&path) {
        if fresh {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if processes(&path).is_some_and(|p| !p.is_empty()) {
            return Err(io::Error::other("others have processes in it"));
        }
    }
    Ok((path, made))
}

/// Those that limits need.
fn controllers(settings: &[Setting]) -> Vec<&'static str> {
    let mut controllers: Vec<&'static str> = settings.iter().filter_map(|s| s.controller).collect();
    controllers.sort_unstable();
    controllers.dedup();
    controllers
}

/// Give controllers to the groups directly below one.
fn pass_on(group: &Path, controllers: &[&str]) {
    for controller in controllers {
        // Where it cannot be had, its file will be missing, and that is told.
        let _ = fs::write(
            group.join("cgroup.subtree_control"),
            format!("+{controller}"),
        );
    }
}

fn set(path: &Path, settings: &[Setting]) -> Result<(), Error> {
    for s in settings {
        let file = path.join(&s.file);
        match fs::write(&file, &s.value) {
            Err(_) if s.usual => {}
            other => other.map_err(|source| Error::Setting {
                what: s.what.to_owned(),
                file: file.display().to_string(),
                source,
            })?,
        }
    }
    Ok(())
}

/// Change the limits of a group that is there, perhaps to some of kinds that it had none of.
pub fn update(path: &Path, resources: &Value) -> Result<(), Error> {
    let settings = resources::settings(Some(resources))?;
    let has = fs::read_to_string(path.join("cgroup.controllers")).unwrap_or_default();
    let mut lacks = controllers(&settings);
    lacks.retain(|c| !has.split_whitespace().any(|h| h == *c));
    if !lacks.is_empty()
        && let Ok(place) = place()
        && let Ok(below) = path.strip_prefix(&place.mount)
    {
        let mut above = place.mount.clone();
        for part in below.components() {
            pass_on(&above, &lacks);
            above.push(part);
        }
    }
    set(path, &settings)
}

/// Whether its processes are stopped.
pub fn is_frozen(path: &Path) -> bool {
    fs::read(path.join("cgroup.freeze")).is_ok_and(|t| t.starts_with(b"1"))
}

/// Stop its processes, or let them go on; returns when that is so.
pub fn freeze(path: &Path, frozen: bool) -> Result<(), Error> {
    let word: &[u8] = if frozen { b"1" } else { b"0" };
    let failed = |e| Error::Change(path.to_owned(), e);
    fs::write(path.join("cgroup.freeze"), word).map_err(failed)?;
    let until = Instant::now() + PATIENCE;
    let want = format!("frozen {}", u8::from(frozen));
    loop {
        let events = fs::read_to_string(path.join("cgroup.events")).map_err(failed)?;
        if events.lines().any(|l| l == want) {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(failed(io::ErrorKind::TimedOut.into()));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Kill all that is in it (Linux 5.14); older kernels are left to the caller, who kills one by one.
pub fn kill(path: &Path) {
    let _ = fs::write(path.join("cgroup.kill"), "1");
    let _ = fs::write(path.join("cgroup.freeze"), "0");
}

/// The processes in it and below; `None` if it is gone.
pub fn processes(path: &Path) -> Option<Vec<i32>> {
    let mut pids = Vec::new();
    collect(path, &mut pids, 0)?;
    pids.sort_unstable();
    Some(pids)
}

/// Deeper groups exist only to hurt.
const DEPTH_MAX: u32 = 64;

fn collect(path: &Path, pids: &mut Vec<i32>, depth: u32) -> Option<()> {
    let own = fs::read_to_string(path.join("cgroup.procs")).ok()?;
    pids.extend(own.lines().filter_map(|l| l.parse::<i32>().ok()));
    if depth < DEPTH_MAX {
        for dir in children(path) {
            collect(&dir, pids, depth + 1);
        }
    }
    Some(())
}

fn children(path: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
        .map(|e| e.path())
}

/// Take it away, with what the container made below it and what was made above for it. Its processes have ended, or
/// are about to.
pub fn remove(path: &Path, made: &[PathBuf]) {
    leaf(path);
    for dir in made {
        // Others may use it by now.
        let _ = fs::remove_dir(dir);
    }
}

fn leaf(path: &Path) {
    let until = Instant::now() + PATIENCE;
    loop {
        below(path, 0);
        match fs::remove_dir(path) {
            // The last of its processes is not quite gone.
            Err(e) if e.kind() == io::ErrorKind::ResourceBusy && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(2));
            }
            _ => return,
        }
    }
}

fn below(path: &Path, depth: u32) {
    if depth >= DEPTH_MAX {
        return;
    }
    for dir in children(path) {
        below(&dir, depth + 1);
        let _ = fs::remove_dir(&dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_of_others_is_left_alone() {
        let tmp = tempfile::tempdir().unwrap();
        let place = Place {
            mount: tmp.path().to_owned(),
            own: PathBuf::new(),
        };
        let (first, made) = own(&place, "x", &[]).unwrap();
        assert_eq!(
            (&first, made),
            (&tmp.path().join("coracle-oci-x"), vec![first.clone()])
        );
        let (second, _) = own(&place, "x", &[]).unwrap();
        assert_eq!(second, tmp.path().join("coracle-oci-x.1"));
        // By name, an empty one may be used, one with processes may not.
        let wanted = Ok(PathBuf::from("coracle-oci-x"));
        fs::write(first.join("cgroup.procs"), "").unwrap();
        create(&place, &wanted, &[], false).unwrap();
        fs::write(first.join("cgroup.procs"), "1\n").unwrap();
        assert!(create(&place, &wanted, &[], false).is_err());
    }

    #[test]
    fn where_a_group_goes() {
        let path = |p: &str| PathBuf::from(p);
        assert_eq!(relative("/a/b"), Ok(path("a/b")));
        assert_eq!(relative("a/../../b"), Err(path("a/b")));
        assert_eq!(relative("/../.."), Ok(path("")));
        assert_eq!(
            relative("user-a.slice:libpod:1"),
            Err(path("user.slice/user-a.slice/libpod-1.scope"))
        );
        assert_eq!(
            relative("system.slice:p:n"),
            Err(path("system.slice/p-n.scope"))
        );
    }
}
