//! Which events are shown, and when there are no more.

use std::io;
use std::time::Duration;

use jiff::Timestamp;

use super::{Event, Kind};
use crate::monitor::log::Watch;
use crate::ops::Error;
use crate::ops::filters::Label;
use crate::store::Store;

/// What must be true of an event: of several filters of one kind one, and one of each kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// It is of this container: a name, or the start of an id.
    Container(String),
    /// It is of this image, or of a container of it.
    Image(String),
    /// It is of this volume.
    Volume(String),
    /// That happened: docker's word or podman's.
    Event(String),
    /// To that.
    Kind(Kind),
    /// A container's label.
    Label(Label),
}

impl Filter {
    fn holds(&self, event: &Event) -> bool {
        let id = |start: &str| start.len() >= 3 && event.id.starts_with(start);
        match self {
            Self::Container(name) => {
                event.kind == Kind::Container && (event.name == *name || id(name))
            }
            Self::Image(name) => match event.kind {
                Kind::Image => is_image(&event.name, name) || id(name),
                Kind::Container => is_image(&event.image, name),
                Kind::Volume => false,
            },
            Self::Volume(name) => event.kind == Kind::Volume && event.name == *name,
            Self::Event(word) => {
                event.action.podman() == word || event.action.docker(event.kind) == word
            }
            Self::Kind(kind) => event.kind == *kind,
            Self::Label(label) => label.holds(&event.attributes),
        }
    }
}

/// As people write it: without the registry that is implied, and without the tag.
fn is_image(name: &str, wanted: &str) -> bool {
    let names = [
        Some(name),
        name.strip_prefix("docker.io/"),
        name.strip_prefix("docker.io/library/"),
        name.strip_prefix("localhost/"),
    ];
    !wanted.is_empty()
        && names.into_iter().flatten().any(|name| {
            name.strip_prefix(wanted)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '@']))
        })
}

fn passes(event: &Event, filters: &[Filter]) -> bool {
    let kind = |f: &Filter| std::mem::discriminant(f);
    filters.iter().all(|filter| {
        let mut same = filters.iter().filter(|f| kind(f) == kind(filter));
        match filter {
            // All of these, as with docker's other lists.
            Filter::Label(_) => filter.holds(event),
            _ => same.any(|f| f.holds(event)),
        }
    })
}

/// Which events, and for how long.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Those from this time on; `None`: those from now on, or all if there is no waiting for more.
    pub since: Option<Timestamp>,
    /// Those up to this time, and no waiting beyond it.
    pub until: Option<Timestamp>,
    /// What must be true of them.
    pub filters: Vec<Filter>,
    /// Wait for more.
    pub stream: bool,
}

/// Hand the events to `show`, until there are no more or it says that it wants none. `idle` is asked the same while
/// there are none.
pub fn events(
    store: &Store,
    options: &Options,
    show: &mut dyn FnMut(&Event) -> bool,
    idle: &mut dyn FnMut() -> bool,
) -> Result<(), Error> {
    let journal = store.journal();
    let failed = |e: io::Error| Error::file("read the journal in", journal.dir(), e);
    let mut watch = Watch::new([journal.dir()]);
    let from_now = options.since.is_none() && options.until.is_none() && options.stream;
    let mut reader = journal.reader(from_now).map_err(failed)?;
    let nanoseconds = |t: Option<Timestamp>| t.map(Timestamp::as_nanosecond);
    let (since, until) = (nanoseconds(options.since), nanoseconds(options.until));
    loop {
        let lines = reader.lines().map_err(failed)?;
        for line in &lines {
            // What a killed process tore, or a later version made up.
            let Ok(event) = serde_json::from_str::<Event>(line) else {
                continue;
            };
            let time = i128::from(event.time);
            if since.is_none_or(|since| since <= time)
                && until.is_none_or(|until| time <= until)
                && passes(&event, &options.filters)
                && !show(&event)
            {
                return Ok(());
            }
        }
        if !lines.is_empty() {
            watch.stir();
            continue;
        }
        let left = options
            .until
            .map(|until| until.duration_since(Timestamp::now()));
        if !idle() || !options.stream || left.is_some_and(|left| left.is_negative()) {
            return Ok(());
        }
        watch.wait(left.and_then(|left| Duration::try_from(left).ok()));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::ops::events::{Action, record};

    #[test]
    fn filters_of_one_kind_are_alternatives() {
        let labels = BTreeMap::from([("stage".to_owned(), "test".to_owned())]);
        let event = Event::container(Action::Died, "abcdef", Some("web"))
            .of_image("docker.io/library/debian:12")
            .with(&labels);
        let container = |s: &str| Filter::Container(s.to_owned());
        let image = |s: &str| Filter::Image(s.to_owned());
        let action = |s: &str| Filter::Event(s.to_owned());
        let label = |s: &str| Filter::Label(Label::new(s, false));
        for (filters, want) in [
            (vec![], true),
            (vec![container("web")], true),
            (vec![container("we")], false),
            (vec![container("abc")], true),
            (vec![container("db"), container("web")], true),
            (vec![container("web"), action("start")], false),
            (vec![action("die")], true),
            (vec![action("died"), action("start")], true),
            (vec![image("debian")], true),
            (vec![image("debian:12")], true),
            (vec![image("deb")], false),
            (vec![image("docker.io/library/debian")], true),
            (vec![label("stage")], true),
            (vec![label("stage=test"), label("other")], false),
            (vec![Filter::Kind(Kind::Image)], false),
            (vec![Filter::Volume("web".to_owned())], false),
        ] {
            assert_eq!(passes(&event, &filters), want, "{filters:?}");
        }
    }

    #[test]
    fn what_happened_is_told_in_order() {
        let dir = tempfile::TempDir::new().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let before = Timestamp::now();
        for name in ["a", "b"] {
            record(&store, &Event::volume(Action::Create, name));
        }
        let seen = |options: &Options| {
            let mut names = Vec::new();
            let mut show = |e: &Event| {
                names.push(e.name.clone());
                true
            };
            events(&store, options, &mut show, &mut || true).unwrap();
            names
        };
        let all = Options::default();
        assert_eq!(seen(&all), ["a", "b"]);
        let since = Options {
            since: Some(before),
            until: Some(Timestamp::now()),
            stream: true,
            ..Options::default()
        };
        assert_eq!(seen(&since), ["a", "b"]);
        let early = Options {
            until: Some(before),
            ..Options::default()
        };
        assert_eq!(seen(&early), [""; 0]);
        // From now on, until enough was seen.
        let mut first = Some(());
        let follow = Options {
            stream: true,
            ..Options::default()
        };
        let mut names = Vec::new();
        let mut show = |e: &Event| {
            names.push(e.name.clone());
            false
        };
        let mut idle = || {
            if first.take().is_some() {
                record(&store, &Event::volume(Action::Remove, "c"));
            }
            true
        };
        events(&store, &follow, &mut show, &mut idle).unwrap();
        assert_eq!(names, ["c"]);
    }
}
