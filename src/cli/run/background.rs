//! Options of `run` and `create` for what a monitor does: restart, health, time limits, the log.

use std::time::Duration;

use crate::cli::Failure;
use crate::cli::run_values::{self as values, LogOption};
use crate::ops::logs::LogDriver;
use crate::ops::run::{HealthWish, Keep, Restart};

/// Restart, health checks and the like
#[derive(Clone, Debug, Default, clap::Args)]
pub(in crate::cli) struct KeepArgs {
    /// Start it again when it ends: no, on-failure[:MAX], always or unless-stopped
    #[arg(long, value_name = "POLICY", value_parser = restart, help_heading = "Life")]
    restart: Option<Restart>,
    /// Seconds from the stop signal to SIGKILL [default: 10]
    #[arg(long, value_name = "SECONDS", help_heading = "Life")]
    stop_timeout: Option<u32>,
    /// End it after so many seconds
    #[arg(long, value_name = "SECONDS", help_heading = "Life")]
    timeout: Option<u64>,
    /// Test whether it lives: a line for the shell, a JSON array of words, or none
    #[arg(long, value_name = "COMMAND", help_heading = "Life")]
    health_cmd: Option<String>,
    /// Time between two tests
    #[arg(long, value_name = "TIME", value_parser = time, help_heading = "Life")]
    health_interval: Option<Duration>,
    /// Time after which a test has failed
    #[arg(long, value_name = "TIME", value_parser = time, help_heading = "Life")]
    health_timeout: Option<Duration>,
    /// Time from the start in which failures do not count
    #[arg(long, value_name = "TIME", value_parser = time, help_heading = "Life")]
    health_start_period: Option<Duration>,
    /// Failures in a row that make it unhealthy
    #[arg(long, value_name = "N", help_heading = "Life")]
    health_retries: Option<u32>,
    /// Do not test whether it lives, whatever the image says
    #[arg(long, help_heading = "Life")]
    no_healthcheck: bool,
    /// Where its output is kept: k8s-file, which is also called json-file, or none [default: k8s-file]
    #[arg(long, value_name = "DRIVER", value_parser = values::log_driver, help_heading = "Life")]
    log_driver: Option<LogDriver>,
    /// How much of it is kept: max-size=BYTES, max-file=N
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::log_option, help_heading = "Life")]
    log_opt: Vec<LogOption>,
}

impl KeepArgs {
    /// What only a monitor in the background can do.
    pub(in crate::cli) fn needs_monitor(&self) -> bool {
        self.restart.is_some_and(|r| r != Restart::No)
            || self.timeout.is_some_and(|t| t > 0)
            || self.health_cmd.is_some()
    }

    /// Somebody asks for a log, and for which.
    pub(in crate::cli) fn asks_for_log(&self) -> bool {
        self.log_driver == Some(LogDriver::K8sFile) || !self.log_opt.is_empty()
    }

    pub(in crate::cli) fn keep(&self) -> Result<Keep, Failure> {
        Ok(Keep {
            log: values::log_config(self.log_driver, &self.log_opt)?,
            restart: self.restart.unwrap_or_default(),
            stop_timeout: self.stop_timeout,
            timeout: self.timeout.filter(|t| *t > 0),
            ..Keep::default()
        })
    }

    pub(in crate::cli) fn health(&self) -> Result<HealthWish, Failure> {
        let test = self.health_cmd.as_deref().map(test).transpose()?;
        let off = self.no_healthcheck;
        if off && test.is_some() {
            return Err(Failure::usage(
                "--no-healthcheck and --health-cmd exclude each other",
            ));
        }
        Ok(HealthWish {
            off,
            test,
            interval: self.health_interval,
            timeout: self.health_timeout,
            start_period: self.health_start_period,
            retries: self.health_retries,
        })
    }
}

/// As podman reads it.
fn test(command: &str) -> Result<Vec<String>, Failure> {
    if command == "none" {
        return Ok(vec!["NONE".to_owned()]);
    }
    if !command.starts_with('[') {
        return Ok(vec!["CMD-SHELL".to_owned(), command.to_owned()]);
    }
    let words: Vec<String> = serde_json::from_str(command)
        .map_err(|e| Failure::usage(format!("--health-cmd {command}: {e}")))?;
    Ok(match words.first().map(String::as_str) {
        Some("CMD" | "CMD-SHELL" | "NONE") => words,
        _ => std::iter::once("CMD".to_owned()).chain(words).collect(),
    })
}

/// `--restart`, as docker has it.
pub(in crate::cli) fn restart(s: &str) -> Result<Restart, String> {
    Ok(match s.split_once(':') {
        None => match s {
            "no" | "" => Restart::No,
            "on-failure" => Restart::OnFailure(0),
            "always" => Restart::Always,
            "unless-stopped" => Restart::UnlessStopped,
            _ => return Err("want no, on-failure[:MAX], always or unless-stopped".to_owned()),
        },
        Some(("on-failure", max)) => Restart::OnFailure(
            max.parse()
                .map_err(|_| format!("{max:?} is not a number of restarts"))?,
        ),
        Some((policy, _)) => return Err(format!("{policy:?} takes no number")),
    })
}

/// Go's durations: numbers with ns, us, ms, s, m or h, in a row; a bare number is seconds.
pub(in crate::cli) fn time(s: &str) -> Result<Duration, String> {
    let wrong = || format!("{s:?} is no time: want 30s, 1m30s, 500ms …");
    if let Ok(seconds) = s.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|_| wrong());
    }
    let mut total = Duration::ZERO;
    let mut rest = s;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let end = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let seconds = match &rest[..end] {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        rest = &rest[end..];
        total += Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())?;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_go_has_them() {
        for (text, want) in [
            ("30s", Some(30_000)),
            ("1m30s", Some(90_000)),
            ("1h", Some(3_600_000)),
            ("500ms", Some(500)),
            ("1.5s", Some(1500)),
            ("5", Some(5000)),
            ("s", None),
            ("5x", None),
            ("-1s", None),
            ("1e400", None),
        ] {
            assert_eq!(time(text).ok(), want.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn policies_and_tests() {
        assert_eq!(restart("on-failure:3"), Ok(Restart::OnFailure(3)));
        assert!(restart("always:3").is_err() && restart("sometimes").is_err());
        assert_eq!(test("a b").unwrap(), ["CMD-SHELL", "a b"]);
        assert_eq!(test(r#"["a","b"]"#).unwrap(), ["CMD", "a", "b"]);
        assert_eq!(test("none").unwrap(), ["NONE"]);
        assert!(test("[a").is_err());
    }
}
