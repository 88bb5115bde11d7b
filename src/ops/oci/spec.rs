//! `spec`: a configuration to begin with, as runc's: a shell with few capabilities in `rootfs`.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use rustix::process::{getegid, geteuid};
use serde_json::{Value, json};

use super::Error;

/// Write it, unless there is one.
pub fn write(bundle: &Path, rootless: bool, version: &str) -> Result<(), Error> {
    let path = bundle.join("config.json");
    let text = format!("{:#}\n", document(rootless, version));
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .and_then(|mut f| f.write_all(text.as_bytes()))
        .map_err(|e| Error::file("write", &path, e))
}

fn document(rootless: bool, version: &str) -> Value {
    let caps = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let mount = |kind: &str, target: &str, options: &[&str]| json!({ "destination": target, "type": kind, "source": kind, "options": options });
    let mut pts = vec![
        "nosuid",
        "noexec",
        "newinstance",
        "ptmxmode=0666",
        "mode=0620",
    ];
    if !rootless {
        pts.push("gid=5");
    }
    let sys = if rootless {
        json!({ "destination": "/sys", "type": "none", "source": "/sys",
            "options": ["rbind", "nosuid", "noexec", "nodev", "ro"] })
    } else {
        mount("sysfs", "/sys", &["nosuid", "noexec", "nodev", "ro"])
    };
    let mut kinds = vec!["pid", "ipc", "uts", "mount", "cgroup"];
    kinds.push(if rootless { "user" } else { "network" });
    let namespaces: Vec<Value> = kinds.iter().map(|k| json!({ "type": k })).collect();
    let mut linux = json!({
        "namespaces": namespaces,
        "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
            "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    });
    if rootless {
        let map = |id: u32| json!([{ "containerID": 0, "hostID": id, "size": 1 }]);
        linux["uidMappings"] = map(geteuid().as_raw());
        linux["gidMappings"] = map(getegid().as_raw());
    } else {
        linux["resources"] = json!({ "devices": [{ "allow": false, "access": "rwm" }] });
    }
    json!({
        "ociVersion": version,
        "process": {
            "terminal": true,
            "user": { "uid": 0, "gid": 0 },
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": { "bounding": caps, "effective": caps, "permitted": caps },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "coracle",
        "mounts": [
            mount("proc", "/proc", &[]),
            mount("tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("devpts", "/dev/pts", &pts),
            mount("tmpfs", "/dev/shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            mount("mqueue", "/dev/mqueue", &["nosuid", "noexec", "nodev"]),
            sys,
        ],
        "linux": linux,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::bundle::Config;

    #[test]
    fn what_is_written_can_be_read() {
        for rootless in [false, true] {
            let text = document(rootless, "1.2.0").to_string();
            assert!(
                Config::parse(text.as_bytes())
                    .unwrap()
                    .process()
                    .unwrap()
                    .terminal
            );
        }
    }
}
