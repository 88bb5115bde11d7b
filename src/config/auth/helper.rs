//! Credential helpers: programs called `docker-credential-NAME` that keep logins outside of files
//! (docker-login(1), "Credential helper protocol").
//!
//! A helper is a program of the user's, so it is trusted with the user's environment; what it says is
//! read with a limit in bytes and in time. Its name comes from a file, and is checked so that only a
//! program of `PATH` can be meant.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::Login;

/// Long enough for a person who unlocks a key ring.
const PATIENCE: Duration = Duration::from_secs(60);
/// Tokens of cloud providers have some kilobytes.
const REPLY_MAX: usize = 256 << 10;
/// What a helper says when it fails is shown up to this many characters.
const SAID_MAX: usize = 256;
const NAME_MAX: usize = 64;
/// The user name that stands for "the secret is a refresh token".
const TOKEN_USER: &str = "<token>";
/// How helpers say that there is no login. There is no other sign.
const NOT_FOUND: &str = "credentials not found";
/// How often a helper that closed its output is looked at until it has ended.
const TICK: Duration = Duration::from_millis(5);

/// Why a helper gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelperError {
    /// A name that could be a path, or an option.
    #[error("{0:?} is not the name of a credential helper")]
    Name(String),
    /// No such program.
    #[error("there is no program {0} in PATH")]
    Missing(String),
    /// It could not be started or spoken to.
    #[error("cannot talk to {program}: {kind}")]
    Io {
        /// The program.
        program: String,
        /// What went wrong.
        kind: io::ErrorKind,
    },
    /// It did not end in time.
    #[error("{program} did not answer in {} s", .after.as_secs_f32())]
    TimedOut {
        /// The program.
        program: String,
        /// How long we waited.
        after: Duration,
    },
    /// It said more than any login needs.
    #[error("{0} answered with more than {REPLY_MAX} bytes")]
    TooLong(String),
    /// It said that it could not.
    #[error("{program} failed: {said}")]
    Failed {
        /// The program.
        program: String,
        /// Its words, shortened.
        said: String,
    },
    /// Its answer is not what the protocol says.
    #[error("the answer of {0} makes no sense")]
    Answer(String),
}

/// How helpers are found and how long they may take.
#[derive(Clone, Debug)]
pub(super) struct Helpers {
    /// Value of `PATH`.
    pub(super) path: OsString,
    pub(super) patience: Duration,
}

impl Default for Helpers {
    fn default() -> Self {
        Self::new(std::env::var_os("PATH").unwrap_or_default())
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Username")]
    user: Option<String>,
    #[serde(rename = "Secret")]
    secret: Option<String>,
}

#[derive(Serialize)]
struct Entry<'a> {
    #[serde(rename = "ServerURL")]
    server: &'a str,
    #[serde(rename = "Username")]
    user: &'a str,
    #[serde(rename = "Secret")]
    secret: &'a str,
}

impl Helpers {
    pub(super) fn new(path: OsString) -> Self {
        Self {
            path,
            patience: PATIENCE,
        }
    }

    /// The login that a helper keeps for a server.
    pub(super) fn get(&self, name: &str, server: &str) -> Result<Option<Login>, HelperError> {
        match self.talk(name, "get", server.as_bytes())? {
            Said::Yes(reply) => answer(&reply).ok_or_else(|| HelperError::Answer(program(name))),
            Said::NotFound => Ok(None),
        }
    }

    /// Give a login to a helper.
    pub(super) fn store(&self, name: &str, server: &str, login: &Login) -> Result<(), HelperError> {
        let (user, secret) = match login {
            Login::Password { user, password } => (user.as_str(), password.as_str()),
            Login::IdentityToken(token) => (TOKEN_USER, token.as_str()),
        };
        let entry = Entry {
            server,
            user,
            secret,
        };
        let text = serde_json::to_vec(&entry).map_err(|_| HelperError::Answer(program(name)))?;
        match self.talk(name, "store", &text)? {
            Said::Yes(_) => Ok(()),
            Said::NotFound => Err(HelperError::Answer(program(name))),
        }
    }

    /// Make a helper forget a login; whether it had one.
    pub(super) fn erase(&self, name: &str, server: &str) -> Result<bool, HelperError> {
        Ok(matches!(
            self.talk(name, "erase", server.as_bytes())?,
            Said::Yes(_)
        ))
    }

    fn talk(&self, name: &str, verb: &str, input: &[u8]) -> Result<Said, HelperError> {
        let program = checked(name)?;
        let file = find(&self.path, &program).ok_or(HelperError::Missing(program.clone()))?;
        let io = |e: io::Error| HelperError::Io {
            program: program.clone(),
            kind: e.kind(),
        };
        let child = Command::new(file)
            .arg(verb)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(io)?;
        let mut child = Killed(child);
        let end = Instant::now() + self.patience;
        let late = || HelperError::TimedOut {
            program: program.clone(),
            after: self.patience,
        };
        if let Some(mut stdin) = child.0.stdin.take() {
            // Less than a pipe holds, so this does not wait. A helper need not read all of it.
            match stdin.write_all(input) {
                Err(e) if e.kind() != io::ErrorKind::BrokenPipe => return Err(io(e)),
                _ => {}
            }
        }
        let reply = child.read(end).map_err(io)?.ok_or_else(late)?;
        if reply.len() > REPLY_MAX {
            return Err(HelperError::TooLong(program));
        }
        loop {
            match child.0.try_wait().map_err(io)? {
                Some(status) if status.success() => return Ok(Said::Yes(reply)),
                Some(_) => {
                    let said = String::from_utf8_lossy(&reply);
                    let said = said.trim();
                    if said.contains(NOT_FOUND) {
                        return Ok(Said::NotFound);
                    }
                    return Err(HelperError::Failed {
                        program,
                        said: said.chars().take(SAID_MAX).collect(),
                    });
                }
                None if Instant::now() >= end => return Err(late()),
                None => std::thread::sleep(TICK),
            }
        }
    }
}

enum Said {
    Yes(Vec<u8>),
    NotFound,
}

/// A helper that is not left running, whatever happens.
struct Killed(Child);

impl Killed {
    /// All that it says, up to a byte more than the limit; `None` if it takes too long.
    fn read(&mut self, end: Instant) -> io::Result<Option<Vec<u8>>> {
        let Some(mut stdout) = self.0.stdout.take() else {
            return Ok(Some(Vec::new()));
        };
        let mut reply = Vec::new();
        let mut buf = [0; 8 << 10];
        while reply.len() <= REPLY_MAX {
            let left = end.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
            match poll(&mut [PollFd::new(&stdout, PollFlags::IN)], Some(&timeout)) {
                Ok(0) => return Ok(None),
                Err(Errno::INTR) => continue,
                Err(e) => return Err(e.into()),
                Ok(_) => {}
            }
            match stdout.read(&mut buf) {
                Ok(0) => break,
                Ok(n) => reply.extend_from_slice(&buf[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(Some(reply))
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        if !matches!(self.0.try_wait(), Ok(Some(_))) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

fn program(name: &str) -> String {
    format!("docker-credential-{name}")
}

/// The program's name: no slash, nothing that a terminal or a shell would take for something else.
fn checked(name: &str) -> Result<String, HelperError> {
    let ok = (1..=NAME_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    match ok {
        true => Ok(program(name)),
        false => Err(HelperError::Name(name.chars().take(NAME_MAX).collect())),
    }
}

/// As execvp(3) would find it, but for relative directories: what lies where we happen to be is not
/// to be asked for secrets.
fn find(path: &OsStr, program: &str) -> Option<PathBuf> {
    std::env::split_paths(path)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(program))
        .find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// The answer to `get`: outer `None` if it makes no sense, inner `None` if it holds no login.
fn answer(reply: &[u8]) -> Option<Option<Login>> {
    let answer: Answer = serde_json::from_slice(reply).ok()?;
    let set = |s: Option<String>| s.filter(|s| !s.is_empty());
    let (Some(user), Some(secret)) = (set(answer.user), set(answer.secret)) else {
        return Some(None);
    };
    Some(Some(match user.as_str() {
        TOKEN_USER => Login::IdentityToken(secret),
        _ => Login::Password {
            user,
            password: secret,
        },
    }))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A directory with one helper, `docker-credential-NAME`, that is this shell script.
    pub(in crate::config::auth) fn helper(name: &str, script: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(program(name));
        // Written by another process: a file that this one has open for writing could be inherited by a
        // child that another test starts, and then it cannot be executed.
        let mut writer = Command::new("sh")
            .args(["-c", "cat > \"$1\" && chmod 755 \"$1\"", "sh"])
            .arg(&file)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = writer.stdin.take().unwrap();
        write!(stdin, "#!/bin/sh\n{script}\n").unwrap();
        drop(stdin);
        assert!(writer.wait().unwrap().success());
        dir
    }

    fn ask(script: &str) -> Result<Option<Login>, HelperError> {
        let dir = helper("x", script);
        Helpers::new(dir.path().into()).get("x", "q.io")
    }

    fn password(user: &str, password: &str) -> Login {
        Login::Password {
            user: user.into(),
            password: password.into(),
        }
    }

    #[test]
    fn a_helper_is_asked_by_the_protocol() {
        // It hears the server and the verb, and nothing else.
        let echo = r#"read -r s; printf '{"ServerURL":"%s","Username":"%s","Secret":"%s"}' "$s" "$1-$#" "$s""#;
        assert_eq!(ask(echo), Ok(Some(password("get-1", "q.io"))));
        let token = r#"echo '{"Username":"<token>","Secret":"R"}'"#;
        assert_eq!(ask(token), Ok(Some(Login::IdentityToken("R".into()))));
        // One that does not read at all.
        assert_eq!(
            ask(r#"exec <&-; echo '{"Username":"u","Secret":"p"}'"#),
            Ok(Some(password("u", "p")))
        );
    }

    #[test]
    fn no_login_is_told_from_failure() {
        let missing = "echo 'credentials not found in native keychain'; exit 1";
        assert_eq!(ask(missing), Ok(None));
        assert_eq!(ask(r#"echo '{"Username":"","Secret":""}'"#), Ok(None));
        let locked = ask("echo 'the vault is locked'; exit 1").unwrap_err();
        assert!(
            matches!(&locked, HelperError::Failed { said, .. } if said == "the vault is locked")
        );
        // What would be no login is a failure when the program says that it succeeded.
        for nonsense in ["true", "echo []", "echo 'credentials not found'"] {
            let e = ask(nonsense).unwrap_err();
            assert!(matches!(e, HelperError::Answer(_)), "{nonsense}: {e:?}");
        }
    }

    #[test]
    fn a_helper_has_limits() {
        let e = ask("yes x | head -c 400000").unwrap_err();
        assert!(matches!(e, HelperError::TooLong(_)), "{e:?}");
        // One that never ends, and one that ends its output and nothing else.
        for script in ["exec sleep 60", "exec >&- 2>&-; exec sleep 60"] {
            let dir = helper("x", script);
            let helpers = Helpers {
                path: dir.path().into(),
                patience: Duration::from_millis(300),
            };
            let start = Instant::now();
            let e = helpers.get("x", "q.io").unwrap_err();
            assert!(matches!(e, HelperError::TimedOut { .. }), "{e:?}");
            assert!(start.elapsed() < Duration::from_secs(30));
        }
    }

    #[test]
    fn only_a_program_of_the_path_can_be_a_helper() {
        let helpers = |path: &str| Helpers::new(path.into());
        for bad in [
            "",
            "../x",
            "a/b",
            "a b",
            "x;y",
            "\u{1b}[m",
            "ü",
            &"x".repeat(65),
        ] {
            let e = helpers("/bin").get(bad, "q.io").unwrap_err();
            assert!(matches!(e, HelperError::Name(_)), "{bad:?}: {e:?}");
        }
        let dir = helper("x", "echo '{}'");
        let missing = |path: &str| matches!(helpers(path).get("x", "q.io"), Err(HelperError::Missing(p)) if p == "docker-credential-x");
        assert!(missing("/nonexistent") && missing(""));
        // Relative entries are passed over, even where they lead to it.
        let up = "../".repeat(30);
        let relative = format!(
            "{up}{}",
            dir.path().display().to_string().trim_start_matches('/')
        );
        assert!(Path::new(&relative).join("docker-credential-x").exists());
        assert!(missing(&relative));
        // So is a file that nobody can execute.
        let file = dir.path().join("docker-credential-x");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(missing(dir.path().to_str().unwrap()));
    }

    #[test]
    fn logins_are_given_and_taken_back() {
        let dir = helper("x", r#"cat > "$(dirname "$0")/$1""#);
        let helpers = Helpers::new(format!("{}:/usr/bin:/bin", dir.path().display()).into());
        let said = |verb: &str| std::fs::read_to_string(dir.path().join(verb)).unwrap();
        helpers.store("x", "q.io", &password("u", "p\"")).unwrap();
        assert_eq!(
            said("store"),
            r#"{"ServerURL":"q.io","Username":"u","Secret":"p\""}"#
        );
        let token = Login::IdentityToken("T".into());
        helpers.store("x", "q.io", &token).unwrap();
        assert!(said("store").contains(r#""Username":"<token>""#));
        assert_eq!(helpers.erase("x", "q.io"), Ok(true));
        assert_eq!(said("erase"), "q.io");
        let none = helper(
            "x",
            "echo 'credentials not found in native keychain'; exit 1",
        );
        let helpers = Helpers::new(none.path().into());
        assert_eq!(helpers.erase("x", "q.io"), Ok(false));
        assert!(helpers.store("x", "q.io", &token).is_err());
    }
}
