//! What a group uses, in the form of runc's `events --stats`.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

/// Its numbers; those whose controller is missing are left out.
pub fn stats(path: &Path) -> Value {
    let number = |file: &str| -> Option<u64> {
        let text = fs::read_to_string(path.join(file)).ok()?;
        match text.trim() {
            "max" => Some(u64::MAX),
            number => number.parse().ok(),
        }
    };
    let table = |file: &str| -> Value {
        let text = fs::read_to_string(path.join(file)).unwrap_or_default();
        let pairs = text.lines().filter_map(|line| {
            let (name, value) = line.split_once(' ')?;
            Some((name.to_owned(), Value::from(value.parse::<u64>().ok()?)))
        });
        Value::Object(pairs.collect())
    };
    let mut all = json!({});
    if let Some(current) = number("pids.current") {
        all["pids"] = json!({ "current": current, "limit": number("pids.max") });
    }
    if let Some(usage) = number("memory.current") {
        let usage =
            json!({ "usage": usage, "limit": number("memory.max"), "max": number("memory.peak") });
        all["memory"] = json!({ "usage": usage, "raw": table("memory.stat") });
    }
    let cpu = table("cpu.stat");
    let nanoseconds = |name: &str| cpu[name].as_u64().map(|n| n * 1000);
    if let Some(total) = nanoseconds("usage_usec") {
        all["cpu"] = json!({ "usage": {
            "total": total,
            "kernel": nanoseconds("system_usec"),
            "user": nanoseconds("user_usec"),
        } });
    }
    all
}
