//! Patterns for paths: Go's `filepath.Match`, as `COPY` takes them, and with `**` as ignore files do
//! (moby/patternmatcher). All positions are followed at once: the time is the pattern's length times the path's.

use super::Problem;

/// One element of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Literal(char),
    /// `?`
    One,
    /// `*`
    Any,
    /// `**`
    Deep,
    /// `**/`: any number of directories. The next token is its [`Token::Within`].
    Dirs,
    /// Inside of those directories.
    Within,
    /// `[a-z]`, `[^a-z]`
    Class {
        not: bool,
        ranges: Vec<(char, char)>,
    },
}

/// A pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    tokens: Vec<Token>,
}

impl Glob {
    /// One in which `**` is nothing special.
    pub fn new(text: &str) -> Result<Self, Problem> {
        Self::parse(text, false)
    }

    /// One in which `**` crosses directories.
    pub fn deep(text: &str) -> Result<Self, Problem> {
        Self::parse(text, true)
    }

    /// Whether the text has anything that is special in a pattern.
    pub fn is_one(text: &str) -> bool {
        text.contains(['*', '?', '[', '\\'])
    }

    fn parse(text: &str, deep: bool) -> Result<Self, Problem> {
        let bad = || Problem::Pattern(text.to_owned());
        let mut tokens = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '*' if deep && chars.peek() == Some(&'*') => {
                    chars.next();
                    match chars.next_if_eq(&'/') {
                        Some(_) => tokens.extend([Token::Dirs, Token::Within]),
                        None => tokens.push(Token::Deep),
                    }
                }
                '*' => tokens.push(Token::Any),
                '?' => tokens.push(Token::One),
                '\\' => tokens.push(Token::Literal(chars.next().ok_or_else(bad)?)),
                '[' => {
                    let not = chars.next_if_eq(&'^').is_some();
                    let mut ranges = Vec::new();
                    loop {
                        let from = match chars.next().ok_or_else(bad)? {
                            ']' if !ranges.is_empty() => break,
                            ']' | '-' => return Err(bad()),
                            '\\' => chars.next().ok_or_else(bad)?,
                            c => c,
                        };
                        let to = match chars.next_if_eq(&'-') {
                            None => from,
                            Some(_) => match chars.next().ok_or_else(bad)? {
                                ']' | '-' => return Err(bad()),
                                '\\' => chars.next().ok_or_else(bad)?,
                                c => c,
                            },
                        };
                        ranges.push((from, to));
                    }
                    tokens.push(Token::Class { not, ranges });
                }
                c => tokens.push(Token::Literal(c)),
            }
        }
        Ok(Self { tokens })
    }

    /// Whether the whole path matches.
    pub fn matches(&self, path: &[u8]) -> bool {
        let n = self.tokens.len();
        let mut at = vec![false; n + 1];
        at[0] = true;
        self.skip(&mut at);
        for c in String::from_utf8_lossy(path).chars() {
            let mut next = vec![false; n + 1];
            for (j, token) in self.tokens.iter().enumerate().filter(|(j, _)| at[*j]) {
                match token {
                    Token::Literal(l) => next[j + 1] |= *l == c,
                    Token::One => next[j + 1] |= c != '/',
                    Token::Any => next[j] |= c != '/',
                    Token::Deep => next[j] = true,
                    Token::Dirs => {}
                    Token::Within => {
                        next[j] = true;
                        next[j + 1] |= c == '/';
                    }
                    Token::Class { not, ranges } => {
                        let is_in = ranges.iter().any(|(a, b)| (*a..=*b).contains(&c));
                        next[j + 1] |= c != '/' && is_in != *not;
                    }
                }
            }
            self.skip(&mut next);
            if !next.contains(&true) {
                return false;
            }
            at = next;
        }
        at[n]
    }

    /// What may stand for nothing.
    fn skip(&self, at: &mut [bool]) {
        for (j, token) in self.tokens.iter().enumerate() {
            if !at[j] {
                continue;
            }
            match token {
                Token::Any | Token::Deep => at[j + 1] = true,
                Token::Dirs => {
                    at[j + 1] = true;
                    at[j + 2] = true;
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of Go's path/filepath/match_test.go.
    #[test]
    fn as_go_matches() {
        for (pattern, path, want) in [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "a", true),
            ("a*", "ab/c", false),
            ("a*/b", "abc/b", true),
            ("a*/b", "a/c/b", false),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", true),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", false),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^c]", "abc", false),
            ("ab[^e-g]", "abc", true),
            (r"a\*b", "a*b", true),
            (r"a\*b", "ab", false),
            ("a?b", "a☺b", true),
            ("a[^a]b", "a☺b", true),
            ("a???b", "a☺b", false),
            ("[a-ζ]*", "α", true),
            ("a?b", "a/b", false),
            ("a*b", "a/b", false),
            (r"[\]a]", "]", true),
            (r"[\-x]", "-", true),
            (r"[x\-]", "z", false),
            ("*x", "xxx", true),
            ("**", "a/b", false),
        ] {
            let glob = Glob::new(pattern).unwrap();
            assert_eq!(glob.matches(path.as_bytes()), want, "{pattern} {path}");
        }
        for bad in ["[]a]", "[-]", "[x-]", "[-x]", "[", "[^", "[a", "\\", "a[-"] {
            assert!(Glob::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_pattern_takes_long() {
        let glob = Glob::deep(&"**/a*".repeat(200)).unwrap();
        assert!(!glob.matches("a/".repeat(2000).as_bytes()));
    }
}
