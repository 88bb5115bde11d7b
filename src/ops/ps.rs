//! `ps`: the containers and what has become of them. docker-ps(1).

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use super::state::Ended;
use super::{Error, LABELS_ANNOTATION};
use crate::store::{
    ContainerEntry, IMAGE_ANNOTATION, ImageRecord, MOUNTS_ANNOTATION, MountKind, Mounted, Store,
};

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

impl State {
    /// Docker's word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Exited { .. } => "exited",
        }
    }
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
    /// What its user had mounted.
    pub mounts: Vec<Mounted>,
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

/// Which containers to list.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Also those that do not run; implied by `last`, and by filters that ask for such.
    pub all: bool,
    /// What must be true of them. Of several of one kind, one must be; of labels, all.
    pub filters: Vec<Filter>,
    /// At most so many, the youngest.
    pub last: Option<usize>,
}

/// What may be true of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Its id starts so.
    Id(String),
    /// Its name has this in it, or at its ends.
    Name {
        /// The part of the name.
        text: String,
        /// It must stand at the start.
        from_start: bool,
        /// It must stand at the end.
        to_end: bool,
    },
    /// It has this label, with this value if one is given.
    Label(String, Option<String>),
    /// [`State::name`].
    Status(String),
    /// It was made from this image (name, or start of an id), or from one that begins with its layers.
    Ancestor(String),
    /// It has ended with this code.
    Exited(u8),
    /// It was made with this volume, or with something mounted at this path.
    Volume(String),
}

/// The containers, the youngest first: those that run, or others if they are wanted.
pub fn ps(store: &Store, wanted: &Wanted) -> Result<Vec<Container>, Error> {
    let asks_for_others = |f: &Filter| matches!(f, Filter::Status(_) | Filter::Exited(_));
    let all = wanted.all || wanted.last.is_some() || wanted.filters.iter().any(asks_for_others);
    let filters: Vec<Resolved> = wanted.filters.iter().map(|f| resolve(store, f)).collect();
    let mut list = Vec::new();
    for entry in store.containers().list()? {
        if let Some(container) = container(store, entry)?
            && (all || container.state == State::Running)
            && passes(&container, &filters)
        {
            list.push(container);
        }
    }
    // RFC 3339 in UTC with nanoseconds cut at the end: as times, not as text.
    let time = |c: &Container| c.created.as_ref()?.parse::<Timestamp>().ok();
    list.sort_by_key(|c| std::cmp::Reverse(time(c)));
    list.truncate(wanted.last.unwrap_or(usize::MAX));
    Ok(list)
}

/// The id of the container called `name` (name or start of an id).
pub fn find(store: &Store, name: &str) -> Result<String, Error> {
    Ok(store.containers().find(name)?.id)
}

/// A filter with the image that it names, if the store has it.
type Resolved<'a> = (&'a Filter, Option<ImageRecord>);

fn resolve<'a>(store: &Store, filter: &'a Filter) -> Resolved<'a> {
    let image = match filter {
        // A container may outlive its image: what was recorded with it is looked at in any case.
        Filter::Ancestor(name) => store.images().find(name).ok(),
        _ => None,
    };
    (filter, image)
}

fn passes(c: &Container, filters: &[Resolved<'_>]) -> bool {
    let is_label = |f: &Filter| matches!(f, Filter::Label(..));
    filters.iter().all(|(filter, image)| {
        let same_kind =
            |(f, _): &&Resolved<'_>| std::mem::discriminant(*f) == std::mem::discriminant(*filter);
        holds(c, filter, image.as_ref())
            || !is_label(filter)
                && (filters.iter().filter(same_kind)).any(|(f, i)| holds(c, f, i.as_ref()))
    })
}

fn holds(c: &Container, filter: &Filter, named: Option<&ImageRecord>) -> bool {
    match filter {
        Filter::Id(start) => c.id.starts_with(start.as_str()),
        Filter::Name {
            text,
            from_start,
            to_end,
        } => c
            .name
            .as_ref()
            .is_some_and(|name| match (from_start, to_end) {
                (true, true) => name == text,
                (true, false) => name.starts_with(text.as_str()),
                (false, true) => name.ends_with(text.as_str()),
                (false, false) => name.contains(text.as_str()),
            }),
        Filter::Label(key, value) => {
            let have = c.labels.get(key);
            have.is_some_and(|have| value.as_ref().is_none_or(|v| v == have))
        }
        Filter::Status(name) => c.state.name() == name,
        Filter::Volume(wanted) => c.mounts.iter().any(|m| {
            let is_volume = m.kind == MountKind::Volume && m.name == *wanted;
            is_volume || m.target.as_os_str() == wanted.as_str()
        }),
        Filter::Exited(code) => {
            matches!(&c.state, State::Exited { code: Some(c), .. } if c == code)
        }
        Filter::Ancestor(name) => c.image.as_ref().is_some_and(|image| {
            let recorded = || {
                let asked = name.parse().ok();
                asked.is_some() && image.reference == asked
                    || name.len() >= 3
                        && (image.id.hex().starts_with(name.as_str())
                            || image.id.to_string() == *name)
            };
            named.map_or_else(recorded, |named| {
                let mut layers = image.diff_ids();
                let all = named.diff_ids().all(|id| layers.next() == Some(id));
                image.id == named.id || all && named.diff_ids().len() > 0
            })
        }),
    }
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
            mounts: Vec::new(),
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
        mounts: annotation(MOUNTS_ANNOTATION)
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
