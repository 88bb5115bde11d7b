//! `coracle generate systemd CONTAINER`

use std::path::Path;

use clap::Command;

use crate::cli::{Failure, Global, text};
use crate::ops::systemd::{self, Job, Options, SystemdError};

/// What systemd understands as Restart=.
const RESTARTS: [&str; 7] = [
    "no",
    "on-success",
    "on-failure",
    "on-abnormal",
    "on-watchdog",
    "on-abort",
    "always",
];

/// Options of `run` that are systemd's affair in a unit, or would hide the container from it.
const DROPPED: [&str; 6] = ["detach", "rm", "restart", "cidfile", "pidfile", "replace"];

/// Make a unit for the user's systemd that runs a container
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Call the container and the unit by name, not by id
    #[arg(short, long)]
    name: bool,
    /// Make a new container each time, in place of starting this one
    #[arg(long)]
    new: bool,
    /// Write a file to the working directory, and print its path
    #[arg(short, long)]
    files: bool,
    /// When systemd starts it again: no, on-success, on-failure, on-abnormal, on-watchdog, on-abort or always
    #[arg(long, value_name = "POLICY", default_value = "on-failure", value_parser = restart)]
    restart_policy: String,
    /// Seconds between two starts
    #[arg(long, value_name = "SECONDS")]
    restart_sec: Option<u64>,
    /// Seconds from the stop signal to SIGKILL [default: the container's, 10]
    #[arg(
        short = 't',
        long = "stop-timeout",
        visible_alias = "time",
        value_name = "SECONDS"
    )]
    stop_timeout: Option<u32>,
    /// Seconds that a start may take
    #[arg(long, value_name = "SECONDS")]
    start_timeout: Option<u64>,
    /// The unit is called PREFIX-NAME
    #[arg(long, value_name = "PREFIX", default_value = "container")]
    container_prefix: String,
    /// Between the two
    #[arg(long, value_name = "TEXT", default_value = "-")]
    separator: String,
    /// Start it after these units
    #[arg(long, value_name = "UNIT")]
    after: Vec<String>,
    /// Start these units with it
    #[arg(long, value_name = "UNIT")]
    wants: Vec<String>,
    /// Start these units with it, and fail without them
    #[arg(long, value_name = "UNIT")]
    requires: Vec<String>,
    /// Set a variable for the command line: NAME=VALUE
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Do not say where the unit comes from
    #[arg(long)]
    no_header: bool,
    /// json: an object, the unit's name and what it says
    #[arg(long, value_name = "FORMAT", value_parser = ["json"], conflicts_with = "files")]
    format: Option<String>,
    /// Name or id of the container
    container: String,
}

fn restart(s: &str) -> Result<String, String> {
    match RESTARTS.contains(&s) {
        true => Ok(s.to_owned()),
        false => Err(format!("want one of {}", RESTARTS.join(", "))),
    }
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    let container = systemd::container(&store, &args.container)?;
    let job = match &container.made {
        _ if !args.new => Job::Start,
        Some(made) => Job::New(run_words(&made.words, container.name.as_deref())),
        None => {
            return Err(
                crate::ops::Error::from(SystemdError::NoCommand(args.container.clone())).into(),
            );
        }
    };
    let options = Options {
        by_name: args.name,
        prefix: args.container_prefix.clone(),
        separator: args.separator.clone(),
        restart: args.restart_policy.clone(),
        restart_sec: args.restart_sec,
        stop_timeout: args.stop_timeout,
        start_timeout: args.start_timeout,
        after: args.after.clone(),
        wants: args.wants.clone(),
        requires: args.requires.clone(),
        env: args.env.clone(),
        header: !args.no_header,
    };
    let unit = systemd::unit(&store, &container, &job, &options)?;
    if args.files {
        let path = std::path::absolute(systemd::write(Path::new("."), &unit)?)?;
        text::line(&path.display().to_string())?;
    } else if args.format.is_some() {
        let object = serde_json::json!({ unit.name: unit.text });
        text::line(&text::json_printable(&format!("{object:#}")))?;
    } else {
        text::stdout(|out| out.write_all(unit.text.as_bytes()))?;
    }
    Ok(0)
}

/// The words that made a container, as those that make another in the foreground: `run`, without what is systemd's
/// affair, and gone when it ends, so that its name is free for the next.
fn run_words(words: &[String], name: Option<&str>) -> Vec<String> {
    let app = crate::cli::command();
    let mut rest = words.iter().skip(1);
    // Options before the verb say which store, and that is said anyway.
    let verb = rest
        .by_ref()
        .find(|w| ["run", "create"].contains(&w.as_str()));
    let run = verb.and_then(|verb| app.find_subcommand(verb));
    let mut out = vec!["run".to_owned(), "--rm".to_owned()];
    let mut named = false;
    while let Some(word) = rest.next() {
        let option = run.and_then(|run| Word::of(run, word));
        let Some(option) = option else {
            // The image, and all that follows is the program's.
            if let (Some(name), false) = (name, named) {
                out.extend(["--name".to_owned(), name.to_owned()]);
            }
            out.push(word.clone());
            break;
        };
        let value = option.takes_next.then(|| rest.next()).flatten();
        named |= option.long == Some("name");
        if option.long.is_some_and(|long| DROPPED.contains(&long)) {
            continue;
        }
        if let Some(word) = option.kept {
            out.push(word);
            out.extend(value.cloned());
        }
    }
    out.extend(rest.cloned());
    out
}

/// A word that is an option, or several in one letter each.
struct Word<'a> {
    /// The option's long name, if it is one.
    long: Option<&'a str>,
    /// The word, without those that are dropped.
    kept: Option<String>,
    /// The next word is its value.
    takes_next: bool,
}

impl<'a> Word<'a> {
    /// `None` for what is no option.
    fn of(run: &'a Command, word: &str) -> Option<Self> {
        if let Some(name) = word.strip_prefix("--").filter(|n| !n.is_empty()) {
            let (name, value) = name
                .split_once('=')
                .map_or((name, None), |(n, v)| (n, Some(v)));
            let is = |a: &&clap::Arg| {
                let mut names = a
                    .get_all_aliases()
                    .into_iter()
                    .flatten()
                    .chain(a.get_long());
                names.any(|n| n == name)
            };
            let arg = run.get_arguments().find(is);
            let takes =
                arg.is_some_and(|a| a.get_action().takes_values() && !a.is_require_equals_set());
            return Some(Self {
                long: arg.and_then(clap::Arg::get_long),
                kept: Some(word.to_owned()),
                takes_next: takes && value.is_none(),
            });
        }
        let letters = word
            .strip_prefix('-')
            .filter(|l| !l.is_empty() && *l != "-")?;
        let mut kept = String::from("-");
        let mut takes_next = false;
        for (at, letter) in letters.char_indices() {
            let arg = run.get_arguments().find(|a| a.get_short() == Some(letter));
            if arg.is_some_and(|a| a.get_action().takes_values()) {
                kept.push_str(&letters[at..]);
                takes_next = letters[at..].len() == letter.len_utf8();
                break;
            }
            if letter != 'd' {
                kept.push(letter);
            }
        }
        Some(Self {
            long: None,
            kept: (kept.len() > 1).then_some(kept),
            takes_next,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(line: &str, name: Option<&str>) -> String {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        run_words(&words, name).join(" ")
    }

    #[test]
    fn words_of_run_without_what_is_systemds() {
        for (line, want) in [
            ("coracle run -d img", "run --rm --name web img"),
            (
                "coracle run -dit --name web img sh -d",
                "run --rm -it --name web img sh -d",
            ),
            (
                "/x/coracle --root /r create -e A=-d --rm img --rm",
                "run --rm -e A=-d --name web img --rm",
            ),
            (
                "coracle run --restart always --cidfile=/x -ditv a:b --name=web img",
                "run --rm -itv a:b --name=web img",
            ),
            (
                "coracle run -eA -d --restart=no --network none img",
                "run --rm -eA --network none --name web img",
            ),
            (
                "coracle container run -d --net none img",
                "run --rm --net none --name web img",
            ),
        ] {
            assert_eq!(new(line, Some("web")), want, "{line}");
        }
        assert_eq!(new("coracle run -d img", None), "run --rm img");
    }
}
