//! Skips are results: each has a reason, all are printed, and some are not allowed in CI.

use std::collections::BTreeMap;
use std::sync::Mutex;

static SKIPPED: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());

/// Note that `test` was skipped.
pub fn record(test: &str, reason: &str) {
    SKIPPED
        .lock()
        .unwrap()
        .insert(test.to_owned(), reason.to_owned());
}

/// Print the skips; false if one of them is not allowed. `complete` says that no filter was given, so
/// that a line of the list that names no test at all is an error too.
pub fn report(complete: bool, names: &[String]) -> bool {
    let skipped = SKIPPED.lock().unwrap();
    for (test, reason) in skipped.iter() {
        println!("skipped: {test}: {reason}");
    }
    if std::env::var_os("CI").is_none_or(|v| v != "true") {
        return true;
    }
    let list = include_str!("../must-not-skip.txt");
    let mut allowed = true;
    for entry in list
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
    {
        let matches = |name: &str| match entry.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == entry,
        };
        if complete && !names.iter().any(|n| matches(n)) {
            println!("must-not-skip.txt: {entry} is no test");
            allowed = false;
        }
        for (test, reason) in skipped.iter().filter(|(t, _)| matches(t)) {
            println!("must not be skipped in CI: {test}: {reason}");
            allowed = false;
        }
    }
    allowed
}
