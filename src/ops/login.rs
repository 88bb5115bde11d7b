//! `login` and `logout`: keep a login for a registry once the registry has accepted it, and forget it.
//! podman-login(1), docker-login(1).

use super::{Access, Error};
use crate::config::Env;
use crate::config::auth::{AuthError, Credentials, Keeper, Kept, Login};
use crate::oci::{Reference, ReferenceError};

/// For whom a login is: a registry, or a part of its repositories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    registry: String,
    /// Empty for the registry as such.
    path: String,
}

/// What the registry thought of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It wanted one, and accepted this one.
    Accepted,
    /// It wants none, so that nothing is known of this one.
    NotWanted,
}

/// Why there is no login to show or to forget.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// A user name that HTTP cannot carry.
    #[error("a user name has neither a colon nor control characters")]
    User,
    /// A password that HTTP cannot carry, or none.
    #[error("the password is empty, or has control characters")]
    Password,
    /// Not logged in.
    #[error("not logged in to {0}")]
    NotLoggedIn(String),
    /// The login is in another file than the one that we write.
    #[error("the login for {0} is not in {1:?}, but in a file of another program")]
    Elsewhere(String, std::path::PathBuf),
    /// No registry is named, and there is no default.
    #[error("{0:?} is a name with a tag or digest: a login is for a registry or its repositories")]
    Tagged(String),
}

impl LoginError {
    /// What the user can do about it.
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::Elsewhere(..) => Some(
                "log out with the program that logged in, or name the file with --authfile".into(),
            ),
            _ => None,
        }
    }
}

impl Place {
    /// `REGISTRY`, `REGISTRY/PATH`, or the same as a URL.
    pub fn parse(given: &str) -> Result<Self, Error> {
        let name = given
            .strip_prefix("https://")
            .or_else(|| given.strip_prefix("http://"))
            .unwrap_or(given)
            .trim_end_matches('/');
        let (registry, path) = match name.split_once('/') {
            Some((registry, path)) => (registry, path),
            None => (name, ""),
        };
        // Docker's old name for its own.
        let path = match path {
            "v1" | "v2" => "",
            path => path,
        };
        if path.contains([':', '@']) {
            return Err(LoginError::Tagged(given.to_owned()).into());
        }
        let image = if path.is_empty() { "x" } else { path };
        let reference: Reference = format!("{registry}/{image}").parse()?;
        // A first part that is no host is taken for a part of the path.
        if reference.registry() == "docker.io"
            && !matches!(
                registry,
                "docker.io" | "index.docker.io" | "registry-1.docker.io"
            )
        {
            return Err(ReferenceError::Registry(registry.to_owned()).into());
        }
        Ok(Self {
            registry: reference.registry().to_owned(),
            path: path.to_owned(),
        })
    }

    /// The place that is meant by none: the first registry that short names are looked for in, else docker's.
    pub fn given_or_default(given: Option<&str>, access: &Access) -> Result<Self, Error> {
        match given {
            Some(given) => Self::parse(given),
            None => Self::parse(access.registries()?.default_registry()),
        }
    }

    /// As files have it: `registry` or `registry/path`.
    pub fn key(&self) -> String {
        match self.path.as_str() {
            "" => self.registry.clone(),
            path => format!("{}/{path}", self.registry),
        }
    }
}

fn keeper(access: &Access) -> Result<Keeper, AuthError> {
    Keeper::new(access.authfile.as_deref(), Env::process())
}

/// A login from what the user typed, if HTTP can carry it.
pub fn typed(user: &str, password: &str) -> Result<Login, Error> {
    if user.is_empty() || user.contains(|c: char| c == ':' || c.is_control()) {
        return Err(LoginError::User.into());
    }
    if password.is_empty() || password.contains(|c: char| c.is_control()) {
        return Err(LoginError::Password.into());
    }
    Ok(Login::Password {
        user: user.to_owned(),
        password: password.to_owned(),
    })
}

/// The login that is kept for a place; for a registry as such, not one for a part of it.
pub fn current(access: &Access, place: &Place) -> Result<Option<Login>, Error> {
    let keeper = keeper(access)?;
    let given = access.authfile.is_some() || Env::process().get("REGISTRY_AUTH_FILE").is_some();
    // The file that is named may not be there yet.
    if given && !keeper.path().exists() {
        return Ok(None);
    }
    let credentials = Credentials::load(access.authfile.as_deref(), Env::process())?;
    Ok(credentials.find(&place.registry, &place.path).login)
}

/// The user of the login that is kept for a place.
pub fn user(access: &Access, place: &Place) -> Result<String, Error> {
    match current(access, place)? {
        Some(Login::Password { user, .. }) => Ok(user),
        Some(Login::IdentityToken(_)) => Ok("<token>".to_owned()),
        None => Err(LoginError::NotLoggedIn(place.key()).into()),
    }
}

/// Ask the registry whether it accepts a login.
pub fn check(access: &Access, place: &Place, login: &Login) -> Result<Verdict, Error> {
    let credentials = Credentials::one(&place.key(), login.clone());
    let client = access.client_with(credentials)?;
    Ok(match client.check_login(&place.registry, &place.path)? {
        true => Verdict::Accepted,
        false => Verdict::NotWanted,
    })
}

/// Keep a login; where.
pub fn keep(access: &Access, place: &Place, login: &Login) -> Result<Kept, Error> {
    Ok(keeper(access)?.put(&place.key(), login)?)
}

/// Forget the login for a place.
pub fn logout(access: &Access, place: &Place) -> Result<(), Error> {
    let keeper = keeper(access)?;
    if keeper.remove(&place.key())? {
        return Ok(());
    }
    Err(match current(access, place)? {
        Some(_) => LoginError::Elsewhere(place.key(), keeper.path().to_owned()),
        None => LoginError::NotLoggedIn(place.key()),
    }
    .into())
}

/// Forget all logins of the file; for whom they were.
pub fn logout_all(access: &Access) -> Result<Vec<String>, Error> {
    Ok(keeper(access)?.remove_all()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let key = |s: &str| Place::parse(s).map(|p| p.key()).ok();
        for (given, want) in [
            ("q.io", Some("q.io")),
            ("q.io/a/b", Some("q.io/a/b")),
            ("https://q.io:5000/", Some("q.io:5000")),
            ("http://localhost", Some("localhost")),
            ("docker.io", Some("docker.io")),
            ("docker.io/me", Some("docker.io/me")),
            ("https://index.docker.io/v1/", Some("docker.io")),
            ("[::1]:5000", Some("[::1]:5000")),
            ("", None),
            ("q.io/a:1", None),
            ("q.io/A", None),
            ("me", None),
            ("q.io//a", None),
            ("a b", None),
        ] {
            assert_eq!(key(given).as_deref(), want, "{given:?}");
        }
    }

    #[test]
    fn what_http_cannot_carry_is_no_login() {
        assert!(typed("me", "p:w ü").is_ok());
        for (user, password) in [
            ("", "p"),
            ("a:b", "p"),
            ("a\n", "p"),
            ("a", ""),
            ("a", "b\r\n"),
        ] {
            assert!(typed(user, password).is_err(), "{user:?} {password:?}");
        }
    }
}
