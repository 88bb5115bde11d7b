//! The part of a container's configuration that matters to one more process.

use std::collections::HashMap;
use std::path::PathBuf;

use oci_spec::runtime::PosixRlimitType;
use serde::{Deserialize, Serialize};

use crate::ops::Error;
use crate::ops::run::user::Ids;

/// Annotation of a configuration that holds a [`Further`], unless all is as usual.
pub(in crate::ops) const EXEC_ANNOTATION: &str = "io.coracle.exec";

/// What the runtime-spec has no words for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::ops) struct Further {
    /// [`Further::UNCONFINED`], or the text of a profile.
    pub seccomp: Option<String>,
    /// Access is refused as owners and modes have it.
    pub strict: bool,
    /// Set-id programs give nothing, not even among emulated users.
    pub no_new_privileges: bool,
}

impl Further {
    /// In place of a profile: none.
    pub(in crate::ops) const UNCONFINED: &str = "unconfined";
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Config {
    pub process: Process,
    pub annotations: HashMap<String, String>,
    linux: Linux,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Process {
    pub user: User,
    pub env: Vec<String>,
    pub cwd: PathBuf,
    pub no_new_privileges: bool,
    pub oom_score_adj: Option<i32>,
    pub rlimits: Vec<Rlimit>,
    capabilities: Capabilities,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct User {
    pub uid: u32,
    pub gid: u32,
    pub umask: Option<u32>,
    pub additional_gids: Vec<u32>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Rlimit {
    #[serde(rename = "type")]
    pub kind: PosixRlimitType,
    pub soft: u64,
    pub hard: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Capabilities {
    bounding: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Linux {
    uid_mappings: Vec<Mapping>,
    gid_mappings: Vec<Mapping>,
    namespaces: Vec<Namespace>,
}

#[derive(Debug, Deserialize)]
struct Mapping {
    #[serde(rename = "containerID")]
    container_id: u32,
}

#[derive(Debug, Deserialize)]
struct Namespace {
    #[serde(rename = "type")]
    kind: String,
}

impl Config {
    /// Names of the capabilities that bound all processes of the container.
    pub(super) fn capabilities(&self) -> &[String] {
        &self.process.capabilities.bounding
    }

    /// The one user and group that the kernel knows inside.
    pub(super) fn mapped(&self) -> Ids {
        let id = |all: &[Mapping]| all.first().map_or(0, |m| m.container_id);
        Ids {
            uid: id(&self.linux.uid_mappings),
            gid: id(&self.linux.gid_mappings),
        }
    }

    /// Whether it was to have a pid namespace of its own.
    pub(super) fn has_pid_namespace(&self) -> bool {
        self.linux.namespaces.iter().any(|n| n.kind == "pid")
    }

    pub(super) fn further(&self) -> Result<Further, Error> {
        match self.annotations.get(EXEC_ANNOTATION) {
            Some(json) => serde_json::from_str(json).map_err(|e| Error::Spec(e.to_string())),
            None => Ok(Further::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_that_matters_is_read() {
        let config: Config = serde_json::from_str(
            r#"{"process": {"user": {"uid": 5, "gid": 6, "additionalGids": [7]}, "cwd": "/w",
                "capabilities": {"bounding": ["CAP_CHOWN"], "effective": []}, "noNewPrivileges": true,
                "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}], "env": ["A=b"]},
                "linux": {"uidMappings": [{"containerID": 3, "hostID": 1000, "size": 1}],
                "gidMappings": [{"containerID": 4, "hostID": 1000, "size": 1}],
                "namespaces": [{"type": "user"}, {"type": "pid"}]},
                "annotations": {"io.coracle.exec": "{\"strict\": true}"}}"#,
        )
        .unwrap();
        assert_eq!(config.mapped(), Ids { uid: 3, gid: 4 });
        assert_eq!(config.capabilities(), ["CAP_CHOWN"]);
        assert!(config.has_pid_namespace());
        let want = Further {
            strict: true,
            ..Further::default()
        };
        assert_eq!(config.further().unwrap(), want);
        assert_eq!(
            config.process.rlimits[0].kind,
            PosixRlimitType::RlimitNofile
        );
        let bare: Config = serde_json::from_str("{}").unwrap();
        assert_eq!(bare.further().unwrap(), Further::default());
    }
}
