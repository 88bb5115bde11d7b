//! A container as `ps` shows it to programs: to templates in the words of docker and podman, and as podman's JSON.

use serde_json::{Value, json};

use super::{COMMAND_MAX, ended, id, image, status};
use crate::cli::human;
use crate::ops::namespaces::Namespaces;
use crate::ops::ps::{Container, State};

/// What podman gives for a time that has not come.
const NEVER: i64 = -62_135_596_800;

/// Headings that are not the names of fields.
pub(super) const HEADINGS: [(&str, &str); 9] = [
    ("Created", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedHuman", "CREATED"),
    ("ExitCode", "EXIT CODE"),
    ("ExitedAt", "EXITED AT"),
    ("ID", "CONTAINER ID"),
    ("ImageID", "IMAGE ID"),
    ("PodName", "POD NAME"),
    ("RunningFor", "CREATED"),
];

/// For templates. Where docker and podman give different things for one name, it is podman's, but for the State,
/// which is one word as with docker.
pub(super) fn template(c: &Container, full: bool, size: Option<&str>, n: &Namespaces) -> Value {
    let at = human::at(c.created.as_deref());
    let ago = human::ago(c.created.as_deref());
    json!({
        "ID": id(c, full),
        "Names": c.name.as_deref().unwrap_or_default(),
        "Image": image(c),
        "ImageID": c.image.as_ref().map_or("", |i| match full {
            true => i.id.hex(),
            false => i.id.short(),
        }),
        "Command": command(c, full),
        "Created": at,
        "CreatedAt": at,
        "CreatedHuman": ago,
        "RunningFor": ago,
        "State": c.state.name(),
        "Status": status(c),
        "ExitCode": code(c),
        "Exited": ended(c),
        "ExitedAt": exited_at(c),
        "StartedAt": started_at(c),
        "Restarts": c.record.restarts,
        "Pid": c.record.pid.unwrap_or_default(),
        "Labels": c.labels,
        "Mounts": destinations(c),
        "LocalVolumes": "0",
        "Networks": c.network,
        "Ports": "",
        "Size": size.unwrap_or_default(),
        "AutoRemove": c.auto_remove,
        "CIDFile": "",
        "IsInfra": false,
        "Pod": "",
        "PodName": "",
        "CGROUPNS": n.cgroup,
        "IPC": n.ipc,
        "MNT": n.mnt,
        "NET": n.net,
        "PIDNS": n.pid,
        "USERNS": n.user,
        "UTS": n.uts,
        "Namespaces": namespaces(n),
    })
}

/// Podman's keys, of those that there are.
fn namespaces(n: &Namespaces) -> Value {
    let all = [
        ("Mnt", &n.mnt),
        ("Cgroup", &n.cgroup),
        ("Ipc", &n.ipc),
        ("Net", &n.net),
        ("Pidns", &n.pid),
        ("Uts", &n.uts),
        ("User", &n.user),
    ];
    let there = all.into_iter().filter(|(_, number)| !number.is_empty());
    there.map(|(key, number)| (key, number.as_str())).collect()
}

/// As podman prints it.
pub(super) fn podman(c: &Container, sizes: Option<(u64, u64)>, n: &Namespaces) -> Value {
    let labels = match c.labels.is_empty() {
        true => Value::Null,
        false => json!(c.labels),
    };
    json!({
        "AutoRemove": c.auto_remove,
        "Command": c.command,
        "Created": seconds(c.created.as_deref()),
        "CreatedAt": human::ago(c.created.as_deref()),
        "ExitCode": code(c),
        "Exited": ended(c),
        "ExitedAt": exited_at(c),
        "Id": c.id,
        "Image": image(c),
        "ImageID": c.image.as_ref().map_or("", |i| i.id.hex()),
        "IsInfra": false,
        "Labels": labels,
        "Mounts": destinations(c),
        "Names": c.name.iter().collect::<Vec<_>>(),
        "Namespaces": namespaces(n),
        "Networks": [],
        "Pid": c.record.pid.unwrap_or_default(),
        "Pod": "",
        "PodName": "",
        "Ports": null,
        "Restarts": c.record.restarts,
        "Size": sizes.map(|(own, all)| json!({ "rootFsSize": all, "rwSize": own })),
        "StartedAt": started_at(c),
        "State": c.state.name(),
        "Status": status(c),
    })
}

/// Without quotes, and cut to podman's length.
fn command(c: &Container, full: bool) -> String {
    let command = c.command.join(" ");
    if full || command.chars().count() <= COMMAND_MAX {
        return command;
    }
    let short: String = command.chars().take(COMMAND_MAX - 3).collect();
    short + "..."
}

/// 0 before the end; -1 where nobody could tell.
fn code(c: &Container) -> i32 {
    match &c.state {
        State::Exited { code, .. } => code.map_or(-1, i32::from),
        State::Restarting { code, .. } => i32::from(*code),
        State::Created | State::Running | State::Paused => 0,
    }
}

fn exited_at(c: &Container) -> i64 {
    match &c.state {
        State::Exited { at, .. } | State::Restarting { at, .. } => seconds(at.as_deref()),
        State::Created | State::Running | State::Paused => NEVER,
    }
}

fn started_at(c: &Container) -> i64 {
    let started = c.record.started_at.as_deref();
    match &c.state {
        State::Created => NEVER,
        // What an older version ran.
        _ => seconds(started.or(c.created.as_deref())),
    }
}

fn seconds(time: Option<&str>) -> i64 {
    let time = time.and_then(|t| t.parse::<jiff::Timestamp>().ok());
    time.map_or(NEVER, |t| t.as_second())
}

fn destinations(c: &Container) -> Vec<String> {
    let targets = c.mounts.iter().map(|m| m.target.display().to_string());
    targets.collect()
}
