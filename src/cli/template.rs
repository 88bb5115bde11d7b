//! `--format`: the part of Go's text/template that people use with docker, over JSON values.
//!
//! ```text
//! text {{.Field.Sub}} {{json .X}} {{range .List}}{{.}} {{end}} {{if .A}}…{{else}}…{{end}}
//! functions: json join upper lower len index eq ne not    pipes: {{.X | upper}}    trim: {{- … -}}
//! ```
//! `\n` and `\t` in the text mean what they look like, as with docker. A field that the record does
//! not have is an error; below the record it is empty, since images leave out what is not set.

use serde_json::Value;

use super::text::{json_printable, printable};

const DEPTH_MAX: usize = 32;

/// Why a template was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TemplateError {
    #[error("the format has {{{{ without }}}}")]
    Open,
    #[error("the format has {0:?}, which is not understood here")]
    Syntax(String),
    #[error("the format has {{{{{0}}}}} in the wrong place")]
    Block(String),
    #[error("the format ends before {{{{end}}}}")]
    NoEnd,
    #[error("the format asks for .{field}, which is not one of: {}", .fields.join(", "))]
    Field { field: String, fields: Vec<String> },
    #[error("the format gives {function} what it cannot work with")]
    Argument { function: String },
    #[error("the format is nested too deeply")]
    Depth,
}

/// A parsed template.
#[derive(Clone, Debug)]
pub(super) struct Template(Vec<Node>);

#[derive(Clone, Debug)]
enum Node {
    Text(String),
    Print(Pipe),
    Range(Pipe, Vec<Node>, Vec<Node>),
    If(Pipe, Vec<Node>, Vec<Node>),
}

/// Commands joined by `|`: the value of one is the last argument of the next.
type Pipe = Vec<Vec<Word>>;

#[derive(Clone, Debug, PartialEq)]
enum Word {
    Path(Vec<String>),
    Literal(Value),
    Function(String),
}

impl Template {
    pub(super) fn parse(source: &str) -> Result<Self, TemplateError> {
        let source = source.replace("\\n", "\n").replace("\\t", "\t");
        let mut pieces = pieces(&source)?.into_iter();
        let (nodes, end) = block(&mut pieces, 0)?;
        match end {
            End::Eof => Ok(Self(nodes)),
            End::Else => Err(TemplateError::Block("else".to_owned())),
            End::Close => Err(TemplateError::Block("end".to_owned())),
        }
    }

    /// Fill in one record.
    pub(super) fn render(&self, record: &Value) -> Result<String, TemplateError> {
        let mut out = String::new();
        render(&self.0, record, record, &mut out)?;
        Ok(out)
    }

    /// The fields that are printed, in order: headings for `table {{.A}}\t{{.B}}`.
    pub(super) fn headings(&self) -> Vec<String> {
        let mut headings = Vec::new();
        for node in &self.0 {
            if let Node::Print(pipe) = node {
                let path = pipe.iter().flatten().find_map(|w| match w {
                    Word::Path(p) => p.last(),
                    _ => None,
                });
                headings.push(path.map(|p| p.to_uppercase()).unwrap_or_default());
            }
        }
        headings
    }
}

enum Piece {
    Text(String),
    Action(String),
}

fn pieces(source: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = source;
    let mut trim = false;
    while let Some((text, after)) = rest.split_once("{{") {
        let text = if trim { text.trim_start() } else { text };
        let (action, after) = split_action(after).ok_or(TemplateError::Open)?;
        let (action, text) = match action.strip_prefix("- ") {
            Some(a) => (a, text.trim_end()),
            None => (action, text),
        };
        let action = match action.strip_suffix(" -") {
            Some(a) => {
                trim = true;
                a
            }
            None => {
                trim = false;
                action
            }
        };
        pieces.push(Piece::Text(text.to_owned()));
        pieces.push(Piece::Action(action.trim().to_owned()));
        rest = after;
    }
    let rest = if trim { rest.trim_start() } else { rest };
    pieces.push(Piece::Text(rest.to_owned()));
    Ok(pieces)
}

/// Up to the `}}` that is not inside a string.
fn split_action(s: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    let mut escaped = false;
    for (i, c) in s.char_indices() {
        match (quote, c) {
            (Some('"'), '\\') if !escaped => {
                escaped = true;
                continue;
            }
            (Some(q), c) if c == q && !escaped => quote = None,
            (None, '"' | '`') => quote = Some(c),
            (None, '}') if s[i..].starts_with("}}") => return Some((&s[..i], &s[i + 2..])),
            _ => {}
        }
        escaped = false;
    }
    None
}

enum End {
    Eof,
    Else,
    Close,
}

fn block(
    pieces: &mut impl Iterator<Item = Piece>,
    depth: usize,
) -> Result<(Vec<Node>, End), TemplateError> {
    if depth > DEPTH_MAX {
        return Err(TemplateError::Depth);
    }
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.next() {
        let action = match piece {
            Piece::Text(text) => {
                if !text.is_empty() {
                    nodes.push(Node::Text(text));
                }
                continue;
            }
            Piece::Action(action) => action,
        };
        let (word, rest) = action.split_once(' ').unwrap_or((&action, ""));
        match word {
            "end" => return Ok((nodes, End::Close)),
            "else" if rest.is_empty() => return Ok((nodes, End::Else)),
            "range" | "if" => {
                let pipe = pipe(rest)?;
                let (body, end) = block(pieces, depth + 1)?;
                let other = match end {
                    End::Close => Vec::new(),
                    End::Eof => return Err(TemplateError::NoEnd),
                    End::Else => match block(pieces, depth + 1)? {
                        (other, End::Close) => other,
                        (_, End::Else) => return Err(TemplateError::Block("else".to_owned())),
                        (_, End::Eof) => return Err(TemplateError::NoEnd),
                    },
                };
                nodes.push(match word {
                    "if" => Node::If(pipe, body, other),
                    _ => Node::Range(pipe, body, other),
                });
            }
            _ => nodes.push(Node::Print(pipe(&action)?)),
        }
    }
    Ok((nodes, End::Eof))
}

fn pipe(source: &str) -> Result<Pipe, TemplateError> {
    let syntax = || TemplateError::Syntax(source.to_owned());
    let mut pipe = vec![Vec::new()];
    let mut rest = source.trim_start();
    while let Some(first) = rest.chars().next() {
        let after;
        let word = match first {
            '|' => {
                pipe.push(Vec::new());
                rest = rest[1..].trim_start();
                continue;
            }
            '"' => {
                let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
                let value = stream.next().and_then(Result::ok).ok_or_else(syntax)?;
                after = &rest[stream.byte_offset()..];
                Word::Literal(value)
            }
            '`' => {
                let (text, tail) = rest[1..].split_once('`').ok_or_else(syntax)?;
                after = tail;
                Word::Literal(text.into())
            }
            _ => {
                let end = rest
                    .find(|c: char| c.is_whitespace() || c == '|')
                    .unwrap_or(rest.len());
                let (text, tail) = rest.split_at(end);
                after = tail;
                plain_word(text).ok_or_else(syntax)?
            }
        };
        if let Some(command) = pipe.last_mut() {
            command.push(word);
        }
        rest = after.trim_start();
    }
    if pipe.iter().any(Vec::is_empty) {
        return Err(syntax());
    }
    Ok(pipe)
}

fn plain_word(text: &str) -> Option<Word> {
    let name = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if text == "." {
        return Some(Word::Path(Vec::new()));
    }
    if let Some(path) = text.strip_prefix('.') {
        let parts: Vec<String> = path.split('.').map(str::to_owned).collect();
        return parts.iter().all(|p| name(p)).then_some(Word::Path(parts));
    }
    if let Ok(number) = text.parse::<i64>() {
        return Some(Word::Literal(number.into()));
    }
    const FUNCTIONS: [&str; 9] = [
        "json", "join", "upper", "lower", "len", "index", "eq", "ne", "not",
    ];
    FUNCTIONS
        .contains(&text)
        .then(|| Word::Function(text.to_owned()))
}

fn render(
    nodes: &[Node],
    dot: &Value,
    record: &Value,
    out: &mut String,
) -> Result<(), TemplateError> {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Print(pipe) => {
                let is_json = matches!(
                    pipe.last().and_then(|c| c.first()),
                    Some(Word::Function(f)) if f == "json"
                );
                match evaluate(pipe, dot, record)? {
                    // Already escaped, in JSON's own way.
                    Value::String(s) if is_json => out.push_str(&s),
                    value => out.push_str(&printable(&show(&value))),
                }
            }
            Node::If(pipe, yes, no) => {
                let branch = if truth(&evaluate(pipe, dot, record)?) {
                    yes
                } else {
                    no
                };
                render(branch, dot, record, out)?;
            }
            Node::Range(pipe, body, empty) => {
                let items: Vec<Value> = match evaluate(pipe, dot, record)? {
                    Value::Array(items) => items,
                    Value::Object(map) => map.into_iter().map(|(_, v)| v).collect(),
                    Value::Null => Vec::new(),
                    Value::String(s) if s.is_empty() => Vec::new(),
                    _ => {
                        return Err(TemplateError::Argument {
                            function: "range".to_owned(),
                        });
                    }
                };
                if items.is_empty() {
                    render(empty, dot, record, out)?;
                }
                for item in &items {
                    render(body, item, record, out)?;
                }
            }
        }
    }
    Ok(())
}

fn evaluate(pipe: &Pipe, dot: &Value, record: &Value) -> Result<Value, TemplateError> {
    let mut carried: Option<Value> = None;
    for command in pipe {
        let mut arguments = Vec::new();
        let mut function = None;
        for (i, word) in command.iter().enumerate() {
            match word {
                Word::Function(name) if i == 0 => function = Some(name),
                Word::Function(name) => return Err(TemplateError::Syntax(name.clone())),
                Word::Literal(value) => arguments.push(value.clone()),
                Word::Path(path) => arguments.push(field(path, dot, record)?),
            }
        }
        arguments.extend(carried.take());
        carried = Some(match function {
            Some(name) => call(name, &arguments)?,
            None if arguments.len() == 1 => arguments.swap_remove(0),
            None => return Err(TemplateError::Syntax("several values".to_owned())),
        });
    }
    Ok(carried.unwrap_or(Value::Null))
}

fn field(path: &[String], dot: &Value, record: &Value) -> Result<Value, TemplateError> {
    let mut value = dot;
    for (i, name) in path.iter().enumerate() {
        value = match value.get(name) {
            Some(v) => v,
            None if i == 0 && std::ptr::eq(dot, record) => {
                let fields = record.as_object().into_iter().flat_map(|o| o.keys());
                return Err(TemplateError::Field {
                    field: name.clone(),
                    fields: fields.cloned().collect(),
                });
            }
            None => return Ok(Value::String(String::new())),
        };
    }
    Ok(value.clone())
}

fn call(name: &str, arguments: &[Value]) -> Result<Value, TemplateError> {
    let wrong = || TemplateError::Argument {
        function: name.to_owned(),
    };
    Ok(match (name, arguments) {
        ("json", [v]) => json_printable(&v.to_string()).into_owned().into(),
        ("join", [Value::Array(items), Value::String(by)]) => {
            let items: Vec<String> = items.iter().map(show).collect();
            items.join(by).into()
        }
        ("join", [Value::Null, Value::String(_)]) => "".into(),
        ("upper", [v]) => show(v).to_uppercase().into(),
        ("lower", [v]) => show(v).to_lowercase().into(),
        ("len", [Value::Array(a)]) => a.len().into(),
        ("len", [Value::Object(o)]) => o.len().into(),
        ("len", [Value::String(s)]) => s.len().into(),
        ("len", [Value::Null]) => 0.into(),
        ("index", [from, keys @ ..]) if !keys.is_empty() => {
            let mut value = from;
            for key in keys {
                let next = match key {
                    Value::String(k) => value.get(k),
                    Value::Number(n) => {
                        let i = n.as_u64().and_then(|i| usize::try_from(i).ok());
                        // Beyond the end is an error with Go, too.
                        Some(i.and_then(|i| value.get(i)).ok_or_else(wrong)?)
                    }
                    _ => return Err(wrong()),
                };
                value = match next {
                    Some(v) => v,
                    None => return Ok("".into()),
                };
            }
            value.clone()
        }
        ("eq", [a, b]) => (a == b).into(),
        ("ne", [a, b]) => (a != b).into(),
        ("not", [v]) => (!truth(v)).into(),
        _ => return Err(wrong()),
    })
}

fn truth(v: &Value) -> bool {
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
fn show(v: &Value) -> String {
    match v {
        Value::Null => "<no value>".to_owned(),
        Value::String(s) => s.clone(),
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
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
