//! The functions of templates: Go's own, and those that docker and podman add.

use std::cmp::Ordering;

use serde_json::Value;

use super::TemplateError;
use super::printf::printf;
use super::value::{Val, truth};
use crate::cli::text::json_printable;

/// Go's, but for those that make HTML, JavaScript and URLs; then docker's and podman's.
pub(super) const FUNCTIONS: [&str; 23] = [
    "and", "eq", "ge", "gt", "index", "le", "len", "lt", "ne", "not", "or", "print", "printf",
    "println", "slice", // .
    "join", "json", "lower", "pad", "split", "title", "truncate", "upper",
];

/// How much `pad` adds at most.
const PAD_MAX: u64 = 4096;

pub(super) fn call<'a>(name: &str, arguments: &[Val<'a>]) -> Result<Val<'a>, TemplateError> {
    let wrong = || TemplateError::argument(name);
    let text = |i: usize| arguments.get(i).map(Val::text).unwrap_or_default();
    let values: Vec<&Value> = arguments.iter().map(Val::value).collect();
    let number = |i: usize| values.get(i).and_then(|v| v.as_u64()).ok_or_else(wrong);
    Ok(Val::Made(match (name, &values[..]) {
        ("json", [v]) => json_printable(&v.to_string()).into_owned().into(),
        ("join", [Value::Array(_), by @ Value::String(_)]) => {
            let items = arguments[0].items().unwrap_or_default();
            let items: Vec<String> = items.iter().map(|(_, item)| item.text()).collect();
            items.join(by.as_str().unwrap_or_default()).into()
        }
        ("join", [Value::Null, Value::String(_)]) => "".into(),
        ("split", [_, Value::String(by)]) => {
            let text = text(0);
            match by.as_str() {
                "" => text.chars().map(|c| Value::from(c.to_string())).collect(),
                by => text.split(by).map(Value::from).collect(),
            }
        }
        ("upper", [_]) => text(0).to_uppercase().into(),
        ("lower", [_]) => text(0).to_lowercase().into(),
        ("title", [_]) => title(&text(0)).into(),
        ("pad", [Value::String(_), _, _]) => {
            let space = |n: u64| (n <= PAD_MAX).then(|| " ".repeat(n as usize));
            let (before, after) = (space(number(1)?), space(number(2)?));
            match (before, after) {
                // As docker: nothing stays nothing.
                (Some(_), Some(_)) if text(0).is_empty() => "".into(),
                (Some(before), Some(after)) => format!("{before}{}{after}", text(0)).into(),
                _ => return Err(wrong()),
            }
        }
        ("truncate", [_, _]) => {
            let most = usize::try_from(number(1)?).unwrap_or(usize::MAX);
            text(0).chars().take(most).collect::<String>().into()
        }
        ("len", [Value::Array(a)]) => a.len().into(),
        ("len", [Value::Object(o)]) => o.len().into(),
        ("len", [Value::String(s)]) => s.len().into(),
        ("len", [Value::Null]) => 0.into(),
        ("index", [_, keys @ ..]) if !keys.is_empty() => return index(&arguments[0], keys),
        ("slice", [Value::String(_) | Value::Array(_), ..]) => {
            return slice(arguments).ok_or_else(wrong);
        }
        ("eq", [a, others @ ..]) if !others.is_empty() => others.iter().any(|b| same(a, b)).into(),
        ("ne", [a, b]) => (!same(a, b)).into(),
        ("lt", [a, b]) => order(a, b).ok_or_else(wrong)?.is_lt().into(),
        ("le", [a, b]) => order(a, b).ok_or_else(wrong)?.is_le().into(),
        ("gt", [a, b]) => order(a, b).ok_or_else(wrong)?.is_gt().into(),
        ("ge", [a, b]) => order(a, b).ok_or_else(wrong)?.is_ge().into(),
        ("not", [v]) => (!truth(v)).into(),
        ("print", _) => print(arguments).into(),
        ("println", _) => {
            let words: Vec<String> = arguments.iter().map(Val::text).collect();
            format!("{}\n", words.join(" ")).into()
        }
        ("printf", [format @ Value::String(_), ..]) => {
            let format = format.as_str().unwrap_or_default();
            printf(format, &arguments[1..]).ok_or_else(wrong)?.into()
        }
        _ => return Err(wrong()),
    }))
}

/// As docker and podman: each word begins with a capital letter.
fn title(s: &str) -> String {
    let mut out = String::with_capacity(s.len());
    let mut inside = false;
    for c in s.chars() {
        match inside {
            true => out.push(c),
            false => out.extend(c.to_uppercase()),
        }
        inside = c.is_alphanumeric() || c == '_' || c == '\'';
    }
    out
}

/// Go's Print: a space between two operands of which neither is a string.
fn print(arguments: &[Val<'_>]) -> String {
    let mut out = String::new();
    let mut after_string = true;
    for (i, argument) in arguments.iter().enumerate() {
        let string = argument.value().is_string();
        if i > 0 && !string && !after_string {
            out.push(' ');
        }
        out.push_str(&argument.text());
        after_string = string;
    }
    out
}

fn index<'a>(from: &Val<'a>, keys: &[&Value]) -> Result<Val<'a>, TemplateError> {
    let wrong = || TemplateError::argument("index");
    let mut value = from.clone();
    for key in keys {
        let part = match (value.value(), key) {
            (Value::Array(_), Value::Number(n)) => {
                let i = n.as_u64().and_then(|i| usize::try_from(i).ok());
                // Beyond the end is an error with Go, too.
                let i = i.ok_or_else(wrong)?;
                Some(value.part(|v| v.get(i)).ok_or_else(wrong)?)
            }
            (Value::Object(_), Value::String(k)) => value.part(|v| v.get(k)),
            // What is not set has nothing in it.
            (Value::Null, Value::String(_)) => None,
            (Value::String(s), Value::String(_)) if s.is_empty() => None,
            _ => return Err(wrong()),
        };
        value = match part {
            Some(part) => part,
            None => return Ok(Val::Made("".into())),
        };
    }
    Ok(value)
}

/// A part of a string, in bytes, or of a list.
fn slice<'a>(arguments: &[Val<'a>]) -> Option<Val<'a>> {
    let (of, ends) = arguments.split_first()?;
    let mut at = Vec::new();
    for end in ends {
        at.push(usize::try_from(end.value().as_u64()?).ok()?);
    }
    let whole = match of.value() {
        Value::Array(items) => items.len(),
        v => v.as_str()?.len(),
    };
    let (from, to) = match at[..] {
        [] => (0, whole),
        [from] => (from, whole),
        [from, to] => (from, to),
        _ => return None,
    };
    Some(Val::Made(match of {
        Val::Made(Value::String(s)) => s.get(from..to)?.into(),
        Val::Data(Value::String(s)) => {
            let cut = Value::from(s.get(from..to)?);
            Val::Data(&cut).text().into()
        }
        _ => {
            let items = of.items()?;
            let texts = items.get(from..to)?.iter().map(|(_, item)| match item {
                Val::Data(v @ Value::String(_)) => Val::Data(v).text().into(),
                item => item.value().clone(),
            });
            texts.collect()
        }
    }))
}

fn same(a: &Value, b: &Value) -> bool {
    match (a.is_number(), b.is_number()) {
        (true, true) => order(a, b) == Some(Ordering::Equal),
        _ => a == b,
    }
}

fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
        },
        _ => None,
    }
}
