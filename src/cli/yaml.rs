//! A JSON document as YAML, in which podman's `info` is printed. <https://yaml.org/spec/1.2.2>

use serde_json::Value;

/// Two spaces a level; lists stand below their key as far to the left as it does.
pub(super) fn render(value: &Value) -> String {
    let mut out = String::new();
    block(value, 0, &mut out);
    out
}

fn block(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                out.push_str(&"  ".repeat(depth));
                out.push_str(&scalar(&Value::String(key.clone())));
                out.push(':');
                // An item of a list has no key to hang under.
                below(value, depth + usize::from(!value.is_array()), out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                let mut inner = String::new();
                block(item, depth + 1, &mut inner);
                out.push_str(&"  ".repeat(depth));
                out.push_str("- ");
                out.push_str(inner.trim_start());
            }
        }
        value => {
            out.push_str(&"  ".repeat(depth));
            out.push_str(&scalar(value));
            out.push('\n');
        }
    }
}

/// What follows a key.
fn below(value: &Value, depth: usize, out: &mut String) {
    let empty = match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => true,
    };
    if empty {
        out.push(' ');
        out.push_str(&scalar(value));
        out.push('\n');
    } else {
        out.push('\n');
        block(value, depth, out);
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(s) if is_plain(s) => s.clone(),
        Value::String(s) if s.contains(char::is_control) => value.to_string(),
        Value::String(s) => format!("'{}'", s.replace('\'', "''")),
        // Numbers, and what is empty: JSON is YAML.
        other => other.to_string(),
    }
}

/// Whether a string stands for itself.
fn is_plain(s: &str) -> bool {
    const WORDS: [&str; 8] = ["true", "false", "yes", "no", "on", "off", "null", "~"];
    let first = s.chars().next();
    first.is_some_and(|c| c.is_alphanumeric() || "/_.".contains(c))
        && !s.ends_with([':', ' '])
        && !s.contains(": ")
        && !s.contains(" #")
        && !s.contains(|c: char| c.is_control() || "\u{feff}".contains(c))
        && s.parse::<f64>().is_err()
        && !s.starts_with("0x")
        && !WORDS.iter().any(|w| s.eq_ignore_ascii_case(w))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_read_as_podmans() {
        let value = json!({
            "a": { "b": "1", "c": "x: y", "d": true, "e": {}, "f": null, "g": "it's #1 #2" },
            "l": [ "p", { "k": 1, "m": [2] }, [] ],
            "s": "two\nlines", "t": "", "u": "12.5s", "v": "No",
        });
        let want = "a:\n  b: '1'\n  c: 'x: y'\n  d: true\n  e: {}\n  f: null\n  g: 'it''s #1 #2'\n\
                    l:\n- p\n- k: 1\n  m:\n  - 2\n- []\n";
        let got = render(&value);
        let (head, tail) = got.split_at(got.find("s: \"").unwrap());
        assert_eq!(head, want);
        assert_eq!(tail, "s: \"two\\nlines\"\nt: ''\nu: 12.5s\nv: 'No'\n");
    }
}
