//! Values in instructions: modes, ports, durations.

use super::Problem;

/// `--chmod`: an octal number, or letters as chmod(1) takes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chmod {
    /// All bits.
    Octal(u32),
    /// Changes to what a file has, in their order.
    Symbolic(Vec<Clause>),
}

/// `u=rwX`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clause {
    /// Bits of whom it is about.
    who: u32,
    sign: char,
    /// The bits but for `X`.
    bits: u32,
    /// `X`: to be executed if it is a directory, or somebody may.
    some: bool,
}

const EVERYBODY: u32 = 0o7777;

impl Chmod {
    /// Read one.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let bad = || Problem::Mode(text.to_owned());
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let mode = u32::from_str_radix(text, 8).map_err(|_| bad())?;
            return (mode <= 0o7777)
                .then_some(Self::Octal(mode))
                .ok_or_else(bad);
        }
        let mut clauses = Vec::new();
        for clause in text.split(',') {
            let at = clause.find(['+', '-', '=']).ok_or_else(bad)?;
            let mut who = 0;
            for c in clause[..at].chars() {
                who |= match c {
                    'u' => 0o4700,
                    'g' => 0o2070,
                    'o' => 0o0007,
                    'a' => EVERYBODY,
                    _ => return Err(bad()),
                };
            }
            if who == 0 {
                who = EVERYBODY;
            }
            if who & 0o0007 != 0 {
                who |= 0o1000;
            }
            let mut rest = clause[at..].chars().peekable();
            while let Some(sign) = rest.next() {
                if !matches!(sign, '+' | '-' | '=') {
                    return Err(bad());
                }
                let (mut bits, mut some) = (0, false);
                while let Some(c) = rest.next_if(|c| c.is_ascii_alphabetic()) {
                    match c {
                        'r' => bits |= 0o444,
                        'w' => bits |= 0o222,
                        'x' => bits |= 0o111,
                        's' => bits |= 0o6000,
                        't' => bits |= 0o1000,
                        'X' => some = true,
                        _ => return Err(bad()),
                    }
                }
                clauses.push(Clause {
                    who,
                    sign,
                    bits,
                    some,
                });
            }
        }
        Ok(Self::Symbolic(clauses))
    }

    /// The new mode of a file that has this one.
    pub fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        let clauses = match self {
            Self::Octal(mode) => return *mode,
            Self::Symbolic(clauses) => clauses,
        };
        clauses.iter().fold(mode, |mode, c| {
            let some = c.some && (is_dir || mode & 0o111 != 0);
            let bits = (c.bits | if some { 0o111 } else { 0 }) & c.who;
            match c.sign {
                '+' => mode | bits,
                '-' => mode & !bits,
                // Who names nobody's set-id bits of a directory keeps them (chmod(1)).
                _ => mode & !(c.who & if is_dir { 0o777 } else { EVERYBODY }) | bits,
            }
        })
    }
}

/// `80`, `80/udp`, `8000-8002` to what a configuration has.
pub fn ports(text: &str) -> Result<Vec<String>, Problem> {
    let bad = || Problem::Port(text.to_owned());
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(bad());
    }
    let (from, to) = range.split_once('-').unwrap_or((range, range));
    let number = |s: &str| s.parse::<u16>().map_err(|_| bad());
    let (from, to) = (number(from)?, number(to)?);
    if from > to {
        return Err(bad());
    }
    Ok((from..=to).map(|p| format!("{p}/{protocol}")).collect())
}

/// A path from a directory, without `.` and `..`, as Go's `path.Join` does it: by its letters, so that no symlink
/// has a say. It begins with a slash.
pub fn absolute(dir: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let dir = if path.starts_with('/') { "" } else { dir };
    for part in dir.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Go's `time.ParseDuration`, in nanoseconds: `1m30s`, `1.5h`, `500ms`.
pub(super) fn duration(text: &str) -> Result<u64, Problem> {
    let bad = || Problem::Duration(text.to_owned());
    if text == "0" {
        return Ok(0);
    }
    let (mut rest, mut total) = (text, 0f64);
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(bad)?;
        let number: f64 = rest[..end].parse().map_err(|_| bad())?;
        rest = &rest[end..];
        let end = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return Err(bad()),
        };
        rest = &rest[end..];
        total += number * unit;
    }
    // 292 years, as Go's.
    if text.is_empty() || total > i64::MAX as f64 {
        return Err(bad());
    }
    Ok(total as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        for (text, file, dir) in [
            ("755", 0o755, 0o755),
            ("0644", 0o644, 0o644),
            ("4711", 0o4711, 0o4711),
            ("u=rwX,go=rX", 0o644, 0o755),
            ("+x", 0o751, 0o751),
            ("go-rwx", 0o600, 0o700),
            ("u+s,o+t", 0o5640, 0o5750),
            ("a=,u+rw", 0o600, 0o600),
        ] {
            let mode = Chmod::parse(text).unwrap();
            assert_eq!(mode.apply(0o640, false), file, "{text}");
            assert_eq!(mode.apply(0o750, true), dir, "{text}");
        }
        for bad in ["", "8", "77777", "u", "x=r", "u=q", "g=u", "$MODE"] {
            assert!(Chmod::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths() {
        for (dir, path, want) in [
            ("/", "", "/"),
            ("/a", "b/./c/", "/a/b/c"),
            ("/a/b", "../c", "/a/c"),
            ("/a", "/x/..//y", "/y"),
            ("a", "../../..", "/"),
        ] {
            assert_eq!(absolute(dir, path), want, "{dir} {path}");
        }
    }

    #[test]
    fn durations() {
        for (text, want) in [
            ("0", 0),
            ("30s", 30_000_000_000),
            ("1m30s", 90_000_000_000),
            ("1.5h", 5_400_000_000_000),
            ("500ms", 500_000_000),
            ("7µs", 7000),
        ] {
            assert_eq!(duration(text), Ok(want), "{text}");
        }
        for bad in ["", "1", "s", "-1s", "1x", "1s2", "9999999h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
