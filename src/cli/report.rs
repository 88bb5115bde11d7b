//! The one place that renders an error: what failed, why, and a hint of what to do.

use super::text;
use crate::ops;

/// Exit code for a command line that cannot be understood, as docker's and podman's.
const EXIT_USAGE: u8 = 125;

/// An error on its way to the user.
#[derive(Debug)]
pub struct Failure {
    message: String,
    hint: Option<String>,
    code: u8,
}

impl Failure {
    /// A command line that is well-formed but asks for something that makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            code: EXIT_USAGE,
        }
    }

    /// A file of the user's that cannot be used.
    pub fn io(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            code: EXIT_USAGE,
        }
    }

    /// What failed, without the hint.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// The same, with a line that says what to do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<ops::Error> for Failure {
    fn from(e: ops::Error) -> Self {
        Self {
            message: e.whole(),
            hint: e.hint(),
            code: e.exit_code(),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(e: std::io::Error) -> Self {
        Self {
            message: format!("cannot write the output: {e}"),
            hint: None,
            code: 1,
        }
    }
}

/// Print a failure; returns its exit code.
pub(super) fn failure(f: &Failure) -> u8 {
    for line in f.message.lines() {
        text::stderr(&format!("coracle: {}", text::printable(line)));
    }
    if let Some(hint) = &f.hint {
        for line in hint.lines() {
            text::stderr(&format!("hint: {}", text::printable(line)));
        }
    }
    f.code
}

/// Print what clap says (help and version go to stdout); returns the exit code.
pub(super) fn usage(e: &clap::Error) -> u8 {
    let _ = e.print();
    if e.use_stderr() { EXIT_USAGE } else { 0 }
}
