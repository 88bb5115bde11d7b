//! What a template works with, and how Go shows it.

use serde_json::{Number, Value};

use crate::cli::text::printable;

/// A value, and where it comes from.
#[derive(Clone, Debug)]
pub(super) enum Val<'a> {
    /// Of the record: what strangers wrote.
    Data(&'a Value),
    /// Of the template, or made of data by a function, which has escaped it.
    Made(Value),
}

impl<'a> Val<'a> {
    pub(super) fn value(&self) -> &Value {
        match self {
            Self::Data(v) => v,
            Self::Made(v) => v,
        }
    }

    /// As Go prints it, fit for a terminal.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Data(v) => {
                let text = show(v);
                match printable(&text) {
                    std::borrow::Cow::Owned(escaped) => escaped,
                    std::borrow::Cow::Borrowed(_) => text,
                }
            }
            Self::Made(v) => show(v),
        }
    }

    /// A part of it, by `pick`.
    pub(super) fn part(&self, pick: impl Fn(&Value) -> Option<&Value>) -> Option<Val<'a>> {
        match self {
            Self::Data(v) => pick(v).map(Val::Data),
            Self::Made(v) => pick(v).cloned().map(Val::Made),
        }
    }

    /// What a range goes through: keys or numbers, and values; `None` if it is nothing to go through.
    pub(super) fn items(&self) -> Option<Vec<(Value, Val<'a>)>> {
        let pairs: Vec<Value> = match self.value() {
            Value::Array(items) => (0..items.len()).map(Value::from).collect(),
            Value::Object(map) => map.keys().map(|k| printable(k).into()).collect(),
            Value::Null => Vec::new(),
            Value::String(s) if s.is_empty() => Vec::new(),
            // Since Go 1.22.
            Value::Number(n) => {
                let n = n.as_i64().filter(|n| *n <= 1 << 20)?;
                let numbers = (0..n).map(|i| (i.into(), Val::Made(i.into())));
                return Some(numbers.collect());
            }
            _ => return None,
        };
        let values: Vec<Val<'a>> = match self {
            Self::Data(Value::Array(items)) => items.iter().map(Val::Data).collect(),
            Self::Data(Value::Object(map)) => map.values().map(Val::Data).collect(),
            Self::Made(Value::Array(items)) => items.iter().cloned().map(Val::Made).collect(),
            Self::Made(Value::Object(map)) => map.values().cloned().map(Val::Made).collect(),
            _ => Vec::new(),
        };
        Some(pairs.into_iter().zip(values).collect())
    }
}

pub(super) fn truth(v: &Value) -> bool {
    match v {
        Value::Null => false,
        Value::Bool(b) => *b,
        Value::Number(n) => n.as_f64() != Some(0.0),
        Value::String(s) => !s.is_empty(),
        Value::Array(a) => !a.is_empty(),
        Value::Object(o) => !o.is_empty(),
    }
}

/// As Go prints it.
pub(super) fn show(v: &Value) -> String {
    match v {
        Value::Null => "<no value>".to_owned(),
        Value::String(s) => s.clone(),
        Value::Number(n) => number(n),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(show).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(map) => {
            let items: Vec<String> = map
                .iter()
                .map(|(k, v)| format!("{k}:{}", show(v)))
                .collect();
            format!("map[{}]", items.join(" "))
        }
        Value::Bool(b) => b.to_string(),
    }
}

/// A whole number has no point, also where it was computed.
fn number(n: &Number) -> String {
    match n.as_f64() {
        Some(f) if n.is_f64() => format!("{f}"),
        _ => n.to_string(),
    }
}
