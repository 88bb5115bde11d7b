//! `ps`: the containers and what has become of them. docker-ps(1).

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use super::state::{self, Status};
use super::{Error, LABELS_ANNOTATION};
use crate::store::{
    ContainerEntry, IMAGE_ANNOTATION, ImageRecord, MOUNTS_ANNOTATION, MountKind, Mounted, Store,
};

/// What a container is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It was made and has never run, or is being set up.
    Created,
    /// Somebody holds its lock and has recorded no end.
    Running,
    /// Its processes are stopped.
    Paused,
    /// Its monitor will start it again.
    Restarting {
        /// How it ended the last time.
        code: u8,
        /// When, RFC 3339.
        at: Option<String>,
    },
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
            Self::Paused => "paused",
            Self::Restarting { .. } => "restarting",
            Self::Exited { .. } => "exited",
        }
    }

    /// Whether it is among those that are listed without being asked for.
    pub fn is_live(&self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Restarting { .. })
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
    /// What its monitor has recorded.
    pub record: state::State,
    /// It is of another machine that shares the store, where alone something can be done to it.
    pub elsewhere: bool,
    /// The image's and the user's.
    pub labels: BTreeMap<String, String>,
    /// `host` or `none`.
    pub network: &'static str,
    /// What its user had mounted.
    pub mounts: Vec<Mounted>,
    /// It goes when it ends.
    pub auto_remove: bool,
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
    /// It has not this label, or not with this value.
    NotLabel(String, Option<String>),
    /// It was made before this container.
    Before(String),
    /// It was made after this container.
    Since(String),
    /// It was made before this time.
    Until(Timestamp),
    /// It sees this network: `host` or `none`.
    Network(String),
    /// This volume or directory is mounted in it: by its name, or by its path on the host or inside.
    Volume(String),
}

/// The containers, the youngest first: those that run, or others if they are wanted.
pub fn ps(store: &Store, wanted: &Wanted) -> Result<Vec<Container>, Error> {
    let asks_for_others = |f: &Filter| matches!(f, Filter::Status(_) | Filter::Exited(_));
    let all = wanted.all || wanted.last.is_some() || wanted.filters.iter().any(asks_for_others);
    let filters = wanted.filters.iter().map(|f| resolve(store, f));
    let filters: Vec<Resolved> = filters.collect::<Result<_, _>>()?;
    let mut list = Vec::new();
    for entry in store.containers().list()? {
        if let Some(container) = container(store, entry)?
            && (all || container.state.is_live())
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

/// A filter with what it names: the image if the store has it, the time.
struct Resolved<'a> {
    filter: &'a Filter,
    image: Option<ImageRecord>,
    time: Option<Timestamp>,
}

fn resolve<'a>(store: &Store, filter: &'a Filter) -> Result<Resolved<'a>, Error> {
    let (mut image, mut time) = (None, None);
    match filter {
        // A container may outlive its image: what was recorded with it is looked at in any case.
        Filter::Ancestor(name) => image = store.images().find(name).ok(),
        Filter::Until(until) => time = Some(*until),
        Filter::Before(name) | Filter::Since(name) => {
            let entry = store.containers().find(name)?;
            let created = store.containers().created(&entry);
            time = created.and_then(|t| Timestamp::try_from(t).ok());
        }
        _ => {}
    }
    Ok(Resolved {
        filter,
        image,
        time,
    })
}

fn passes(c: &Container, filters: &[Resolved<'_>]) -> bool {
    // Of these, all must be true.
    let alone = |f: &Filter| {
        use Filter::{Before, Label, NotLabel, Since, Until};
        matches!(
            f,
            Label(..) | NotLabel(..) | Before(_) | Since(_) | Until(_)
        )
    };
    filters.iter().all(|r| {
        let kind = std::mem::discriminant(r.filter);
        let same_kind = |o: &&Resolved<'_>| std::mem::discriminant(o.filter) == kind;
        holds(c, r) || !alone(r.filter) && filters.iter().filter(same_kind).any(|o| holds(c, o))
    })
}

fn holds(c: &Container, resolved: &Resolved<'_>) -> bool {
    let labelled = |key: &str, value: &Option<String>| {
        let have = c.labels.get(key);
        have.is_some_and(|have| value.as_ref().is_none_or(|v| v == have))
    };
    let made = || c.created.as_ref()?.parse::<Timestamp>().ok();
    let ages = || made().zip(resolved.time);
    match resolved.filter {
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
        Filter::Label(key, value) => labelled(key, value),
        Filter::NotLabel(key, value) => !labelled(key, value),
        Filter::Before(_) | Filter::Until(_) => ages().is_some_and(|(made, t)| made < t),
        Filter::Since(_) => ages().is_some_and(|(made, t)| made > t),
        Filter::Network(name) => c.network == name,
        Filter::Volume(path) => {
            let path = path.trim_end_matches('/');
            c.mounts.iter().any(|m| {
                let paths = [&m.source, &m.target];
                m.kind == MountKind::Volume && m.name == path
                    || paths.iter().any(|p| p.as_os_str() == path)
            })
        }
        Filter::Status(name) => c.state.name() == name,
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
            resolved.image.as_ref().map_or_else(recorded, |named| {
                let mut layers = image.diff_ids();
                let all = named.diff_ids().all(|id| layers.next() == Some(id));
                image.id == named.id || all && named.diff_ids().len() > 0
            })
        }),
    }
}

/// `None` for what is garbage already, or vanishes while we look.
pub(super) fn container(store: &Store, entry: ContainerEntry) -> Result<Option<Container>, Error> {
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
            record: state::State::default(),
            elsewhere: false,
            labels: BTreeMap::new(),
            network: "",
            mounts: Vec::new(),
            auto_remove: entry.ephemeral,
        }));
    };
    let record = state::State::read(store, &entry)?;
    if record.is_none() && !live && entry.ephemeral {
        return Ok(None);
    }
    let elsewhere =
        !live && (record.as_ref()).is_some_and(|r| r.is_live() && r.is_elsewhere(store));
    let state = seen(record.as_ref(), live || elsewhere);
    let record = record.unwrap_or_default();
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
        record,
        elsewhere,
        network: if config.linux.namespaces.iter().any(own_network) {
            "none"
        } else {
            "host"
        },
        mounts: annotation(MOUNTS_ANNOTATION)
            .and_then(|json| serde_json::from_str(json).ok())
            .unwrap_or_default(),
        auto_remove: entry.ephemeral,
    }))
}

/// What a record says, and what is left of that when nobody holds the container's lock.
fn seen(record: Option<&state::State>, live: bool) -> State {
    let Some(r) = record else {
        return match live {
            true => State::Running,
            false => State::Exited {
                code: None,
                at: None,
            },
        };
    };
    match (r.status, live) {
        (Status::Created, _) => State::Created,
        (Status::Exited, _) => State::Exited {
            code: r.exit_code,
            at: r.finished_at.clone(),
        },
        (Status::Running, true) => State::Running,
        (Status::Paused, true) => State::Paused,
        (Status::Restarting, true) => State::Restarting {
            code: r.exit_code.unwrap_or_default(),
            at: r.finished_at.clone(),
        },
        // Its monitor was killed between two lives, of which the last one's end is known.
        (Status::Restarting, false) => State::Exited {
            code: r.exit_code,
            at: r.finished_at.clone(),
        },
        (Status::Running | Status::Paused, false) => State::Exited {
            code: None,
            at: None,
        },
    }
}
