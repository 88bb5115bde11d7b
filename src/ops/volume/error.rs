//! Why a volume cannot be what it should be.

use std::path::PathBuf;

/// What is wrong with a volume, or with what was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// An option of `volume create`.
    #[error("volume option {0}: {1}")]
    Option(String, &'static str),
    /// A place that an image declares to be a volume.
    #[error("the image declares a volume at {path:?}: {why}")]
    Declared {
        /// As the image says it.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A mount of another container that cannot be repeated.
    #[error("the volumes of container {container}: {what}")]
    From {
        /// As the user named it.
        container: String,
        /// What is wrong.
        what: &'static str,
    },
    /// The files that it should begin with.
    #[error("cannot fill volume {name}: {what}")]
    Fill {
        /// The volume.
        name: String,
        /// The system call, the path, and why.
        what: String,
    },
    /// Its owner.
    #[error("cannot change the owners in {}: {what}", path.display())]
    Give {
        /// The directory.
        path: PathBuf,
        /// Why.
        what: String,
    },
    /// An archive for a volume that has a directory of the host for its content.
    #[error("volume {0} is a directory of the host: use tar(1) there")]
    NotOurs(String),
}

impl VolumeError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Declared { .. } => "--image-volume ignore runs it without its volumes".to_owned(),
            Self::Give { .. } => {
                "option U changes the owners of all files of a directory: leave it out, or give one that is yours"
                    .to_owned()
            }
            _ => return None,
        })
    }
}
