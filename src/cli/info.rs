//! `coracle info`: podman's keys, and docker's for templates.

use serde_json::{Value, json};

use super::inspect::print_pretty;
use super::{Failure, Global, format, text, version, yaml};
use crate::ops::info::{self, Info};
use crate::runtime::caps::Caps;

/// Show what machine this is and what is in the store
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print with a Go-like template, or "json"
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show more (accepted for podman's sake: there is nothing more to show)
    #[arg(short = 'D', long, hide = true)]
    debug: bool,
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    let info = info::info(&store)?;
    let document = podman(&info, global);
    match args.format.as_deref().filter(|f| !f.is_empty()) {
        None => text::stdout(|out| out.write_all(yaml::render(&document).as_bytes()))?,
        Some(f) if format::is_json(f) || is_whole(f) => {
            print_pretty(&document)?;
        }
        Some(f) => {
            let mut both = document;
            // Two fields that podman calls otherwise in its JSON.
            both["host"]["CgroupsVersion"] = both["host"]["cgroupVersion"].clone();
            both["host"]["security"]["DefaultCapabilities"] =
                both["host"]["security"]["capabilities"].clone();
            if let (Some(all), Value::Object(docker)) = (both.as_object_mut(), docker(&info)) {
                all.extend(docker);
            }
            format::records(f, &[both])?;
        }
    }
    Ok(0)
}

/// `{{json .}}`, which is no reason to mix the keys of two programs.
fn is_whole(format: &str) -> bool {
    format.split_whitespace().collect::<String>() == "{{json.}}"
}

/// As podman-info(1) prints it. What podman has other programs for is done by this one.
fn podman(i: &Info, global: &Global) -> Value {
    let m = &i.machine;
    let map = |id: u32| json!([{ "container_id": 0, "host_id": id, "size": 1 }]);
    let names: Vec<&str> = Caps::default_set().names().collect();
    let version = version::document();
    json!({
        "host": {
            "arch": version::platform().architecture,
            "cgroupControllers": m.cgroup_controllers,
            // Limits by cgroup are refused, not managed.
            "cgroupManager": "disabled",
            "cgroupVersion": format!("v{}", m.cgroup_version),
            "cpus": m.cpus,
            "distribution": {
                "codename": m.distribution.codename,
                "distribution": m.distribution.id,
                "version": m.distribution.version,
            },
            "eventLogger": "file",
            "hostname": m.hostname,
            "idMappings": { "gidmap": map(i.ids.1), "uidmap": map(i.ids.0) },
            "kernel": m.kernel,
            "linkmode": "static",
            "logDriver": "k8s-file",
            "memFree": m.memory.free,
            "memTotal": m.memory.total,
            "networkBackend": "none",
            "ociRuntime": {
                "name": "coracle",
                "package": "",
                "path": version::program(),
                "version": version::words(),
            },
            "os": "linux",
            "remoteSocket": { "exists": false, "path": "" },
            "security": {
                "apparmorEnabled": false,
                "capabilities": names.join(","),
                "rootless": i.ids.0 != 0,
                "seccompEnabled": true,
                "seccompProfilePath": "",
                "selinuxEnabled": false,
            },
            "serviceIsRemote": false,
            "swapFree": m.memory.swap_free,
            "swapTotal": m.memory.swap_total,
            "uptime": uptime(m.uptime),
        },
        "plugins": {
            "authorization": null,
            "log": ["k8s-file", "none"],
            "network": ["host", "none"],
            "volume": ["local"],
        },
        "registries": { "search": i.search },
        "store": {
            "configFile": "",
            "containerStore": {
                "number": i.running + i.paused + i.stopped,
                "paused": i.paused,
                "running": i.running,
                "stopped": i.stopped,
            },
            "graphDriverName": i.driver,
            "graphOptions": {},
            "graphRoot": i.root,
            "graphRootAllocated": i.file_system.size,
            "graphRootUsed": i.file_system.used,
            "graphStatus": { "Backing Filesystem": i.file_system.kind.unwrap_or("unknown") },
            "imageCopyTmpDir": i.root.join("tmp"),
            "imageStore": { "number": i.images },
            // What runs is known by the locks in the store.
            "runRoot": global.runroot.as_ref().unwrap_or(&i.root),
            "volumePath": i.root.join("volumes"),
        },
        "version": version,
    })
}

/// The keys that docker-info(1) has on the top, where the client and the engine are one.
fn docker(i: &Info) -> Value {
    let m = &i.machine;
    json!({
        "Architecture": std::env::consts::ARCH,
        "CgroupDriver": "none",
        "CgroupVersion": m.cgroup_version.to_string(),
        "ClientInfo": { "Context": "default", "Debug": false, "Version": version::NUMBER },
        "Containers": i.running + i.paused + i.stopped,
        "ContainersPaused": i.paused,
        "ContainersRunning": i.running,
        "ContainersStopped": i.stopped,
        "Debug": false,
        "DefaultRuntime": "coracle",
        "DockerRootDir": i.root,
        "Driver": i.driver,
        "DriverStatus": [["Backing Filesystem", i.file_system.kind.unwrap_or("unknown")]],
        "ExperimentalBuild": false,
        "HttpProxy": "",
        "HttpsProxy": "",
        "ID": "",
        "Images": i.images,
        "IndexServerAddress": "https://index.docker.io/v1/",
        "Isolation": "",
        "KernelVersion": m.kernel,
        "Labels": [],
        "LiveRestoreEnabled": false,
        "LoggingDriver": "k8s-file",
        "MemTotal": m.memory.total,
        "NCPU": m.cpus,
        "Name": m.hostname,
        "NoProxy": "",
        "OSType": "linux",
        "OSVersion": m.distribution.version,
        "OperatingSystem": m.distribution.name,
        "RegistryConfig": { "IndexConfigs": {}, "InsecureRegistryCIDRs": [], "Mirrors": null },
        "Runtimes": { "coracle": { "path": version::program() } },
        "SecurityOptions": match i.ids.0 {
            0 => json!(["name=seccomp,profile=default"]),
            _ => json!(["name=seccomp,profile=default", "name=rootless"]),
        },
        "ServerErrors": [],
        "ServerVersion": version::NUMBER,
        "Swarm": { "ControlAvailable": false, "LocalNodeState": "inactive", "NodeID": "" },
        "Warnings": null,
    })
}

/// `17h 27m 41.00s (Approximately 0.71 days)`
fn uptime(seconds: f64) -> String {
    let whole = seconds as u64;
    let (hours, minutes) = (whole / 3600, whole / 60 % 60);
    let text = format!("{hours}h {minutes}m {}.00s", whole % 60);
    match hours {
        0 => text,
        _ => format!("{text} (Approximately {:.2} days)", seconds / 86400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_podmans_words() {
        for (seconds, want) in [
            (41.9, "0h 0m 41.00s"),
            (62861.3, "17h 27m 41.00s (Approximately 0.73 days)"),
        ] {
            assert_eq!(uptime(seconds), want);
        }
    }
}
