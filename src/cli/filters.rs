//! `--filter KEY=VALUE`: what verbs that take conditions have in common.

use jiff::{SignedDuration, Timestamp, civil};

use crate::ops::prune;

/// A condition, cut in two.
pub(super) fn pair(s: &str) -> Result<(&str, &str), String> {
    let pair = s.split_once('=').filter(|(_, value)| !value.is_empty());
    pair.ok_or_else(|| "want KEY=VALUE".to_owned())
}

/// What docker takes for yes and no (Go's ParseBool).
pub(super) fn truth(s: &str) -> Result<bool, String> {
    match s {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("{s:?} is neither true nor false")),
    }
}

/// A time: a span before now (`24h`, `1h30m`), RFC 3339, a date with or without a time (UTC), or seconds since
/// 1970.
pub(super) fn moment(s: &str) -> Result<Timestamp, String> {
    let bad = || {
        format!(
            "{s:?} is no time: want 24h, 2026-01-31, 2026-01-31T12:00:00Z or seconds since 1970"
        )
    };
    if let Ok(seconds) = s.parse::<i64>() {
        return Timestamp::from_second(seconds).map_err(|_| bad());
    }
    if let Ok(time) = s.parse::<Timestamp>() {
        return Ok(time);
    }
    // As `date +%s.%N` has it.
    if let Some((seconds, part)) = s.split_once('.')
        && (1..=9).contains(&part.len())
        && part.bytes().all(|b| b.is_ascii_digit())
        && let (Ok(seconds), Ok(part)) = (seconds.parse(), format!("{part:0<9}").parse())
    {
        return Timestamp::new(seconds, part).map_err(|_| bad());
    }
    if let Ok(span) = s.parse::<SignedDuration>() {
        return Timestamp::now().checked_sub(span).map_err(|_| bad());
    }
    let local = s.parse::<civil::DateTime>();
    let local = local.or_else(|_| s.parse::<civil::Date>().map(Into::into));
    let zoned = local.and_then(|l| l.to_zoned(jiff::tz::TimeZone::UTC));
    zoned.map(|z| z.timestamp()).map_err(|_| bad())
}

/// A condition on what is pruned.
#[derive(Clone, Debug)]
pub(super) enum Condition {
    Until(Timestamp),
    Label(prune::Label),
}

/// `until=TIME`, `label=KEY[=VALUE]` or `label!=KEY[=VALUE]`.
pub(super) fn condition(s: &str) -> Result<Condition, String> {
    let (key, value) = pair(s)?;
    match key {
        "until" => moment(value).map(Condition::Until),
        "label" => Ok(Condition::Label(prune::Label::new(value, false))),
        "label!" => Ok(Condition::Label(prune::Label::new(value, true))),
        _ => Err(format!(
            "unknown filter {key:?}; there are until, label and label!"
        )),
    }
}

/// What every `prune` takes.
#[derive(Debug, clap::Args)]
pub(super) struct PruneArgs {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Only what fulfils this: until=TIME (made before), label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long = "filter", value_name = "KEY=VALUE", value_parser = condition)]
    filters: Vec<Condition>,
}

impl PruneArgs {
    /// What shall go; `None` if the user had second thoughts. `what`: a list, one thing a line.
    pub(super) fn wanted(
        &self,
        what: &[&str],
        all: bool,
    ) -> std::io::Result<Option<prune::Wanted>> {
        if !self.force && !super::ask::confirm(what)? {
            return Ok(None);
        }
        let mut wanted = prune::Wanted {
            all,
            ..prune::Wanted::default()
        };
        for filter in &self.filters {
            match filter {
                Condition::Until(time) => {
                    // Of several the earliest: all must hold.
                    let earliest = wanted.until.map_or(*time, |t| t.min(*time));
                    wanted.until = Some(earliest);
                }
                Condition::Label(label) => wanted.labels.push(label.clone()),
            }
        }
        Ok(Some(wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_all_forms() {
        let at = |s: &str| moment(s).map(|t| t.as_second());
        assert_eq!(at("1700000000"), Ok(1_700_000_000));
        assert_eq!(at("1700000000.25"), Ok(1_700_000_000));
        let part = moment("1700000000.25").unwrap().subsec_nanosecond();
        assert_eq!(part, 250_000_000);
        assert_eq!(at("2024-01-02"), Ok(1_704_153_600));
        assert_eq!(at("2024-01-02T00:00:01"), Ok(1_704_153_601));
        assert_eq!(at("2024-01-02T01:00:00+01:00"), Ok(1_704_153_600));
        let now = Timestamp::now().as_second();
        for (span, seconds) in [("24h", 86400), ("1h30m", 5400), ("1.5h", 5400), ("10s", 10)] {
            let off = now - seconds - at(span).unwrap();
            assert!((-2..=2).contains(&off), "{span}: {off}");
        }
        for bad in [
            "",
            "soon",
            "1.x",
            "1.+5",
            "1.0123456789",
            "12:00",
            "99999999999999999",
        ] {
            assert!(at(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn conditions() {
        assert!(
            matches!(condition("label!=a=b"), Ok(Condition::Label(l)) if l.absent && l.key == "a")
        );
        assert!(matches!(condition("label=a"), Ok(Condition::Label(l)) if !l.absent));
        for bad in ["until", "until=", "until=x", "size=3"] {
            assert!(condition(bad).is_err(), "{bad}");
        }
    }
}
