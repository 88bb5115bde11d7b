//! Options and image to an OCI runtime configuration, as docker would write it for one uid.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Capability, LinuxBuilder, LinuxCapabilitiesBuilder, LinuxIdMappingBuilder,
    LinuxNamespaceBuilder, LinuxNamespaceType, Mount, MountBuilder, PosixRlimitBuilder,
    ProcessBuilder, RootBuilder, Spec, UserBuilder,
};

use super::options::{Namespace, Network, Options};
use super::secrets;
use super::user::Ids;
use super::volumes::Planned;
use crate::ops::Error;
use crate::runtime::caps::Caps;

/// Docker's list, with what later kernels added.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

const READONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// What was worked out before.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    /// As whom the program starts.
    pub ids: Ids,
    /// Whom the kernel has the caller be inside.
    pub mapped: Ids,
    /// Supplementary groups, where they are emulated.
    pub groups: Vec<u32>,
    /// The caller's uid and gid.
    pub outside: Ids,
    pub args: Vec<String>,
    pub env: Vec<String>,
    pub cwd: PathBuf,
    pub hostname: &'a str,
    pub caps: Caps,
    /// Where the root file system is mounted.
    pub rootfs: &'a Path,
    /// Whether /sys/fs/cgroup is cgroup v2 on this host.
    pub cgroup2: bool,
    pub annotations: HashMap<String, String>,
    /// What the user wants mounted.
    pub mounts: &'a [Planned],
}

/// Build it.
pub(super) fn build(o: &Options, f: Facts<'_>) -> Result<Spec, Error> {
    // A builder fails on a missing field only, and none is missing: still, no panic on this path.
    assemble(o, f).map_err(|e| Error::Spec(e.to_string()))
}

fn assemble(o: &Options, f: Facts<'_>) -> Result<Spec, OciSpecError> {
    let map = |inside, outside| {
        LinuxIdMappingBuilder::default()
            .container_id(inside)
            .host_id(outside)
            .size(1u32)
            .build()
            .map(|m| vec![m])
    };
    let mut namespaces = vec![
        LinuxNamespaceType::User,
        LinuxNamespaceType::Mount,
        LinuxNamespaceType::Cgroup,
    ];
    for (own, kind) in [
        (o.pid == Namespace::Private, LinuxNamespaceType::Pid),
        (o.ipc == Namespace::Private, LinuxNamespaceType::Ipc),
        (o.uts == Namespace::Private, LinuxNamespaceType::Uts),
        (o.network == Network::None, LinuxNamespaceType::Network),
    ] {
        if own {
            namespaces.push(kind);
        }
    }
    let namespaces = namespaces
        .into_iter()
        .map(|t| LinuxNamespaceBuilder::default().typ(t).build())
        .collect::<Result<Vec<_>, _>>()?;
    let (masked, readonly) = protected(o);
    let linux = LinuxBuilder::default()
        .uid_mappings(map(f.mapped.uid, f.outside.uid)?)
        .gid_mappings(map(f.mapped.gid, f.outside.gid)?)
        .namespaces(namespaces)
        .masked_paths(masked)
        .readonly_paths(readonly)
        .sysctl(o.sysctls.iter().cloned().collect::<HashMap<_, _>>())
        .build()?;
    // The crate's names have no prefix.
    let capabilities: HashSet<Capability> = f
        .caps
        .names()
        .filter_map(|n| n.strip_prefix("CAP_")?.parse().ok())
        .collect();
    let caps = LinuxCapabilitiesBuilder::default()
        .bounding(capabilities.clone())
        .effective(capabilities.clone())
        .permitted(capabilities)
        .inheritable(HashSet::new())
        .ambient(HashSet::new())
        .build()?;
    let rlimits = o
        .ulimits
        .iter()
        .map(|u| {
            PosixRlimitBuilder::default()
                .typ(u.name)
                .soft(u.soft)
                .hard(u.hard)
                .build()
        })
        .collect::<Result<Vec<_>, _>>()?;
    let process = ProcessBuilder::default()
        .terminal(o.tty)
        .user(
            UserBuilder::default()
                .uid(f.ids.uid)
                .gid(f.ids.gid)
                .additional_gids(f.groups)
                .build()?,
        )
        .args(f.args)
        .env(f.env)
        .cwd(f.cwd)
        .capabilities(caps)
        .rlimits(rlimits)
        .no_new_privileges(o.security.new_privileges != Some(true) && !o.privileged)
        .build()?;
    let root = RootBuilder::default()
        .path(f.rootfs.to_owned())
        .readonly(o.read_only)
        .build()?;
    // All that the library's default, a whole container, brings along is set or taken away. Reading an empty document
    // would need neither, and would bring in the library's regular expressions, a fifth of the program.
    let mut spec = Spec::default();
    let own_name = (o.uts == Namespace::Private).then(|| f.hostname.to_owned());
    spec.set_version("1.2.0".into())
        .set_hostname(own_name)
        .set_root(Some(root))
        .set_mounts(Some(mounts(o, f.cgroup2, f.mounts)?))
        .set_process(Some(process))
        .set_annotations(Some(f.annotations))
        .set_linux(Some(linux));
    Ok(spec)
}

/// Masked and read-only paths that remain.
fn protected(o: &Options) -> (Vec<String>, Vec<String>) {
    let unmask = &o.security.unmask;
    if o.privileged {
        return (Vec::new(), Vec::new());
    }
    let all = unmask.iter().any(|u| u.eq_ignore_ascii_case("all"));
    let kept = |paths: &[&str]| {
        paths
            .iter()
            .filter(|p| !all && !unmask.iter().any(|u| matches_path(u, p)))
            .map(|p| (*p).to_owned())
            .collect::<Vec<_>>()
    };
    let mut masked = kept(&MASKED);
    masked.extend(o.security.mask.iter().map(|p| p.display().to_string()));
    (masked, kept(&READONLY))
}

/// podman's `unmask` takes shell patterns; a star at the end of one is what is used.
fn matches_path(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => path == pattern,
    }
}

fn mounts(o: &Options, cgroup2: bool, asked: &[Planned]) -> Result<Vec<Mount>, OciSpecError> {
    let mount = |fstype: &str, source: PathBuf, target: &Path, options: Vec<String>| {
        MountBuilder::default()
            .typ(fstype)
            .source(source)
            .destination(target)
            .options(options)
            .build()
    };
    let words = |s: &str| s.split(',').map(str::to_owned).collect::<Vec<_>>();
    let new = |fstype: &str, target: &str, options: &str| {
        mount(fstype, fstype.into(), Path::new(target), words(options))
    };
    let sys = if o.privileged {
        "nosuid,noexec,nodev"
    } else {
        "nosuid,noexec,nodev,ro"
    };
    let mut all = vec![
        new("proc", "/proc", "nosuid,noexec,nodev")?,
        new("tmpfs", "/dev", "nosuid,strictatime,mode=755,size=65536k")?,
        // No gid=5: under one id there is no group tty.
        new(
            "devpts",
            "/dev/pts",
            "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620",
        )?,
        new("sysfs", "/sys", sys)?,
        new("mqueue", "/dev/mqueue", "nosuid,noexec,nodev")?,
    ];
    // A bound /sys (network host) brings its own.
    if cgroup2 && o.network == Network::None {
        all.push(new("cgroup2", "/sys/fs/cgroup", sys)?);
    }
    all.push(match o.ipc {
        Namespace::Private => {
            // In units of KiB, as that of /dev: by the same words the two can share one file system.
            let kib = o.shm_size.div_ceil(1024);
            let options = format!("nosuid,noexec,nodev,mode=1777,size={kib}k");
            mount(
                "tmpfs",
                "shm".into(),
                Path::new("/dev/shm"),
                words(&options),
            )?
        }
        Namespace::Host => mount(
            "bind",
            "/dev/shm".into(),
            Path::new("/dev/shm"),
            words("rbind"),
        )?,
    });
    // Nodes cannot be made in a user namespace: those of the host are bound.
    for d in &o.devices {
        all.push(mount("bind", d.source.clone(), &d.target, words("bind"))?);
    }
    for m in asked {
        all.push(mount(
            m.fstype,
            m.source.clone(),
            &m.target,
            m.options.clone(),
        )?);
    }
    // Over whatever the user has at /run, so that not even their names are in what is kept.
    if secrets::has_place(&o.secrets) {
        let options = "nosuid,nodev,noexec,mode=755,size=64k";
        all.push(new("tmpfs", secrets::PLACE, options)?);
    }
    Ok(all)
}
