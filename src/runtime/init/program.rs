//! Finding the program, and getting ready to execute it.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, FileType, accessat, stat};
use rustix::io::Errno;

use super::{Context as _, Failure, Plan, Result, Stage};
use crate::runtime::channel::Channel;
use crate::sys::exec::Prepared;

/// What execvp(3) searches when the environment has no PATH.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Look the program up in the container's PATH and prepare its execution.
pub(super) fn prepare(plan: &Plan, channel: &Channel) -> Result<Prepared> {
    let name = plan
        .args
        .first()
        .ok_or_else(|| Failure::new(Stage::Find, "no program was given", Errno::NOENT))?;
    let path = find(name.as_bytes(), &plan.env)
        .map_err(|e| Failure::new(Stage::Find, name.to_string_lossy(), e))?;
    crate::sys::exec::prepare(&path, plan.args.clone(), plan.env.clone(), channel.fd())
        .at(Stage::Exec, || "memfd".into())
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
