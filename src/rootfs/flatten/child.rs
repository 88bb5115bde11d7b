//! Copying as root of a user namespace: a forked child enters one, does the work there, and sends back
//! what came of it. Where user namespaces are not allowed the caller does the work itself, and a file
//! that shuts out its owner is an error.
//!
//! The answer: a tag; for a failed call the errno (4 bytes), the name of the call, NUL; then the path.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use rustix::io::Errno;

use super::Error;
use crate::sys::fork::{self, Failed};
use crate::sys::userns;

const DONE: u8 = 0;
/// No work was begun.
const NO_NAMESPACE: u8 = 1;
const SYS: u8 = 2;
const TYPE: u8 = 3;

/// Do `work` with the rights of root over the caller's own files, if those can be had.
pub(super) fn as_root(work: impl Fn() -> Result<(), Error>) -> Result<(), Error> {
    let answer = fork::bytes_from_child(|| match userns::enter_as_root() {
        Ok(()) => encode(&work()),
        Err(_) => vec![NO_NAMESPACE],
    })?;
    match answer.first() {
        Some(&NO_NAMESPACE) => work(),
        _ => decode(&answer).unwrap_or(Err(Error::Child(Failed::Silent(0)))),
    }
}

fn encode(result: &Result<(), Error>) -> Vec<u8> {
    match result {
        Ok(()) => vec![DONE],
        Err(Error::Sys { call, path, source }) => [
            &[SYS][..],
            &source.raw_os_error().to_ne_bytes(),
            call.as_bytes(),
            b"\0",
            path.as_os_str().as_bytes(),
        ]
        .concat(),
        Err(Error::Type { path }) => [&[TYPE], path.as_os_str().as_bytes()].concat(),
        // Not of the work's making.
        Err(Error::Child(_)) => Vec::new(),
    }
}

/// `None` when it is no answer.
fn decode(answer: &[u8]) -> Option<Result<(), Error>> {
    let path = |bytes| PathBuf::from(OsStr::from_bytes(bytes));
    match answer.split_first()? {
        (&DONE, []) => Some(Ok(())),
        (&SYS, rest) => {
            let (errno, rest) = rest.split_first_chunk::<4>()?;
            let end = rest.iter().position(|&b| b == 0)?;
            Some(Err(Error::Sys {
                call: String::from_utf8_lossy(&rest[..end]).into_owned().into(),
                path: path(&rest[end + 1..]),
                source: Errno::from_raw_os_error(i32::from_ne_bytes(*errno)),
            }))
        }
        (&TYPE, rest) => Some(Err(Error::Type { path: path(rest) })),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_come_back_as_they_were() {
        let path = || PathBuf::from(OsStr::from_bytes(b"a/\xff\n/b"));
        for make in [
            || Ok(()),
            || Err(Error::sys("openat2", b"a/\xff\n/b")(Errno::ACCESS)),
            || {
                Err(Error::Type {
                    path: PathBuf::from("x"),
                })
            },
        ] as [fn() -> Result<(), Error>; 3]
        {
            assert_eq!(format!("{:?}", as_root(make)), format!("{:?}", make()));
        }
        let e = as_root(|| Err(Error::sys("linkat", b"a/\xff\n/b")(Errno::MLINK))).unwrap_err();
        assert!(
            matches!(&e, Error::Sys { path: p, source: Errno::MLINK, .. } if *p == path()),
            "{e:?}"
        );
    }

    #[test]
    fn nonsense_is_no_answer() {
        for bad in [
            &b""[..],
            &[DONE, 1],
            &[SYS, 1, 2],
            &[SYS, 1, 0, 0, 0, b'x'],
            &[99],
        ] {
            assert!(decode(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn a_child_that_dies_is_an_error() {
        let e = as_root(|| std::panic::resume_unwind(Box::new(()))).unwrap_err();
        assert!(matches!(e, Error::Child(Failed::Silent(_))), "{e:?}");
    }
}
