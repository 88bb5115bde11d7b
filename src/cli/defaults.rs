//! Options of `run` and `create` that a containers.conf stands for: they are put before the user's, as if the user
//! had written them, where the user has not said otherwise.

use std::ffi::OsString;

use clap::ArgMatches;
use clap::parser::ValueSource;

use super::{Failure, verb_at};
use crate::ops::defaults::{self, ContainersConf};

/// The command line with the defaults in it; `None` if there are none. `command` and `matches` are those of the whole
/// line as the user wrote it, `off` are flags that were switched off there.
pub(super) fn apply(
    args: &[OsString],
    off: &[String],
    command: &clap::Command,
    matches: &ArgMatches,
) -> Result<Option<Vec<OsString>>, Failure> {
    let Some((at, command, matches)) = starting(args, command, matches) else {
        return Ok(None);
    };
    let Some(conf) = defaults::load()? else {
        return Ok(None);
    };
    let user = User {
        command,
        matches,
        off,
    };
    let mut line = args.to_vec();
    line.splice(at..at, user.words(&conf).into_iter().map(OsString::from));
    Ok(Some(line))
}

/// Where the options of a verb that starts a container begin.
fn starting<'a>(
    args: &[OsString],
    command: &'a clap::Command,
    matches: &'a ArgMatches,
) -> Option<(usize, &'a clap::Command, &'a ArgMatches)> {
    let mut at = verb_at(args)?;
    let (mut name, mut matches) = matches.subcommand()?;
    let mut command = command.find_subcommand(name)?;
    if name == "container" {
        at += 1;
        (name, matches) = matches.subcommand()?;
        command = command.find_subcommand(name)?;
        if args.get(at)?.to_str() != Some(name) {
            return None;
        }
    }
    ["create", "run"]
        .contains(&name)
        .then_some((at + 1, command, matches))
}

struct User<'a> {
    command: &'a clap::Command,
    matches: &'a ArgMatches,
    off: &'a [String],
}

impl User<'_> {
    fn has(&self, option: &str) -> bool {
        self.command
            .get_arguments()
            .any(|a| a.get_long() == Some(option))
    }

    /// The values that were given for an option, as they were written.
    fn given(&self, option: &str) -> Vec<String> {
        let id = option.replace('-', "_");
        let known = self
            .command
            .get_arguments()
            .any(|a| a.get_id() == id.as_str());
        if !known || self.matches.value_source(&id) != Some(ValueSource::CommandLine) {
            return Vec::new();
        }
        let raw = self.matches.get_raw(&id).into_iter().flatten();
        raw.map(|v| v.to_string_lossy().into_owned()).collect()
    }

    fn words(&self, conf: &ContainersConf) -> Vec<String> {
        let mut words = Vec::new();
        let privileged = !self.given("privileged").is_empty();
        for flag in &conf.flags {
            let off = self.off.iter().any(|o| o == flag);
            if !off && self.given(flag).is_empty() {
                words.push(format!("--{flag}"));
            }
        }
        let effective = |option: &str, usual: &str| {
            let own = self.given(option).pop();
            let value = conf.values.iter().find(|(name, _)| *name == option);
            own.or_else(|| value.map(|(_, v)| v.clone()))
                .unwrap_or_else(|| usual.to_owned())
        };
        let (network, ipc) = (effective("network", "host"), effective("ipc", "private"));
        for (name, value) in &conf.values {
            let own = self.given(name);
            let said = match *name {
                "security-opt" => privileged || own.iter().any(|o| o.starts_with("seccomp=")),
                "shm-size" => ipc == "host" || !own.is_empty(),
                "userns" => ["user", "identity", "userns", "group-add"]
                    .iter()
                    .any(|o| !self.given(o).is_empty()),
                _ => !own.is_empty(),
            };
            if !said && self.has(name) {
                words.push(format!("--{name}={value}"));
            }
        }
        for (name, value) in &conf.lists {
            let own = self.given(name);
            let key = |s: &str| s.split_once('=').map_or(s, |(k, _)| k).to_owned();
            let said = match *name {
                // As podman: those of a namespace that is not the container's own are left out.
                "sysctl" if value.starts_with("net.") => network != "none",
                "sysctl" if value.starts_with("fs.mqueue.") => ipc == "host",
                "dns" => !own.is_empty(),
                "annotation" | "sysctl" | "ulimit" => own.iter().any(|o| key(o) == key(value)),
                _ => false,
            };
            if !said {
                words.push(format!("--{name}={value}"));
            }
        }
        if let Some(capabilities) = conf.capabilities.as_ref().filter(|_| !privileged) {
            words.extend(self.capabilities(capabilities));
        }
        words
    }

    /// These in place of the usual ones, unless the user drops them.
    fn capabilities(&self, wanted: &[String]) -> Vec<String> {
        let bare = |name: &str| {
            let name = name.to_ascii_uppercase();
            name.strip_prefix("CAP_").map(str::to_owned).unwrap_or(name)
        };
        let dropped = self.given("cap-drop");
        let dropped: Vec<String> = dropped
            .iter()
            .flat_map(|d| d.split(','))
            .map(bare)
            .collect();
        if dropped.iter().any(|d| d == "ALL") {
            return Vec::new();
        }
        let kept = wanted.iter().filter(|w| !dropped.contains(&bare(w)));
        let mut words = vec!["--cap-drop=ALL".to_owned()];
        words.extend(kept.map(|w| format!("--cap-add={w}")));
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str, conf: &ContainersConf) -> Vec<String> {
        let app = crate::cli::command();
        let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let matches = app.clone().try_get_matches_from(&args).unwrap();
        let (at, command, matches) = starting(&args, &app, &matches).unwrap();
        assert!(["run", "create"].contains(&args[at - 1].to_str().unwrap()));
        User {
            command,
            matches,
            off: &["read-only".to_owned()],
        }
        .words(conf)
    }

    #[test]
    fn the_users_words_stand_over_the_files() {
        let own = |s: &str| s.to_owned();
        let conf = ContainersConf {
            lists: vec![
                ("env", own("A=b")),
                ("sysctl", own("net.ipv4.ping_group_range=0 0")),
                ("ulimit", own("nofile=1:2")),
                ("dns", own("1.1.1.1")),
            ],
            values: vec![
                ("pull", own("never")),
                ("security-opt", own("seccomp=/x")),
                ("no-such-option", own("x")),
            ],
            flags: vec!["init", "read-only"],
            capabilities: Some(vec![own("CAP_CHOWN"), own("KILL")]),
        };
        let caps = ["--cap-drop=ALL", "--cap-add=CAP_CHOWN", "--cap-add=KILL"];
        let plain = [
            "--init",
            "--pull=never",
            "--security-opt=seccomp=/x",
            "--env=A=b",
        ];
        for (line, want) in [
            (
                "coracle --root /r run x",
                [&plain[..], &["--ulimit=nofile=1:2", "--dns=1.1.1.1"], &caps].concat(),
            ),
            (
                "coracle container run --init --pull=always --ulimit nofile=7 --dns 2.2.2.2 --network none --security-opt seccomp=/y --cap-drop chown x",
                vec![
                    "--env=A=b",
                    "--sysctl=net.ipv4.ping_group_range=0 0",
                    caps[0],
                    caps[2],
                ],
            ),
            (
                "coracle run --privileged --cap-drop all x --init",
                vec![
                    "--init",
                    "--pull=never",
                    "--env=A=b",
                    "--ulimit=nofile=1:2",
                    "--dns=1.1.1.1",
                ],
            ),
        ] {
            assert_eq!(words(line, &conf), want, "{line}");
        }
    }
}
