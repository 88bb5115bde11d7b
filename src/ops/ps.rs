//! `ps`: the containers and what has become of them. docker-ps(1).

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use super::state::Ended;
use super::{Error, LABELS_ANNOTATION};
use crate::store::{ContainerEntry, IMAGE_ANNOTATION, ImageRecord, Store};

/// What a container is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is being set up.
    Created,
    /// Somebody holds its lock and has recorded no end.
    Running,
    /// It has ended.
    Exited {
        /// `None` when coracle was killed and could not record it.
        code: Option<u8>,
        /// When, RFC 3339; `None` likewise.
        at: Option<String>,
    },
}

/// One container.
#[derive(Clone, Debug)]
pub struct Container {
    /// Its id, 64 hex digits.
    pub id: String,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// The image as it was at the start; `None` with `--rootfs`.
    pub image: Option<ImageRecord>,
    /// Program and arguments.
    pub command: Vec<String>,
    /// RFC 3339.
    pub created: Option<String>,
    /// What it is doing.
    pub state: State,
    /// The image's and the user's.
    pub labels: BTreeMap<String, String>,
    /// `host` or `none`.
    pub network: &'static str,
}

/// The part of the runtime configuration that is shown.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Config {
    process: Process,
    linux: Linux,
    annotations: HashMap<String, String>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Process {
    args: Vec<String>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Linux {
    namespaces: Vec<Namespace>,
}

#[derive(serde::Deserialize)]
struct Namespace {
    #[serde(rename = "type")]
    kind: String,
}

/// The containers, the youngest first: those that run, or with `all` those that have ended too.
pub fn ps(store: &Store, all: bool) -> Result<Vec<Container>, Error> {
    let mut list = Vec::new();
    for entry in store.containers().list()? {
        if let Some(container) = container(store, entry)?
            && (all || container.state == State::Running)
        {
            list.push(container);
        }
    }
    // RFC 3339 in UTC with nanoseconds cut at the end: as times, not as text.
    let time = |c: &Container| c.created.as_ref()?.parse::<Timestamp>().ok();
    list.sort_by_key(|c| std::cmp::Reverse(time(c)));
    Ok(list)
}

/// `None` for what is garbage already, or vanishes while we look.
fn container(store: &Store, entry: ContainerEntry) -> Result<Option<Container>, Error> {
    let containers = store.containers();
    // First of all: one that ends meanwhile has recorded that before it lets go of its lock.
    let live = containers.is_locked(&entry)?;
    let Some(config) = containers.config::<Config>(&entry)? else {
        return Ok(live.then(|| Container {
            id: entry.id,
            name: entry.name,
            image: None,
            command: Vec::new(),
            created: None,
            state: State::Created,
            labels: BTreeMap::new(),
            network: "",
        }));
    };
    let state = match containers.state::<Ended>(&entry)? {
        Some(ended) => State::Exited {
            code: Some(ended.exit_code),
            at: Some(ended.finished_at),
        },
        None if live => State::Running,
        None if entry.ephemeral => return Ok(None),
        None => State::Exited {
            code: None,
            at: None,
        },
    };
    let created = containers.created(&entry);
    let own_network = |n: &Namespace| n.kind == "network";
    // An annotation that is not of our making is not shown; `rmi` and gc tell about a damaged one.
    let annotation = |name| config.annotations.get(name).map(String::as_str);
    Ok(Some(Container {
        id: entry.id,
        name: entry.name,
        image: annotation(IMAGE_ANNOTATION).and_then(|json| serde_json::from_str(json).ok()),
        labels: annotation(LABELS_ANNOTATION)
            .and_then(|json| serde_json::from_str(json).ok())
            .unwrap_or_default(),
        command: config.process.args,
        created: created
            .and_then(|t| Timestamp::try_from(t).ok())
            .map(|t| t.to_string()),
        state,
        network: if config.linux.namespaces.iter().any(own_network) {
            "none"
        } else {
            "host"
        },
    }))
}
