//! What `run` can be asked for, as data. The words are docker's; `cli` parses them. A container that stays has it in
//! its `options.json` too, so that it can be started again; new fields need `#[serde(default)]`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::monitor::Keep;
use crate::ops::pull;
use crate::rootfs::Driver;

/// Bytes of `/dev/shm`, as docker has it.
pub const SHM_SIZE: u64 = 64 << 20;

/// Whether a namespace is shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Namespace {
    /// The container has its own.
    #[default]
    Private,
    /// It shares the caller's.
    Host,
}

/// Which network a container sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// The caller's.
    #[default]
    Host,
    /// A loopback interface of its own and nothing else.
    None,
}

/// Who the user is inside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserNamespace {
    /// Whom the image or `--user` names; root if nobody does.
    #[default]
    Default,
    /// The same uid and gid as outside.
    KeepId,
}

/// `--identity`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IdentityChoice {
    /// Users, groups, owners, by a supervisor.
    Full,
    /// That, and access is refused as owners and modes have it.
    Strict,
    /// Changing user or owner succeeds and does nothing.
    Ids,
    /// The one id, and what the kernel says of it.
    Off,
}

/// A mount that the user asks for. Options are runtime-spec words, and podman's `O`, `U` and `nocopy`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Volume {
    /// A file or directory of the host.
    Bind {
        /// On the host.
        source: PathBuf,
        /// In the container.
        target: PathBuf,
        /// Mount options.
        options: Vec<String>,
    },
    /// A volume of the store, which is made if there is none of this name.
    Named {
        /// `None`: an anonymous one of the container's own. One that was made has a name.
        name: Option<String>,
        /// In the container.
        target: PathBuf,
        /// Mount options.
        options: Vec<String>,
    },
    /// The content of an image.
    Image {
        /// Its name or id.
        image: String,
        /// In the container.
        target: PathBuf,
        /// What is written goes with the container; else nothing can be written.
        writable: bool,
    },
    /// A file system in memory.
    Tmpfs {
        /// In the container.
        target: PathBuf,
        /// Mount options, runtime-spec words.
        options: Vec<String>,
    },
}

impl Volume {
    /// Where it is in the container.
    pub fn target(&self) -> &std::path::Path {
        match self {
            Self::Bind { target, .. }
            | Self::Named { target, .. }
            | Self::Image { target, .. }
            | Self::Tmpfs { target, .. } => target,
        }
    }
}

/// `--volumes-from`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumesFrom {
    /// Name or id.
    pub container: String,
    /// Whatever they are there.
    pub read_only: bool,
}

/// `--secret`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretUse {
    /// Name or id.
    pub name: String,
    /// How the container gets it.
    pub way: SecretWay,
}

/// `type=`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecretWay {
    /// A file in memory.
    File {
        /// Where.
        target: PathBuf,
        /// Whose it is.
        uid: u32,
        /// As above.
        gid: u32,
        /// Permission bits.
        mode: u32,
    },
    /// An environment variable of this name.
    Variable(String),
}

/// `--image-volume`: what becomes of the places that the image declares to be volumes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImageVolumes {
    /// Each is an anonymous volume.
    #[default]
    Anonymous,
    /// Each is a file system in memory.
    Tmpfs,
    /// They are part of the root file system.
    Ignore,
}

/// A host device to bind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// On the host.
    pub source: PathBuf,
    /// In the container.
    pub target: PathBuf,
}

/// A resource limit by its runtime-spec name, `RLIMIT_NOFILE`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Name.
    pub name: oci_spec::runtime::PosixRlimitType,
    /// What the kernel enforces; `u64::MAX` is none.
    pub soft: u64,
    /// How far the program may raise it.
    pub hard: u64,
}

/// One `-e`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EnvVar {
    /// `NAME=VALUE`
    Set(String, String),
    /// `NAME`: as the caller has it, or not at all.
    Inherit(String),
}

impl EnvVar {
    /// `NAME=VALUE`, if there is one.
    pub(in crate::ops) fn text(&self, caller: impl Fn(&str) -> Option<String>) -> Option<String> {
        match self {
            Self::Set(name, value) => Some(format!("{name}={value}")),
            Self::Inherit(name) => caller(name).map(|value| format!("{name}={value}")),
        }
    }
}

/// `--security-opt`, all of them together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Security {
    /// `seccomp=`
    pub seccomp: SeccompChoice,
    /// `no-new-privileges`: forbidden, allowed in the kernel too, or left to us: allowed where they are
    /// emulated, and then the kernel forbids them all the same.
    pub new_privileges: Option<bool>,
    /// `unmask=`: paths that are neither masked nor read-only; `ALL` is all.
    pub unmask: Vec<String>,
    /// `mask=`: further paths to hide.
    pub mask: Vec<PathBuf>,
}

/// `--security-opt seccomp=`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SeccompChoice {
    /// Docker's default profile.
    #[default]
    Default,
    /// No filter.
    Unconfined,
    /// A profile in this file.
    File(PathBuf),
}

/// What runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// An image by name or id.
    Image(String),
    /// A directory, used as it is (`--rootfs`).
    Directory(PathBuf),
}

/// `--health-*`: what is not given is as the image says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthWish {
    /// `--no-healthcheck`
    pub off: bool,
    /// In the words of an image: `CMD`, `CMD-SHELL` or `NONE`, then the rest.
    pub test: Option<Vec<String>>,
    /// Between two tests.
    pub interval: Option<Duration>,
    /// After which a test has failed.
    pub timeout: Option<Duration>,
    /// From the start, while failures do not count.
    pub start_period: Option<Duration>,
    /// Failures in a row that make it unhealthy.
    pub retries: Option<u32>,
}

/// Everything.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Options {
    /// Image or directory.
    pub what: What,
    /// Program and arguments; empty means what the image says.
    pub command: Vec<String>,
    /// `--entrypoint`; an empty string resets the image's.
    pub entrypoint: Option<String>,
    /// `-i`
    pub interactive: bool,
    /// `-t`
    pub tty: bool,
    /// `--rm`
    pub remove: bool,
    /// `--name`
    pub name: Option<String>,
    /// `-v`, `--mount` and `--tmpfs`, in the order given.
    pub volumes: Vec<Volume>,
    /// `--volumes-from`
    #[serde(default)]
    pub volumes_from: Vec<VolumesFrom>,
    /// `--image-volume`
    #[serde(default)]
    pub image_volumes: ImageVolumes,
    /// `--secret`
    #[serde(default)]
    pub secrets: Vec<SecretUse>,
    /// `--env-file`, then `-e`: later ones win.
    pub env: Vec<EnvVar>,
    /// `-w`
    pub workdir: Option<PathBuf>,
    /// `-u`
    pub user: Option<String>,
    /// `--group-add`, names or numbers; only with emulated identities.
    pub groups: Vec<String>,
    /// `--userns`
    pub userns: UserNamespace,
    /// `--identity`
    pub identity: Option<IdentityChoice>,
    /// `--hostname`
    pub hostname: Option<String>,
    /// `--read-only`
    pub read_only: bool,
    /// `--network`
    pub network: Network,
    /// `--pid`
    pub pid: Namespace,
    /// `--ipc`
    pub ipc: Namespace,
    /// `--uts`
    pub uts: Namespace,
    /// `--cap-add`
    pub cap_add: Vec<String>,
    /// `--cap-drop`
    pub cap_drop: Vec<String>,
    /// `--privileged`
    pub privileged: bool,
    /// `--security-opt`
    pub security: Security,
    /// `--init`
    pub init: bool,
    /// `--ulimit`
    pub ulimits: Vec<Ulimit>,
    /// `--add-host`
    pub hosts: Vec<(String, IpAddr)>,
    /// `--dns`
    pub dns: Vec<IpAddr>,
    /// `--shm-size` in bytes.
    pub shm_size: u64,
    /// `--device`
    pub devices: Vec<Device>,
    /// `--label`
    pub labels: Vec<(String, String)>,
    /// `--annotation`
    pub annotations: Vec<(String, String)>,
    /// `--stop-signal`
    pub stop_signal: Option<String>,
    /// `--sysctl`
    pub sysctls: Vec<(String, String)>,
    /// `--pull`
    #[serde(skip)]
    pub pull: pull::PullPolicy,
    /// How to pull: `--platform`, `--tls-verify` …
    #[serde(skip)]
    pub pulling: pull::Options,
    /// `--cidfile`: a new file for the id.
    #[serde(skip)]
    pub cidfile: Option<PathBuf>,
    /// `--pidfile`: a file for the pid of the first process.
    #[serde(skip)]
    pub pidfile: Option<PathBuf>,
    /// `--storage-driver`
    pub driver: Option<Driver>,
    /// The command that made it; of one that goes with it nobody asks.
    #[serde(default)]
    pub made: Option<CommandLine>,
    /// `--health-*`
    #[serde(default)]
    pub health: HealthWish,
    /// What its monitor does for it beside waiting.
    #[serde(default)]
    pub keep: Keep,
}

impl Options {
    /// What nothing else is asked of: as docker runs it.
    pub(in crate::ops) fn plain(what: What) -> Self {
        Self {
            what,
            command: Vec::new(),
            entrypoint: None,
            interactive: false,
            tty: false,
            remove: false,
            name: None,
            volumes: Vec::new(),
            volumes_from: Vec::new(),
            secrets: Vec::new(),
            image_volumes: ImageVolumes::default(),
            env: Vec::new(),
            workdir: None,
            user: None,
            groups: Vec::new(),
            userns: UserNamespace::default(),
            identity: None,
            hostname: None,
            read_only: false,
            network: Network::default(),
            pid: Namespace::default(),
            ipc: Namespace::default(),
            uts: Namespace::default(),
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            privileged: false,
            security: Security::default(),
            init: false,
            ulimits: Vec::new(),
            hosts: Vec::new(),
            dns: Vec::new(),
            shm_size: SHM_SIZE,
            devices: Vec::new(),
            labels: Vec::new(),
            annotations: Vec::new(),
            stop_signal: None,
            sysctls: Vec::new(),
            pull: pull::PullPolicy::default(),
            pulling: pull::Options::default(),
            cidfile: None,
            pidfile: None,
            driver: None,
            made: None,
            health: HealthWish::default(),
            keep: Keep::default(),
        }
    }

    /// The same for whoever starts it later: what depends on the caller's environment is there by value.
    pub(in crate::ops) fn resolved(&self) -> Self {
        let mut all = self.clone();
        all.env = (all.env.into_iter())
            .filter_map(|e| match e {
                EnvVar::Set(..) => Some(e),
                EnvVar::Inherit(name) => std::env::var(&name).ok().map(|v| EnvVar::Set(name, v)),
            })
            .collect();
        if let What::Directory(dir) = &mut all.what
            && let Ok(path) = dir.canonicalize()
        {
            *dir = path;
        }
        all
    }
}

/// A command line, and where it was typed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandLine {
    /// With the program's own name.
    pub words: Vec<String>,
    /// The working directory.
    pub dir: PathBuf,
}
