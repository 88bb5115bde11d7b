//! What a registry says in its own words, made fit to be shown. Pure.

use std::fmt;

use serde::Deserialize;

/// What a registry said in an error reply is shown up to this many bytes.
const MESSAGE_MAX: usize = 1024;
/// Of a header that makes no sense, and of a URL, this much is shown.
pub(super) const SHOWN_MAX: usize = 256;

/// What a registry said, shortened, with control characters escaped. Displays as nothing when it
/// said nothing, else as `: "..."`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message(String);

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        write!(f, ": \"{}\"", self.0)
    }
}

impl Message {
    /// Any text of a stranger.
    pub(super) fn new(text: &str) -> Self {
        Self(shorten(text.trim(), MESSAGE_MAX))
    }

    /// The body of an error reply: the distribution specification's `errors` list, the token
    /// service's `details`, or a line of plain text. Anything else (pages of HTML) says nothing.
    pub(super) fn of_body(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Body {
            #[serde(default)]
            errors: Vec<Item>,
            details: Option<String>,
            error_description: Option<String>,
        }
        #[derive(Deserialize)]
        struct Item {
            code: Option<String>,
            message: Option<String>,
        }
        if let Ok(body) = serde_json::from_slice::<Body>(body) {
            let mut parts: Vec<String> = body
                .errors
                .into_iter()
                .filter_map(|e| e.message.filter(|m| !m.is_empty()).or(e.code))
                .collect();
            parts.extend(body.details);
            parts.extend(body.error_description);
            return Self::new(&parts.join("; "));
        }
        match std::str::from_utf8(body) {
            Ok(text) if !text.trim_start().starts_with(['<', '{', '[']) => {
                Self::new(text.trim().lines().next().unwrap_or_default())
            }
            _ => Self::default(),
        }
    }
}

/// At most `max` bytes of `text`, with what could drive a terminal escaped.
pub(super) fn shorten(text: &str, max: usize) -> String {
    let mut out = String::new();
    for c in text.chars() {
        let at = out.len();
        // `escape_debug` also escapes the invisible characters that reorder text.
        if c == '"' || c == '\'' || c == '\\' {
            out.push(c);
        } else {
            out.extend(c.escape_debug());
        }
        if out.len() > max {
            out.truncate(at);
            out.push('…');
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_short_and_harmless() {
        let body = br#"{"errors":[{"code":"X","message":"no \u001b[2J\u202ename"},{"code":"Y"}]}"#;
        assert_eq!(
            Message::of_body(body).to_string(),
            ": \"no \\u{1b}[2J\\u{202e}name; Y\""
        );
        let long = format!(r#"{{"errors":[{{"message":"{}"}}]}}"#, "ü".repeat(5000));
        let said = Message::of_body(long.as_bytes()).to_string();
        assert!(said.len() < MESSAGE_MAX + 10 && said.contains('…'));
        assert_eq!(Message::of_body(b"<html>no</html>").to_string(), "");
        assert_eq!(Message::of_body(b"\xff\xfe").to_string(), "");
        assert_eq!(Message::of_body(b"one\ntwo").to_string(), ": \"one\"");
        assert_eq!(Message::of_body(b"").to_string(), "");
        assert_eq!(
            Message::of_body(br#"{"details":"incorrect password"}"#).to_string(),
            ": \"incorrect password\""
        );
    }
}
