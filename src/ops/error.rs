//! The error of every operation. The kind of an error, never its text, decides the exit code.

/// Exit code when coracle itself failed (docker-run(1), "Exit status").
pub(crate) const EXIT_FAILED: u8 = 125;
/// Exit code when the program was found but could not be executed.
pub(crate) const EXIT_CANNOT_EXEC: u8 = 126;
/// Exit code when the program was not found.
pub(crate) const EXIT_NOT_FOUND: u8 = 127;

/// What any operation can fail with: the error of the room that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name that is no image name.
    #[error(transparent)]
    Reference(#[from] crate::oci::ReferenceError),
    /// A platform that is none.
    #[error(transparent)]
    Platform(#[from] crate::oci::PlatformError),
    /// A manifest that cannot be used.
    #[error(transparent)]
    Manifest(#[from] crate::oci::ManifestError),
}

impl Error {
    /// The exit code for this error when it ends the program. `run` and `exec` use the docker codes;
    /// every other verb ends with 1, except where docker and podman give 125.
    pub fn exit_code(&self) -> u8 {
        EXIT_FAILED
    }

    /// What the user can do about it, if we know.
    pub fn hint(&self) -> Option<String> {
        None
    }
}
