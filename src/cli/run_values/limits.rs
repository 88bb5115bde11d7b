//! Sizes, limits and signals.

use oci_spec::runtime::PosixRlimitType;

use super::Parsed;
use crate::ops::run::Ulimit;

/// Bytes with an optional b, k, m, g or t (powers of 1024), as docker.
pub(in crate::cli) fn size(s: &str) -> Parsed<u64> {
    let lower = s.to_ascii_lowercase();
    let text = lower
        .strip_suffix("ib")
        .or(lower.strip_suffix('b'))
        .unwrap_or(&lower);
    let (digits, shift) = match text.strip_suffix(['k', 'm', 'g', 't']) {
        Some(digits) => {
            let unit = text.as_bytes()[text.len() - 1];
            (
                digits,
                [(b'k', 10), (b'm', 20), (b'g', 30), (b't', 40)]
                    .iter()
                    .find(|(u, _)| *u == unit)
                    .map_or(0, |(_, s)| *s),
            )
        }
        None => (text, 0),
    };
    let n: u64 = digits
        .parse()
        .map_err(|_| format!("{s:?} is not a size: want a number with k, m, g or t"))?;
    n.checked_mul(1 << shift)
        .ok_or_else(|| format!("{s:?} is too large"))
}

/// `NAME=SOFT[:HARD]`, -1 for none.
pub(in crate::cli) fn ulimit(s: &str) -> Parsed<Ulimit> {
    let (name, values) = s.split_once('=').ok_or("want NAME=SOFT[:HARD]")?;
    use PosixRlimitType as R;
    let kinds = [
        ("core", R::RlimitCore),
        ("cpu", R::RlimitCpu),
        ("data", R::RlimitData),
        ("fsize", R::RlimitFsize),
        ("locks", R::RlimitLocks),
        ("memlock", R::RlimitMemlock),
        ("msgqueue", R::RlimitMsgqueue),
        ("nice", R::RlimitNice),
        ("nofile", R::RlimitNofile),
        ("nproc", R::RlimitNproc),
        ("rss", R::RlimitRss),
        ("rtprio", R::RlimitRtprio),
        ("rttime", R::RlimitRttime),
        ("sigpending", R::RlimitSigpending),
        ("stack", R::RlimitStack),
        ("as", R::RlimitAs),
    ];
    let kind = kinds.iter().find(|(n, _)| *n == name).ok_or_else(|| {
        format!(
            "unknown limit {name:?}: want one of {}",
            kinds.map(|(n, _)| n).join(", ")
        )
    })?;
    let number = |v: &str| match v {
        "-1" | "unlimited" => Ok(u64::MAX),
        v => v.parse().map_err(|_| format!("{v:?} is not a number")),
    };
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let (soft, hard) = (number(soft)?, number(hard)?);
    if soft > hard {
        return Err(format!("the soft limit of {name} is above the hard one"));
    }
    Ok(Ulimit {
        name: kind.1,
        soft,
        hard,
    })
}

/// A signal by number or name.
pub(in crate::cli) fn signal(s: &str) -> Parsed<String> {
    let name = s.to_ascii_uppercase();
    let full = if name.starts_with("SIG") {
        name
    } else {
        format!("SIG{name}")
    };
    let known = s.parse::<i32>().map_or_else(
        |_| full.parse::<nix::sys::signal::Signal>().is_ok() || full.starts_with("SIGRTM"),
        |n| (1..=64).contains(&n),
    );
    if known {
        Ok(s.to_owned())
    } else {
        Err(format!("{s:?} is not a signal"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, want) in [
            ("0", Some(0)),
            ("64m", Some(64 << 20)),
            ("1G", Some(1 << 30)),
            ("10kb", Some(10240)),
            ("5b", Some(5)),
            ("1MiB", Some(1 << 20)),
            ("", None),
            ("m", None),
            ("-1", None),
            ("99999999999999t", None),
        ] {
            assert_eq!(size(text).ok(), want, "{text}");
        }
    }

    #[test]
    fn limits_and_signals() {
        assert_eq!(
            ulimit("nofile=1:2").unwrap(),
            Ulimit {
                name: PosixRlimitType::RlimitNofile,
                soft: 1,
                hard: 2
            }
        );
        assert_eq!(ulimit("core=-1").unwrap().hard, u64::MAX);
        for bad in ["nofile", "fly=1", "nofile=2:1", "nofile=x"] {
            assert!(ulimit(bad).is_err(), "{bad}");
        }
        for (s, ok) in [
            ("TERM", true),
            ("SIGKILL", true),
            ("15", true),
            ("0", false),
            ("65", false),
            ("FLY", false),
        ] {
            assert_eq!(signal(s).is_ok(), ok, "{s}");
        }
    }
}
