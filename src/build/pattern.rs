//! Patterns of a shell in `${x#PATTERN}` and `${x/PATTERN/…}`: `*`, `?`, and a backslash before what is meant
//! as it stands. Matched by all positions at once, so that no pattern takes longer than its length times the
//! text's.

/// One character of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    /// `*`
    Any,
    /// `?`
    One,
    Literal(char),
}

/// A pattern.
#[derive(Clone, Debug)]
pub(super) struct Pattern(Vec<Token>);

impl Pattern {
    pub(super) fn new(text: &str) -> Self {
        let mut tokens = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' => Token::Any,
                '?' => Token::One,
                '\\' => Token::Literal(chars.next().unwrap_or('\\')),
                c => Token::Literal(c),
            });
        }
        Self(tokens)
    }

    /// Lengths, in characters, of the shortest and the longest beginning of `text` that matches. `work` counts
    /// steps; `None` also when it runs out.
    fn beginning(
        &self,
        text: impl Iterator<Item = char>,
        work: &mut usize,
    ) -> Option<(usize, usize)> {
        let n = self.0.len();
        let mut at = vec![false; n + 1];
        at[0] = true;
        self.skip_any(&mut at);
        let mut found = at[n].then_some((0, 0));
        for (i, c) in text.enumerate() {
            *work = work.checked_sub(n + 1)?;
            let mut next = vec![false; n + 1];
            for (j, token) in self.0.iter().enumerate() {
                match token {
                    _ if !at[j] => {}
                    Token::Any => next[j] = true,
                    Token::One => next[j + 1] = true,
                    Token::Literal(l) if *l == c => next[j + 1] = true,
                    Token::Literal(_) => {}
                }
            }
            self.skip_any(&mut next);
            if !next.contains(&true) {
                break;
            }
            if next[n] {
                let shortest = found.map_or(i + 1, |f| f.0);
                found = Some((shortest, i + 1));
            }
            at = next;
        }
        found
    }

    /// A `*` may stand for nothing.
    fn skip_any(&self, at: &mut [bool]) {
        for (j, token) in self.0.iter().enumerate() {
            if at[j] && *token == Token::Any {
                at[j + 1] = true;
            }
        }
    }

    /// `${x#P}`, and with `longest` `${x##P}`.
    pub(super) fn without_beginning(
        &self,
        text: &str,
        longest: bool,
        work: &mut usize,
    ) -> Option<String> {
        let found = self.beginning(text.chars(), work);
        (*work > 0).then(|| {
            let n = found.map_or(0, |f| if longest { f.1 } else { f.0 });
            text.chars().skip(n).collect()
        })
    }

    /// `${x%P}`, and with `longest` `${x%%P}`.
    pub(super) fn without_end(
        &self,
        text: &str,
        longest: bool,
        work: &mut usize,
    ) -> Option<String> {
        let reversed = Self(self.0.iter().rev().copied().collect());
        let found = reversed.beginning(text.chars().rev(), work);
        (*work > 0).then(|| {
            let n = found.map_or(0, |f| if longest { f.1 } else { f.0 });
            let keep = text.chars().count() - n;
            text.chars().take(keep).collect()
        })
    }

    /// `${x/P/with}`, and with `all` `${x//P/with}`: the longest match at each place. A match of nothing is none.
    pub(super) fn replaced(
        &self,
        text: &str,
        with: &str,
        all: bool,
        work: &mut usize,
    ) -> Option<String> {
        let mut out = String::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            *work = work.checked_sub(1)?;
            match self.beginning(rest.chars(), work) {
                Some((_, n)) if n > 0 => {
                    out.push_str(with);
                    let end = rest.char_indices().nth(n).map_or(rest.len(), |(i, _)| i);
                    rest = &rest[end..];
                    if !all {
                        break;
                    }
                }
                _ => {
                    out.push(c);
                    rest = &rest[c.len_utf8()..];
                }
            }
        }
        if *work == 0 {
            return None;
        }
        out.push_str(rest);
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_a_shell_does_it() {
        let work = &mut 100_000;
        for (text, pattern, short, long) in [
            ("foobarbaz", "f*b", "arbaz", "az"),
            ("foobarbaz", "b*", "foobarbaz", "foobarbaz"),
            ("aaa", "*", "aaa", ""),
            ("a*b", r"a\*", "b", "b"),
            ("äöü", "?", "öü", "öü"),
            ("x", "", "x", "x"),
        ] {
            let p = Pattern::new(pattern);
            assert_eq!(
                p.without_beginning(text, false, work).unwrap(),
                short,
                "{text} # {pattern}"
            );
            assert_eq!(
                p.without_beginning(text, true, work).unwrap(),
                long,
                "{text} ## {pattern}"
            );
        }
        for (text, pattern, short, long) in [
            ("foobarbaz", "b*z", "foobar", "foo"),
            ("a.tar.gz", ".*", "a.tar", "a"),
            ("a.tar.gz", "x", "a.tar.gz", "a.tar.gz"),
        ] {
            let p = Pattern::new(pattern);
            assert_eq!(
                p.without_end(text, false, work).unwrap(),
                short,
                "{text} % {pattern}"
            );
            assert_eq!(
                p.without_end(text, true, work).unwrap(),
                long,
                "{text} %% {pattern}"
            );
        }
        for (text, pattern, with, one, all) in [
            ("barfoofoofar", "foo", "x", "barxfoofar", "barxxfar"),
            ("foobarbaz", "b?", "-", "foo-rbaz", "foo-r-z"),
            ("abc", "z", "x", "abc", "abc"),
            ("abc", "", "x", "abc", "abc"),
            ("a-b-c", "-*", "!", "a!", "a!"),
        ] {
            let p = Pattern::new(pattern);
            assert_eq!(
                p.replaced(text, with, false, work).unwrap(),
                one,
                "{text} / {pattern}"
            );
            assert_eq!(
                p.replaced(text, with, true, work).unwrap(),
                all,
                "{text} // {pattern}"
            );
        }
    }

    #[test]
    fn what_takes_too_long_is_given_up() {
        let text = "a".repeat(50_000);
        let p = Pattern::new(&"a*".repeat(100));
        assert_eq!(p.replaced(&text, "", true, &mut 1_000_000), None);
        assert_eq!(
            Pattern::new("a*b").replaced(&text, "", true, &mut 1_000_000),
            None
        );
    }
}
