//! A template in pieces, and an action in tokens.

use super::TemplateError;

/// Text, or what stands between `{{` and `}}`.
#[derive(Debug, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Action(String),
}

/// Cut a template in pieces. Comments are gone, white space is trimmed, and `\n` and `\t` of the text are what
/// they look like.
pub(super) fn pieces(source: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = source;
    let mut trim = false;
    loop {
        let (text, after) = match rest.split_once("{{") {
            Some((text, after)) => (text, Some(after)),
            None => (rest, None),
        };
        let text = text.replace("\\n", "\n").replace("\\t", "\t");
        let mut text = match trim {
            true => text.trim_start(),
            false => &text,
        };
        let Some(after) = after else {
            pieces.push(Piece::Text(text.to_owned()));
            return Ok(pieces);
        };
        let (action, after) = split_action(after).ok_or(TemplateError::Open)?;
        let mut action = action;
        if let Some(a) = action.strip_prefix('-')
            && a.starts_with(|c: char| c.is_ascii_whitespace())
        {
            action = a;
            text = text.trim_end();
        }
        trim = false;
        if let Some(a) = action.strip_suffix('-')
            && a.ends_with(|c: char| c.is_ascii_whitespace())
        {
            action = a;
            trim = true;
        }
        pieces.push(Piece::Text(text.to_owned()));
        let action = action.trim();
        if !(action.starts_with("/*") && action.ends_with("*/") && action.len() >= 4) {
            pieces.push(Piece::Action(action.to_owned()));
        }
        rest = after;
    }
}

/// Up to the `}}` that is not inside a string or a comment.
fn split_action(s: &str) -> Option<(&str, &str)> {
    let comment = s.strip_prefix('-').unwrap_or(s).trim_start();
    if comment.starts_with("/*") {
        let end = s.find("*/")?;
        let close = end + s[end..].find("}}")?;
        return Some((&s[..close], &s[close + 2..]));
    }
    let mut quote = None;
    let mut escaped = false;
    for (i, c) in s.char_indices() {
        match (quote, c) {
            (Some('"' | '\''), '\\') if !escaped => {
                escaped = true;
                continue;
            }
            (Some(q), c) if c == q && !escaped => quote = None,
            (None, '"' | '`' | '\'') => quote = Some(c),
            (None, '}') if s[i..].starts_with("}}") => return Some((&s[..i], &s[i + 2..])),
            _ => {}
        }
        escaped = false;
    }
    None
}

/// One of the words of an action.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// `.` alone.
    Dot,
    /// `.name`
    Field(String),
    /// `$name`, or `$` alone.
    Variable(String),
    /// A function, a keyword, `true`, `false` or `nil`.
    Name(String),
    Text(String),
    Integer(i64),
    Float(f64),
    Pipe,
    Open,
    Close,
    Comma,
    /// `:=`
    Declare,
    /// `=`
    Assign,
}

/// The tokens of an action, and of each whether it follows the one before without a space.
pub(super) fn tokens(action: &str) -> Result<Vec<(Token, bool)>, TemplateError> {
    let mut tokens = Vec::new();
    let mut rest = action;
    loop {
        let at = rest.trim_start();
        let glued = at.len() == rest.len() && !tokens.is_empty();
        if at.is_empty() {
            return Ok(tokens);
        }
        let (token, after) =
            token(at).ok_or_else(|| TemplateError::Syntax(action.trim().to_owned()))?;
        tokens.push((token, glued));
        rest = after;
    }
}

fn token(s: &str) -> Option<(Token, &str)> {
    for (word, token) in [
        (":=", Token::Declare),
        ("=", Token::Assign),
        ("|", Token::Pipe),
        ("(", Token::Open),
        (")", Token::Close),
        (",", Token::Comma),
    ] {
        if let Some(rest) = s.strip_prefix(word) {
            return Some((token, rest));
        }
    }
    let first = s.chars().next()?;
    match first {
        '"' => quoted(&s[1..], '"').map(|(text, rest)| (Token::Text(text), rest)),
        '\'' => {
            let (text, rest) = quoted(&s[1..], '\'')?;
            let mut letters = text.chars();
            let code = i64::from(u32::from(letters.next()?));
            letters
                .next()
                .is_none()
                .then_some((Token::Integer(code), rest))
        }
        '`' => {
            let (text, rest) = s[1..].split_once('`')?;
            Some((Token::Text(text.to_owned()), rest))
        }
        '.' if s[1..].starts_with(is_letter) => {
            let (word, rest) = name(&s[1..]);
            Some((Token::Field(word.to_owned()), rest))
        }
        '.' if !s[1..].starts_with(|c: char| c == '.' || c.is_ascii_digit()) => {
            Some((Token::Dot, &s[1..]))
        }
        '$' => {
            let (word, rest) = name(&s[1..]);
            Some((Token::Variable(word.to_owned()), rest))
        }
        c if c.is_ascii_digit() || "+-.".contains(c) => number(s),
        c if is_letter(c) => {
            let (word, rest) = name(s);
            Some((Token::Name(word.to_owned()), rest))
        }
        _ => None,
    }
}

fn is_letter(c: char) -> bool {
    c == '_' || c.is_alphabetic()
}

fn name(s: &str) -> (&str, &str) {
    let end = s.find(|c: char| !(c == '_' || c.is_alphanumeric()));
    s.split_at(end.unwrap_or(s.len()))
}

fn number(s: &str) -> Option<(Token, &str)> {
    let part = |c: char| c.is_ascii_alphanumeric() || "+-._".contains(c);
    let end = s.find(|c| !part(c)).unwrap_or(s.len());
    let (text, rest) = s.split_at(end);
    let plain = text.replace('_', "");
    let token = match plain.strip_prefix("0x") {
        Some(hex) => Token::Integer(i64::from_str_radix(hex, 16).ok()?),
        None => match plain.parse() {
            Ok(n) => Token::Integer(n),
            Err(_) => Token::Float(plain.parse().ok().filter(|f: &f64| f.is_finite())?),
        },
    };
    Some((token, rest))
}

/// A string of Go up to its closing quote: what it stands for, and what follows.
fn quoted(s: &str, quote: char) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut rest = s;
    loop {
        let c = rest.chars().next()?;
        rest = &rest[c.len_utf8()..];
        if c == quote {
            return Some((out, rest));
        }
        if c != '\\' {
            out.push(c);
            continue;
        }
        let letter = rest.chars().next()?;
        rest = &rest[letter.len_utf8()..];
        let digits = match letter {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        out.push(match letter {
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            '\\' | '"' | '\'' => letter,
            _ if digits > 0 => {
                let (hex, after) = rest.split_at_checked(digits)?;
                rest = after;
                char::from_u32(u32::from_str_radix(hex, 16).ok()?)?
            }
            _ => return None,
        });
    }
}
