//! Small files of the kernel, and words for what it says. Parsers take `&str`, apart from reading.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;

use crate::sys::fork::Failed;

/// `EPERM (Operation not permitted)`.
pub(super) fn errno_words(errno: Errno) -> String {
    let errno = nix::errno::Errno::from_raw(errno.raw_os_error());
    format!("{errno:?} ({})", errno.desc())
}

/// What a child's failure means, in words.
pub(super) fn words(failed: &Failed) -> String {
    match failed {
        Failed::Start { call, errno } => {
            format!(
                "cannot start a child to try it: {call}: {}",
                errno_words(*errno)
            )
        }
        Failed::Stopped { stage, errno } => format!("{stage}: {}", errno_words(*errno)),
        Failed::TimedOut(limit) => format!("no answer after {} s: killed", limit.as_secs()),
        Failed::Signal(libc::SIGSYS) => {
            "killed by SIGSYS: a seccomp filter around this process forbids it".into()
        }
        Failed::Signal(n) => format!("the trial was killed by signal {n}"),
        Failed::Silent(n) => format!("the trial ended with status {n} and no answer"),
    }
}

/// Whether a trial inside a user namespace failed because there is none.
pub(super) fn lacks_userns(failed: &Failed) -> bool {
    failed.stage().is_some_and(|stage| {
        stage == "unshare(CLONE_NEWUSER)"
            || stage.ends_with("/proc/self/setgroups")
            || stage.ends_with("/proc/self/uid_map")
            || stage.ends_with("/proc/self/gid_map")
    })
}

/// What such a trial says.
pub(super) const NEEDS_USERNS: &str = "needs a user namespace, and none can be made here";

/// [`words`] for a trial inside a user namespace: says it once, under that heading, when it is the
/// namespace itself that is missing.
pub(super) fn reason(failed: &Failed) -> String {
    if lacks_userns(failed) {
        NEEDS_USERNS.into()
    } else {
        words(failed)
    }
}

/// A one-line file without its line end.
pub(super) fn line(path: impl AsRef<Path>) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.trim_end().to_owned())
}

/// A file under /proc/sys that holds one number.
pub(super) fn sysctl(name: &str) -> Option<u64> {
    line(Path::new("/proc/sys").join(name))?.parse().ok()
}

/// The value of a `Name:` line of /proc/self/status.
pub(super) fn status_field(status: &str, name: &str) -> Option<String> {
    status.lines().find_map(|l| {
        let value = l.strip_prefix(name)?.strip_prefix(':')?;
        Some(value.trim().to_owned())
    })
}

/// One line of /proc/PID/uid_map or gid_map (user_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// First id inside the namespace.
    pub inside: u32,
    /// First id outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// The extents of an id map. Lines that are none are left out.
pub(super) fn parse_id_map(text: &str) -> Vec<Extent> {
    text.lines()
        .filter_map(|l| {
            let mut n = l.split_ascii_whitespace().map(str::parse);
            let (a, b, c) = (n.next()?.ok()?, n.next()?.ok()?, n.next()?.ok()?);
            Some(Extent {
                inside: a,
                outside: b,
                count: c,
            })
        })
        .collect()
}

/// A mount, from a line of /proc/self/mountinfo (proc_pid_mountinfo(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// Which folder of the file system is mounted.
    pub(super) root: String,
    /// Where.
    pub(super) point: String,
    /// File system type.
    pub(super) kind: String,
}

/// The mounts of a mountinfo file. Lines that are none are left out.
pub(super) fn parse_mountinfo(text: &str) -> Vec<Mount> {
    text.lines()
        .filter_map(|l| {
            let (left, right) = l.split_once(" - ")?;
            let mut left = left.split(' ').skip(3);
            Some(Mount {
                root: unescape(left.next()?),
                point: unescape(left.next()?),
                kind: right.split(' ').next()?.to_owned(),
            })
        })
        .collect()
}

/// Space, tab, newline and backslash are written as three octal digits.
fn unescape(s: &str) -> String {
    let mut out = s.to_owned();
    for (code, c) in [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ] {
        out = out.replace(code, c);
    }
    out
}

/// The program `name` in `path` (the value of PATH), if it may be executed.
pub(super) fn find_program(name: &str, path: Option<&OsStr>) -> Option<PathBuf> {
    std::env::split_paths(path?)
        // An empty entry means the working directory: nothing is run from there.
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(name))
        .find(|file| {
            file.is_file() && accessat(CWD, file, Access::EXEC_OK, AtFlags::EACCESS).is_ok()
        })
}

/// [`find_program`] in the caller's PATH.
pub(super) fn program(name: &str) -> Option<PathBuf> {
    find_program(name, std::env::var_os("PATH").as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_lines_are_read_with_their_escapes() {
        let text = "36 35 98:0 /mnt1 /mnt/a\\040b rw,noatime master:1 - ext3 /dev/root rw\nrubbish\n\
            31 24 0:27 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw\n";
        let mounts = parse_mountinfo(text);
        assert_eq!(mounts.len(), 2);
        assert_eq!((&*mounts[0].root, &*mounts[0].point), ("/mnt1", "/mnt/a b"));
        assert_eq!(mounts[1].kind, "cgroup2");
    }

    #[test]
    fn id_maps_and_status_are_read() {
        let text = "         0       1000          1\n         1     100000      65536\nx y z\n";
        let map = parse_id_map(text);
        assert_eq!(map.len(), 2);
        assert_eq!(
            map[1],
            Extent {
                inside: 1,
                outside: 100_000,
                count: 65536
            }
        );
        let status = "Seccomp:\t2\nSeccomp_filters:\t1\n";
        assert_eq!(status_field(status, "Seccomp").as_deref(), Some("2"));
        assert_eq!(status_field(status, "NoNewPrivs"), None);
    }

    #[test]
    fn a_program_must_be_executable_and_in_an_absolute_folder() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tool");
        std::fs::write(&file, "").unwrap();
        let path = dir.path().as_os_str();
        assert_eq!(find_program("tool", Some(path)), None, "not executable");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&file, mode).unwrap();
        assert_eq!(find_program("tool", Some(path)), Some(file));
        assert_eq!(find_program("tool", Some(OsStr::new("."))), None);
        assert_eq!(find_program("tool", None), None);
    }

    #[test]
    fn an_errno_is_named() {
        assert_eq!(errno_words(Errno::PERM), "EPERM (Operation not permitted)");
    }
}
