//! `coracle logs CONTAINER...`

use std::collections::HashMap;
use std::io;

use jiff::Timestamp;

use super::{Failure, Global, filters, text};
use crate::ops::logs::{self, Options, Record, Sink, Source, Stream};

/// Show what containers wrote
///
/// Standard output goes to standard output and standard error to standard error, byte for byte. Of several
/// containers the lines are put in the order of time, each behind the container's id.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Go on until the container has ended
    #[arg(short, long)]
    follow: bool,
    /// Show when each line was written, in UTC
    #[arg(short, long)]
    timestamps: bool,
    /// Nothing older than TIME: a span before now (10m), RFC 3339, a date, or seconds since 1970
    #[arg(long, value_name = "TIME", value_parser = filters::moment)]
    since: Option<Timestamp>,
    /// Nothing younger than TIME
    #[arg(long, value_name = "TIME", value_parser = filters::moment)]
    until: Option<Timestamp>,
    /// The last N lines of each container only, or all [default: all]
    #[arg(short = 'n', long, value_name = "N", value_parser = tail, allow_negative_numbers = true)]
    tail: Option<Tail>,
    /// The youngest container
    #[arg(short, long)]
    latest: bool,
    /// Put the container's name before each line
    #[arg(long)]
    names: bool,
    /// A colour for each of several containers
    #[arg(long)]
    color: bool,
    /// Name or id of the container
    #[arg(
        required_unless_present = "latest",
        conflicts_with = "latest",
        value_name = "CONTAINER"
    )]
    containers: Vec<String>,
}

/// `None`: all lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tail(Option<u64>);

/// Docker and podman take any negative number for all.
fn tail(s: &str) -> Result<Tail, String> {
    if s == "all"
        || s.strip_prefix('-')
            .is_some_and(|n| n.parse::<u64>().is_ok())
    {
        return Ok(Tail(None));
    }
    let lines = s
        .parse()
        .map_err(|_| format!("{s:?}: want a number of lines, or all"))?;
    Ok(Tail(Some(lines)))
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    let sources = logs::sources(&store, &args.containers, args.latest)?;
    let options = Options {
        follow: args.follow,
        tail: args.tail.and_then(|t| t.0),
        since: args.since,
        until: args.until,
    };
    let mut screen = Screen::new(args, &sources);
    logs::logs(&store, &sources, &options, &mut screen)?;
    match screen.failed {
        Some(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(0),
    }
}

/// Written at once up to this size.
const BUFFER: usize = 64 << 10;
/// Longest line that is kept together beside those of other containers.
const LINE_MAX: usize = 1 << 20;
/// As podman's: red, green, yellow, blue, magenta, cyan.
const COLORS: std::ops::RangeInclusive<usize> = 31..=36;

/// Two outputs, on one terminal as a rule: what goes to one is written before anything goes to the other.
struct Screen {
    /// What stands before the lines of each container.
    prefixes: Vec<String>,
    timestamps: bool,
    color: bool,
    several: bool,
    /// For `stream`, not written yet.
    buffer: Vec<u8>,
    stream: Stream,
    /// The next record of the stream goes on with a line.
    open: [bool; 2],
    /// Lines without their end: another container's must not get into them.
    pieces: HashMap<(usize, bool), Vec<u8>>,
    failed: Option<io::Error>,
}

impl Screen {
    fn new(args: &Args, sources: &[Source]) -> Self {
        let several = sources.len() > 1;
        let prefix = |source: &Source| match (&source.name, args.names) {
            (Some(name), true) => format!("{name} "),
            (None, true) => format!("{} ", short(&source.id)),
            _ if several => format!("{} ", short(&source.id)),
            _ => String::new(),
        };
        Self {
            prefixes: sources.iter().map(prefix).collect(),
            timestamps: args.timestamps,
            color: args.color && several,
            several,
            buffer: Vec::with_capacity(BUFFER),
            stream: Stream::Stdout,
            open: [false; 2],
            pieces: HashMap::new(),
            failed: None,
        }
    }

    /// A line of one among several, in one piece.
    fn line(&mut self, container: usize, stream: Stream, line: &[u8]) {
        self.turn_to(stream);
        if self.color {
            let color = COLORS.start() + container % COLORS.count();
            self.buffer
                .extend_from_slice(format!("\x1b[{color}m").as_bytes());
        }
        self.buffer.extend_from_slice(line);
        if self.color {
            self.buffer.extend_from_slice(b"\x1b[0m");
        }
        self.buffer.push(b'\n');
    }

    fn turn_to(&mut self, stream: Stream) {
        if stream != self.stream || self.buffer.len() >= BUFFER {
            self.flush();
        }
        self.stream = stream;
    }

    fn flush(&mut self) {
        let result = match self.stream {
            Stream::Stdout => text::raw(&mut io::stdout().lock(), &self.buffer),
            Stream::Stderr => text::raw(&mut io::stderr().lock(), &self.buffer),
        };
        self.buffer.clear();
        if let Err(e) = result {
            self.failed.get_or_insert(e);
        }
    }
}

impl Sink for Screen {
    fn record(&mut self, container: usize, record: &Record<'_>) -> bool {
        let prefix = self.prefixes.get(container).map_or("", String::as_str);
        let begin = |out: &mut Vec<u8>| {
            out.extend_from_slice(prefix.as_bytes());
            if self.timestamps {
                out.extend_from_slice(record.time);
                out.push(b' ');
            }
        };
        if self.several {
            let key = (container, record.stream == Stream::Stderr);
            let mut line = self.pieces.remove(&key).unwrap_or_default();
            if line.is_empty() {
                begin(&mut line);
            }
            line.extend_from_slice(record.data);
            if record.whole || line.len() > LINE_MAX {
                self.line(container, record.stream, &line);
            } else {
                self.pieces.insert(key, line);
            }
            return self.failed.is_none();
        }
        if !self.open[record.stream as usize] {
            let mut head = Vec::new();
            begin(&mut head);
            self.turn_to(record.stream);
            self.buffer.extend_from_slice(&head);
        } else {
            self.turn_to(record.stream);
        }
        self.buffer.extend_from_slice(record.data);
        if record.whole {
            self.buffer.push(b'\n');
        }
        self.open[record.stream as usize] = !record.whole;
        self.failed.is_none()
    }

    fn pause(&mut self) -> bool {
        self.flush();
        // `logs -f … | grep -m1 ready` shall not wait for the next line.
        self.failed.is_none() && !text::is_reader_gone()
    }

    fn ended(&mut self, container: usize) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let key = (container, stream == Stream::Stderr);
            if let Some(line) = self.pieces.remove(&key) {
                self.line(container, stream, &line);
            }
        }
    }
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lines_have_many_words() {
        for (text, want) in [
            ("all", Some(Tail(None))),
            ("-1", Some(Tail(None))),
            ("0", Some(Tail(Some(0)))),
            ("12", Some(Tail(Some(12)))),
            ("", None),
            ("-", None),
            ("-x", None),
            ("1.5", None),
            ("web", None),
        ] {
            assert_eq!(tail(text).ok(), want, "{text}");
        }
    }
}
