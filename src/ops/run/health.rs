//! `HEALTHCHECK`: what the image says, and what the user says instead. Docker's image specification; a value of 0 is
//! docker's default.

use std::time::Duration;

use super::options::HealthWish;
use crate::monitor::Health;

const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const RETRIES: u32 = 3;

/// As it stands in an image's configuration; times in nanoseconds.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Healthcheck {
    test: Vec<String>,
    interval: u64,
    timeout: u64,
    start_period: u64,
    retries: u32,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Config {
    #[serde(rename = "Healthcheck")]
    healthcheck: Option<Healthcheck>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Image {
    config: Config,
}

/// The test to make, if there is one. `image`: its configuration; what cannot be read there is no test.
pub(in crate::ops) fn resolve(image: &[u8], wish: &HealthWish) -> Option<Health> {
    if wish.off {
        return None;
    }
    let image: Image = serde_json::from_slice(image).unwrap_or_default();
    let own = image.config.healthcheck.unwrap_or_default();
    let test = wish.test.as_ref().unwrap_or(&own.test);
    let (kind, rest) = test.split_first()?;
    let test = match kind.as_str() {
        "CMD" if !rest.is_empty() => rest.to_vec(),
        "CMD-SHELL" => [["/bin/sh", "-c"].map(str::to_owned).as_slice(), rest].concat(),
        _ => return None,
    };
    let time = |wish: Option<Duration>, own: u64, default| {
        let own = Duration::from_nanos(own);
        wish.filter(|w| !w.is_zero())
            .unwrap_or(if own.is_zero() { default } else { own })
    };
    let retries = wish.retries.filter(|r| *r > 0).unwrap_or(own.retries);
    Some(Health {
        test,
        interval: time(wish.interval, own.interval, INTERVAL),
        timeout: time(wish.timeout, own.timeout, TIMEOUT),
        start_period: time(wish.start_period, own.start_period, Duration::ZERO),
        retries: if retries == 0 { RETRIES } else { retries },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: &str = r#"{"config":{"Healthcheck":{"Test":["CMD-SHELL","true"],"Interval":5000000000,"Retries":2}}}"#;

    #[test]
    fn the_image_says_and_the_user_says_otherwise() {
        let s = Duration::from_secs;
        let h = resolve(IMAGE.as_bytes(), &HealthWish::default()).unwrap();
        assert_eq!(h.test, ["/bin/sh", "-c", "true"]);
        assert_eq!((h.interval, h.timeout, h.retries), (s(5), s(30), 2));
        let wish = HealthWish {
            test: Some(vec!["CMD".into(), "x".into()]),
            interval: Some(s(1)),
            retries: Some(7),
            ..HealthWish::default()
        };
        let h = resolve(IMAGE.as_bytes(), &wish).unwrap();
        assert_eq!(
            (h.test, h.interval, h.retries),
            (vec!["x".to_owned()], s(1), 7)
        );
        for (image, off) in [
            (IMAGE, true),
            ("{}", false),
            ("nonsense", false),
            (r#"{"config":{"Healthcheck":{"Test":["NONE"]}}}"#, false),
            (r#"{"config":{"Healthcheck":{"Test":["CMD"]}}}"#, false),
        ] {
            let wish = HealthWish {
                off,
                ..HealthWish::default()
            };
            assert_eq!(resolve(image.as_bytes(), &wish), None, "{image}");
        }
    }
}
