//! What went wrong, to standard error and to the log of the caller, who reads it there: podman and containerd show the
//! last line of it.

use std::fs::OpenOptions;
use std::io::Write as _;

use super::super::text;
use super::{Global, LogFormat, Problem};

/// One line for both.
pub(super) fn write(global: &Global, level: &str, message: &str) {
    text::stderr(&format!("{}: {}", super::NAME, text::printable(message)));
    let Some(path) = &global.log else { return };
    let time = jiff::Timestamp::now().to_string();
    let line = match global.log_format {
        LogFormat::Json => {
            serde_json::json!({ "level": level, "msg": message, "time": time }).to_string()
        }
        LogFormat::Text => format!("time={time:?} level={level} msg={message:?}"),
    };
    // There is nowhere left to tell it.
    let _ = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .and_then(|mut log| writeln!(log, "{line}"));
}

/// With its causes, each once.
pub(super) fn message(problem: &Problem) -> String {
    match problem {
        Problem::Oci(e) => e.to_string(),
        Problem::Other(f) => f.message().to_owned(),
    }
}
