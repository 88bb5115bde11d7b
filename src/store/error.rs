//! The error of every store operation: what was attempted, on which path, and why it failed.

use std::io;
use std::path::{Path, PathBuf};

use crate::oci::Digest;

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("cannot {op} {path}", path = .path.display())]
    Io {
        /// What was attempted, as a verb phrase.
        op: &'static str,
        /// The file or directory it was attempted on.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// What is no longer needed could not be removed.
    #[error("cannot remove {path}", path = .path.display())]
    RemoveTree {
        /// Root of the tree.
        path: PathBuf,
        /// Why.
        source: crate::layer::Error,
    },
    /// `meta.json` names a format that this program does not know.
    #[error("the store at {path} has format version {found}; this program reads version {known}",
        path = .path.display(), known = super::VERSION)]
    Version {
        /// Root of the store.
        path: PathBuf,
        /// Version that was found.
        found: u64,
    },
    /// `meta.json` is there and cannot be understood.
    #[error("{path} is damaged", path = .path.display())]
    Meta {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// A directory that has other things in it and no `meta.json`.
    #[error("{path} is not an image store and not empty (it has {stranger:?})", path = .path.display())]
    NotAStore {
        /// The directory.
        path: PathBuf,
        /// One of the things in it.
        stranger: String,
    },
    /// An additional store that does not let us read.
    #[error("{path} is not a store that is shared with you", path = .0.display())]
    NotShared(PathBuf),
    /// An additional store that anybody may change.
    #[error("{path} can be written by everybody, so that nobody can be trusted for what is in it", path = .0.display())]
    AnybodysStore(PathBuf),
    /// Somebody else held a lock for too long.
    #[error("timeout ({seconds}s) when waiting for the lock {path}{held}", path = .path.display(),
        held = .holder.as_ref().map(|h| format!(", held by {h}")).unwrap_or_default())]
    LockTimeout {
        /// The locked file or directory.
        path: PathBuf,
        /// How long we waited.
        seconds: u64,
        /// Process that holds it, when `/proc/locks` tells.
        holder: Option<String>,
    },
    /// `CORACLE_LOCK_TIMEOUT` is not a number.
    #[error("CORACLE_LOCK_TIMEOUT={0:?} is not a number of seconds")]
    LockTimeoutValue(String),
    /// The blob is not there.
    #[error("blob {0} is not in the store")]
    BlobMissing(Digest),
    /// The blob is larger than the reader can take.
    #[error("blob {digest} has {size} bytes; the limit is {max}")]
    BlobTooLarge {
        /// The blob.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
        /// Most bytes that the caller takes.
        max: u64,
    },
    /// The bytes on disk are not those that the name promises.
    #[error("blob {digest} is damaged on disk: its content has the digest {actual}")]
    BlobCorrupt {
        /// What the file is named after.
        digest: Digest,
        /// What it holds.
        actual: Digest,
    },
    /// What arrived is not what was promised.
    #[error("wrong content: want digest {digest}, got {actual}")]
    WrongDigest {
        /// The digest that the manifest promised.
        digest: Digest,
        /// The digest of the bytes that arrived.
        actual: Digest,
    },
    /// Fewer bytes arrived than promised.
    #[error("blob {digest} ends after {have} bytes of {want}")]
    Truncated {
        /// The blob.
        digest: Digest,
        /// Bytes that arrived.
        have: u64,
        /// Bytes that were promised.
        want: u64,
    },
    /// More bytes arrived than promised.
    #[error("blob {digest} is longer than the {want} bytes that its descriptor promises")]
    Overlong {
        /// The blob.
        digest: Digest,
        /// Bytes that were promised.
        want: u64,
    },
    /// The blob is there and sound, and has another size than a descriptor says.
    #[error("blob {digest} has {have} bytes, not the {want} that its descriptor promises")]
    WrongSize {
        /// The blob.
        digest: Digest,
        /// Its real size in bytes.
        have: u64,
        /// The promised size.
        want: u64,
    },
    /// A file of the store is not valid JSON of the expected shape.
    #[error("{path} is damaged", path = .path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// No image has this name or id.
    #[error("{name}: image not known")]
    NoSuchImage {
        /// What the user wrote.
        name: String,
        /// The image `localhost/NAME`, if there is one.
        local: Option<String>,
    },
    /// More than one image has an id that starts like this.
    #[error("{prefix}: the id is ambiguous, it fits {}", .matches.join(", "))]
    AmbiguousImage {
        /// What the user wrote.
        prefix: String,
        /// Short ids that fit.
        matches: Vec<String>,
    },
    /// No container has this name or id.
    #[error("{0}: no such container")]
    NoSuchContainer(String),
    /// More than one container has an id that starts like this.
    #[error("{prefix}: the id is ambiguous, it fits {}", .matches.join(", "))]
    AmbiguousContainer {
        /// What the user wrote.
        prefix: String,
        /// Short ids that fit.
        matches: Vec<String>,
    },
    /// A container of this name or id is there already.
    #[error("the container name {name:?} is in use by container {id}")]
    NameTaken {
        /// The name.
        name: String,
        /// Who has it.
        id: String,
    },
    /// A container id that is none.
    #[error("{0:?} is not a container id: want 12 to 64 lower-case hex digits")]
    BadContainerId(String),
    /// A container name outside the grammar.
    #[error(
        "{0:?} is not a container name: want a letter or digit, then letters, digits, _ . or -"
    )]
    BadContainerName(String),
    /// A volume name outside the grammar.
    #[error(
        "{0:?} is not a volume name: names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*, with 200 characters at most"
    )]
    BadVolumeName(String),
    /// No volume has this name.
    #[error("no volume with name {0:?} found: no such volume")]
    NoSuchVolume(String),
    /// Several names of volumes start like this.
    #[error("{prefix}: the name is ambiguous, it fits {}", .matches.join(", "))]
    AmbiguousVolume {
        /// What the user wrote.
        prefix: String,
        /// Names that fit.
        matches: Vec<String>,
    },
    /// There is one of this name.
    #[error("volume with name {0} already exists: volume already exists")]
    VolumeExists(String),
    /// A secret's name outside podman's grammar.
    #[error(
        "{0:?} is not a secret name: only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]"
    )]
    BadSecretName(String),
    /// No secret has this name, and no id, or more than one, starts like this.
    #[error("no secret with name or id {0:?}: no such secret")]
    NoSuchSecret(String),
    /// There is one of this name.
    #[error("{0}: secret name in use")]
    SecretExists(String),
    /// A container was made with it.
    #[error(
        "volume {name} is being used by the following container(s): {container}: volume is being used"
    )]
    VolumeInUse {
        /// The volume.
        name: String,
        /// The container's id.
        container: String,
    },
    /// Somebody fills it, imports or exports it.
    #[error("volume {0} is in use by another process")]
    VolumeBusy(String),
    /// The container runs, or somebody works on it.
    #[error("container {0} is in use by another process")]
    ContainerBusy(String),
}

impl Error {
    /// What the user can do about it, if we know.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Io { source, path, .. } => match source.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
                Some(rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT) => Some(format!(
                    "the file system or quota of {} is full; remove images (coracle rmi) or use --root on another disk",
                    path.display()
                )),
                Some(rustix::io::Errno::NOLCK | rustix::io::Errno::OPNOTSUPP) => Some(
                    "this file system may have no working flock(2); use --root on a local disk".to_owned(),
                ),
                Some(rustix::io::Errno::ROFS | rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => Some(
                    "the store must be writable; choose another place with --root or CORACLE_ROOT".to_owned(),
                ),
                _ => None,
            },
            Self::Version { .. } => {
                Some("use the program version that made it, or another place with --root".to_owned())
            }
            Self::NotAStore { .. } => {
                Some("choose an empty or new directory with --root or CORACLE_ROOT".to_owned())
            }
            Self::NotShared(path) => Some(format!(
                "its owner can share it: coracle --root {} system share",
                path.display()
            )),
            Self::AnybodysStore(path) => Some(format!("chmod o-w {}", path.display())),
            Self::LockTimeout { .. } => Some(
                "is another coracle process running? Set CORACLE_LOCK_TIMEOUT (seconds) to wait longer"
                    .to_owned(),
            ),
            Self::BlobCorrupt { .. } | Self::BlobMissing(_) => {
                Some("pull the image again to replace it".to_owned())
            }
            Self::Record { path, .. } => {
                Some(format!("remove {} and pull the image again", path.display()))
            }
            Self::Meta { path, .. } => Some(format!(
                "if this is a coracle store, restore {} as {{\"version\":{}}}",
                path.display(),
                super::VERSION
            )),
            Self::NoSuchImage { local: Some(local), .. } => Some(format!("there is {local}")),
            Self::NoSuchImage { name, .. } => Some(format!("coracle pull {name}")),
            Self::VolumeInUse { .. } => {
                Some("remove the container first; --force does that, too".to_owned())
            }
            Self::SecretExists(_) => Some("--replace puts the new one in its place".to_owned()),
            Self::VolumeExists(_) => Some("--ignore takes the one that is there".to_owned()),
            Self::AmbiguousVolume { .. } => Some("give more of the name".to_owned()),
            Self::AmbiguousImage { .. } | Self::AmbiguousContainer { .. } => {
                Some("give more digits of the id".to_owned())
            }
            Self::NameTaken { .. } => Some("remove that container or choose another name".to_owned()),
            _ => None,
        }
    }
}

/// For `map_err`: what was attempted, and on what.
pub(super) fn io<E: Into<io::Error>>(op: &'static str, path: &Path) -> impl FnOnce(E) -> Error {
    move |source| Error::Io {
        op,
        path: path.to_owned(),
        source: source.into(),
    }
}
