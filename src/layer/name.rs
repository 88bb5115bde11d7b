//! Names in a tar: bytes from strangers to safe components. Pure.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use super::Error;

/// Prefix of a whiteout (OCI image-spec, layer.md "Whiteouts").
pub(super) const WHITEOUT: &[u8] = b".wh.";
/// Prefix of the bookkeeping of aufs, of which only the opaque marker has a meaning.
pub(super) const META: &[u8] = b".wh..wh.";
/// The opaque marker.
pub(super) const OPAQUE: &[u8] = b".wh..wh..opq";

/// What the last component of an entry's name says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning<'a> {
    /// An ordinary entry.
    Entry,
    /// Hide this sibling of the lower layers.
    Whiteout(&'a [u8]),
    /// Hide all siblings of the lower layers.
    Opaque,
    /// aufs bookkeeping: to be skipped.
    Skip,
}

/// Bytes to a path, for messages.
pub(super) fn path_buf(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

/// A name of the tar in canonical form: components joined by single slashes, neither leading nor
/// trailing slash, empty for the root.
pub(super) fn clean(raw: &[u8], max_path: usize) -> Result<Vec<u8>, Error> {
    if raw.len() > max_path {
        return Err(Error::PathTooLong(max_path));
    }
    if raw.contains(&0) {
        return Err(Error::Name {
            path: path_buf(raw),
            what: "a name cannot contain a zero byte",
        });
    }
    let mut out = Vec::with_capacity(raw.len());
    for part in raw.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                return Err(Error::EscapesRoot {
                    path: path_buf(raw),
                });
            }
            part => {
                if !out.is_empty() {
                    out.push(b'/');
                }
                out.extend_from_slice(part);
            }
        }
    }
    Ok(out)
}

/// Parent and last component of a canonical path; the root has an empty last component.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(i) => (&path[..i], &path[i + 1..]),
        None => (b"", path),
    }
}

/// `name` below the canonical path `parent`.
pub(super) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(parent.len() + 1 + name.len());
    path.extend_from_slice(parent);
    if !parent.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// Whether the canonical path `path` is `top` or lies below it.
pub(super) fn is_within(path: &[u8], top: &[u8]) -> bool {
    top.is_empty()
        || path
            .strip_prefix(top)
            .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// Tell whiteouts from entries. `path` is canonical.
pub(super) fn meaning(path: &[u8]) -> Result<Meaning<'_>, Error> {
    // Nearly all names: no component begins with a dot-w.
    if !path.windows(WHITEOUT.len()).any(|w| w == WHITEOUT) {
        return Ok(Meaning::Entry);
    }
    let (parent, last) = split(path);
    let invalid = || Error::Whiteout {
        path: path_buf(path),
    };
    for part in parent.split(|b| *b == b'/') {
        if part.starts_with(META) {
            return Ok(Meaning::Skip);
        }
        if part.starts_with(WHITEOUT) {
            return Err(invalid());
        }
    }
    if last == OPAQUE {
        return Ok(Meaning::Opaque);
    }
    if last.starts_with(META) {
        return Ok(Meaning::Skip);
    }
    match last.strip_prefix(WHITEOUT) {
        None => Ok(Meaning::Entry),
        Some(b"" | b"." | b"..") => Err(invalid()),
        Some(name) => Ok(Meaning::Whiteout(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_canonical() {
        for (raw, want) in [
            (&b"a/b"[..], &b"a/b"[..]),
            (b"./a//b/", b"a/b"),
            (b"/etc/passwd", b"etc/passwd"),
            (b"./", b""),
            (b"", b""),
            (b"\xff\xfe/x", b"\xff\xfe/x"),
            (b"..a/b..", b"..a/b.."),
        ] {
            assert_eq!(clean(raw, 4096).unwrap(), want);
        }
    }

    #[test]
    fn names_that_escape_are_refused() {
        for raw in [
            &b".."[..],
            b"../x",
            b"a/../../x",
            b"a/..",
            b"/../x",
            b"a/../b",
        ] {
            assert!(matches!(clean(raw, 4096), Err(Error::EscapesRoot { .. })));
        }
        assert!(matches!(clean(b"a\0b", 4096), Err(Error::Name { .. })));
        assert!(matches!(clean(b"abc", 2), Err(Error::PathTooLong(2))));
    }

    #[test]
    fn whiteouts_are_told_from_entries() {
        assert_eq!(meaning(b"a/b").unwrap(), Meaning::Entry);
        assert_eq!(meaning(b"a/x.wh.y").unwrap(), Meaning::Entry);
        assert_eq!(meaning(b"a/.wh.b").unwrap(), Meaning::Whiteout(b"b"));
        assert_eq!(meaning(b".wh.b").unwrap(), Meaning::Whiteout(b"b"));
        assert_eq!(meaning(b"a/.wh..b").unwrap(), Meaning::Whiteout(b".b"));
        assert_eq!(meaning(b"a/.wh..wh..opq").unwrap(), Meaning::Opaque);
        assert_eq!(meaning(b".wh..wh.plnk/12.3").unwrap(), Meaning::Skip);
        assert_eq!(meaning(b".wh..wh.aufs").unwrap(), Meaning::Skip);
        for bad in [&b"a/.wh."[..], b"a/.wh..", b"a/.wh...", b".wh.a/b"] {
            assert!(matches!(meaning(bad), Err(Error::Whiteout { .. })));
        }
    }

    #[test]
    fn below_means_by_component() {
        assert!(is_within(b"a/b", b"a"));
        assert!(is_within(b"a", b"a"));
        assert!(is_within(b"a", b""));
        assert!(!is_within(b"ab", b"a"));
    }
}
