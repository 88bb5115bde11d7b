//! Options that stand before the verb: ours, and those of podman and docker that scripts give. What has a meaning
//! here is honoured; where there is nothing to do, it is accepted; where somebody would be misled, it is refused
//! with the reason.

use std::path::PathBuf;

use clap::ArgAction;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use log::LevelFilter;

use super::Failure;
use super::run_values as values;
use crate::ops;
use crate::ops::run::What;
use crate::rootfs::Driver;

/// Options that stand before the verb.
#[derive(Debug, Default, clap::Args)]
pub struct Global {
    /// Directory for images and containers [default: $CORACLE_ROOT, else $XDG_DATA_HOME/coracle]
    #[arg(long, value_name = "DIR", global = true)]
    pub root: Option<PathBuf>,
    /// Store of somebody else to take images from, which is only read; several may be given
    #[arg(
        long = "additional-store",
        value_name = "DIR",
        global = true,
        env = "CORACLE_ADDITIONAL_STORES",
        hide_env_values = true,
        value_delimiter = ':'
    )]
    pub additional: Vec<PathBuf>,
    /// Directory of what runs (accepted for podman's sake: that is known by locks in the store)
    #[arg(long, value_name = "DIR", global = true)]
    pub runroot: Option<PathBuf>,
    /// How layers become one tree: overlay, fuse-overlayfs or copy (podman's vfs) [default: what works, in this order]
    #[arg(id = "default_driver", long = "storage-driver", value_name = "DRIVER", value_parser = values::driver)]
    driver: Option<Driver>,
    /// Option of podman's storage driver: mount_program=…/fuse-overlayfs, or ignore_chown_errors, which is not needed
    #[arg(long = "storage-opt", value_name = "OPTION", value_parser = storage_option)]
    storage_options: Vec<Option<Driver>>,
    /// What is reported on stderr besides failures: error, warn, info or debug
    #[arg(long, value_name = "LEVEL", global = true, value_parser = level)]
    log_level: Option<LevelFilter>,
    /// The same as --log-level debug
    #[arg(short = 'D', long, conflicts_with = "log_level")]
    debug: bool,
    /// Print the version
    #[arg(short, short_alias = 'V', long, action = ArgAction::Version)]
    version: Option<bool>,
    #[command(flatten)]
    accepted: Accepted,
}

/// What podman has programs, daemons and directories for that are not here: the values are looked at, and that is
/// all.
#[derive(Debug, Default, clap::Args)]
struct Accepted {
    #[arg(long, hide = true, value_name = "MANAGER", value_parser = ["cgroupfs", "disabled", "systemd"])]
    cgroup_manager: Option<String>,
    #[arg(long, hide = true, value_name = "PROGRAM")]
    conmon: Option<PathBuf>,
    #[arg(long, hide = true, value_name = "KIND", value_parser = ["boltdb", "sqlite"])]
    db_backend: Option<String>,
    #[arg(long, hide = true, value_name = "KIND", value_parser = events)]
    events_backend: Option<String>,
    #[arg(short, long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = remote)]
    remote: Option<bool>,
    #[arg(long, hide = true, value_name = "PROGRAM", value_parser = runtime)]
    runtime: Option<String>,
    #[arg(long, hide = true, value_name = "DIR")]
    tmpdir: Option<PathBuf>,
}

impl Global {
    /// The user's store, or what the options make of it.
    pub(super) fn store(&self) -> Result<ops::Store, ops::Error> {
        // A variable that is set to nothing is not set.
        let named = self.additional.iter().filter(|d| !d.as_os_str().is_empty());
        let additional: Vec<PathBuf> = named.cloned().collect();
        ops::open_store(self.root.as_deref(), &additional)
    }

    /// The storage driver of a container that was given none. A directory is used as it is.
    pub(super) fn driver_of(&self, what: &What) -> Option<Driver> {
        match what {
            What::Image(_) => self.driver(),
            What::Directory(_) => None,
        }
    }

    pub(super) fn driver(&self) -> Option<Driver> {
        let named = || self.storage_options.iter().rev().find_map(|o| *o);
        self.driver.or_else(named)
    }

    pub(super) fn log_level(&self) -> Option<LevelFilter> {
        match self.debug {
            true => Some(LevelFilter::Debug),
            false => self.log_level,
        }
    }
}

/// Whether the value of this option is the next word.
pub(super) fn takes_value(word: &str) -> bool {
    const VALUED: [&str; 12] = [
        "--additional-store",
        "--cgroup-manager",
        "--conmon",
        "--db-backend",
        "--events-backend",
        "--log-level",
        "--root",
        "--runroot",
        "--runtime",
        "--storage-driver",
        "--storage-opt",
        "--tmpdir",
    ];
    VALUED.contains(&word)
}

fn level(s: &str) -> Result<LevelFilter, String> {
    Ok(match s {
        "trace" | "debug" => LevelFilter::Debug,
        "info" => LevelFilter::Info,
        "warn" | "warning" => LevelFilter::Warn,
        "error" | "fatal" | "panic" => LevelFilter::Error,
        _ => {
            return Err(
                "choose from: trace, debug, info, warn, warning, error, fatal, panic".to_owned(),
            );
        }
    })
}

/// `[DRIVER.]NAME=VALUE` of containers-storage.conf(5): the driver that it asks for.
fn storage_option(s: &str) -> Result<Option<Driver>, String> {
    let (name, value) = s.split_once('=').ok_or("want NAME=VALUE")?;
    let name = name.rsplit('.').next().unwrap_or(name);
    match name {
        "mount_program" if value.rsplit('/').next() == Some("fuse-overlayfs") => {
            Ok(Some(Driver::FuseOverlayfs))
        }
        "mount_program" => Err("the one such program that is known is fuse-overlayfs".to_owned()),
        // Owners are kept where the kernel cannot set them.
        "ignore_chown_errors" => Ok(None),
        "additionalimagestore" => Err(
            "podman's stores are laid out in another way: --additional-store takes coracle's own"
                .to_owned(),
        ),
        "size" | "inodes" => Err("an ordinary user cannot set quotas".to_owned()),
        _ => Err("there is nothing here that it would set".to_owned()),
    }
}

fn events(s: &str) -> Result<String, String> {
    match s {
        "file" | "none" => Ok(s.to_owned()),
        "journald" => Err("nothing is written to the journal".to_owned()),
        _ => Err("want file or none".to_owned()),
    }
}

fn remote(s: &str) -> Result<bool, String> {
    match super::filters::truth(s)? {
        true => Err("there is no service to connect to: everything is done here".to_owned()),
        false => Ok(false),
    }
}

/// One that runs programs as ours does.
fn runtime(s: &str) -> Result<String, String> {
    let name = s.rsplit('/').next().unwrap_or(s);
    match name {
        "crun" | "runc" | "coracle" | "coracle-oci" => Ok(s.to_owned()),
        _ => Err(format!(
            "containers are run by coracle itself, which isolates them as runc does and not as {name} may"
        )),
    }
}

/// Options before the verb that are refused.
const REFUSED: [(&str, &[&str]); 6] = [
    (
        "there is no service to connect to: everything is done here",
        &[
            "-H",
            "-c",
            "--connection",
            "--context",
            "--host",
            "--identity",
            "--ssh",
            "--tls",
            "--tlscacert",
            "--tlscert",
            "--tlskey",
            "--tlsverify",
            "--url",
        ],
    ),
    ("hooks of a directory are not run", &["--hooks-dir"]),
    (
        "there is no runtime program that could take them",
        &["--runtime-flag"],
    ),
    (
        "networks between containers come in a later version",
        &["--network-cmd-path", "--network-config-dir"],
    ),
    (
        "a store is one directory: --root names another one",
        &[
            "--imagestore",
            "--namespace",
            "--transient-store",
            "--volumepath",
        ],
    ),
    (
        "it can be had otherwise: >/dev/null for --noout, 2>&1 | logger for --syslog, CONTAINERS_CONF for --module, REGISTRY_AUTH_FILE for --config",
        &["--config", "--module", "--noout", "--syslog"],
    ),
];

/// What to say of an option of podman's or docker's that clap did not know; `None` for any other mistake.
pub(super) fn explain(e: &clap::Error) -> Option<Failure> {
    let (ErrorKind::UnknownArgument, Some(ContextValue::String(option))) =
        (e.kind(), e.get(ContextKind::InvalidArg))
    else {
        return None;
    };
    // Behind a verb it is another one, of which the usage line tells.
    let Some(ContextValue::StyledStr(usage)) = e.get(ContextKind::Usage) else {
        return None;
    };
    if !usage.to_string().contains("<COMMAND>") {
        return None;
    }
    let (why, _) = REFUSED.iter().find(|(_, o)| o.contains(&option.as_str()))?;
    Some(Failure::usage(format!(
        "option {option} is not supported: {why}"
    )))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::App;

    fn parsed(words: &[&str]) -> Result<Global, clap::Error> {
        let line = ["coracle"].iter().chain(words).chain(&["ps"]);
        App::try_parse_from(line).map(|app| app.global)
    }

    #[test]
    fn what_podman_takes_before_the_verb_is_taken() {
        let line = "--root /r --runroot /x --storage-driver vfs --storage-opt ignore_chown_errors=true \
                    --storage-opt overlay.mount_program=/usr/bin/fuse-overlayfs --log-level warning --tmpdir /t \
                    --cgroup-manager systemd --events-backend none --remote=false --runtime /usr/bin/crun \
                    --conmon /usr/bin/conmon --db-backend sqlite";
        let words: Vec<&str> = line.split_whitespace().collect();
        let g = parsed(&words).unwrap();
        assert_eq!(g.driver(), Some(Driver::Copy));
        assert_eq!(g.log_level(), Some(LevelFilter::Warn));
        for word in words
            .iter()
            .filter(|w| w.starts_with("--") && !w.contains('='))
        {
            assert!(takes_value(word), "{word}");
        }
        let g = parsed(&["--storage-opt", ".mount_program=fuse-overlayfs", "-D"]).unwrap();
        assert_eq!(g.driver(), Some(Driver::FuseOverlayfs));
        assert_eq!(g.log_level(), Some(LevelFilter::Debug));
    }

    #[test]
    fn what_would_mislead_is_refused() {
        for (words, why) in [
            (&["--remote"][..], "no service"),
            (&["-r"], "no service"),
            (&["--runtime", "/usr/bin/kata-runtime"], "kata"),
            (&["--storage-opt", "size=10G"], "quotas"),
            (
                &["--storage-opt", "additionalimagestore=/x"],
                "--additional-store",
            ),
            (&["--storage-driver", "zfs"], "want overlay"),
            (&["--log-level", "loud"], "choose from"),
            (&["--events-backend", "journald"], "journal"),
        ] {
            let e = parsed(words).unwrap_err();
            assert!(e.to_string().contains(why), "{words:?}: {e}");
        }
        for (words, why) in [
            (&["-H", "tcp://x"][..], "no service"),
            (&["--url=unix:///x"], "no service"),
            (&["--hooks-dir", "/x"], "hooks"),
            (&["--namespace", "x"], "--root"),
            (&["--noout"], "/dev/null"),
        ] {
            let said = format!("{:?}", explain(&parsed(words).unwrap_err()));
            assert!(said.contains(why), "{words:?}: {said}");
        }
        // An option of a verb that is called like one of them.
        let e = App::try_parse_from(["coracle", "run", "--identity-x", "--config", "x"]);
        assert!(explain(&e.unwrap_err()).is_none());
        let e = App::try_parse_from(["coracle", "ps", "--config", "x"]);
        assert!(explain(&e.unwrap_err()).is_none());
    }
}
