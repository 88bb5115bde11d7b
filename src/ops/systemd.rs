//! `generate systemd`: a unit for the user's systemd that runs a container. systemd.service(5), systemd.syntax(7).
//!
//! The command line stays in the foreground and is the unit's main process: systemd sees the container's end and its
//! exit code without being told, and all processes of the container are in the unit's cgroup.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Error;
use super::run::CommandLine;
use crate::monitor::Restart;
use crate::store::Store;

/// What the unit shall say.
#[derive(Clone, Debug)]
pub struct Options {
    /// Call the container and the unit by name, not by id.
    pub by_name: bool,
    /// Before the name, and between both.
    pub prefix: String,
    /// See `prefix`.
    pub separator: String,
    /// Whether and when systemd starts it again.
    pub restart: String,
    /// Seconds between two starts.
    pub restart_sec: Option<u64>,
    /// Seconds from the stop signal to SIGKILL; `None`: the container's own.
    pub stop_timeout: Option<u32>,
    /// Seconds that a start may take.
    pub start_timeout: Option<u64>,
    /// More for `After=`, `Wants=` and `Requires=`.
    pub after: Vec<String>,
    /// See `after`.
    pub wants: Vec<String>,
    /// See `after`.
    pub requires: Vec<String>,
    /// `NAME=VALUE` for the command line.
    pub env: Vec<String>,
    /// Say at its begin where it comes from and what to do with it.
    pub header: bool,
}

/// A unit file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unit {
    /// With `.service`.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// Why there is no unit.
#[derive(Debug, thiserror::Error)]
pub enum SystemdError {
    /// A name that systemd would not take.
    #[error("{0:?} can be no name of a unit")]
    Name(String),
    /// The container was made by a version that did not record it.
    #[error("nobody recorded how container {0} was made, so that no new one can be made like it")]
    NoCommand(String),
    /// Where the program is.
    #[error("cannot find out where this program is: {0}")]
    Program(#[source] std::io::Error),
    /// A value with a line end in it.
    #[error("{0:?} cannot stand in a unit file")]
    Line(String),
}

impl SystemdError {
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::NoCommand(_) => {
                Some("without --new the unit starts this very container".to_owned())
            }
            Self::Name(_) | Self::Program(_) | Self::Line(_) => None,
        }
    }
}

/// What a unit needs to know of its container.
#[derive(Clone, Debug)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// The words that made it, and where they were typed.
    pub made: Option<CommandLine>,
    /// Its own timeout.
    stop_timeout: u32,
    stop_signal: Option<String>,
    /// It starts again by its own policy.
    restarts: bool,
}

/// The container called `name`.
pub fn container(store: &Store, name: &str) -> Result<Container, Error> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Options {
        keep: Keep,
        made: Option<CommandLine>,
        stop_signal: Option<String>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Keep {
        stop_timeout: Option<u32>,
        restart: Restart,
    }
    let entry = store.containers().find(name)?;
    let options: Options = store.containers().options(&entry)?.unwrap_or_default();
    Ok(Container {
        id: entry.id,
        name: entry.name,
        made: options.made,
        stop_timeout: options
            .keep
            .stop_timeout
            .unwrap_or(crate::monitor::STOP_TIMEOUT),
        stop_signal: options.stop_signal,
        restarts: options.keep.restart != Restart::No,
    })
}

/// What a unit runs.
#[derive(Clone, Debug)]
pub enum Job {
    /// This container.
    Start,
    /// A new one each time: `run` with these words.
    New(Vec<String>),
}

/// The unit for a container. `new`: see [`Job`].
pub fn unit(store: &Store, c: &Container, job: &Job, o: &Options) -> Result<Unit, Error> {
    let program = std::env::current_exe().map_err(SystemdError::Program)?;
    Ok(text(&program, store.root(), c, job, o)?)
}

/// Write it to a file in this directory; returns its path.
pub fn write(dir: &Path, unit: &Unit) -> Result<PathBuf, Error> {
    let path = dir.join(&unit.name);
    std::fs::write(&path, &unit.text).map_err(|e| Error::file("write", &path, e))?;
    Ok(path)
}

fn text(
    program: &Path,
    root: &Path,
    c: &Container,
    job: &Job,
    o: &Options,
) -> Result<Unit, SystemdError> {
    let called = match (&c.name, o.by_name) {
        (Some(name), true) => name,
        _ => &c.id,
    };
    let stem = format!("{}{}{called}", o.prefix, o.separator);
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b":_.-@".contains(&b);
    if stem.is_empty() || stem.len() > 240 || !stem.bytes().all(allowed) {
        return Err(SystemdError::Name(stem));
    }
    let name = format!("{stem}.service");
    let program = program.to_string_lossy();
    let root = root.to_string_lossy();
    let line = |words: &[&str]| {
        let ours = [&*program, "--root", &*root];
        let words = ours.iter().chain(words).map(|word| quoted(word));
        words.collect::<Vec<_>>().join(" ")
    };
    let timeout = o.stop_timeout.unwrap_or(c.stop_timeout);
    let mut out = String::new();
    let mut say = |line: String| {
        out.push_str(&line);
        out.push('\n');
    };
    if o.header {
        say(format!(
            "# {name}, by coracle {}",
            env!("CARGO_PKG_VERSION")
        ));
        say("# Put it into ~/.config/systemd/user, then".to_owned());
        say(format!(
            "#   systemctl --user daemon-reload && systemctl --user enable --now {name}"
        ));
        say("# and to have it run without a login: loginctl enable-linger".to_owned());
        if c.restarts {
            say(
                "# The container also starts again by itself (--restart): one of both is enough."
                    .to_owned(),
            );
        }
        say(String::new());
    }
    say("[Unit]".to_owned());
    say(format!("Description=Coracle container {called}"));
    say("Documentation=man:coracle-generate-systemd(1)".to_owned());
    for (key, first, more) in [
        ("Wants", Some("network-online.target"), &o.wants),
        ("After", Some("network-online.target"), &o.after),
        ("Requires", None, &o.requires),
    ] {
        let units: Vec<&str> = first
            .into_iter()
            .chain(more.iter().map(String::as_str))
            .collect();
        if !units.is_empty() {
            say(format!("{key}={}", plain(&units.join(" "))?));
        }
    }
    say(format!(
        "RequiresMountsFor={}",
        quoted(&root).replace("$$", "$")
    ));
    say("\n[Service]".to_owned());
    // Since version 240: started when the program is there, so that a wrong path is an error of the start.
    say("Type=exec".to_owned());
    for pair in &o.env {
        say(format!("Environment={}", quoted(pair).replace("$$", "$")));
    }
    say(format!("Restart={}", o.restart));
    say(o
        .restart_sec
        .map_or_else(String::new, |s| format!("RestartSec={s}")));
    say(o
        .start_timeout
        .map_or_else(String::new, |s| format!("TimeoutStartSec={s}")));
    // Longer than what it waits for.
    say(format!("TimeoutStopSec={}", u64::from(timeout) + 10));
    match job {
        Job::Start => {
            say(format!(
                "ExecStart={}",
                line(&["start", "--attach", called])
            ));
            let timeout = timeout.to_string();
            say(format!(
                "ExecStop={}",
                line(&["stop", "--time", &timeout, called])
            ));
        }
        Job::New(words) => {
            if let Some(made) = &c.made {
                // What stands in the words may be relative to it.
                say(format!("WorkingDirectory={}", path(&made.dir)?));
            }
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            say(format!("ExecStart={}", line(&words)));
            // It is handed on to the program.
            let signal = c.stop_signal.as_deref().unwrap_or("SIGTERM");
            say(format!("KillSignal={}", plain(signal)?));
        }
    }
    // Only the command line is asked to end, and ends when the container has; what is left then is killed.
    say("KillMode=mixed".to_owned());
    say("SuccessExitStatus=143".to_owned());
    say("\n[Install]\nWantedBy=default.target".to_owned());
    // What was not wanted has left an empty line.
    let lines = out.split('\n').collect::<Vec<_>>();
    let kept = lines.iter().enumerate().filter(|(at, l)| {
        !l.is_empty() || lines.get(at + 1).is_none_or(|next| next.starts_with('['))
    });
    let text = kept.map(|(_, l)| *l).collect::<Vec<_>>().join("\n");
    Ok(Unit { name, text })
}

/// A word of a command line: `%` and `$` mean something in and out of quotes.
fn quoted(word: &str) -> String {
    let simple = |c: char| c.is_ascii_alphanumeric() || "_@+=:,./-".contains(c);
    if !word.is_empty() && word.chars().all(simple) {
        return word.to_owned();
    }
    let mut out = String::from("\"");
    for c in word.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '%' | '$' => out.extend([c, c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    out.push_str(&format!("\\x{byte:02x}"));
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A value that is taken as it stands, but for its specifiers.
fn plain(value: &str) -> Result<String, SystemdError> {
    match value.contains(char::is_control) {
        true => Err(SystemdError::Line(value.to_owned())),
        false => Ok(value.replace('%', "%%")),
    }
}

/// Such a value that is a path.
fn path(path: &Path) -> Result<String, SystemdError> {
    plain(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> Container {
        Container {
            id: "0123456789abcdef".to_owned(),
            name: Some("web".to_owned()),
            made: Some(CommandLine {
                words: Vec::new(),
                dir: "/home/a b/100%".into(),
            }),
            stop_timeout: 10,
            stop_signal: None,
            restarts: false,
        }
    }

    fn options() -> Options {
        Options {
            by_name: true,
            prefix: "container".to_owned(),
            separator: "-".to_owned(),
            restart: "on-failure".to_owned(),
            restart_sec: None,
            stop_timeout: None,
            start_timeout: None,
            after: Vec::new(),
            wants: Vec::new(),
            requires: Vec::new(),
            env: Vec::new(),
            header: false,
        }
    }

    fn unit(job: &Job, o: &Options) -> Unit {
        text(
            "/opt/my tools/coracle".as_ref(),
            "/data".as_ref(),
            &made(),
            job,
            o,
        )
        .unwrap()
    }

    #[test]
    fn one_that_starts_a_container() {
        let unit = unit(&Job::Start, &options());
        assert_eq!(unit.name, "container-web.service");
        assert_eq!(
            unit.text,
            "[Unit]\n\
             Description=Coracle container web\n\
             Documentation=man:coracle-generate-systemd(1)\n\
             Wants=network-online.target\n\
             After=network-online.target\n\
             RequiresMountsFor=/data\n\
             \n\
             [Service]\n\
             Type=exec\n\
             Restart=on-failure\n\
             TimeoutStopSec=20\n\
             ExecStart=\"/opt/my tools/coracle\" --root /data start --attach web\n\
             ExecStop=\"/opt/my tools/coracle\" --root /data stop --time 10 web\n\
             KillMode=mixed\n\
             SuccessExitStatus=143\n\
             \n\
             [Install]\n\
             WantedBy=default.target\n"
        );
    }

    #[test]
    fn one_that_makes_a_new_container() {
        let words = ["run", "--rm", "-e", "A=$HOME 100%\n\"x\"", "img", "sh", ""];
        let job = Job::New(words.map(str::to_owned).to_vec());
        let o = Options {
            restart_sec: Some(3),
            env: vec!["B=$x".to_owned()],
            requires: vec!["db.service".to_owned()],
            header: true,
            ..options()
        };
        let text = unit(&job, &o).text;
        let line = "--root /data run --rm -e \"A=$$HOME 100%%\\n\\\"x\\\"\" img sh \"\"\n";
        for part in [
            line,
            "WorkingDirectory=/home/a b/100%%\n",
            "RestartSec=3\n",
            "Environment=\"B=$x\"\n",
            "Requires=db.service\n",
            "KillSignal=SIGTERM\n",
            "\n\n[Service]\n",
            "enable --now container-web.service\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        assert!(!text.contains("ExecStop"));
        assert_eq!(text.lines().filter(|l| l.is_empty()).count(), 3, "{text}");
    }

    #[test]
    fn words_stay_what_they_are() {
        for (word, want) in [
            ("plain-1.2/x:y", "plain-1.2/x:y"),
            ("", "\"\""),
            ("a b", "\"a b\""),
            ("100%", "\"100%%\""),
            ("$HOME", "\"$$HOME\""),
            (";", "\";\""),
            ("it's", "\"it's\""),
            ("a\\b", "\"a\\\\b\""),
            ("\u{1b}[", "\"\\x1b[\""),
            ("\u{85}", "\"\\xc2\\x85\""),
            ("é", "\"é\""),
        ] {
            assert_eq!(quoted(word), want);
        }
    }

    #[test]
    fn what_would_break_the_file_is_refused() {
        let with = |change: &dyn Fn(&mut Options)| {
            let mut o = options();
            change(&mut o);
            text("/c".as_ref(), "/d".as_ref(), &made(), &Job::Start, &o)
        };
        assert!(with(&|o| o.separator = "/".to_owned()).is_err());
        assert!(with(&|o| o.prefix = "a b".to_owned()).is_err());
        assert!(with(&|o| o.after = vec!["x\n[Service]".to_owned()]).is_err());
        assert_eq!(
            with(&|o| o.by_name = false).unwrap().name,
            "container-0123456789abcdef.service"
        );
    }
}
