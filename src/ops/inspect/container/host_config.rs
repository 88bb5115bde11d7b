//! `HostConfig` of a container: what was asked of the host.

use serde_json::{Value, json};

use super::super::super::ps::Container;
use super::super::super::run::{Options, Restart, SECRETS_PLACE};
use super::at;
use crate::monitor::log::Driver;
use crate::store::MountKind;

/// What was asked of the host, as far as the configuration tells.
pub(super) fn host_config(c: &Container, config: &Value) -> Value {
    let binds = c.mounts.iter().filter_map(|m| {
        let source = match m.kind {
            MountKind::Bind => m.source.display().to_string(),
            MountKind::Volume => m.name.clone(),
            MountKind::Image | MountKind::Tmpfs => return None,
        };
        let options = match m.is_writable() {
            true => "rw,rprivate,rbind",
            false => "ro,rprivate,rbind",
        };
        Some(format!("{source}:{}:{options}", m.target.display()))
    });
    let mode = |kind: &str| match has_namespace(config, kind) {
        true => "private",
        false => "host",
    };
    let masked = at(config, "/linux/maskedPaths");
    let limits = at(config, "/process/rlimits");
    let ulimits = limits
        .as_array()
        .into_iter()
        .flatten()
        .map(|l| json!({ "Name": l["type"], "Soft": l["soft"], "Hard": l["hard"] }));
    let mut all = json!({
        "Binds": binds.collect::<Vec<_>>(),
        "CgroupManager": "disabled",
        "CgroupMode": "private",
        "ContainerIDFile": "",
        "LogConfig": { "Type": "none", "Config": null, "Path": "", "Tag": "", "Size": "0B" },
        "NetworkMode": c.network,
        "PortBindings": {},
        "RestartPolicy": { "Name": "no", "MaximumRetryCount": 0 },
        "AutoRemove": c.auto_remove,
        "IpcMode": mode("ipc"),
        "PidMode": mode("pid"),
        "UTSMode": mode("uts"),
        "UsernsMode": "private",
        "Privileged": masked.as_array().is_none_or(Vec::is_empty),
        "ReadonlyRootfs": config.pointer("/root/readonly") == Some(&json!(true)),
        "ShmSize": shm_size(config),
        "Tmpfs": tmpfs(config),
        "Sysctls": at(config, "/linux/sysctl"),
        "Ulimits": ulimits.collect::<Value>(),
        "Runtime": "coracle",
        "ConsoleSize": [0, 0],
        "Cgroups": "disabled",
    });
    // What cannot be asked for in this version has docker's word for nothing.
    let nothing: [(&[&str], Value); 4] = [
        (
            &[
                "Cgroup",
                "CgroupParent",
                "CpusetCpus",
                "CpusetMems",
                "Isolation",
                "VolumeDriver",
            ],
            json!(""),
        ),
        (
            &[
                "BlkioWeight",
                "CpuCount",
                "CpuPercent",
                "CpuPeriod",
                "CpuQuota",
                "CpuRealtimePeriod",
                "CpuRealtimeRuntime",
                "CpuShares",
                "DiskQuota",
                "IOMaximumBandwidth",
                "IOMaximumIOps",
                "KernelMemory",
                "Memory",
                "MemoryReservation",
                "MemorySwap",
                "MemorySwappiness",
                "NanoCpus",
                "OomScoreAdj",
                "PidsLimit",
            ],
            json!(0),
        ),
        (
            &[
                "CapAdd",
                "CapDrop",
                "Devices",
                "Dns",
                "DnsOptions",
                "DnsSearch",
                "ExtraHosts",
                "GroupAdd",
                "SecurityOpt",
            ],
            json!([]),
        ),
        (
            &[
                "BlkioDeviceReadBps",
                "BlkioDeviceReadIOps",
                "BlkioDeviceWriteBps",
                "BlkioDeviceWriteIOps",
                "BlkioWeightDevice",
                "CgroupConf",
                "Links",
                "VolumesFrom",
            ],
            Value::Null,
        ),
    ];
    for (names, value) in &nothing {
        for name in *names {
            all[*name] = value.clone();
        }
    }
    for name in ["OomKillDisable", "PublishAllPorts"] {
        all[name] = false.into();
    }
    all
}

fn has_namespace(config: &Value, kind: &str) -> bool {
    let all = config
        .pointer("/linux/namespaces")
        .and_then(Value::as_array);
    all.is_some_and(|all| all.iter().any(|n| n["type"] == kind))
}

/// Bytes of /dev/shm; 0 where it is the host's.
fn shm_size(config: &Value) -> u64 {
    let shm = mounts(config).find(|m| m["destination"] == "/dev/shm");
    let options = shm
        .and_then(|m| m["options"].as_array())
        .into_iter()
        .flatten();
    let mut sizes = options.filter_map(|o| o.as_str()?.strip_prefix("size=")?.strip_suffix('k'));
    let kib = sizes.next().and_then(|s| s.parse::<u64>().ok());
    kib.unwrap_or_default().saturating_mul(1024)
}

/// Those that the user asked for: the others are under /dev.
fn tmpfs(config: &Value) -> Value {
    let theirs = mounts(config).filter_map(|m| {
        let at = m["destination"].as_str()?;
        let engines = at.starts_with("/dev") || at == SECRETS_PLACE;
        let own = m["type"] == "tmpfs" && !engines;
        let options = m["options"].as_array().into_iter().flatten();
        let options: Vec<&str> = options.filter_map(Value::as_str).collect();
        own.then(|| (at.to_owned(), options.join(",").into()))
    });
    Value::Object(theirs.collect())
}

fn mounts(config: &Value) -> impl Iterator<Item = &Value> {
    let all = config.get("mounts").and_then(Value::as_array);
    all.into_iter().flatten()
}

/// What only the options tell.
pub(super) fn wishes(all: &mut Value, o: &Options) {
    let texts = |list: Vec<String>| Value::from(list);
    let restart = match o.keep.restart {
        Restart::OnFailure(max) => max,
        _ => 0,
    };
    all["RestartPolicy"] = json!({ "Name": o.keep.restart.name(), "MaximumRetryCount": restart });
    all["AutoRemove"] = o.remove.into();
    all["Init"] = o.init.into();
    all["Privileged"] = o.privileged.into();
    all["CapAdd"] = texts(o.cap_add.clone());
    all["CapDrop"] = texts(o.cap_drop.clone());
    all["GroupAdd"] = texts(o.groups.clone());
    all["Dns"] = o.dns.iter().map(ToString::to_string).collect();
    let hosts = o
        .hosts
        .iter()
        .map(|(name, address)| format!("{name}:{address}"));
    all["ExtraHosts"] = hosts.collect();
    let devices = o.devices.iter().map(|d| {
        json!({ "PathOnHost": d.source, "PathInContainer": d.target, "CgroupPermissions": "rwm" })
    });
    all["Devices"] = devices.collect();
    let log = &o.keep.log;
    let kind = match log.driver {
        Driver::K8sFile => "k8s-file",
        Driver::None => "none",
    };
    let size = log.limits.max_size.unwrap_or_default();
    all["LogConfig"]["Type"] = kind.into();
    all["LogConfig"]["Size"] = format!("{size}B").into();
}
