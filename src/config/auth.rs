//! Credentials for registries: containers-auth.json(5) and docker's `config.json`, which share the
//! part that is read here.
//!
//! The files are searched in the order of containers-auth.json(5), and the first one that has
//! an entry for a repository decides. Within a file the entry with the longest path wins.
//! Nothing of an entry is ever shown: `Debug` leaves secrets out.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde::Deserialize;

use super::Env;

/// Larger than any sane file: a limit, so that a wrong path does not fill the memory.
const FILE_MAX: u64 = 4 << 20;

/// How to log in to a registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// A user name and a password (or an access token in the password's place).
    Password {
        /// User name.
        user: String,
        /// Password.
        password: String,
    },
    /// A refresh token, to be exchanged at the token service.
    IdentityToken(String),
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { user, .. } => write!(f, "Password({user:?}, ...)"),
            Self::IdentityToken(_) => f.write_str("IdentityToken(...)"),
        }
    }
}

/// Something in a credentials file that was needed and could not be used. To be shown as a warning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Notice {
    /// The credentials are kept by a helper program.
    #[error(
        "the credentials for {registry} are kept by the helper docker-credential-{helper} ({path:?}), which coracle cannot ask yet: going on without them"
    )]
    Helper {
        /// The file that names the helper.
        path: PathBuf,
        /// The registry we wanted credentials for.
        registry: String,
        /// The helper's name, without `docker-credential-`.
        helper: String,
    },
}

/// Why credentials could not be read.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// A file that is there but cannot be read.
    #[error("cannot read {path:?}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that is far larger than any list of logins.
    #[error("{path:?} is larger than {FILE_MAX} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Not JSON, or not of the expected shape.
    #[error("{path:?} is not a list of registry logins")]
    Json {
        /// The file.
        path: PathBuf,
        /// What the parser said (positions, never content).
        source: serde_json::Error,
    },
    /// An `auth` value that is not base64 of `user:password`.
    #[error("{path:?}: the entry for {key:?} is not base64 of user:password")]
    Entry {
        /// The file.
        path: PathBuf,
        /// The key in `auths`.
        key: String,
    },
}

impl AuthError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { .. } | Self::TooLarge { .. } => {
                Some("REGISTRY_AUTH_FILE names another file".into())
            }
            Self::Json { path, .. } | Self::Entry { path, .. } => {
                Some(format!("log in again, or remove {path:?}"))
            }
        }
    }
}

/// All credentials of a user, by file in the order of search.
#[derive(Clone, Debug, Default)]
pub struct Credentials(Vec<AuthFile>);

/// What [`Credentials::find`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The login, or none: try without.
    pub login: Option<Login>,
    /// Something that should have given a login and could not.
    pub notice: Option<Notice>,
}

/// One parsed file.
#[derive(Clone, Debug)]
struct AuthFile {
    path: PathBuf,
    logins: BTreeMap<String, Login>,
    /// Helper programs by key; `credsStore` stands here for each key that it keeps.
    helpers: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    auths: BTreeMap<String, RawEntry>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
}

#[derive(Deserialize)]
struct RawEntry {
    auth: Option<String>,
    identitytoken: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

impl Credentials {
    /// No credentials at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// One login for one key (`registry` or `registry/path`), as `--creds` gives it.
    pub fn one(key: &str, login: Login) -> Self {
        Self(vec![AuthFile {
            path: PathBuf::new(),
            logins: BTreeMap::from([(normalize(key), login)]),
            helpers: BTreeMap::new(),
        }])
    }

    /// Parse the text of one file. `path` only serves messages.
    pub fn parse(text: &str, path: &Path) -> Result<Self, AuthError> {
        AuthFile::parse(text, path).map(|f| Self(vec![f]))
    }

    /// Read every file that applies. `$REGISTRY_AUTH_FILE` stands alone when it is set, and must be
    /// there; else the ones of podman and docker, each of which may be missing.
    pub fn load(env: Env<'_>) -> Result<Self, AuthError> {
        if let Some(path) = env.get("REGISTRY_AUTH_FILE").map(PathBuf::from) {
            let text = read(&path)?;
            return Self::parse(&text, &path);
        }
        let home = env.home();
        let in_home = |name: &str| home.as_ref().map(|h| h.join(name));
        let candidates = [
            env.xdg("XDG_RUNTIME_DIR")
                .map(|d| d.join("containers/auth.json")),
            env.xdg("XDG_CONFIG_HOME")
                .or_else(|| in_home(".config"))
                .map(|d| d.join("containers/auth.json")),
            env.get("DOCKER_CONFIG")
                .map(PathBuf::from)
                .or_else(|| in_home(".docker"))
                .map(|d| d.join("config.json")),
        ];
        let mut files = Vec::new();
        for path in candidates.into_iter().flatten() {
            let text = match read(&path) {
                Ok(text) => text,
                Err(AuthError::Read { source, .. })
                    if matches!(
                        source.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                    ) =>
                {
                    continue;
                }
                Err(e) => return Err(e),
            };
            files.push(AuthFile::parse(&text, &path)?);
        }
        Ok(Self(files))
    }

    /// The login for a repository: the longest key that is `registry/repository` or a whole-part
    /// prefix of it.
    pub fn find(&self, registry: &str, repository: &str) -> Found {
        let full = normalize(&format!("{registry}/{repository}"));
        for file in &self.0 {
            let mut key = full.as_str();
            loop {
                if let Some(login) = file.logins.get(key) {
                    return Found {
                        login: Some(login.clone()),
                        notice: None,
                    };
                }
                if let Some(helper) = file.helpers.get(key) {
                    return file.helped(registry, helper);
                }
                match key.rsplit_once('/') {
                    Some((shorter, _)) => key = shorter,
                    None => break,
                }
            }
        }
        Found::default()
    }
}

impl AuthFile {
    fn parse(text: &str, path: &Path) -> Result<Self, AuthError> {
        let raw: Raw = serde_json::from_str(text).map_err(|source| AuthError::Json {
            path: path.to_owned(),
            source,
        })?;
        let mut logins = BTreeMap::new();
        let mut helpers: BTreeMap<_, _> = raw
            .helpers
            .into_iter()
            .map(|(k, v)| (normalize(&k), v))
            .collect();
        for (key, entry) in raw.auths {
            let login = entry.login().map_err(|NotALogin| AuthError::Entry {
                path: path.to_owned(),
                key: key.clone(),
            })?;
            match (login, &raw.store) {
                (Some(login), _) => {
                    logins.insert(normalize(&key), login);
                }
                // `docker login` leaves an empty entry behind for what it gave to the store.
                (None, Some(store)) if !store.is_empty() => {
                    helpers
                        .entry(normalize(&key))
                        .or_insert_with(|| store.clone());
                }
                (None, _) => {}
            }
        }
        Ok(Self {
            path: path.to_owned(),
            logins,
            helpers,
        })
    }

    fn helped(&self, registry: &str, helper: &str) -> Found {
        Found {
            login: None,
            notice: Some(Notice::Helper {
                path: self.path.clone(),
                registry: registry.to_owned(),
                helper: helper.to_owned(),
            }),
        }
    }
}

/// The value of `auth` is not base64 of `user:password`.
struct NotALogin;

impl RawEntry {
    /// An empty entry is no login, and no error.
    fn login(self) -> Result<Option<Login>, NotALogin> {
        let set = |s: Option<String>| s.filter(|s| !s.is_empty());
        if let Some(token) = set(self.identitytoken) {
            return Ok(Some(Login::IdentityToken(token)));
        }
        if let Some(auth) = set(self.auth) {
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(auth.trim())
                .map_err(|_| NotALogin)?;
            let text = String::from_utf8(bytes).map_err(|_| NotALogin)?;
            let (user, password) = text.split_once(':').ok_or(NotALogin)?;
            return Ok(Some(Login::Password {
                user: user.to_owned(),
                // Docker once padded the decoded value with NULs.
                password: password.trim_end_matches('\0').to_owned(),
            }));
        }
        Ok(match (set(self.username), self.password) {
            (Some(user), Some(password)) => Some(Login::Password { user, password }),
            _ => None,
        })
    }
}

/// Keys come as `registry`, `registry/path`, or as docker's old URLs (`https://index.docker.io/v1/`).
fn normalize(key: &str) -> String {
    let (key, was_url) = match key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
    {
        Some(rest) => (rest, true),
        None => (key, false),
    };
    let key = key.trim_end_matches('/');
    let (host, path) = match key.split_once('/') {
        Some((host, path)) => (host, Some(path)),
        None => (key, None),
    };
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        h => h,
    };
    match path {
        // The path of an old URL is the version of the API and not a repository.
        Some(path) if !(was_url || path == "v1" || path == "v2") => format!("{host}/{path}"),
        _ => host.to_owned(),
    }
}

fn read(path: &Path) -> Result<String, AuthError> {
    use std::io::Read as _;
    let fail = |source| AuthError::Read {
        path: path.to_owned(),
        source,
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(fail)?;
    file.take(FILE_MAX + 1)
        .read_to_string(&mut text)
        .map_err(fail)?;
    if text.len() as u64 > FILE_MAX {
        return Err(AuthError::TooLarge {
            path: path.to_owned(),
        });
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
