//! `coracle ps`

mod filter;
mod record;

use std::time::Duration;

pub(super) use filter::filter;

use super::listing::Listing;
use super::table::Table;
use super::{Failure, Global, format, human, inspect, text};
use crate::ops::namespaces::{self, Namespaces};
use crate::ops::ps::{self, Container, Filter, State, Wanted};
use crate::ops::state::HealthStatus;
use crate::ops::{Store, usage};

const NONE: &str = "<none>";
/// Characters of a command that docker and podman show.
const COMMAND_MAX: usize = 20;

/// List containers
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Show also those that have ended
    #[arg(short, long)]
    all: bool,
    /// Show also what other programs have in the store (accepted for podman's sake: nobody has)
    #[arg(long)]
    external: bool,
    /// Only containers of which this is true: id=START, name=PART (^ and $ as anchors), label=KEY[=VALUE], label!=KEY[=VALUE], status=created|running|paused|restarting|exited, ancestor=IMAGE, exited=CODE, before=CONTAINER, since=CONTAINER, until=TIME, network=host|none, volume=NAME|PATH
    #[arg(short, long = "filter", value_name = "KEY=VALUE", value_parser = filter)]
    filters: Vec<Filter>,
    /// Show the N youngest only, also those that have ended
    #[arg(short = 'n', long, value_name = "N", allow_negative_numbers = true)]
    last: Option<i64>,
    /// Show the youngest only, also if it has ended
    #[arg(short, long, conflicts_with = "last")]
    latest: bool,
    /// Show the namespaces of each
    #[arg(long, conflicts_with = "size")]
    ns: bool,
    /// Print no headings
    #[arg(long)]
    noheading: bool,
    /// Show the pod of each container (accepted for podman's sake: there are none)
    #[arg(short, long)]
    pod: bool,
    /// Show the bytes that each has written, and with those of its image
    #[arg(short, long)]
    size: bool,
    /// Order by: command, created, id, image, names, runningfor, size or status [default: the youngest first]
    #[arg(long, value_name = "KEY")]
    sort: Option<Key>,
    /// Look at each container anew (accepted for podman's sake: that is always done)
    #[arg(long)]
    sync: bool,
    /// Show it again every N seconds, until interrupted
    #[arg(short, long, value_name = "N")]
    watch: Option<u64>,
    #[command(flatten)]
    listing: Listing,
}

/// What to order by. As podman: what is smallest comes first.
#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
enum Key {
    Command,
    Created,
    Id,
    Image,
    Names,
    Runningfor,
    Size,
    Status,
}

/// A container, and the bytes that it and its image have, if they are wanted.
type Row = (Container, Option<(u64, u64)>);

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    let Some(seconds) = args.watch else {
        return show(&store, args);
    };
    loop {
        // As podman: over what was shown before.
        text::stdout(|out| out.write_all(b"\x1b[2J\x1b[H"))?;
        show(&store, args)?;
        std::thread::sleep(Duration::from_secs(seconds.max(1)));
    }
}

fn show(store: &Store, args: &Args) -> Result<u8, Failure> {
    let rows = rows(store, args)?;
    let full = args.listing.no_trunc;
    if args.listing.quiet {
        text::stdout(|out| {
            rows.iter()
                .try_for_each(|(c, _)| writeln!(out, "{}", id(c, full)))
        })?;
        return Ok(0);
    }
    if let Some(template) = args.listing.template() {
        if format::is_json(template) {
            let record = |(c, s): &Row| record::podman(c, *s, &namespaces(store, args, c));
            return inspect::print_pretty(&rows.iter().map(record).collect());
        }
        let record = |(c, s): &Row| {
            let size = s.map(size);
            record::template(c, full, size.as_deref(), &namespaces(store, args, c))
        };
        let records: Vec<_> = rows.iter().map(record).collect();
        let style = format::Style {
            headings: &record::HEADINGS,
            bare: args.noheading,
        };
        format::styled(template, &records, &style)?;
        return Ok(0);
    }
    if args.ns {
        return show_namespaces(store, args, &rows);
    }
    let mut headings = vec![
        "CONTAINER ID",
        "IMAGE",
        "COMMAND",
        "CREATED",
        "STATUS",
        "PORTS",
        "NAMES",
    ];
    for (wanted, names) in [
        (args.pod, &["POD ID", "PODNAME"][..]),
        (args.size, &["SIZE"]),
    ] {
        headings.extend(names.iter().filter(|_| wanted));
    }
    let mut table = Table::new(if args.noheading { &[] } else { &headings });
    for (c, sizes) in &rows {
        let mut row = vec![
            id(c, full).to_owned(),
            image(c),
            command(c, full),
            human::ago(c.created.as_deref()),
            status(c),
            String::new(),
            c.name.clone().unwrap_or_default(),
        ];
        if args.pod {
            row.extend([String::new(), String::new()]);
        }
        row.extend(sizes.map(size));
        table.row(row);
    }
    text::stdout(|out| out.write_all(table.render().as_bytes()))?;
    Ok(0)
}

/// Those of one that runs, if they are wanted.
fn namespaces(store: &Store, args: &Args, c: &Container) -> Namespaces {
    let runs = matches!(c.state, State::Running | State::Paused);
    match args.ns && runs && !c.elsewhere {
        true => namespaces::of(store, &c.id),
        false => Namespaces::default(),
    }
}

/// As podman shows them.
fn show_namespaces(store: &Store, args: &Args, rows: &[Row]) -> Result<u8, Failure> {
    let headings = [
        "CONTAINER ID",
        "NAMES",
        "PID",
        "CGROUPNS",
        "IPC",
        "MNT",
        "NET",
        "PIDNS",
        "USERNS",
        "UTS",
    ];
    let mut table = Table::new(if args.noheading { &[] } else { &headings });
    for (c, _) in rows {
        let n = namespaces(store, args, c);
        let pid = c.record.pid.unwrap_or_default().to_string();
        let id = id(c, args.listing.no_trunc).to_owned();
        let name = c.name.clone().unwrap_or_default();
        table.row(vec![
            id, name, pid, n.cgroup, n.ipc, n.mnt, n.net, n.pid, n.user, n.uts,
        ]);
    }
    text::stdout(|out| out.write_all(table.render().as_bytes()))?;
    Ok(0)
}

/// The containers that are wanted, in the order that is wanted.
fn rows(store: &Store, args: &Args) -> Result<Vec<Row>, Failure> {
    let last = args.last.and_then(|n| usize::try_from(n).ok());
    let wanted = Wanted {
        all: args.all,
        filters: args.filters.clone(),
        last: if args.latest { Some(1) } else { last },
    };
    let list = ps::ps(store, &wanted)?;
    let sizes = match args.size || args.sort == Some(Key::Size) {
        true => usage::sizes(store, &list).into_iter().map(Some).collect(),
        false => vec![None; list.len()],
    };
    let whole = |c: &Container| c.image.as_ref().map_or(0, |i| i.size());
    let mut rows: Vec<Row> = list
        .into_iter()
        .zip(sizes)
        .map(|(c, own)| {
            let sizes = own.map(|own| (own, own + whole(&c)));
            (c, sizes)
        })
        .collect();
    let made = |c: &Container| c.created.as_ref()?.parse::<jiff::Timestamp>().ok();
    match args.sort {
        None => {}
        Some(Key::Command) => rows.sort_by_cached_key(|(c, _)| c.command.join(" ")),
        Some(Key::Created) => rows.sort_by_key(|(c, _)| made(c)),
        Some(Key::Id) => rows.sort_by_cached_key(|(c, _)| c.id.clone()),
        Some(Key::Image) => rows.sort_by_cached_key(|(c, _)| image(c)),
        Some(Key::Names) => rows.sort_by_cached_key(|(c, _)| c.name.clone()),
        Some(Key::Runningfor) => rows.sort_by_key(|(c, _)| std::cmp::Reverse(made(c))),
        Some(Key::Size) => rows.sort_by_key(|(_, sizes)| *sizes),
        Some(Key::Status) => rows.sort_by_cached_key(|(c, _)| status(c)),
    }
    if !args.size {
        rows.iter_mut().for_each(|(_, sizes)| *sizes = None);
    }
    Ok(rows)
}

/// `12B (virtual 1.98MB)`
fn size((own, all): (u64, u64)) -> String {
    format!("{} (virtual {})", human::size(own), human::size(all))
}

fn ended(c: &Container) -> bool {
    matches!(c.state, State::Exited { .. })
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
    let text = match &c.state {
        State::Created => "Created".to_owned(),
        State::Running | State::Paused => {
            let since = c.record.started_at.as_deref().or(c.created.as_deref());
            let mut text = match human::since(since) {
                Some(span) => format!("Up {span}"),
                None => "Up".to_owned(),
            };
            if c.state == State::Paused {
                text.push_str(" (Paused)");
            }
            if let Some(health) = &c.record.health {
                text.push_str(match health.status {
                    HealthStatus::Starting => " (health: starting)",
                    HealthStatus::Healthy => " (healthy)",
                    HealthStatus::Unhealthy => " (unhealthy)",
                });
            }
            text
        }
        State::Restarting { code, at } => {
            format!("Restarting ({code}) {}", human::ago(at.as_deref()))
        }
        State::Exited {
            code: Some(code),
            at,
        } => format!("Exited ({code}) {}", human::ago(at.as_deref())),
        // Whoever could have told was killed.
        State::Exited { code: None, .. } => "Exited (unknown)".to_owned(),
    };
    match c.elsewhere {
        true => format!("{text} on {}", c.record.host),
        false => text,
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
            record: Default::default(),
            elsewhere: false,
            labels: BTreeMap::new(),
            network: "host",
            mounts: Vec::new(),
            auto_remove: false,
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
