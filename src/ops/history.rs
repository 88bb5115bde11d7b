//! `history`: the steps that made an image, the youngest first. docker-image-history(1).

use serde::Deserialize;

use super::{Error, IntakeError, list, stored};
use crate::oci::Digest;
use crate::store::Store;

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The image, for the last step; the images in between are not kept.
    pub id: Option<Digest>,
    /// When (RFC 3339).
    pub created: Option<String>,
    /// The command.
    pub created_by: String,
    /// Bytes of the layer that it made, 0 if it made none.
    pub size: u64,
    /// What its maker had to say.
    pub comment: String,
}

#[derive(Deserialize)]
struct Config {
    history: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    created: Option<String>,
    created_by: Option<String>,
    comment: Option<String>,
    #[serde(default)]
    empty_layer: bool,
}

/// The steps of the image called `name` (name or id).
pub fn history(store: &Store, name: &str) -> Result<Vec<Step>, Error> {
    let image = list::image(store, name)?;
    let bytes = stored::config(store, &image.id)?;
    let config: Config = serde_json::from_slice(&bytes).map_err(IntakeError::Config)?;
    let mut layers = image.layers.iter();
    let mut steps: Vec<Step> = config
        .history
        .unwrap_or_default()
        .into_iter()
        .map(|entry| Step {
            id: None,
            created: entry.created,
            created_by: entry.created_by.unwrap_or_default(),
            // A history is a claim: there may be more steps than layers.
            size: if entry.empty_layer {
                0
            } else {
                layers.next().map_or(0, |l| l.size)
            },
            comment: entry.comment.unwrap_or_default(),
        })
        .collect();
    // Layers that the history does not mention, as from tools that write none.
    steps.extend(layers.map(|layer| Step {
        id: None,
        created: None,
        created_by: String::new(),
        size: layer.size,
        comment: String::new(),
    }));
    if let Some(last) = steps.last_mut() {
        last.id = Some(image.id.clone());
    }
    steps.reverse();
    Ok(steps)
}
