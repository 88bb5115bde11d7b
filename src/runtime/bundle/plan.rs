//! From the configuration of a bundle to a [`Bundle`]: every decision made, as far as none needs the kernel.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Component, Path, PathBuf};

use rustix::net::SendFlags;

use serde_json::Value;

use super::config::{self, Config, Hook, State};
use super::ids::{Ids, IdsError};
use super::process::c_string;
use super::spawn::connect_to;
use crate::rootfs::Root;
use crate::runtime::channel::Channel;
use crate::runtime::mounts::MountOptions;
use crate::runtime::plan::{Devices, IdMap, Mapping, Mount, Plan, ProcFs, sysctl};
use crate::runtime::seccomp::Seccomp;
use crate::runtime::{PlanError, Process};
use crate::sys::exec::OwnExecutable;

/// What a configuration does not say.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of the container.
    pub id: String,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Descriptors to keep, beyond 0 to 2: how many from 3 on.
    pub preserve_fds: u32,
    /// Variables of the caller's for the program.
    pub env: Vec<String>,
    /// Enter the root file system by pivot_root(2), and not by moving its mount.
    pub pivot: bool,
    /// A session keyring of its own.
    pub keyring: bool,
    /// Effective ids of the caller.
    pub uid: u32,
    /// As above.
    pub gid: u32,
    /// Whether the kernel has AppArmor.
    pub apparmor: bool,
    /// Whether the kernel has SELinux.
    pub selinux: bool,
    /// Whether the file that the caller was started from must be kept out of the container's hands.
    pub executable: OwnExecutable,
}

/// A node in /dev.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::runtime) struct Node {
    pub path: PathBuf,
    pub kind: NodeKind,
    pub major: u32,
    pub minor: u32,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::runtime) enum NodeKind {
    Character,
    Block,
    Fifo,
}

/// Where the listener of the filter goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    pub(in crate::runtime) path: PathBuf,
    pub(in crate::runtime) metadata: String,
}

/// A container to be, of any number of ids.
#[derive(Clone, Debug)]
pub struct Bundle {
    pub(in crate::runtime) plan: Plan,
    pub(in crate::runtime) state: State,
    pub(in crate::runtime) ids: Ids,
    /// Namespaces that are there: `CLONE_NEW*`, and where.
    pub(in crate::runtime) join: Vec<(u64, PathBuf)>,
    /// Namespaces that are made, but for the user's and those that [`Bundle::late`] has.
    pub(in crate::runtime) make: u64,
    /// Cgroup and time namespaces, which the child makes when it is where it belongs.
    pub(in crate::runtime) late: u64,
    pub(in crate::runtime) time_offsets: Vec<(String, config::TimeOffset)>,
    pub(in crate::runtime) propagation: Option<u64>,
    pub(in crate::runtime) pivot: bool,
    pub(in crate::runtime) keyring: bool,
    pub(in crate::runtime) nodes: Vec<Node>,
    /// Id maps of mounts, by the mount's index.
    pub(in crate::runtime) idmaps: Vec<(usize, Ids)>,
    pub(in crate::runtime) hooks: config::Hooks,
    pub(in crate::runtime) notify: Option<Notify>,
    /// Of personality(2).
    pub(in crate::runtime) personality: Option<u64>,
}

/// Nodes that every container has (runtime-spec, config-linux.md "Default Devices").
const NODES: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

impl Notify {
    /// Tell them of the listener of a process.
    pub fn tell(&self, listener: BorrowedFd<'_>, state: Vec<u8>, pid: i32) -> io::Result<()> {
        let socket = connect_to(&self.path)?;
        let message = self.message(state, pid);
        Channel::of(socket).send_bytes(&message, Some(listener), SendFlags::NOSIGNAL)
    }

    /// What the listener's receiver is told: the specification's containerProcessState.
    pub(in crate::runtime) fn message(&self, state: Vec<u8>, pid: i32) -> Vec<u8> {
        let state: Value = serde_json::from_slice(&state).unwrap_or_default();
        let told = serde_json::json!({
            "ociVersion": state["ociVersion"],
            "fds": ["seccompFd"],
            "pid": pid,
            "metadata": self.metadata,
            "state": state,
        });
        told.to_string().into_bytes()
    }
}

impl Bundle {
    /// Decide everything.
    pub fn new(config: &Config, settings: &Settings) -> Result<Self, PlanError> {
        let process = config
            .process
            .as_ref()
            .ok_or(PlanError::Missing("process"))?;
        let linux = &config.linux;
        if linux.intel_rdt.is_some() {
            return Err(PlanError::Unsupported(
                "linux.intelRdt",
                "this runtime does not manage resctrl",
            ));
        }
        let Namespaces { mut make, join } = namespaces(&linux.namespaces)?;
        let joined = join.iter().fold(0, |all, (flag, _)| all | flag);
        let user_flag = libc::CLONE_NEWUSER as u64;
        // As crun: an ordinary user can do nothing without a namespace of his own, so that is what he means.
        if settings.uid != 0 && (make | joined) & user_flag == 0 {
            make |= user_flag;
        }
        if (make | joined) & libc::CLONE_NEWNS as u64 == 0 {
            return Err(PlanError::Unsupported(
                "a container without a mount namespace",
                "its mounts would be the host's",
            ));
        }
        if joined & libc::CLONE_NEWNS as u64 != 0 {
            return Err(PlanError::Unsupported(
                "a mount namespace given by path",
                "the root file system would be mounted over what others see there",
            ));
        }
        let ids = if make & user_flag == 0 {
            Ids::Kept
        } else {
            Ids::new(&linux.uid_mappings, &linux.gid_mappings, settings)?
        };
        let root = config.root.as_ref().ok_or(PlanError::Missing("root"))?;
        let rootfs = normal(&settings.bundle.join(&root.path));
        let mut idmaps = Vec::new();
        let mut mounts = Vec::with_capacity(config.mounts.len());
        for (index, m) in config.mounts.iter().enumerate() {
            let mounted = mount(m, linux, settings)?;
            if mounted.options.idmap.is_some() || !m.uid_mappings.is_empty() {
                let ids = if m.uid_mappings.is_empty() && m.gid_mappings.is_empty() {
                    ids.clone()
                } else {
                    Ids::given(&m.uid_mappings, &m.gid_mappings)
                };
                if !mounted.options.bind || ids == Ids::Kept {
                    return Err(PlanError::Unsupported(
                        "an id-mapped mount",
                        "it must be a bind mount with a map of its own, or in a container that has one",
                    ));
                }
                idmaps.push((index, ids));
            }
            mounts.push(mounted);
        }
        let own_dev = mounts
            .iter()
            .rfind(|m| m.destination == Path::new("/dev"))
            .is_some_and(|m| m.options.bind);
        let sysctls = linux.sysctl.iter();
        let sysctls = sysctls
            .map(|(k, v)| Ok((sysctl::path(k, make | joined)?, v.clone())))
            .collect::<Result<Vec<_>, PlanError>>()?;
        let (filter, notify) = seccomp(linux.seccomp.as_ref())?;
        let late = make & (libc::CLONE_NEWCGROUP as u64 | NEWTIME);
        let plan = Plan {
            namespaces: make | joined,
            // Written by the parent: see `ids`.
            ids: NOBODY,
            root: Root::Directory(rootfs.clone()),
            mountpoint: rootfs,
            root_readonly: root.readonly,
            proc: ProcFs::Fresh,
            anew: true,
            mounts,
            secrets: Vec::new(),
            files: Vec::new(),
            devices: Vec::new(),
            dev: Devices::None,
            masked: paths(&linux.masked_paths)?,
            readonly: paths(&linux.readonly_paths)?,
            hostname: config.hostname.clone().filter(|n| !n.is_empty()),
            domainname: config.domainname.clone().filter(|n| !n.is_empty()),
            sysctl: sysctls,
            init: false,
            die_with_parent: false,
            process: super::process::process(
                process,
                &ids,
                settings,
                filter,
                (make | joined) & user_flag != 0,
            )?,
            supervisor: None,
        };
        if plan.hostname.is_some() && !plan.has(libc::CLONE_NEWUTS) {
            return Err(PlanError::Unsupported(
                "hostname",
                "it would be the host's, without a uts namespace",
            ));
        }
        Ok(Self {
            plan,
            state: State {
                oci_version: config.oci_version.clone(),
                id: settings.id.clone(),
                status: "creating".to_owned(),
                pid: None,
                bundle: settings.bundle.clone(),
                annotations: config.annotations.clone(),
            },
            ids,
            join,
            make: make & !late,
            late,
            time_offsets: time_offsets(linux, make)?,
            propagation: propagation(linux.rootfs_propagation.as_deref())?,
            pivot: settings.pivot,
            keyring: settings.keyring,
            nodes: if own_dev {
                Vec::new()
            } else {
                nodes(&linux.devices)?
            },
            idmaps,
            hooks: hooks(&config.hooks)?,
            notify,
            personality: personality(linux)?,
        })
    }

    /// A further program of a container of this configuration, which `enters` another user namespace than the
    /// caller's, or is in the same. With it comes who is told of what its filter asks.
    pub fn further(
        config: &Config,
        process: &config::Process,
        settings: &Settings,
        enters: bool,
    ) -> Result<(Process, Option<Notify>), PlanError> {
        let (filter, notify) = seccomp(config.linux.seccomp.as_ref())?;
        let process = super::process::process(process, &Ids::Kept, settings, filter, enters)?;
        Ok((process, notify))
    }

    /// Whether the program wants a terminal.
    pub fn has_terminal(&self) -> bool {
        self.plan.process.terminal.is_some()
    }

    /// Whether its users are the caller's.
    pub fn keeps_user_namespace(&self) -> bool {
        !self.plan.has(libc::CLONE_NEWUSER)
    }

    /// Its root file system on the host.
    pub fn rootfs(&self) -> &Path {
        &self.plan.mountpoint
    }

    /// Its program, for messages.
    pub fn program(&self) -> String {
        let first = self.plan.process.args.first();
        first
            .map(|a| a.to_string_lossy().into_owned())
            .unwrap_or_default()
    }

    /// What hooks and listeners are told.
    pub fn state(&self) -> &State {
        &self.state
    }
}

const NOBODY: IdMap = IdMap {
    uid: Mapping {
        inside: 0,
        outside: 0,
    },
    gid: Mapping {
        inside: 0,
        outside: 0,
    },
};

/// `CLONE_NEWTIME`, which libc does not have.
pub(in crate::runtime) const NEWTIME: u64 = 0x80;

struct Namespaces {
    make: u64,
    join: Vec<(u64, PathBuf)>,
}

fn namespaces(list: &[config::Namespace]) -> Result<Namespaces, PlanError> {
    let mut found = Namespaces {
        make: 0,
        join: Vec::new(),
    };
    let mut seen = 0;
    for namespace in list {
        let flag = match namespace.kind.as_str() {
            "mount" => libc::CLONE_NEWNS as u64,
            "cgroup" => libc::CLONE_NEWCGROUP as u64,
            "uts" => libc::CLONE_NEWUTS as u64,
            "ipc" => libc::CLONE_NEWIPC as u64,
            "user" => libc::CLONE_NEWUSER as u64,
            "pid" => libc::CLONE_NEWPID as u64,
            "network" => libc::CLONE_NEWNET as u64,
            "time" => NEWTIME,
            other => return Err(PlanError::Value("namespace", other.to_owned())),
        };
        if seen & flag != 0 {
            return Err(PlanError::Value(
                "namespace (twice)",
                namespace.kind.clone(),
            ));
        }
        seen |= flag;
        match &namespace.path {
            Some(path) if !path.as_os_str().is_empty() => {
                if !path.is_absolute() {
                    return Err(PlanError::Value(
                        "namespace path (not absolute)",
                        path.display().to_string(),
                    ));
                }
                found.join.push((flag, path.clone()));
            }
            _ => found.make |= flag,
        }
    }
    Ok(found)
}

fn mount(
    m: &config::Mount,
    linux: &config::Linux,
    settings: &Settings,
) -> Result<Mount, PlanError> {
    // Relative ones stand in configurations of before 1.0, and mean the root.
    let destination = Path::new("/").join(&m.destination);
    let mut options = MountOptions::read(&m.options);
    let kind = m.kind.as_deref().unwrap_or("none");
    options.bind |= kind == "bind";
    if settings.selinux && !linux.mount_label.is_empty() && !options.bind && kind != "cgroup" {
        if !options.data.is_empty() {
            options.data.push(',');
        }
        options
            .data
            .push_str(&format!("context=\"{}\"", linux.mount_label));
    }
    let source = match &m.source {
        // Of a bind mount: relative to the bundle.
        Some(source) if options.bind => settings.bundle.join(source),
        Some(source) => source.clone(),
        None if options.bind => {
            return Err(PlanError::Missing("source of a bind mount"));
        }
        None => PathBuf::from(kind),
    };
    if options.copy_up && kind != "tmpfs" {
        return Err(PlanError::Unsupported(
            "tmpcopyup",
            "it is for a tmpfs alone",
        ));
    }
    Ok(Mount {
        source,
        fstype: c_string(kind)?,
        options,
        destination,
    })
}

fn seccomp(
    profile: Option<&Value>,
) -> Result<(Option<crate::runtime::seccomp::Filter>, Option<Notify>), PlanError> {
    let Some(profile) = profile else {
        return Ok((None, None));
    };
    let mut profile = profile.clone();
    let mut text = |name: &str| {
        let value = profile.as_object_mut().and_then(|p| p.remove(name));
        value
            .and_then(|v| v.as_str().map(str::to_owned))
            .filter(|s| !s.is_empty())
    };
    let (path, metadata) = (text("listenerPath"), text("listenerMetadata"));
    let filter = Seccomp::bundle(profile, path.is_some())?;
    let notify = match (path, filter.listener) {
        (Some(path), true) => Some(Notify {
            path: PathBuf::from(path),
            metadata: metadata.unwrap_or_default(),
        }),
        // Nothing is asked about: nobody is to be told.
        _ => None,
    };
    Ok((Some(filter), notify))
}

fn nodes(list: &[config::Device]) -> Result<Vec<Node>, PlanError> {
    let standard = NODES.iter().map(|&(path, major, minor)| Node {
        path: path.into(),
        kind: NodeKind::Character,
        major,
        minor,
        mode: 0o666,
        uid: 0,
        gid: 0,
    });
    let mut all: Vec<Node> = standard.collect();
    for d in list {
        let kind = match d.kind.as_str() {
            "c" | "u" => NodeKind::Character,
            "b" => NodeKind::Block,
            "p" => NodeKind::Fifo,
            other => return Err(PlanError::Value("device type", other.to_owned())),
        };
        let node = Node {
            path: Path::new("/").join(&d.path),
            kind,
            major: d.major,
            minor: d.minor,
            mode: d.file_mode.map_or(0o666, |m| m & 0o7777),
            uid: d.uid.unwrap_or(0),
            gid: d.gid.unwrap_or(0),
        };
        // What the caller says of a standard one goes.
        all.retain(|n| n.path != node.path);
        all.push(node);
    }
    Ok(all)
}

fn hooks(hooks: &config::Hooks) -> Result<config::Hooks, PlanError> {
    let all = [
        &hooks.prestart,
        &hooks.create_runtime,
        &hooks.create_container,
        &hooks.start_container,
        &hooks.poststart,
        &hooks.poststop,
    ];
    let bad = |h: &&Hook| !h.path.is_absolute();
    match all.into_iter().flatten().find(bad) {
        Some(h) => Err(PlanError::Value(
            "hook path (not absolute)",
            h.path.display().to_string(),
        )),
        None => Ok(hooks.clone()),
    }
}

fn propagation(word: Option<&str>) -> Result<Option<u64>, PlanError> {
    Ok(match word {
        None | Some("") => None,
        Some("private") => Some(libc::MS_PRIVATE),
        Some("rprivate") => Some(libc::MS_PRIVATE | libc::MS_REC),
        Some("slave") => Some(libc::MS_SLAVE),
        Some("rslave") => Some(libc::MS_SLAVE | libc::MS_REC),
        Some("shared") => Some(libc::MS_SHARED),
        Some("rshared") => Some(libc::MS_SHARED | libc::MS_REC),
        Some("unbindable") => Some(libc::MS_UNBINDABLE),
        Some("runbindable") => Some(libc::MS_UNBINDABLE | libc::MS_REC),
        Some(other) => return Err(PlanError::Value("rootfsPropagation", other.to_owned())),
    })
}

fn time_offsets(
    linux: &config::Linux,
    make: u64,
) -> Result<Vec<(String, config::TimeOffset)>, PlanError> {
    if linux.time_offsets.is_empty() {
        return Ok(Vec::new());
    }
    if make & NEWTIME == 0 {
        return Err(PlanError::Unsupported(
            "linux.timeOffsets",
            "there is no new time namespace",
        ));
    }
    if let Some(clock) = linux
        .time_offsets
        .keys()
        .find(|c| !matches!(c.as_str(), "monotonic" | "boottime"))
    {
        return Err(PlanError::Value("clock", clock.clone()));
    }
    Ok(linux
        .time_offsets
        .iter()
        .map(|(k, v)| (k.clone(), *v))
        .collect())
}

fn personality(linux: &config::Linux) -> Result<Option<u64>, PlanError> {
    let Some(p) = &linux.personality else {
        return Ok(None);
    };
    if let Some(flag) = p.flags.first() {
        return Err(PlanError::Value("personality flag", flag.clone()));
    }
    match p.domain.as_str() {
        "LINUX" => Ok(Some(0)),
        "LINUX32" => Ok(Some(8)),
        other => Err(PlanError::Value("personality", other.to_owned())),
    }
}

fn paths(list: &[PathBuf]) -> Result<Vec<PathBuf>, PlanError> {
    match list.iter().find(|p| !p.is_absolute()) {
        Some(bad) => Err(PlanError::Value(
            "masked or read-only path (not absolute)",
            bad.display().to_string(),
        )),
        None => Ok(list.to_vec()),
    }
}

/// Without `.` and with `..` taken away by name, as the callers' tools do.
fn normal(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut all, part| {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                all.pop();
            }
            other => all.push(other),
        }
        all
    })
}

impl From<IdsError> for PlanError {
    fn from(e: IdsError) -> Self {
        match e {
            IdsError::Many(n) => Self::ManyIds(n),
            IdsError::Size => Self::Value("id mapping", "of no ids".to_owned()),
        }
    }
}
