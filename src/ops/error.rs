//! The error of every operation. The kind of an error, never its text, decides the exit code.

/// Exit code when coracle itself failed (docker-run(1), "Exit status").
pub(crate) const EXIT_FAILED: u8 = 125;
/// Exit code when the program was found but could not be executed.
pub(crate) const EXIT_CANNOT_EXEC: u8 = 126;
/// Exit code when the program was not found.
pub(crate) const EXIT_NOT_FOUND: u8 = 127;

use std::io;
use std::path::PathBuf;

use crate::oci::Digest;

/// What any operation can fail with: the error of the room that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name that is no image name.
    #[error(transparent)]
    Reference(#[from] crate::oci::ReferenceError),
    /// An image that is not signed as it must be.
    #[error(transparent)]
    Trust(#[from] crate::trust::Error),
    /// A platform that is none.
    #[error(transparent)]
    Platform(#[from] crate::oci::PlatformError),
    /// A manifest that cannot be used.
    #[error(transparent)]
    Manifest(#[from] crate::oci::ManifestError),
    /// A digest that is none.
    #[error(transparent)]
    Digest(#[from] crate::oci::DigestError),
    /// No place for the user's data.
    #[error(transparent)]
    Dirs(#[from] crate::config::DirsError),
    /// Credentials that cannot be read.
    #[error(transparent)]
    Auth(#[from] crate::config::auth::AuthError),
    /// Registries that cannot be made out.
    #[error(transparent)]
    Registries(#[from] crate::config::registries::RegistriesError),
    /// A containers.conf that cannot be followed.
    #[error(transparent)]
    ContainersConf(#[from] crate::config::containers_conf::ContainersConfError),
    /// A short name that none of its registries has.
    #[error("{name} cannot be had from any of its registries:\n{}", .tried.join("\n"))]
    NoCandidate {
        /// As the user typed it.
        name: String,
        /// Each image that it could mean, and why it was not.
        tried: Vec<String>,
    },
    /// A build that failed.
    #[error(transparent)]
    Build(#[from] super::build::BuildError),
    /// A login that is none, or is not there.
    #[error(transparent)]
    Login(#[from] super::login::LoginError),
    /// Nothing is called so.
    #[error("no such object: {0:?} is neither a container nor an image")]
    NoSuchObject(String),
    /// The youngest was asked for, and there is none.
    #[error("there are no containers")]
    NoContainers,
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
    /// The registry did not give it.
    #[error(transparent)]
    Registry(#[from] crate::registry::Error),
    /// A layer that cannot be unpacked.
    #[error(transparent)]
    Layer(crate::layer::Error),
    /// An image, archive or layout that is not what it should be.
    #[error(transparent)]
    Intake(#[from] super::IntakeError),
    /// An image that may not be removed.
    #[error(transparent)]
    Remove(#[from] super::rmi::RemoveError),
    /// A container that may not be removed.
    #[error(transparent)]
    RemoveContainer(#[from] super::rm::RemoveContainerError),
    /// A volume.
    #[error(transparent)]
    Volume(#[from] super::volume::VolumeError),
    /// What a container wrote.
    #[error(transparent)]
    Logs(#[from] super::logs::LogsError),
    /// A unit for systemd.
    #[error(transparent)]
    Systemd(#[from] super::systemd::SystemdError),
    /// An artifact.
    #[error(transparent)]
    Artifact(#[from] super::artifact::ArtifactError),
    /// A secret.
    #[error(transparent)]
    Secret(#[from] super::secret::SecretError),
    /// Files in or out of a container.
    #[error(transparent)]
    Cp(#[from] super::cp::CpError),
    /// A list of images.
    #[error(transparent)]
    List(#[from] super::list::ListError),
    /// Files that cannot be packed.
    #[error(transparent)]
    Pack(#[from] crate::layer::pack::Error),
    /// A layer's tar that cannot be made again.
    #[error(transparent)]
    Rebuild(#[from] crate::layer::RebuildError),
    /// A sidecar.
    #[error(transparent)]
    Owners(#[from] crate::owners::Error),
    /// Owners of a copied root file system.
    #[error("cannot take over the owners of the image's files: {0}")]
    Settle(String),
    /// A container that was made from a directory.
    #[error("container {0} was made from a directory (--rootfs), and wrote to it")]
    NoImageBelow(String),
    /// A container that ended and went while it was read.
    #[error("container {0} was removed while it was read")]
    RemovedMeanwhile(String),
    /// A name that could be a container's or an image's.
    #[error("there is neither a container nor an image called {0:?}")]
    NeitherNor(String),
    /// Docker's manifest has no type for a layer of the base image.
    #[error("a layer of the image is compressed with zstd, which docker's format does not have")]
    DockerZstd,
    /// Nobody said where an image goes.
    #[error("{0} has no name that says where to push it")]
    NoDestination(String),
    /// A digest cannot be chosen.
    #[error("cannot push to {0}: its digest is what comes out of a push")]
    PushDigest(crate::oci::Reference),
    /// A transport of other tools.
    #[error("{0:?}: images are neither copied from such a place nor to it")]
    Transport(String),
    /// Nothing is copied to such a place.
    #[error("cannot copy to {0}")]
    CopyTo(String),
    /// Nothing is copied from there to the store.
    #[error("cannot copy from {0} to the store")]
    CopyFrom(String),
    /// The store has images of one platform each.
    #[error("the store cannot take a whole index")]
    CopyAll,
    /// A format that holds one image.
    #[error("--format {0} holds one image")]
    OneImage(&'static str),
    /// A stream that failed below all of them.
    #[error("cannot read the data")]
    Stream(#[source] io::Error),
    /// Starting a container.
    #[error(transparent)]
    Runtime(#[from] crate::runtime::Error),
    /// Watching a container.
    #[error(transparent)]
    Monitor(#[from] crate::monitor::Error),
    /// Copying layers to a root file system.
    #[error(transparent)]
    Flatten(#[from] crate::rootfs::FlattenError),
    /// Reading a file of an image.
    #[error(transparent)]
    View(#[from] crate::rootfs::ViewError),
    /// A file of the user's or of a container.
    #[error("cannot {what} {}: {source}", path.display())]
    File {
        /// A verb.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The image's configuration blob.
    #[error("the configuration of image {} is not valid: {source}", id.short())]
    ImageConfig {
        /// Image id.
        id: Digest,
        /// Why.
        source: serde_json::Error,
    },
    /// An annotation that is ours.
    #[error("annotation {0:?}: names that begin with io.coracle. are coracle's own")]
    ReservedAnnotation(String),
    /// Building the runtime configuration.
    #[error("cannot write the container's configuration: {0}")]
    Spec(String),
    /// The image's passwd file has no such user.
    #[error("user {0:?} is not in the image's /etc/passwd")]
    NoSuchUser(String),
    /// The image's group file has no such group.
    #[error("group {0:?} is not in the image's /etc/group")]
    NoSuchGroup(String),
    /// Groups are to be added, and identities cannot be emulated.
    #[error(
        "cannot add groups: a container with one id has one group, and users and groups are not emulated here"
    )]
    NoGroups(#[source] crate::runtime::Error),
    /// Neither the image nor the user names a program.
    #[error("the image names no program to run")]
    NoCommand,
    /// User namespaces are not to be had here.
    #[error("cannot make a user namespace: {source}: {}", finding.detail)]
    NoNamespaces {
        /// What a probe found.
        finding: crate::host::Finding,
        /// What the kernel said.
        source: io::Error,
    },
    /// It has no monitor.
    #[error("container {0} is not running")]
    NotRunning(String),
    /// Somebody else has its lock, and does not run it.
    #[error("container {0} is in use by another command")]
    Busy(String),
    /// One that is removed at its end is not started again.
    #[error("container {0} removes itself when it ends (--rm), and cannot be started again")]
    RemovesItself(String),
    /// It has one that is stopped, or busy.
    #[error("the monitor of container {0} does not answer")]
    NoAnswer(String),
    /// It has one.
    #[error("container {0} is running already")]
    AlreadyRunning(String),
    /// It is one of `run --rm` in the foreground, or was made by an older version.
    #[error("container {0} cannot be started again: it has no record of its options")]
    NotStartable(String),
    /// It is paused.
    #[error("container {0} is paused already")]
    AlreadyPaused(String),
    /// It is not.
    #[error("container {0} is not paused")]
    NotPaused(String),
    /// It has no processes of its own to stop.
    #[error(
        "container {0} shares the pid namespace of the host: its processes cannot be told from others"
    )]
    SharedPids(String),
    /// Nobody tests it.
    #[error("container {0} has no health check")]
    NoHealthcheck(String),
    /// Talking to a monitor.
    #[error("cannot reach the monitor of container {0}: {1}")]
    Control(String, #[source] io::Error),
    /// Sending a signal.
    #[error("cannot send a signal to {0}: {1}")]
    Signal(String, #[source] io::Error),
    /// Not even SIGKILL ended it.
    #[error("container {0} does not end")]
    WillNotEnd(String),
    /// The monitor died before it could say anything.
    #[error("the monitor of the container ended before the container was started")]
    MonitorVanished,
    /// What a monitor said.
    #[error("{}", .0.message)]
    Told(super::detached::Told),
    /// signalfd(2) and the like.
    #[error("cannot prepare to watch a container: {0}")]
    Prepare(#[source] io::Error),
}

impl Error {
    pub(super) fn file(what: &'static str, path: &std::path::Path, source: io::Error) -> Self {
        Self::File {
            what,
            path: path.to_owned(),
            source,
        }
    }

    /// From what the reader of a stream returned: the error of ours that is inside, if one is.
    pub(super) fn from_reader(e: io::Error) -> Self {
        let e = match e.downcast::<crate::store::Error>() {
            Ok(store) => return store.into(),
            Err(e) => e,
        };
        match crate::registry::Error::from_io(e) {
            Ok(registry) => registry.into(),
            Err(e) => Self::Stream(e),
        }
    }

    /// From unpacking: what the blob's reader said comes first, if that was the cause.
    pub(super) fn from_layer(e: crate::layer::Error) -> Self {
        match e {
            crate::layer::Error::Read(e) => Self::from_reader(e),
            e => Self::Layer(e),
        }
    }

    /// The message with those of its sources, each once.
    pub fn whole(&self) -> String {
        let mut message = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(s) = source {
            let text = s.to_string();
            // `#[error(transparent)]` and "{0}" repeat their source.
            if !message.ends_with(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            source = s.source();
        }
        message
    }

    /// Whether a registry did not accept a login.
    pub fn is_refused_login(&self) -> bool {
        matches!(
            self,
            Self::Registry(crate::registry::Error::LoginRefused { .. })
        )
    }

    /// The exit code for this error when it ends the program (docker-run(1), "Exit status").
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Runtime(crate::runtime::Error::NotFound(_)) => EXIT_NOT_FOUND,
            Self::Runtime(crate::runtime::Error::CannotExecute { .. }) => EXIT_CANNOT_EXEC,
            Self::Told(told) => told.code,
            Self::Build(e) => e.exit_code().unwrap_or(EXIT_FAILED),
            _ => EXIT_FAILED,
        }
    }

    /// Whether the image lacks a signature, rather than that something failed.
    pub fn is_not_signed(&self) -> bool {
        use crate::trust::Error as Trust;
        let Self::Trust(e) = self else {
            return false;
        };
        matches!(e, Trust::NotSigned { .. } | Trust::NotAccepted { .. })
    }

    /// What the user can do about it, if we know.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(e) => e.hint(),
            Self::Trust(e) => e.hint(),
            Self::Runtime(e) => e.hint(),
            Self::Build(e) => e.hint(),
            Self::NoNamespaces { finding, .. } => Some(match &finding.admin {
                Some(admin) => format!("an admin can allow it: {admin}"),
                None => "`coracle doctor` says what this machine allows".to_owned(),
            }),
            Self::Told(told) => told.hint.clone(),
            Self::NoAnswer(name) => Some(format!(
                "it may be stopped (ctrl-z, SIGSTOP) or starting still; coracle rm --force {name} ends it"
            )),
            Self::WillNotEnd(_) => Some(
                "a process of it waits for a device or a file system that does not answer".to_owned(),
            ),
            Self::NoCommand => {
                Some("add one after the image: coracle run IMAGE PROGRAM".to_owned())
            }
            Self::NoSuchUser(_) | Self::NoSuchGroup(_) => {
                Some("use a number, which need not be in the file".to_owned())
            }
            Self::NoGroups(_) => Some("`coracle doctor` tells why".to_owned()),
            Self::Dirs(e) => e.hint(),
            Self::Auth(e) => e.hint(),
            Self::Registries(e) => e.hint(),
            Self::Login(e) => e.hint(),
            Self::Registry(e) => e.hint(),
            Self::Layer(e) => e.hint(),
            Self::Intake(e) => e.hint(),
            Self::Remove(e) => e.hint(),
            Self::RemoveContainer(e) => e.hint(),
            Self::Volume(e) => e.hint(),
            Self::Logs(e) => e.hint(),
            Self::Systemd(e) => e.hint(),
            Self::Artifact(e) => e.hint(),
            Self::List(e) => e.hint(),
            Self::Cp(e) => e.hint(),
            Self::Pack(e) => e.hint(),
            Self::Rebuild(e) => e.hint(),
            Self::NoImageBelow(_) => Some("its files are in that directory: use tar(1)".to_owned()),
            Self::NoDestination(name) => {
                Some(format!("coracle push {name} REGISTRY/REPOSITORY:TAG"))
            }
            Self::PushDigest(_) => Some("give a name with a tag".to_owned()),
            Self::CopyTo(_) => Some(
                "want docker://NAME, oci:DIR, oci-archive:FILE, dir:DIR or a name in the store; an image of the store \
                 keeps its own name in a layout or archive, so that no tag is given there"
                    .to_owned(),
            ),
            Self::CopyFrom(_) => Some("copy it to oci:DIR first".to_owned()),
            Self::DockerZstd => Some("use --format oci".to_owned()),
            _ => None,
        }
    }
}
