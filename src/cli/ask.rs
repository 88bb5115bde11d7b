//! A question before something is lost.

use std::io::{self, BufRead as _, Write as _};

/// Whether the user says yes to the loss of `what`, one thing a line. Without an answer (the end of standard
/// input) it is no, as with docker.
pub(super) fn confirm(what: &[&str]) -> io::Result<bool> {
    let mut err = io::stderr().lock();
    writeln!(err, "WARNING! This will remove:")?;
    for line in what {
        writeln!(err, "  - {line}")?;
    }
    write!(err, "Are you sure you want to continue? [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    if io::stdin().lock().read_line(&mut answer)? == 0 {
        writeln!(err)?;
    }
    Ok(matches!(answer.trim(), "y" | "Y" | "yes" | "Yes" | "YES"))
}
