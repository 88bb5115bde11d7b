//! `coracle events`

use jiff::Timestamp;
use serde_json::{Value, json};

use super::template::Template;
use super::{Failure, Global, filters, text};
use crate::ops::events::{self, Action, Event, Filter, Kind, Options};
use crate::ops::prune::Label;

/// Show what happens to containers, images and volumes
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Also what has happened since TIME: a span before now (10m), RFC 3339, a date, or seconds since 1970
    #[arg(long, value_name = "TIME", value_parser = filters::moment)]
    since: Option<Timestamp>,
    /// Nothing after TIME, and no waiting beyond it
    #[arg(long, value_name = "TIME", value_parser = filters::moment)]
    until: Option<Timestamp>,
    /// Only what fulfils this: container=NAME, image=NAME, volume=NAME, event=WORD, type=container|image|volume, label=KEY[=VALUE]
    #[arg(short, long = "filter", value_name = "KEY=VALUE", value_parser = filter)]
    filters: Vec<Filter>,
    /// json, one object a line, or a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Wait for more. Without it all that is known is shown
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = super::filters::truth, default_value = "true", action = clap::ArgAction::Set)]
    stream: bool,
    /// The same as --stream=false
    #[arg(long, conflicts_with = "stream")]
    no_stream: bool,
    /// Show whole ids (accepted for podman's sake: they always are)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = super::filters::truth, hide = true)]
    no_trunc: Option<bool>,
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    let options = Options {
        since: args.since,
        until: args.until,
        filters: args.filters.clone(),
        stream: args.stream && !args.no_stream,
    };
    let as_json = args.format.as_deref() == Some("json");
    let template = args.format.as_deref().filter(|_| !as_json);
    let template = template.map(Template::parse).transpose()?;
    let mut failed: Option<Failure> = None;
    let mut show = |event: &Event| {
        let line = match &template {
            Some(template) => template.render(&record(event)).map_err(Failure::from),
            None if as_json => Ok(text::json_printable(&record(event).to_string()).into_owned()),
            None => Ok(text::printable(&plain(event)).into_owned()),
        };
        let printed = line.and_then(|line| Ok(text::line(&line)?));
        failed = printed.err();
        failed.is_none()
    };
    events::events(&store, &options, &mut show, &mut || !text::is_reader_gone())?;
    failed.map_or(Ok(0), Err)
}

fn filter(s: &str) -> Result<Filter, String> {
    let (key, value) = filters::pair(s)?;
    let text = value.to_owned();
    Ok(match key {
        "container" => Filter::Container(text),
        "image" => Filter::Image(text),
        "volume" => Filter::Volume(text),
        "label" => Filter::Label(Label::new(value, false)),
        "type" => {
            let kinds = [Kind::Container, Kind::Image, Kind::Volume];
            let kind = kinds.into_iter().find(|k| k.word() == value);
            Filter::Kind(kind.ok_or("events are of a container, an image or a volume")?)
        }
        "event" => {
            // With docker some words depend on what it happened to.
            let kinds = [Kind::Container, Kind::Image, Kind::Volume];
            let known =
                |a: &Action| a.podman() == value || kinds.into_iter().any(|k| a.docker(k) == value);
            if !Action::ALL.iter().any(known) {
                return Err(format!(
                    "nothing is called {value:?}; see coracle-events(1)"
                ));
            }
            Filter::Event(text)
        }
        _ => {
            return Err(format!(
                "unknown filter {key:?}; there are container, image, volume, event, type and label"
            ));
        }
    })
}

/// Docker's word, with what came of a test.
fn docker(event: &Event) -> String {
    let word = event.action.docker(event.kind);
    match event.attributes.get("health_status") {
        Some(status) if event.action == Action::HealthStatus => format!("{word}: {status}"),
        _ => word.to_owned(),
    }
}

/// A volume is known by its name alone.
fn id(event: &Event) -> &str {
    match event.kind {
        Kind::Volume => &event.name,
        Kind::Container | Kind::Image => &event.id,
    }
}

/// What docker and podman call the attributes of an event.
fn attributes(event: &Event) -> Vec<(&str, String)> {
    let known = [("image", &event.image), ("name", &event.name)];
    let known = known.into_iter().filter(|(_, v)| !v.is_empty());
    let mut all: Vec<(&str, String)> = known.map(|(k, v)| (k, v.clone())).collect();
    all.extend(event.exit_code.map(|code| ("exitCode", code.to_string())));
    let more = event.attributes.iter();
    all.extend(more.map(|(k, v)| (k.as_str(), v.clone())));
    all
}

fn time(event: &Event) -> String {
    let time = Timestamp::from_nanosecond(i128::from(event.time));
    time.map(|t| format!("{t:.9}")).unwrap_or_default()
}

/// As docker prints it.
fn plain(event: &Event) -> String {
    let attributes: Vec<String> = attributes(event)
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    format!(
        "{} {} {} {} ({})",
        time(event),
        event.kind.word(),
        docker(event),
        id(event),
        attributes.join(", ")
    )
}

/// Podman's keys and docker's.
fn record(event: &Event) -> Value {
    let attributes: serde_json::Map<String, Value> = attributes(event)
        .into_iter()
        .map(|(k, v)| (k.to_owned(), v.into()))
        .collect();
    let from = match event.kind {
        Kind::Image => &event.name,
        Kind::Container | Kind::Volume => &event.image,
    };
    json!({
        "ID": id(event),
        "Image": from,
        "Name": event.name,
        "Status": event.action.podman(),
        "Time": time(event),
        "Type": event.kind.word(),
        "ContainerExitCode": event.exit_code,
        "Attributes": attributes,
        "Action": docker(event),
        "Actor": { "ID": id(event), "Attributes": attributes },
        "From": from,
        "Scope": "local",
        "TimeNano": event.time,
        "id": id(event),
        "status": docker(event),
        "from": from,
        "scope": "local",
        "time": event.time / 1_000_000_000,
        "timeNano": event.time,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn died() -> Event {
        Event {
            time: 1_700_000_000_000_000_001,
            ..Event::container(Action::Died, "0123abcd", Some("web"))
                .of_image("localhost/x:1")
                .ended(7)
        }
    }

    #[test]
    fn a_line_is_dockers() {
        assert_eq!(
            plain(&died()),
            "2023-11-14T22:13:20.000000001Z container die 0123abcd (image=localhost/x:1, name=web, exitCode=7)"
        );
        let volume = Event {
            time: 0,
            ..Event::volume(Action::Create, "data")
        };
        assert_eq!(
            plain(&volume),
            "1970-01-01T00:00:00.000000000Z volume create data (name=data)"
        );
    }

    #[test]
    fn keys_are_those_of_both() {
        let record = record(&died());
        for (template, want) in [
            ("{{.Status}} {{.Action}} {{.status}}", "died die die"),
            (
                "{{.ID}} {{.Actor.ID}} {{.id}}",
                "0123abcd 0123abcd 0123abcd",
            ),
            (
                "{{.Image}} {{.Name}} {{.Type}}",
                "localhost/x:1 web container",
            ),
            (
                "{{.Actor.Attributes.exitCode}} {{.ContainerExitCode}}",
                "7 7",
            ),
            ("{{.time}} {{.TimeNano}}", "1700000000 1700000000000000001"),
        ] {
            let template = Template::parse(template).unwrap();
            assert_eq!(template.render(&record).unwrap(), want);
        }
    }

    #[test]
    fn filters_know_both_words() {
        for (text, ok) in [
            ("event=die", true),
            ("event=died", true),
            ("event=destroy", true),
            ("event=explode", false),
            ("type=container", true),
            ("type=pod", false),
            ("label=a=b", true),
            ("container=", false),
            ("size=1", false),
        ] {
            assert_eq!(filter(text).is_ok(), ok, "{text}");
        }
    }
}
