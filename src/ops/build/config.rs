//! The configuration of the image that is being made: what instructions change in it, and its history.

use serde_json::{Map, Value, json};

use super::super::commit::change::{apply, edit, push};
use super::super::commit::{Change, OF_A_CONTAINER};
use crate::build::{Command, Healthcheck};

/// Docker's, when the image names no other.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// A configuration.
#[derive(Clone, Debug)]
pub(super) struct Config {
    all: Map<String, Value>,
    /// `CMD` was given in this stage: a new entry point leaves it alone.
    cmd: bool,
}

impl Config {
    /// That of a base; what is about a container there is about none here.
    pub(super) fn of(mut all: Map<String, Value>) -> Self {
        for key in OF_A_CONTAINER {
            all.remove(key);
        }
        Self { all, cmd: false }
    }

    /// The same after a step, as it was kept.
    pub(super) fn replace(&mut self, all: Map<String, Value>) {
        self.all = all;
    }

    pub(super) fn json(&self) -> Vec<u8> {
        Value::Object(self.all.clone()).to_string().into_bytes()
    }

    /// All but times and history.
    pub(super) fn essence(&self) -> String {
        let mut all = self.all.clone();
        for key in ["created", "history"] {
            all.remove(key);
        }
        Value::Object(all).to_string()
    }

    fn inner(&self, key: &str) -> &Value {
        &self.all.get("config").unwrap_or(&Value::Null)[key]
    }

    fn list(&self, key: &str) -> Vec<String> {
        let list = self.inner(key).as_array();
        let texts = list.into_iter().flatten().filter_map(Value::as_str);
        texts.map(str::to_owned).collect()
    }

    /// `ENV`, in its order.
    pub(super) fn env(&self) -> Vec<(String, String)> {
        let list = self.list("Env").into_iter();
        list.map(|line| match line.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (line, String::new()),
        })
        .collect()
    }

    pub(super) fn user(&self) -> &str {
        self.inner("User").as_str().unwrap_or_default()
    }

    pub(super) fn workdir(&self) -> &str {
        match self.inner("WorkingDir").as_str() {
            None | Some("") => "/",
            Some(dir) => dir,
        }
    }

    /// What the base wants done by those who build on it.
    pub(super) fn take_on_build(&mut self) -> Vec<String> {
        let list = self.list("OnBuild");
        edit(&mut self.all, "config", |inner| {
            inner.remove("OnBuild");
        });
        list
    }

    /// A command as it is executed.
    pub(super) fn arguments(&self, command: &Command) -> Vec<String> {
        match command {
            Command::Exec(list) => list.clone(),
            Command::Shell(text) => {
                let mut shell = self.list("Shell");
                if shell.is_empty() {
                    shell = SHELL.map(str::to_owned).to_vec();
                }
                shell.push(text.clone());
                shell
            }
        }
    }

    /// Those instructions that `commit --change` has, too.
    pub(super) fn change(&mut self, change: Change) {
        let cmd = self.cmd;
        self.cmd |= matches!(change, Change::Cmd(_));
        edit(&mut self.all, "config", |inner| {
            // An entry point takes the arguments of another one away, and not its own.
            let kept = match &change {
                Change::Entrypoint(_) if cmd => inner.get("Cmd").cloned(),
                _ => None,
            };
            apply(inner, std::slice::from_ref(&change));
            if let Some(kept) = kept {
                inner.insert("Cmd".to_owned(), kept);
            }
        });
    }

    pub(super) fn set_shell(&mut self, shell: &[String]) {
        edit(&mut self.all, "config", |inner| {
            inner.insert("Shell".to_owned(), json!(shell));
        });
    }

    pub(super) fn set_author(&mut self, author: &str) {
        self.all.insert("author".to_owned(), json!(author));
    }

    pub(super) fn set_healthcheck(&mut self, check: &Healthcheck) {
        let test = match &check.command {
            None => vec!["NONE".to_owned()],
            Some(Command::Shell(text)) => vec!["CMD-SHELL".to_owned(), text.clone()],
            Some(Command::Exec(list)) => {
                let mut test = vec!["CMD".to_owned()];
                test.extend(list.iter().cloned());
                test
            }
        };
        let mut value = json!({ "Test": test });
        for (key, time) in [
            ("Interval", check.interval),
            ("Timeout", check.timeout),
            ("StartPeriod", check.start_period),
            ("StartInterval", check.start_interval),
            ("Retries", check.retries.map(u64::from)),
        ] {
            if let Some(time) = time {
                value[key] = json!(time);
            }
        }
        edit(&mut self.all, "config", |inner| {
            inner.insert("Healthcheck".to_owned(), value);
        });
    }

    /// A line of the history; with a layer or without.
    pub(super) fn history(&mut self, created: &str, by: &str, layer: bool) {
        let mut entry = json!({ "created": created, "created_by": by });
        if !layer {
            entry["empty_layer"] = json!(true);
        }
        push(&mut self.all, "history", entry);
        self.all.insert("created".to_owned(), json!(created));
    }

    /// Its new layer.
    pub(super) fn add_layer(&mut self, diff_id: &crate::oci::Digest) {
        edit(&mut self.all, "rootfs", |rootfs| {
            rootfs.entry("type").or_insert_with(|| json!("layers"));
            push(rootfs, "diff_ids", json!(diff_id));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(inner: Value) -> Config {
        let all = json!({"config": inner, "container": "x", "os": "linux"});
        Config::of(all.as_object().unwrap().clone())
    }

    #[test]
    fn an_entry_point_takes_foreign_arguments_away() {
        let list = |s: &str| vec![s.to_owned()];
        let mut c = config(json!({"Cmd": ["base"]}));
        c.change(Change::Entrypoint(list("e")));
        assert_eq!(c.list("Cmd"), Vec::<String>::new());
        c.change(Change::Cmd(list("own")));
        c.change(Change::Entrypoint(list("f")));
        assert_eq!(
            (c.list("Cmd"), c.list("Entrypoint")),
            (list("own"), list("f"))
        );
    }

    #[test]
    fn what_it_says() {
        let mut c = config(json!({"Env": ["A=1=2", "B"], "OnBuild": ["RUN x"], "Shell": null}));
        assert_eq!(
            c.env(),
            [("A".into(), "1=2".into()), ("B".into(), String::new())]
        );
        assert_eq!((c.workdir(), c.user()), ("/", ""));
        assert_eq!(c.take_on_build(), ["RUN x"]);
        assert!(c.take_on_build().is_empty());
        let shell = Command::Shell("x y".into());
        assert_eq!(c.arguments(&shell), ["/bin/sh", "-c", "x y"]);
        c.set_shell(&["bash".into(), "-ec".into()]);
        assert_eq!(c.arguments(&shell), ["bash", "-ec", "x y"]);
        c.history("now", "y", false);
        c.add_layer(&crate::oci::Digest::of(b""));
        let all: Value = serde_json::from_slice(&c.json()).unwrap();
        assert_eq!(all["history"][0]["empty_layer"], true);
        assert_eq!(all["rootfs"]["type"], "layers");
        assert!(all.get("container").is_none() && all["created"] == "now");
    }
}
