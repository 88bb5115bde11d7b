//! What is said over a container's control socket. A client's first packet is a [`Request`] as JSON, the answer a
//! [`Reply`]. Who attaches goes on with packets whose first byte says what the rest is.
//!
//! ```text
//! client                              monitor
//!   | Request ------------------------> |
//!   | <------------------------- Reply  |   the connection ends here, or with Wait and Attach:
//!   | INPUT bytes --------------------> |   (nothing after INPUT: end of input)
//!   | SIZE rows columns --------------> |
//!   | <----------- OUTPUT, ERRORS bytes |
//!   | <---------------- ENDED exit code |
//! ```

use serde::{Deserialize, Serialize};

use super::keep::Restart;

/// What a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verb {
    /// Who is the first process? The answer brings a pidfd of it.
    Describe,
    /// Answer for one more process: with its listener, and a pidfd of it.
    Supervise,
    /// Who are these processes, among users that are emulated?
    Whose,
    /// Relay its streams.
    Attach,
    /// Tell when it has ended.
    Wait,
    /// Its end is wished for: it shall not be started again.
    Stopping,
    /// What is known of it has changed: it is paused, or goes on.
    Paused,
    /// See `Paused`.
    Resumed,
    /// It shall be started again by another policy.
    Restart,
}

/// A client's first packet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub verb: Verb,
    /// With `Attach`: input will come.
    #[serde(default)]
    pub input: bool,
    /// With `Supervise`: who the process is, in the words of who asks and of the supervisor. With `Whose`: their
    /// numbers, a JSON list.
    #[serde(default)]
    pub who: Vec<u8>,
    /// With `Restart`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
}

impl Request {
    pub(super) fn new(verb: Verb) -> Self {
        Self {
            verb,
            input: false,
            who: Vec::new(),
            restart: None,
        }
    }
}

/// The answer.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Reply {
    /// It cannot be done, for this reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The first process, as the monitor sees it.
    pub pid: i32,
    /// It has a terminal.
    pub tty: bool,
    /// Users and owners are emulated.
    pub emulated: bool,
    /// It reads what is sent to it.
    pub input: bool,
    /// To `Whose`: effective user and group of each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub whose: Vec<(u32, u32)>,
}

impl Reply {
    pub(super) fn error(why: &str) -> Self {
        Self {
            error: Some(why.to_owned()),
            ..Self::default()
        }
    }
}

/// First bytes of what follows an `Attach`.
pub(super) const INPUT: u8 = 0;
pub(super) const OUTPUT: u8 = 1;
pub(super) const ERRORS: u8 = 2;
pub(super) const ENDED: u8 = 3;
pub(super) const SIZE: u8 = 4;
