//! Options of docker's and podman's `run` that this version does not have: why, and what there is
//! instead. They are no options for clap, so that help and completions do not offer them and a start
//! does not pay for them; they are looked up when clap has found none.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::Failure;

/// Why an option is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    Foreground,
    Cgroup,
    Network,
    Volume,
    OneId,
    Root,
    Pod,
    Gpu,
    NotYet,
}

impl Reason {
    fn text(self) -> &'static str {
        match self {
            Self::Foreground => "that part of looking after a container comes in a later version",
            Self::Cgroup => "limits by cgroup come in a later version",
            Self::Network => "a private network with connectivity comes in a later version",
            Self::Volume => "all volumes are directories of the store (driver local)",
            Self::OneId => {
                "a container has one user and one group, since there are no subordinate ids"
            }
            Self::Root => "it needs root on the host",
            Self::Pod => "there are no pods",
            Self::Gpu => "GPU support comes in a later version",
            Self::NotYet => "it comes in a later version, if at all",
        }
    }

    fn hint(self) -> Option<&'static str> {
        match self {
            Self::Cgroup => Some(
                "--ulimit limits each process; a limit of the whole command (systemd-run --user --scope -p …, a batch job) holds for its container too",
            ),
            Self::Network => Some(
                "with --network host (the default) a port that the program opens is open on the host",
            ),
            Self::Volume => Some("mount it on the host and bind the directory: -v ./DIR:/TARGET"),
            Self::OneId => {
                Some("--user names the one id inside, --userns keep-id makes it the caller's own")
            }
            Self::Gpu => {
                Some("device nodes that you can open can be bound with --device, libraries with -v")
            }
            Self::Foreground | Self::Root | Self::Pod | Self::NotYet => None,
        }
    }
}

/// A name that ends in `*` stands for all that begin like it.
const OPTIONS: &[(Reason, &[&str])] = &[
    (Reason::Foreground, &["-a", "--attach", "--sdnotify"]),
    (
        Reason::Cgroup,
        &[
            "-c",
            "-m",
            "--blkio-*",
            "--cgroup*",
            "--cpu-*",
            "--cpus",
            "--cpuset-*",
            "--device-read-*",
            "--device-write-*",
            "--kernel-memory",
            "--memory",
            "--memory-*",
            "--oom-kill-disable",
            "--pids-limit",
            "--rdt-class",
        ],
    ),
    (
        Reason::Network,
        &[
            "-p",
            "-P",
            "--expose",
            "--ip",
            "--ip6",
            "--link",
            "--link-local-ip",
            "--mac-address",
            "--network-alias",
            "--publish",
            "--publish-all",
        ],
    ),
    (Reason::Volume, &["--volume-driver"]),
    (
        Reason::OneId,
        &[
            "--gidmap",
            "--hostuser",
            "--subgidname",
            "--subuidname",
            "--uidmap",
            "--userns-*",
        ],
    ),
    (Reason::Root, &["--device-cgroup-rule", "--storage-opt"]),
    (Reason::Pod, &["--pod", "--pod-id-file"]),
    (Reason::Gpu, &["--gpus"]),
    (
        Reason::NotYet,
        &[
            "--chrootdirs",
            "--conmon-pidfile",
            "--creds",
            "--decryption-key",
            "--disable-content-trust",
            "--dns-opt",
            "--dns-option",
            "--dns-search",
            "--domainname",
            "--env-host",
            "--env-merge",
            "--group-entry",
            "--hosts-file",
            "--http-proxy",
            "--init-path",
            "--isolation",
            "--label-file",
            "--no-hostname",
            "--no-hosts",
            "--oom-score-adj",
            "--passwd",
            "--passwd-entry",
            "--personality",
            "--preserve-fd",
            "--preserve-fds",
            "--read-only-tmpfs",
            "--replace",
            "--requires",
            "--retry",
            "--retry-delay",
            "--rmi",
            "--runtime",
            "--secret",
            "--shm-size-systemd",
            "--systemd",
            "--tz",
            "--umask",
            "--unsetenv",
            "--unsetenv-all",
            "--use-api-socket",
        ],
    ),
];

fn reason(option: &str) -> Option<Reason> {
    let fits = |name: &&str| match name.strip_suffix('*') {
        Some(prefix) => option.starts_with(prefix),
        None => *name == option,
    };
    OPTIONS
        .iter()
        .find(|(_, names)| names.iter().any(fits))
        .map(|(reason, _)| *reason)
}

/// What to say of an option of `run` that clap did not know; `None` for any other mistake.
pub(super) fn explain(e: &clap::Error) -> Option<Failure> {
    let option = unknown(e)?;
    let failure = Failure::usage(format!("unknown option {option}"));
    let similar =
        || {
            failure.with_hint(match e.get(ContextKind::SuggestedArg) {
        Some(ContextValue::String(similar)) => format!("there is {similar}"),
        _ => "`coracle run --help` lists the options; those of the program stand after the image"
            .to_owned(),
    })
        };
    Some(reason_of(e).unwrap_or_else(similar))
}

/// Why an option of docker's or podman's that clap did not know is not there, if that is known.
pub(super) fn reason_of(e: &clap::Error) -> Option<Failure> {
    let option = unknown(e)?;
    let reason = reason(option)?;
    let failure = Failure::usage(format!(
        "option {option} is not supported: {}",
        reason.text()
    ));
    Some(match reason.hint() {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    })
}

fn unknown(e: &clap::Error) -> Option<&str> {
    match (e.kind(), e.get(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(option))) => Some(option),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::App;

    fn said(words: &[&str]) -> String {
        let line = ["coracle", "run"].iter().chain(words);
        let e = App::try_parse_from(line).unwrap_err();
        format!("{:?}", explain(&e))
    }

    #[test]
    fn dockers_options_are_refused_with_the_reason() {
        for (words, option, reason) in [
            (&["-p80:80", "busybox"][..], "option -p ", "private network"),
            (&["-itp", "80", "x"], "option -p ", "private network"),
            (&["-P", "busybox"], "option -P ", "private network"),
            (&["-m", "5m", "busybox"], "option -m ", "cgroup"),
            (&["--memory=5m", "busybox"], "option --memory ", "cgroup"),
            (&["--cpus", "2", "busybox"], "option --cpus ", "cgroup"),
            (
                &["--cgroupns", "host", "busybox"],
                "option --cgroupns ",
                "cgroup",
            ),
            (
                &["--pids-limit", "9", "busybox"],
                "--pids-limit ",
                "--ulimit",
            ),
            (&["--sdnotify", "ignore", "x"], "--sdnotify ", "later"),
            (
                &["--volume-driver", "a", "x"],
                "--volume-driver ",
                "-v ./DIR",
            ),
            (&["--uidmap", "0:1:5", "x"], "--uidmap ", "subordinate"),
            (&["--gpus", "all", "x"], "--gpus ", "GPU"),
            (&["--device-cgroup-rule", "a", "x"], "rule ", "root"),
            (&["--zzz", "busybox"], "unknown option --zzz", "--help"),
            (&["--nam", "n", "busybox"], "unknown option --nam", "--name"),
        ] {
            let said = said(words);
            assert!(
                said.contains(option) && said.contains(reason),
                "{words:?}: {said}"
            );
        }
        let other = App::try_parse_from(["coracle", "run", "--shm-size", "x", "y"]).unwrap_err();
        assert!(explain(&other).is_none());
    }

    #[test]
    fn no_option_that_exists_is_called_unsupported() {
        let app = crate::cli::command();
        let run = app.find_subcommand("run").unwrap();
        for arg in run.get_arguments() {
            for long in arg.get_long_and_visible_aliases().unwrap_or_default() {
                assert_eq!(reason(&format!("--{long}")), None, "--{long}");
            }
            if let Some(short) = arg.get_short() {
                assert_eq!(reason(&format!("-{short}")), None, "-{short}");
            }
        }
    }
}
