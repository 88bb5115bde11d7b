//! `config.json` of a bundle as data, by structs of our own: those of the library check names with regular
//! expressions, which are a fifth of a program. OCI runtime-spec 1.2, config.md and config-linux.md.
//!
//! Unknown properties are taken for those of a later version and passed over, `null` for an absent one (as what is
//! written in Go has it). What is known and cannot be honoured is refused later, by name.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Larger configurations exist only to hurt.
const SIZE_MAX: usize = 16 << 20;

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON, or a property of another shape.
    #[error("it is not valid: {0}")]
    Json(#[from] serde_json::Error),
    /// Too large.
    #[error("it is larger than {} MiB", SIZE_MAX >> 20)]
    Size,
    /// A major version that does not exist yet.
    #[error("its ociVersion is {0:?}; 1.x is known")]
    Version(String),
}

/// A container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Config {
    /// Of the specification.
    pub oci_version: String,
    pub(super) root: Option<RootFs>,
    pub(super) mounts: Vec<Mount>,
    pub(super) process: Option<Process>,
    pub(super) hostname: Option<String>,
    pub(super) domainname: Option<String>,
    pub(super) hooks: Hooks,
    /// Free text of the caller's.
    pub annotations: BTreeMap<String, String>,
    pub(super) linux: Linux,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RootFs {
    pub path: PathBuf,
    pub readonly: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Mount {
    pub destination: PathBuf,
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub source: Option<PathBuf>,
    pub options: Vec<String>,
    pub uid_mappings: Vec<Extent>,
    pub gid_mappings: Vec<Extent>,
}

/// A range of ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(in crate::runtime) struct Extent {
    /// First one, as the container sees it.
    #[serde(rename = "containerID")]
    pub inside: u32,
    /// First one, as the caller sees it.
    #[serde(rename = "hostID")]
    pub outside: u32,
    /// How many.
    pub size: u32,
}

/// The program.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Process {
    /// It has a terminal.
    pub terminal: bool,
    pub(super) console_size: ConsoleSize,
    pub(super) user: User,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<String>,
    pub(super) cwd: PathBuf,
    pub(super) capabilities: Option<Capabilities>,
    pub(super) rlimits: Vec<Rlimit>,
    pub(super) no_new_privileges: bool,
    pub(super) apparmor_profile: String,
    pub(super) selinux_label: String,
    pub(super) oom_score_adj: Option<i32>,
    pub(super) scheduler: Option<Scheduler>,
    pub(super) io_priority: Option<IoPriority>,
    #[serde(rename = "execCPUAffinity")]
    pub(super) exec_cpu_affinity: Option<Value>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ConsoleSize {
    pub height: u16,
    pub width: u16,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct User {
    pub uid: u32,
    pub gid: u32,
    pub umask: Option<u32>,
    pub additional_gids: Vec<u32>,
}

/// The five sets of capabilities(7).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Capabilities {
    pub bounding: Vec<String>,
    pub effective: Vec<String>,
    pub inheritable: Vec<String>,
    pub permitted: Vec<String>,
    pub ambient: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Rlimit {
    #[serde(rename = "type")]
    pub kind: String,
    pub soft: u64,
    pub hard: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Scheduler {
    pub policy: String,
    pub nice: i32,
    pub priority: i32,
    pub flags: Vec<String>,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct IoPriority {
    pub class: String,
    pub priority: u16,
}

/// What the caller wants to be run along with a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Hooks {
    pub(in crate::runtime) prestart: Vec<Hook>,
    pub(in crate::runtime) create_runtime: Vec<Hook>,
    pub(in crate::runtime) create_container: Vec<Hook>,
    pub(in crate::runtime) start_container: Vec<Hook>,
    /// After the program was started.
    pub poststart: Vec<Hook>,
    /// After the container was deleted.
    pub poststop: Vec<Hook>,
}

/// One program of the caller's.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Hook {
    /// The program.
    pub path: PathBuf,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<String>,
    /// Seconds.
    pub(super) timeout: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Linux {
    pub namespaces: Vec<Namespace>,
    pub uid_mappings: Vec<Extent>,
    pub gid_mappings: Vec<Extent>,
    pub time_offsets: BTreeMap<String, TimeOffset>,
    pub devices: Vec<Device>,
    pub cgroups_path: Option<String>,
    pub resources: Option<Value>,
    pub rootfs_propagation: Option<String>,
    pub seccomp: Option<Value>,
    pub sysctl: BTreeMap<String, String>,
    pub masked_paths: Vec<PathBuf>,
    pub readonly_paths: Vec<PathBuf>,
    pub mount_label: String,
    pub intel_rdt: Option<Value>,
    pub personality: Option<Personality>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Namespace {
    #[serde(rename = "type")]
    pub kind: String,
    pub path: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::runtime) struct TimeOffset {
    pub secs: i64,
    pub nanosecs: u32,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Device {
    #[serde(rename = "type")]
    pub kind: String,
    pub path: PathBuf,
    pub major: u32,
    pub minor: u32,
    pub file_mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Personality {
    pub domain: String,
    pub flags: Vec<String>,
}

/// Who a container is to those who are told of it: the specification's state.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Of the specification.
    pub oci_version: String,
    /// Name of the container.
    pub id: String,
    /// `creating`, `created`, `running`, `stopped`, or our `paused`.
    pub status: String,
    /// First process, as the caller counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Those of the configuration.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub annotations: BTreeMap<String, String>,
}

impl State {
    /// The same with another status and pid, as JSON.
    pub fn json(&self, status: &str, pid: Option<i32>) -> Vec<u8> {
        let state = Self {
            status: status.to_owned(),
            pid,
            ..self.clone()
        };
        // Strings and numbers: this cannot fail.
        serde_json::to_vec(&state).unwrap_or_default()
    }
}

impl Config {
    /// Read it.
    pub fn parse(text: &[u8]) -> Result<Self, ConfigError> {
        let config: Self = serde_json::from_value(document(text)?)?;
        // Any 1.x: what is new in one is a property that is passed over (runtime-spec, "Extensibility").
        if !config.oci_version.starts_with("1.") {
            return Err(ConfigError::Version(config.oci_version));
        }
        Ok(config)
    }

    /// Where its control group is asked to be.
    pub fn cgroups_path(&self) -> Option<&str> {
        self.linux.cgroups_path.as_deref().filter(|p| !p.is_empty())
    }

    /// Limits, as they stand.
    pub fn resources(&self) -> Option<&Value> {
        self.linux.resources.as_ref()
    }

    /// Its hooks.
    pub fn hooks(&self) -> &Hooks {
        &self.hooks
    }

    /// Its program.
    pub fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }
}

/// What `exec` says of a program, in place of the container's own.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Program and arguments.
    pub args: Vec<String>,
    /// Working directory.
    pub cwd: Option<PathBuf>,
    /// More variables.
    pub env: Vec<String>,
    /// User, and group.
    pub user: Option<(u32, Option<u32>)>,
    /// More groups.
    pub groups: Vec<u32>,
    /// More capabilities.
    pub caps: Vec<String>,
    /// No new privileges.
    pub no_new_privileges: bool,
    /// A terminal.
    pub terminal: bool,
    /// For AppArmor.
    pub apparmor: Option<String>,
    /// For SELinux.
    pub label: Option<String>,
}

impl Process {
    /// The container's own program as another one.
    pub fn changed(mut self, c: &Changes) -> Self {
        self.args.clone_from(&c.args);
        self.terminal = c.terminal;
        self.console_size = ConsoleSize::default();
        self.env.extend_from_slice(&c.env);
        if let Some(cwd) = &c.cwd {
            self.cwd.clone_from(cwd);
        }
        if let Some((uid, gid)) = c.user {
            self.user.uid = uid;
            self.user.gid = gid.unwrap_or(self.user.gid);
        }
        self.user.additional_gids.extend_from_slice(&c.groups);
        self.no_new_privileges |= c.no_new_privileges;
        if !c.caps.is_empty() {
            let sets = self.capabilities.get_or_insert_default();
            for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
                set.extend_from_slice(&c.caps);
            }
        }
        if let Some(profile) = &c.apparmor {
            self.apparmor_profile.clone_from(profile);
        }
        if let Some(label) = &c.label {
            self.selinux_label.clone_from(label);
        }
        self
    }

    /// Whether it says on which processors it is to run.
    pub fn has_affinity(&self) -> bool {
        self.exec_cpu_affinity.is_some()
    }

    /// Read the program alone.
    pub fn parse(text: &[u8]) -> Result<Self, ConfigError> {
        Ok(serde_json::from_value(document(text)?)?)
    }
}

/// JSON without its nulls.
fn document(text: &[u8]) -> Result<Value, ConfigError> {
    if text.len() > SIZE_MAX {
        return Err(ConfigError::Size);
    }
    let mut value = serde_json::from_slice(text)?;
    drop_nulls(&mut value);
    Ok(value)
}

/// The parser has bounded the depth.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, v| !v.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_and_unknown_properties_are_passed_over() {
        let config = Config::parse(
            br#"{"ociVersion":"1.9.3","later":{"x":1},"process":{"args":null,"user":{"uid":3},"capabilities":null},
                "hooks":null,"linux":{"seccomp":null,"namespaces":[{"type":"pid","path":null,"y":2}]}}"#,
        )
        .unwrap();
        let process = config.process.unwrap();
        assert_eq!((process.user.uid, process.args.len()), (3, 0));
        assert!(process.capabilities.is_none() && config.linux.seccomp.is_none());
        assert_eq!(config.linux.namespaces[0].path, None);
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "",
            "[]",
            r#"{"ociVersion":"2.0.0"}"#,
            r#"{}"#,
            r#"{"ociVersion":"1.0","mounts":{}}"#,
            r#"{"ociVersion":"1.0","process":{"user":{"uid":-1}}}"#,
        ] {
            assert!(Config::parse(text.as_bytes()).is_err(), "{text}");
        }
        let deep = "[".repeat(100_000);
        assert!(Config::parse(deep.as_bytes()).is_err());
        assert!(matches!(
            Config::parse(&vec![b' '; SIZE_MAX + 1]),
            Err(ConfigError::Size)
        ));
    }
}
