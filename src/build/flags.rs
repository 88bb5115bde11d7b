//! `--NAME=VALUE` between an instruction and its arguments.

use super::Problem;
use super::lines::raw_words;

/// The flags of an instruction, which takes out what it knows.
#[derive(Debug)]
pub(super) struct Flags {
    instruction: &'static str,
    all: Vec<(String, Option<String>)>,
}

impl Flags {
    /// Flags at the beginning of `text`, and what follows them.
    pub(super) fn of<'t>(
        instruction: &'static str,
        text: &'t str,
        escape: char,
    ) -> (Self, &'t str) {
        let mut all = Vec::new();
        let mut rest = text;
        while let Some(word) = raw_words(rest, escape).into_iter().next() {
            let Some(flag) = word.strip_prefix("--") else {
                break;
            };
            // They end here; what follows may look like one.
            let end = word.as_ptr().addr() - rest.as_ptr().addr() + word.len();
            rest = rest[end..].trim_start();
            if flag.is_empty() {
                break;
            }
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(unquoted(value, escape))),
                None => (flag, None),
            };
            all.push((name.to_owned(), value));
        }
        (Self { instruction, all }, rest)
    }

    /// The value of a flag that may be there once.
    pub(super) fn one(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let mut values = self.many(name)?;
        match values.len() {
            0 | 1 => Ok(values.pop()),
            _ => Err(Problem::FlagTwice(name.to_owned())),
        }
    }

    /// The values of one that may be there often.
    pub(super) fn many(&mut self, name: &str) -> Result<Vec<String>, Problem> {
        let mut values = Vec::new();
        for (_, value) in self.all.extract_if(.., |(n, _)| n == name) {
            values.push(
                value
                    .filter(|v| !v.is_empty())
                    .ok_or_else(|| Problem::FlagValue {
                        flag: name.to_owned(),
                        value: String::new(),
                        want: "a value",
                    })?,
            );
        }
        Ok(values)
    }

    /// Whether a flag is there that needs no value.
    pub(super) fn is_set(&mut self, name: &str) -> Result<bool, Problem> {
        let mut set = false;
        for (_, value) in self.all.extract_if(.., |(n, _)| n == name) {
            set = match value.as_deref() {
                None | Some("true" | "1") => true,
                Some("false" | "0") => false,
                Some(value) => {
                    return Err(Problem::FlagValue {
                        flag: name.to_owned(),
                        value: value.to_owned(),
                        want: "true or false",
                    });
                }
            };
        }
        Ok(set)
    }

    /// Part of the language, and not of this version.
    pub(super) fn not_yet(&mut self, names: &[&str]) -> Result<(), Problem> {
        match self.all.iter().find(|(n, _)| names.contains(&n.as_str())) {
            Some((name, _)) => {
                let what = format!("{} --{name}", self.instruction);
                Err(Problem::NotYet(what))
            }
            None => Ok(()),
        }
    }

    /// All that are left are unknown.
    pub(super) fn done(self) -> Result<(), Problem> {
        match self.all.into_iter().next() {
            Some((flag, _)) => Err(Problem::Flag {
                instruction: self.instruction,
                flag,
            }),
            None => Ok(()),
        }
    }
}

/// Without its quotes; variables stay.
fn unquoted(value: &str, escape: char) -> String {
    let mut out = String::new();
    let mut quote = None;
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, Some(q)) if c == q => quote = None,
            ('"' | '\'', None) => quote = Some(c),
            (c, q) if c == escape && q != Some('\'') => out.push(chars.next().unwrap_or(c)),
            (c, _) => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_come_first() {
        let (mut flags, rest) = Flags::of("COPY", "--from=a  --link --chown='b c' --x a --y", '\\');
        assert_eq!(rest, "a --y");
        assert_eq!(flags.one("from").unwrap().as_deref(), Some("a"));
        assert_eq!(flags.one("chown").unwrap().as_deref(), Some("b c"));
        assert!(flags.is_set("link").unwrap() && !flags.is_set("parents").unwrap());
        assert!(flags.not_yet(&["x"]).is_err() && flags.done().is_err());
        let (flags, rest) = Flags::of("RUN", "-- --x", '\\');
        assert_eq!(rest, "--x");
        assert!(flags.done().is_ok());
        let (mut flags, _) = Flags::of("COPY", "--from=a --from=b --chmod --link=x", '\\');
        assert!(
            flags.one("from").is_err()
                && flags.one("chmod").is_err()
                && flags.is_set("link").is_err()
        );
    }
}
