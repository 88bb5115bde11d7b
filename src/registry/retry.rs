//! How long to wait before a request is tried again, and when to give up.
//!
//! Everything is bounded: the tries without progress, the waits that a registry may ask for, the
//! tries that cost a whole time limit, and the tries of one blob in all.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, SystemTime};

use super::error::{Error, Transient};

/// First wait; each next one is twice as long.
const FIRST: Duration = Duration::from_millis(100);
/// Longest wait of our own choosing.
const LONGEST: Duration = Duration::from_secs(10);
/// Longest wait that a registry may ask for; more is an error that says how long.
const ASKED_MAX: Duration = Duration::from_secs(60);
/// Tries that end in a time-out, per request or blob, progress or not.
const SLOW_MAX: u32 = 1;

/// The patience that is left for one request, or for one blob.
#[derive(Debug)]
pub(super) struct Backoff {
    limit: u32,
    tries: u32,
    slow: u32,
    left: u32,
    seen: bool,
}

impl Backoff {
    /// `limit`: tries after the first without progress; `all`: tries in all, progress or not.
    pub(super) fn new(limit: u32, all: u32) -> Self {
        Self {
            limit,
            tries: 0,
            slow: 0,
            left: all,
            seen: false,
        }
    }

    /// Bytes came: patience starts again, but for the limits on everything.
    pub(super) fn progress(&mut self) {
        self.tries = 0;
        self.seen = true;
    }

    /// How long to wait after this error, or `None` to give up.
    pub(super) fn wait(&mut self, e: &Error) -> Option<Duration> {
        let asked = match e.transient() {
            Transient::No => return None,
            Transient::IfSeen if !self.seen => return None,
            Transient::Slow if self.slow >= SLOW_MAX.min(self.limit) => return None,
            Transient::After(wait) if wait > ASKED_MAX => return None,
            Transient::After(wait) => wait,
            Transient::Slow => {
                self.slow += 1;
                Duration::ZERO
            }
            Transient::Yes | Transient::IfSeen => Duration::ZERO,
        };
        if self.tries >= self.limit || self.left == 0 {
            return None;
        }
        let own = FIRST.saturating_mul(1 << self.tries.min(16)).min(LONGEST);
        self.tries += 1;
        self.left -= 1;
        Some(asked.max(jitter(own)))
    }

    /// Sleep for [`Backoff::wait`]; the error comes back when it is time to give up.
    pub(super) fn sleep(&mut self, e: Error) -> Result<(), Error> {
        match self.wait(&e) {
            Some(wait) => {
                log::debug!("{e}: trying again in {} ms", wait.as_millis());
                std::thread::sleep(wait);
                Ok(())
            }
            None => Err(e),
        }
    }
}

/// Between half and all of `d`, so that many clients do not come back at the same moment.
fn jitter(d: Duration) -> Duration {
    // The standard library's per-process random keys: no more randomness is needed here.
    let random = RandomState::new().hash_one(0u8);
    let part = (random % 512) as u32;
    d / 2 + d / 1024 * part
}

/// `Retry-After`: seconds, or a date (RFC 9110, 10.2.3).
pub(super) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let then = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    Some(
        SystemTime::from(then)
            .duration_since(now)
            .unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken() -> Error {
        Error::Broken {
            host: "h".into(),
            source: std::io::ErrorKind::ConnectionReset.into(),
        }
    }

    fn limited(wait: Option<u64>) -> Error {
        Error::RateLimited {
            host: "h".into(),
            wait: wait.map(Duration::from_secs),
            said: Default::default(),
        }
    }

    #[test]
    fn waits_grow_and_end() {
        let mut b = Backoff::new(10, 100);
        let waits: Vec<_> = std::iter::from_fn(|| b.wait(&broken())).collect();
        assert_eq!(waits.len(), 10);
        assert!(waits[0] >= FIRST / 2 && waits[0] <= FIRST);
        assert!(waits[9] > LONGEST / 3 && waits[9] <= LONGEST);
    }

    #[test]
    fn progress_renews_patience_but_not_for_ever() {
        let mut b = Backoff::new(2, 30);
        let mut n = 0;
        while b.wait(&broken()).is_some() {
            b.progress();
            n += 1;
        }
        assert_eq!(n, 30);
        // Nor can a stall at each step add up to more than the limit.
        let mut b = Backoff::new(5, 100);
        let stalled = Error::Stalled {
            host: "h".into(),
            after: Duration::ZERO,
        };
        let mut n = 0;
        while b.wait(&stalled).is_some() {
            b.progress();
            n += 1;
        }
        assert_eq!(n, SLOW_MAX);
    }

    #[test]
    fn what_the_registry_asks_for_is_honoured_within_bounds() {
        let wait = |e| Backoff::new(3, 10).wait(&e);
        assert_eq!(wait(limited(Some(7))), Some(Duration::from_secs(7)));
        assert!(wait(limited(Some(0))).unwrap() > Duration::ZERO);
        assert_eq!(wait(limited(Some(u64::MAX))), None);
        assert!(wait(limited(None)).unwrap() <= FIRST);
    }

    #[test]
    fn a_registry_never_seen_is_not_waited_for() {
        let e = Error::HostNotFound { host: "h".into() };
        let mut b = Backoff::new(3, 10);
        assert_eq!(b.wait(&e), None);
        b.progress();
        assert!(b.wait(&e).is_some());
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_445_412_470);
        for (value, want) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("Wed, 21 Oct 2015 07:28:00 GMT", Some(10)),
            ("Wed, 21 Oct 2015 07:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
            ("99999999999999999999999", None),
            ("", None),
        ] {
            assert_eq!(
                retry_after(value, now),
                want.map(Duration::from_secs),
                "{value:?}"
            );
        }
    }
}
