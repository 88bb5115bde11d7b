//! `events`: what happened to containers, images and volumes. docker-events(1), podman-events(1).
//!
//! Whoever makes something happen says so with [`record`], once it has. That costs three system calls, and never
//! fails what it tells of. What a `run --rm` in the foreground does is not recorded: nobody else can see the container
//! for long, and a start is measured in system calls.

mod read;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use read::{Filter, Options, events};

use super::LABELS_ANNOTATION;
use crate::oci::{Digest, Reference};
use crate::store::{ContainerDir, ContainerEntry, IMAGE_ANNOTATION, ImageRecord, Store};

/// Longest record: PIPE_BUF, in which one write is one piece everywhere.
const RECORD_MAX: usize = 4096;

/// What something happened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A named volume.
    Volume,
}

impl Kind {
    /// Docker's and podman's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Volume => "volume",
        }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Somebody was connected to its streams.
    Attach,
    /// A Containerfile made it.
    Build,
    /// An image was made of it.
    Commit,
    /// It was made.
    Create,
    /// Its program ended.
    Died,
    /// Another program was started in it.
    Exec,
    /// Which has ended.
    ExecDied,
    /// Its files were written to a tar.
    Export,
    /// A test of whether it lives has another result than the one before.
    HealthStatus,
    /// A tar became an image.
    Import,
    /// A signal was sent.
    Kill,
    /// An archive was taken into the store.
    Load,
    /// Its processes were stopped.
    Pause,
    /// What nobody used was removed.
    Prune,
    /// It came from a registry.
    Pull,
    /// It went to one.
    Push,
    /// It is gone.
    Remove,
    /// It has another name.
    Rename,
    /// It was stopped and started.
    Restart,
    /// It was written to an archive.
    Save,
    /// Its program began.
    Start,
    /// Somebody ended it.
    Stop,
    /// It was given a name.
    Tag,
    /// Its processes go on.
    Unpause,
    /// It lost a name.
    Untag,
    /// It is started again by another policy.
    Update,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 26] = [
        Self::Attach,
        Self::Build,
        Self::Commit,
        Self::Create,
        Self::Died,
        Self::Exec,
        Self::ExecDied,
        Self::Export,
        Self::HealthStatus,
        Self::Import,
        Self::Kill,
        Self::Load,
        Self::Pause,
        Self::Prune,
        Self::Pull,
        Self::Push,
        Self::Remove,
        Self::Rename,
        Self::Restart,
        Self::Save,
        Self::Start,
        Self::Stop,
        Self::Tag,
        Self::Unpause,
        Self::Untag,
        Self::Update,
    ];

    /// Podman's word.
    pub fn podman(self) -> &'static str {
        match self {
            Self::Attach => "attach",
            Self::Build => "build",
            Self::Commit => "commit",
            Self::Create => "create",
            Self::Died => "died",
            Self::Exec => "exec",
            Self::ExecDied => "exec_died",
            Self::Export => "export",
            Self::HealthStatus => "health_status",
            Self::Import => "import",
            Self::Kill => "kill",
            Self::Load => "loadfromarchive",
            Self::Pause => "pause",
            Self::Prune => "prune",
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Remove => "remove",
            Self::Rename => "rename",
            Self::Restart => "restart",
            Self::Save => "save",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Tag => "tag",
            Self::Unpause => "unpause",
            Self::Untag => "untag",
            Self::Update => "update",
        }
    }

    /// Docker's word, which depends on what it happened to.
    pub fn docker(self, kind: Kind) -> &'static str {
        match (self, kind) {
            (Self::Died, _) => "die",
            (Self::Exec, _) => "exec_start",
            (Self::ExecDied, _) => "exec_die",
            (Self::Load, _) => "load",
            (Self::Remove, Kind::Image) => "delete",
            (Self::Remove, _) => "destroy",
            (other, _) => other.podman(),
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// When, in nanoseconds since 1970.
    pub time: i64,
    /// To what.
    pub kind: Kind,
    /// What.
    pub action: Action,
    /// Of the container or image; a volume has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Its name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The name of a container's image.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// With [`Action::Died`] and [`Action::ExecDied`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// Labels of a container, and more that is known: `signal`, `oldName`, `health_status` …
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

impl Event {
    fn now(kind: Kind, action: Action) -> Self {
        Self {
            // Until 2262.
            time: i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX),
            kind,
            action,
            id: String::new(),
            name: String::new(),
            image: String::new(),
            exit_code: None,
            attributes: BTreeMap::new(),
        }
    }

    /// Of a container.
    pub fn container(action: Action, id: &str, name: Option<&str>) -> Self {
        Self {
            id: id.to_owned(),
            name: name.unwrap_or_default().to_owned(),
            ..Self::now(Kind::Container, action)
        }
    }

    /// Of an image, and the name that this is about.
    pub fn image(action: Action, id: &Digest, name: &str) -> Self {
        Self {
            id: id.hex().to_owned(),
            name: name.to_owned(),
            ..Self::now(Kind::Image, action)
        }
    }

    /// Of a volume.
    pub fn volume(action: Action, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::now(Kind::Volume, action)
        }
    }

    /// The image that the container was made from.
    #[must_use]
    pub fn of_image(mut self, image: &str) -> Self {
        image.clone_into(&mut self.image);
        self
    }

    /// How the program ended.
    #[must_use]
    pub fn ended(mut self, exit_code: u8) -> Self {
        self.exit_code = Some(exit_code);
        self
    }

    /// More about it: labels, or a word of its own.
    #[must_use]
    pub fn with<'a>(mut self, more: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        let more = more.into_iter().map(|(k, v)| (k.clone(), v.clone()));
        self.attributes.extend(more);
        self
    }

    /// One line of JSON. Labels are left out where they would make it too long, and of names the end.
    fn line(&self) -> Option<String> {
        let json = |event: &Self| serde_json::to_string(event).ok();
        let whole = json(self)?;
        if whole.len() < RECORD_MAX - 1 {
            return Some(whole);
        }
        let cut = |s: &str| s.chars().take(256).collect();
        json(&Self {
            id: cut(&self.id),
            name: cut(&self.name),
            image: cut(&self.image),
            attributes: BTreeMap::new(),
            ..self.clone()
        })
    }
}

/// Say that something happened to a container that is in the store.
pub(super) fn happened(store: &Store, entry: &ContainerEntry, action: Action) {
    record(store, &of_container(store, entry, action));
}

/// The same of one whose lock we have.
pub(super) fn happened_to(
    store: &Store,
    container: &ContainerDir,
    event: impl FnOnce(Event) -> Event,
    action: Action,
) {
    let entry = ContainerEntry {
        id: container.id().to_owned(),
        name: container.name().map(str::to_owned),
        path: container.path().to_owned(),
        ephemeral: false,
    };
    record(store, &event(of_container(store, &entry, action)));
}

/// With what its configuration says of its image and labels.
pub(super) fn of_container(store: &Store, entry: &ContainerEntry, action: Action) -> Event {
    #[derive(Default, Deserialize)]
    struct Config {
        #[serde(default)]
        annotations: BTreeMap<String, String>,
    }
    #[derive(Deserialize)]
    struct Image {
        #[serde(default)]
        reference: Option<String>,
    }
    let config = store.containers().config::<Config>(entry);
    let config = config.ok().flatten().unwrap_or_default();
    let annotation = |name| config.annotations.get(name).map(String::as_str);
    let image = annotation(IMAGE_ANNOTATION).and_then(|json| serde_json::from_str(json).ok());
    let image = image.and_then(|i: Image| i.reference).unwrap_or_default();
    let labels: Option<BTreeMap<String, String>> =
        annotation(LABELS_ANNOTATION).and_then(|json| serde_json::from_str(json).ok());
    Event::container(action, &entry.id, entry.name.as_deref())
        .of_image(&image)
        .with(&labels.unwrap_or_default())
}

/// Say that something happened to an image.
pub(super) fn happened_to_image(store: &Store, image: &ImageRecord, action: Action) {
    let name = image.reference.as_ref().map(Reference::to_string);
    let name = name.unwrap_or_default();
    record(store, &Event::image(action, &image.id, &name));
}

/// Say that something happened. Not being able to is no reason to fail what has.
pub fn record(store: &Store, event: &Event) {
    let Some(line) = event.line() else {
        return;
    };
    // A number that nobody chooses: the nanoseconds that the clock happens to show.
    let chance = event.time.unsigned_abs() as u32;
    if let Err(e) = store.journal().append(&line, chance) {
        log::debug!("cannot record an event: {e}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let labels = BTreeMap::from([("a".to_owned(), "b\n\u{1b}".to_owned())]);
        let event = Event::container(Action::Died, "abc", Some("web"))
            .of_image("localhost/x:1")
            .ended(7)
            .with(&labels);
        let line = event.line().unwrap();
        assert!(!line.contains('\n'), "{line}");
        assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event);
        // A record of a later version, too.
        let more = line.replacen('{', r#"{"more":[1],"#, 1);
        assert_eq!(serde_json::from_str::<Event>(&more).unwrap(), event);
    }

    #[test]
    fn a_record_is_never_longer_than_one_write() {
        for long in ["x".repeat(100_000), "\u{1}".repeat(5000), "é".repeat(5000)] {
            let labels = BTreeMap::from([("a".to_owned(), long.clone())]);
            let event = Event::container(Action::Create, "abc", Some("web")).with(&labels);
            let line = event.line().unwrap();
            assert!(line.len() < RECORD_MAX - 1);
            assert_eq!(serde_json::from_str::<Event>(&line).unwrap().name, "web");
            let event = Event::volume(Action::Create, &long).of_image(&long);
            assert!(event.line().unwrap().len() < RECORD_MAX - 1);
        }
    }

    #[test]
    fn words_are_dockers_and_podmans() {
        for (action, kind, docker, podman) in [
            (Action::Died, Kind::Container, "die", "died"),
            (Action::Remove, Kind::Container, "destroy", "remove"),
            (Action::Remove, Kind::Image, "delete", "remove"),
            (Action::Remove, Kind::Volume, "destroy", "remove"),
            (Action::Load, Kind::Image, "load", "loadfromarchive"),
            (Action::Start, Kind::Container, "start", "start"),
        ] {
            assert_eq!((action.docker(kind), action.podman()), (docker, podman));
        }
    }
}
