//! What the two sides say to each other beside the tar: a length of four bytes, little-endian, and JSON.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::decide::Target;
use crate::layer::pack::Notes;
use crate::layer::plain::Owners;

/// Most bytes of one message. A path has 4096, and notes have twenty.
const MAX: usize = 1 << 20;

/// What there is by a path, links followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Seen {
    /// Nothing, in a directory that is there.
    Missing,
    /// A directory.
    Directory,
    /// Anything else.
    Other,
}

/// That, or the errno that says why it cannot be looked at.
pub(super) type Looked = Result<Seen, i32>;

/// What the copier is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Job {
    /// Write a tar.
    Read {
        /// What it is called there; none: only what is in it.
        name: Option<Vec<u8>>,
        /// Whose it is there; none: whose it is.
        owner: Option<(u32, u32)>,
    },
    /// Read one, which follows.
    Write {
        target: Target,
        owners: Owners,
        overwrite: bool,
    },
}

/// How that went.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Report {
    pub error: Option<String>,
    pub hint: Option<String>,
    pub notes: Notes,
}

pub(super) fn send(mut to: impl Write, message: &impl Serialize) -> io::Result<()> {
    let json = serde_json::to_vec(message)?;
    let len = u32::try_from(json.len()).map_err(io::Error::other)?;
    // In one piece, so that a reader never sees a part of it.
    to.write_all(&[&len.to_le_bytes(), json.as_slice()].concat())
}

pub(super) fn receive<T: DeserializeOwned>(mut from: impl Read) -> io::Result<T> {
    let mut len = [0; 4];
    from.read_exact(&mut len)?;
    let len = u32::from_le_bytes(len) as usize;
    if len > MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut json = vec![0; len];
    from.read_exact(&mut json)?;
    Ok(serde_json::from_slice(&json)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_arrives() {
        let mut pipe = Vec::new();
        send(&mut pipe, &Looked::Err(2)).unwrap();
        pipe.extend_from_slice(b"tar");
        let mut rest = pipe.as_slice();
        assert_eq!(receive::<Looked>(&mut rest).unwrap(), Err(2));
        assert_eq!(rest, b"tar");
    }

    #[test]
    fn what_is_too_long_or_no_message_is_refused() {
        for bytes in [
            &b"\xff\xff\xff\xff{}"[..],
            b"\x02\0\0\0x{",
            b"\x09\0\0\0{}",
            b"\0",
        ] {
            assert!(receive::<Seen>(bytes).is_err(), "{bytes:?}");
        }
    }
}
