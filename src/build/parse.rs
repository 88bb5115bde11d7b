//! Logical lines to instructions.

use super::ast::{Command, From, Healthcheck, Heredoc, Instruction, Run};
use super::flags::Flags;
use super::lines::{self, Logical, raw_words, split_word};
use super::values::duration;
use super::{Problem, copy};

/// All instructions.
const WORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// One instruction of its own, as an image carries it in `OnBuild`.
pub fn instruction(text: &str) -> Result<Instruction, super::Error> {
    let (_, lines) = lines::split(text)?;
    match lines.as_slice() {
        [one] => parse(one, '\\').map_err(|p| p.at(one.line)),
        _ => Err(Problem::OnBuild(text.to_owned()).at(1)),
    }
}

/// The instruction that the user may have meant.
pub(super) fn nearest(word: &str) -> Option<&'static str> {
    let word = word.to_ascii_uppercase();
    let near = WORDS.iter().map(|w| (distance(w, &word), *w)).min()?;
    (near.0 <= 2 && near.0 < word.len()).then_some(near.1)
}

/// Characters to change, add or remove (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(20).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, c) in a.chars().enumerate() {
        let mut before = std::mem::replace(&mut row[0], i + 1);
        for (j, d) in b.iter().enumerate() {
            let changed = before + usize::from(c != *d);
            before = row[j + 1];
            row[j + 1] = changed.min(before + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

pub(super) fn parse(line: &Logical, escape: char) -> Result<Instruction, Problem> {
    let (word, rest) = split_word(&line.text);
    let upper = word.to_ascii_uppercase();
    let Some(word) = WORDS.into_iter().find(|w| *w == upper) else {
        return Err(Problem::Unknown(word.to_owned()));
    };
    // An empty list of arguments is a list; nothing at all is a mistake.
    if rest.is_empty() {
        return Err(Problem::Empty(word));
    }
    let (mut flags, args) = Flags::of(word, rest, escape);
    let done = match word {
        "ADD" | "COPY" => copy::parse(word == "ADD", &mut flags, args, &line.heredocs, escape)?,
        "FROM" => from(&mut flags, args)?,
        "RUN" => run(&mut flags, args, &line.heredocs, escape)?,
        "HEALTHCHECK" => healthcheck(&mut flags, args)?,
        "ARG" => Instruction::Arg(arg(args, escape)?),
        "CMD" => Instruction::Cmd(command(rest)),
        "ENTRYPOINT" => Instruction::Entrypoint(command(rest)),
        "ENV" => Instruction::Env(pairs("ENV", args, escape)?),
        "LABEL" => Instruction::Label(pairs("LABEL", args, escape)?),
        "EXPOSE" => Instruction::Expose(words(args)),
        "VOLUME" => Instruction::Volume(list(args).unwrap_or_else(|| words(args))),
        "MAINTAINER" => Instruction::Maintainer(args.to_owned()),
        "ONBUILD" => on_build(args, &line.heredocs)?,
        "SHELL" => Instruction::Shell(list(args).filter(|l| !l.is_empty()).ok_or(
            Problem::Arguments {
                instruction: "SHELL",
                want: "a list: [\"PROGRAM\", \"ARGUMENT\"]",
            },
        )?),
        "STOPSIGNAL" => Instruction::StopSignal(one("STOPSIGNAL", args)?),
        "USER" => Instruction::User(one("USER", args)?),
        _ => Instruction::Workdir(args.to_owned()),
    };
    // A command that looks like a flag is one for these.
    match word {
        "CMD" | "ENTRYPOINT" => {}
        _ => flags.done()?,
    }
    Ok(done)
}

/// `["a", "b"]`; anything else is no list, as it is for docker.
pub(super) fn list(text: &str) -> Option<Vec<String>> {
    text.starts_with('[')
        .then(|| serde_json::from_str(text).ok())
        .flatten()
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn one(instruction: &'static str, text: &str) -> Result<String, Problem> {
    match text.split_whitespace().count() {
        1 => Ok(text.to_owned()),
        _ => Err(Problem::Arguments {
            instruction,
            want: "one argument",
        }),
    }
}

fn command(text: &str) -> Command {
    match list(text) {
        Some(list) => Command::Exec(list),
        None => Command::Shell(text.to_owned()),
    }
}

fn from(flags: &mut Flags, args: &str) -> Result<Instruction, Problem> {
    let words: Vec<&str> = args.split_whitespace().collect();
    let (image, name) = match words.as_slice() {
        [image] => (image, None),
        [image, as_, name] if as_.eq_ignore_ascii_case("as") => (image, Some(*name)),
        _ => {
            return Err(Problem::Arguments {
                instruction: "FROM",
                want: "IMAGE, or IMAGE AS NAME",
            });
        }
    };
    let name = name.map(str::to_ascii_lowercase);
    if let Some(name) = &name {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(fits) {
            return Err(Problem::StageName(name.clone()));
        }
    }
    Ok(Instruction::From(From {
        image: (*image).to_owned(),
        name,
        platform: flags.one("platform")?,
    }))
}

fn run(
    flags: &mut Flags,
    args: &str,
    heredocs: &[Heredoc],
    escape: char,
) -> Result<Instruction, Problem> {
    flags.not_yet(&["mount", "device"])?;
    let offline = match flags.one("network")?.as_deref() {
        None | Some("default" | "host") => false,
        Some("none") => true,
        Some(other) => {
            return Err(Problem::FlagValue {
                flag: "network".to_owned(),
                value: other.to_owned(),
                want: "default, host or none",
            });
        }
    };
    match flags.one("security")?.as_deref() {
        None | Some("sandbox") => {}
        Some("insecure") => return Err(Problem::Rights("RUN --security=insecure".to_owned())),
        Some(other) => {
            return Err(Problem::FlagValue {
                flag: "security".to_owned(),
                value: other.to_owned(),
                want: "sandbox",
            });
        }
    }
    if args.is_empty() {
        return Err(Problem::Empty("RUN"));
    }
    let (command, script) = match heredocs {
        [] => (command(args), None),
        // Nothing but a document: it is the script.
        [only] if lines::heredoc(args, escape).is_some() => {
            (Command::Shell(only.text()), Some(only.clone()))
        }
        // The shell reads them, as the file has them.
        _ => {
            let mut text = format!("{args}\n");
            for heredoc in heredocs {
                text += &format!("{}{}\n", heredoc.content, heredoc.name);
            }
            (Command::Shell(text), None)
        }
    };
    Ok(Instruction::Run(Run {
        command,
        script,
        offline,
    }))
}

fn healthcheck(flags: &mut Flags, args: &str) -> Result<Instruction, Problem> {
    let (word, rest) = split_word(args);
    let command = match word.to_ascii_uppercase().as_str() {
        "NONE" if rest.is_empty() => None,
        "CMD" if !rest.is_empty() => Some(command(rest)),
        _ => {
            return Err(Problem::Arguments {
                instruction: "HEALTHCHECK",
                want: "NONE, or CMD and a command",
            });
        }
    };
    let mut time = |name: &str| flags.one(name)?.map(|v| duration(&v)).transpose();
    let mut check = Healthcheck {
        command,
        interval: time("interval")?,
        timeout: time("timeout")?,
        start_period: time("start-period")?,
        start_interval: time("start-interval")?,
        retries: None,
    };
    if let Some(value) = flags.one("retries")? {
        check.retries = Some(value.parse().map_err(|_| Problem::FlagValue {
            flag: "retries".to_owned(),
            value,
            want: "a number",
        })?);
    }
    Ok(Instruction::Healthcheck(check))
}

fn arg(text: &str, escape: char) -> Result<Vec<(String, Option<String>)>, Problem> {
    let pair = |word: &str| {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word, None),
        };
        match is_name(name) {
            true => Ok((name.to_owned(), value)),
            false => Err(Problem::Pair(word.to_owned())),
        }
    };
    let words = raw_words(text, escape);
    words.into_iter().map(pair).collect()
}

/// Of a variable.
fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || matches!(c, '$' | '"' | '\''))
}

/// `A=1 B="two words"`, or the old form with one pair, `A the rest`.
fn pairs(
    instruction: &'static str,
    text: &str,
    escape: char,
) -> Result<Vec<(String, String)>, Problem> {
    let words = raw_words(text, escape);
    if words.first().is_some_and(|w| !w.contains('=')) {
        let (name, rest) = split_word(text);
        return match rest.is_empty() {
            false => Ok(vec![(name.to_owned(), rest.to_owned())]),
            true => Err(Problem::Arguments {
                instruction,
                want: "NAME=VALUE",
            }),
        };
    }
    let pair = |word: &str| match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Problem::Pair(word.to_owned())),
    };
    words.into_iter().map(pair).collect()
}

/// Kept as text, documents and all; it must be an instruction already now.
fn on_build(args: &str, heredocs: &[Heredoc]) -> Result<Instruction, Problem> {
    let mut text = args.to_owned();
    for heredoc in heredocs {
        text += &format!("\n{}{}", heredoc.content, heredoc.name);
    }
    let inner = instruction(&text).map_err(|e| e.problem)?;
    match inner {
        Instruction::OnBuild(_) | Instruction::From(_) | Instruction::Maintainer(_) => {
            Err(Problem::OnBuild(inner.word().to_owned()))
        }
        _ => Ok(Instruction::OnBuild(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn of(text: &str) -> Instruction {
        instruction(text).unwrap()
    }

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| (*s).to_owned()).collect()
    }

    #[test]
    fn commands_have_two_forms() {
        let shell = |s: &str| Command::Shell(s.to_owned());
        assert_eq!(of("CMD a  b"), Instruction::Cmd(shell("a  b")));
        assert_eq!(
            of("cmd [\"a\", \"b c\"]"),
            Instruction::Cmd(Command::Exec(strings(&["a", "b c"])))
        );
        // No JSON, hence a shell's.
        assert_eq!(
            of("ENTRYPOINT ['a']"),
            Instruction::Entrypoint(shell("['a']"))
        );
        assert_eq!(of("CMD []"), Instruction::Cmd(Command::Exec(vec![])));
        assert_eq!(of("CMD --help"), Instruction::Cmd(shell("--help")));
        assert_eq!(of("SHELL [\"a\"]"), Instruction::Shell(strings(&["a"])));
    }

    #[test]
    fn run_with_flags_and_documents() {
        let run = |text: &str| match of(text) {
            Instruction::Run(run) => run,
            other => panic!("{other:?}"),
        };
        let plain = run("RUN --network=none --security=sandbox echo --x");
        assert_eq!(
            (plain.command, plain.offline),
            (Command::Shell("echo --x".to_owned()), true)
        );
        let script = run("RUN <<EOF\na $b\nEOF");
        assert_eq!(script.command, Command::Shell("a $b\n".to_owned()));
        assert_eq!(script.script.unwrap().name, "EOF");
        let both = run("RUN cat <<-A >x <<B\n\t1\nA\n2\nB");
        assert_eq!(
            both.command,
            Command::Shell("cat <<-A >x <<B\n\t1\nA\n2\nB\n".to_owned())
        );
    }

    #[test]
    fn pairs_of_both_forms() {
        let pairs = |list: &[(&str, &str)]| -> Vec<(String, String)> {
            list.iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect()
        };
        for (text, want) in [
            (
                "ENV A=1 B=\"two words\" C=a\\ b",
                pairs(&[("A", "1"), ("B", "\"two words\""), ("C", "a\\ b")]),
            ),
            ("ENV A b  = c", pairs(&[("A", "b  = c")])),
            ("ENV A=", pairs(&[("A", "")])),
        ] {
            assert_eq!(of(text), Instruction::Env(want), "{text}");
        }
        let args = vec![
            ("a".to_owned(), None),
            ("b".to_owned(), Some("\"c d\"".to_owned())),
        ];
        assert_eq!(of("ARG a b=\"c d\""), Instruction::Arg(args));
    }

    #[test]
    fn the_rest() {
        assert_eq!(
            of("FROM --platform=linux/arm64 a:1 as Build"),
            Instruction::From(From {
                image: "a:1".to_owned(),
                name: Some("build".to_owned()),
                platform: Some("linux/arm64".to_owned()),
            })
        );
        assert_eq!(
            of("VOLUME [\"/a b\"]"),
            Instruction::Volume(strings(&["/a b"]))
        );
        assert_eq!(
            of("VOLUME /a /b"),
            Instruction::Volume(strings(&["/a", "/b"]))
        );
        assert_eq!(of("WORKDIR /a b"), Instruction::Workdir("/a b".to_owned()));
        assert_eq!(
            of("ONBUILD RUN <<A\nx\nA\n"),
            Instruction::OnBuild("RUN <<A\nx\nA".to_owned())
        );
        let check = Healthcheck {
            command: Some(Command::Shell("curl x".to_owned())),
            interval: Some(5_000_000_000),
            retries: Some(2),
            ..Healthcheck::default()
        };
        assert_eq!(
            of("HEALTHCHECK --interval=5s --retries=2 CMD curl x"),
            Instruction::Healthcheck(check)
        );
        assert_eq!(
            of("HEALTHCHECK none"),
            Instruction::Healthcheck(Healthcheck::default())
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "X a",
            "RUN",
            "FROM",
            "FROM a b",
            "FROM a AS 1",
            "FROM a AS b c",
            "FROM --x=1 a",
            "ENV A",
            "ENV A=1 B",
            "ENV =1",
            "LABEL a",
            "ARG",
            "ARG a b=1 =",
            "ARG \"a\"=1",
            "SHELL a",
            "SHELL []",
            "USER a b",
            "STOPSIGNAL a b",
            "HEALTHCHECK",
            "HEALTHCHECK x",
            "HEALTHCHECK CMD",
            "HEALTHCHECK NONE x",
            "HEALTHCHECK --retries=x CMD a",
            "HEALTHCHECK --interval=1 CMD a",
            "ONBUILD",
            "ONBUILD ONBUILD RUN a",
            "ONBUILD FROM a",
            "ONBUILD X",
            "RUN --mount=type=cache a",
            "RUN --security=insecure a",
            "RUN --network=x a",
            "RUN --x a",
            "RUN --network=none",
            "COPY a",
            "COPY --from=a --x b c",
            "EXPOSE",
            "WORKDIR",
        ] {
            assert!(instruction(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_word_that_is_nearly_one() {
        assert_eq!(nearest("FORM"), Some("FROM"));
        assert_eq!(nearest("entrypiont"), Some("ENTRYPOINT"));
        assert_eq!(nearest("FROBNICATE"), None);
        assert_eq!(nearest("x"), None);
    }
}
