//! `coracle login [REGISTRY]`

use super::intake::RegistryArgs;
use super::prompt::{self, NoAnswer};
use super::{Failure, Global, text};
use crate::ops::login::{self, Place, Verdict};
use crate::ops::{Access, Kept, Login};

/// Log in to a registry
///
/// The login is shown to the registry, and kept when it accepts it. REGISTRY is a host with an optional
/// port, or a part of its repositories (HOST/PATH); docker.io if nothing is said or configured.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// User name
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// Password, or an access token in its place; others can see it in the list of processes
    #[arg(short, long, value_name = "PASSWORD", conflicts_with_all = ["password_stdin", "get_login"])]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long, requires = "username", conflicts_with = "get_login")]
    password_stdin: bool,
    /// Print the user name that is logged in
    #[arg(long, conflicts_with = "username")]
    get_login: bool,
    #[command(flatten)]
    registry: RegistryArgs,
    /// Registry to log in to
    #[arg(value_name = "REGISTRY")]
    place: Option<String>,
}

pub(super) fn exec(_: &Global, args: &Args) -> Result<u8, Failure> {
    let access = args.registry.access();
    let place = Place::given_or_default(args.place.as_deref(), &access)?;
    if args.get_login {
        let user = login::user(&access, &place)?;
        text::stdout(|out| writeln!(out, "{}", text::printable(&user)))?;
        return Ok(0);
    }
    if args.password.is_some() {
        text::stderr(
            "warning: others can see a password on the command line: --password-stdin reads it from a pipe",
        );
    }
    if args.username.is_none() && args.password.is_none() && already(&access, &place)? {
        return Ok(0);
    }
    let Some(login) = ask(args, &place)? else {
        return Ok(INTERRUPTED);
    };
    if login::check(&access, &place, &login)? == Verdict::NotWanted {
        text::stderr(&format!(
            "warning: {} wants no login to answer, and so cannot tell whether this one is good",
            place.key()
        ));
    }
    if let Kept::File(path) = login::keep(&access, &place, &login)? {
        text::stderr(&format!(
            "The login is kept unencrypted in {}",
            text::printable(&path.display().to_string())
        ));
    }
    text::stdout(|out| writeln!(out, "Login Succeeded!"))?;
    Ok(0)
}

/// As a shell shows Ctrl-C.
const INTERRUPTED: u8 = 130;

/// Whether there is a login already, and it is good.
fn already(access: &Access, place: &Place) -> Result<bool, Failure> {
    let Some(login) = login::current(access, place)? else {
        return Ok(false);
    };
    match login::check(access, place, &login) {
        Ok(_) => {
            text::stdout(|out| writeln!(out, "Already logged in to {}", place.key()))?;
            Ok(true)
        }
        // A registry that cannot be reached does not become reachable by a password.
        Err(e) if !e.is_refused_login() => Err(e.into()),
        Err(e) => {
            text::stderr(&format!(
                "The login that is there is not good any more: {}",
                text::printable(&e.to_string())
            ));
            Ok(false)
        }
    }
}

/// What is not on the command line is asked for; `None` when the user had enough.
fn ask(args: &Args, place: &Place) -> Result<Option<Login>, Failure> {
    if args.password_stdin {
        let user = args.username.as_deref().unwrap_or_default();
        let password = prompt::all_of_stdin()
            .map_err(|e| Failure::io(format!("cannot read the password: {e}")))?;
        return Ok(Some(login::typed(user, &password)?));
    }
    let asked = || -> Result<(String, String), NoAnswer> {
        let user = match &args.username {
            Some(user) => user.clone(),
            None => prompt::line(&format!("Username for {}: ", place.key()))?,
        };
        let password = match &args.password {
            Some(password) => password.clone(),
            None => prompt::hidden("Password: ")?,
        };
        Ok((user, password))
    };
    if !prompt::possible() && (args.username.is_none() || args.password.is_none()) {
        return Err(Failure::usage(
            "user name and password cannot be asked for: standard input is not a terminal",
        )
        .with_hint("--username NAME --password-stdin reads the password from a pipe"));
    }
    match asked() {
        Ok((user, password)) => Ok(Some(login::typed(&user, &password)?)),
        Err(NoAnswer::Interrupted) => Ok(None),
        Err(NoAnswer::End) => Err(Failure::usage("no login was given")),
        Err(NoAnswer::Io(e)) => Err(Failure::io(format!("cannot read from the terminal: {e}"))),
    }
}
