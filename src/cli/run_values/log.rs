//! `--log-driver` and `--log-opt`.

use super::Parsed;
use crate::cli::Failure;
use crate::ops::logs::{LogConfig, LogDriver, LogLimits};

/// One of what `--log-opt` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum LogOption {
    /// `max-size`; `None`: any.
    MaxSize(Option<u64>),
    /// `max-file`
    MaxFiles(u32),
}

/// `--log-driver`: podman's name for the format, docker's for the default, or none.
pub(in crate::cli) fn log_driver(s: &str) -> Parsed<LogDriver> {
    match s {
        "k8s-file" | "json-file" => Ok(LogDriver::K8sFile),
        "none" => Ok(LogDriver::None),
        "journald" | "syslog" => Err(
            "the log is a file of the container, which needs no service: want k8s-file, json-file (the same) or none"
                .to_owned(),
        ),
        "passthrough" => Err(
            "a detached container has nobody to pass its output to: want k8s-file, json-file (the same) or none"
                .to_owned(),
        ),
        _ => Err(format!(
            "unknown log driver {s:?}: want k8s-file, json-file (the same) or none"
        )),
    }
}

/// `--log-opt`
pub(in crate::cli) fn log_option(s: &str) -> Parsed<LogOption> {
    let (key, value) = s.split_once('=').ok_or("want NAME=VALUE")?;
    match key {
        "max-size" if value == "-1" => Ok(LogOption::MaxSize(None)),
        "max-size" => match super::size(value)? {
            0 => Err("a log of no size: want --log-driver none".to_owned()),
            bytes => Ok(LogOption::MaxSize(Some(bytes))),
        },
        "max-file" => match value.parse() {
            Ok(1..=FILES_MAX) => Ok(LogOption::MaxFiles(value.parse().unwrap_or(1))),
            _ => Err(format!(
                "{value:?}: want a number of files, 1 to {FILES_MAX}"
            )),
        },
        "path" => Err("the log is in the container's directory, and goes with it".to_owned()),
        _ => Err(format!(
            "unknown option {key:?}; there are max-size and max-file"
        )),
    }
}

/// Each rotation renames them all.
const FILES_MAX: u32 = 1000;

/// What both say together.
pub(in crate::cli) fn log_config(
    driver: Option<LogDriver>,
    options: &[LogOption],
) -> Result<LogConfig, Failure> {
    let driver = driver.unwrap_or_default();
    if driver == LogDriver::None && !options.is_empty() {
        return Err(Failure::usage(
            "--log-driver none and --log-opt exclude each other: there is no log",
        ));
    }
    let mut limits = LogLimits::default();
    // Of several the last.
    for option in options {
        match *option {
            LogOption::MaxSize(size) => limits.max_size = size,
            LogOption::MaxFiles(files) => limits.max_files = files,
        }
    }
    if limits.max_files > 1 && limits.max_size.is_none() {
        return Err(Failure::usage(
            "--log-opt max-file without max-size: a log that may grow without limit is one file",
        ));
    }
    Ok(LogConfig { driver, limits })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_that_write_a_file_are_one() {
        for (name, want) in [
            ("k8s-file", Some(LogDriver::K8sFile)),
            ("json-file", Some(LogDriver::K8sFile)),
            ("none", Some(LogDriver::None)),
            ("journald", None),
            ("passthrough", None),
            ("", None),
        ] {
            assert_eq!(log_driver(name).ok(), want, "{name}");
        }
    }

    #[test]
    fn limits_are_read_or_refused() {
        for (text, want) in [
            ("max-size=10m", Some(LogOption::MaxSize(Some(10 << 20)))),
            ("max-size=-1", Some(LogOption::MaxSize(None))),
            ("max-size=0", None),
            ("max-size=", None),
            ("max-size", None),
            ("max-file=3", Some(LogOption::MaxFiles(3))),
            ("max-file=0", None),
            ("max-file=1001", None),
            ("tag=x", None),
            ("path=/x", None),
        ] {
            assert_eq!(log_option(text).ok(), want, "{text}");
        }
    }

    #[test]
    fn what_has_no_effect_is_an_error() {
        let size = LogOption::MaxSize(Some(7));
        let files = LogOption::MaxFiles(3);
        let config = log_config(None, &[files, size]).unwrap();
        assert_eq!(config.limits.max_size, Some(7));
        assert_eq!(config.limits.max_files, 3);
        assert_eq!(log_config(None, &[]).unwrap(), LogConfig::default());
        assert!(log_config(None, &[files]).is_err());
        assert!(log_config(Some(LogDriver::None), &[size]).is_err());
        assert!(log_config(Some(LogDriver::None), &[]).is_ok());
    }
}
