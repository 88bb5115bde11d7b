//! `--change`: an instruction of a Containerfile that changes the configuration of an image.
//! docker-container-commit(1); Dockerfile reference.

use std::str::FromStr;

use serde_json::{Map, Value, json};

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// `CMD`
    Cmd(Vec<String>),
    /// `ENTRYPOINT`
    Entrypoint(Vec<String>),
    /// `ENV`
    Env(Vec<(String, String)>),
    /// `EXPOSE`
    Expose(Vec<String>),
    /// `LABEL`
    Label(Vec<(String, String)>),
    /// `USER`
    User(String),
    /// `WORKDIR`
    Workdir(String),
    /// `VOLUME`
    Volume(Vec<String>),
    /// `STOPSIGNAL`
    StopSignal(String),
    /// `ONBUILD`
    OnBuild(String),
}

/// Why an instruction was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Not one of those that change the configuration.
    #[error(
        "{0:?} cannot be changed: want CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME or WORKDIR"
    )]
    Instruction(String),
    /// There is nothing after it.
    #[error("{0} needs a value")]
    Empty(String),
    /// A quote that is not closed.
    #[error("{0:?}: a quote is not closed")]
    Quote(String),
    /// Neither `NAME=VALUE` nor, for one, `NAME VALUE`.
    #[error("{0:?} is not NAME=VALUE")]
    Pair(String),
    /// Not a port.
    #[error("{0:?} is not a port: want NUMBER[-NUMBER][/tcp|/udp|/sctp]")]
    Port(String),
}

impl FromStr for Change {
    type Err = ChangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let (name, rest) = (word.to_ascii_uppercase(), rest.trim());
        const KNOWN: [&str; 10] = [
            "CMD",
            "ENTRYPOINT",
            "ENV",
            "EXPOSE",
            "LABEL",
            "ONBUILD",
            "STOPSIGNAL",
            "USER",
            "VOLUME",
            "WORKDIR",
        ];
        if !KNOWN.contains(&name.as_str()) {
            return Err(ChangeError::Instruction(word.to_owned()));
        }
        // An empty list takes away what the image has.
        if rest.is_empty() {
            return Err(ChangeError::Empty(name));
        }
        Ok(match name.as_str() {
            "CMD" => Self::Cmd(command(rest)),
            "ENTRYPOINT" => Self::Entrypoint(command(rest)),
            "ENV" => Self::Env(pairs(rest)?),
            "LABEL" => Self::Label(pairs(rest)?),
            "EXPOSE" => Self::Expose(
                words(rest)?
                    .iter()
                    .map(|w| ports(w))
                    .collect::<Result<Vec<_>, _>>()?
                    .concat(),
            ),
            "VOLUME" => Self::Volume(match list(rest) {
                Some(list) => list,
                None => words(rest)?,
            }),
            "USER" => Self::User(rest.to_owned()),
            "WORKDIR" => Self::Workdir(rest.to_owned()),
            "STOPSIGNAL" => Self::StopSignal(rest.to_owned()),
            _ => Self::OnBuild(rest.to_owned()),
        })
    }
}

/// `["a", "b"]`
fn list(text: &str) -> Option<Vec<String>> {
    serde_json::from_str(text).ok()
}

/// A list is executed as it is, all else by a shell.
fn command(text: &str) -> Vec<String> {
    list(text).unwrap_or_else(|| ["/bin/sh", "-c", text].map(str::to_owned).to_vec())
}

/// Words between white space; quotes keep it, a backslash takes the meaning off the next character.
fn words(text: &str) -> Result<Vec<String>, ChangeError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, Some(q)) if c == q => quote = None,
            // Inside single quotes a backslash is one.
            ('\\', Some('"') | None) => {
                let next = chars.next().unwrap_or('\\');
                let word = word.get_or_insert_default();
                if quote.is_some() && !matches!(next, '"' | '\\' | '$') {
                    word.push('\\');
                }
                word.push(next);
            }
            (c @ ('"' | '\''), None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(ChangeError::Quote(text.to_owned()));
    }
    words.extend(word);
    Ok(words)
}

/// `A=1 B="two words"`, or the old form with one pair, `A the rest`.
fn pairs(text: &str) -> Result<Vec<(String, String)>, ChangeError> {
    let first = text.split_whitespace().next().unwrap_or_default();
    if !first.contains('=') {
        return match text.split_once(char::is_whitespace) {
            Some((name, value)) => Ok(vec![(name.to_owned(), value.trim().to_owned())]),
            None => Err(ChangeError::Pair(text.to_owned())),
        };
    }
    let pair = |word: String| match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(ChangeError::Pair(word)),
    };
    words(text)?.into_iter().map(pair).collect()
}

/// `80`, `80/udp`, `8000-8002` to what the configuration has.
fn ports(text: &str) -> Result<Vec<String>, ChangeError> {
    crate::build::ports(text).map_err(|_| ChangeError::Port(text.to_owned()))
}

/// Change the inner `config` object of an image configuration.
pub(in crate::ops) fn apply(config: &mut Map<String, Value>, changes: &[Change]) {
    let keys = |list: &[String]| list.iter().map(|k| (k.clone(), json!({}))).collect();
    for change in changes {
        match change {
            Change::Cmd(args) => set(config, "Cmd", json!(args)),
            Change::Entrypoint(args) => {
                set(config, "Entrypoint", json!(args));
                // The image's arguments were for its own entry point.
                if !changes.iter().any(|c| matches!(c, Change::Cmd(_))) {
                    config.remove("Cmd");
                }
            }
            Change::Env(pairs) => {
                let mut env = match config.remove("Env") {
                    Some(Value::Array(env)) => env,
                    _ => Vec::new(),
                };
                for (name, value) in pairs {
                    let line = json!(format!("{name}={value}"));
                    let same = |v: &Value| {
                        let known = v.as_str().and_then(|v| v.split_once('='));
                        known.is_some_and(|(n, _)| n == name)
                    };
                    match env.iter_mut().find(|v| same(v)) {
                        Some(old) => *old = line,
                        None => env.push(line),
                    }
                }
                set(config, "Env", Value::Array(env));
            }
            Change::Label(pairs) => {
                let pairs = pairs.iter().map(|(k, v)| (k.clone(), json!(v)));
                add(config, "Labels", pairs.collect());
            }
            Change::Expose(ports) => add(config, "ExposedPorts", keys(ports)),
            Change::Volume(paths) => add(config, "Volumes", keys(paths)),
            Change::User(user) => set(config, "User", json!(user)),
            Change::Workdir(dir) => {
                let old = config.get("WorkingDir").and_then(Value::as_str);
                // Relative to the one before, as in a Containerfile.
                let dir = std::path::Path::new("/").join(old.unwrap_or("/")).join(dir);
                set(config, "WorkingDir", json!(dir.to_string_lossy()));
            }
            Change::StopSignal(signal) => set(config, "StopSignal", json!(signal)),
            Change::OnBuild(instruction) => push(config, "OnBuild", json!(instruction)),
        }
    }
}

fn set(config: &mut Map<String, Value>, key: &str, value: Value) {
    config.insert(key.to_owned(), value);
}

fn add(config: &mut Map<String, Value>, key: &str, more: Map<String, Value>) {
    edit(config, key, |object| object.extend(more));
}

/// Change an object in a map; what is no object (`null`, as docker writes it) counts as an empty one.
pub(in crate::ops) fn edit(
    map: &mut Map<String, Value>,
    key: &str,
    change: impl FnOnce(&mut Map<String, Value>),
) {
    let mut object = match map.remove(key) {
        Some(Value::Object(object)) => object,
        _ => Map::new(),
    };
    change(&mut object);
    map.insert(key.to_owned(), Value::Object(object));
}

/// Add to a list in a map, likewise.
pub(in crate::ops) fn push(map: &mut Map<String, Value>, key: &str, value: Value) {
    let mut list = match map.remove(key) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    };
    list.push(value);
    map.insert(key.to_owned(), Value::Array(list));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(before: Value, changes: &[&str]) -> Value {
        let changes: Vec<Change> = changes.iter().map(|c| c.parse().unwrap()).collect();
        let mut config = before.as_object().unwrap().clone();
        apply(&mut config, &changes);
        Value::Object(config)
    }

    #[test]
    fn instructions_change_what_they_name() {
        for (before, change, after) in [
            (
                json!({}),
                r#"CMD ["a", "b c"]"#,
                json!({"Cmd": ["a", "b c"]}),
            ),
            (
                json!({}),
                "cmd a  b",
                json!({"Cmd": ["/bin/sh", "-c", "a  b"]}),
            ),
            (
                json!({"Cmd": ["x"]}),
                "ENTRYPOINT [\"e\"]",
                json!({"Entrypoint": ["e"]}),
            ),
            (json!({"Cmd": ["x"]}), "CMD []", json!({"Cmd": []})),
            (
                json!({"Env": ["A=1", "B=2"]}),
                r#"ENV B="two words" C='a\b' D=a\ b"#,
                json!({"Env": ["A=1", "B=two words", r"C=a\b", "D=a b"]}),
            ),
            (
                json!({"Env": null}),
                "ENV A b  c",
                json!({"Env": ["A=b  c"]}),
            ),
            (
                json!({"Labels": null}),
                "LABEL a=1 b=",
                json!({"Labels": {"a": "1", "b": ""}}),
            ),
            (
                json!({"ExposedPorts": {"1/tcp": {}}}),
                "EXPOSE 80 53/UDP 5-6",
                json!({"ExposedPorts": {"1/tcp": {}, "80/tcp": {}, "53/udp": {}, "5/tcp": {}, "6/tcp": {}}}),
            ),
            (json!({}), "USER www:www", json!({"User": "www:www"})),
            (
                json!({"WorkingDir": "/a"}),
                "WORKDIR b",
                json!({"WorkingDir": "/a/b"}),
            ),
            (
                json!({"WorkingDir": "/a"}),
                "WORKDIR /b",
                json!({"WorkingDir": "/b"}),
            ),
            (
                json!({}),
                "VOLUME /a /b",
                json!({"Volumes": {"/a": {}, "/b": {}}}),
            ),
            (
                json!({}),
                r#"VOLUME ["/a b"]"#,
                json!({"Volumes": {"/a b": {}}}),
            ),
            (
                json!({}),
                "STOPSIGNAL SIGINT",
                json!({"StopSignal": "SIGINT"}),
            ),
            (
                json!({}),
                "ONBUILD RUN x y",
                json!({"OnBuild": ["RUN x y"]}),
            ),
        ] {
            assert_eq!(changed(before, &[change]), after, "{change}");
        }
    }

    #[test]
    fn a_new_entry_point_keeps_only_arguments_that_came_with_it() {
        let before = json!({"Cmd": ["old"]});
        let want = json!({"Entrypoint": ["e"], "Cmd": ["new"]});
        for changes in [
            ["CMD [\"new\"]", "ENTRYPOINT [\"e\"]"],
            ["ENTRYPOINT [\"e\"]", "CMD [\"new\"]"],
        ] {
            assert_eq!(changed(before.clone(), &changes), want);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "",
            "RUN x",
            "CMD",
            "ENV A",
            "ENV =1 a",
            "ENV A=\"1",
            "EXPOSE x",
            "EXPOSE 70000",
            "EXPOSE 1/x",
            "EXPOSE 6-5",
            "LABEL a",
            "COPY a b",
        ] {
            assert!(bad.parse::<Change>().is_err(), "{bad}");
        }
    }
}
