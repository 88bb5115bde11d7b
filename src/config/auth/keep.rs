//! Where logins are kept: the one file that `login` and `logout` write, and the helper programs that it
//! names (containers-auth.json(5), docker-login(1)).
//!
//! Other tools write the same file. What they put there stays as it is, whether we know it or not; the
//! file is replaced by rename, so that a reader never sees half of it, and nobody else can read it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use rustix::fs::FlockOperation;
use serde_json::{Map, Value};

use super::helper::Helpers;
use super::{AuthError, AuthFile, Env, Login, normalize, prefixes, read, servers};

/// Another login or logout takes no longer than this.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// The file that logins are written to.
#[derive(Clone, Debug)]
pub struct Keeper {
    path: PathBuf,
    helpers: Helpers,
}

/// Where a login was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// In this file, for who can read it to see.
    File(PathBuf),
    /// With this helper.
    Helper(String),
}

impl Keeper {
    /// The file of this name, else `$REGISTRY_AUTH_FILE`, else the one of this user:
    /// `$XDG_RUNTIME_DIR/containers/auth.json` where there is such a directory, and
    /// `$XDG_CONFIG_HOME/containers/auth.json` where there is none.
    pub fn new(file: Option<&Path>, env: Env<'_>) -> Result<Self, AuthError> {
        let given = file
            .map(Path::to_owned)
            .or_else(|| env.get("REGISTRY_AUTH_FILE").map(PathBuf::from));
        let path = match given {
            Some(path) => path,
            None => env
                .xdg("XDG_RUNTIME_DIR")
                .filter(|dir| dir.is_dir())
                .or_else(|| env.config_home())
                .ok_or(AuthError::NoHome)?
                .join("containers/auth.json"),
        };
        Ok(Self {
            path,
            helpers: Helpers::new(env.get("PATH").unwrap_or_default()),
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keep a login for a key, `registry` or `registry/path`, in place of an earlier one.
    pub fn put(&self, key: &str, login: &Login) -> Result<Kept, AuthError> {
        let key = normalize(key);
        let draft = Draft::open(&self.path)?;
        let mut text = draft.text()?;
        let kept = match text.helper(&self.path, &key)? {
            Some(name) => {
                let server = servers(&key).next().unwrap_or(&key).to_owned();
                self.helpers
                    .store(&name, &server, login)
                    .map_err(AuthError::Helper)?;
                text.put(&key, None);
                Kept::Helper(name)
            }
            None => {
                text.put(&key, Some(login));
                Kept::File(self.path.clone())
            }
        };
        draft.replace(&text)?;
        Ok(kept)
    }

    /// Forget the login for a key; whether there was one.
    pub fn remove(&self, key: &str) -> Result<bool, AuthError> {
        let key = normalize(key);
        if !self.path.exists() {
            return Ok(false);
        }
        let draft = Draft::open(&self.path)?;
        let mut text = draft.text()?;
        let mut had = false;
        if let Some(name) = text.helper(&self.path, &key)? {
            for server in servers(&key) {
                let erased = self.helpers.erase(&name, server);
                had |= erased.map_err(AuthError::Helper)?;
            }
        }
        if text.remove(&key) {
            draft.replace(&text)?;
            had = true;
        }
        Ok(had)
    }

    /// Forget every login of this file, and those that helpers keep for it; the keys.
    pub fn remove_all(&self) -> Result<Vec<String>, AuthError> {
        if !self.path.exists() {
            return Ok(Vec::new());
        }
        let keys = Draft::open(&self.path)?.text()?.keys(&self.path)?;
        let mut gone = Vec::new();
        for key in keys {
            if self.remove(&key)? {
                gone.push(key);
            }
        }
        Ok(gone)
    }
}

/// The file's text, as a document of which we know only a part.
#[derive(Clone, Debug, Default)]
struct Text(Map<String, Value>);

impl Text {
    fn parse(text: &str, path: &Path) -> Result<Self, AuthError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        // What reads it later must be able to.
        AuthFile::parse(text, path)?;
        let parsed = serde_json::from_str(text);
        parsed.map(Self).map_err(|source| AuthError::Json {
            path: path.to_owned(),
            source,
        })
    }

    fn known(&self, path: &Path) -> Result<AuthFile, AuthError> {
        AuthFile::parse(&Value::Object(self.0.clone()).to_string(), path)
    }

    /// The helper that keeps what belongs to a key.
    fn helper(&self, path: &Path, key: &str) -> Result<Option<String>, AuthError> {
        let known = self.known(path)?;
        let mut named = prefixes(key).filter_map(|key| known.helpers.get(key));
        Ok(named.next().or(known.store.as_ref()).cloned())
    }

    /// The keys of all logins, those with a helper included.
    fn keys(&self, path: &Path) -> Result<Vec<String>, AuthError> {
        let known = self.known(path)?;
        let spelled = self.0.get("auths").and_then(Value::as_object);
        let mut keys: Vec<String> = spelled
            .into_iter()
            .flat_map(|auths| auths.keys().map(|key| normalize(key)))
            .chain(known.helpers.into_keys())
            .collect();
        keys.sort();
        keys.dedup();
        Ok(keys)
    }

    /// `None`: a trace of what a helper keeps, as docker leaves it.
    fn put(&mut self, key: &str, login: Option<&Login>) {
        let auths = self
            .0
            .entry("auths")
            .or_insert_with(|| Value::Object(Map::new()));
        if !auths.is_object() {
            *auths = Value::Object(Map::new());
        }
        let Some(auths) = auths.as_object_mut() else {
            return;
        };
        // Docker spells its own registry in its own way, and would not find another spelling.
        let mut spelled: Vec<String> = auths
            .keys()
            .filter(|k| normalize(k) == key)
            .cloned()
            .collect();
        if spelled.is_empty() {
            spelled.push(key.to_owned());
        }
        for key in spelled {
            let entry = auths.entry(key).or_insert(Value::Null);
            let mut fields = match std::mem::take(entry) {
                Value::Object(fields) => fields,
                _ => Map::new(),
            };
            for secret in [
                "auth",
                "identitytoken",
                "username",
                "password",
                "registrytoken",
            ] {
                fields.remove(secret);
            }
            match login {
                None => {}
                Some(Login::Password { user, password }) => {
                    let pair = format!("{user}:{password}");
                    let auth = base64::engine::general_purpose::STANDARD.encode(pair);
                    fields.insert("auth".into(), auth.into());
                }
                Some(Login::IdentityToken(token)) => {
                    fields.insert("identitytoken".into(), token.as_str().into());
                }
            }
            *entry = Value::Object(fields);
        }
    }

    fn remove(&mut self, key: &str) -> bool {
        let Some(auths) = self.0.get_mut("auths").and_then(Value::as_object_mut) else {
            return false;
        };
        let before = auths.len();
        auths.retain(|k, _| normalize(k) != key);
        auths.len() < before
    }
}

/// The file while it is changed: one process at a time.
struct Draft {
    /// Where the file really is: a symbolic link stays one.
    target: PathBuf,
    shown: PathBuf,
    /// Locked; closing it unlocks.
    _dir: File,
}

impl Draft {
    fn open(path: &Path) -> Result<Self, AuthError> {
        let fail = |source| AuthError::Write {
            path: path.to_owned(),
            source,
        };
        let target = match fs::canonicalize(path) {
            Ok(target) => target,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                std::path::absolute(path).map_err(fail)?
            }
            Err(e) => return Err(fail(e)),
        };
        let dir = target.parent().unwrap_or(Path::new("/"));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(fail)?;
        let dir = File::open(dir).map_err(fail)?;
        let end = Instant::now() + LOCK_PATIENCE;
        loop {
            match rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive) {
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                // Whoever holds it for so long is not writing logins; and some file systems have no locks.
                _ => break,
            }
        }
        Ok(Self {
            target,
            shown: path.to_owned(),
            _dir: dir,
        })
    }

    fn text(&self) -> Result<Text, AuthError> {
        match read(&self.target) {
            Ok(text) => Text::parse(&text, &self.shown),
            Err(AuthError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(Text::default())
            }
            Err(e) => Err(e),
        }
    }

    /// Write a new file beside the old one, force it to disk, and rename it.
    fn replace(&self, text: &Text) -> Result<(), AuthError> {
        let fail = |source| AuthError::Write {
            path: self.shown.clone(),
            source,
        };
        let mut name = self.target.clone().into_os_string();
        name.push(format!(".{}.tmp", std::process::id()));
        let draft = PathBuf::from(name);
        // One of a process that was killed and had our number.
        let _ = fs::remove_file(&draft);
        let write = || {
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&draft)?;
            serde_json::to_writer_pretty(&mut file, &text.0)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&draft, &self.target)
        };
        write().map_err(|e| {
            let _ = fs::remove_file(&draft);
            fail(e)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::config::auth::{Credentials, helper};

    fn keeper(path: &Path, helpers: &Path) -> Keeper {
        Keeper {
            path: path.to_owned(),
            helpers: Helpers::new(helpers.into()),
        }
    }

    fn login(user: &str) -> Login {
        Login::Password {
            user: user.into(),
            password: "p:w".into(),
        }
    }

    fn found(path: &Path, registry: &str, repository: &str) -> Option<Login> {
        let text = fs::read_to_string(path).unwrap();
        let c = Credentials::parse(&text, path).unwrap();
        c.find(registry, repository).login
    }

    #[test]
    fn what_is_put_is_found_and_what_others_wrote_stays() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("new/dir/auth.json");
        let k = keeper(&path, tmp.path());
        assert!(!k.remove("q.io").unwrap());
        assert_eq!(
            k.put("q.io", &login("a")).unwrap(),
            Kept::File(path.clone())
        );
        let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert_eq!(found(&path, "q.io", "x"), Some(login("a")));

        let others = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw","email":"e"},"q.io/n":{}},
            "HttpHeaders":{"X":"y"},"psFormat":"table","deep":[1,{"a":null}]}"#;
        fs::write(&path, others).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        k.put("docker.io", &login("b")).unwrap();
        k.put("q.io/n", &Login::IdentityToken("T".into())).unwrap();
        k.put("q.io/m", &login("m")).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(found(&path, "docker.io", "library/x"), Some(login("b")));
        assert_eq!(
            found(&path, "q.io", "n/x"),
            Some(Login::IdentityToken("T".into()))
        );
        assert_eq!(found(&path, "q.io", "x"), None);
        let now: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let before: Value = serde_json::from_str(others).unwrap();
        for key in ["HttpHeaders", "psFormat", "deep"] {
            assert_eq!(now[key], before[key]);
        }
        // Docker's spelling of its registry, and what else it had noted.
        assert_eq!(now["auths"]["https://index.docker.io/v1/"]["email"], "e");
        assert!(now["auths"].get("docker.io").is_none());

        assert!(k.remove("https://index.docker.io/v1/").unwrap());
        assert!(!k.remove("docker.io").unwrap());
        assert_eq!(k.remove_all().unwrap(), ["q.io/m", "q.io/n"]);
        let now: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(now["auths"], serde_json::json!({}));
        assert_eq!(now["psFormat"], "table");
        let left: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn a_link_stays_a_link_and_nonsense_is_not_overwritten() {
        let tmp = tempfile::tempdir().unwrap();
        let real = tmp.path().join("real.json");
        let link = tmp.path().join("auth.json");
        fs::write(&real, "").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let k = keeper(&link, tmp.path());
        k.put("q.io", &login("a")).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(found(&real, "q.io", "x"), Some(login("a")));
        for bad in ["[", "[]", "3", r#"{"auths":[]}"#] {
            fs::write(&real, bad).unwrap();
            assert!(k.put("q.io", &login("a")).is_err(), "{bad}");
            assert!(k.remove("q.io").is_err(), "{bad}");
            assert_eq!(fs::read_to_string(&real).unwrap(), bad);
        }
    }

    #[test]
    fn two_at_once_lose_nothing() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("auth.json");
        std::thread::scope(|scope| {
            for n in 0..8 {
                let k = keeper(&path, tmp.path());
                scope.spawn(move || k.put(&format!("r{n}.io"), &login("a")).unwrap());
            }
        });
        for n in 0..8 {
            assert!(found(&path, &format!("r{n}.io"), "x").is_some(), "{n}");
        }
    }

    #[test]
    fn a_helper_keeps_what_it_is_named_for() {
        let dir = helper::tests::helper(
            "x",
            r#"PATH=/usr/bin:/bin; d="$(dirname "$0")"; cat >> "$d/$1"; echo >> "$d/$1""#,
        );
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("auth.json");
        fs::write(&path, r#"{"credHelpers":{"q.io":"x","docker.io":"x"}}"#).unwrap();
        let k = keeper(&path, dir.path());
        assert_eq!(
            k.put("q.io/n", &login("a")).unwrap(),
            Kept::Helper("x".into())
        );
        k.put("docker.io", &login("hub")).unwrap();
        assert_eq!(
            k.put("r.io", &login("b")).unwrap(),
            Kept::File(path.clone())
        );
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            !text.contains("p:w") && text.contains(r#""q.io/n": {}"#),
            "{text}"
        );
        let said = |verb: &str| fs::read_to_string(dir.path().join(verb)).unwrap();
        assert!(said("store").contains(r#"{"ServerURL":"q.io/n","Username":"a","Secret":"p:w"}"#));
        assert!(said("store").contains(r#""ServerURL":"https://index.docker.io/v1/""#));
        assert!(k.remove("docker.io").unwrap());
        assert_eq!(said("erase"), "https://index.docker.io/v1/\ndocker.io\n");
        k.remove_all().unwrap();
        assert!(said("erase").contains("\nq.io/n\n"));
        // A store is for all.
        fs::write(&path, r#"{"credsStore":"x"}"#).unwrap();
        assert_eq!(
            k.put("r.io", &login("b")).unwrap(),
            Kept::Helper("x".into())
        );
        // One that does not take it leaves the file as it was.
        fs::write(&path, r#"{"credsStore":"y"}"#).unwrap();
        assert!(matches!(
            k.put("s.io", &login("b")),
            Err(AuthError::Helper(_))
        ));
        assert_eq!(fs::read_to_string(&path).unwrap(), r#"{"credsStore":"y"}"#);
    }

    #[test]
    fn the_file_is_found_by_the_rules() {
        let tmp = tempfile::tempdir().unwrap();
        let run = tmp.path().join("run");
        let at = |file: Option<&str>, auth_file: Option<&str>| {
            let get = |name: &str| match name {
                "HOME" => Some(tmp.path().into()),
                "XDG_RUNTIME_DIR" => Some(run.clone().into()),
                "REGISTRY_AUTH_FILE" => auth_file.map(Into::into),
                _ => None,
            };
            let k = Keeper::new(file.map(Path::new), Env::new(&get)).unwrap();
            k.path().to_owned()
        };
        // A directory that is not there is not made.
        assert_eq!(
            at(None, None),
            tmp.path().join(".config/containers/auth.json")
        );
        fs::create_dir(&run).unwrap();
        assert_eq!(at(None, None), run.join("containers/auth.json"));
        assert_eq!(at(None, Some("/e")), Path::new("/e"));
        assert_eq!(at(Some("f"), Some("/e")), Path::new("f"));
        let nothing = |_: &str| None;
        let e = Keeper::new(None, Env::new(&nothing)).unwrap_err();
        assert!(matches!(e, AuthError::NoHome));
    }
}
