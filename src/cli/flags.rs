//! Options without a value that have one all the same: `--rm=true`, `-d=false`, `-it=1`, `--all --all`, as Go's flags
//! take them, which docker, podman and runc have.
//!
//! clap's own are there or not. They stay what they are, so that help, man pages and completions show what people
//! type; a command line that clap refuses for such a value, or for an option given twice, is written as clap would
//! have it: the flag if it is on, nothing if it is off, whatever stands last counting. Nobody else pays for it.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command};

use super::Failure;
use super::filters::truth;

/// A command line without values of flags.
#[derive(Debug, Default)]
pub(super) struct Plain {
    pub(super) words: Vec<OsString>,
    /// Long names of flags that were switched off, which is more than not to be named where a file names them.
    pub(super) off: Vec<String>,
}

/// Whether what clap refused may be a flag with a value (behind a letter, `=` is one more letter to clap), or one that
/// is given twice.
pub(super) fn may_explain(e: &clap::Error) -> bool {
    matches!(
        e.kind(),
        ErrorKind::TooManyValues | ErrorKind::UnknownArgument | ErrorKind::ArgumentConflict
    )
}

/// The words, the program's name among them, as clap would have them; `None` if they are so already.
pub(super) fn plain(app: &Command, words: &[OsString]) -> Result<Option<Plain>, Failure> {
    let mut scan = Scan::default();
    let parts = scan.line(app, words)?;
    let mut plain = Plain::default();
    for part in parts {
        plain.words.extend(scan.word(part));
    }
    let off = scan.values.iter().filter(|(_, on)| !**on);
    plain.off = off.map(|(name, _)| name.clone()).collect();
    Ok((plain.words != words).then_some(plain))
}

/// A word of the command line.
enum Part {
    Kept(OsString),
    /// A long flag: its name.
    Long(String),
    /// Flags of one letter, each with its name, and what stands behind them in the same word.
    Short(Vec<(char, String)>, String),
}

#[derive(Default)]
struct Scan {
    /// What was said last of each flag.
    values: HashMap<String, bool>,
    /// Those that are written already.
    written: Vec<String>,
}

impl Scan {
    /// The parts of a line, found the way that clap goes: a word that is the value of an option, or stands behind
    /// the first word of a program's own, is not looked at.
    fn line(&mut self, app: &Command, words: &[OsString]) -> Result<Vec<Part>, Failure> {
        let mut levels = vec![app];
        let mut positional = 0;
        let mut parts = Vec::new();
        let mut words = words.iter();
        parts.extend(words.next().cloned().map(Part::Kept));
        while let Some(word) = words.next() {
            let text = word.to_str().unwrap_or_default();
            let (part, valued) = if text == "--" {
                (Part::Kept(word.clone()), false)
            } else if let Some(long) = text.strip_prefix("--") {
                self.long(&levels, word, long)?
            } else if let Some(letters) = text.strip_prefix('-').filter(|l| !l.is_empty()) {
                self.short(&levels, word, letters)?
            } else {
                let level = levels.last().copied().unwrap_or(app);
                match level.find_subcommand(word) {
                    Some(verb) => {
                        levels.push(verb);
                        positional = 0;
                    }
                    None if ends_options(level, positional) => {
                        parts.push(Part::Kept(word.clone()));
                        break;
                    }
                    None => positional += 1,
                }
                (Part::Kept(word.clone()), false)
            };
            parts.push(part);
            if text == "--" {
                break;
            }
            if valued {
                parts.extend(words.next().cloned().map(Part::Kept));
            }
        }
        parts.extend(words.cloned().map(Part::Kept));
        Ok(parts)
    }

    /// `--NAME[=VALUE]`, and whether the next word is a value of it.
    fn long(
        &mut self,
        levels: &[&Command],
        word: &OsStr,
        long: &str,
    ) -> Result<(Part, bool), Failure> {
        let (name, value) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (long, None),
        };
        let has = |a: &&Arg| {
            let other = a.get_all_aliases().unwrap_or_default();
            a.get_long() == Some(name) || other.contains(&name)
        };
        Ok(match find(levels, has) {
            Some(arg) if is_flag(arg) => {
                let on = self.set(arg, &format!("--{name}"), value)?;
                (Part::Long(on), false)
            }
            Some(arg) => {
                let valued = value.is_none() && wants_word(arg);
                (Part::Kept(word.to_owned()), valued)
            }
            None => (Part::Kept(word.to_owned()), false),
        })
    }

    /// `-LETTERS[=VALUE]`: flags, at the end of which there may be an option with a value, in the same word or the
    /// next.
    fn short(
        &mut self,
        levels: &[&Command],
        word: &OsStr,
        letters: &str,
    ) -> Result<(Part, bool), Failure> {
        let mut flags = Vec::new();
        let mut chars = letters.char_indices().peekable();
        while let Some((at, letter)) = chars.next() {
            let has = |a: &&Arg| {
                let other = a.get_all_short_aliases().unwrap_or_default();
                a.get_short() == Some(letter) || other.contains(&letter)
            };
            match find(levels, has) {
                Some(arg) if is_flag(arg) => {
                    let rest = &letters[at + letter.len_utf8()..];
                    let value = rest.strip_prefix('=');
                    let name = self.set(arg, &format!("-{letter}"), value)?;
                    flags.push((letter, name));
                    if value.is_some() {
                        break;
                    }
                }
                Some(arg) => {
                    let valued = chars.peek().is_none() && wants_word(arg);
                    return Ok((Part::Short(flags, letters[at..].to_owned()), valued));
                }
                None => return Ok((Part::Kept(word.to_owned()), false)),
            }
        }
        Ok((Part::Short(flags, String::new()), false))
    }

    /// Note what a flag is set to; returns its long name.
    fn set(&mut self, arg: &Arg, said: &str, value: Option<&str>) -> Result<String, Failure> {
        let on = match value {
            None => true,
            Some(value) => {
                truth(value).map_err(|e| Failure::usage(format!("option {said}: {e}")))?
            }
        };
        let name = arg.get_long().unwrap_or(arg.get_id().as_str()).to_owned();
        self.values.insert(name.clone(), on);
        Ok(name)
    }

    /// What is left of a word.
    fn word(&mut self, part: Part) -> Option<OsString> {
        match part {
            Part::Kept(word) => Some(word),
            Part::Long(name) => self.write(&name).then(|| format!("--{name}").into()),
            Part::Short(flags, rest) => {
                let on = flags.into_iter().filter(|(_, name)| self.write(name));
                let letters: String = on.map(|(letter, _)| letter).collect();
                (!letters.is_empty() || !rest.is_empty())
                    .then(|| format!("-{letters}{rest}").into())
            }
        }
    }

    /// Whether a flag is to be written here: once, and if it is on in the end.
    fn write(&mut self, name: &str) -> bool {
        let on = self.values.get(name).copied().unwrap_or(true);
        let first = !self.written.iter().any(|w| w == name);
        if on && first {
            self.written.push(name.to_owned());
        }
        on && first
    }
}

/// The option of the last verb, or of one before it that holds for those behind it as well.
fn find<'a>(levels: &[&'a Command], has: impl Fn(&&'a Arg) -> bool) -> Option<&'a Arg> {
    let (last, before) = levels.split_last()?;
    last.get_arguments().find(&has).or_else(|| {
        let args = before.iter().flat_map(|c| c.get_arguments());
        args.filter(|a| a.is_global_set()).find(&has)
    })
}

fn is_flag(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue)
}

/// Whether the value of an option is the next word, if it is in none with it.
fn wants_word(arg: &Arg) -> bool {
    let some = arg.get_num_args().is_none_or(|n| n.min_values() > 0);
    arg.get_action().takes_values() && some && !arg.is_require_equals_set()
}

/// Whether what stands behind this word is all somebody else's.
fn ends_options(command: &Command, positional: usize) -> bool {
    let mut args = command.get_positionals();
    let last = command.get_positionals().last();
    let arg = args.nth(positional).or(last);
    arg.is_some_and(Arg::is_trailing_var_arg_set)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> Result<(String, Vec<String>), String> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let app = crate::cli::command();
        let plain = plain(&app, &words).map_err(|e| e.message().to_owned())?;
        let plain = plain.unwrap_or_else(|| Plain {
            words,
            off: Vec::new(),
        });
        let words: Vec<&str> = plain.words.iter().filter_map(|w| w.to_str()).collect();
        Ok((words.join(" "), plain.off))
    }

    #[test]
    fn flags_have_values_as_gos() {
        for (line, want) in [
            ("c run --rm=true x", "c run --rm x"),
            ("c run --rm=1 --tty=T -i=TRUE x", "c run --rm --tty -i x"),
            ("c run --rm=false -d=0 --init=F x", "c run x"),
            ("c run --rm --rm=false --rm=t x", "c run --rm x"),
            ("c run --rm -d --rm -d=f x", "c run --rm x"),
            ("c run -it=false x", "c run -i x"),
            ("c run -itd=true -tu root x", "c run -itd -u root x"),
            ("c run -ti=false -ue=f x", "c run -t -ue=f x"),
            ("c -D container run --rm=t x", "c -D container run --rm x"),
            ("c ps --all=true --no-trunc=false", "c ps --all"),
            ("c ps -aq=true", "c ps -aq"),
            // Not flags, or not ours.
            ("c run x --rm=true", "c run x --rm=true"),
            ("c run -- x --rm=true", "c run -- x --rm=true"),
            ("c exec x y -d=true", "c exec x y -d=true"),
            ("c rm x -f=true y --all=f", "c rm x -f y"),
            ("c rm -- -f=true", "c rm -- -f=true"),
            ("c run --name --rm=true x", "c run --name --rm=true x"),
            ("c run -e --rm=true x", "c run -e --rm=true x"),
            ("c run --env=A --rm=t x", "c run --env=A --rm x"),
            ("c run --sig-proxy --rm=t x", "c run --sig-proxy --rm x"),
            (
                "c run --no-such=true --rm=t x",
                "c run --no-such=true --rm x",
            ),
            ("c run -zt=true --rm=t x", "c run -zt=true --rm x"),
            ("c run --root /r --rm=t - x", "c run --root /r --rm - x"),
            ("c pull --keep-blobs=false x", "c pull --keep-blobs=false x"),
        ] {
            assert_eq!(
                said(line).map(|(words, _)| words),
                Ok(want.to_owned()),
                "{line}"
            );
        }
        let (_, off) = said("c run --init=false --rm=f --rm x").unwrap();
        assert_eq!(off, ["init"]);
    }

    #[test]
    fn what_is_neither_true_nor_false_is_said() {
        for (line, option) in [("c run --rm=yes x", "--rm"), ("c ps -aq=", "-q")] {
            let said = said(line).unwrap_err();
            assert!(said.contains(option) && said.contains("neither"), "{said}");
        }
    }

    /// Each option of each verb has at most one value, which the scan relies upon, and each flag is one.
    #[test]
    fn each_option_of_each_verb_is_understood() {
        fn all(command: &Command, path: &str, count: &mut usize) {
            for arg in command.get_arguments().filter(|a| !a.is_positional()) {
                let most = arg.get_num_args().map_or(1, |n| n.max_values());
                assert!(most <= 1, "{path}: {arg} has several values");
                if let Some(long) = arg.get_long().filter(|_| is_flag(arg)) {
                    for (value, want) in
                        [("true", format!("{path} --{long}")), ("F", path.to_owned())]
                    {
                        let line = format!("{path} --{long}={value}");
                        assert_eq!(said(&line).map(|(w, _)| w), Ok(want), "{line}");
                    }
                    *count += 1;
                }
            }
            for verb in command.get_subcommands() {
                all(verb, &format!("{path} {}", verb.get_name()), count);
            }
        }
        let mut count = 0;
        all(&crate::cli::command(), "coracle", &mut count);
        assert!(count > 100, "{count}");
    }
}
