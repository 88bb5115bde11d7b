//! Finding the program, and getting ready to execute it.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, accessat, fstat, open, stat};
use rustix::io::Errno;

use super::{Context as _, Failure, Process, Result, Stage};
use crate::emulate::creds::Executable;
use crate::emulate::rules::UNASKED_EXEC;
use crate::runtime::channel::Channel;
use crate::sys::exec::{OwnExecutable, Prepared, prepare_copy};

/// What execvp(3) searches when the environment has no PATH.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Larger files of this kind exist only to hurt.
const PASSWD_MAX: u64 = 1 << 20;

/// What is executed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// `coracle-init`, which starts the program as its child.
    Init,
    /// The program, by way of our stub where our own file is exposed.
    Program(OwnExecutable),
}

/// Look the program up in the container's PATH and prepare its execution. The number is what its exec
/// carries for the filter, see [`UNASKED_EXEC`].
pub(super) fn prepare(
    process: &Process,
    first: First,
    channel: &Channel,
) -> Result<(Prepared, u32)> {
    if let Some(copy) = &process.own {
        let copy = copy.try_clone().at(Stage::Exec, || "memfd".into())?;
        let (args, env) = (process.args.clone(), process.env.clone());
        return Ok((prepare_copy(copy, args, env), UNASKED_EXEC));
    }
    let name = process
        .args
        .first()
        .ok_or_else(|| Failure::new(Stage::Find, "no program was given", Errno::NOENT))?;
    let path = find(name.as_bytes(), &process.env)
        .map_err(|e| Failure::new(Stage::Find, name.to_string_lossy(), e))?;
    let mut env = process.env.clone();
    if !env.iter().any(|e| e.as_bytes().starts_with(b"HOME=")) {
        env.push(home(process.uid));
    }
    let changes_nobody = changes_nobody(process, &path);
    let args = process.args.clone();
    let prepared = match first {
        First::Init => super::reaper::prepare(path, args, env, channel)?,
        First::Program(own) => crate::sys::exec::prepare(path, args, env, channel.fd(), own)
            .at(Stage::Exec, || "memfd".into())?,
    };
    let unasked = prepared.is_ours() || changes_nobody;
    Ok((prepared, if unasked { UNASKED_EXEC } else { 0 }))
}

/// Whether the program leaves its caller who he is, so that the supervisor would say so, too.
fn changes_nobody(process: &Process, path: &CString) -> bool {
    let Some(who) = &process.identity else {
        return false;
    };
    let set_id = libc::S_ISUID | libc::S_ISGID;
    // File capabilities give root nothing.
    process.uid == 0
        && who.exec(&Executable::default()).as_ref() == Ok(who)
        && stat(path).is_ok_and(|s| s.st_mode & set_id == 0)
}

/// HOME as the container's own passwd(5) has it, which only now can be read; `/` if it has none.
fn home(uid: u32) -> CString {
    let fallback = || CString::from(c"HOME=/");
    // An image may put a fifo or a device there: those must not be waited for.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let Ok(fd) = open(c"/etc/passwd", flags, Mode::empty()) else {
        return fallback();
    };
    let regular =
        fstat(&fd).is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::RegularFile);
    let mut text = Vec::new();
    if !regular
        || File::from(fd)
            .take(PASSWD_MAX)
            .read_to_end(&mut text)
            .is_err()
    {
        return fallback();
    }
    let uid = uid.to_string();
    let home = text.split(|b| *b == b'\n').find_map(|line| {
        let mut fields = line.split(|b| *b == b':');
        (fields.nth(2)? == uid.as_bytes()).then(|| fields.nth(2))?
    });
    match home {
        Some(dir) if !dir.is_empty() => {
            CString::new([b"HOME=", dir].concat()).unwrap_or_else(|_| fallback())
        }
        _ => fallback(),
    }
}

/// As execvp(3): a name with a slash is a path; a directory that cannot be searched is remembered, and
/// reported only if no other has the program.
fn find(name: &[u8], env: &[CString]) -> std::result::Result<CString, Errno> {
    let c_string = |bytes: Vec<u8>| CString::new(bytes).map_err(|_| Errno::INVAL);
    if name.is_empty() {
        return Err(Errno::NOENT);
    }
    if name.contains(&b'/') {
        return c_string(name.to_vec());
    }
    let path = env
        .iter()
        .find_map(|e| e.as_bytes().strip_prefix(b"PATH="))
        .unwrap_or(DEFAULT_PATH);
    let mut worst = Errno::NOENT;
    for dir in path.split(|b| *b == b':') {
        let dir = if dir.is_empty() { b".".as_slice() } else { dir };
        let candidate = Path::new(OsStr::from_bytes(dir)).join(OsStr::from_bytes(name));
        match executable(&candidate) {
            Ok(()) => return c_string(candidate.into_os_string().into_vec()),
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(e) => worst = e,
        }
    }
    Err(worst)
}

fn executable(path: &Path) -> std::result::Result<(), Errno> {
    accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)?;
    match FileType::from_raw_mode(stat(path)?.st_mode) {
        FileType::Directory => Err(Errno::ACCESS),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_searched_in_order() {
        let env = |p: &str| vec![CString::new(format!("PATH={p}")).unwrap()];
        assert_eq!(
            find(b"sh", &env("/nonexistent:/bin")).unwrap().to_bytes(),
            b"/bin/sh"
        );
        assert_eq!(find(b"no-such-program", &env("/bin")), Err(Errno::NOENT));
        assert_eq!(find(b"", &env("/bin")), Err(Errno::NOENT));
        assert_eq!(find(b"./x", &env("/bin")).unwrap().to_bytes(), b"./x");
        assert_eq!(
            find(b"etc", &env("/")),
            Err(Errno::ACCESS),
            "a directory is no program"
        );
        assert!(
            find(b"sh", &[]).is_ok(),
            "without PATH the default is searched"
        );
    }
}
