//! `state.json`: what later verbs show of a container that has ended.

use serde::{Deserialize, Serialize};

/// How a container ended. Its keys are those of the state in docker-inspect(1), in the case of the OCI
/// runtime specification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ended {
    status: Status,
    /// As docker-run(1) counts: 128 + n for signal n.
    pub exit_code: u8,
    /// RFC 3339.
    pub finished_at: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Exited,
}

impl Ended {
    /// It has just ended.
    pub(super) fn now(exit_code: u8) -> Self {
        Self {
            status: Status::Exited,
            exit_code,
            finished_at: jiff::Timestamp::now().to_string(),
        }
    }
}
