//! From the configuration of a bundle to a [`Bundle`]: every decision made, as far as none needs the kernel.

use std::ffi::CString;
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::config::{self, Config, Hook, Process, State};
use super::ids::{Ids, IdsError};
use crate::rootfs::Root;
use crate::runtime::caps::Caps;
use crate::runtime::mounts::MountOptions;
use crate::runtime::plan::{Devices, IdMap, Mapping, Mount, Plan, ProcFs, Stdin, sysctl};
use crate::runtime::seccomp::Seccomp;
use crate::runtime::{PlanError, WindowSize};
use crate::sys::exec::OwnExecutable;
use crate::sys::process::{IoPriority, Schedule};

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

/// Five sets, as the program begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::runtime) struct CapSets {
    pub bounding: Caps,
    pub effective: Caps,
    pub inheritable: Caps,
    pub permitted: Caps,
    pub ambient: Caps,
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
pub(in crate::runtime) struct Notify {
    pub path: PathBuf,
    pub metadata: String,
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
    pub(in crate::runtime) user: User,
    pub(in crate::runtime) caps: CapSets,
    /// For AppArmor and SELinux: what the exec makes of the process.
    pub(in crate::runtime) label: Option<Label>,
    pub(in crate::runtime) notify: Option<Notify>,
    pub(in crate::runtime) schedule: Option<Schedule>,
    pub(in crate::runtime) io_priority: Option<IoPriority>,
    /// Of personality(2).
    pub(in crate::runtime) personality: Option<u64>,
}

/// Who the program is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::runtime) struct User {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
}

/// A security label that is written before exec: the file below `/proc/thread-self/attr`, and the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::runtime) struct Label {
    pub file: &'static str,
    pub text: String,
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
        let user = user(process, &ids)?;
        let caps = capabilities(process)?;
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
        let env = process.env.iter().chain(&settings.env);
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
            files: Vec::new(),
            devices: Vec::new(),
            dev: Devices::None,
            masked: paths(&linux.masked_paths)?,
            readonly: paths(&linux.readonly_paths)?,
            hostname: config.hostname.clone().filter(|n| !n.is_empty()),
            domainname: config.domainname.clone().filter(|n| !n.is_empty()),
            sysctl: sysctls,
            rlimits: rlimits(process)?,
            terminal: process.terminal.then_some(WindowSize {
                rows: process.console_size.height,
                columns: process.console_size.width,
            }),
            stdin: Stdin::Inherit,
            init: false,
            die_with_parent: false,
            preserve_fds: settings.preserve_fds,
            executable: settings.executable,
            args: strings(process.args.iter())?,
            env: strings(env)?,
            cwd: process.cwd.clone(),
            caps: caps.bounding,
            no_new_privileges: process.no_new_privileges,
            filter,
            umask: process.user.umask.unwrap_or(0o022),
            oom_score_adj: process.oom_score_adj,
            supervisor: None,
            uid: user.uid,
        };
        if plan.args.is_empty() {
            return Err(PlanError::Missing("process.args"));
        }
        if !plan.cwd.is_absolute() {
            return Err(PlanError::Unsupported(
                "process.cwd",
                "it is not an absolute path",
            ));
        }
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
            user,
            caps,
            label: label(process, settings)?,
            notify,
            schedule: schedule(process)?,
            io_priority: io_priority(process)?,
            personality: personality(linux)?,
        })
    }

    /// Whether the program wants a terminal.
    pub fn has_terminal(&self) -> bool {
        self.plan.terminal.is_some()
    }

    /// Its root file system on the host.
    pub fn rootfs(&self) -> &Path {
        &self.plan.mountpoint
    }

    /// Its program, for messages.
    pub fn program(&self) -> String {
        let first = self.plan.args.first();
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

fn user(process: &Process, ids: &Ids) -> Result<User, PlanError> {
    let u = &process.user;
    // -1 means "nobody" to every call that takes an id.
    let nobody = u.uid == u32::MAX || u.gid == u32::MAX;
    if nobody || !ids.has_uid(u.uid) || !ids.has_gid(u.gid) {
        return Err(PlanError::UnmappedUser(format!("{}:{}", u.uid, u.gid)));
    }
    if let Some(group) = u.additional_gids.iter().find(|g| !ids.has_gid(**g)) {
        return Err(PlanError::UnmappedUser(format!(
            "a member of group {group}"
        )));
    }
    if u.umask.is_some_and(|m| m & !0o7777 != 0) {
        return Err(PlanError::Value(
            "umask",
            format!("{:o}", u.umask.unwrap_or(0)),
        ));
    }
    Ok(User {
        uid: u.uid,
        gid: u.gid,
        groups: u.additional_gids.clone(),
    })
}

fn capabilities(process: &Process) -> Result<CapSets, PlanError> {
    // Absent means none, as with runc: else root would keep all.
    let empty = config::Capabilities::default();
    let sets = process.capabilities.as_ref().unwrap_or(&empty);
    let set = |names: &[String]| Caps::EMPTY.adjusted(names, &[]);
    Ok(CapSets {
        bounding: set(&sets.bounding)?,
        effective: set(&sets.effective)?,
        inheritable: set(&sets.inheritable)?,
        permitted: set(&sets.permitted)?,
        ambient: set(&sets.ambient)?,
    })
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

fn rlimits(process: &Process) -> Result<Vec<(u32, u64, u64)>, PlanError> {
    let mut list: Vec<(u32, u64, u64)> = Vec::new();
    for r in &process.rlimits {
        let number = match r.kind.as_str() {
            "RLIMIT_CPU" => 0,
            "RLIMIT_FSIZE" => 1,
            "RLIMIT_DATA" => 2,
            "RLIMIT_STACK" => 3,
            "RLIMIT_CORE" => 4,
            "RLIMIT_RSS" => 5,
            "RLIMIT_NPROC" => 6,
            "RLIMIT_NOFILE" => 7,
            "RLIMIT_MEMLOCK" => 8,
            "RLIMIT_AS" => 9,
            "RLIMIT_LOCKS" => 10,
            "RLIMIT_SIGPENDING" => 11,
            "RLIMIT_MSGQUEUE" => 12,
            "RLIMIT_NICE" => 13,
            "RLIMIT_RTPRIO" => 14,
            "RLIMIT_RTTIME" => 15,
            other => return Err(PlanError::Value("rlimit", other.to_owned())),
        };
        if list.iter().any(|(n, ..)| *n == number) {
            return Err(PlanError::Value("rlimit (twice)", r.kind.clone()));
        }
        list.push((number, r.soft, r.hard));
    }
    Ok(list)
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

fn label(process: &Process, settings: &Settings) -> Result<Option<Label>, PlanError> {
    // As crun: where the kernel has neither there is nothing to do.
    let apparmor = settings.apparmor && !process.apparmor_profile.is_empty();
    let selinux = settings.selinux && !process.selinux_label.is_empty();
    Ok(if apparmor {
        Some(Label {
            file: "apparmor/exec",
            text: format!("exec {}", process.apparmor_profile),
        })
    } else if selinux {
        Some(Label {
            file: "exec",
            text: process.selinux_label.clone(),
        })
    } else {
        None
    })
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

fn schedule(process: &Process) -> Result<Option<Schedule>, PlanError> {
    let Some(s) = &process.scheduler else {
        return Ok(None);
    };
    let policy = match s.policy.as_str() {
        "SCHED_OTHER" => 0,
        "SCHED_FIFO" => 1,
        "SCHED_RR" => 2,
        "SCHED_BATCH" => 3,
        "SCHED_ISO" => 4,
        "SCHED_IDLE" => 5,
        "SCHED_DEADLINE" => 6,
        other => return Err(PlanError::Value("scheduler policy", other.to_owned())),
    };
    let mut flags = 0;
    for flag in &s.flags {
        flags |= match flag.as_str() {
            "SCHED_FLAG_RESET_ON_FORK" => 0x01,
            "SCHED_FLAG_RECLAIM" => 0x02,
            "SCHED_FLAG_DL_OVERRUN" => 0x04,
            "SCHED_FLAG_KEEP_POLICY" => 0x08,
            "SCHED_FLAG_KEEP_PARAMS" => 0x10,
            "SCHED_FLAG_UTIL_CLAMP_MIN" => 0x20,
            "SCHED_FLAG_UTIL_CLAMP_MAX" => 0x40,
            other => return Err(PlanError::Value("scheduler flag", other.to_owned())),
        };
    }
    Ok(Some(Schedule {
        policy,
        flags,
        nice: s.nice,
        priority: s.priority.cast_unsigned(),
        runtime: s.runtime,
        deadline: s.deadline,
        period: s.period,
    }))
}

fn io_priority(process: &Process) -> Result<Option<IoPriority>, PlanError> {
    let Some(p) = &process.io_priority else {
        return Ok(None);
    };
    let class = match p.class.as_str() {
        "IOPRIO_CLASS_RT" => 1,
        "IOPRIO_CLASS_BE" => 2,
        "IOPRIO_CLASS_IDLE" => 3,
        other => return Err(PlanError::Value("ioPriority class", other.to_owned())),
    };
    if p.priority > 7 {
        return Err(PlanError::Value("ioPriority", p.priority.to_string()));
    }
    Ok(Some(IoPriority {
        class,
        level: p.priority,
    }))
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

fn c_string(s: &str) -> Result<CString, PlanError> {
    CString::new(s).map_err(|_| PlanError::Nul(s.to_owned()))
}

fn strings<'a>(list: impl Iterator<Item = &'a String>) -> Result<Vec<CString>, PlanError> {
    list.map(|s| c_string(s)).collect()
}

impl From<IdsError> for PlanError {
    fn from(e: IdsError) -> Self {
        match e {
            IdsError::Many(n) => Self::ManyIds(n),
            IdsError::Size => Self::Value("id mapping", "of no ids".to_owned()),
        }
    }
}
