//! Variables: `ARG` with its scopes, `ENV` over it, and those that are there by themselves.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::super::Error;
use super::BuildError;
use crate::build::{self, Instruction, Problem, Quoting, Step};
use crate::oci::Platform;

/// They reach `RUN` without an `ARG`, and are no part of what makes a step the same one: a password in them is in no
/// image, and another proxy makes no other image.
const PROXIES: [&str; 6] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "SOCKS_PROXY",
];

/// What the whole build knows.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// `--build-arg`
    args: BTreeMap<String, String>,
    /// Those that some `ARG` has asked for.
    used: RefCell<BTreeSet<String>>,
    /// `ARG` before the first `FROM`, and platforms.
    globals: BTreeMap<String, String>,
    escape: char,
}

/// What one stage knows.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    /// In the order in which they came; later ones count.
    args: Vec<(String, String)>,
}

impl Given {
    /// From the words of the user, and the beginning of the file.
    pub(super) fn new(
        args: &[(String, Option<String>)],
        globals: &[Step],
        escape: char,
        target: &Platform,
        stage: &str,
    ) -> Result<Self, build::Error> {
        let own = |name: &String| std::env::var(name).ok();
        let args = args.iter().filter_map(|(name, value)| {
            let value = value.clone().or_else(|| own(name))?;
            Some((name.clone(), value))
        });
        let mut this = Self {
            args: args.collect(),
            escape,
            ..Self::default()
        };
        let host = Platform::host();
        for (side, p) in [("TARGET", target), ("BUILD", &host)] {
            for (what, value) in [
                ("PLATFORM", p.to_string()),
                ("OS", p.os.clone()),
                ("ARCH", p.architecture.clone()),
                ("VARIANT", p.variant.clone().unwrap_or_default()),
            ] {
                this.globals.insert(format!("{side}{what}"), value);
            }
        }
        this.globals
            .insert("TARGETSTAGE".to_owned(), stage.to_owned());
        for step in globals {
            let Instruction::Arg(pairs) = &step.instruction else {
                continue;
            };
            for (name, default) in pairs {
                let value = this
                    .value(name, default.as_deref(), &|n| this.globals.get(n).cloned())
                    .map_err(|problem| build::Error {
                        line: step.line,
                        problem,
                    })?;
                if let Some(value) = value {
                    this.globals.insert(name.clone(), value);
                }
            }
        }
        Ok(this)
    }

    /// What the user says, else the default.
    fn value(
        &self,
        name: &str,
        default: Option<&str>,
        scope: &build::Scope<'_>,
    ) -> Result<Option<String>, Problem> {
        if let Some(value) = self.args.get(name) {
            self.used.borrow_mut().insert(name.to_owned());
            return Ok(Some(value.clone()));
        }
        default
            .map(|d| build::expand(d, self.escape, Quoting::Words, scope))
            .transpose()
    }

    /// A word of `FROM` or `--from`.
    pub(super) fn expand(&self, word: &str) -> Result<String, Problem> {
        let scope = |name: &str| self.globals.get(name).cloned();
        build::expand(word, self.escape, Quoting::Words, &scope)
    }

    /// `--build-arg` that no `ARG` has asked for.
    pub(super) fn unused(&self) -> Vec<String> {
        let used = self.used.borrow();
        let proxy = |n: &str| PROXIES.iter().any(|p| p.eq_ignore_ascii_case(n));
        let names = self.args.keys();
        names
            .filter(|n| !used.contains(*n) && !proxy(n))
            .cloned()
            .collect()
    }

    /// Proxies for `RUN`: those that are given, else the caller's own, as podman hands them on.
    pub(super) fn proxies(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for name in PROXIES {
            for name in [name.to_owned(), name.to_ascii_lowercase()] {
                let given = self.args.get(&name).cloned();
                if let Some(value) = given.or_else(|| std::env::var(&name).ok()) {
                    all.push((name, value));
                }
            }
        }
        all
    }
}

impl Scope {
    /// `ARG` in a stage.
    pub(super) fn declare(
        &mut self,
        given: &Given,
        name: &str,
        default: Option<&str>,
        env: &[(String, String)],
    ) -> Result<(), Error> {
        let value = given
            .value(name, default, &|n| self.get(env, n))
            .map_err(BuildError::from)?;
        // Without a default it is the one from before the first FROM.
        let value = value.or_else(|| given.globals.get(name).cloned());
        self.args.retain(|(n, _)| n != name);
        if let Some(value) = value {
            self.args.push((name.to_owned(), value));
        }
        Ok(())
    }

    /// A variable: `ENV` counts more than `ARG`.
    pub(super) fn get(&self, env: &[(String, String)], name: &str) -> Option<String> {
        let find = |list: &[(String, String)]| {
            let found = list.iter().rfind(|(n, _)| n == name);
            found.map(|(_, v)| v.clone())
        };
        find(env).or_else(|| find(&self.args))
    }

    /// Arguments that a `RUN` sees, by name.
    pub(super) fn visible(&self, env: &[(String, String)]) -> Vec<(String, String)> {
        let hidden = |name: &String| env.iter().any(|(n, _)| n == name);
        let mut all: Vec<_> = self
            .args
            .iter()
            .filter(|(n, _)| !hidden(n))
            .cloned()
            .collect();
        all.sort();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::Containerfile;

    fn given(args: &[(&str, Option<&str>)], text: &str) -> Given {
        let file = Containerfile::parse(text).unwrap();
        let args: Vec<_> = args
            .iter()
            .map(|(n, v)| ((*n).to_owned(), v.map(str::to_owned)))
            .collect();
        let platform = "linux/arm64/v8".parse().unwrap();
        Given::new(&args, &file.globals, '\\', &platform, "x").unwrap()
    }

    #[test]
    fn scopes_as_the_reference_has_them() {
        let text = "ARG V=1\nARG W=${V}2 U\nFROM a\n";
        let g = given(
            &[
                ("V", Some("9")),
                ("X", Some("x")),
                ("http_proxy", Some("p")),
            ],
            text,
        );
        assert_eq!(g.expand("i:$V-$W$U-$TARGETARCH").unwrap(), "i:9-92-arm64");
        let mut s = Scope::default();
        assert_eq!(s.get(&[], "V"), None, "not before ARG");
        s.declare(&g, "W", None, &[]).unwrap();
        s.declare(&g, "V", Some("7"), &[]).unwrap();
        s.declare(&g, "D", Some("$V$E"), &[("E".into(), "e".into())])
            .unwrap();
        s.declare(&g, "N", None, &[]).unwrap();
        let get = |n: &str| s.get(&[("W".into(), "env".into())], n);
        assert_eq!(get("V").as_deref(), Some("9"));
        assert_eq!(get("W").as_deref(), Some("env"));
        assert_eq!((get("D").as_deref(), get("N")), (Some("9e"), None));
        let visible = s.visible(&[("W".into(), "env".into())]);
        assert_eq!(
            visible,
            [("D".into(), "9e".into()), ("V".into(), "9".into())]
        );
        assert_eq!(g.unused(), ["X"]);
        assert!(g.proxies().contains(&("http_proxy".into(), "p".into())));
    }
}
