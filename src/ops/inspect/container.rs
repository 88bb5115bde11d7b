//! A container as podman-container-inspect(1) shows it, and docker-inspect(1) where podman has no such key. What
//! no option of `run` sets is there with the value that says so, since scripts ask for it.

mod host_config;

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::super::ps::{self, Container, State};
use super::super::run::Options;
use super::super::volume::mount_document;
use super::super::{Error, stored, usage};
use crate::monitor::STOP_TIMEOUT;
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
    // One that cannot be started again has none.
    let options: Option<Options> = store.containers().options(&entry)?;
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
        "RestartCount": c.record.restarts,
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
        "Mounts": c.mounts.iter().map(mount_document).collect::<Value>(),
        "Dependencies": [],
        "NetworkSettings": network,
        "Namespace": "",
        "IsInfra": false,
        "IsService": false,
        "Config": own_config(&c, &config, entrypoint.unwrap_or_default()),
        "HostConfig": host_config::host_config(&c, &config),
    });
    if let Some(o) = &options {
        wishes(&mut all, o);
    }
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
    let r = &c.record;
    let (code, finished) = match &c.state {
        // Nobody could tell how it ended.
        State::Exited { code, at } => (code.map_or(-1, i32::from), at.as_deref()),
        State::Restarting { code, at } => (i32::from(*code), at.as_deref()),
        State::Created | State::Running | State::Paused => (0, None),
    };
    // Of one that an older version ran, that is the best guess.
    let started = match c.state {
        State::Created => None,
        _ => r.started_at.as_deref().or(c.created.as_deref()),
    };
    let health = r.health.as_ref();
    let log = health.map(|h| {
        let tests = h.log.iter().map(|o| {
            json!({ "Start": o.start, "End": o.end, "ExitCode": o.exit_code, "Output": o.output })
        });
        tests.collect::<Vec<_>>()
    });
    json!({
        "OciVersion": "1.2.0",
        "Status": c.state.name(),
        "Running": matches!(c.state, State::Running | State::Paused),
        "Paused": c.state == State::Paused,
        "Restarting": matches!(c.state, State::Restarting { .. }),
        "OOMKilled": false,
        "Dead": false,
        "Pid": r.pid.filter(|_| c.state.is_live()).unwrap_or_default(),
        "ConmonPid": r.monitor.filter(|_| c.state.is_live()).unwrap_or_default(),
        "ExitCode": code,
        "Error": r.error.as_deref().unwrap_or_default(),
        "StartedAt": started.unwrap_or(NEVER),
        "FinishedAt": finished.or(r.finished_at.as_deref()).unwrap_or(NEVER),
        "Health": {
            "Status": health.map_or("", |h| h.status.name()),
            "FailingStreak": health.map_or(0, |h| h.failing_streak),
            "Log": log,
        },
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

/// What only the options tell.
fn wishes(all: &mut Value, o: &Options) {
    host_config::wishes(&mut all["HostConfig"], o);
    let config = &mut all["Config"];
    config["OpenStdin"] = o.interactive.into();
    config["StopTimeout"] = o.keep.stop_timeout.unwrap_or(STOP_TIMEOUT).into();
    config["Timeout"] = o.keep.timeout.unwrap_or_default().into();
    if let Some(h) = &o.keep.health {
        let nanos = |d: Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
        config["Healthcheck"] = json!({
            "Test": h.test,
            "Interval": nanos(h.interval),
            "Timeout": nanos(h.timeout),
            "StartPeriod": nanos(h.start_period),
            "Retries": h.retries,
        });
    }
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
