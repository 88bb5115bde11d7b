//! The two directories that coracle owns: the data root (images, containers; survives a reboot) and
//! the run-time directory (sockets, locks, what dies with the boot). XDG Base Directory
//! Specification 0.8.
//!
//! The run-time directory is a place that other users may try to prepare for us, because the last
//! rung lies in a directory that everyone can write. So a directory is used only when, seen through a
//! file descriptor that follows no symbolic link, it is ours and nobody else can write to it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, Stat};
use rustix::io::Errno;

use super::Env;

const NAME: &str = "coracle";
/// Write permission for the group and for others.
const SHARED_WRITE: u32 = 0o022;
/// Any permission for the group and for others.
const SHARED: u32 = 0o077;
const STICKY: u32 = 0o1000;

/// The directories of one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dirs {
    /// Images, layers and containers. Absolute; may not exist yet: the store makes it.
    pub data_root: PathBuf,
    /// Locks and sockets of this boot. Exists, is ours, and is closed to everybody else.
    pub runtime_dir: PathBuf,
}

/// Why a directory was refused.
#[derive(Debug, thiserror::Error)]
pub enum DirsError {
    /// Neither an explicit root nor a variable says where to keep data.
    #[error("do not know where to keep images: HOME is not set")]
    NoHome,
    /// A relative data root, and no current directory to resolve it in.
    #[error("cannot make {path:?} an absolute path")]
    Absolute {
        /// As given.
        path: PathBuf,
        /// Why the current directory is not known.
        source: io::Error,
    },
    /// A system call failed.
    #[error("{call}({path:?})")]
    Io {
        /// The system call.
        call: &'static str,
        /// Its path.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Something other than a directory, a symbolic link included.
    #[error("{path:?} is not a directory (a symbolic link is not followed here)")]
    NotDirectory {
        /// The path.
        path: PathBuf,
    },
    /// Somebody else's.
    #[error("{path:?} belongs to uid {owner}, not to uid {uid}")]
    Owner {
        /// The path.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who we are.
        uid: u32,
    },
    /// Others could put files in it.
    #[error("{path:?} has mode {mode:04o}: others could change what is in it")]
    Mode {
        /// The path.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

impl DirsError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoHome => {
                Some("set HOME, XDG_DATA_HOME or CORACLE_ROOT to a directory of yours".into())
            }
            Self::Owner { .. } | Self::NotDirectory { .. } => {
                Some("set XDG_RUNTIME_DIR or TMPDIR to a directory of yours (mode 0700)".into())
            }
            Self::Mode { path, .. } => Some(format!("chmod 700 {path:?}")),
            Self::Io { .. } => Some("set XDG_RUNTIME_DIR to a directory of yours".into()),
            Self::Absolute { .. } => None,
        }
    }

    fn io(call: &'static str, path: &Path, errno: Errno) -> Self {
        Self::Io {
            call,
            path: path.to_owned(),
            source: errno.into(),
        }
    }
}

impl Dirs {
    /// Find both directories. `root` is what the user gave on the command line (`--root`). Makes the
    /// run-time directory, and nothing else.
    pub fn resolve(root: Option<&Path>, env: Env<'_>) -> Result<Self, DirsError> {
        Ok(Self {
            data_root: data_root(root, env)?,
            runtime_dir: runtime_dir(env)?,
        })
    }
}

/// Explicit, else `$CORACLE_ROOT`, else `$XDG_DATA_HOME/coracle`, else `~/.local/share/coracle`.
pub fn data_root(root: Option<&Path>, env: Env<'_>) -> Result<PathBuf, DirsError> {
    let given = root
        .map(Path::to_owned)
        .or_else(|| env.get("CORACLE_ROOT").map(PathBuf::from));
    if let Some(path) = given {
        return std::path::absolute(&path).map_err(|source| DirsError::Absolute { path, source });
    }
    if let Some(data) = env.xdg("XDG_DATA_HOME") {
        return Ok(data.join(NAME));
    }
    let home = env.home().ok_or(DirsError::NoHome)?;
    Ok(home.join(".local/share").join(NAME))
}

/// `$XDG_RUNTIME_DIR/coracle`, `/run/user/UID/coracle`, `$TMPDIR or /tmp/coracle-UID`: the first
/// whose parent is fit for it. Only the last one's fault is reported: the others are optional.
fn runtime_dir(env: Env<'_>) -> Result<PathBuf, DirsError> {
    let uid = rustix::process::geteuid().as_raw();
    let private = [
        env.xdg("XDG_RUNTIME_DIR"),
        Some(PathBuf::from(format!("/run/user/{uid}"))),
    ];
    for parent in private.into_iter().flatten() {
        // An XDG_RUNTIME_DIR that survived `su`, or a directory of a user manager that is gone.
        let made = private_parent(&parent, uid).and_then(|fd| own_dir(&fd, &parent, NAME, uid));
        match made {
            Ok(dir) => return Ok(dir),
            Err(e) => log::debug!("run-time directory {parent:?} is not used: {e}"),
        }
    }
    let parent = env.xdg("TMPDIR").unwrap_or_else(|| PathBuf::from("/tmp"));
    let fd = shared_parent(&parent, uid)?;
    own_dir(&fd, &parent, &format!("{NAME}-{uid}"), uid)
}

/// Where `coracle-oci` keeps the state of its containers: `$XDG_RUNTIME_DIR/coracle-oci`, `/run/coracle-oci` for root,
/// `/run/user/UID/coracle-oci`, `$TMPDIR or /tmp/coracle-oci-UID`; the first that is fit for it.
pub fn oci_state_dir(env: Env<'_>) -> Result<PathBuf, DirsError> {
    const NAME: &str = "coracle-oci";
    let uid = rustix::process::geteuid().as_raw();
    let private = [
        env.xdg("XDG_RUNTIME_DIR"),
        (uid == 0).then(|| PathBuf::from("/run")),
        Some(PathBuf::from(format!("/run/user/{uid}"))),
    ];
    for parent in private.into_iter().flatten() {
        let made = private_parent(&parent, uid).and_then(|fd| own_dir(&fd, &parent, NAME, uid));
        match made {
            Ok(dir) => return Ok(dir),
            Err(e) => log::debug!("state directory {parent:?} is not used: {e}"),
        }
    }
    let parent = env.xdg("TMPDIR").unwrap_or_else(|| PathBuf::from("/tmp"));
    let fd = shared_parent(&parent, uid)?;
    own_dir(&fd, &parent, &format!("{NAME}-{uid}"), uid)
}

fn open_dir<Fd: AsFd>(
    at: Fd,
    name: &Path,
    shown: &Path,
    follow: bool,
) -> Result<OwnedFd, DirsError> {
    let mut flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if !follow {
        flags |= OFlags::NOFOLLOW;
    }
    rustix::fs::openat(at, name, flags, Mode::empty()).map_err(|e| match e {
        Errno::LOOP | Errno::NOTDIR => DirsError::NotDirectory {
            path: shown.to_owned(),
        },
        e => DirsError::io("openat", shown, e),
    })
}

fn stat(fd: &OwnedFd, shown: &Path) -> Result<Stat, DirsError> {
    rustix::fs::fstat(fd).map_err(|e| DirsError::io("fstat", shown, e))
}

/// Ours, and without any permission in `refused` for others.
fn check(fd: &OwnedFd, path: &Path, uid: u32, refused: u32) -> Result<(), DirsError> {
    let st = stat(fd, path)?;
    if st.st_uid != uid {
        return Err(DirsError::Owner {
            path: path.to_owned(),
            owner: st.st_uid,
            uid,
        });
    }
    if st.st_mode & refused != 0 {
        return Err(DirsError::Mode {
            path: path.to_owned(),
            mode: st.st_mode & 0o7777,
        });
    }
    Ok(())
}

/// A parent that must be ours alone.
fn private_parent(path: &Path, uid: u32) -> Result<OwnedFd, DirsError> {
    let fd = open_dir(rustix::fs::CWD, path, path, false)?;
    check(&fd, path, uid, SHARED_WRITE)?;
    Ok(fd)
}

/// A parent that others may write to, if it is sticky: without the sticky bit anyone could rename
/// our directory away and put another in its place. `/tmp` itself may be a symbolic link; only root
/// could have made it one.
fn shared_parent(path: &Path, uid: u32) -> Result<OwnedFd, DirsError> {
    let fd = open_dir(rustix::fs::CWD, path, path, true)?;
    let st = stat(&fd, path)?;
    if st.st_mode & SHARED_WRITE != 0 && st.st_mode & STICKY == 0 {
        return Err(DirsError::Mode {
            path: path.to_owned(),
            mode: st.st_mode & 0o7777,
        });
    }
    // The owner of a sticky directory may still rename what is in it.
    if st.st_uid != uid && st.st_uid != 0 {
        return Err(DirsError::Owner {
            path: path.to_owned(),
            owner: st.st_uid,
            uid,
        });
    }
    Ok(fd)
}

/// Make `name` in `parent` with mode 0700, or take the one that is there if it is ours alone.
fn own_dir(parent: &OwnedFd, shown: &Path, name: &str, uid: u32) -> Result<PathBuf, DirsError> {
    let path = shown.join(name);
    match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(DirsError::io("mkdirat", &path, e)),
    }
    let fd = open_dir(parent, Path::new(name), &path, false)?;
    check(&fd, &path, uid, SHARED)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn with<T>(vars: &[(&str, &Path)], f: impl FnOnce(Env<'_>) -> T) -> T {
        let get = |name: &str| {
            vars.iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| OsString::from(v))
        };
        f(Env::new(&get))
    }

    fn chmod(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn uid() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    #[test]
    fn the_data_root_is_looked_for_in_order() {
        let (a, b, c, d) = ("/a", "/b", "/c", "/d");
        let p = Path::new;
        let all = [
            ("CORACLE_ROOT", p(b)),
            ("XDG_DATA_HOME", p(c)),
            ("HOME", p(d)),
        ];
        let find = |root, vars: &[(&str, &Path)]| with(vars, |e| data_root(root, e).unwrap());
        assert_eq!(find(Some(p(a)), &all), p("/a"));
        assert_eq!(find(None, &all), p("/b"));
        assert_eq!(find(None, &all[1..]), p("/c/coracle"));
        assert_eq!(find(None, &all[2..]), p("/d/.local/share/coracle"));
        // Empty is not set; a relative XDG path is ignored; a relative root is not.
        let odd = [
            ("CORACLE_ROOT", p("")),
            ("XDG_DATA_HOME", p("rel")),
            ("HOME", p(d)),
        ];
        assert_eq!(find(None, &odd), p("/d/.local/share/coracle"));
        assert!(find(Some(p("rel")), &odd).is_absolute());
    }

    #[test]
    fn without_home_the_error_says_what_to_set() {
        let e = with(&[], |e| data_root(None, e).unwrap_err());
        assert!(matches!(e, DirsError::NoHome));
        assert!(e.hint().unwrap().contains("CORACLE_ROOT"));
    }

    #[test]
    fn a_private_runtime_dir_is_used_and_the_directory_made_closed() {
        let tmp = tempfile::tempdir().unwrap();
        chmod(tmp.path(), 0o700);
        let dir = with(&[("XDG_RUNTIME_DIR", tmp.path())], |e| {
            runtime_dir(e).unwrap()
        });
        assert_eq!(dir, tmp.path().join("coracle"));
        let mode = std::fs::metadata(&dir).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o700);
        // A second time it is there already.
        let again = with(&[("XDG_RUNTIME_DIR", tmp.path())], |e| {
            runtime_dir(e).unwrap()
        });
        assert_eq!(again, dir);
    }

    #[test]
    fn a_parent_that_is_not_ours_alone_is_passed_over() {
        let tmp = tempfile::tempdir().unwrap();
        let real = tmp.path().join("real");
        std::fs::create_dir(&real).unwrap();
        chmod(&real, 0o700);
        private_parent(&real, uid()).unwrap();

        let link = tmp.path().join("link");
        symlink(&real, &link).unwrap();
        let e = private_parent(&link, uid()).unwrap_err();
        assert!(matches!(e, DirsError::NotDirectory { .. }), "{e:?}");

        let e = private_parent(&real, uid() + 1).unwrap_err();
        assert!(matches!(e, DirsError::Owner { .. }), "{e:?}");

        for mode in [0o720, 0o702, 0o777] {
            chmod(&real, mode);
            let e = private_parent(&real, uid()).unwrap_err();
            assert!(matches!(e, DirsError::Mode { .. }), "{mode:o}: {e:?}");
        }

        let file = tmp.path().join("file");
        std::fs::write(&file, "").unwrap();
        let e = private_parent(&file, uid()).unwrap_err();
        assert!(matches!(e, DirsError::NotDirectory { .. }), "{e:?}");
    }

    #[test]
    fn what_others_prepared_in_tmp_is_refused() {
        let tmp = tempfile::tempdir().unwrap();
        chmod(tmp.path(), 0o1777);
        let fd = shared_parent(tmp.path(), uid()).unwrap();
        let name = "coracle-1";
        let squat = tmp.path().join(name);
        let own = |uid| own_dir(&fd, tmp.path(), name, uid);

        // A link to a directory that is even ours: whoever made the link can turn it.
        let real = tmp.path().join("real");
        std::fs::create_dir(&real).unwrap();
        chmod(&real, 0o700);
        symlink(&real, &squat).unwrap();
        assert!(matches!(own(uid()), Err(DirsError::NotDirectory { .. })));
        assert_eq!(std::fs::read_dir(&real).unwrap().count(), 0);
        std::fs::remove_file(&squat).unwrap();

        // A dangling link must not make us create its target.
        symlink(tmp.path().join("target"), &squat).unwrap();
        assert!(own(uid()).is_err());
        assert!(!tmp.path().join("target").exists());
        std::fs::remove_file(&squat).unwrap();

        // Open to others.
        std::fs::create_dir(&squat).unwrap();
        for mode in [0o770, 0o707, 0o750, 0o777] {
            chmod(&squat, mode);
            assert!(matches!(own(uid()), Err(DirsError::Mode { .. })));
        }
        chmod(&squat, 0o700);

        // Somebody else's.
        assert!(matches!(own(uid() + 1), Err(DirsError::Owner { .. })));
        own(uid()).unwrap();
    }

    #[test]
    fn a_tmp_without_the_sticky_bit_is_refused() {
        let tmp = tempfile::tempdir().unwrap();
        chmod(tmp.path(), 0o777);
        let e = shared_parent(tmp.path(), uid()).unwrap_err();
        assert!(matches!(e, DirsError::Mode { .. }), "{e:?}");
        chmod(tmp.path(), 0o700);
        shared_parent(tmp.path(), uid()).unwrap();
        // Sticky, but of another user than us and root: its owner could swap our directory.
        chmod(tmp.path(), 0o1777);
        if uid() != 0 {
            let e = shared_parent(tmp.path(), uid() + 1).unwrap_err();
            assert!(matches!(e, DirsError::Owner { .. }), "{e:?}");
        } else {
            std::os::unix::fs::chown(tmp.path(), Some(4242), None).unwrap();
            let e = shared_parent(tmp.path(), 4243).unwrap_err();
            assert!(matches!(e, DirsError::Owner { .. }), "{e:?}");
        }
    }
}
