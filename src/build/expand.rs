//! Words to values: quotes go, variables are replaced. The rules are those of BuildKit's
//! `frontend/dockerfile/shell/lex.go`, whose documented examples are the tests.

use super::pattern::Pattern;
use super::{DEPTH_MAX, EXPANDED_MAX, Problem};

/// Steps that patterns may take for one word.
const WORK_MAX: usize = 4_000_000;

/// The value of a variable, or none.
pub type Scope<'s> = dyn Fn(&str) -> Option<String> + 's;

/// What quotes mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quoting {
    /// They take the meaning off what is in them, and go.
    Words,
    /// They are text, as in a heredoc.
    Text,
}

/// Expand a word, which stays one.
pub fn expand(
    text: &str,
    escape: char,
    quoting: Quoting,
    scope: &Scope<'_>,
) -> Result<String, Problem> {
    let mut lexer = Lexer::new(text, escape, quoting, scope);
    lexer.until(None, false)?;
    Ok(lexer.take())
}

/// Expand a word to any number of them: white space that was not in quotes separates.
pub fn expand_words(text: &str, escape: char, scope: &Scope<'_>) -> Result<Vec<String>, Problem> {
    let mut lexer = Lexer::new(text, escape, Quoting::Words, scope);
    lexer.splits = Some(Vec::new());
    lexer.until(None, false)?;
    lexer.end_word();
    Ok(lexer.splits.take().unwrap_or_default())
}

struct Lexer<'t, 's> {
    text: &'t str,
    rest: std::str::Chars<'t>,
    escape: char,
    quoting: Quoting,
    scope: &'s Scope<'s>,
    out: String,
    /// Finished words, if they are told apart; and whether one is begun, perhaps an empty one.
    splits: Option<Vec<String>>,
    begun: bool,
    depth: u32,
    work: usize,
}

impl<'t, 's> Lexer<'t, 's> {
    fn new(text: &'t str, escape: char, quoting: Quoting, scope: &'s Scope<'s>) -> Self {
        Self {
            text,
            rest: text.chars(),
            escape,
            quoting,
            scope,
            out: String::new(),
            splits: None,
            begun: false,
            depth: 0,
            work: WORK_MAX,
        }
    }

    fn take(&mut self) -> String {
        std::mem::take(&mut self.out)
    }

    fn peek(&self) -> Option<char> {
        self.rest.clone().next()
    }

    fn open(&self, mark: char) -> Problem {
        Problem::Open {
            text: self.text.to_owned(),
            mark,
        }
    }

    fn push(&mut self, text: &str) -> Result<(), Problem> {
        self.begun = true;
        if self.out.len() + text.len() > EXPANDED_MAX {
            return Err(Problem::Limit {
                what: "bytes of an expanded word",
                max: EXPANDED_MAX,
            });
        }
        self.out.push_str(text);
        Ok(())
    }

    fn push_char(&mut self, c: char) -> Result<(), Problem> {
        self.push(c.encode_utf8(&mut [0; 4]))
    }

    fn end_word(&mut self) {
        if std::mem::take(&mut self.begun) {
            let word = self.take();
            self.splits.get_or_insert_default().push(word);
        }
    }

    /// The value of a variable outside of quotes.
    fn push_value(&mut self, value: &str) -> Result<(), Problem> {
        if self.splits.is_none() || self.depth > 0 {
            return self.push(value);
        }
        for c in value.chars() {
            match c.is_whitespace() {
                true => self.end_word(),
                false => self.push_char(c)?,
            }
        }
        Ok(())
    }

    /// Up to `stop`, which goes, or to the end. `raw`: what is escaped stays so, since a pattern comes of it.
    fn until(&mut self, stop: Option<char>, raw: bool) -> Result<(), Problem> {
        let quotes = self.quoting == Quoting::Words;
        while let Some(c) = self.peek() {
            if stop == Some(c) {
                self.rest.next();
                return Ok(());
            }
            match c {
                '\'' if quotes => self.single()?,
                '"' if quotes => self.double()?,
                '$' => {
                    let value = self.variable()?;
                    self.push_value(&value)?;
                }
                c if c == self.escape => {
                    self.rest.next();
                    self.escaped(raw)?;
                }
                c if c.is_whitespace() && self.splits.is_some() && self.depth == 0 => {
                    self.rest.next();
                    self.end_word();
                }
                c => {
                    self.rest.next();
                    self.push_char(c)?;
                }
            }
        }
        match stop {
            Some(mark) => Err(self.open(if mark == '/' { '/' } else { '{' })),
            None => Ok(()),
        }
    }

    /// After the mark that takes the meaning off the next character.
    fn escaped(&mut self, raw: bool) -> Result<(), Problem> {
        let next = self.rest.next();
        // In a document it does so before a dollar sign and before itself only.
        let keep = raw
            || self.quoting == Quoting::Text && next.is_none_or(|n| n != '$' && n != self.escape);
        match next {
            Some(next) => {
                if keep {
                    self.push_char(if raw { '\\' } else { self.escape })?;
                }
                self.push_char(next)
            }
            None if keep && !raw => self.push_char(self.escape),
            None => Ok(()),
        }
    }

    fn single(&mut self) -> Result<(), Problem> {
        self.rest.next();
        self.begun = true;
        loop {
            match self.rest.next() {
                None => return Err(self.open('\'')),
                Some('\'') => return Ok(()),
                Some(c) => self.push_char(c)?,
            }
        }
    }

    fn double(&mut self) -> Result<(), Problem> {
        self.rest.next();
        self.begun = true;
        loop {
            match self.peek() {
                None => return Err(self.open('"')),
                Some('"') => {
                    self.rest.next();
                    return Ok(());
                }
                Some('$') => {
                    let value = self.variable()?;
                    self.push(&value)?;
                }
                Some(c) => {
                    self.rest.next();
                    if c == self.escape {
                        match self.rest.next() {
                            None => return Err(self.open('"')),
                            Some(n) if n == '"' || n == '$' || n == self.escape => {
                                self.push_char(n)?;
                            }
                            Some(n) => {
                                self.push_char(c)?;
                                self.push_char(n)?;
                            }
                        }
                    } else {
                        self.push_char(c)?;
                    }
                }
            }
        }
    }

    /// `$NAME` or `${…}`, at the dollar sign.
    fn variable(&mut self) -> Result<String, Problem> {
        self.rest.next();
        if self.peek() != Some('{') {
            let name = self.name();
            return Ok(match name.is_empty() {
                true => "$".to_owned(),
                false => (self.scope)(&name).unwrap_or_default(),
            });
        }
        self.rest.next();
        let name = self.name();
        let bad = |lexer: &Self| Problem::Substitution(lexer.text.to_owned());
        if name.is_empty() {
            return Err(bad(self));
        }
        let value = (self.scope)(&name);
        match self.rest.next() {
            None => Err(self.open('{')),
            Some('}') => Ok(value.unwrap_or_default()),
            Some(':') => {
                let value = value.filter(|v| !v.is_empty());
                match self.rest.next() {
                    Some(sign @ ('-' | '+' | '?')) => self.or_word(&name, value, sign),
                    None => Err(self.open('{')),
                    Some(_) => Err(bad(self)),
                }
            }
            Some(sign @ ('-' | '+' | '?')) => self.or_word(&name, value, sign),
            Some(sign @ ('#' | '%')) => {
                let longest = self.doubled(sign);
                let pattern = Pattern::new(&self.below('}', true)?);
                let value = value.unwrap_or_default();
                let work = &mut self.work;
                let cut = match sign {
                    '#' => pattern.without_beginning(&value, longest, work),
                    _ => pattern.without_end(&value, longest, work),
                };
                cut.ok_or(TOO_MUCH)
            }
            Some('/') => {
                let all = self.doubled('/');
                let pattern = Pattern::new(&self.below('/', true)?);
                let with = self.below('}', false)?;
                let value = value.unwrap_or_default();
                if value.len().saturating_mul(with.len().max(1)) > EXPANDED_MAX << 8 {
                    return Err(TOO_MUCH);
                }
                let new = pattern.replaced(&value, &with, all, &mut self.work);
                new.ok_or(TOO_MUCH)
            }
            Some(_) => Err(bad(self)),
        }
    }

    fn doubled(&mut self, sign: char) -> bool {
        let doubled = self.peek() == Some(sign);
        if doubled {
            self.rest.next();
        }
        doubled
    }

    /// `-`, `+`, `?` and the word after it.
    fn or_word(
        &mut self,
        name: &str,
        value: Option<String>,
        sign: char,
    ) -> Result<String, Problem> {
        let word = self.below('}', false)?;
        match (sign, value) {
            ('+', Some(_)) => Ok(word),
            ('+', None) => Ok(String::new()),
            (_, Some(value)) => Ok(value),
            ('-', None) => Ok(word),
            (_, None) => Err(Problem::Unset {
                name: name.to_owned(),
                message: Some(word).filter(|w| !w.is_empty()),
            }),
        }
    }

    /// What stands up to `stop`, expanded by itself.
    fn below(&mut self, stop: char, raw: bool) -> Result<String, Problem> {
        if self.depth >= DEPTH_MAX {
            return Err(Problem::Limit {
                what: "substitutions in each other",
                max: DEPTH_MAX as usize,
            });
        }
        self.depth += 1;
        let (outer, begun) = (self.take(), self.begun);
        let result = self.until(Some(stop), raw);
        let inner = std::mem::replace(&mut self.out, outer);
        self.begun = begun;
        self.depth -= 1;
        result.map(|()| inner)
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.peek() {
            let fits = match name.chars().next() {
                // $1 is followed by digits only, as in a shell with braces.
                Some(f) if f.is_ascii_digit() => c.is_ascii_digit(),
                _ => c.is_alphanumeric() || c == '_',
            };
            if !fits {
                break;
            }
            name.push(c);
            self.rest.next();
        }
        if name.is_empty()
            && let Some(c @ ('@' | '*' | '#')) = self.peek()
        {
            self.rest.next();
            name.push(c);
        }
        name
    }
}

const TOO_MUCH: Problem = Problem::Limit {
    what: "steps for a pattern",
    max: WORK_MAX,
};

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(name: &str) -> Option<String> {
        let value = match name {
            "PWD" | "HOME" => "/home",
            "EMPTY" => "",
            "SET" => "set",
            "foo" => "foobarbaz",
            "two" => "a  b",
            "path" => "/usr/lib/x.tar.gz",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn word(text: &str) -> Result<String, Problem> {
        expand(text, '\\', Quoting::Words, &scope)
    }

    #[test]
    fn words_as_buildkit_expands_them() {
        for (text, want) in [
            ("hello", "hello"),
            ("he'll'o", "hello"),
            ("he'llo\\'", "hello\\"),
            ("\"he$PWD\"", "he/home"),
            ("'he$PWD'", "he$PWD"),
            (r"he\$PWD", "he$PWD"),
            (r#""he\$PWD""#, "he$PWD"),
            (r#""he\llo\"""#, r#"he\llo""#),
            (r"he\\llo", r"he\llo"),
            ("hello\\", "hello"),
            ("$PWD$SET", "/homeset"),
            ("${PWD}x$", "/homex$"),
            ("$NONE.", "."),
            ("$. $,", "$. $,"),
            ("$123x", "x"),
            ("${SET:-x}${NONE:-x}${EMPTY:-x}", "setxx"),
            ("${SET-x}${NONE-x}${EMPTY-x}.", "setx."),
            ("${SET:+x}${NONE:+y}${EMPTY:+z}.", "x."),
            ("${SET+x}${NONE+y}${EMPTY+z}.", "xz."),
            ("${SET:?x}${EMPTY?x}", "set"),
            ("${NONE:-${EMPTY:-${SET}}}", "set"),
            ("${NONE:-a'}'b}", "a}b"),
            (r"${NONE:-a\}b}", "a}b"),
            ("${NONE:-\"$HOME\"}", "/home"),
            ("${foo#f*b}", "arbaz"),
            ("${foo##*b}", "az"),
            ("${foo%b*}", "foobar"),
            ("${foo%%b*}", "foo"),
            ("${foo/b/B}", "fooBarbaz"),
            ("${foo//b/B}", "fooBarBaz"),
            ("${foo/$NONE/B}", "foobarbaz"),
            ("${foo//ba?/}", "foo"),
            ("${path##*/}", "x.tar.gz"),
            ("${path%%.*}", "/usr/lib/x"),
            (r"${path//\//-}", "-usr-lib-x.tar.gz"),
            ("$two", "a  b"),
        ] {
            assert_eq!(word(text).as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn words_that_are_none() {
        for text in [
            "'a", "\"a", "${", "${a", "${}", "${a:", "${a:=b}", "${a!b}", "${a:-b", "${a/b",
            "${a/b/c", "\"${a",
        ] {
            assert!(word(text).is_err(), "{text}");
        }
        let unset = word("${NONE:?give it}").unwrap_err();
        assert_eq!(unset.to_string(), "NONE must be set: give it");
        assert!(word("${EMPTY:?}").is_err());
    }

    #[test]
    fn words_are_split_outside_of_quotes() {
        for (text, want) in [
            ("$two c", vec!["a", "b", "c"]),
            ("\"$two\"", vec!["a  b"]),
            ("a$two'c d'", vec!["aa", "bc d"]),
            ("'' x", vec!["", "x"]),
            ("$NONE", vec![]),
            ("${NONE:-a b}", vec!["a", "b"]),
        ] {
            assert_eq!(expand_words(text, '\\', &scope).unwrap(), want, "{text}");
        }
    }

    #[test]
    fn documents_keep_their_quotes() {
        let text = r#"it's "$SET" \$SET \x \\ ${NONE:-'a'}"#;
        let got = expand(text, '\\', Quoting::Text, &scope).unwrap();
        assert_eq!(got, r#"it's "set" $SET \x \ 'a'"#);
    }

    #[test]
    fn hostile_words_have_limits() {
        let deep = "${a:-".repeat(40) + &"}".repeat(40);
        assert!(matches!(word(&deep), Err(Problem::Limit { .. })));
        let long = |_: &str| Some("a".repeat(100_000));
        let two = expand("$a$a", '\\', Quoting::Words, &long);
        assert!(matches!(two, Err(Problem::Limit { .. })));
        for text in [
            "${a//a*b/}",
            "${a//a/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}",
        ] {
            assert!(
                matches!(
                    expand(text, '\\', Quoting::Words, &long),
                    Err(Problem::Limit { .. })
                ),
                "{text}"
            );
        }
    }
}
