//! `coracle ps`

use serde_json::json;

use super::listing::Listing;
use super::table::Table;
use super::{Failure, Global, format, human, text};
use crate::ops::ps::{self, Container, Filter, State, Wanted};

const NONE: &str = "<none>";
/// Characters of a command that docker shows.
const COMMAND_MAX: usize = 20;

/// List containers
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Show also those that have ended
    #[arg(short, long)]
    all: bool,
    /// Only containers of which this is true: id=START, name=PART (^ and $ as anchors), label=KEY[=VALUE], status=created|running|exited, ancestor=IMAGE, exited=CODE, volume=NAME|PATH
    #[arg(short, long = "filter", value_name = "KEY=VALUE", value_parser = filter)]
    filters: Vec<Filter>,
    /// Show the N youngest only, also those that have ended
    #[arg(short = 'n', long, value_name = "N")]
    last: Option<usize>,
    /// Show the youngest only, also if it has ended
    #[arg(short, long, conflicts_with = "last")]
    latest: bool,
    #[command(flatten)]
    listing: Listing,
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    let wanted = Wanted {
        all: args.all,
        filters: args.filters.clone(),
        last: if args.latest { Some(1) } else { args.last },
    };
    let list = ps::ps(&store, &wanted)?;
    if args.listing.quiet {
        text::stdout(|out| {
            list.iter()
                .try_for_each(|c| writeln!(out, "{}", id(c, args.listing.no_trunc)))
        })?;
        return Ok(0);
    }
    if let Some(template) = args.listing.template() {
        let records: Vec<_> = list
            .iter()
            .map(|c| record(c, args.listing.no_trunc))
            .collect();
        format::records(template, &records)?;
        return Ok(0);
    }
    let headings = [
        "CONTAINER ID",
        "IMAGE",
        "COMMAND",
        "CREATED",
        "STATUS",
        "NAMES",
    ];
    let mut table = Table::new(&headings);
    for c in &list {
        table.row(vec![
            id(c, args.listing.no_trunc).to_owned(),
            image(c),
            command(c, args.listing.no_trunc),
            human::ago(c.created.as_deref()),
            status(c),
            c.name.clone().unwrap_or_default(),
        ]);
    }
    text::stdout(|out| out.write_all(table.render().as_bytes()))?;
    Ok(0)
}

fn filter(s: &str) -> Result<Filter, String> {
    let (key, value) = s
        .split_once('=')
        .filter(|(_, value)| !value.is_empty())
        .ok_or("want KEY=VALUE")?;
    Ok(match key {
        "id" => Filter::Id(value.to_owned()),
        "name" => {
            // Docker's names begin with a slash, and its filter is a regular expression.
            let rest = value.strip_prefix('^');
            let text = rest.map_or(value, |r| r.strip_prefix('/').unwrap_or(r));
            let end = text.strip_suffix('$');
            let text = end.unwrap_or(text);
            if let Some(c) = text
                .chars()
                .find(|c| !c.is_alphanumeric() && !"_.-".contains(*c))
            {
                return Err(format!(
                    "{c:?} is in no name; ^ and $ are all that is understood of regular expressions"
                ));
            }
            Filter::Name {
                text: text.to_owned(),
                from_start: rest.is_some(),
                to_end: end.is_some(),
            }
        }
        "label" => match value.split_once('=') {
            Some((key, value)) => Filter::Label(key.to_owned(), Some(value.to_owned())),
            None => Filter::Label(value.to_owned(), None),
        },
        "status" if ["created", "running", "exited"].contains(&value) => {
            Filter::Status(value.to_owned())
        }
        "status" => return Err("a container is created, running or exited".to_owned()),
        "ancestor" => Filter::Ancestor(value.to_owned()),
        "volume" => Filter::Volume(value.to_owned()),
        "exited" => {
            let code = value.parse();
            Filter::Exited(code.map_err(|_| "want an exit code, 0 to 255".to_owned())?)
        }
        _ => {
            return Err(format!(
                "unknown filter {key:?}; there are id, name, label, status, ancestor, exited and volume"
            ));
        }
    })
}

/// Docker's field names. `Ports` is always empty: no port is published.
fn record(c: &Container, full: bool) -> serde_json::Value {
    let labels: Vec<String> = c.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    // Docker's: names of volumes, and directories of the host.
    let mounts = c.mounts.iter().filter_map(|m| match m.name.as_str() {
        "" => m.source.to_str(),
        name => Some(name),
    });
    let mounts: Vec<&str> = mounts.collect();
    let code = match &c.state {
        State::Exited { code, .. } => *code,
        State::Created | State::Running => None,
    };
    json!({
        "ID": id(c, full),
        "Image": image(c),
        "ImageID": c.image.as_ref().map(|i| i.id.to_string()),
        "Command": command(c, full),
        "CreatedAt": human::at(c.created.as_deref()),
        "RunningFor": human::ago(c.created.as_deref()),
        "State": c.state.name(),
        "Status": status(c),
        "ExitCode": code,
        "Names": c.name.as_deref().unwrap_or_default(),
        "Labels": labels.join(","),
        "Networks": c.network,
        "Mounts": mounts.join(","),
        "Ports": "",
    })
}

fn id(c: &Container, full: bool) -> &str {
    match full {
        true => &c.id,
        false => c.id.get(..12).unwrap_or(&c.id),
    }
}

/// The name under which it was found, else its id.
fn image(c: &Container) -> String {
    match &c.image {
        Some(image) => match &image.reference {
            Some(name) => name.to_string(),
            None => image.id.short().to_owned(),
        },
        None => NONE.to_owned(),
    }
}

/// In quotes, and cut to docker's length.
fn command(c: &Container, full: bool) -> String {
    let mut command = c.command.join(" ");
    if !full && command.chars().count() > COMMAND_MAX {
        command = command.chars().take(COMMAND_MAX - 1).collect();
        command.push('…');
    }
    format!("{command:?}")
}

fn status(c: &Container) -> String {
    match &c.state {
        State::Created => "Created".to_owned(),
        State::Running => match human::since(c.created.as_deref()) {
            Some(span) => format!("Up {span}"),
            None => "Up".to_owned(),
        },
        State::Exited {
            code: Some(code),
            at,
        } => format!("Exited ({code}) {}", human::ago(at.as_deref())),
        // Whoever could have told was killed.
        State::Exited { code: None, .. } => "Exited (unknown)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn container(words: &[&str], state: State) -> Container {
        Container {
            id: "0123456789abcdef".to_owned(),
            name: None,
            image: None,
            command: words.iter().map(|&w| w.to_owned()).collect(),
            created: Some(jiff::Timestamp::now().to_string()),
            state,
            labels: BTreeMap::new(),
            network: "host",
            mounts: Vec::new(),
        }
    }

    #[test]
    fn commands_are_quoted_and_cut() {
        for (words, short, full) in [
            (&["sleep", "1000"][..], r#""sleep 1000""#, r#""sleep 1000""#),
            (
                &["sh", "-c", "echo \"hello\" world"],
                r#""sh -c echo \"hello\" …""#,
                r#""sh -c echo \"hello\" world""#,
            ),
            (
                &["12345678901234567890"],
                r#""12345678901234567890""#,
                r#""12345678901234567890""#,
            ),
            (&["a\u{1b}[2J"], r#""a\u{1b}[2J""#, r#""a\u{1b}[2J""#),
        ] {
            let c = container(words, State::Running);
            assert_eq!(command(&c, false), short);
            assert_eq!(command(&c, true), full);
        }
    }

    #[test]
    fn states_in_dockers_words() {
        let at = Some("2020-01-01T00:00:00Z".to_owned());
        for (state, begin, end) in [
            (State::Created, "Created", ""),
            (State::Running, "Up ", "econd"),
            (
                State::Exited { code: Some(7), at },
                "Exited (7) ",
                " years ago",
            ),
            (
                State::Exited {
                    code: None,
                    at: None,
                },
                "Exited (unknown)",
                "",
            ),
        ] {
            let text = status(&container(&[], state));
            assert!(text.starts_with(begin) && text.ends_with(end), "{text}");
        }
    }
}
