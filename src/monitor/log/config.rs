//! What a user may choose about a log.

use serde::{Deserialize, Serialize};

/// How much is kept. Rotation never tears a record, and a file is larger than `max_size` only by one that is larger
/// itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Bytes of one file; `None`: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_size: Option<u64>,
    /// Files, with the one that is written to. Has no effect without `max_size`.
    pub max_files: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_size: None,
            max_files: 1,
        }
    }
}

/// Where a log goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// To a file of the container's directory.
    #[default]
    K8sFile,
    /// Nowhere.
    None,
}

/// `--log-driver` and `--log-opt`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Where it goes.
    #[serde(default)]
    pub driver: Driver,
    /// How much of it is kept.
    #[serde(default)]
    pub limits: Limits,
}
