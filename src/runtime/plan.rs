//! From an OCI runtime configuration to a [`Plan`]: pure data, every decision made, so that the child
//! only has to carry it out. Nothing here makes a system call.

pub(super) mod sysctl;

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use oci_spec::runtime::{
    LinuxDeviceType, LinuxIdMapping, LinuxNamespaceType, Mount as SpecMount, PosixRlimitType, Spec,
};

use super::caps::{Caps, UnknownCapability};
use super::mounts::{MountOptionError, MountOptions};
use super::process::Process;
use super::seccomp::{ProfileError, Seccomp};
use crate::emulate::{Mode, Setup};
use crate::rootfs::Root;
use crate::sys::exec::OwnExecutable;

/// One id inside, one outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// As the container sees it.
    pub inside: u32,
    /// As the caller's user namespace sees it.
    pub outside: u32,
}

/// The id maps of the user namespace: one id each, which needs nobody's permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdMap {
    /// The user.
    pub uid: Mapping,
    /// The group.
    pub gid: Mapping,
}

/// How `/proc` comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcFs {
    /// A new one, of the container's pid namespace.
    Fresh,
    /// The outer one, bound: where an outer container masks parts of its /proc, the kernel forbids a
    /// new one. The container then shares the outer pid namespace, so that /proc and getpid(2) agree.
    Outer,
}

/// What the program reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdin {
    /// Nothing, as docker without `-i`.
    Null,
    /// The caller's.
    Inherit,
}

/// The program's ends of its streams, in place of the caller's. Input that is not given is nothing.
#[derive(Debug)]
pub struct Streams {
    /// What it reads.
    pub input: Option<OwnedFd>,
    /// Where it writes.
    pub output: OwnedFd,
    /// Where it complains.
    pub errors: OwnedFd,
}

/// Size of a terminal in characters, rows before columns as in tty_ioctl(4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowSize {
    /// Height.
    pub rows: u16,
    /// Width.
    pub columns: u16,
}

/// Whether the standard device nodes are put in `/dev`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Devices {
    /// Yes, as the runtime-spec demands of a Linux container.
    Standard,
    /// `/dev` is a mount of the caller's choice and stays as it is.
    None,
}

/// Who the container's users are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Identity {
    /// The one that the kernel knows.
    #[default]
    One,
    /// The one, and changing it is said to succeed ([`Mode::Ids`]).
    Pretended,
    /// Any number of them, by a supervisor. The user of the process need not be mapped.
    Emulated(Mode, Box<Setup>),
}

impl Identity {
    fn mode(&self) -> Option<Mode> {
        match self {
            Self::One => None,
            Self::Pretended => Some(Mode::Ids),
            Self::Emulated(mode, _) => Some(*mode),
        }
    }
}

/// What the configuration does not say.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which system calls are allowed.
    pub seccomp: Seccomp,
    /// Standard input without a terminal.
    pub stdin: Stdin,
    /// Streams of its own, without a terminal.
    pub streams: Option<Rc<Streams>>,
    /// Run the program as a child of a small init that reaps and forwards signals.
    pub init: bool,
    /// End the container when the caller dies.
    pub die_with_parent: bool,
    /// Size of the terminal, if the process wants one.
    pub window: WindowSize,
    /// Files of the engine, put in place of the image's (`/etc/hosts` …): path and content. They live
    /// in memory.
    pub files: Vec<(PathBuf, String)>,
    /// Sockets and other inherited descriptors to keep, beyond 0 to 2: how many from 3 on.
    pub preserve_fds: u32,
    /// Whether the file that the caller was started from must be kept out of the container's hands.
    pub executable: OwnExecutable,
    /// Who the container's users are.
    pub identity: Identity,
    /// A copy of our own program with these arguments in place of the container's ([`Process::own`]).
    pub own: Option<(Rc<OwnedFd>, Vec<CString>)>,
}

/// One mount, in the order of execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    pub destination: PathBuf,
    pub source: PathBuf,
    pub fstype: CString,
    pub options: MountOptions,
}

/// A device node of the host, bound into the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Device {
    /// In the container.
    pub path: PathBuf,
    /// On the host.
    pub source: PathBuf,
}

/// Everything the child needs to know.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) namespaces: u64,
    pub(super) ids: IdMap,
    pub(super) root: Root,
    /// Existing directory over which the root file system is mounted.
    pub(super) mountpoint: PathBuf,
    pub(super) root_readonly: bool,
    pub(super) proc: ProcFs,
    /// Mount file systems of the kernel anew also where their namespace is the outer one, as root may.
    pub(super) anew: bool,
    pub(super) mounts: Vec<Mount>,
    pub(super) files: Vec<(PathBuf, String)>,
    pub(super) devices: Vec<Device>,
    pub(super) dev: Devices,
    pub(super) masked: Vec<PathBuf>,
    pub(super) readonly: Vec<PathBuf>,
    pub(super) hostname: Option<String>,
    pub(super) domainname: Option<String>,
    pub(super) sysctl: Vec<(String, String)>,
    pub(super) init: bool,
    pub(super) die_with_parent: bool,
    /// The supervisor, if there is to be one.
    pub(super) supervisor: Option<Box<Setup>>,
    pub(super) process: Process,
}

/// A configuration that cannot be honoured.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A required property is missing.
    #[error("the container configuration has no {0}")]
    Missing(&'static str),
    /// A string with a NUL byte.
    #[error("{0:?} contains a NUL byte")]
    Nul(String),
    /// A capability that does not exist.
    #[error(transparent)]
    Capability(#[from] UnknownCapability),
    /// A mount option.
    #[error("mount on {0}: {1}")]
    MountOption(String, #[source] MountOptionError),
    /// A destination that is not absolute.
    #[error("mount destination {0:?} is not an absolute path")]
    Destination(PathBuf),
    /// A seccomp profile.
    #[error(transparent)]
    Seccomp(#[from] ProfileError),
    /// A sysctl that belongs to no namespace of the container.
    #[error("sysctl {0} is not one of a namespace that this container has of its own")]
    Sysctl(String),
    /// Several ids.
    #[error("the configuration maps {0} ids; without subordinate ids there is one")]
    ManyIds(u64),
    /// The process is to run under an id that is not mapped.
    #[error("the process is to run as {0}, which the user namespace does not map")]
    UnmappedUser(String),
    /// A word that is none.
    #[error("there is no {0} {1:?}")]
    Value(&'static str, String),
    /// Something a rootless runtime cannot do.
    #[error("{0} cannot be honoured: {1}")]
    Unsupported(&'static str, &'static str),
}

impl Plan {
    /// Decide everything. `root` is mounted over `mountpoint`.
    pub fn new(
        spec: &Spec,
        root: Root,
        mountpoint: &Path,
        options: Options,
    ) -> Result<Self, PlanError> {
        let process = spec
            .process()
            .as_ref()
            .ok_or(PlanError::Missing("process"))?;
        let linux = spec.linux().as_ref().ok_or(PlanError::Missing("linux"))?;
        let strings = |v: &Option<Vec<String>>| {
            v.iter()
                .flatten()
                .map(|s| c_string(s))
                .collect::<Result<Vec<_>, _>>()
        };
        let mut namespaces = 0;
        for ns in linux.namespaces().iter().flatten() {
            if ns.path().is_some() {
                return Err(PlanError::Unsupported(
                    "a namespace given by path",
                    "joining namespaces is the business of exec",
                ));
            }
            namespaces |= namespace_flag(ns.typ());
        }
        let ids = IdMap {
            uid: one_id(linux.uid_mappings().as_deref())?,
            gid: one_id(linux.gid_mappings().as_deref())?,
        };
        let user = process.user();
        let emulated = matches!(options.identity, Identity::Emulated(..));
        // -1 means "nobody" to every call that takes an id.
        let nobody = user.uid() == u32::MAX || user.gid() == u32::MAX;
        if nobody || !emulated && (user.uid() != ids.uid.inside || user.gid() != ids.gid.inside) {
            return Err(PlanError::UnmappedUser(format!(
                "{}:{}",
                user.uid(),
                user.gid()
            )));
        }
        let caps = match process.capabilities() {
            Some(c) => {
                let names: Vec<String> = c
                    .bounding()
                    .iter()
                    .flatten()
                    .map(ToString::to_string)
                    .collect();
                Caps::EMPTY.adjusted(&names, &[])?
            }
            None => Caps::EMPTY,
        };
        let mounts = spec
            .mounts()
            .iter()
            .flatten()
            .map(mount)
            .collect::<Result<Vec<_>, _>>()?;
        // A bind mount over all of /dev is the caller's own /dev (runtime-spec: the runtime supplies
        // devices only in a /dev that it mounts itself).
        let dev = match mounts.iter().find(|m| m.destination == Path::new("/dev")) {
            Some(m) if m.options.bind => Devices::None,
            _ => Devices::Standard,
        };
        let sysctl = linux.sysctl().iter().flatten();
        let sysctl = sysctl
            .map(|(k, v)| Ok((sysctl::path(k, namespaces)?, v.clone())))
            .collect::<Result<Vec<_>, PlanError>>()?;
        let paths = |v: &Option<Vec<String>>| v.iter().flatten().map(PathBuf::from).collect();
        Ok(Self {
            namespaces,
            ids,
            root,
            mountpoint: mountpoint.to_owned(),
            root_readonly: spec
                .root()
                .as_ref()
                .and_then(|r| r.readonly())
                .unwrap_or(false),
            proc: ProcFs::Fresh,
            anew: false,
            mounts,
            files: options.files,
            devices: devices(linux.devices().as_deref())?,
            dev,
            masked: paths(linux.masked_paths()),
            readonly: paths(linux.readonly_paths()),
            hostname: spec.hostname().clone(),
            domainname: spec.domainname().clone(),
            sysctl,
            init: options.init,
            die_with_parent: options.die_with_parent,
            process: Process {
                args: match &options.own {
                    Some((_, args)) => args.clone(),
                    None => strings(process.args())?,
                },
                own: options.own.map(|(copy, _)| copy),
                env: strings(process.env())?,
                cwd: process.cwd().clone(),
                terminal: process
                    .terminal()
                    .unwrap_or(false)
                    .then_some(options.window),
                stdin: options.stdin,
                streams: options.streams,
                uid: user.uid(),
                identity: match &options.identity {
                    Identity::Emulated(_, setup) => Some(Box::new(setup.first.clone())),
                    _ => None,
                },
                caps,
                no_new_privileges: process.no_new_privileges().unwrap_or(false),
                filter: options.seccomp.compile(caps, options.identity.mode())?,
                rlimits: process
                    .rlimits()
                    .iter()
                    .flatten()
                    .map(|r| (resource(r.typ()), r.soft(), r.hard()))
                    .collect(),
                umask: user.umask().unwrap_or(0o022),
                oom_score_adj: process.oom_score_adj(),
                preserve_fds: options.preserve_fds,
                executable: options.executable,
                user: None,
                scope_signals: false,
            },
            supervisor: match options.identity {
                Identity::Emulated(_, setup) => Some(Box::new(Setup {
                    shared_pids: namespaces & libc::CLONE_NEWPID as u64 == 0,
                    ..*setup
                })),
                _ => None,
            },
        })
    }

    /// The same container for a host where a new /proc is forbidden, if that is another plan.
    pub(super) fn with_outer_proc(&self) -> Option<Self> {
        (self.proc == ProcFs::Fresh).then(|| Self {
            proc: ProcFs::Outer,
            namespaces: self.namespaces & !(libc::CLONE_NEWPID as u64),
            process: Process {
                // It sees the user's other processes.
                scope_signals: true,
                ..self.process.clone()
            },
            supervisor: self.supervisor.clone().map(|setup| {
                Box::new(Setup {
                    shared_pids: true,
                    ..*setup
                })
            }),
            ..self.clone()
        })
    }

    /// Whether the container has a namespace of its own of this kind (`CLONE_NEW*`).
    pub(super) fn has(&self, flag: i32) -> bool {
        self.namespaces & flag as u64 != 0
    }
}

fn c_string(s: &str) -> Result<CString, PlanError> {
    CString::new(s).map_err(|_| PlanError::Nul(s.to_owned()))
}

fn namespace_flag(t: LinuxNamespaceType) -> u64 {
    let flag = match t {
        LinuxNamespaceType::Mount => libc::CLONE_NEWNS,
        LinuxNamespaceType::Cgroup => libc::CLONE_NEWCGROUP,
        LinuxNamespaceType::Uts => libc::CLONE_NEWUTS,
        LinuxNamespaceType::Ipc => libc::CLONE_NEWIPC,
        LinuxNamespaceType::User => libc::CLONE_NEWUSER,
        LinuxNamespaceType::Pid => libc::CLONE_NEWPID,
        LinuxNamespaceType::Network => libc::CLONE_NEWNET,
        LinuxNamespaceType::Time => 0x80, // CLONE_NEWTIME
    };
    flag as u64
}

fn one_id(maps: Option<&[LinuxIdMapping]>) -> Result<Mapping, PlanError> {
    match maps {
        Some([m]) if m.size() == 1 => Ok(Mapping {
            inside: m.container_id(),
            outside: m.host_id(),
        }),
        None | Some([]) => Err(PlanError::Missing("id mapping")),
        Some(many) => Err(PlanError::ManyIds(
            many.iter().map(|m| u64::from(m.size())).sum(),
        )),
    }
}

fn mount(m: &SpecMount) -> Result<Mount, PlanError> {
    let destination = m.destination().clone();
    if !destination.is_absolute() {
        return Err(PlanError::Destination(destination));
    }
    let mut options = MountOptions::parse(m.options().as_deref().unwrap_or_default())
        .map_err(|e| PlanError::MountOption(destination.display().to_string(), e))?;
    let fstype = m.typ().as_deref().unwrap_or("none");
    options.bind |= fstype == "bind";
    Ok(Mount {
        source: m.source().clone().unwrap_or_else(|| PathBuf::from(fstype)),
        fstype: c_string(fstype)?,
        options,
        destination,
    })
}

/// Nodes cannot be made in a user namespace; those of the host are bound. The source is the path that
/// the configuration gives them, where the host's devtmpfs has them too.
fn devices(list: Option<&[oci_spec::runtime::LinuxDevice]>) -> Result<Vec<Device>, PlanError> {
    list.into_iter()
        .flatten()
        .map(|d| match d.typ() {
            LinuxDeviceType::B | LinuxDeviceType::C | LinuxDeviceType::U => Ok(Device {
                path: d.path().clone(),
                source: d.path().clone(),
            }),
            _ => Err(PlanError::Unsupported(
                "a device that is neither block nor character",
                "only nodes that the host has can be bound",
            )),
        })
        .collect()
}

/// The number of a limit for setrlimit(2).
pub fn resource(t: PosixRlimitType) -> u32 {
    let n = match t {
        PosixRlimitType::RlimitCpu => libc::RLIMIT_CPU,
        PosixRlimitType::RlimitFsize => libc::RLIMIT_FSIZE,
        PosixRlimitType::RlimitData => libc::RLIMIT_DATA,
        PosixRlimitType::RlimitStack => libc::RLIMIT_STACK,
        PosixRlimitType::RlimitCore => libc::RLIMIT_CORE,
        PosixRlimitType::RlimitRss => libc::RLIMIT_RSS,
        PosixRlimitType::RlimitNproc => libc::RLIMIT_NPROC,
        PosixRlimitType::RlimitNofile => libc::RLIMIT_NOFILE,
        PosixRlimitType::RlimitMemlock => libc::RLIMIT_MEMLOCK,
        PosixRlimitType::RlimitAs => libc::RLIMIT_AS,
        PosixRlimitType::RlimitLocks => libc::RLIMIT_LOCKS,
        PosixRlimitType::RlimitSigpending => libc::RLIMIT_SIGPENDING,
        PosixRlimitType::RlimitMsgqueue => libc::RLIMIT_MSGQUEUE,
        PosixRlimitType::RlimitNice => libc::RLIMIT_NICE,
        PosixRlimitType::RlimitRtprio => libc::RLIMIT_RTPRIO,
        PosixRlimitType::RlimitRttime => libc::RLIMIT_RTTIME,
    };
    #[allow(clippy::unnecessary_cast, reason = "a signed number with musl")]
    let n = n as u32;
    n
}
