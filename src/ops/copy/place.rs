//! Names of places: containers-transports(5). Pure.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::oci::Reference;
use crate::ops::Error;

/// Where an image is, or goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `docker://NAME`.
    Registry(Reference),
    /// `oci:DIR[:TAG]`.
    OciDir {
        /// The layout.
        path: PathBuf,
        /// An image of it.
        tag: Option<String>,
    },
    /// `oci-archive:FILE[:TAG]`.
    OciArchive {
        /// The layout in a tar.
        path: PathBuf,
        /// An image of it.
        tag: Option<String>,
    },
    /// `docker-archive:FILE[:NAME]`: only from there.
    DockerArchive {
        /// The tar.
        path: PathBuf,
        /// An image of it.
        name: Option<Reference>,
    },
    /// `dir:DIR`.
    Dir(PathBuf),
    /// Without any of these words: a name, or from there an id, of our own store.
    Store(String),
}

/// A tag behind the last colon, unless a slash follows.
fn tagged(rest: &str) -> (PathBuf, Option<String>) {
    match rest.rsplit_once(':') {
        Some((path, tag)) if !tag.is_empty() && !tag.contains('/') => {
            (path.into(), Some(tag.to_owned()))
        }
        _ => (rest.into(), None),
    }
}

impl FromStr for Place {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        if let Some(name) = s.strip_prefix("docker://") {
            return Ok(Self::Registry(name.parse()?));
        }
        Ok(match s.split_once(':') {
            Some(("oci", rest)) => {
                let (path, tag) = tagged(rest);
                Self::OciDir { path, tag }
            }
            Some(("oci-archive", rest)) => {
                let (path, tag) = tagged(rest);
                Self::OciArchive { path, tag }
            }
            Some(("docker-archive", rest)) => match rest.split_once(':') {
                Some((path, name)) => Self::DockerArchive {
                    path: path.into(),
                    name: Some(name.parse()?),
                },
                None => Self::DockerArchive {
                    path: rest.into(),
                    name: None,
                },
            },
            Some(("dir", rest)) => Self::Dir(rest.into()),
            Some(("containers-storage" | "docker-daemon" | "ostree" | "sif", _)) => {
                return Err(Error::Transport(s.to_owned()));
            }
            _ => Self::Store(s.to_owned()),
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(reference) => write!(f, "docker://{reference}"),
            Self::OciDir { path, .. } => write!(f, "oci:{}", path.display()),
            Self::OciArchive { path, .. } => write!(f, "oci-archive:{}", path.display()),
            Self::DockerArchive { path, .. } => write!(f, "docker-archive:{}", path.display()),
            Self::Dir(path) => write!(f, "dir:{}", path.display()),
            Self::Store(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_by_their_first_word() {
        let place = |s: &str| s.parse::<Place>().unwrap();
        let name = |s: &str| s.parse::<Reference>().unwrap();
        assert_eq!(
            place("docker://quay.io/a/b:1"),
            Place::Registry(name("quay.io/a/b:1"))
        );
        let oci = |path: &str, tag: Option<&str>| Place::OciDir {
            path: path.into(),
            tag: tag.map(str::to_owned),
        };
        assert_eq!(place("oci:d"), oci("d", None));
        assert_eq!(place("oci:/a:b/c:1.2"), oci("/a:b/c", Some("1.2")));
        assert_eq!(place("oci:/a:b/c"), oci("/a:b/c", None));
        assert_eq!(
            place("docker-archive:f.tar:example.com/x:1"),
            Place::DockerArchive {
                path: "f.tar".into(),
                name: Some(name("example.com/x:1"))
            }
        );
        assert_eq!(place("dir:x:y"), Place::Dir("x:y".into()));
        assert_eq!(place("debian:12"), Place::Store("debian:12".into()));
        assert_eq!(
            place("localhost:5000/x"),
            Place::Store("localhost:5000/x".into())
        );
        for bad in ["docker://", "docker://Upper", "containers-storage:x"] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }
}
