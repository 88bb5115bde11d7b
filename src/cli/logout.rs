//! `coracle logout [REGISTRY]`

use std::path::PathBuf;

use super::{Failure, Global, text};
use crate::ops::Access;
use crate::ops::login::{Place, logout, logout_all};

/// Log out of a registry
///
/// Forgets the login for REGISTRY (docker.io if nothing is said or configured).
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Forget the logins for all registries
    #[arg(short, long, conflicts_with = "place")]
    all: bool,
    /// File of logins [default: $REGISTRY_AUTH_FILE, else the one that login writes]
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
    /// Registry to log out of
    #[arg(value_name = "REGISTRY")]
    place: Option<String>,
}

pub(super) fn exec(_: &Global, args: &Args) -> Result<u8, Failure> {
    let access = Access {
        authfile: args.authfile.clone(),
        ..Access::default()
    };
    let mut said = Vec::new();
    if args.all {
        for key in logout_all(&access)? {
            said.push(format!("Removed login credentials for {key}"));
        }
    } else {
        let place = Place::given_or_default(args.place.as_deref(), &access)?;
        logout(&access, &place)?;
        said.push(format!("Removed login credentials for {}", place.key()));
    }
    text::stdout(|out| {
        for line in said {
            writeln!(out, "{}", text::printable(&line))?;
        }
        Ok(())
    })?;
    Ok(0)
}
