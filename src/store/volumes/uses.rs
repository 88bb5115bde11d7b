//! What containers mount: recorded in their configurations, where it pins volumes and images.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Volumes;
use crate::store::{ContainerEntry, Containers, Error, ImageRecord};

/// Annotation of a container's configuration that holds what its user had mounted, a JSON array of [`Mounted`].
/// Left out where that is nothing.
pub const MOUNTS_ANNOTATION: &str = "io.coracle.mounts";

/// What a mount is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    /// A file or directory of the host.
    Bind,
    /// A volume.
    Volume,
    /// The content of an image.
    Image,
    /// A file system in memory.
    Tmpfs,
}

impl MountKind {
    /// Docker's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Volume => "volume",
            Self::Image => "image",
            Self::Tmpfs => "tmpfs",
        }
    }
}

/// One mount of a container that its user, or its image, asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mounted {
    /// What it is made of.
    #[serde(rename = "type")]
    pub kind: MountKind,
    /// Of a volume or an image.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// On the host, if it has one place there.
    #[serde(default)]
    pub source: PathBuf,
    /// In the container.
    pub target: PathBuf,
    /// As they were asked for.
    #[serde(default)]
    pub options: Vec<String>,
    /// The image, which stays as long as the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageRecord>,
}

impl Mounted {
    /// Whether the container can write to it.
    pub fn is_writable(&self) -> bool {
        let has = |word: &str| self.options.iter().any(|o| o == word);
        match self.kind {
            MountKind::Image => has("rw"),
            _ => !(has("ro") || has("rro")),
        }
    }
}

impl Containers<'_> {
    /// What the user had mounted in a container.
    pub fn mounts(&self, entry: &ContainerEntry) -> Result<Vec<Mounted>, Error> {
        let json = self.annotation(entry, MOUNTS_ANNOTATION)?;
        let mounts = json.map(|json| {
            serde_json::from_str(&json).map_err(|source| Error::Record {
                path: entry.path.join(crate::store::containers::CONFIG),
                source,
            })
        });
        Ok(mounts.transpose()?.unwrap_or_default())
    }
}

impl Volumes<'_> {
    /// The ids of the containers that name it.
    pub fn users(&self, name: &str) -> Result<Vec<String>, Error> {
        let all = self.all_users()?.into_iter();
        Ok(all.filter(|(n, _)| n == name).map(|(_, id)| id).collect())
    }

    /// All volumes that containers name, with the id of the container, once for each.
    pub fn all_users(&self) -> Result<Vec<(String, String)>, Error> {
        let containers = self.store.containers();
        let mut all = Vec::new();
        for entry in containers.list()? {
            let mut names: Vec<String> = volumes_of(containers.mounts(&entry)?);
            names.sort();
            names.dedup();
            all.extend(names.into_iter().map(|name| (name, entry.id.clone())));
        }
        Ok(all)
    }
}

/// The names of the volumes among mounts.
pub fn volumes_of(mounts: Vec<Mounted>) -> Vec<String> {
    let volumes = mounts.into_iter().filter(|m| m.kind == MountKind::Volume);
    volumes.map(|m| m.name).collect()
}
