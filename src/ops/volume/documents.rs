//! What `inspect` shows of volumes, and of the mounts of a container. podman-volume-inspect(1), docker-inspect(1).

use serde_json::{Value, json};

use super::Volume;
use crate::store::{MountKind, Mounted};

/// One mount, with the keys that docker and podman have in common.
pub fn mount_document(m: &Mounted) -> Value {
    let propagation = m.options.iter().rev().find(|o| {
        let word = o.strip_prefix('r').unwrap_or(o);
        ["private", "slave", "shared", "unbindable"].contains(&word)
    });
    let options = m.options.iter().filter(|o| o.as_str() != "anonymous");
    let options: Vec<&String> = options.collect();
    let mut document = json!({
        "Type": m.kind.name(),
        "Source": m.source,
        "Destination": m.target,
        "Mode": "",
        "Options": options,
        "RW": m.is_writable(),
        "Propagation": match m.kind {
            MountKind::Bind | MountKind::Volume => propagation.map_or("rprivate", String::as_str),
            MountKind::Image | MountKind::Tmpfs => "",
        },
    });
    match m.kind {
        MountKind::Volume => {
            document["Name"] = m.name.as_str().into();
            document["Driver"] = "local".into();
        }
        MountKind::Image => document["Source"] = m.name.as_str().into(),
        MountKind::Bind | MountKind::Tmpfs => {}
    }
    document
}

/// A volume, with the keys that docker and podman have in common, and those of podman's that say something here.
pub fn document(v: &Volume) -> Value {
    let mut record = json!({
        "Name": v.record.name,
        "Driver": "local",
        "Mountpoint": v.mountpoint,
        "CreatedAt": v.record.created_at,
        "Labels": v.record.labels,
        "Scope": "local",
        "Options": v.record.options,
        "MountCount": v.containers.len(),
    });
    for (name, is_so) in [
        ("Anonymous", v.record.anonymous),
        ("NeedsCopyUp", v.record.needs_copy_up),
        ("NeedsChown", v.record.needs_chown),
    ] {
        if is_so {
            record[name] = Value::Bool(true);
        }
    }
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_keys() {
        let mounted = Mounted {
            kind: MountKind::Volume,
            name: "data".to_owned(),
            source: "/s".into(),
            target: "/t".into(),
            options: ["rbind", "rro", "rslave", "anonymous"]
                .map(str::to_owned)
                .to_vec(),
            image: None,
        };
        let want = json!({
            "Type": "volume", "Name": "data", "Driver": "local", "Source": "/s", "Destination": "/t",
            "Mode": "", "Options": ["rbind", "rro", "rslave"], "RW": false, "Propagation": "rslave",
        });
        assert_eq!(mount_document(&mounted), want);
    }
}
