//! Sizes and ages for people, as docker words them. Scripts ask for `--format json`.

use jiff::Timestamp;

/// `72.8kB`, `117MB`: three digits, powers of 1000.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    // 999.5 would be written with four digits.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = match value {
        v if unit == 0 || v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    format!("{text}{}", UNITS[unit])
}

/// `3 days ago`; `N/A` when it is unknown or no time.
pub(super) fn ago(created: Option<&str>) -> String {
    since(created).map_or_else(|| "N/A".to_owned(), |span| format!("{span} ago"))
}

/// `3 days`: how long ago that was; `None` when it is unknown or no time.
pub(super) fn since(then: Option<&str>) -> Option<String> {
    let then: Timestamp = then?.parse().ok()?;
    Some(span(Timestamp::now().as_second() - then.as_second()))
}

/// `2024-11-12 00:00:00 +0000 UTC`, as Go prints a time.
pub(super) fn at(created: Option<&str>) -> String {
    match created.and_then(|c| c.parse::<Timestamp>().ok()) {
        Some(then) => then.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string(),
        None => "N/A".to_owned(),
    }
}

/// `1m2.5s`, `340ms`, as Go prints a duration, to the millisecond.
pub(super) fn duration(d: std::time::Duration) -> String {
    let (seconds, millis) = (d.as_secs(), d.subsec_millis());
    if seconds == 0 {
        return match millis {
            0 => "0s".to_owned(),
            n => format!("{n}ms"),
        };
    }
    let fraction = format!("{millis:03}");
    let fraction = match fraction.trim_end_matches('0') {
        "" => String::new(),
        digits => format!(".{digits}"),
    };
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}{fraction}s"),
        (0, m) => format!("{m}m{rest}{fraction}s"),
        (h, m) => format!("{h}h{m}m{rest}{fraction}s"),
    }
}

fn span(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    match seconds {
        ..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        s if s < MINUTE => format!("{s} seconds"),
        s if s < 2 * MINUTE => "About a minute".to_owned(),
        s if s < HOUR => format!("{} minutes", s / MINUTE),
        s if s < 2 * HOUR => "About an hour".to_owned(),
        s if s < 2 * DAY => format!("{} hours", s / HOUR),
        s if s < 14 * DAY => format!("{} days", s / DAY),
        s if s < 60 * DAY => format!("{} weeks", s / (7 * DAY)),
        s if s < 730 * DAY => format!("{} months", s / (30 * DAY)),
        s => format!("{} years", s / (365 * DAY)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, want) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (72_842, "72.8kB"),
            (999_499, "999kB"),
            (999_999, "1MB"),
            (4_261_000, "4.26MB"),
            (117_000_000, "117MB"),
            (1_240_000_000, "1.24GB"),
            (u64::MAX, "18.4EB"),
        ] {
            assert_eq!(size(bytes), want);
        }
    }

    #[test]
    fn durations() {
        for (ms, want) in [
            (0, "0s"),
            (340, "340ms"),
            (1000, "1s"),
            (62_050, "1m2.05s"),
            (3_600_010, "1h0m0.01s"),
        ] {
            assert_eq!(duration(std::time::Duration::from_millis(ms)), want);
        }
    }

    #[test]
    fn ages() {
        for (seconds, want) in [
            (-5, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (47 * 3600, "47 hours"),
            (3 * 86400, "3 days"),
            (20 * 86400, "2 weeks"),
            (100 * 86400, "3 months"),
            (1000 * 86400, "2 years"),
        ] {
            assert_eq!(span(seconds), want);
        }
        assert_eq!(ago(None), "N/A");
        assert_eq!(ago(Some("yesterday")), "N/A");
        assert_eq!(
            at(Some("2024-11-12T01:02:03.5+01:00")),
            "2024-11-12 00:02:03 +0000 UTC"
        );
    }
}
