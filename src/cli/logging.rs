//! `--log-level`: what the rooms below have to say besides their errors, in the form of podman's log. Without the
//! option nothing is set up, and nothing is said.

use log::{LevelFilter, Log, Metadata, Record};

use super::text;

struct Logger;

static LOGGER: Logger = Logger;

/// Say what is of this level, or worse.
pub(super) fn start(level: Option<LevelFilter>) {
    // It is the first and only one: a second is not set.
    if let Some(level) = level
        && log::set_logger(&LOGGER).is_ok()
    {
        log::set_max_level(level);
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Libraries tell of their own inside.
        metadata.target().starts_with(env!("CARGO_PKG_NAME"))
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let now = jiff::Timestamp::now();
            let message = record.args().to_string();
            text::stderr(&format!(
                "time=\"{}\" level={} msg=\"{}\"",
                now.strftime("%Y-%m-%dT%H:%M:%SZ"),
                match record.level() {
                    log::Level::Warn => "warning".to_owned(),
                    level => level.as_str().to_lowercase(),
                },
                text::printable(&message).replace('"', "\\\""),
            ));
        }
    }

    fn flush(&self) {}
}
