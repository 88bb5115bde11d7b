//! `coracle cp [-a] [--overwrite] SRC DEST`: podman's options, and docker's `-L`.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use super::{Failure, Global, progress};
use crate::ops::cp::{self, End, Options};

/// Copy files between a container and the outside
///
/// One of SOURCE and DESTINATION is CONTAINER:PATH, or both are; the other is a path here, or "-" for a tar on
/// standard input or output. A path in a container is relative to the container's working directory. The container
/// may run, be paused, or not run; volumes and other mounts are seen as it sees them.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What comes into a container belongs to the user whom its program runs as; with =false it keeps its owners
    #[arg(
        short,
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value_t = true,
        default_missing_value = "true",
        action = clap::ArgAction::Set
    )]
    archive: bool,
    /// Follow a symbolic link that SOURCE is, which is done in any case
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Replace directories by files, and files by directories
    #[arg(long)]
    overwrite: bool,
    /// CONTAINER:PATH, a path, or - for a tar
    source: OsString,
    /// CONTAINER:PATH, a path, or - for a tar
    #[arg(value_name = "DESTINATION")]
    dest: OsString,
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let options = Options {
        from: end(&args.source)?,
        to: end(&args.dest)?,
        archive: args.archive,
        overwrite: args.overwrite,
    };
    if options.to == End::Stream && io::stdout().is_terminal() {
        return Err(Failure::usage("cannot write an archive to a terminal")
            .with_hint("redirect standard output, or give a path"));
    }
    cp::cp(&global.store()?, &options, &*progress::new(true))?;
    Ok(0)
}

/// A path that begins with a dot or a slash, or has no colon, is one here.
fn end(word: &OsStr) -> Result<End, Failure> {
    let bytes = word.as_bytes();
    let colon = match bytes.first() {
        None => return Err(Failure::usage("an empty path means nothing")),
        Some(b'.' | b'/') => None,
        Some(_) => bytes.iter().position(|b| *b == b':'),
    };
    let Some(colon) = colon else {
        return Ok(match bytes {
            b"-" => End::Stream,
            _ => End::Here(PathBuf::from(word)),
        });
    };
    match (str::from_utf8(&bytes[..colon]), &bytes[colon + 1..]) {
        (Ok(container), path) if !container.is_empty() && !path.is_empty() => Ok(End::In {
            container: container.to_owned(),
            path: PathBuf::from(OsStr::from_bytes(path)),
        }),
        _ => Err(Failure::usage(format!(
            "{word:?} lacks a container or a path: want CONTAINER:PATH"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_apart() {
        let inside = |container: &str, path: &str| End::In {
            container: container.to_owned(),
            path: path.into(),
        };
        for (word, want) in [
            ("-", Some(End::Stream)),
            ("a", Some(End::Here("a".into()))),
            ("./a:b", Some(End::Here("./a:b".into()))),
            ("/a:b", Some(End::Here("/a:b".into()))),
            ("c:b", Some(inside("c", "b"))),
            ("c:/b:d", Some(inside("c", "/b:d"))),
            ("c:", None),
            (":/x", None),
            ("", None),
        ] {
            assert_eq!(end(OsStr::new(word)).ok(), want, "{word}");
        }
    }
}
