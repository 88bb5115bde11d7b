//! What can be wrong with a list of images.

use crate::oci::{Digest, MANIFEST_MAX};

/// Why a list cannot be made, changed or used.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// It is an image.
    #[error("{0} is an image, not a list of images")]
    NotAList(String),
    /// A list that has lost its name cannot be given another state.
    #[error("the list {0} has no name")]
    Nameless(String),
    /// There is one already.
    #[error("there is a list called {0}")]
    Exists(String),
    /// An image has the name.
    #[error("there is an image called {0}")]
    NameTaken(String),
    /// Nothing in the list is called that.
    #[error("{list} has no entry {entry}")]
    NoEntry {
        /// The list.
        list: String,
        /// A digest, or a name.
        entry: String,
    },
    /// An entry that is not in the store.
    #[error("the image for {platform} of the list {list} is not in the store")]
    NotHere {
        /// The list.
        list: String,
        /// What was wanted.
        platform: String,
        /// Where it can be had.
        at: Option<String>,
    },
    /// Neither the store nor a registry is known to have it.
    #[error("nobody knows where {digest} is, which {image} names")]
    Nowhere {
        /// A manifest.
        digest: Digest,
        /// The index.
        image: String,
    },
    /// A limit.
    #[error("the list would have more than {max} entries")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// A limit.
    #[error("the list would have {0} bytes; registries take {MANIFEST_MAX}")]
    TooLarge(usize),
    /// A place from which nothing is added.
    #[error("{0}: only images of the store and of registries are added to a list")]
    Place(String),
    /// Only a registry takes it.
    #[error("a whole list is copied to a registry only")]
    Whole,
}

impl ListError {
    /// What the user can do about it, if we know.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotAList(name) => format!("coracle manifest create LIST {name}"),
            Self::Nameless(id) => format!("give it one: coracle tag {id} NAME"),
            Self::Exists(name) => format!(
                "add to it with --amend, or remove it first: coracle manifest rm {name}"
            ),
            Self::NameTaken(_) => "choose another name for the list".to_owned(),
            Self::NoEntry { list, .. } => {
                format!("its entries are shown by: coracle manifest inspect {list}")
            }
            Self::NotHere { at: Some(at), .. } => format!("coracle pull {at}"),
            Self::Place(place) => format!("bring it into the store first: coracle pull {place}"),
            Self::Whole => {
                "without --all it is the image of one platform; or push the list to a registry, and copy it from there"
                    .to_owned()
            }
            _ => return None,
        })
    }
}
