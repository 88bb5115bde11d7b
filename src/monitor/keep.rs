//! What a container's monitor does for it beside waiting. docker-run(1).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::log;

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Keep {
    /// `--log-driver`, `--log-opt`
    pub log: log::Config,
    /// `--restart`
    pub restart: Restart,
    /// Seconds from the stop signal to SIGKILL, `--stop-timeout`.
    pub stop_timeout: Option<u32>,
    /// Seconds after which the container is ended, `--timeout`.
    pub timeout: Option<u64>,
    /// Whether it lives, if somebody said how to find out.
    pub health: Option<Health>,
    /// It runs in the background from its first start on.
    pub detached: bool,
    /// The input ends with the first client that has sent some.
    pub input_once: bool,
}

/// Docker's, where nobody says another.
pub const STOP_TIMEOUT: u32 = 10;

/// When a container is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Restart {
    /// Never.
    #[default]
    No,
    /// When it ends with another code than 0, so many times at most; 0 is without end.
    OnFailure(u32),
    /// Whenever it ends by itself, and after a reboot by `coracle start --all`.
    Always,
    /// The same, but not after it was stopped.
    UnlessStopped,
}

impl Restart {
    /// Whether it is started again. `before`: how many times that was done already.
    pub fn again(self, code: u8, before: u32) -> bool {
        match self {
            Self::No => false,
            Self::OnFailure(max) => code != 0 && (max == 0 || before < max),
            Self::Always | Self::UnlessStopped => true,
        }
    }

    /// Docker's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnFailure(_) => "on-failure",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
        }
    }
}

/// How long to wait before the next start: a tenth of a second, twice as long each time, a minute at most; from the
/// beginning again after ten seconds of life (docker's rule).
pub fn pause(last: Duration, lived: Duration) -> Duration {
    const FIRST: Duration = Duration::from_millis(100);
    if lived >= Duration::from_secs(10) || last.is_zero() {
        return FIRST;
    }
    (last * 2).min(Duration::from_secs(60))
}

/// `HEALTHCHECK` of an image, and `--health-*`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Program and arguments.
    pub test: Vec<String>,
    /// Between two tests.
    pub interval: Duration,
    /// After which a test has failed.
    pub timeout: Duration,
    /// From the start, while failures do not count.
    pub start_period: Duration,
    /// Failures in a row that make it unhealthy.
    pub retries: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies() {
        for (policy, code, before, want) in [
            (Restart::No, 1, 0, false),
            (Restart::OnFailure(0), 1, 1000, true),
            (Restart::OnFailure(0), 0, 0, false),
            (Restart::OnFailure(2), 1, 1, true),
            (Restart::OnFailure(2), 1, 2, false),
            (Restart::Always, 0, 7, true),
            (Restart::UnlessStopped, 3, 7, true),
        ] {
            assert_eq!(
                policy.again(code, before),
                want,
                "{policy:?} {code} {before}"
            );
        }
    }

    #[test]
    fn pauses_grow_and_begin_anew() {
        let ms = Duration::from_millis;
        assert_eq!(pause(ms(0), ms(0)), ms(100));
        assert_eq!(pause(ms(100), ms(5)), ms(200));
        assert_eq!(pause(ms(50_000), ms(5)), ms(60_000));
        assert_eq!(pause(ms(50_000), ms(10_000)), ms(100));
    }
}
