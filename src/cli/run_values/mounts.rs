//! Mounts and devices.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use super::Parsed;
use super::limits::size;
use crate::cli::Failure;
use crate::ops::run::{self, Device, ImageVolumes, Volume, VolumesFrom};
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

/// `[SOURCE:]TARGET[:OPTIONS]`
pub(in crate::cli) fn volume(s: &str) -> Parsed<Volume> {
    let parts: Vec<&str> = s.split(':').collect();
    let (source, to, options) = match parts[..] {
        [to] => (None, to, ""),
        [source, to] => (Some(source), to, ""),
        [source, to, options] => (Some(source), to, options),
        _ => {
            return Err(
                "want [SOURCE:]TARGET[:OPTIONS]; a path with a colon can be given with --mount"
                    .to_owned(),
            );
        }
    };
    let words = options.split(',');
    match source {
        Some(path) if path.starts_with(['/', '.', '~']) => Ok(Volume::Bind {
            source: existing(path)?,
            target: target(to)?,
            options: bind_options(words)?,
        }),
        name => Ok(Volume::Named {
            name: name.map(volume_name).transpose()?,
            target: target(to)?,
            options: volume_options(words)?,
        }),
    }
}

fn volume_name(s: &str) -> Parsed<String> {
    match run::is_volume_name(s) {
        true => Ok(s.to_owned()),
        false => Err(format!(
            "{s:?} is no name for a volume: names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*; for a directory write ./{s}"
        )),
    }
}

/// Those of a bind.
fn bind_options<'a>(words: impl Iterator<Item = &'a str>) -> Parsed<Vec<String>> {
    // Docker binds recursively, privately.
    let mut out = vec!["rbind".to_owned()];
    let mut read_only = false;
    for word in words.filter(|w| !w.is_empty()) {
        match word {
            // SELinux labels: nothing to do where we may not set any.
            "z" | "Z" | "rbind" | "rw" | "consistent" | "cached" | "delegated" => {}
            "bind" => out[0] = "bind".to_owned(),
            // There is nothing to copy in a directory that the user has filled.
            "copy" | "nocopy" => {}
            "ro" => read_only = true,
            "U" | "O" | "rro" | "nosuid" | "nodev" | "noexec" | "noatime" | "private"
            | "rprivate" | "slave" | "rslave" | "shared" | "rshared" | "unbindable"
            | "runbindable" => out.push(word.to_owned()),
            "suid" | "dev" | "exec" => {}
            other => return Err(format!("unknown volume option {other:?}")),
        }
    }
    if read_only {
        // Docker since 25: read-only goes for all that is mounted below as well.
        let word = if out[0] == "rbind" { "rro" } else { "ro" };
        out.push(word.to_owned());
    }
    if out.iter().any(|o| o == "O") {
        if read_only {
            return Err(
                "options O and ro exclude each other: O is for writing over what stays as it is"
                    .to_owned(),
            );
        }
        if let Some(word) = out.iter().find(|o| is_propagation(o)) {
            return Err(format!(
                "options O and {word} exclude each other: an overlay shows what is mounted below its directory neither now nor later"
            ));
        }
    }
    Ok(out)
}

fn is_propagation(word: &str) -> bool {
    let word = word.strip_prefix('r').unwrap_or(word);
    ["private", "slave", "shared", "unbindable"].contains(&word)
}

/// Those of a volume: of the store's own making, as podman mounts it.
fn volume_options<'a>(words: impl Iterator<Item = &'a str>) -> Parsed<Vec<String>> {
    let words: Vec<&str> = words.filter(|w| !w.is_empty()).collect();
    let mut out = bind_options(words.iter().copied())?;
    if words.contains(&"nocopy") {
        if words.contains(&"copy") {
            return Err("options copy and nocopy exclude each other".to_owned());
        }
        out.push("nocopy".to_owned());
    }
    for (word, opposite) in [("nosuid", "suid"), ("nodev", "dev")] {
        if !words.contains(&opposite) && !words.contains(&word) {
            out.push(word.to_owned());
        }
    }
    Ok(out)
}

/// `CONTAINER[:ro|rw|z]`
pub(in crate::cli) fn volumes_from(s: &str) -> Parsed<VolumesFrom> {
    let (container, words) = s.split_once(':').unwrap_or((s, ""));
    if container.is_empty() {
        return Err("want CONTAINER[:ro]".to_owned());
    }
    let mut read_only = false;
    for word in words.split(',').filter(|w| !w.is_empty()) {
        match word {
            "ro" => read_only = true,
            "rw" => read_only = false,
            "z" | "Z" => {}
            other => return Err(format!("unknown option {other:?}: want ro, rw or z")),
        }
    }
    Ok(VolumesFrom {
        container: container.to_owned(),
        read_only,
    })
}

/// `--image-volume`
pub(in crate::cli) fn image_volumes(s: &str) -> Parsed<ImageVolumes> {
    match s {
        // What podman called it first.
        "anonymous" | "bind" => Ok(ImageVolumes::Anonymous),
        "tmpfs" => Ok(ImageVolumes::Tmpfs),
        "ignore" => Ok(ImageVolumes::Ignore),
        _ => Err(format!("{s:?}: want anonymous, tmpfs or ignore")),
    }
}

/// `type=bind,source=…,target=…`
pub(in crate::cli) fn mount(s: &str) -> Parsed<Volume> {
    let (mut kind, mut source, mut to) = ("volume", None, None);
    let mut options: Vec<String> = Vec::new();
    let mut writable = None;
    // Fields that only one kind of mount has, and that kind.
    let mut only: Vec<(&str, &str)> = Vec::new();
    for field in s.split(',') {
        let (key, value) = field.split_once('=').unwrap_or((field, ""));
        let truth = || match value {
            "" | "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(format!("{key}={value}: want true or false")),
        };
        let mut unless = |wanted: bool, word: &str| {
            if wanted {
                options.push(word.to_owned());
            }
        };
        match key {
            "type" => kind = value,
            "source" | "src" => source = Some(value),
            "target" | "dst" | "destination" => to = Some(value),
            "readonly" | "ro" => writable = Some(!truth()?),
            "rw" | "readwrite" => writable = Some(truth()?),
            "U" | "chown" => unless(truth()?, "U"),
            "bind-propagation" => options.push(value.to_owned()),
            "bind-recursive" if value == "enabled" || value == "writable" => {}
            "bind-recursive" if value == "disabled" => options.push("bind".to_owned()),
            "bind-recursive" if value == "readonly" => options.push("rro".to_owned()),
            "bind-nonrecursive" => unless(truth()?, "bind"),
            "consistency" | "relabel" => {}
            "volume-driver" if value == "local" => only.push((key, "volume")),
            "volume-nocopy" => {
                only.push((key, "volume"));
                unless(truth()?, "nocopy");
            }
            "tmpfs-size" => {
                only.push((key, "tmpfs"));
                options.push(format!("size={}", size(value)?));
            }
            "tmpfs-mode" => {
                only.push((key, "tmpfs"));
                u32::from_str_radix(value, 8)
                    .map_err(|_| format!("{value:?} is not an octal mode"))?;
                options.push(format!("mode={value}"));
            }
            other => return Err(format!("unknown mount field {other:?}")),
        }
    }
    let to = target(to.ok_or("a mount needs target=")?)?;
    if let Some((field, its)) = only.iter().find(|(_, its)| *its != kind) {
        return Err(format!("{field} is for type={its}"));
    }
    if writable == Some(false) && kind != "image" {
        options.push("ro".to_owned());
    }
    let words = options.iter().map(String::as_str);
    match kind {
        "bind" => Ok(Volume::Bind {
            source: existing(source.ok_or("type=bind needs source=")?)?,
            target: to,
            options: bind_options(words)?,
        }),
        "volume" => Ok(Volume::Named {
            name: source
                .filter(|s| !s.is_empty())
                .map(volume_name)
                .transpose()?,
            target: to,
            options: volume_options(words)?,
        }),
        "image" => match options.first() {
            Some(word) => Err(format!("type=image has no option {word:?}")),
            None => Ok(Volume::Image {
                image: source.ok_or("type=image needs source=")?.to_owned(),
                target: to,
                writable: writable == Some(true),
            }),
        },
        "tmpfs" if source.is_some() => Err("type=tmpfs has no source".to_owned()),
        "tmpfs" if options.iter().any(|o| o == "U") => Err(
            "type=tmpfs has no option U: it is root's, with the mode that tmpfs-mode says"
                .to_owned(),
        ),
        "tmpfs" => {
            let mut all: Vec<String> = TMPFS_DEFAULTS.map(str::to_owned).to_vec();
            all.extend(options);
            Ok(Volume::Tmpfs {
                target: to,
                options: all,
            })
        }
        other => Err(format!(
            "unknown mount type {other:?}: want bind, volume, image or tmpfs"
        )),
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
        if !seen.insert(v.target()) {
            return Err(Failure::usage(format!(
                "two mounts for {}",
                v.target().display()
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
            "tmp",
            "/tmp:x",
            "/tmp:/x:fly",
            "/tmp:/",
            "/tmp:/a/../b",
            "/no/such/dir:/x",
            "/tmp:/x:O,ro",
            "/tmp:/x:O,rslave",
            "a:b:c:d",
            ":/x",
            "da/ta:/x",
            "-data:/x",
            "d ata:/x",
            "data:/x:copy,nocopy",
            "data:/x:size=5",
        ] {
            assert!(volume(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn volumes_of_the_store() {
        let named = |name: Option<&str>, options: &[&str]| Volume::Named {
            name: name.map(str::to_owned),
            target: "/x".into(),
            options: options.iter().map(|o| (*o).to_owned()).collect(),
        };
        for (text, want) in [
            ("/x", named(None, &["rbind", "nosuid", "nodev"])),
            (
                "data:/x",
                named(Some("data"), &["rbind", "nosuid", "nodev"]),
            ),
            (
                "data:/x:ro,Z,nocopy,suid,noexec",
                named(Some("data"), &["rbind", "noexec", "rro", "nocopy", "nodev"]),
            ),
            (
                "a.b-c_d:/x:U,O",
                named(Some("a.b-c_d"), &["rbind", "U", "O", "nosuid", "nodev"]),
            ),
        ] {
            assert_eq!(volume(text), Ok(want), "{text}");
        }
        assert_eq!(
            mount("type=volume,source=data,target=/x,readonly,volume-nocopy"),
            volume("data:/x:ro,nocopy")
        );
        assert_eq!(mount("target=/x"), volume("/x"));
        for (text, writable) in [
            ("type=image,source=i,target=/x", false),
            ("type=image,source=i,target=/x,rw=true", true),
            ("type=image,source=i,target=/x,readonly=false", true),
        ] {
            let want = Volume::Image {
                image: "i".into(),
                target: "/x".into(),
                writable,
            };
            assert_eq!(mount(text), Ok(want), "{text}");
        }
    }

    #[test]
    fn volumes_of_another_container() {
        let from = |s: &str| volumes_from(s).map(|v| (v.container, v.read_only));
        assert_eq!(from("web"), Ok(("web".into(), false)));
        assert_eq!(from("web:ro,z"), Ok(("web".into(), true)));
        for bad in ["", ":ro", "web:fly"] {
            assert!(from(bad).is_err(), "{bad}");
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
            "type=volume",
            "type=volume,source=../x,target=/x",
            "type=volume,target=/x,volume-driver=nfs",
            "type=bind,source=/tmp,target=/x,volume-nocopy",
            "type=image,target=/x",
            "type=image,source=i,target=/x,bind-propagation=shared",
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
