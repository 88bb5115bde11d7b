//! `volume create -o`: the options of podman's local driver that mean something here. podman-volume-create(1).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::VolumeError;

/// Where the content of a volume is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::ops) struct Backing {
    /// A directory of the host in place of the store's.
    pub bind: Option<PathBuf>,
    /// Mount options that every container gets.
    pub options: Vec<String>,
    /// Nothing is copied into it.
    pub nocopy: bool,
}

/// What the options of a volume say.
///
/// # Errors
/// Of what only root can do, and of what nobody knows.
pub(in crate::ops) fn backing(options: &BTreeMap<String, String>) -> Result<Backing, VolumeError> {
    let wrong = |name: &str, why| VolumeError::Option(name.to_owned(), why);
    let mut backing = Backing::default();
    let device = options.get("device").filter(|d| !d.is_empty());
    let mut is_bind = options.get("type").is_some_and(|t| t == "bind");
    for (name, value) in options {
        match name.as_str() {
            "device" | "copy" => {}
            "nocopy" => backing.nocopy = true,
            "type" => match value.as_str() {
                "" | "none" | "bind" => {}
                "tmpfs" => {
                    return Err(wrong(
                        "type=tmpfs",
                        "a file system in memory ends with the container that mounts it; use --tmpfs",
                    ));
                }
                _ => {
                    return Err(wrong(
                        name,
                        "only root can mount such a file system; mount it, and give -o type=none -o o=bind -o device=DIR",
                    ));
                }
            },
            "o" => {
                for word in value.split(',').filter(|w| !w.is_empty()) {
                    match word {
                        "bind" | "rbind" => is_bind = true,
                        "nocopy" => backing.nocopy = true,
                        "copy" | "rw" => {}
                        "ro" | "nosuid" | "nodev" | "noexec" | "noatime" => {
                            backing.options.push(word.to_owned());
                        }
                        "noquota" => {}
                        _ if word.starts_with("size=") || word.starts_with("inodes=") => {
                            return Err(wrong("o", "quotas can only be set by root"));
                        }
                        _ if word.starts_with("uid=") || word.starts_with("gid=") => {
                            return Err(wrong(
                                "o",
                                "the owner is that of the first container's directory; option U of -v gives it to the user of another",
                            ));
                        }
                        _ => {
                            return Err(wrong(
                                "o",
                                "want bind, ro, nosuid, nodev, noexec, noatime or nocopy",
                            ));
                        }
                    }
                }
            }
            _ => return Err(wrong(name, "there are type, device, o, copy and nocopy")),
        }
    }
    match device {
        Some(_) if !is_bind => Err(wrong("device", "it needs o=bind")),
        Some(dir) if !Path::new(dir).is_absolute() => {
            Err(wrong("device", "it is not an absolute path"))
        }
        None if is_bind => Err(wrong("o", "bind needs device=DIR")),
        device => {
            backing.bind = device.map(PathBuf::from);
            Ok(backing)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(options: &[(&str, &str)]) -> Result<Backing, VolumeError> {
        backing(
            &options
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn a_directory_of_the_host_or_our_own() {
        assert_eq!(said(&[]).unwrap(), Backing::default());
        let bound = said(&[("type", "none"), ("o", "bind,ro"), ("device", "/srv")]).unwrap();
        assert_eq!(bound.bind.as_deref(), Some(Path::new("/srv")));
        assert_eq!(bound.options, ["ro"]);
        assert!(said(&[("o", "nocopy")]).unwrap().nocopy);
        for bad in [
            &[("type", "nfs")][..],
            &[("type", "tmpfs"), ("device", "tmpfs")],
            &[("o", "size=1m")],
            &[("o", "fly")],
            &[("o", "bind")],
            &[("device", "/srv")],
            &[("o", "bind"), ("device", "srv")],
            &[("o", "uid=5")],
            &[("color", "red")],
        ] {
            assert!(said(bad).is_err(), "{bad:?}");
        }
    }
}
