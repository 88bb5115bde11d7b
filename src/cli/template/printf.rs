//! Go's `printf`: `%s %q %v %d %x %X %o %c %t %f %e %%`, with flags, width and precision.

use std::iter::Peekable;
use std::str::Chars;

use super::value::Val;

/// Wider than any line.
const WIDTH_MAX: usize = 4096;

/// What stands between `%` and the letter.
#[derive(Default)]
struct Spec {
    left: bool,
    plus: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
}

/// `None`: a width beyond all reason. What is wrong otherwise is shown in the text, as Go does.
pub(super) fn printf(format: &str, arguments: &[Val<'_>]) -> Option<String> {
    let mut out = String::new();
    let mut arguments = arguments.iter();
    let mut letters = format.chars().peekable();
    while let Some(c) = letters.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut spec = Spec::default();
        while let Some(flag) = letters.next_if(|c| "-+0 #".contains(*c)) {
            match flag {
                '-' => spec.left = true,
                '+' => spec.plus = true,
                '0' => spec.zero = true,
                _ => {}
            }
        }
        spec.width = number(&mut letters)?;
        if letters.next_if_eq(&'.').is_some() {
            spec.precision = Some(number(&mut letters)?);
        }
        match letters.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match arguments.next() {
                None => out.push_str(&format!("%!{verb}(MISSING)")),
                Some(argument) => out.push_str(&one(verb, &spec, argument)),
            },
        }
    }
    for extra in arguments {
        out.push_str(&format!("%!(EXTRA {})", extra.text()));
    }
    Some(out)
}

fn number(letters: &mut Peekable<Chars<'_>>) -> Option<usize> {
    let mut number = 0;
    while let Some(digit) = letters.next_if(char::is_ascii_digit) {
        number = number * 10 + digit.to_digit(10)? as usize;
        if number > WIDTH_MAX {
            return None;
        }
    }
    Some(number)
}

fn one(verb: char, spec: &Spec, argument: &Val<'_>) -> String {
    let value = argument.value();
    let integer = value.as_i64();
    let float = value.as_f64();
    let sign = |text: String, negative: bool| match spec.plus && !negative {
        true => format!("+{text}"),
        false => text,
    };
    let text = match (verb, integer, float) {
        ('v' | 's', ..) if spec.precision.is_none() => argument.text(),
        ('v' | 's', ..) => {
            let most = spec.precision.unwrap_or(usize::MAX);
            argument.text().chars().take(most).collect()
        }
        ('q', ..) => match value.is_array() {
            true => {
                let items = argument.items().unwrap_or_default();
                let items: Vec<String> = items.iter().map(|(_, i)| quote(&i.text())).collect();
                format!("[{}]", items.join(" "))
            }
            false => quote(&argument.text()),
        },
        ('t', ..) if value.is_boolean() => argument.text(),
        ('d', Some(n), _) => sign(n.to_string(), n < 0),
        ('x', Some(n), _) => format!("{n:x}"),
        ('X', Some(n), _) => format!("{n:X}"),
        ('o', Some(n), _) => format!("{n:o}"),
        ('c', Some(n), _) => {
            let c = u32::try_from(n).ok().and_then(char::from_u32);
            c.unwrap_or(char::REPLACEMENT_CHARACTER).to_string()
        }
        ('x', ..) if value.is_string() => hex(&argument.text()),
        ('f' | 'F', _, Some(f)) => {
            let digits = spec.precision.unwrap_or(6);
            sign(format!("{f:.digits$}"), f < 0.0)
        }
        ('e', _, Some(f)) => {
            let digits = spec.precision.unwrap_or(6);
            sign(format!("{f:.digits$e}"), f < 0.0)
        }
        ('g', _, Some(f)) => sign(f.to_string(), f < 0.0),
        _ => format!("%!{verb}({})", argument.text()),
    };
    pad(text, spec, value.is_number())
}

fn pad(text: String, spec: &Spec, number: bool) -> String {
    let missing = spec.width.saturating_sub(text.chars().count());
    if missing == 0 {
        return text;
    }
    if spec.left {
        return text + &" ".repeat(missing);
    }
    if !(spec.zero && number) {
        return " ".repeat(missing) + &text;
    }
    let digits = text.find(|c| c != '-' && c != '+').unwrap_or(0);
    let (sign, rest) = text.split_at(digits);
    format!("{sign}{}{rest}", "0".repeat(missing))
}

fn quote(s: &str) -> String {
    let mut out = String::from("\"");
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn hex(s: &str) -> String {
    s.bytes().map(|b| format!("{b:02x}")).collect()
}
