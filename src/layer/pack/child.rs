//! Walking as root of a user namespace: a forked child enters one, walks and writes the tar to a pipe.
//! Its answer, what it has found or what went wrong, comes after the tar, as JSON.

use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write};
use std::os::unix::ffi::OsStrExt as _;

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use serde::{Deserialize, Serialize};

use super::tree::Opened;
use super::walk::{Done, Wanted, walk};
use super::{Error, Options, Refusal, path_buf};
use crate::layer::fork_alone;
use crate::sys::fork::{self, Failed};
use crate::sys::userns;

/// What an ordinary user may have (pipe(7)), and enough that neither side waits for the other often.
const PIPE: usize = 1 << 20;
const BUFFER: usize = 256 << 10;

#[derive(Serialize, Deserialize)]
enum Answer {
    /// Nothing was begun.
    NoNamespace,
    Done(Done),
    Sys {
        call: String,
        path: Vec<u8>,
        errno: i32,
    },
    Refused {
        path: Vec<u8>,
        why: Refusal,
    },
}

/// Walk with the rights of root over the caller's own files, if those can be had.
pub(super) fn walk_as_root(
    trees: &[Opened],
    wanted: &Wanted,
    options: &Options,
    out: &mut impl Write,
) -> Result<Done, Error> {
    as_root(out, |out| walk(trees, wanted, options, out))
}

/// Do what writes a tar with these rights.
pub(super) fn as_root(
    out: &mut impl Write,
    work: impl Fn(&mut dyn Write) -> Result<Done, Error>,
) -> Result<Done, Error> {
    let pipe = || Error::sys("pipe", b"");
    let guard = fork_alone();
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(pipe())?;
    // Smaller is slower, and no more.
    let _ = fcntl_setpipe_size(&write, PIPE);
    let mut once = Some(write);
    let child = fork::start_bytes(|| {
        let answer = match (userns::enter_as_root(), once.take()) {
            (Ok(()), Some(write)) => {
                let mut out = BufWriter::with_capacity(BUFFER, File::from(write));
                encode(work(&mut out))
            }
            _ => Answer::NoNamespace,
        };
        serde_json::to_vec(&answer).unwrap_or_default()
    });
    // The child's end of the pipe must be the only one.
    drop(once);
    drop(guard);
    let child = child?;
    let mut read = File::from(read);
    let mut buffer = vec![0; BUFFER];
    loop {
        match read.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => out.write_all(&buffer[..n]).map_err(Error::Output)?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(pipe()(Errno::from_io_error(&e).unwrap_or(Errno::IO))),
        }
    }
    let answer = child.bytes()?;
    match serde_json::from_slice(&answer) {
        Ok(Answer::NoNamespace) => work(out),
        Ok(answer) => decode(answer),
        Err(_) => Err(Error::Child(Failed::Silent(0))),
    }
}

fn encode(result: Result<Done, Error>) -> Answer {
    let sys = |call: String, path: &[u8], e: Errno| Answer::Sys {
        call,
        path: path.to_vec(),
        errno: e.raw_os_error(),
    };
    match result {
        Ok(done) => Answer::Done(done),
        Err(Error::Sys { call, path, source }) => sys(call, path.as_os_str().as_bytes(), source),
        Err(Error::Refused { path, why }) => Answer::Refused {
            path: path.as_os_str().as_bytes().to_vec(),
            why,
        },
        Err(Error::Output(e)) => {
            let errno = Errno::from_io_error(&e).unwrap_or(Errno::IO);
            sys("write".to_owned(), b"", errno)
        }
        // Not of a walk's making: sidecars were read before.
        Err(Error::Owners(_) | Error::Child(_)) => sys("walk".to_owned(), b"", Errno::IO),
    }
}

fn decode(answer: Answer) -> Result<Done, Error> {
    match answer {
        Answer::Done(done) => Ok(done),
        Answer::Sys { call, path, errno } => Err(Error::Sys {
            call,
            path: path_buf(&path),
            source: Errno::from_raw_os_error(errno),
        }),
        Answer::Refused { path, why } => Err(Error::refused(&path, why)),
        Answer::NoNamespace => Err(Error::Child(Failed::Silent(0))),
    }
}
