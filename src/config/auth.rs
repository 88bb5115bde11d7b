//! Credentials for registries: containers-auth.json(5) and docker's `config.json`, which share the
//! part that is read here.
//!
//! The files are searched in the order of containers-auth.json(5), and the first one that has
//! an entry for a repository decides. Within a file the entry with the longest path wins; of one key
//! the helper program (`credHelpers`) stands before what the file holds, and the file's store
//! (`credsStore`) is asked last. Nothing of an entry is ever shown: `Debug` leaves secrets out.

mod helper;
mod keep;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use serde::Deserialize;

use self::helper::Helpers;
use super::Env;

pub use helper::HelperError;
pub use keep::{Keeper, Kept};

/// What docker calls its registry where it keeps logins for it.
const HUB: &str = "https://index.docker.io/v1/";
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
    /// The program that keeps the credentials does not give them.
    #[error("no credentials for {registry} from the helper that {path:?} names: {source}")]
    Helper {
        /// The file that names the helper.
        path: PathBuf,
        /// The registry we wanted credentials for.
        registry: String,
        /// Why.
        source: HelperError,
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
    /// A file that cannot be replaced.
    #[error("cannot write {path:?}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The helper that the file names does not keep or forget a login.
    #[error(transparent)]
    Helper(HelperError),
    /// No variable says where to keep logins.
    #[error("do not know where to keep logins: HOME is not set")]
    NoHome,
}

impl AuthError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { .. } | Self::TooLarge { .. } => {
                Some("REGISTRY_AUTH_FILE names another file".into())
            }
            Self::Json { path, .. } | Self::Entry { path, .. } => {
                Some(format!("mend or remove {path:?}, and log in again"))
            }
            Self::Write { .. } | Self::NoHome => {
                Some("--authfile names another file".into())
            }
            Self::Helper(_) => Some(
                "the program is named by credHelpers or credsStore of the file; --authfile names another".into(),
            ),
        }
    }
}

/// All credentials of a user, by file in the order of search.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    files: Vec<AuthFile>,
    helpers: Helpers,
    /// What helpers said. A helper may ask its user, so it is asked once; the lock is held meanwhile, so
    /// that two threads do not ask the same thing.
    said: Arc<Mutex<HelpersSaid>>,
}

/// Helper and server, and the helper's answer.
type HelpersSaid = HashMap<(String, String), Result<Option<Login>, HelperError>>;

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
    /// Helper programs by key: `credHelpers`, and the store for the keys that it is known to keep.
    helpers: BTreeMap<String, String>,
    /// `credsStore`: the helper for everything else.
    store: Option<String>,
}

/// Where a login may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Candidate<'a> {
    Login(&'a Login),
    Helper {
        file: &'a Path,
        name: &'a str,
        key: &'a str,
    },
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

    /// One login for one key (`registry` or `registry/path`).
    pub fn one(key: &str, login: Login) -> Self {
        let mut all = Self::default();
        all.put_first(key, login);
        all
    }

    /// A login that counts before all others, as `--creds` gives it.
    pub fn put_first(&mut self, key: &str, login: Login) {
        let file = AuthFile {
            path: PathBuf::new(),
            logins: BTreeMap::from([(normalize(key), login)]),
            helpers: BTreeMap::new(),
            store: None,
        };
        self.files.insert(0, file);
    }

    /// Parse the text of one file. `path` only serves messages.
    pub fn parse(text: &str, path: &Path) -> Result<Self, AuthError> {
        Ok(Self {
            files: vec![AuthFile::parse(text, path)?],
            ..Self::default()
        })
    }

    /// Read every file that applies. `file`, else `$REGISTRY_AUTH_FILE`, stands alone, and must be
    /// there; without one the files of podman and docker, each of which may be missing.
    pub fn load(file: Option<&Path>, env: Env<'_>) -> Result<Self, AuthError> {
        let helpers = Helpers::new(env.get("PATH").unwrap_or_default());
        let given = file
            .map(Path::to_owned)
            .or_else(|| env.get("REGISTRY_AUTH_FILE").map(PathBuf::from));
        if let Some(path) = given {
            let text = read(&path)?;
            return Ok(Self {
                helpers,
                ..Self::parse(&text, &path)?
            });
        }
        let candidates = [
            env.xdg("XDG_RUNTIME_DIR")
                .map(|d| d.join("containers/auth.json")),
            env.config_home().map(|d| d.join("containers/auth.json")),
            env.get("DOCKER_CONFIG")
                .map(PathBuf::from)
                .or_else(|| Some(env.home()?.join(".docker")))
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
        Ok(Self {
            files,
            helpers,
            ..Self::default()
        })
    }

    /// The login for a repository: the longest key that is `registry/repository` or a whole-part
    /// prefix of it. Starts helper programs, if files say so.
    pub fn find(&self, registry: &str, repository: &str) -> Found {
        let full = normalize(&format!("{registry}/{repository}"));
        let mut notice = None;
        for candidate in self.files.iter().flat_map(|f| f.candidates(&full)) {
            match candidate {
                Candidate::Login(login) => {
                    return Found {
                        login: Some(login.clone()),
                        notice,
                    };
                }
                Candidate::Helper { file, name, key } => match self.ask(name, key) {
                    Ok(None) => {}
                    Ok(login) => return Found { login, notice },
                    Err(source) => {
                        notice.get_or_insert(Notice::Helper {
                            path: file.to_owned(),
                            registry: registry.to_owned(),
                            source,
                        });
                    }
                },
            }
        }
        Found {
            login: None,
            notice,
        }
    }

    fn ask(&self, name: &str, key: &str) -> Result<Option<Login>, HelperError> {
        // A thread that panicked leaves the map whole: every change is one insert.
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        for server in servers(key) {
            let login = said
                .entry((name.to_owned(), server.to_owned()))
                .or_insert_with(|| self.helpers.get(name, server))
                .clone()?;
            if login.is_some() {
                return Ok(login);
            }
        }
        Ok(None)
    }
}

/// What helpers may call a registry.
fn servers(key: &str) -> impl Iterator<Item = &str> {
    (key == "docker.io").then_some(HUB).into_iter().chain([key])
}

/// `full` and its whole-part prefixes, the longest first.
fn prefixes(full: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(full), |key| Some(key.rsplit_once('/')?.0))
}

impl AuthFile {
    /// In the order in which they are to be tried. `full` is normalized.
    fn candidates<'a>(&'a self, full: &'a str) -> impl Iterator<Item = Candidate<'a>> {
        let helper = |(name, key): (&'a String, &'a str)| Candidate::Helper {
            file: &self.path,
            name,
            key,
        };
        let by_key = prefixes(full).flat_map(move |key| {
            let kept = self.helpers.get(key).map(|name| helper((name, key)));
            kept.into_iter()
                .chain(self.logins.get(key).map(Candidate::Login))
        });
        let host = full.split('/').next().unwrap_or_default();
        by_key.chain(self.store.iter().map(move |name| helper((name, host))))
    }

    fn parse(text: &str, path: &Path) -> Result<Self, AuthError> {
        let raw: Raw = serde_json::from_str(text).map_err(|source| AuthError::Json {
            path: path.to_owned(),
            source,
        })?;
        let store = raw.store.filter(|s| !s.is_empty());
        let mut logins = BTreeMap::new();
        let mut helpers: BTreeMap<_, _> = raw
            .helpers
            .into_iter()
            // An empty name takes the helper away.
            .filter(|(_, v)| !v.is_empty())
            .map(|(k, v)| (normalize(&k), v))
            .collect();
        for (key, entry) in raw.auths {
            let login = entry.login().map_err(|NotALogin| AuthError::Entry {
                path: path.to_owned(),
                key: key.clone(),
            })?;
            match (login, &store) {
                (Some(login), _) => {
                    logins.insert(normalize(&key), login);
                }
                // `docker login` leaves an empty entry behind for what it gave to the store: the only
                // trace of a key that is longer than a host.
                (None, Some(store)) => {
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
            store,
        })
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
