//! Questions to the user, on the terminal that standard input is. Questions go to stderr, since stdout is
//! for data.
//!
//! A password is read without echo, key by key: the terminal's own line editing would let an interrupt end
//! us while the echo is off, and the shell after us would be blind. termios(3).

use std::io::{self, BufRead as _, Read, Write as _};

use rustix::termios::{self, LocalModes, OptionalActions, SpecialCodeIndex, Termios};

/// Longest answer. Tokens of cloud providers have some kilobytes.
const ANSWER_MAX: usize = 16 << 10;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// Ctrl-C.
    Interrupted,
    /// Ctrl-D, or the terminal went away.
    End,
    /// Reading failed, or the answer is too long.
    Io(io::Error),
}

impl From<io::Error> for NoAnswer {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

/// Whether there is somebody to ask.
pub(super) fn possible() -> bool {
    termios::isatty(rustix::stdio::stdin())
}

/// One line, shown while it is typed.
pub(super) fn line(question: &str) -> Result<String, NoAnswer> {
    ask(question);
    let mut answer = String::new();
    let mut stdin = io::stdin().lock().take(ANSWER_MAX as u64);
    match stdin.read_line(&mut answer)? {
        0 => Err(NoAnswer::End),
        _ => Ok(answer.trim().to_owned()),
    }
}

/// One line that is not shown.
pub(super) fn hidden(question: &str) -> Result<String, NoAnswer> {
    // First: who answers at once must not be shown, nor lost.
    let quiet = Quiet::new()?;
    ask(question);
    let answer = typed(&mut io::stdin().lock());
    drop(quiet);
    ask("\n");
    answer
}

/// All of standard input, without the line end that it may have: for `--password-stdin`.
pub(super) fn all_of_stdin() -> io::Result<String> {
    let mut answer = String::new();
    let mut stdin = io::stdin().lock().take(ANSWER_MAX as u64 + 1);
    stdin.read_to_string(&mut answer)?;
    if answer.len() > ANSWER_MAX {
        return Err(too_long());
    }
    let line = answer.strip_suffix('\n').unwrap_or(&answer);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

fn ask(question: &str) {
    let mut err = io::stderr().lock();
    let _ = err
        .write_all(question.as_bytes())
        .and_then(|()| err.flush());
}

fn too_long() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("more than {ANSWER_MAX} bytes"),
    )
}

/// The terminal without echo, signals and lines; as it was when dropped.
struct Quiet(Termios);

impl Quiet {
    fn new() -> io::Result<Self> {
        let before = termios::tcgetattr(rustix::stdio::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        // What was typed before the question was none of the answer.
        termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.0);
    }
}

/// A line as keys come: backspace takes a character back, Ctrl-U all of them.
fn typed(keys: &mut dyn Read) -> Result<String, NoAnswer> {
    let mut answer: Vec<u8> = Vec::new();
    loop {
        let mut key = [0];
        match keys.read(&mut key) {
            Ok(0) => return Err(NoAnswer::End),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e.into()),
        }
        match key[0] {
            b'\r' | b'\n' => break,
            0x03 => return Err(NoAnswer::Interrupted),
            0x04 if answer.is_empty() => return Err(NoAnswer::End),
            0x04 => break,
            0x08 | 0x7f => {
                // The last character with all its bytes.
                while answer.pop().is_some_and(|b| b & 0xc0 == 0x80) {}
            }
            0x15 => answer.clear(),
            byte if byte < 0x20 => {}
            byte if answer.len() < ANSWER_MAX => answer.push(byte),
            _ => return Err(too_long().into()),
        }
    }
    String::from_utf8(answer)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(keys: &[u8]) -> Option<String> {
        typed(&mut &keys[..]).ok()
    }

    #[test]
    fn keys_make_a_line() {
        for (keys, want) in [
            (&b"secret\r"[..], "secret"),
            (b"se cret\nmore", "se cret"),
            (b"sx\x7fe\x08ee\r", "see"),
            ("a\u{fc}\x7fb\r".as_bytes(), "ab"),
            (b"\x7f\x7fa\r", "a"),
            (b"wrong\x15right\r", "right"),
            (b"a\x1a\x1b\x00b\r", "ab"),
            (b"abc\x04", "abc"),
        ] {
            assert_eq!(answer(keys).as_deref(), Some(want), "{keys:?}");
        }
        assert_eq!(answer(b""), None);
        assert_eq!(answer(b"abc"), None);
        assert_eq!(answer(b"\xff\r"), None);
        assert_eq!(answer(&vec![b'a'; ANSWER_MAX + 1]), None);
        assert!(matches!(
            typed(&mut &b"ab\x03"[..]),
            Err(NoAnswer::Interrupted)
        ));
        assert!(matches!(typed(&mut &b"\x04"[..]), Err(NoAnswer::End)));
    }
}
