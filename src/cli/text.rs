//! Writing to the terminal: data to stdout, the rest to stderr, and never a control character of a
//! stranger's making.

use std::borrow::Cow;
use std::io::{self, Write};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Write data to stdout, buffered. A reader that went away (`coracle images | head -1`) is no error.
pub(crate) fn stdout(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Write one line to stdout, at once.
pub(crate) fn line(line: &str) -> io::Result<()> {
    stdout(|out| writeln!(out, "{line}"))
}

/// Has whoever read our standard output gone away? A pipe says so before anything is written to it.
pub(crate) fn is_reader_gone() -> bool {
    let out = io::stdout();
    let mut fds = [PollFd::new(&out, PollFlags::empty())];
    matches!(poll(&mut fds, Some(&Timespec::default())), Ok(1))
        && fds[0].revents().contains(PollFlags::ERR)
}

/// Write what a container wrote, as it is.
pub(crate) fn raw(out: &mut dyn Write, bytes: &[u8]) -> io::Result<()> {
    out.write_all(bytes)?;
    out.flush()
}

/// Write one line to stderr. There is nowhere left to report a failure to.
pub(crate) fn stderr(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Names and messages from images and registries come from strangers: control characters (and the
/// invisible ones that reorder text) are shown as escapes, so that they cannot drive the terminal.
pub(crate) fn printable(s: &str) -> Cow<'_, str> {
    if !s.contains(is_hidden) {
        return Cow::Borrowed(s);
    }
    let mut out = String::with_capacity(s.len() + 16);
    for c in s.chars() {
        if is_hidden(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// The same for a JSON document: escapes that keep it valid JSON with the same meaning.
pub(crate) fn json_printable(json: &str) -> Cow<'_, str> {
    // Outside of strings JSON has no such characters but line ends.
    let escape = |c: char| is_hidden(c) && c != '\n';
    if !json.contains(escape) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if escape(c) {
            // All of them are in the basic plane: one unit.
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

fn is_hidden(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn a_terminal_escape_is_shown_and_not_sent() {
        assert_eq!(
            printable("a\u{1b}[2Jb\u{7}\u{202e}"),
            "a\\u{1b}[2Jb\\u{7}\\u{202e}"
        );
        assert_eq!(printable("plain ü 名"), "plain ü 名");
        assert_eq!(printable("c1 \u{9b}31m"), "c1 \\u{9b}31m");
    }
}
