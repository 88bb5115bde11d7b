//! `--creds USER[:PASSWORD]`: a login for one registry, for this command alone.

use super::prompt::{self, NoAnswer};
use super::{Failure, text};
use crate::ops::{Access, login};

/// Use `given` for `registry`, and no other one: a mirror never sees it.
pub(super) fn add(access: &mut Access, given: Option<&str>, registry: &str) -> Result<(), Failure> {
    let Some(given) = given else {
        return Ok(());
    };
    let login = match given.split_once(':') {
        Some((user, password)) => {
            text::stderr(
                "warning: others can see a password on the command line: `coracle login --password-stdin` reads it from a pipe",
            );
            login::typed(user, password)?
        }
        None => login::typed(given, &asked()?)?,
    };
    access.logins.push((registry.to_owned(), login));
    Ok(())
}

fn asked() -> Result<String, Failure> {
    if !prompt::possible() {
        return Err(Failure::usage(
            "the password cannot be asked for: standard input is not a terminal",
        )
        .with_hint("--creds USER:PASSWORD, or `coracle login` before"));
    }
    prompt::hidden("Password: ").map_err(|e| match e {
        NoAnswer::Io(e) => Failure::io(format!("cannot read from the terminal: {e}")),
        NoAnswer::Interrupted | NoAnswer::End => Failure::usage("no password was given"),
    })
}
