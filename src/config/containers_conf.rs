//! `containers.conf`, if the caller names one: `CONTAINERS_CONF`, and over it `CONTAINERS_CONF_OVERRIDE`.
//! containers.conf(5). The files of the machine and of the user are podman's: they say how podman shall start
//! containers, and a start would have to look for them each time.
//!
//! What stands there for podman's own helpers (conmon, runtimes, networks, pods, machines) has no meaning here and is
//! passed over. So is what merely repeats what is always done.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Env;

const VARIABLES: [&str; 2] = ["CONTAINERS_CONF", "CONTAINERS_CONF_OVERRIDE"];
const FILE_MAX: u64 = 1 << 20;

/// Why such a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ContainersConfError {
    /// It cannot be read.
    #[error("{variable}: {path:?}")]
    Read {
        /// Which variable names it.
        variable: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no TOML, or a value is of the wrong kind.
    #[error("{path:?}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where, and why.
        source: Box<toml::de::Error>,
    },
    /// It asks for something that would not be done.
    #[error("{key} is not supported: {why}")]
    Unsupported {
        /// The setting.
        key: &'static str,
        /// The reason.
        why: &'static str,
    },
}

/// A list, which may end in `{append=true}`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Item {
    Text(String),
    Attribute { append: bool },
}

type List = Option<Vec<Item>>;

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct File {
    containers: Containers,
    engine: Engine,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Containers {
    annotations: List,
    default_capabilities: List,
    default_sysctls: List,
    default_ulimits: List,
    devices: List,
    dns_options: List,
    dns_searches: List,
    dns_servers: List,
    env: List,
    volumes: List,
    env_host: Option<bool>,
    init: Option<bool>,
    no_hosts: Option<bool>,
    privileged: Option<bool>,
    read_only: Option<bool>,
    ipcns: Option<String>,
    netns: Option<String>,
    pidns: Option<String>,
    seccomp_profile: Option<String>,
    shm_size: Option<String>,
    tz: Option<String>,
    umask: Option<String>,
    userns: Option<String>,
    utsns: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Engine {
    detach_keys: Option<String>,
    pull_policy: Option<String>,
    remote: Option<bool>,
    stop_timeout: Option<u32>,
}

/// What the files say, as options of `run`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainersConf {
    /// Options that can be given several times, in order: name and value. The user's come on top.
    pub lists: Vec<(&'static str, String)>,
    /// Options of which the user's value stands in place of this one.
    pub values: Vec<(&'static str, String)>,
    /// Options without a value.
    pub flags: Vec<&'static str>,
    /// The capabilities that a container has, if they are not the usual ones.
    pub capabilities: Option<Vec<String>>,
}

impl ContainersConf {
    /// Whether a file is named at all.
    pub fn is_named(env: Env<'_>) -> bool {
        VARIABLES.iter().any(|v| env.get(v).is_some())
    }

    /// Read what is named.
    pub fn load(env: Env<'_>) -> Result<Self, ContainersConfError> {
        let mut all = File::default();
        for variable in VARIABLES {
            let Some(path) = env.get(variable).map(PathBuf::from) else {
                continue;
            };
            let text = read(&path).map_err(|source| ContainersConfError::Read {
                variable,
                path: path.clone(),
                source,
            })?;
            all.overlay(parse(&text, &path)?);
        }
        all.options()
    }

    /// Read one text. `path` only serves messages.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ContainersConfError> {
        parse(text, path)?.options()
    }
}

fn read(path: &Path) -> io::Result<String> {
    use io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(FILE_MAX + 1)
        .read_to_string(&mut text)?;
    match text.len() as u64 > FILE_MAX {
        true => Err(io::ErrorKind::FileTooLarge.into()),
        false => Ok(text),
    }
}

fn parse(text: &str, path: &Path) -> Result<File, ContainersConfError> {
    toml::from_str(text).map_err(|e| ContainersConfError::Parse {
        path: path.to_owned(),
        source: Box::new(e),
    })
}

/// The texts of a list.
fn texts(list: &List) -> impl Iterator<Item = String> + '_ {
    list.iter().flatten().filter_map(|item| match item {
        Item::Text(text) => Some(text.clone()),
        Item::Attribute { .. } => None,
    })
}

/// A list of a later file stands in place of the earlier one, unless it is to be appended.
fn overlay_list(below: &mut List, above: List) {
    let Some(above) = above else { return };
    if above.contains(&Item::Attribute { append: true }) {
        below.get_or_insert_default().extend(above);
    } else {
        *below = Some(above);
    }
}

impl File {
    fn overlay(&mut self, above: Self) {
        let (c, a) = (&mut self.containers, above.containers);
        overlay_list(&mut c.annotations, a.annotations);
        overlay_list(&mut c.default_capabilities, a.default_capabilities);
        overlay_list(&mut c.default_sysctls, a.default_sysctls);
        overlay_list(&mut c.default_ulimits, a.default_ulimits);
        overlay_list(&mut c.devices, a.devices);
        overlay_list(&mut c.dns_options, a.dns_options);
        overlay_list(&mut c.dns_searches, a.dns_searches);
        overlay_list(&mut c.dns_servers, a.dns_servers);
        overlay_list(&mut c.env, a.env);
        overlay_list(&mut c.volumes, a.volumes);
        c.env_host = a.env_host.or(c.env_host);
        c.init = a.init.or(c.init);
        c.no_hosts = a.no_hosts.or(c.no_hosts);
        c.privileged = a.privileged.or(c.privileged);
        c.read_only = a.read_only.or(c.read_only);
        let (e, b) = (&mut self.engine, above.engine);
        e.remote = b.remote.or(e.remote);
        e.stop_timeout = b.stop_timeout.or(e.stop_timeout);
        for (below, above) in [
            (&mut c.ipcns, a.ipcns),
            (&mut c.netns, a.netns),
            (&mut c.pidns, a.pidns),
            (&mut c.seccomp_profile, a.seccomp_profile),
            (&mut c.shm_size, a.shm_size),
            (&mut c.tz, a.tz),
            (&mut c.umask, a.umask),
            (&mut c.userns, a.userns),
            (&mut c.utsns, a.utsns),
            (&mut e.detach_keys, b.detach_keys),
            (&mut e.pull_policy, b.pull_policy),
        ] {
            if above.is_some() {
                *below = above;
            }
        }
    }

    fn options(&self) -> Result<ContainersConf, ContainersConfError> {
        let c = &self.containers;
        self.refuse()?;
        let mut all = ContainersConf {
            capabilities: c
                .default_capabilities
                .is_some()
                .then(|| texts(&c.default_capabilities).collect()),
            ..ContainersConf::default()
        };
        for (option, list) in [
            ("annotation", &c.annotations),
            ("sysctl", &c.default_sysctls),
            ("ulimit", &c.default_ulimits),
            ("device", &c.devices),
            ("dns", &c.dns_servers),
            ("env", &c.env),
            ("volume", &c.volumes),
        ] {
            all.lists.extend(texts(list).map(|text| (option, text)));
        }
        for (option, flag) in [
            ("init", c.init),
            ("privileged", c.privileged),
            ("read-only", c.read_only),
        ] {
            if flag == Some(true) {
                all.flags.push(option);
            }
        }
        // The other words of podman's mean what is done anyway, or a network that there is none of.
        let mode = |text: &Option<String>, known: &[&str]| {
            let text = text.as_deref().unwrap_or_default();
            known.contains(&text).then(|| text.to_owned())
        };
        let filled = |text: &Option<String>| text.clone().filter(|t| !t.is_empty());
        let values = [
            ("ipc", mode(&c.ipcns, &["host"])),
            ("network", mode(&c.netns, &["host", "none"])),
            ("pid", mode(&c.pidns, &["host"])),
            ("uts", mode(&c.utsns, &["host"])),
            ("userns", mode(&c.userns, &["keep-id"])),
            ("shm-size", filled(&c.shm_size)),
            (
                "security-opt",
                filled(&c.seccomp_profile).map(|p| format!("seccomp={p}")),
            ),
            ("pull", filled(&self.engine.pull_policy)),
            ("detach-keys", self.engine.detach_keys.clone()),
            (
                "stop-timeout",
                self.engine.stop_timeout.map(|n| n.to_string()),
            ),
        ];
        let given = values
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        all.values = given.collect();
        Ok(all)
    }

    /// What would be missing without a word.
    fn refuse(&self) -> Result<(), ContainersConfError> {
        let c = &self.containers;
        let filled = |text: &Option<String>, usual: &str| {
            text.as_ref().is_some_and(|t| !t.is_empty() && t != usual)
        };
        let not_yet = "it comes in a later version, if at all";
        for (key, set, why) in [
            (
                "containers.dns_options",
                texts(&c.dns_options).next().is_some(),
                not_yet,
            ),
            (
                "containers.dns_searches",
                texts(&c.dns_searches).next().is_some(),
                not_yet,
            ),
            ("containers.env_host", c.env_host == Some(true), not_yet),
            ("containers.no_hosts", c.no_hosts == Some(true), not_yet),
            ("containers.tz", filled(&c.tz, ""), not_yet),
            ("containers.umask", filled(&c.umask, "0022"), not_yet),
            (
                "engine.remote",
                self.engine.remote == Some(true),
                "there is no service to connect to: everything is done here",
            ),
        ] {
            if set {
                return Err(ContainersConfError::Unsupported { key, why });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn conf(text: &str) -> Result<ContainersConf, ContainersConfError> {
        ContainersConf::parse(text, Path::new("/x"))
    }

    #[test]
    fn settings_become_options() {
        let all = conf(
            r#"
            [containers]
            env = ["A=b", "C=d"]
            init = true
            default_ulimits = ["nofile=10:20"]
            default_capabilities = ["CHOWN"]
            netns = "none"
            ipcns = "shareable"
            pids_limit = 2048
            label = true
            umask = "0022"
            [engine]
            pull_policy = "never"
            num_locks = 7
            [engine.runtimes]
            crun = ["/x"]
            [network]
            default_subnet = "10.0.0.0/8"
            "#,
        )
        .unwrap();
        let own = |s: &str| s.to_owned();
        assert_eq!(
            all.lists,
            [
                ("ulimit", own("nofile=10:20")),
                ("env", own("A=b")),
                ("env", own("C=d"))
            ]
        );
        assert_eq!(
            all.values,
            [("network", own("none")), ("pull", own("never"))]
        );
        assert_eq!(all.flags, ["init"]);
        assert_eq!(all.capabilities, Some(vec![own("CHOWN")]));
        assert_eq!(conf("").unwrap(), ContainersConf::default());
    }

    #[test]
    fn what_would_be_missing_is_refused() {
        for text in [
            "[containers]\numask = \"0077\"",
            "[containers]\ntz = \"local\"",
            "[containers]\nno_hosts = true",
            "[containers]\ndns_searches = [\"a.b\"]",
            "[engine]\nremote = true",
            "[containers]\nenv = 7",
            "[containers",
        ] {
            assert!(conf(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_second_file_stands_over_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let first = "[containers]\nenv = [\"A=1\"]\nvolumes = [\"/a:/a\"]\nnetns = \"none\"\n";
        std::fs::write(&a, first).unwrap();
        let second =
            "[containers]\nenv = [\"A=2\", {append=true}]\nvolumes = []\nnetns = \"host\"\n";
        std::fs::write(&b, second).unwrap();
        let get = |name: &str| -> Option<OsString> {
            match name {
                "CONTAINERS_CONF" => Some(a.clone().into()),
                "CONTAINERS_CONF_OVERRIDE" => Some(b.clone().into()),
                _ => None,
            }
        };
        assert!(ContainersConf::is_named(Env::new(&get)));
        let all = ContainersConf::load(Env::new(&get)).unwrap();
        assert_eq!(
            all.lists,
            [("env", "A=1".to_owned()), ("env", "A=2".to_owned())]
        );
        assert_eq!(all.values, [("network", "host".to_owned())]);
        std::fs::remove_file(&a).unwrap();
        let e = ContainersConf::load(Env::new(&get)).unwrap_err();
        assert!(e.to_string().starts_with("CONTAINERS_CONF"), "{e}");
        assert!(!ContainersConf::is_named(Env::new(&|_| None)));
    }
}
