//! The values of `run`'s options: text in, typed or refused with the reason.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::PosixRlimitType;

use super::Failure;
use crate::ops::pull::PullPolicy;
use crate::ops::run::{
    Device, EnvVar, Namespace, Network, SeccompChoice, Security, Ulimit, UserNamespace, Volume,
};
use crate::rootfs::Driver;
use crate::runtime::MountOptions;

type Parsed<T> = Result<T, String>;

/// What docker gives a tmpfs that a user asks for.
const TMPFS_DEFAULTS: [&str; 3] = ["nosuid", "nodev", "noexec"];

fn target(s: &str) -> Parsed<PathBuf> {
    let path = PathBuf::from(s);
    if !path.is_absolute() {
        return Err(format!("{s:?} is not an absolute path in the container"));
    }
    if path.components().any(|c| c == Component::ParentDir) {
        return Err(format!("{s:?} has a .. in it"));
    }
    let path: PathBuf = path.components().collect();
    if path == Path::new("/") {
        return Err("the root of the container cannot be mounted over (see --rootfs)".to_owned());
    }
    Ok(path)
}

fn existing(s: &str) -> Parsed<PathBuf> {
    let path = std::path::absolute(s).map_err(|e| format!("{s:?}: {e}"))?;
    match path.try_exists() {
        Ok(true) => Ok(path),
        Ok(false) => Err(format!(
            "{s:?} does not exist; make it first (mkdir -p {s})"
        )),
        Err(e) => Err(format!("{s:?}: {e}")),
    }
}

/// `SOURCE:TARGET[:OPTIONS]`
pub(super) fn volume(s: &str) -> Parsed<Volume> {
    let parts: Vec<&str> = s.split(':').collect();
    let (source, to, options) = match parts[..] {
        [source, to] => (source, to, ""),
        [source, to, options] => (source, to, options),
        [_] => return Err("an anonymous volume cannot be made yet; want SOURCE:TARGET".to_owned()),
        _ => {
            return Err(
                "want SOURCE:TARGET[:OPTIONS]; a path with a colon can be given with --mount"
                    .to_owned(),
            );
        }
    };
    if !source.starts_with(['/', '.', '~']) {
        return Err(format!(
            "{source:?} names a volume, and named volumes cannot be made yet; for a directory write ./{source}"
        ));
    }
    Ok(Volume::Bind {
        source: existing(source)?,
        target: target(to)?,
        options: bind_options(options.split(','))?,
    })
}

fn bind_options<'a>(words: impl Iterator<Item = &'a str>) -> Parsed<Vec<String>> {
    // Docker binds recursively, privately.
    let mut out = vec!["rbind".to_owned()];
    for word in words.filter(|w| !w.is_empty()) {
        match word {
            // SELinux labels: nothing to do where we may not set any.
            "z" | "Z" | "rbind" | "rw" | "nocopy" | "consistent" | "cached" | "delegated" => {}
            "bind" => out[0] = "bind".to_owned(),
            "U" => return Err("option U (change owners) has no meaning with one id: the files are yours inside and outside".to_owned()),
            "O" => return Err("option O (overlay) is not supported yet".to_owned()),
            "copy" => return Err("option copy is for named volumes".to_owned()),
            "ro" | "rro" | "nosuid" | "nodev" | "noexec" | "noatime" | "private" | "rprivate" | "slave"
            | "rslave" | "shared" | "rshared" | "unbindable" | "runbindable" => out.push(word.to_owned()),
            "suid" | "dev" | "exec" => {}
            other => return Err(format!("unknown volume option {other:?}")),
        }
    }
    Ok(out)
}

/// `type=bind,source=…,target=…`
pub(super) fn mount(s: &str) -> Parsed<Volume> {
    let (mut kind, mut source, mut to) = ("volume", None, None);
    let mut options: Vec<String> = Vec::new();
    let mut tmpfs_only: Option<&str> = None;
    for field in s.split(',') {
        let (key, value) = field.split_once('=').unwrap_or((field, ""));
        let truth = || match value {
            "" | "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(format!("{key}={value}: want true or false")),
        };
        match key {
            "type" => kind = value,
            "source" | "src" => source = Some(value),
            "target" | "dst" | "destination" => to = Some(value),
            "readonly" | "ro" => {
                if truth()? {
                    options.push("ro".to_owned());
                }
            }
            "rw" => {
                if !truth()? {
                    options.push("ro".to_owned());
                }
            }
            "bind-propagation" => options.push(value.to_owned()),
            "bind-recursive" if value == "enabled" || value == "writable" => {}
            "bind-recursive" if value == "disabled" => options.push("bind".to_owned()),
            "bind-recursive" if value == "readonly" => options.push("rro".to_owned()),
            "bind-nonrecursive" => {
                if truth()? {
                    options.push("bind".to_owned());
                }
            }
            "consistency" | "relabel" => {}
            "tmpfs-size" => {
                tmpfs_only = Some(key);
                options.push(format!("size={}", size(value)?));
            }
            "tmpfs-mode" => {
                tmpfs_only = Some(key);
                u32::from_str_radix(value, 8)
                    .map_err(|_| format!("{value:?} is not an octal mode"))?;
                options.push(format!("mode={value}"));
            }
            other => return Err(format!("unknown mount field {other:?}")),
        }
    }
    let to = target(to.ok_or("a mount needs target=")?)?;
    match kind {
        "bind" => {
            if let Some(field) = tmpfs_only {
                return Err(format!("{field} is for type=tmpfs"));
            }
            Ok(Volume::Bind {
                source: existing(source.ok_or("type=bind needs source=")?)?,
                target: to,
                options: bind_options(options.iter().map(String::as_str))?,
            })
        }
        "tmpfs" if source.is_some() => Err("type=tmpfs has no source".to_owned()),
        "tmpfs" => {
            let mut all: Vec<String> = TMPFS_DEFAULTS.map(str::to_owned).to_vec();
            all.extend(options);
            Ok(Volume::Tmpfs {
                target: to,
                options: all,
            })
        }
        "volume" => Err("type=volume: named volumes cannot be made yet; use type=bind".to_owned()),
        other => Err(format!("unknown mount type {other:?}: want bind or tmpfs")),
    }
}

/// `TARGET[:OPTIONS]`
pub(super) fn tmpfs(s: &str) -> Parsed<Volume> {
    let (to, words) = s.split_once(':').unwrap_or((s, ""));
    let mut options: Vec<String> = TMPFS_DEFAULTS.map(str::to_owned).to_vec();
    for word in words.split(',').filter(|w| !w.is_empty()) {
        // mount(8): "exec" undoes "noexec".
        options.retain(|o| o.strip_prefix("no") != Some(word));
        options.push(match word.split_once('=') {
            Some(("size", n)) if !n.ends_with('%') => format!("size={}", size(n)?),
            Some(("size" | "mode" | "nr_inodes" | "nr_blocks" | "huge" | "uid" | "gid", _)) => {
                word.to_owned()
            }
            Some(_) => return Err(format!("unknown tmpfs option {word:?}")),
            None => word.to_owned(),
        });
    }
    let parsed = MountOptions::parse(&options).map_err(|e| e.to_string())?;
    if let Some(unknown) = parsed
        .data
        .split(',')
        .find(|w| !w.is_empty() && !w.contains('='))
    {
        return Err(format!("unknown tmpfs option {unknown:?}"));
    }
    if parsed.bind {
        return Err("a tmpfs is no bind mount".to_owned());
    }
    Ok(Volume::Tmpfs {
        target: target(to)?,
        options,
    })
}

/// Two mounts at one place: docker refuses as well.
pub(super) fn no_duplicate_targets(volumes: &[Volume]) -> Result<(), Failure> {
    let mut seen = HashSet::new();
    for v in volumes {
        let (Volume::Bind { target, .. } | Volume::Tmpfs { target, .. }) = v;
        if !seen.insert(target) {
            return Err(Failure::usage(format!(
                "two mounts for {}",
                target.display()
            )));
        }
    }
    Ok(())
}

/// Bytes with an optional b, k, m, g or t (powers of 1024), as docker.
pub(super) fn size(s: &str) -> Parsed<u64> {
    let lower = s.to_ascii_lowercase();
    let text = lower
        .strip_suffix("ib")
        .or(lower.strip_suffix('b'))
        .unwrap_or(&lower);
    let (digits, shift) = match text.strip_suffix(['k', 'm', 'g', 't']) {
        Some(digits) => {
            let unit = text.as_bytes()[text.len() - 1];
            (
                digits,
                [(b'k', 10), (b'm', 20), (b'g', 30), (b't', 40)]
                    .iter()
                    .find(|(u, _)| *u == unit)
                    .map_or(0, |(_, s)| *s),
            )
        }
        None => (text, 0),
    };
    let n: u64 = digits
        .parse()
        .map_err(|_| format!("{s:?} is not a size: want a number with k, m, g or t"))?;
    n.checked_mul(1 << shift)
        .ok_or_else(|| format!("{s:?} is too large"))
}

/// `SOURCE[:TARGET[:rwm]]`
pub(super) fn device(s: &str) -> Parsed<Device> {
    let parts: Vec<&str> = s.split(':').collect();
    let (source, to, permissions) = match parts[..] {
        [source] => (source, source, "rwm"),
        [source, second] if second.bytes().all(|b| b"rwm".contains(&b)) => (source, source, second),
        [source, to] => (source, to, "rwm"),
        [source, to, permissions] => (source, to, permissions),
        _ => return Err("want SOURCE[:TARGET[:rwm]]".to_owned()),
    };
    if !(permissions.contains('r') && permissions.contains('w')) {
        return Err(format!(
            "device permissions {permissions:?} would need a device cgroup, which only root can set; the file's own mode applies"
        ));
    }
    Ok(Device {
        source: existing(source)?,
        target: target(to)?,
    })
}

/// Where the storage driver is forced.
pub(super) fn driver(s: &str) -> Parsed<Driver> {
    [Driver::Overlay, Driver::FuseOverlayfs, Driver::Copy]
        .into_iter()
        .find(|d| d.name() == s)
        .ok_or_else(|| {
            format!("unknown storage driver {s:?}: want overlay, fuse-overlayfs or copy")
        })
}

/// `NAME[=VALUE]`
pub(super) fn env(s: &str) -> Parsed<EnvVar> {
    match s.split_once('=') {
        Some(("", _)) => Err("a variable needs a name".to_owned()),
        Some((name, value)) => Ok(EnvVar::Set(name.to_owned(), value.to_owned())),
        None if s.is_empty() => Err("a variable needs a name".to_owned()),
        None => Ok(EnvVar::Inherit(s.to_owned())),
    }
}

/// docker's env-file: a variable a line, `#` starts a comment line, nothing is quoted.
pub(super) fn env_file(path: &Path) -> Result<Vec<EnvVar>, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| Failure::usage(format!("--env-file {}: {e}", path.display())))?;
    let mut out = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split('=').next().unwrap_or_default();
        if name.contains(char::is_whitespace) {
            return Err(Failure::usage(format!(
                "--env-file {}: line {}: the name {name:?} has white space",
                path.display(),
                number + 1
            )));
        }
        out.push(env(line).map_err(|e| {
            Failure::usage(format!(
                "--env-file {}: line {}: {e}",
                path.display(),
                number + 1
            ))
        })?);
    }
    Ok(out)
}

/// `NAME=SOFT[:HARD]`, -1 for none.
pub(super) fn ulimit(s: &str) -> Parsed<Ulimit> {
    let (name, values) = s.split_once('=').ok_or("want NAME=SOFT[:HARD]")?;
    use PosixRlimitType as R;
    let kinds = [
        ("core", R::RlimitCore),
        ("cpu", R::RlimitCpu),
        ("data", R::RlimitData),
        ("fsize", R::RlimitFsize),
        ("locks", R::RlimitLocks),
        ("memlock", R::RlimitMemlock),
        ("msgqueue", R::RlimitMsgqueue),
        ("nice", R::RlimitNice),
        ("nofile", R::RlimitNofile),
        ("nproc", R::RlimitNproc),
        ("rss", R::RlimitRss),
        ("rtprio", R::RlimitRtprio),
        ("rttime", R::RlimitRttime),
        ("sigpending", R::RlimitSigpending),
        ("stack", R::RlimitStack),
        ("as", R::RlimitAs),
    ];
    let kind = kinds.iter().find(|(n, _)| *n == name).ok_or_else(|| {
        format!(
            "unknown limit {name:?}: want one of {}",
            kinds.map(|(n, _)| n).join(", ")
        )
    })?;
    let number = |v: &str| match v {
        "-1" | "unlimited" => Ok(u64::MAX),
        v => v.parse().map_err(|_| format!("{v:?} is not a number")),
    };
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let (soft, hard) = (number(soft)?, number(hard)?);
    if soft > hard {
        return Err(format!("the soft limit of {name} is above the hard one"));
    }
    Ok(Ulimit {
        name: kind.1,
        soft,
        hard,
    })
}

/// `--group-add`
pub(super) fn group_add(s: &str) -> Parsed<()> {
    match s {
        // What the kernel does anyway: without root nobody can give up a group.
        "keep-groups" => Ok(()),
        _ => Err(format!(
            "group {s:?} cannot be added: a container with one id has one group; keep-groups keeps the caller's"
        )),
    }
}

/// A signal by number or name.
pub(super) fn signal(s: &str) -> Parsed<String> {
    let name = s.to_ascii_uppercase();
    let full = if name.starts_with("SIG") {
        name
    } else {
        format!("SIG{name}")
    };
    let known = s.parse::<i32>().map_or_else(
        |_| full.parse::<nix::sys::signal::Signal>().is_ok() || full.starts_with("SIGRTM"),
        |n| (1..=64).contains(&n),
    );
    if known {
        Ok(s.to_owned())
    } else {
        Err(format!("{s:?} is not a signal"))
    }
}

/// hostname(7), with room for what docker takes.
pub(super) fn hostname(s: &str) -> Parsed<String> {
    let ok = !s.is_empty()
        && s.len() <= 64
        && s.bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    if ok {
        Ok(s.to_owned())
    } else {
        Err(format!(
            "{s:?} is not a host name of at most 64 letters, digits, dots and hyphens"
        ))
    }
}

/// `--network`
pub(super) fn network(s: &str) -> Parsed<Network> {
    match s {
        "host" => Ok(Network::Host),
        "none" => Ok(Network::None),
        "bridge" | "private" | "pasta" | "slirp4netns" | "default" => Err(format!(
            "network {s:?} is not supported yet; want host or none"
        )),
        _ => Err(format!("unknown network {s:?}; want host or none")),
    }
}

/// `NAME:ADDRESS`, or `NAME=ADDRESS`
pub(super) fn add_host(s: &str) -> Parsed<(String, IpAddr)> {
    let (name, address) = s.split_once(['=', ':']).ok_or("want NAME:ADDRESS")?;
    if address == "host-gateway" {
        return Err(
            "host-gateway has no meaning here: with --network host the host is 127.0.0.1"
                .to_owned(),
        );
    }
    let name = hostname(name)?;
    let bare = address
        .strip_prefix('[')
        .and_then(|a| a.strip_suffix(']'))
        .unwrap_or(address);
    let address = bare
        .parse()
        .map_err(|_| format!("{address:?} is not an IP address"))?;
    Ok((name, address))
}

/// `--userns`
pub(super) fn userns(s: &str) -> Parsed<UserNamespace> {
    match s {
        "" | "private" => Ok(UserNamespace::Default),
        "keep-id" => Ok(UserNamespace::KeepId),
        "host" => Err("the host's user namespace would need root: mounting does".to_owned()),
        "nomap" => Err("nomap hides the caller's id, and there is no other one to use".to_owned()),
        "auto" => Err("auto picks from subordinate ids, and there are none".to_owned()),
        _ if s.starts_with("keep-id:") => {
            Err("keep-id takes no other id here: use --user UID:GID".to_owned())
        }
        _ => Err(format!("unknown user namespace {s:?}: want keep-id")),
    }
}

/// `--pid`, `--ipc`, `--uts`
pub(super) fn namespace(s: &str) -> Parsed<Namespace> {
    match s {
        "private" | "shareable" | "" => Ok(Namespace::Private),
        "host" => Ok(Namespace::Host),
        _ if s.starts_with("container:") => {
            Err("joining another container is not supported yet".to_owned())
        }
        _ => Err(format!(
            "unknown namespace mode {s:?}: want private or host"
        )),
    }
}

/// A capability's name, with or without CAP_, or ALL.
pub(super) fn capability(s: &str) -> Parsed<String> {
    let one = [s.to_owned()];
    crate::runtime::caps::Caps::EMPTY
        .adjusted(&one, &[])
        .map(|_| s.to_owned())
        .map_err(|e| e.to_string())
}

/// `NAME=VALUE`
pub(super) fn pair(s: &str) -> Parsed<(String, String)> {
    match s.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("want NAME=VALUE".to_owned()),
    }
}

/// `NAME[=VALUE]`
pub(super) fn label(s: &str) -> Parsed<(String, String)> {
    match s.split_once('=') {
        Some(("", _)) => Err("a label needs a name".to_owned()),
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None if s.is_empty() => Err("a label needs a name".to_owned()),
        None => Ok((s.to_owned(), String::new())),
    }
}

/// `--pull`
pub(super) fn pull(s: &str) -> Parsed<PullPolicy> {
    match s {
        "missing" => Ok(PullPolicy::Missing),
        "always" | "true" => Ok(PullPolicy::Always),
        "never" | "false" => Ok(PullPolicy::Never),
        "newer" => Ok(PullPolicy::Newer),
        _ => Err(format!(
            "unknown policy {s:?}: want missing, always, newer or never"
        )),
    }
}

/// One `--security-opt`.
pub(super) fn security(s: &str, out: &mut Security) -> Result<(), Failure> {
    let (key, value) = s.split_once(['=', ':']).unwrap_or((s, ""));
    let paths = |v: &str| -> Result<Vec<PathBuf>, Failure> {
        v.split(':')
            .filter(|p| !p.is_empty())
            .map(|p| target(p).map_err(|e| Failure::usage(format!("--security-opt {s}: {e}"))))
            .collect()
    };
    match (key, value) {
        ("seccomp", "unconfined") => out.seccomp = SeccompChoice::Unconfined,
        ("seccomp", "" | "builtin") => out.seccomp = SeccompChoice::Default,
        ("seccomp", file) => out.seccomp = SeccompChoice::File(file.into()),
        ("no-new-privileges", "" | "true") => out.allow_new_privileges = false,
        ("no-new-privileges", "false") => out.allow_new_privileges = true,
        ("systempaths", "unconfined") => out.unmask.push("ALL".to_owned()),
        ("unmask", v) if !v.is_empty() => out.unmask.extend(v.split(':').map(str::to_owned)),
        ("mask", v) if !v.is_empty() => out.mask.extend(paths(v)?),
        // Where no label or profile is set, these ask for what is the case.
        ("label", "disable") | ("apparmor", "unconfined") => {}
        ("label", _) => return Err(Failure::usage(format!("--security-opt {s}: SELinux labels cannot be set without root; label=disable is what applies"))),
        ("apparmor", _) => return Err(Failure::usage(format!("--security-opt {s}: AppArmor profiles cannot be chosen without root; apparmor=unconfined is what applies"))),
        _ => return Err(Failure::usage(format!("unknown --security-opt {s:?}"))
            .with_hint("known are seccomp=FILE|unconfined, no-new-privileges[=false], unmask=ALL|PATHS, mask=PATHS")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, want) in [
            ("0", Some(0)),
            ("64m", Some(64 << 20)),
            ("1G", Some(1 << 30)),
            ("10kb", Some(10240)),
            ("5b", Some(5)),
            ("1MiB", Some(1 << 20)),
            ("", None),
            ("m", None),
            ("-1", None),
            ("99999999999999t", None),
        ] {
            assert_eq!(size(text).ok(), want, "{text}");
        }
    }

    #[test]
    fn volumes() {
        assert_eq!(
            volume("/tmp:/x:ro").unwrap(),
            Volume::Bind {
                source: "/tmp".into(),
                target: "/x".into(),
                options: vec!["rbind".into(), "ro".into()]
            }
        );
        for bad in [
            "/tmp",
            "data:/x",
            "/tmp:x",
            "/tmp:/x:fly",
            "/tmp:/",
            "/tmp:/a/../b",
            "/no/such/dir:/x",
            "/tmp:/x:U",
            "a:b:c:d",
        ] {
            assert!(volume(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn mounts() {
        assert_eq!(
            mount("type=bind,src=/tmp,dst=/x,readonly").unwrap(),
            volume("/tmp:/x:ro").unwrap()
        );
        assert!(
            matches!(mount("type=tmpfs,target=/x,tmpfs-size=1m"), Ok(Volume::Tmpfs { options, .. }) if options.contains(&"size=1048576".to_owned()))
        );
        for bad in [
            "type=bind,target=/x",
            "type=volume,target=/x",
            "target=/x",
            "type=tmpfs,source=/a,target=/x",
            "type=bind,source=/tmp,target=/x,fly",
            "type=bind,source=/tmp,target=/x,tmpfs-size=1m",
        ] {
            assert!(mount(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tmpfs_options() {
        assert!(
            matches!(tmpfs("/x:exec,size=1m"), Ok(Volume::Tmpfs { options, .. }) if !options.contains(&"noexec".to_owned()))
        );
        for bad in ["x", "/x:fly", "/x:lowerdir=/etc", "/x:bind"] {
            assert!(tmpfs(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn limits_and_signals() {
        assert_eq!(
            ulimit("nofile=1:2").unwrap(),
            Ulimit {
                name: PosixRlimitType::RlimitNofile,
                soft: 1,
                hard: 2
            }
        );
        assert_eq!(ulimit("core=-1").unwrap().hard, u64::MAX);
        for bad in ["nofile", "fly=1", "nofile=2:1", "nofile=x"] {
            assert!(ulimit(bad).is_err(), "{bad}");
        }
        for (s, ok) in [
            ("TERM", true),
            ("SIGKILL", true),
            ("15", true),
            ("0", false),
            ("65", false),
            ("FLY", false),
        ] {
            assert_eq!(signal(s).is_ok(), ok, "{s}");
        }
    }

    #[test]
    fn hosts() {
        assert!(
            add_host("a:1.2.3.4").is_ok()
                && add_host("a:[::1]").is_ok()
                && add_host("a:::1").is_ok()
        );
        for bad in ["a", "a:b", "a\nb:1.2.3.4", ":1.2.3.4", "a:host-gateway"] {
            assert!(add_host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn security_options() {
        let parse = |s: &str| {
            let mut o = Security::default();
            security(s, &mut o).map(|()| o)
        };
        assert_eq!(
            parse("seccomp=unconfined").unwrap().seccomp,
            SeccompChoice::Unconfined
        );
        assert_eq!(
            parse("unmask=/proc/acpi:/sys/firmware")
                .unwrap()
                .unmask
                .len(),
            2
        );
        assert!(
            parse("no-new-privileges=false")
                .unwrap()
                .allow_new_privileges
        );
        for bad in [
            "fly",
            "seccomp-fly=1",
            "apparmor=docker-default",
            "label=type:x",
            "mask=relative",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
