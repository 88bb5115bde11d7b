//! `coracle ps`

use serde_json::json;

use super::table::Table;
use super::{Failure, Global, format, human, text};
use crate::ops;
use crate::ops::ps::{self, Container, State};

const NONE: &str = "<none>";
/// Characters of a command that docker shows.
const COMMAND_MAX: usize = 20;

/// List containers
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Show also those that have ended
    #[arg(short, long)]
    all: bool,
    /// Print with a Go-like template, "table TEMPLATE", or "json"
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show ids and commands in full
    #[arg(long)]
    no_trunc: bool,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = ops::open_store(global.root.as_deref())?;
    let list = ps::ps(&store, args.all)?;
    if args.quiet {
        text::stdout(|out| {
            list.iter()
                .try_for_each(|c| writeln!(out, "{}", id(c, args.no_trunc)))
        })?;
        return Ok(0);
    }
    if let Some(template) = format::wanted(args.format.as_deref()) {
        let records: Vec<_> = list.iter().map(|c| record(c, args.no_trunc)).collect();
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
            id(c, args.no_trunc).to_owned(),
            image(c),
            command(c, args.no_trunc),
            human::ago(c.created.as_deref()),
            status(c),
            c.name.clone().unwrap_or_default(),
        ]);
    }
    text::stdout(|out| out.write_all(table.render().as_bytes()))?;
    Ok(0)
}

/// Docker's field names. `Ports` is always empty: no port is published.
fn record(c: &Container, full: bool) -> serde_json::Value {
    let labels: Vec<String> = c.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
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
        "State": state(&c.state),
        "Status": status(c),
        "ExitCode": code,
        "Names": c.name.as_deref().unwrap_or_default(),
        "Labels": labels.join(","),
        "Networks": c.network,
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

fn state(state: &State) -> &'static str {
    match state {
        State::Created => "created",
        State::Running => "running",
        State::Exited { .. } => "exited",
    }
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
