//! What goes where, by what name: the rules of docker-cp(1) and podman-cp(1). Pure.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::wire::Seen;
use crate::layer::plain::Naming;

/// Why two paths do not go together.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A directory cannot become a file.
    #[error("{0:?} is no directory, and what is copied is one")]
    NeedsDirectory(PathBuf),
    /// A name that ends in a slash is that of a directory.
    #[error("there is no directory {0:?} to copy a file into")]
    NoDirectory(PathBuf),
    /// A tar has many names.
    #[error("a tar from standard input goes into a directory that is there already")]
    StreamNeedsDirectory,
}

/// Where a copy is to go.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Destination {
    pub seen: Seen,
    /// As it was typed.
    path: PathBuf,
}

/// What comes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Target {
    /// Into the destination, by these names.
    Into(Naming),
    /// Into the directory that the destination is in, by the destination's name.
    Beside,
}

impl Destination {
    pub(super) fn typed(seen: Seen, path: &Path) -> Self {
        Self {
            seen,
            path: path.to_owned(),
        }
    }
}

/// `source`, which is there and is called `name` (none: what is in it is meant), to `to`.
pub(super) fn decide(
    source: Seen,
    name: Option<&[u8]>,
    to: &Destination,
) -> Result<Target, Refusal> {
    let names_a_directory = to.path.as_os_str().as_bytes().ends_with(b"/");
    match (to.seen, name) {
        (Seen::Directory, Some(name)) => Ok(Target::Into(Naming::As(name.to_vec()))),
        (Seen::Directory, None) => Ok(Target::Into(Naming::Within)),
        (Seen::Other, _) if source == Seen::Directory => {
            Err(Refusal::NeedsDirectory(to.path.clone()))
        }
        (Seen::Missing, _) if source != Seen::Directory && names_a_directory => {
            Err(Refusal::NoDirectory(to.path.clone()))
        }
        (Seen::Other | Seen::Missing, _) => Ok(Target::Beside),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_of_docker() {
        use Seen::{Directory, Missing, Other};
        let named = Some(&b"d"[..]);
        let as_d = || Ok(Target::Into(Naming::As(b"d".to_vec())));
        let needs = |p: &str| Err(Refusal::NeedsDirectory(p.into()));
        for (source, name, there, to, want) in [
            (Other, named, Missing, "/x", Ok(Target::Beside)),
            (
                Other,
                named,
                Missing,
                "/x/",
                Err(Refusal::NoDirectory("/x/".into())),
            ),
            (Other, named, Other, "/x", Ok(Target::Beside)),
            (Other, named, Directory, "/x", as_d()),
            (Other, named, Directory, "/x/", as_d()),
            (Directory, named, Missing, "/x", Ok(Target::Beside)),
            (Directory, None, Missing, "/x", Ok(Target::Beside)),
            (Directory, named, Missing, "/x/", Ok(Target::Beside)),
            (Directory, named, Other, "/x", needs("/x")),
            (Directory, None, Other, "/x", needs("/x")),
            (Directory, named, Directory, "/x", as_d()),
            (
                Directory,
                None,
                Directory,
                "/x",
                Ok(Target::Into(Naming::Within)),
            ),
        ] {
            let destination = Destination::typed(there, Path::new(to));
            let got = decide(source, name, &destination);
            assert_eq!(got, want, "{source:?} {name:?} to {there:?} {to}");
        }
    }
}
