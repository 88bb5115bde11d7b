//! A container as podman-container-inspect(1) shows it, and docker-inspect(1) where podman has no such key. What
//! no option of `run` sets is there with the value that says so, since scripts ask for it.

use serde_json::{Map, Value, json};

use super::super::ps::{self, Bound, Container, State};
use super::super::{Error, stored, usage};
use crate::store::{ContainerEntry, Store};

/// What podman gives for a time that has not come.
const NEVER: &str = "0001-01-01T00:00:00Z";
const STOP_SIGNAL: &str = "org.opencontainers.image.stopSignal";
/// Annotations of ours, which are shown as what they mean.
const OURS: &str = "io.coracle.";

/// Everything about one container; `None` if it went meanwhile. `size`: count what it has written, too.
pub(super) fn container(
    store: &Store,
    entry: ContainerEntry,
    size: bool,
) -> Result<Option<Value>, Error> {
    let config: Value = store.containers().config(&entry)?.unwrap_or_default();
    let directory = entry.path.clone();
    let upper = entry.upper();
    let Some(c) = ps::container(store, entry)? else {
        return Ok(None);
    };
    let image = c.image.as_ref();
    let entrypoint = image.map(|i| entrypoint(store, &i.id, &c.command));
    let network = network(c.network);
    let mut all = json!({
        "Id": c.id,
        "Created": c.created.as_deref().unwrap_or(NEVER),
        "Path": c.command.first().map_or("", String::as_str),
        "Args": c.command.get(1..).unwrap_or_default(),
        "State": state(&c),
        "Image": image.map_or_else(String::new, |i| i.id.to_string()),
        "ImageDigest": image.map_or_else(String::new, |i| i.repo_digest().to_string()),
        "ImageName": name(&c),
        "Rootfs": match image {
            Some(_) => "",
            None => text(&config, "/root/path"),
        },
        "Pod": "",
        "ResolvConfPath": "",
        "HostnamePath": "",
        "HostsPath": "",
        "LogPath": directory.join("log"),
        "StaticDir": directory,
        "OCIConfigPath": directory.join("config.json"),
        "OCIRuntime": "coracle",
        "ConmonPidFile": "",
        "PidFile": "",
        "Name": c.name,
        "RestartCount": 0,
        "Driver": "overlay",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "EffectiveCaps": capabilities(&config, "effective"),
        "BoundingCaps": capabilities(&config, "bounding"),
        "ExecIDs": [],
        "GraphDriver": {
            "Name": "overlay",
            "Data": { "UpperDir": upper, "WorkDir": directory.join("work") },
        },
        "Mounts": c.mounts.iter().map(mount).collect::<Value>(),
        "Dependencies": [],
        "NetworkSettings": network,
        "Namespace": "",
        "IsInfra": false,
        "IsService": false,
        "Config": own_config(&c, &config, entrypoint.unwrap_or_default()),
        "HostConfig": host_config(&c, &config),
    });
    if size {
        let own = usage::sizes(store, std::slice::from_ref(&c))
            .first()
            .copied();
        let own = own.unwrap_or_default();
        all["SizeRw"] = own.into();
        all["SizeRootFs"] = (own + c.image.as_ref().map_or(0, |i| i.size())).into();
    }
    Ok(Some(all))
}

/// The State of docker and podman.
fn state(c: &Container) -> Value {
    let (code, finished) = match &c.state {
        // Nobody could tell how it ended.
        State::Exited { code, at } => (code.map_or(-1, i32::from), at.as_deref()),
        State::Created | State::Running => (0, None),
    };
    json!({
        "OciVersion": "1.2.0",
        "Status": c.state.name(),
        "Running": c.state == State::Running,
        "Paused": false,
        "Restarting": false,
        "OOMKilled": false,
        "Dead": false,
        "Pid": 0,
        "ExitCode": code,
        "Error": "",
        "StartedAt": match c.state {
            State::Created => NEVER,
            _ => c.created.as_deref().unwrap_or(NEVER),
        },
        "FinishedAt": finished.unwrap_or(NEVER),
        "Health": { "Status": "", "FailingStreak": 0, "Log": null },
        "CheckpointedAt": NEVER,
        "RestoredAt": NEVER,
    })
}

fn own_config(c: &Container, config: &Value, entrypoint: Vec<String>) -> Value {
    let terminal = config.pointer("/process/terminal") == Some(&json!(true));
    json!({
        "Hostname": text(config, "/hostname"),
        "Domainname": "",
        "User": user(config),
        "AttachStdin": false,
        "AttachStdout": false,
        "AttachStderr": false,
        "Tty": terminal,
        "OpenStdin": false,
        "StdinOnce": false,
        "Env": at(config, "/process/env"),
        "Cmd": c.command.get(entrypoint.len()..).unwrap_or_default(),
        "Image": name(c),
        "Volumes": null,
        "WorkingDir": text(config, "/process/cwd"),
        "Entrypoint": entrypoint,
        "OnBuild": null,
        "Labels": c.labels,
        "Annotations": annotations(config),
        "StopSignal": match annotation(config, STOP_SIGNAL) {
            "" => "SIGTERM",
            signal => signal,
        },
        "StopTimeout": 10,
        "Timeout": 0,
        "Umask": "0022",
    })
}

/// What was asked of the host, as far as the configuration tells.
fn host_config(c: &Container, config: &Value) -> Value {
    let binds = c.mounts.iter().map(|m| {
        let options = match m.options.iter().any(|o| o == "ro") {
            true => "ro,rprivate,rbind",
            false => "rw,rprivate,rbind",
        };
        format!("{}:{}:{options}", m.source, m.destination)
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
        (&["Links", "VolumesFrom"], Value::Null),
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

/// No address is its own: with the host's network it has those of the host.
fn network(name: &str) -> Value {
    let mut all = Map::new();
    for key in [
        "Bridge",
        "EndpointID",
        "Gateway",
        "GlobalIPv6Address",
        "IPAddress",
        "IPv6Gateway",
        "LinkLocalIPv6Address",
        "MacAddress",
        "SandboxID",
        "SandboxKey",
    ] {
        all.insert(key.to_owned(), "".into());
    }
    for key in [
        "GlobalIPv6PrefixLen",
        "IPPrefixLen",
        "LinkLocalIPv6PrefixLen",
    ] {
        all.insert(key.to_owned(), 0.into());
    }
    let own = Value::Object(all.clone());
    all.insert("HairpinMode".to_owned(), false.into());
    all.insert("Ports".to_owned(), json!({}));
    all.insert("Networks".to_owned(), json!({ name: own }));
    Value::Object(all)
}

fn mount(m: &Bound) -> Value {
    let of = |names: &[&str]| m.options.iter().find(|o| names.contains(&o.as_str()));
    let propagation = of(&[
        "private", "rprivate", "shared", "rshared", "slave", "rslave",
    ]);
    json!({
        "Type": "bind",
        "Source": m.source,
        "Destination": m.destination,
        "Driver": "",
        "Mode": "",
        "Options": m.options,
        "RW": of(&["ro"]).is_none(),
        "Propagation": propagation.map_or("rprivate", String::as_str),
    })
}

/// How much of the command is the image's entrypoint, if the image is still there.
fn entrypoint(store: &Store, image: &crate::oci::Digest, command: &[String]) -> Vec<String> {
    let config = stored::config(store, image).ok();
    let config: Option<Value> = config.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let own = config
        .as_ref()
        .and_then(|c| c.pointer("/config/Entrypoint")?.as_array());
    let own = own.into_iter().flatten().filter_map(Value::as_str);
    let own: Vec<String> = own.map(str::to_owned).collect();
    match command.starts_with(&own) {
        true => own,
        false => Vec::new(),
    }
}

/// The name under which the image was found.
fn name(c: &Container) -> String {
    let image = c.image.as_ref();
    image.map_or_else(String::new, |i| match &i.reference {
        Some(name) => name.to_string(),
        None => i.id.to_string(),
    })
}

fn at(config: &Value, pointer: &str) -> Value {
    config.pointer(pointer).cloned().unwrap_or_default()
}

fn text<'a>(config: &'a Value, pointer: &str) -> &'a str {
    let value = config.pointer(pointer).and_then(Value::as_str);
    value.unwrap_or_default()
}

fn annotation<'a>(config: &'a Value, name: &str) -> &'a str {
    let all = config.get("annotations");
    let value = all.and_then(|a| a.get(name)?.as_str());
    value.unwrap_or_default()
}

fn annotations(config: &Value) -> Value {
    let all = config.get("annotations").and_then(Value::as_object);
    let theirs = all
        .into_iter()
        .flatten()
        .filter(|(k, _)| !k.starts_with(OURS));
    Value::Object(theirs.map(|(k, v)| (k.clone(), v.clone())).collect())
}

/// `UID:GID`; nothing for root, as for an image that names nobody.
fn user(config: &Value) -> String {
    let id = |name: &str| {
        let value = config
            .pointer("/process/user")
            .and_then(|u| u.get(name)?.as_u64());
        value.unwrap_or_default()
    };
    match (id("uid"), id("gid")) {
        (0, 0) => String::new(),
        (uid, gid) => format!("{uid}:{gid}"),
    }
}

/// In the order of their names: the configuration has them in none.
fn capabilities(config: &Value, set: &str) -> Vec<String> {
    let all = config
        .pointer("/process/capabilities")
        .and_then(|c| c.get(set)?.as_array());
    let names = all.into_iter().flatten().filter_map(Value::as_str);
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort();
    names
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
        let own = m["type"] == "tmpfs" && !at.starts_with("/dev");
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
