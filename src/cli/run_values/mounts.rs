//! Mounts and devices.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use super::Parsed;
use super::limits::size;
use crate::cli::Failure;
use crate::ops::run::{Device, Volume};
use crate::runtime::MountOptions;

/// What docker gives a tmpfs that a user asks for.
const TMPFS_DEFAULTS: [&str; 3] = ["nosuid", "nodev", "noexec"];

pub(super) fn target(s: &str) -> Parsed<PathBuf> {
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
pub(in crate::cli) fn volume(s: &str) -> Parsed<Volume> {
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
    let mut read_only = false;
    for word in words.filter(|w| !w.is_empty()) {
        match word {
            // SELinux labels: nothing to do where we may not set any.
            "z" | "Z" | "rbind" | "rw" | "nocopy" | "consistent" | "cached" | "delegated" => {}
            "bind" => out[0] = "bind".to_owned(),
            "U" => return Err("option U (change owners) has no meaning with one id: the files are yours inside and outside".to_owned()),
            "O" => return Err("option O (overlay) is not supported yet".to_owned()),
            "copy" => return Err("option copy is for named volumes".to_owned()),
            "ro" => read_only = true,
            "rro" | "nosuid" | "nodev" | "noexec" | "noatime" | "private" | "rprivate" | "slave"
            | "rslave" | "shared" | "rshared" | "unbindable" | "runbindable" => out.push(word.to_owned()),
            "suid" | "dev" | "exec" => {}
            other => return Err(format!("unknown volume option {other:?}")),
        }
    }
    if read_only {
        // Docker since 25: read-only goes for all that is mounted below as well.
        let word = if out[0] == "rbind" { "rro" } else { "ro" };
        out.push(word.to_owned());
    }
    Ok(out)
}

/// `type=bind,source=…,target=…`
pub(in crate::cli) fn mount(s: &str) -> Parsed<Volume> {
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
pub(in crate::cli) fn tmpfs(s: &str) -> Parsed<Volume> {
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
pub(in crate::cli) fn no_duplicate_targets(volumes: &[Volume]) -> Result<(), Failure> {
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

/// `SOURCE[:TARGET[:rwm]]`
pub(in crate::cli) fn device(s: &str) -> Parsed<Device> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes() {
        assert_eq!(
            volume("/tmp:/x:ro").unwrap(),
            Volume::Bind {
                source: "/tmp".into(),
                target: "/x".into(),
                options: vec!["rbind".into(), "rro".into()]
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
}
