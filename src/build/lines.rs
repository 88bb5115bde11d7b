//! Text to logical lines: parser directives, comments, continuations, and the heredocs that follow a line.

use super::ast::Heredoc;
use super::{Error, HEREDOCS_MAX, Problem, TEXT_MAX};

/// What the comments at the top say to the parser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directives {
    /// `escape`: what takes the meaning off the next character, and continues a line.
    pub escape: char,
    /// `syntax`: a frontend for BuildKit, which we have not: the language is built in.
    pub syntax: Option<String>,
    /// `check`: what BuildKit's linter is to do.
    pub check: Option<String>,
}

impl Default for Directives {
    fn default() -> Self {
        Self {
            escape: '\\',
            syntax: None,
            check: None,
        }
    }
}

/// An instruction's lines, joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Logical {
    /// From 1.
    pub(super) line: u32,
    pub(super) text: String,
    pub(super) heredocs: Vec<Heredoc>,
}

/// Instructions whose heredocs are read; of others `<<` is text.
const WITH_HEREDOCS: [&str; 3] = ["ADD", "COPY", "RUN"];

/// Cut a whole file.
pub(super) fn split(text: &str) -> Result<(Directives, Vec<Logical>), Error> {
    if text.len() > TEXT_MAX {
        return Err(Problem::Limit {
            what: "bytes",
            max: TEXT_MAX,
        }
        .at(1));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let directives = directives(text)?;
    let mut lines = Lines {
        rest: text.split_inclusive('\n'),
        number: 0,
        escape: directives.escape,
    };
    let mut all = Vec::new();
    while let Some(logical) = lines.logical()? {
        all.push(logical);
    }
    Ok((directives, all))
}

/// Only at the very top, and only until the first line that is none.
fn directives(text: &str) -> Result<Directives, Error> {
    let mut found = Directives::default();
    let mut seen: Vec<&str> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let Some((key, value)) = line
            .trim()
            .strip_prefix('#')
            .and_then(|l| l.split_once('='))
        else {
            break;
        };
        let (key, value) = (key.trim(), value.trim().to_owned());
        let known = ["syntax", "escape", "check"];
        let Some(key) = known.into_iter().find(|k| key.eq_ignore_ascii_case(k)) else {
            break;
        };
        if seen.contains(&key) {
            return Err(Problem::DirectiveTwice(key.to_owned()).at(number));
        }
        seen.push(key);
        match (key, value.as_str()) {
            ("escape", "\\") => {}
            ("escape", "`") => found.escape = '`',
            ("escape", _) => return Err(Problem::Escape(value).at(number)),
            ("syntax", _) => found.syntax = Some(value),
            _ => found.check = Some(value),
        }
    }
    Ok(found)
}

struct Lines<'t> {
    rest: std::str::SplitInclusive<'t, char>,
    number: u32,
    escape: char,
}

impl<'t> Lines<'t> {
    fn next(&mut self) -> Option<&'t str> {
        self.number += 1;
        self.rest.next()
    }

    fn logical(&mut self) -> Result<Option<Logical>, Error> {
        let mut text = String::new();
        let mut first = None;
        while let Some(line) = self.next() {
            let line = line.strip_suffix('\n').unwrap_or(line);
            let line = line.strip_suffix('\r').unwrap_or(line);
            // Also between the lines of one instruction.
            if line.trim_start().starts_with('#') || line.trim().is_empty() {
                continue;
            }
            let start = *first.get_or_insert(self.number);
            let line = if text.is_empty() {
                line.trim_start()
            } else {
                line
            };
            match self.continued(line) {
                Some(line) => text.push_str(line),
                None => {
                    text.push_str(line);
                    let heredocs = self.heredocs(&text, start)?;
                    let text = text.trim_end().to_owned();
                    return Ok(Some(Logical {
                        line: start,
                        text,
                        heredocs,
                    }));
                }
            }
        }
        // The last line was continued by nothing.
        Ok(first
            .filter(|_| !text.trim().is_empty())
            .map(|line| Logical {
                line,
                text: text.trim_end().to_owned(),
                heredocs: Vec::new(),
            }))
    }

    /// Without the mark at its end, if the next line belongs to it. Two marks are none.
    fn continued<'l>(&self, line: &'l str) -> Option<&'l str> {
        let cut = line
            .trim_end_matches([' ', '\t'])
            .strip_suffix(self.escape)?;
        (!cut.ends_with(self.escape)).then_some(cut)
    }

    /// The bodies of the heredocs that a line announces.
    fn heredocs(&mut self, text: &str, line: u32) -> Result<Vec<Heredoc>, Error> {
        let (mut word, mut rest) = split_word(text);
        if word.eq_ignore_ascii_case("ONBUILD") {
            (word, rest) = split_word(rest);
        }
        if !WITH_HEREDOCS.iter().any(|w| word.eq_ignore_ascii_case(w)) {
            return Ok(Vec::new());
        }
        let mut all = announced(rest, self.escape);
        if all.len() > HEREDOCS_MAX {
            return Err(Problem::Limit {
                what: "heredocs",
                max: HEREDOCS_MAX,
            }
            .at(line));
        }
        for heredoc in &mut all {
            loop {
                let Some(next) = self.next() else {
                    return Err(Problem::Heredoc(heredoc.name.clone()).at(line));
                };
                let bare = next.strip_suffix('\n').unwrap_or(next);
                let bare = bare.strip_suffix('\r').unwrap_or(bare);
                let end = match heredoc.strip_tabs {
                    true => bare.trim_start_matches('\t'),
                    false => bare,
                };
                if end == heredoc.name {
                    break;
                }
                heredoc.content.push_str(bare);
                heredoc.content.push('\n');
            }
        }
        Ok(all)
    }
}

/// The first word, and what follows it.
pub(super) fn split_word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    match text.split_once(char::is_whitespace) {
        Some((word, rest)) => (word, rest.trim_start()),
        None => (text, ""),
    }
}

/// What a word with `<<` at its beginning announces, in the words of a shell; `None` when it is none.
pub(super) fn heredoc(word: &str, escape: char) -> Option<Heredoc> {
    // A number before it is that of a descriptor.
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit());
    let rest = rest.strip_prefix("<<")?;
    let (strip_tabs, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let expand = !rest.contains(['"', '\'', escape]);
    let name: String = rest
        .chars()
        .filter(|c| !matches!(c, '"' | '\'') && *c != escape)
        .collect();
    (!name.is_empty()).then_some(Heredoc {
        name,
        strip_tabs,
        expand,
        content: String::new(),
    })
}

/// The heredocs of a line, in their order. What is in quotes announces none.
fn announced(text: &str, escape: char) -> Vec<Heredoc> {
    let mut all = Vec::new();
    for word in raw_words(text, escape) {
        all.extend(heredoc(word, escape));
    }
    all
}

/// Words between white space as they stand, quotes and all; quotes keep white space in a word.
pub(super) fn raw_words(text: &str, escape: char) -> Vec<&str> {
    let mut words = Vec::new();
    let (mut start, mut quote, mut escaped) = (None, None, false);
    for (i, c) in text.char_indices() {
        if escaped {
            escaped = false;
            continue;
        }
        match (c, quote) {
            (c, Some(q)) if c == q => quote = None,
            (c, q) if c == escape && q != Some('\'') => {
                escaped = true;
                start.get_or_insert(i);
            }
            ('"' | '\'', None) => {
                quote = Some(c);
                start.get_or_insert(i);
            }
            (c, None) if c.is_whitespace() => {
                if let Some(start) = start.take() {
                    words.push(&text[start..i]);
                }
            }
            _ => {
                start.get_or_insert(i);
            }
        }
    }
    if let Some(start) = start {
        words.push(&text[start..]);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<(u32, String)> {
        let (_, all) = split(text).unwrap();
        all.into_iter().map(|l| (l.line, l.text)).collect()
    }

    #[test]
    fn lines_are_joined_and_comments_go() {
        for (text, want) in [
            ("", vec![]),
            ("# x\n\nFROM a\n", vec![(3, "FROM a")]),
            ("  RUN a \\\n  b\n", vec![(1, "RUN a   b")]),
            // A comment and an empty line do not end it.
            (
                "RUN a && \\\n# no\n\n   # no\n  b\nX",
                vec![(1, "RUN a &&   b"), (6, "X")],
            ),
            ("RUN a \\  \t\nb", vec![(1, "RUN a b")]),
            ("RUN a\\\\\nX b", vec![(1, "RUN a\\\\"), (2, "X b")]),
            ("RUN a \\", vec![(1, "RUN a")]),
            ("RUN a # b\r\nX\r\n", vec![(1, "RUN a # b"), (2, "X")]),
            (
                "# escape=`\nRUN a `\n b \\\nX",
                vec![(2, "RUN a  b \\"), (4, "X")],
            ),
            ("\u{feff}FROM a", vec![(1, "FROM a")]),
        ] {
            let want: Vec<_> = want.into_iter().map(|(n, t)| (n, t.to_owned())).collect();
            assert_eq!(texts(text), want, "{text:?}");
        }
    }

    #[test]
    fn directives_only_at_the_top() {
        let read = |text: &str| split(text).map(|(d, _)| d);
        let d = read("# Syntax = docker/dockerfile:1\n#escape=`\n# check=skip=all\n").unwrap();
        assert_eq!(d.syntax.as_deref(), Some("docker/dockerfile:1"));
        assert_eq!((d.escape, d.check.as_deref()), ('`', Some("skip=all")));
        for text in [
            "\n# escape=`",
            "# a comment\n# escape=`",
            "# other=1\n# escape=`",
            "FROM a\n# escape=`",
        ] {
            assert_eq!(read(text).unwrap(), Directives::default(), "{text:?}");
        }
        assert!(read("# escape=x\n").is_err());
        assert_eq!(read("# escape=`\n# escape=`").unwrap_err().line, 2);
    }

    #[test]
    fn heredocs_follow_their_line() {
        let (_, all) = split(
            "RUN <<A cat <<-'B' \\\n # c\n 3<<C \"<<no\" <<<no\n1 $x\nA\n\t\t2\n\tB\nC\nX <<no\nCOPY <<\"E F\" /\n#5\nE F\n",
        )
        .unwrap();
        let documents: Vec<_> = all[0]
            .heredocs
            .iter()
            .map(|h| (h.name.as_str(), h.expand, h.content.as_str(), h.text()))
            .collect();
        assert_eq!(
            documents,
            [
                ("A", true, "1 $x\n", "1 $x\n".to_owned()),
                ("B", false, "\t\t2\n", "2\n".to_owned()),
                ("C", true, "", String::new()),
            ]
        );
        assert_eq!(all[1].text, "X <<no");
        // A comment in a heredoc is none.
        assert_eq!(all[2].heredocs[0].content, "#5\n");
        assert_eq!(
            split("ONBUILD RUN <<A\nx\nA\n").unwrap().1[0]
                .heredocs
                .len(),
            1
        );
        let open = split("FROM a\nRUN <<A\n  A\n").unwrap_err();
        assert_eq!(
            (open.line, open.problem),
            (2, Problem::Heredoc("A".to_owned()))
        );
    }
}
