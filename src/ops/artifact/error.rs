//! What can be wrong with an artifact.

use std::path::PathBuf;

/// Why an artifact was neither pushed nor pulled.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// A name that a file must not get.
    #[error("the artifact has a file called {0:?}, which is no name for one below a directory")]
    Name(String),
    /// Two files of one name.
    #[error("the artifact has two files called {0:?}")]
    Twice(String),
    /// Nothing is overwritten unasked.
    #[error("there is {path} already", path = .0.display())]
    Exists(PathBuf),
    /// More bytes than the user wants.
    #[error("the artifact has {size} bytes; the limit is {max}")]
    TooLarge {
        /// Bytes of all its files, as its manifest says.
        size: u64,
        /// The limit.
        max: u64,
    },
    /// More files than anybody needs.
    #[error("the artifact would have more than {0} files")]
    TooMany(usize),
    /// An index.
    #[error("{0} is an index of several manifests, not an artifact")]
    Index(String),
    /// What is to be pushed is no regular file.
    #[error("{path} is not a regular file", path = .0.display())]
    NotAFile(PathBuf),
    /// It changed between two looks.
    #[error("{path} changes while it is pushed", path = .0.display())]
    Changes(PathBuf),
    /// Not `type/subtype`.
    #[error("{0:?} is not a media type: want TYPE/SUBTYPE")]
    MediaType(String),
    /// The subject is elsewhere.
    #[error(
        "{subject} is not in the repository {repository}: what refers to it must be there, too"
    )]
    Elsewhere {
        /// What is referred to.
        subject: String,
        /// Where the artifact goes.
        repository: String,
    },
}

impl ArtifactError {
    /// What the user can do about it, if we know.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Name(_) | Self::Twice(_) => "nothing was written".to_owned(),
            Self::Exists(_) => "nothing was written; --overwrite replaces files".to_owned(),
            Self::TooLarge { .. } => "--max-size allows more".to_owned(),
            Self::Index(_) => {
                "`coracle inspect --raw` shows it; name one of its digests".to_owned()
            }
            Self::NotAFile(_) => "pack a directory first: tar -cf NAME.tar DIR".to_owned(),
            _ => return None,
        })
    }
}
